//! Opening: tell what the directory is, recover what it holds, cut a torn tail, raise the boot number.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::ahead::ReadAhead;
use crate::batch::Batch;
use crate::error::{Damage, Failure, OpenError, WriteError};
use crate::files::{Files, OsFiles};
use crate::format::{Checkpoint, Content, RecordType};
use crate::index::Index;
use crate::log::{Log, write_checkpoint};
use crate::mutants::{Mutant, mutant};
use crate::open_files::{Known, OpenFiles};
use crate::options::Options;
use crate::position::Position;
use crate::prepare::Preparer;
use crate::recovery::{Cut, Recovered, read_checkpoint, recover};
use crate::repair::repair_tail;
use crate::segment::{Recipe, segment_number};
use crate::shared::{Shared, View};
use crate::snapshot::{self, Registry, SnapshotId, Snapshots};
use crate::spare;
use crate::superblock::{Facts, SUPERBLOCK, SUPERBLOCK_NEW, Superblock};
use crate::tail::{Piece, Tail};

/// What an opened log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The number of this opening; see [`Log::boot`].
    pub boot: u64,
    /// Whether the log is new: nothing was ever acknowledged from this directory.
    pub created: bool,
    /// Whether the superblock names the end of the log, and nothing stands behind it: the log was closed, or was settled
    /// ([`Log::settle`]) and nothing was written since. A new log is clean.
    pub clean: bool,
    /// The newest metadata blob, if there ever was one.
    pub metadata: Option<Vec<u8>>,
    /// The first index there is.
    pub first_index: u64,
    /// The last index; one less than `first_index` if the log is empty, so 0 in a new one.
    pub last_index: u64,
    /// The term of the record before the first: 0 if nothing was ever purged.
    pub term_before: u64,
    /// The newest snapshot: it stands for all records before `first_index`, and maybe for some behind. Its length, header and
    /// footer were verified; the rest is when it is read. One that had not been marked before a crash is marked now, if the
    /// log holds the record it ends with, and all of it verified.
    pub snapshot: Option<SnapshotId>,
    /// First index and term of each run of equal terms, ascending.
    pub runs: Vec<(u64, u64)>,
    /// Index and kind of all records whose kind is not 0, ascending.
    pub marked: Vec<(u64, u8)>,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
}

/// The identity of the log in a directory; `None` if there is no log yet (no directory, or an empty one).
///
/// Takes no lock and changes nothing, so it can be asked before [`Log::open`], which wants the identity.
///
/// # Errors
/// [`OpenError::NotALog`], [`OpenError::Corrupt`], [`OpenError::UnknownVersion`] or [`OpenError::Io`].
pub fn peek_identity(dir: impl AsRef<Path>) -> Result<Option<Vec<u8>>, OpenError> {
    peek_identity_with(&OsFiles, dir.as_ref())
}

/// [`peek_identity`] on any [`Files`].
///
/// # Errors
/// As [`peek_identity`].
pub fn peek_identity_with<F: Files>(files: &F, dir: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    match survey(files, dir)? {
        Survey::Empty => Ok(None),
        Survey::Log(_) => Ok(Some(Superblock::open(files, dir)?.facts.identity)),
    }
}

impl Log<OsFiles> {
    /// Opens the log in a directory, or makes a new one there if it is absent or empty.
    ///
    /// Reads the whole log once, in constant memory but for a sparse index. Only after everything is verified is the disk
    /// touched: a torn tail is cut, what may not be durable is written again, and the new boot number is made durable.
    ///
    /// # Errors
    /// See [`OpenError`]: whatever it is, nothing that was acknowledged is changed by the attempt.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<(Log, Recovery), OpenError> {
        Log::open_with(OsFiles, dir.as_ref(), options)
    }
}

impl<F: Files> Log<F> {
    /// [`Log::open`] on any [`Files`].
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_with(
        files: F,
        dir: &Path,
        options: Options,
    ) -> Result<(Log<F>, Recovery), OpenError> {
        options.validate()?;
        files
            .create_dir(dir)
            .map_err(|source| Failure::new("make the directory", dir, source))?;
        let lock = files
            .lock(dir)
            .map_err(|source| Failure::new("lock the directory", dir, source))?;
        let lock = lock.ok_or_else(|| OpenError::Locked {
            dir: dir.to_path_buf(),
        })?;
        let (mut superblock, Names { numbers, snapshots }) = match survey(&files, dir)? {
            Survey::Empty => {
                let facts = Facts {
                    segment_first: 1,
                    identity: options.identity.clone(),
                    ..Facts::default()
                };
                (Superblock::create(&files, dir, facts)?, Names::default())
            }
            Survey::Log(names) => (Superblock::open(&files, dir)?, names),
        };
        if superblock.facts.identity != options.identity {
            let stored = superblock.facts.identity;
            return Err(OpenError::ForeignIdentity {
                dir: dir.to_path_buf(),
                stored,
                given: options.identity,
            });
        }
        let mut recipe = Recipe {
            files: files.clone(),
            dir: dir.to_path_buf(),
            identity: options.identity.as_slice().into(),
            epoch: 0,
            payload_max: options.record_bytes_max,
        };
        let first = superblock.facts.segment_first;
        let ahead = (options.background && superblock.facts.segment_last > 0)
            .then(|| ReadAhead::start(&recipe, first));
        let recovered = examine(&recipe, &superblock, &numbers, ahead.as_ref())?;
        drop(ahead);
        let facts = &superblock.facts;
        let created = recovered.is_none();
        let index = recovered.as_ref().map(|recovered| &recovered.index);
        let plan = snapshot::examine(&files, dir, &snapshots, index)?;

        // Everything is verified: from here on the disk is changed.
        snapshot::remove(&files, dir, &plan.temporaries)?;
        let boot = next_boot(facts, recovered.as_ref());
        recipe.epoch = boot;
        let size = options.segment_bytes as u32;
        let (spares, removed) = spare::choose(&recipe, &numbers, facts, size);
        if let Some(recovered) = &recovered {
            repair_tail(recovered, superblock.facts.watermark)?;
        }
        // A former process may have seen names, and acted on them, that its crash kept it from syncing.
        sync_names(&files, dir)?;
        let clean = is_clean(&superblock.facts, recovered.as_ref());
        superblock.confirm()?;
        superblock.write(|facts| facts.boot = boot)?;
        // Only now that it is durable which segments are in use.
        recipe.remove(removed)?;
        let mut preparer = Preparer::new(recipe, size, spares);
        let recovered = match recovered {
            Some(recovered) => recovered,
            None => first_segment(&mut preparer, &mut superblock)?,
        };
        let mut recovery = describe(&recovered, boot, created, clean);
        recovery.snapshot = plan.adopt.or(recovery.snapshot);
        let mut log = assemble(
            preparer,
            options,
            superblock,
            recovered,
            (files.clone(), dir, Arc::new(lock)),
        );
        log.begin_boot(boot, plan.adopt)
            .map_err(WriteError::into_open_error)?;
        if !plan.stale.is_empty() {
            // Durably: one that came back could be adopted by a later opening.
            snapshot::remove(&files, dir, &plan.stale)?;
            sync_names(&files, dir)?;
        }
        Ok((log, recovery))
    }

    /// Writes the boot number into the chain, so that nothing behind a cut can ever continue it; and the mark of a snapshot that
    /// a crash kept from being marked.
    fn begin_boot(&mut self, boot: u64, adopt: Option<SnapshotId>) -> Result<(), WriteError> {
        // A crash may have come between a purge and the segments that it frees. First, for they may be the only room there is.
        self.give_up_segments()?;
        let adopted = adopt.map(|id| self.registry.adopt(id));
        let mut batch = Batch::of(Content::plain(RecordType::Boot, boot, 0));
        if let Some(finished) = &adopted {
            batch.snapshot(finished);
        }
        self.commit(&batch)?;
        let next = self.active.header.number + 1;
        if self.options.background {
            self.preparer.start_thread();
        }
        self.preparer.order(next);
        Ok(())
    }
}

fn sync_names<F: Files>(files: &F, dir: &Path) -> Result<(), Failure> {
    files
        .sync_dir(dir)
        .map_err(|source| Failure::new("sync the directory", dir, source))
}

/// Recovers what a directory holds, with every check and without a change; `None` if it has no segment yet. Opening and
/// [inspection](crate::inspect) have this in common.
pub(crate) fn examine<F: Files>(
    recipe: &Recipe<F>,
    superblock: &Superblock<F>,
    numbers: &[u64],
    ahead: Option<&ReadAhead>,
) -> Result<Option<Recovered<F>>, OpenError> {
    check_unused(recipe, numbers, &superblock.facts)?;
    if superblock.facts.segment_last == 0 {
        return Ok(None);
    }
    let recovered = recover(recipe, &superblock.facts, ahead)?;
    check_boot(&recipe.dir, superblock, &recovered)?;
    Ok(Some(recovered))
}

/// The number of the next opening.
pub(crate) fn next_boot<F: Files>(facts: &Facts, recovered: Option<&Recovered<F>>) -> u64 {
    let last = facts
        .boot
        .max(recovered.map_or(0, |recovered| recovered.boot));
    if mutant(Mutant::SkipsBoot) {
        return last.max(1);
    }
    last + 1
}

/// Whether the log was closed in order, or is new.
pub(crate) fn is_clean<F: Files>(facts: &Facts, recovered: Option<&Recovered<F>>) -> bool {
    recovered.is_none_or(|recovered| recovered.is_clean(facts.watermark))
}

/// What a directory is, by its names.
pub(crate) enum Survey {
    Empty,
    Log(Names),
}

/// The names that mean something.
#[derive(Default)]
pub(crate) struct Names {
    /// All segments, ascending.
    pub(crate) numbers: Vec<u64>,
    /// All snapshots, finished or not.
    pub(crate) snapshots: Vec<String>,
}

pub(crate) fn survey<F: Files>(files: &F, dir: &Path) -> Result<Survey, OpenError> {
    let names = match files.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Survey::Empty),
        result => result.map_err(|source| Failure::new("list the directory", dir, source))?,
    };
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let snapshots: Vec<String> = names
        .iter()
        .filter(|name| snapshot::is_name(name))
        .cloned()
        .collect();
    let found = !numbers.is_empty() || !snapshots.is_empty();
    if names.iter().any(|name| name == SUPERBLOCK) {
        return Ok(Survey::Log(Names { numbers, snapshots }));
    }
    if found {
        return Err(OpenError::corrupt(
            &dir.join(SUPERBLOCK),
            0,
            None,
            Damage::SuperblockMissing,
        ));
    }
    // An unfinished superblock is a creation that a crash cut short; the lock file exists on some platforms only, and
    // lost+found on a fresh mount.
    let known = [SUPERBLOCK_NEW, "lock", "lost+found"];
    match names
        .into_iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        Some(found) => Err(OpenError::NotALog {
            dir: dir.to_path_buf(),
            found,
        }),
        None => Ok(Survey::Empty),
    }
}

/// A segment above those in use may hold a checkpoint (a crash while it was put into use), but no record behind it: the
/// superblock is always ahead of those.
fn check_unused<F: Files>(
    recipe: &Recipe<F>,
    numbers: &[u64],
    facts: &Facts,
) -> Result<(), OpenError> {
    for &number in numbers
        .iter()
        .filter(|&&number| number > facts.segment_last)
    {
        // Whatever does not even open was never used.
        let Ok(segment) = recipe.open(number) else {
            continue;
        };
        let failed = |source| Failure::new("read the segment", &segment.path, source);
        let mut window = segment.window();
        let Some((head, _)) = read_checkpoint(&mut window).map_err(failed)? else {
            continue;
        };
        let behind = crate::format::HEADER_BYTES + head.span() as u32;
        if window
            .record(behind)
            .map_err(failed)?
            .is_some_and(|record| record.chain == head.crc)
        {
            return Err(OpenError::corrupt(
                &recipe.dir.join(SUPERBLOCK),
                0,
                None,
                Damage::SuperblockOld,
            ));
        }
    }
    Ok(())
}

/// The superblock's boot number is written before the log's. It can be behind only if the newer copy of it is lost.
fn check_boot<F: Files>(
    dir: &Path,
    superblock: &Superblock<F>,
    recovered: &Recovered<F>,
) -> Result<(), OpenError> {
    if recovered.boot > superblock.facts.boot && !superblock.one_copy {
        return Err(OpenError::corrupt(
            &dir.join(SUPERBLOCK),
            0,
            None,
            Damage::SuperblockOld,
        ));
    }
    Ok(())
}

/// Makes and activates segment 1.
fn first_segment<F: Files>(
    preparer: &mut Preparer<F>,
    superblock: &mut Superblock<F>,
) -> Result<Recovered<F>, Failure> {
    let segment = preparer.take(1, 0)?;
    let checkpoint = Checkpoint {
        boot: superblock.facts.boot,
        ..Checkpoint::default()
    }
    .encode();
    let (end, chain) = write_checkpoint(&segment, &checkpoint, Position::default(), 0)?;
    superblock.write(|facts| facts.segment_last = 1)?;
    Ok(Recovered {
        index: Index::default(),
        metadata: None,
        boot: 0,
        segments: BTreeMap::from([(1, Known::of(&segment))]),
        active: Some(Arc::new(segment)),
        end,
        chain,
        durable: end,
        cut: None,
    })
}

pub(crate) fn describe<F: Files>(
    recovered: &Recovered<F>,
    boot: u64,
    created: bool,
    clean: bool,
) -> Recovery {
    let index = &recovered.index;
    Recovery {
        boot,
        created,
        clean,
        metadata: recovered.metadata.clone(),
        first_index: index.first(),
        last_index: index.last,
        term_before: index.base.1,
        snapshot: index.snapshot,
        runs: index.runs.iter().copied().collect(),
        marked: index.marked.clone(),
        cut: recovered.cut.clone(),
    }
}

fn assemble<F: Files>(
    preparer: Preparer<F>,
    options: Options,
    superblock: Superblock<F>,
    mut recovered: Recovered<F>,
    (files, dir, lock): (F, &Path, Arc<F::Lock>),
) -> Log<F> {
    let Some(active) = recovered.active else {
        unreachable!("recovery ends in the last segment that it read")
    };
    assert_eq!(
        active.header.number, recovered.end.segment,
        "the log ends in its last segment"
    );
    let open_files = OpenFiles::new(preparer.recipe().clone());
    open_files.keep(Arc::clone(&active));
    recovered.index.marked = Vec::new();
    let registry = Arc::new(Registry::new(recovered.index.snapshot));
    let snapshots = Snapshots::new(
        files.clone(),
        dir.to_path_buf(),
        &lock,
        Arc::clone(&registry),
    );
    let view = View {
        index: recovered.index,
        segments: recovered.segments,
        tail: Tail::new(options.tail_bytes),
    };
    Log {
        files,
        dir: dir.to_path_buf(),
        shared: Arc::new(Shared::new(open_files, dir.to_path_buf(), view)),
        preparer,
        options,
        superblock,
        active,
        end: recovered.end,
        chain: recovered.chain,
        settled: false,
        metadata: recovered.metadata,
        buf: Vec::new(),
        spare: Piece::default(),
        gone: Vec::new(),
        poison: None,
        snapshots,
        registry,
        _lock: lock,
    }
}
