//! Why a file is no backup that can be used.

use std::io;
use std::path::{Path, PathBuf};

use raft_log::SnapshotReadError;

use crate::store::StoreSnapshotError;
use crate::wire::DecodeError;

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is no such file.
    #[error("{}: there is no such file", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// It is damaged, cut short, or no backup at all.
    #[error("{}: damaged, or no backup: at byte {offset}: {what}; use another copy of it", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in the file the part begins that does not verify.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Every checksum verifies, but it holds what no backup holds.
    #[error("{}: no backup of this software: {detail}", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        detail: &'static str,
    },
    /// The head or the state in it does not decode.
    #[error("{}: every checksum is right, but {what}; it was made by another program, or by a release with an error", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A newer release made it.
    #[error("{}: {what}; use the release that made it, or a newer one", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// What is unknown here.
        what: String,
    },
    /// It cannot be read.
    #[error("{}: {what}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        what: String,
    },
}

impl BackupError {
    pub(super) fn of_file(path: &Path, error: SnapshotReadError) -> Self {
        let file = path.to_path_buf();
        match error {
            SnapshotReadError::Missing { .. } => Self::Missing { file },
            SnapshotReadError::Corrupt { offset, what, .. } => Self::Damaged {
                file,
                offset,
                what: what.to_string(),
            },
            SnapshotReadError::UnknownVersion { found, known, .. } => Self::Newer {
                file,
                what: format!(
                    "it has version {found} of the format of snapshots, and this release knows up to {known}"
                ),
            },
            SnapshotReadError::Io(failure) => Self::Io {
                file,
                what: failure.source.to_string(),
            },
            other => Self::Io {
                file,
                what: other.to_string(),
            },
        }
    }

    /// What a reader of the file said: damage, or what the decoder of the head made of the bytes.
    pub(super) fn of_read(path: &Path, error: io::Error) -> Self {
        let file = path.to_path_buf();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let what = "it ends within its head".into();
            return Self::Content { file, what };
        }
        let what = error.to_string();
        let Some(inner) = error.into_inner() else {
            return Self::Io { file, what };
        };
        let inner = match inner.downcast::<SnapshotReadError>() {
            Ok(error) => return Self::of_file(path, *error),
            Err(inner) => inner,
        };
        match inner.downcast_ref::<DecodeError>() {
            Some(DecodeError::UnknownVersion { .. }) => Self::Newer { file, what },
            Some(_) => Self::Content { file, what },
            None => Self::Io { file, what },
        }
    }

    pub(super) fn of_state(path: &Path, error: StoreSnapshotError) -> Self {
        let file = path.to_path_buf();
        match error {
            StoreSnapshotError::Io { source, .. } => Self::of_read(path, source),
            error @ (StoreSnapshotError::UnknownVersion { .. }
            | StoreSnapshotError::ClusterVersionTooNew { .. }) => Self::Newer {
                file,
                what: error.to_string(),
            },
            error => Self::Content {
                file,
                what: error.to_string(),
            },
        }
    }
}
