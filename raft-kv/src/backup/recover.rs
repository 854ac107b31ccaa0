//! A backup of what is left of a cluster that lost its majority: of a stopped node's directory, which stays as it is.
//!
//! A node alone cannot know which of its last entries were committed. All of them are taken: what was acknowledged and is here is
//! kept, and what was never acknowledged may be there, as after any outcome that is unknown. What only lost nodes had is gone.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use raft_core::{ClusterId, Index, LogId, MemberId, Membership, Payload, Snapshot};
use raft_log::inspect::{InspectError, Inspection};
use raft_log::{Files, OpenError, OsFiles, ReadError, Reader, SnapshotEncoder, SnapshotReader};

use super::draft::directory_of;
use super::{BUFFER_BYTES, Draft, DraftError, Summary};
use crate::glue::{self, DiskError};
use crate::node::FormedDisk;
use crate::store::{ApplyError, Settings, Store, StoreSnapshotError};
use crate::wire::{self, DecodeError, SnapshotHead};

/// How many bytes of entries are read at once.
const READ_BYTES: usize = 1 << 20;

/// A directory that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The directory.
    pub dir: PathBuf,
    /// Whose it is.
    pub member: MemberId,
    /// The last entry of its log: the newest of all is taken, by term and then by index.
    pub last: LogId,
}

/// What was recovered.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// All directories that were given, in their order.
    pub candidates: Vec<Candidate>,
    /// Which of them was taken.
    pub taken: usize,
    /// Where the snapshot ends that its log goes on from; none: its log begins at the beginning.
    pub snapshot: Option<LogId>,
    /// Up to where the node knew that entries were committed.
    pub commit: Index,
    /// How many entries are behind that: each may have been committed, or never.
    pub uncertain: u64,
    /// The newest membership in its log.
    pub membership: Membership,
    /// The backup that was written.
    pub backup: Summary,
}

/// Why nothing was recovered. No directory was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// There is no log to be looked at, or it is in use.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It is damaged.
    #[error("{}: {source}; `raft-kv log verify` says more. Leave this directory out, if another is sound", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// The damage.
        source: OpenError,
    },
    /// It is no node's, or not of this release.
    #[error("{}: {source}", dir.display())]
    NoNode {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: DecodeError,
    },
    /// What it holds does not go together.
    #[error("{}: {source}", dir.display())]
    Content {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: DiskError,
    },
    /// There is nothing in it to be recovered.
    #[error("{}: this node belongs to no cluster yet, so there is nothing to be recovered from it; leave it out", .0.display())]
    NotFormed(PathBuf),
    /// Two directories are of two clusters.
    #[error("{} is of cluster {first_cluster}, and {} of {other_cluster}; give only those of one cluster", first.display(), other.display())]
    OtherCluster {
        /// One.
        first: PathBuf,
        /// Its cluster.
        first_cluster: ClusterId,
        /// Another.
        other: PathBuf,
        /// Its cluster.
        other_cluster: ClusterId,
    },
    /// A directory was given twice.
    #[error("{} is given twice; give each directory once", .0.display())]
    Twice(PathBuf),
    /// The backup would be written into one of the directories, which are not to be changed.
    #[error("{}: it lies in the data directory {}, which stays as it is; choose another place", out.display(), dir.display())]
    Within {
        /// The backup.
        out: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
    /// No directory was given.
    #[error("no directory was given")]
    None,
    /// The snapshot's state cannot be read.
    #[error("{}: the snapshot: {source}", dir.display())]
    Snapshot {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: StoreSnapshotError,
    },
    /// An entry cannot be read.
    #[error("{}: {source}", dir.display())]
    Read {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// An entry cannot be applied.
    #[error("{}: {source}", dir.display())]
    Apply {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: ApplyError,
    },
    /// The backup cannot be written.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// Writing the backup failed.
    #[error("{}: cannot write the backup: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A directory that is locked and verified.
struct Looked<F: Files> {
    candidate: Candidate,
    disk: FormedDisk,
    reader: Reader<F>,
    /// Behind its head.
    snapshot: Option<SnapshotReader<F>>,
}

/// Looks at the directories of stopped nodes, takes the one with the newest log, rebuilds the state from its snapshot and all of its log, and
/// writes that as a backup to `out`. Nothing in the directories is changed.
///
/// # Errors
/// As [`RecoverError`] lists them.
pub fn recover(dirs: &[PathBuf], out: &Path, force: bool) -> Result<Recovered, RecoverError> {
    check_places(dirs, out)?;
    // Asked first, since all else may take long.
    let draft = Draft::create(out, force)?;
    let mut locked = Vec::new();
    for dir in dirs {
        locked.push((dir, Inspection::<OsFiles>::open(dir)?));
    }
    let mut looked = Vec::new();
    for (dir, inspection) in &locked {
        looked.push(look(dir, inspection)?);
    }
    check_clusters(&looked)?;
    let candidates: Vec<Candidate> = looked.iter().map(|one| one.candidate.clone()).collect();
    // From the last to the first, since of equal ones the last that is looked at is taken: the one that was given first.
    let newest = candidates.iter().enumerate().rev();
    let newest = newest.max_by_key(|(_, one)| (one.last.term, one.last.index));
    let taken = newest.map(|(at, _)| at).ok_or(RecoverError::None)?;
    let Looked {
        candidate,
        disk,
        reader,
        snapshot,
    } = looked.swap_remove(taken);
    let (dir, last) = (candidate.dir, candidate.last);
    let store = rebuild(&dir, &reader, snapshot, last.index)?;
    let head = head(&disk, last).ok_or_else(|| RecoverError::NotFormed(dir.clone()))?;
    let ends = disk.snapshot.as_ref().map(|(file, _)| file.last);
    let known = ends.map_or(Index::ZERO, |last| last.index);
    let commit = known.max(disk.hard_state.commit).min(last.index);
    let membership = head.snapshot.membership.clone();
    let backup = write(draft, &head, &store).map_err(|error| match error {
        WriteError::Io(source) => RecoverError::Write {
            file: out.to_path_buf(),
            source,
        },
        WriteError::Draft(error) => RecoverError::Draft(error),
    })?;
    Ok(Recovered {
        candidates,
        taken,
        snapshot: ends,
        commit,
        uncertain: last.index.0 - commit.0,
        membership,
        backup,
    })
}

impl Recovered {
    /// The voters of the newest membership whose directories were not given.
    pub fn missing(&self) -> impl Iterator<Item = MemberId> {
        let given = |member: &MemberId| self.candidates.iter().any(|one| one.member == *member);
        let members = self.membership.members().map(|(member, _)| member);
        members.filter(move |member| self.membership.is_voter(*member) && !given(member))
    }

    /// Whether the directories are those of a majority: then the newest log has all that was ever committed (paper §5.4.1). Not said of a
    /// membership that is joint.
    #[must_use]
    pub fn is_majority(&self) -> bool {
        let voters = self.membership.voters().len();
        !self.membership.is_joint() && self.missing().count() * 2 < voters
    }
}

/// No directory twice, by whatever name, and the backup in none of them.
fn check_places(dirs: &[PathBuf], out: &Path) -> Result<(), RecoverError> {
    // One that cannot be found is told by whoever opens it.
    let place = |path: &Path| path.canonicalize().ok();
    let into = place(directory_of(out));
    let mut seen = Vec::new();
    for dir in dirs {
        let Some(here) = place(dir) else { continue };
        if seen.contains(&here) {
            return Err(RecoverError::Twice(dir.clone()));
        }
        if into.as_ref().is_some_and(|into| into.starts_with(&here)) {
            return Err(RecoverError::Within {
                out: out.to_path_buf(),
                dir: dir.clone(),
            });
        }
        seen.push(here);
    }
    Ok(())
}

fn look<F: Files>(
    dir: &Path,
    inspection: &Inspection<F>,
) -> Result<Looked<raft_log::inspect::ReadOnly<F>>, RecoverError> {
    let owned = || dir.to_path_buf();
    let verified = inspection
        .verify()
        .map_err(|source| RecoverError::Damaged {
            dir: owned(),
            source,
        })?;
    let identity =
        wire::decode_identity(verified.identity.into()).map_err(|source| RecoverError::NoNode {
            dir: owned(),
            source,
        })?;
    let mut snapshot = verified.snapshot;
    let disk = glue::recovered(&verified.recovery, &verified.reader, |_| {
        // It is marked, so it is there: the inspection has verified it.
        let reader = snapshot.as_mut().ok_or(io::ErrorKind::NotFound)?;
        wire::read_snapshot_head(reader)
    });
    let disk = disk.map_err(|source| RecoverError::Content {
        dir: owned(),
        source,
    })?;
    let disk = disk.ok_or_else(|| RecoverError::NotFormed(owned()))?;
    let term = disk.runs.last().map_or(disk.base.term, |(_, term)| *term);
    Ok(Looked {
        candidate: Candidate {
            dir: owned(),
            member: MemberId {
                node: identity.node,
                incarnation: identity.incarnation,
            },
            last: LogId {
                index: disk.last,
                term,
            },
        },
        disk,
        reader: verified.reader,
        snapshot,
    })
}

fn check_clusters<F: Files>(looked: &[Looked<F>]) -> Result<(), RecoverError> {
    let Some(first) = looked.first() else {
        return Err(RecoverError::None);
    };
    match looked
        .iter()
        .find(|one| one.disk.cluster != first.disk.cluster)
    {
        None => Ok(()),
        Some(other) => Err(RecoverError::OtherCluster {
            first: first.candidate.dir.clone(),
            first_cluster: first.disk.cluster,
            other: other.candidate.dir.clone(),
            other_cluster: other.disk.cluster,
        }),
    }
}

/// The state after the log's last entry.
fn rebuild<F: Files>(
    dir: &Path,
    reader: &Reader<F>,
    snapshot: Option<SnapshotReader<F>>,
    last: Index,
) -> Result<Store, RecoverError> {
    let mut store = match snapshot {
        None => Store::new(Settings::default()),
        Some(reader) => {
            let mut reader = io::BufReader::with_capacity(BUFFER_BYTES, reader);
            Store::read_from(&mut reader).map_err(|source| RecoverError::Snapshot {
                dir: dir.to_path_buf(),
                source,
            })?
        }
    };
    while store.applied() < last {
        let next = store.applied().next();
        let records = reader.read(next.0, READ_BYTES);
        let records = records.map_err(|source| RecoverError::Read {
            dir: dir.to_path_buf(),
            source,
        })?;
        let entries = glue::entries(records).map_err(|source| RecoverError::Content {
            dir: dir.to_path_buf(),
            source: DiskError::Decode {
                what: "an entry",
                source,
            },
        })?;
        for entry in entries {
            match &entry.payload {
                Payload::Command(command) => {
                    let applied = store.apply_payload(entry.id, command);
                    applied.map_err(|source| RecoverError::Apply {
                        dir: dir.to_path_buf(),
                        source,
                    })?;
                }
                Payload::Noop | Payload::Membership(_) => store.note_applied(entry.id.index),
            }
        }
    }
    Ok(store)
}

/// What stands in front of the state after the log's last entry; none when the node was never told who its cluster is.
fn head(disk: &FormedDisk, last: LogId) -> Option<SnapshotHead> {
    let in_snapshot = disk.snapshot.as_ref();
    let in_snapshot =
        in_snapshot.map(|(_, snapshot)| (snapshot.membership_at, snapshot.membership.clone()));
    let newest: Option<(LogId, Membership)> = disk.memberships.last().cloned().or(in_snapshot);
    let (membership_at, membership) = newest?;
    Some(SnapshotHead {
        cluster: disk.cluster,
        founding: disk.founding.clone()?,
        snapshot: Snapshot {
            last,
            membership,
            membership_at,
        },
    })
}

enum WriteError {
    Io(io::Error),
    Draft(DraftError),
}

fn write(draft: Draft, head: &SnapshotHead, store: &Store) -> Result<Summary, WriteError> {
    let draft = encode(draft, head, store).map_err(WriteError::Io)?;
    let backup = draft.finish().map_err(WriteError::Draft)?;
    Ok(backup.summary())
}

fn encode(draft: Draft, head: &SnapshotHead, store: &Store) -> io::Result<Draft> {
    let last = head.snapshot.last;
    let out = BufWriter::with_capacity(BUFFER_BYTES, draft);
    let mut encoder = SnapshotEncoder::new(last.index.0, last.term.0, out)?;
    encoder.write_all(&wire::encode_snapshot_head(head))?;
    store.write_to(&mut encoder)?;
    let (_, out) = encoder.finish()?;
    out.into_inner().map_err(io::IntoInnerError::into_error)
}
