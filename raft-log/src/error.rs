//! One error enum per operation. Every message says what happened, where, and what to do.

mod batch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

pub use batch::{InvalidBatch, Oversized};

use crate::options::OptionsError;
use crate::position::Position;
use crate::snapshot::{SnapshotDamage, SnapshotReadError};

/// Why a log could not be opened. Nothing was changed on the disk, unless it is [`OpenError::Io`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another [`Log`](crate::Log) in this one, holds the directory.
    #[error("{} is in use by another process, or by another log of this one; stop it, or choose another directory",
            dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// Acknowledged content is damaged or gone.
    #[error("{}: {place}{at}: {what}; do not use this log: restore the directory, or start anew in \
             another one", file.display(), place = Place(what, *offset), at = AtIndex(*index))]
    Corrupt {
        /// The damaged (or missing) file.
        file: PathBuf,
        /// Where in the file the damage begins; 0 if it [is the file as a whole](Damage::is_of_whole_file).
        offset: u64,
        /// The first index that cannot be trusted any more, if that is known.
        index: Option<u64>,
        /// What is wrong.
        what: Damage,
    },
    /// The directory belongs to a log with another identity.
    #[error("{} belongs to another log (its identity is {}, not {}); point to the right directory", dir.display(),
            Identity(stored), Identity(given))]
    ForeignIdentity {
        /// The directory.
        dir: PathBuf,
        /// The identity in the superblock.
        stored: Vec<u8>,
        /// The identity in the options.
        given: Vec<u8>,
    },
    /// A file was written by a version of this crate that is not known here.
    #[error("{}: format version {found}, and this build knows versions up to {known}; use a newer build", file.display())]
    UnknownVersion {
        /// The file.
        file: PathBuf,
        /// The version it states.
        found: u32,
        /// The newest version this build reads.
        known: u32,
    },
    /// The directory holds something, but no log.
    #[error("{} holds no log, but other files such as {found:?}; point to the directory of a log, or to an \
             empty one", dir.display())]
    NotALog {
        /// The directory.
        dir: PathBuf,
        /// One of the files found there.
        found: String,
    },
    /// An option is out of its range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The operating system refused an operation.
    #[error(transparent)]
    Io(#[from] Failure),
}

impl OpenError {
    pub(crate) fn corrupt(file: &Path, offset: u64, index: Option<u64>, what: Damage) -> Self {
        OpenError::Corrupt {
            file: file.to_path_buf(),
            offset,
            index,
            what,
        }
    }
}

impl From<SnapshotReadError> for OpenError {
    fn from(error: SnapshotReadError) -> Self {
        match error {
            SnapshotReadError::Missing { file } => {
                OpenError::corrupt(&file, 0, None, Damage::SnapshotMissing)
            }
            SnapshotReadError::Corrupt { file, offset, what } => {
                OpenError::corrupt(&file, offset, None, Damage::Snapshot(what))
            }
            SnapshotReadError::UnknownVersion { file, found, known } => {
                OpenError::UnknownVersion { file, found, known }
            }
            SnapshotReadError::Io(failure) => OpenError::Io(failure),
        }
    }
}

/// What is wrong with a damaged log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damage {
    /// Segments or snapshots exist, the superblock does not.
    #[error("there is no superblock, though there are segments or snapshots")]
    SuperblockMissing,
    /// Neither copy of the superblock verifies.
    #[error("no copy of the superblock verifies")]
    SuperblockUnreadable,
    /// The superblock is older than the segments: it was restored, swapped, or written by a disk that lied.
    #[error("the superblock is older than the segments beside it")]
    SuperblockOld,
    /// A segment that was in use is gone.
    #[error("there is no such file, though the superblock counts this segment among those in use")]
    SegmentMissing,
    /// A segment's header does not verify.
    #[error("the header of the segment does not verify")]
    SegmentHeader,
    /// A segment of another log, or another segment of this one, stands in its place.
    #[error("the file belongs to another log or another place in this one")]
    SegmentForeign,
    /// A segment has not the size it was made with.
    #[error("the file has {found} bytes and was made with {expected}")]
    SegmentLength {
        /// The size in its header.
        expected: u64,
        /// The size found.
        found: u64,
    },
    /// The checkpoint at the head of a segment does not verify or does not continue the segment before.
    #[error(
        "the checkpoint of the segment does not verify or does not continue the segment before"
    )]
    Checkpoint,
    /// A record below the durable watermark does not verify.
    #[error("a record does not verify, though everything before {durable} was durable")]
    Record {
        /// Everything before this place was durable.
        durable: Position,
    },
    /// A record verifies but cannot stand where it stands.
    #[error("a record verifies, and cannot follow those before it")]
    Order,
    /// Entries that were never purged are gone.
    #[error("entries {from} to {to} are missing")]
    EntriesMissing {
        /// The first missing index.
        from: u64,
        /// The last missing index.
        to: u64,
    },
    /// The newest snapshot that was marked is gone.
    #[error("there is no such file, though the log goes on from this snapshot")]
    SnapshotMissing,
    /// The newest snapshot that was marked does not verify.
    #[error("the snapshot that the log goes on from is damaged: {0}")]
    Snapshot(SnapshotDamage),
}

impl Damage {
    /// Whether there is no byte of the file at which the damage begins: the file is gone, or is another than it should be.
    #[must_use]
    pub fn is_of_whole_file(&self) -> bool {
        match self {
            Damage::SuperblockMissing
            | Damage::SuperblockUnreadable
            | Damage::SuperblockOld
            | Damage::SegmentMissing
            | Damage::SegmentForeign
            | Damage::EntriesMissing { .. }
            | Damage::SnapshotMissing => true,
            Damage::SegmentHeader
            | Damage::SegmentLength { .. }
            | Damage::Checkpoint
            | Damage::Record { .. }
            | Damage::Order
            | Damage::Snapshot(_) => false,
        }
    }

    fn is_of_missing_file(&self) -> bool {
        matches!(
            self,
            Damage::SuperblockMissing | Damage::SegmentMissing | Damage::SnapshotMissing
        )
    }
}

/// An operation on a file that failed.
#[derive(Debug, Error)]
#[error("{}: cannot {operation}: {source}{}", file.display(), self.advice())]
pub struct Failure {
    /// What was tried, as a verb phrase ("sync the segment").
    pub operation: &'static str,
    /// The file or directory.
    pub file: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl Failure {
    pub(crate) fn new(operation: &'static str, file: &Path, source: io::Error) -> Self {
        Failure {
            operation,
            file: file.to_path_buf(),
            source,
        }
    }

    fn advice(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; free space, then try again"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; give this process the permission, or choose another directory"
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "; check the path",
            // Not of the operating system: it says itself what it is.
            io::ErrorKind::Other => "",
            _ => "; check the disk: the log of the operating system may say more",
        }
    }

    /// Whether a later try may succeed, and this one did no harm: there was no room, or the process has too many files open, which
    /// only an opening says.
    pub(crate) fn is_passing(&self) -> bool {
        const TOO_MANY_FILES: [i32; 2] = [23, 24]; // ENFILE, EMFILE
        self.is_full()
            || (self.source.raw_os_error()).is_some_and(|code| TOO_MANY_FILES.contains(&code))
    }

    /// Whether nothing is known any more of what the disk holds.
    pub(crate) fn is_final(&self) -> bool {
        !self.is_passing()
    }

    /// The same, where even a lack of room leaves things half done.
    pub(crate) fn final_(self) -> Failure {
        if self.is_final() {
            return self;
        }
        Failure {
            source: io::Error::other(self.source.to_string()),
            ..self
        }
    }

    /// Whether there was no room, which is a state of the disk and not a fault of it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Why a batch is not in the log.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// This operation failed. Whether the batch is on the disk is unknown, and the log is poisoned.
    #[error(
        "{0}; the log is closed for good: end the process, and recover by opening the log anew"
    )]
    Failed(Arc<Failure>),
    /// An earlier operation failed; nothing was tried.
    #[error(
        "the log is closed for good since an earlier failure: {0}; end the process, and recover by opening the log anew"
    )]
    Poisoned(Arc<Failure>),
    /// No room for the next segment. Nothing was written; the log stays usable: make room and try again.
    #[error("no space for the next segment in {}, which takes {bytes} bytes; nothing was written: free space, then try \
             again", dir.display())]
    Full {
        /// The log's directory.
        dir: PathBuf,
        /// How many bytes the segment takes.
        bytes: u64,
    },
    /// The batch cannot stand in this log. Nothing was written; the log stays usable.
    #[error("the batch was refused and nothing was written: {0}")]
    Invalid(#[from] InvalidBatch),
}

impl WriteError {
    /// For what is written while a log is opened.
    pub(crate) fn into_open_error(self) -> OpenError {
        let failure = match self {
            WriteError::Failed(failure) | WriteError::Poisoned(failure) => {
                let source = io::Error::new(failure.source.kind(), failure.source.to_string());
                Failure::new(failure.operation, &failure.file, source)
            }
            WriteError::Full { dir, .. } => Failure::new(
                "make the next segment ready",
                &dir,
                io::ErrorKind::StorageFull.into(),
            ),
            WriteError::Invalid(error) => unreachable!("it was checked before: {error}"),
        };
        OpenError::Io(failure)
    }
}

/// Why records could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The record was purged: a snapshot must stand in for it.
    #[error(
        "record {index} was purged; the log begins at {first}, and a snapshot must stand in for what is before"
    )]
    Purged {
        /// The index asked for.
        index: u64,
        /// The first index there is; one that it is at least, if a later opening of the log purged it.
        first: u64,
    },
    /// The record was never written, is not durable yet, or was truncated.
    #[error(
        "record {index} is beyond the end of the log: the last durable record is {last}; read it once it is written"
    )]
    BeyondEnd {
        /// The index asked for.
        index: u64,
        /// The last durable index.
        last: u64,
    },
    /// A durable record does not verify any more.
    #[error("{}: record {index} does not verify near byte {offset}; the disk has damaged the log: close the log, then \
             restore the directory, or start anew in another one", file.display())]
    Corrupt {
        /// The segment.
        file: PathBuf,
        /// Where the record stands.
        offset: u64,
        /// The record's index.
        index: u64,
    },
    /// The operating system refused the read.
    #[error(transparent)]
    Io(#[from] Failure),
}

/// The caller's bytes: as text in quotes if they are printable, else as hex.
struct Identity<'a>(&'a [u8]);

impl std::fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("empty");
        }
        if let Ok(text) = std::str::from_utf8(self.0)
            && !text.chars().any(char::is_control)
        {
            return write!(f, "{text:?}");
        }
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a damage is of: a file that is there, in whole or from a byte on, or none.
struct Place<'a>(&'a Damage, u64);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place(what, _) if what.is_of_missing_file() => f.write_str("missing"),
            Place(what, _) if what.is_of_whole_file() => f.write_str("damaged"),
            Place(_, offset) => write!(f, "damaged at byte {offset}"),
        }
    }
}

struct AtIndex(Option<u64>);

impl std::fmt::Display for AtIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(index) => write!(f, ", from index {index} on"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
