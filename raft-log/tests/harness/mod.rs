//! A log beside its model: a vector. Steps, how they are run until something breaks, and what must hold afterwards.
#![allow(dead_code)]

pub(crate) mod sweep;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use raft_log::sim_disk::{Keep, SimDisk, Tear};
use raft_log::{
    Batch, Cut, Files, FinishedSnapshot, Log, OpenError, Options, Record, Recovery, WriteError,
};

/// One part of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Metadata(u8),
    /// Cuts this many records, or as many as there are.
    Truncate(u64),
    /// Appends a record of this size; the term rises if set.
    Append {
        bytes: usize,
        new_term: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Commit(Vec<Op>),
    /// Purges this part (in 1/8) of the log.
    Purge(u64),
    Settle,
    /// Closes cleanly and opens.
    Reopen,
    /// Drops the log and opens.
    Drop,
    /// Makes a snapshot for the record this many before the last one, and marks it.
    Snapshot(u64),
    /// Installs a snapshot for a record this far ahead of the log, or of another history at its end, with these ops behind it in
    /// the same batch.
    Reset(u64, Vec<Op>),
}

/// index 1 is `entries[0]`; those up to `base` are purged, and blank.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) base: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) snapshot: Option<Snapshot>,
}

/// The newest snapshot that is marked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    index: u64,
    term: u64,
    payload: Vec<u8>,
}

impl Snapshot {
    /// What a state machine that is deterministic has to say at this place.
    fn at(index: u64, term: u64) -> Snapshot {
        let seed = index.wrapping_mul(131) ^ term;
        let bytes = [0, 100, 5000, 9000][seed as usize % 4];
        let byte = |nth: u64| (nth.wrapping_mul(seed | 1) >> 3) as u8;
        Snapshot {
            index,
            term,
            payload: (0..bytes).map(byte).collect(),
        }
    }
}

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) term: u64,
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

/// Short, for whole models stand in messages: term, kind, length and first byte of the payload.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (length, first) = (self.payload.len(), self.payload.first());
        write!(f, "{}/{} {length}*{first:?}", self.term, self.kind)
    }
}

impl Model {
    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    fn last_term(&self) -> u64 {
        self.entries.last().map_or(1, |entry| entry.term)
    }

    /// What can be cut from the end begins behind this.
    fn floor(&self) -> u64 {
        let snapshot = self.snapshot.as_ref();
        self.base.max(snapshot.map_or(0, |snapshot| snapshot.index))
    }

    fn purge(&mut self, base: u64) {
        self.base = base;
        for (entry, index) in self.entries.iter_mut().zip(1..=base) {
            *entry = Entry {
                term: if index == base { entry.term } else { 0 },
                ..Entry::default()
            };
        }
    }

    /// The log ends with this record, and all of it is purged.
    fn reset(&mut self, index: u64, term: u64) {
        self.entries.truncate(index as usize);
        self.entries.resize(index as usize, Entry::default());
        if let Some(last) = self.entries.last_mut() {
            last.term = term;
        }
        self.purge(index);
    }

    /// Applies ops to the model and writes them into a batch. `salt` makes payloads of different histories differ.
    fn commit(&mut self, ops: &[Op], salt: u64) -> Vec<Planned> {
        let mut plan = Vec::new();
        for op in ops {
            match *op {
                Op::Metadata(byte) => {
                    let metadata = vec![byte; 1 + byte as usize % 40];
                    self.metadata = Some(metadata.clone());
                    plan.push(Planned::Metadata(metadata));
                }
                Op::Truncate(count) => {
                    let last = self.last() - count.min(self.last() - self.floor());
                    self.entries.truncate(last as usize);
                    plan.push(Planned::Truncate(last + 1));
                }
                Op::Append { bytes, new_term } => {
                    let term = self.last_term() + u64::from(new_term);
                    let index = self.last() + 1;
                    let byte = (salt ^ index.wrapping_mul(31) ^ term) as u8;
                    let entry = Entry {
                        term,
                        kind: byte % 4,
                        payload: vec![byte; bytes],
                    };
                    self.entries.push(entry.clone());
                    plan.push(Planned::Append(index, entry));
                }
            }
        }
        plan
    }

    /// The expected `runs` and `marked` of a recovery.
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (entry, index) in self.entries.iter().zip(1..).skip(self.base as usize) {
            if runs.last().is_none_or(|run| run.1 != entry.term) {
                runs.push((index, entry.term));
            }
        }
        runs
    }

    fn marked(&self) -> Vec<(u64, u8)> {
        let entries = self.entries.iter().zip(1..).skip(self.base as usize);
        entries
            .filter(|(entry, _)| entry.kind != 0)
            .map(|(entry, index)| (index, entry.kind))
            .collect()
    }
}

enum Planned {
    Metadata(Vec<u8>),
    Truncate(u64),
    Append(u64, Entry),
    Snapshot(FinishedSnapshot),
    Install(FinishedSnapshot),
}

fn batch(plan: &[Planned]) -> Batch<'_> {
    let mut batch = Batch::new();
    for part in plan {
        match part {
            Planned::Metadata(metadata) => batch.metadata(metadata),
            Planned::Truncate(index) => batch.truncate_from(*index),
            Planned::Snapshot(finished) => batch.snapshot(finished),
            Planned::Install(finished) => batch.install_snapshot(finished),
            Planned::Append(
                index,
                Entry {
                    term,
                    kind,
                    payload,
                },
            ) => batch.append(Record {
                index: *index,
                term: *term,
                kind: *kind,
                payload,
            }),
        };
    }
    batch
}

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/log")
}

pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 4096,
        background: false,
        identity: b"sim".to_vec(),
        ..Options::default()
    }
}

/// Segments of two pages: the header of a recycled one clears only the first, and leaves old bytes in the second.
pub(crate) fn two_pages() -> Options {
    Options {
        segment_bytes: 8192,
        ..options()
    }
}

/// The segment in use, as the superblock says.
pub(crate) struct Active {
    pub(crate) file: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Active {
    /// `None` if no segment was ever in use, or it is gone.
    pub(crate) fn of(disk: &SimDisk) -> Option<Active> {
        let superblock = disk.content(&dir().join("superblock"))?;
        // As in `docs/log-format.md`: the higher sequence counts. (No power loss tears a copy: it is one sector.)
        let number = |at: usize| {
            let bytes = superblock.get(at..at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let newer = usize::from(number(4096 + 16) > number(16)) * 4096;
        let file = dir().join(format!("{:020}.seg", number(newer + 40)?));
        let bytes = disk.content(&file)?;
        Some(Active { file, bytes })
    }

    /// Whether the header says so.
    pub(crate) fn is_recycled(&self) -> bool {
        self.bytes.get(44) == Some(&1)
    }
}

/// What a run has seen acknowledged, and what was under way when it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) acknowledged: Model,
    /// The state if the step under way counts after all.
    pub(crate) or: Option<Model>,
    /// The state before the newest batch that was acknowledged, for tests that damage it.
    pub(crate) before_last: Model,
    pub(crate) boot: u64,
    /// Whether the last thing acknowledged was a clean close.
    pub(crate) closed: bool,
    pub(crate) error: Option<String>,
}

/// Runs steps, beginning with an opening, until the first error. The last log is closed cleanly if `close` is set.
pub(crate) fn run<F: Files>(
    files: &F,
    dir: &Path,
    options: &Options,
    steps: &[Step],
    close: bool,
) -> History {
    run_from(files, dir, options, steps, close, History::default())
}

/// [`run`] on a disk that already has a history.
pub(crate) fn run_from<F: Files>(
    files: &F,
    dir: &Path,
    options: &Options,
    steps: &[Step],
    close: bool,
    mut history: History,
) -> History {
    if let Err(error) = run_steps(files, dir, options, steps, close, &mut history) {
        history.error = Some(error);
    }
    history
}

fn run_steps<F: Files>(
    files: &F,
    dir: &Path,
    options: &Options,
    steps: &[Step],
    close: bool,
    history: &mut History,
) -> Result<(), String> {
    // What came before may have been torn; what is dropped in between is not.
    let mut log = reopen(files, dir, options, history, true)?;
    for (step, salt) in steps.iter().zip(1..) {
        let mut next = history.acknowledged.clone();
        let done = match step {
            Step::Commit(ops) => {
                let plan = next.commit(ops, salt * 7);
                history.or = Some(next);
                log.commit(&batch(&plan))
            }
            Step::Purge(eighths) => {
                let limit = next
                    .snapshot
                    .as_ref()
                    .map_or(next.last(), |snapshot| snapshot.index);
                let base = next.base + (limit - next.base) * eighths / 8;
                next.purge(base);
                history.or = Some(next);
                log.purge(base)
            }
            Step::Snapshot(back) => {
                let index = next.last() - back.min(&(next.last() - next.floor()));
                let Some(term) = log.term(index).filter(|&term| term > 0) else {
                    continue;
                };
                next.snapshot = Some(Snapshot::at(index, term));
                let plan = [Planned::Snapshot(make_snapshot(&log, next, history)?)];
                log.commit(&batch(&plan))
            }
            Step::Reset(ahead, ops) => {
                let ahead = if next.last() == next.floor() {
                    ahead + 1
                } else {
                    *ahead
                };
                let (index, term) = (next.last() + ahead, next.last_term() + 1);
                next.reset(index, term);
                next.snapshot = Some(Snapshot::at(index, term));
                let mut plan = next.commit(ops, salt * 7);
                plan.insert(0, Planned::Install(make_snapshot(&log, next, history)?));
                log.commit(&batch(&plan))
            }
            Step::Settle => log.settle(),
            Step::Reopen => {
                log.close().map_err(|error| error.to_string())?;
                log = reopen(files, dir, options, history, false)?;
                Ok(())
            }
            Step::Drop => {
                drop(log);
                log = reopen(files, dir, options, history, false)?;
                Ok(())
            }
        };
        done.map_err(|error: WriteError| error.to_string())?;
        if let Some(next) = history.or.take() {
            history.before_last = std::mem::replace(&mut history.acknowledged, next);
        }
    }
    if close {
        log.close().map_err(|error| error.to_string())?;
        history.closed = true;
    }
    Ok(())
}

/// Makes the snapshot that the next state has. From now on, a crash may leave that state.
fn make_snapshot<F: Files>(
    log: &Log<F>,
    next: Model,
    history: &mut History,
) -> Result<FinishedSnapshot, String> {
    let snapshot = next.snapshot.clone().ok_or("no snapshot")?;
    history.or = Some(next);
    let writer = log.snapshots().create(snapshot.index, snapshot.term);
    let mut writer = writer.map_err(|error| error.to_string())?;
    for part in snapshot.payload.chunks(1700) {
        writer.write_all(part).map_err(|error| error.to_string())?;
    }
    writer.finish().map_err(|error| error.to_string())
}

fn reopen<F: Files>(
    files: &F,
    dir: &Path,
    options: &Options,
    history: &mut History,
    may_be_cut: bool,
) -> Result<Log<F>, String> {
    let (log, recovery) =
        Log::open_with(files.clone(), dir, options.clone()).map_err(|e| e.to_string())?;
    check_boot(recovery.boot, history.boot)?;
    history.boot = recovery.boot;
    let found = read_model(&log, Some(&recovery))?;
    if found != history.acknowledged || (!may_be_cut && recovery.cut.is_some()) {
        let expected = &history.acknowledged;
        return Err(format!(
            "reopened: {recovery:?} with {found:?}, not {expected:?}"
        ));
    }
    Ok(log)
}

fn check_boot(boot: u64, before: u64) -> Result<(), String> {
    if boot <= before {
        Err(format!("boot {boot} after boot {before}"))
    } else {
        Ok(())
    }
}

/// Reads a whole log back through a reader, and compares index, runs and marks on the way.
pub(crate) fn read_model<F: Files>(
    log: &Log<F>,
    recovery: Option<&Recovery>,
) -> Result<Model, String> {
    let reader = log.reader();
    let (first, last) = (log.first_index(), log.last_index());
    let mut model = Model {
        metadata: log.metadata().map(<[u8]>::to_vec),
        snapshot: read_snapshot(log)?,
        ..Model::default()
    };
    model.reset(first - 1, log.term(first - 1).ok_or("no term")?);
    let mut next = first;
    while next <= last {
        let budget = [0, 100, 5000][next as usize % 3];
        for record in reader
            .read(next, budget)
            .map_err(|error| error.to_string())?
        {
            if record.index != next {
                return Err(format!("read record {} for {next}", record.index));
            }
            let payload = record.payload.to_vec();
            model.entries.push(Entry {
                term: record.term,
                kind: record.kind,
                payload,
            });
            next += 1;
        }
    }
    if let Some(recovery) = recovery
        && (recovery.runs != model.runs()
            || recovery.marked != model.marked()
            || recovery.snapshot != log.snapshot())
    {
        return Err(format!("{recovery:?} does not fit {model:?}"));
    }
    Ok(model)
}

/// Reads all of the newest snapshot.
fn read_snapshot<F: Files>(log: &Log<F>) -> Result<Option<Snapshot>, String> {
    let Some(id) = log.snapshot() else {
        return Ok(None);
    };
    let reader = log.snapshots().open(&id);
    let mut reader = reader.map_err(|error| error.to_string())?;
    let mut payload = Vec::new();
    let read = reader.read_to_end(&mut payload);
    read.map_err(|error| error.to_string())?;
    Ok(Some(Snapshot {
        index: id.index,
        term: id.term,
        payload,
    }))
}

/// Opens what a crash left and checks everything that was promised: nothing acknowledged is missing, nothing is there that
/// was not written, a batch is there as a whole or not at all, the boot number rises, and the log goes on working.
pub(crate) fn check_recovery<F: Files>(
    files: &F,
    dir: &Path,
    options: &Options,
    history: &History,
) -> Result<Option<Cut>, String> {
    let open = |before: u64| -> Result<(Log<F>, Recovery), String> {
        let opened = Log::open_with(files.clone(), dir, options.clone());
        let (log, recovery) = opened.map_err(|error: OpenError| format!("cannot open: {error}"))?;
        check_boot(recovery.boot, before)?;
        Ok((log, recovery))
    };
    let (mut log, recovery) = open(history.boot)?;
    let mut model = read_model(&log, Some(&recovery))?;
    if model != history.acknowledged && Some(&model) != history.or.as_ref() {
        let History {
            acknowledged, or, ..
        } = history;
        return Err(format!(
            "found {model:?}\nacknowledged {acknowledged:?}\nor {or:?}"
        ));
    }
    let names = files.list(dir).map_err(|error| error.to_string())?;
    let snapshots = names.iter().filter(|name| name.contains(".snap"));
    if snapshots.count() != usize::from(recovery.snapshot.is_some()) {
        return Err(format!("{names:?} with {:?}", recovery.snapshot));
    }
    for ops in [
        &[
            Op::Append {
                bytes: 30,
                new_term: false,
            },
            Op::Metadata(9),
        ][..],
        &[
            Op::Truncate(2),
            Op::Append {
                bytes: 500,
                new_term: true,
            },
        ][..],
    ] {
        let plan = model.commit(ops, 99);
        log.commit(&batch(&plan))
            .map_err(|error| format!("after recovery: {error}"))?;
    }
    drop(log);
    let (log, again) = open(recovery.boot)?;
    if again.cut.is_some() || read_model(&log, Some(&again))? != model {
        return Err(format!(
            "after recovery and two commits: {again:?}, expected {model:?}"
        ));
    }
    log.close()
        .map_err(|error| format!("after recovery: {error}"))?;
    let (log, last) = open(again.boot)?;
    if !last.clean || last.cut.is_some() || read_model(&log, Some(&last))? != model {
        return Err(format!(
            "after recovery and a clean close: {last:?}, expected {model:?}"
        ));
    }
    Ok(recovery.cut)
}

/// All ways in which a crash with this many pending changes is tried; `seeds` of them by coin.
pub(crate) fn variants(pending: usize, seeds: u64, salt: u64) -> Vec<Keep> {
    let mut variants = vec![Keep::Nothing, Keep::All];
    for nth in 0..pending {
        variants.push(Keep::First(nth));
        variants.push(Keep::Without(nth));
        for tear in [Tear::Front, Tear::Back, Tear::Alternate] {
            variants.push(Keep::Torn(nth, tear));
        }
    }
    variants.extend((0..seeds).map(|seed| Keep::Some(salt.wrapping_mul(1000) + seed)));
    variants
}

/// A workload from a seed.
pub(crate) fn random_steps(seed: u64, count: usize) -> Vec<Step> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) % below
    };
    let ops = |draw: &mut dyn FnMut(u64) -> u64| -> Vec<Op> {
        (0..1 + draw(4))
            .map(|_| match draw(8) {
                0 | 1 => Op::Metadata(draw(256) as u8),
                2 => Op::Truncate(draw(4)),
                _ => Op::Append {
                    bytes: [0, 20, 300, 1200][draw(4) as usize],
                    new_term: draw(5) == 0,
                },
            })
            .collect()
    };
    (0..count)
        .map(|_| match draw(16) {
            0 => Step::Purge(draw(9)),
            1 => Step::Settle,
            2 => Step::Reopen,
            3 => Step::Drop,
            4 => Step::Snapshot(draw(5)),
            5 => Step::Reset(draw(4), ops(&mut draw)),
            _ => Step::Commit(ops(&mut draw)),
        })
        .collect()
}
