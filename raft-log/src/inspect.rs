//! Looks into a log that nobody has open, and changes nothing: for operators, and for whoever wants to know what is there.
//!
//! [`Inspection::verify`] answers as an opening would, by the same code. [`Inspection::dump`] lists all that stands in the
//! directory, damaged or not.
//!
//! No permission to write is needed, neither on the files nor on the directory. The directory is locked all the same, so
//! that nothing changes meanwhile: a log that is open cannot be inspected, and one that is inspected cannot be opened. (On
//! Unix that is a lock on the directory itself; elsewhere it needs a file named `lock`, which is made if it is missing.)

mod dump;
mod item;
mod read_only;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use item::{
    CheckpointFacts, Content, Gap, Item, RecordItem, SegmentFacts, SegmentItem, SnapshotItem,
    Standing, SuperblockFacts, SuperblockItem, Unreadable,
};
pub use read_only::ReadOnly;
pub use verify::Verified;

use crate::error::{Failure, OpenError};
use crate::files::{Files, OsFiles};
use crate::open::{Survey, survey};

/// Why there is nothing to inspect.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is no such directory.
    #[error("there is no directory {}; point to the directory of a log", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds nothing.
    #[error("{} holds no log: there is nothing in it; point to the directory of a log", dir.display())]
    Empty {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds other files, or is in use, or cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The log in a directory, locked and only read. Whatever is done with it, nothing on the disk changes.
pub struct Inspection<F: Files = OsFiles> {
    files: ReadOnly<F>,
    dir: PathBuf,
    _lock: F::Lock,
}

impl<F: Files> std::fmt::Debug for Inspection<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspection")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Inspection<OsFiles> {
    /// Locks the log in a directory for inspection.
    ///
    /// # Errors
    /// [`InspectError::Missing`] when there is no directory, [`InspectError::Empty`] when it holds nothing;
    /// [`OpenError::NotALog`], [`OpenError::Locked`] or [`OpenError::Io`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, InspectError> {
        Inspection::open_with(OsFiles, dir.as_ref())
    }
}

impl<F: Files> Inspection<F> {
    /// [`Inspection::open`] on any [`Files`].
    ///
    /// # Errors
    /// As [`Inspection::open`].
    pub fn open_with(files: F, dir: &Path) -> Result<Self, InspectError> {
        let files = ReadOnly::new(files);
        match survey(&files, dir) {
            Ok(Survey::Empty) => {
                let missing =
                    (files.list(dir)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
                let dir = dir.to_path_buf();
                return Err(if missing {
                    InspectError::Missing { dir }
                } else {
                    InspectError::Empty { dir }
                });
            }
            // A damaged log is what an inspection is for.
            Ok(Survey::Log(_)) | Err(OpenError::Corrupt { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let lock = files
            .lock(dir)
            .map_err(|source| OpenError::Io(Failure::new("lock the directory", dir, source)))?;
        let lock = lock.ok_or_else(|| OpenError::Locked {
            dir: dir.to_path_buf(),
        })?;
        Ok(Inspection {
            files,
            dir: dir.to_path_buf(),
            _lock: lock,
        })
    }
}
