//! What can go wrong with a snapshot file: an enum per operation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::SnapshotId;
use crate::error::Failure;

/// Why a snapshot was not made. No file is left of it, and the log goes on: it is another file.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SnapshotWriteError {
    /// Index and term of a snapshot begin at 1, and the index is below 2⁶³ - 1: the log must be able to go on behind it.
    #[error(
        "no snapshot can stand for index {index} and term {term}: both begin at 1, and the index ends below 2^63 - 1"
    )]
    Invalid {
        /// The index given.
        index: u64,
        /// The term given.
        term: u64,
    },
    /// No snapshot file has this length: it was garbled on its way.
    #[error("no snapshot file has {bytes} bytes; ask the sender again which snapshot it sends")]
    InvalidLength {
        /// The length given.
        bytes: u64,
    },
    /// There is no room for it. Free space, then make it anew.
    #[error("{}: no space for more than {written} bytes of the snapshot, and they are removed: free space, then try again",
            file.display())]
    Full {
        /// The temporary file.
        file: PathBuf,
        /// How many bytes of it there was room for, at least.
        written: u64,
    },
    /// The operating system refused an operation. The log is not poisoned by it; a new snapshot may be tried.
    #[error("{0}; what there was of the snapshot is removed, the log is unharmed")]
    Failed(Arc<Failure>),
    /// The log has marked this snapshot with other bytes, or a newer one.
    #[error(
        "the snapshot for index {index} comes too late: the log has marked the {newest}; there is no need of it"
    )]
    Superseded {
        /// Its index.
        index: u64,
        /// The newest one marked.
        newest: SnapshotId,
    },
    /// A write of this snapshot failed before; nothing was tried.
    #[error("an earlier write of this snapshot failed, and its file is removed; make a new one")]
    Ended,
    /// The log of this handle is closed, and its directory may belong to another by now.
    #[error("the log in {} is closed; take snapshots of the one that is open", dir.display())]
    Closed {
        /// The log's directory.
        dir: PathBuf,
    },
}

impl SnapshotWriteError {
    /// `written` bytes of the file were written before.
    pub(crate) fn new(
        operation: &'static str,
        file: &Path,
        written: u64,
        source: io::Error,
    ) -> Self {
        let failure = Failure::new(operation, file, source);
        if failure.is_full() {
            SnapshotWriteError::Full {
                file: failure.file,
                written,
            }
        } else {
            SnapshotWriteError::Failed(Arc::new(failure))
        }
    }
}

impl From<SnapshotWriteError> for io::Error {
    fn from(error: SnapshotWriteError) -> Self {
        let kind = match &error {
            SnapshotWriteError::Full { .. } => io::ErrorKind::StorageFull,
            SnapshotWriteError::Failed(failure) => failure.source.kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Why a snapshot could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotReadError {
    /// There is no such snapshot (any more): a newer one has replaced it.
    #[error("{}: there is no such snapshot; the newest one marked in the log replaced it", file.display())]
    Missing {
        /// The file that is not there.
        file: PathBuf,
    },
    /// The file does not verify. Nothing of the damaged part was handed out.
    #[error("{}: damaged at byte {offset}: {what}; do not use this snapshot: fetch it from another node", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in the file the part begins that does not verify.
        offset: u64,
        /// What is wrong.
        what: SnapshotDamage,
    },
    /// The file was written by a version of this crate that is not known here.
    #[error("{}: snapshot format version {found}, and this build knows versions up to {known}; use a newer build", file.display())]
    UnknownVersion {
        /// The file.
        file: PathBuf,
        /// The version it states.
        found: u32,
        /// The newest version this build reads.
        known: u32,
    },
    /// The operating system refused the read.
    #[error(transparent)]
    Io(#[from] Failure),
}

impl SnapshotReadError {
    pub(crate) fn corrupt(file: &Path, offset: u64, what: SnapshotDamage) -> Self {
        SnapshotReadError::Corrupt {
            file: file.to_path_buf(),
            offset,
            what,
        }
    }
}

impl From<SnapshotReadError> for io::Error {
    fn from(error: SnapshotReadError) -> Self {
        let kind = match &error {
            SnapshotReadError::Missing { .. } => io::ErrorKind::NotFound,
            SnapshotReadError::Io(failure) => failure.source.kind(),
            SnapshotReadError::Corrupt { .. } | SnapshotReadError::UnknownVersion { .. } => {
                io::ErrorKind::InvalidData
            }
        };
        io::Error::new(kind, error)
    }
}

/// Why a snapshot that was sent here is not there. No file is left of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotReceiveError {
    /// What arrived is not the snapshot that was announced.
    #[error("what was received is not the snapshot that was announced, and is removed: {0}")]
    Damaged(SnapshotReadError),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] SnapshotWriteError),
}

/// What is wrong with a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotDamage {
    /// The file is too short or too long.
    #[error("it has {found} bytes and should have {expected}")]
    Length {
        /// The length it should have.
        expected: u64,
        /// The length found.
        found: u64,
    },
    /// No snapshot has this length.
    #[error("no snapshot has {found} bytes")]
    LengthImpossible {
        /// The length found.
        found: u64,
    },
    /// The header does not verify.
    #[error("the header does not verify")]
    Header,
    /// A block does not verify, or does not continue what is before it.
    #[error("a block does not verify, or belongs elsewhere")]
    Block,
    /// The footer does not verify.
    #[error("the footer does not verify")]
    Footer,
    /// It is whole as far as can be told here, but not the snapshot that was asked for.
    #[error("it is another snapshot than the {expected}")]
    Another {
        /// The snapshot asked for.
        expected: SnapshotId,
    },
}
