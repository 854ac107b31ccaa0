//! The data directory: whose it is, what it holds, and the two threads that work on it while the node runs.
//!
//! Guards: the loop never waits for a disk. Writes are the log writer's thread's, which makes one write and one sync of
//! all jobs that wait; reads are the fetch thread's.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use raft_core::{Boot, FetchJob, Incarnation, JobId, LogId, MemberId, NodeId};
use raft_log::writer::{Completion, Writer};
use raft_log::{
    Cut, Files, Log, OpenError, Options, OsFiles, ReadError, Reader, Space, peek_identity,
    peek_identity_with,
};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use super::inbox::Own;
use super::seed::{self, Planted};
use super::snapshot::work;
use super::{FormedDisk, StateMachine};
use crate::glue::{self, DiskError};
use crate::wire::{self, DecodeError, DirectoryIdentity};

/// Why a data directory cannot be used by this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It is damaged, locked, or cannot be read or written.
    #[error("data directory {}: {source}", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// It is another node's.
    #[error("data directory {} belongs to node {stored}, and node {given} was started with it; give each node its own", dir.display())]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        stored: NodeId,
        /// Who was started with it.
        given: NodeId,
    },
    /// It is a log, but no node's.
    #[error("data directory {} holds a log that is no node's: {source}; choose another directory", dir.display())]
    NoNode {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: DecodeError,
    },
    /// The snapshot that its log goes on from cannot be read back.
    #[error("data directory {}: the snapshot of {last} cannot be read: {source}; the log goes on from it, and is of no use without it: take the node in anew, with an empty directory", dir.display())]
    Snapshot {
        /// The directory.
        dir: PathBuf,
        /// Where the snapshot ends.
        last: LogId,
        /// Why.
        source: std::io::Error,
    },
    /// It is to be restored into, and holds something.
    #[error("data directory {} is not empty: a backup is restored into a new one, so that nothing of an old cluster comes into the new one; choose another directory. (One that an interrupted `raft-kv restore` left behind can be removed; a node's cannot.)", dir.display())]
    NotNew {
        /// The directory.
        dir: PathBuf,
    },
    /// A backup was to be restored into it, and that never ended.
    #[error("data directory {} was made by `raft-kv restore`, which did not end: remove it, and run that command again", dir.display())]
    Unfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// The state that it was restored with cannot be written or read.
    #[error("data directory {}: the state that the restored cluster begins with: {source}; remove the directory, and run `raft-kv restore` again", dir.display())]
    Seed {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was restored for a cluster that is not the one that it was started with.
    #[error("data directory {} was restored for a new cluster of {founders}, and this node was started with {given}; leave that out, or make it the same", dir.display())]
    OtherFounders {
        /// The directory.
        dir: PathBuf,
        /// For whom it was restored, as `--cluster` has it.
        founders: String,
        /// What was given.
        given: String,
    },
    /// What it holds is not what a node writes.
    #[error("data directory {}: {source}; restore the directory, or start a version of this software that knows it", dir.display())]
    Content {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: DiskError,
    },
}

/// An open data directory.
pub(crate) struct Directory<F: Files = OsFiles> {
    pub(crate) log: Log<F>,
    pub(crate) reader: Reader<F>,
    pub(crate) member: MemberId,
    pub(crate) boot: Boot,
    /// Whether a backup was restored into it.
    pub(crate) restored: bool,
    pub(crate) disk: Option<FormedDisk>,
    /// The torn tail that was cut, if there was one.
    #[cfg_attr(
        not(feature = "sim"),
        allow(dead_code, reason = "the log of the process has it")
    )]
    pub(crate) cut: Option<Cut>,
}

/// Opens a node's data directory, or makes it. The boot number that it gives is durable.
pub(crate) fn open(dir: &Path, id: u64, segment_bytes: u64) -> Result<Directory, DirectoryError> {
    open_with(OsFiles, dir, id, options(segment_bytes), draw_incarnation)
}

/// [`open`] on any files. The options' identity is set here; `incarnation` is drawn for a new directory.
pub(crate) fn open_with<F: Files>(
    files: F,
    dir: &Path,
    id: u64,
    options: Options,
    incarnation: impl FnOnce() -> Incarnation,
) -> Result<Directory<F>, DirectoryError> {
    let failed = |source| DirectoryError::Open {
        dir: dir.to_path_buf(),
        source,
    };
    let given = NodeId(id);
    let identity = match peek_identity_with(&files, dir).map_err(failed)? {
        Some(blob) => {
            wire::decode_identity(blob.into()).map_err(|source| DirectoryError::NoNode {
                dir: dir.to_path_buf(),
                source,
            })?
        }
        None => DirectoryIdentity {
            node: given,
            incarnation: incarnation(),
            restored: false,
        },
    };
    if identity.node != given {
        return Err(DirectoryError::OtherNode {
            dir: dir.to_path_buf(),
            stored: identity.node,
            given,
        });
    }
    open_as(files, dir, &identity, options)
}

/// [`open_with`] as whoever the directory belongs to.
pub(crate) fn open_as<F: Files>(
    files: F,
    dir: &Path,
    identity: &DirectoryIdentity,
    options: Options,
) -> Result<Directory<F>, DirectoryError> {
    let failed = |source| DirectoryError::Open {
        dir: dir.to_path_buf(),
        source,
    };
    let options = Options {
        identity: wire::encode_identity(identity).to_vec(),
        ..options
    };
    let (log, recovery) = Log::open_with(files, dir, options).map_err(failed)?;
    let (reader, snapshots) = (log.reader(), log.snapshots());
    let disk = glue::recovered(&recovery, &reader, |file| work::read_head(&snapshots, file))
        .map_err(|source| DirectoryError::Content {
            dir: dir.to_path_buf(),
            source,
        })?;
    info!(
        dir = %dir.display(), boot = recovery.boot, new = recovery.created, clean = recovery.clean,
        first = recovery.first_index, last = recovery.last_index, "data directory opened"
    );
    if let Some(cut) = &recovery.cut {
        warn!(file = %cut.file.display(), offset = cut.offset, bytes = cut.bytes, records = cut.records,
            "a torn tail was cut: what the last run wrote and nobody was told of");
    }
    let member = MemberId {
        node: identity.node,
        incarnation: identity.incarnation,
    };
    Ok(Directory {
        log,
        reader,
        member,
        boot: Boot(recovery.boot),
        restored: identity.restored,
        disk,
        cut: recovery.cut,
    })
}

/// The settings of the log in a node's directory; its identity is set when it is opened.
pub(crate) fn options(segment_bytes: u64) -> Options {
    Options {
        segment_bytes,
        ..Options::default()
    }
}

/// Gives a state machine that has applied nothing the state of the snapshot that the directory holds, if it holds one; or that of the
/// seed, which is answered, in a restored directory that belongs to no cluster yet.
pub(crate) fn restore<F: Files, S: StateMachine>(
    files: &F,
    directory: &Directory<F>,
    dir: &Path,
    machine: &mut S,
) -> Result<Option<Planted>, DirectoryError> {
    let Some(disk) = &directory.disk else {
        return match directory.restored {
            true => seed::load(files, dir, machine).map(Some),
            false => Ok(None),
        };
    };
    if directory.restored {
        // A crash may have left it.
        seed::remove(files, dir);
    }
    let Some((file, _)) = &disk.snapshot else {
        return Ok(None);
    };
    work::restore(&directory.log.snapshots(), *file, machine, &|| false).map_err(|source| {
        DirectoryError::Snapshot {
            dir: dir.to_path_buf(),
            last: file.last,
            source,
        }
    })?;
    Ok(None)
}

/// Whether there is no node's data yet.
pub(crate) fn is_new(dir: &Path) -> Result<bool, DirectoryError> {
    let failed = |source| DirectoryError::Open {
        dir: dir.to_path_buf(),
        source,
    };
    peek_identity(dir)
        .map(|identity| identity.is_none())
        .map_err(failed)
}

/// A number that no directory has had: the keys of a `RandomState` come from the operating system.
pub(crate) fn draw_incarnation() -> Incarnation {
    Incarnation(random().max(1))
}

/// Sixty-four bits from the operating system's randomness.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// How many bytes the files in a directory take.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(dir) else {
        return 0;
    };
    files
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// Starts the thread that writes the log. It says through `answers` what is durable, and if it failed.
pub(crate) fn writer<S: Send + 'static>(
    log: Log,
    answers: UnboundedSender<Own<S>>,
) -> std::io::Result<Writer> {
    let mut was_full = false;
    Writer::spawn(log, move |completion| {
        let (event, space) = match completion {
            Completion::Durable(commit) => {
                (Some(Own::Durable(JobId(commit.job))), Some(commit.space))
            }
            Completion::Failed { error, .. } => (Some(Own::LogFailed(error.to_string())), None),
            Completion::Full { .. } => (None, Some(Space::Full)),
            Completion::Space(space) => (None, Some(space)),
            _ => (None, None),
        };
        let full = space.map(|space| space == Space::Full);
        let changed = full.filter(|&full| std::mem::replace(&mut was_full, full) != full);
        for event in event.into_iter().chain(changed.map(Own::Full)) {
            // The loop is gone only when the node has stopped.
            let _ = answers.send(event);
        }
    })
}

/// Starts the thread that reads the log. It ends when the sender is dropped.
pub(crate) fn fetcher<S: Send + 'static>(
    reader: Reader,
    answers: UnboundedSender<Own<S>>,
) -> std::io::Result<mpsc::Sender<FetchJob>> {
    let (jobs, inbox) = mpsc::channel::<FetchJob>();
    std::thread::Builder::new()
        .name("log-reader".into())
        .spawn(move || {
            for job in inbox {
                let answer = match fetch(&reader, job) {
                    Ok(entries) => Own::Fetched {
                        id: job.id,
                        entries,
                    },
                    Err(error) => Own::LogFailed(error),
                };
                if answers.send(answer).is_err() {
                    return;
                }
            }
        })?;
    Ok(jobs)
}

/// Nothing, when the entries were cut since they were asked for.
pub(crate) fn fetch<F: Files>(
    reader: &Reader<F>,
    job: FetchJob,
) -> Result<Vec<raft_core::Entry>, String> {
    let mut records = match reader.read(job.from.0, job.bytes_max) {
        Ok(records) => records,
        Err(ReadError::Purged { .. } | ReadError::BeyondEnd { .. }) => Vec::new(),
        Err(error) => return Err(error.to_string()),
    };
    records.retain(|record| record.index <= job.to.0);
    glue::entries(records).map_err(|error| format!("an entry of the log cannot be read: {error}"))
}
