//! A snapshot file while it is written, under a name that does not count.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::SnapshotWriteError;
use super::format::BLOCK_BYTES;
use super::{FinishedSnapshot, SnapshotId, Snapshots};
use crate::files::{FileHandle, Files};
use crate::mutants::{Mutant, mutant};

/// How much goes out in one write: all the memory that writing takes, but for a block.
const WRITE_BYTES: usize = 256 * 1024;
/// How much goes out between two syncs: not much, so that the sync of a batch of the log that runs meanwhile waits behind a
/// short queue.
const SYNC_BYTES: usize = 8 * 1024 * 1024;

/// Dropped without [`Draft::publish`], it removes the file.
pub(super) struct Draft<F: Files> {
    snapshots: Snapshots<F>,
    file: F::Handle,
    path: PathBuf,
    /// What is not written yet.
    buf: Vec<u8>,
    written: u64,
    unsynced: usize,
    /// Whether the file has its name.
    placed: bool,
    /// As long as something may be renamed into the directory, no other log opens it.
    _lock: Arc<F::Lock>,
}

impl<F: Files> Draft<F> {
    pub(super) fn create(
        snapshots: &Snapshots<F>,
        index: u64,
        term: u64,
    ) -> Result<Self, SnapshotWriteError> {
        let closed = || SnapshotWriteError::Closed {
            dir: snapshots.dir.clone(),
        };
        let lock = snapshots.lock.upgrade().ok_or_else(closed)?;
        let path = snapshots
            .dir
            .join(snapshots.registry.temporary_name(index, term));
        let file = snapshots
            .files
            .create(&path)
            .map_err(|source| SnapshotWriteError::new("create the snapshot", &path, 0, source))?;
        Ok(Draft {
            snapshots: snapshots.clone(),
            file,
            path,
            buf: Vec::new(),
            written: 0,
            unsynced: 0,
            placed: false,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Takes bytes: at most a block at once, or the memory would not be bounded.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotWriteError> {
        debug_assert!(bytes.len() <= BLOCK_BYTES, "bounded memory");
        self.buf.extend_from_slice(bytes);
        if self.buf.len() < WRITE_BYTES {
            return Ok(());
        }
        self.write_out()
    }

    fn write_out(&mut self) -> Result<(), SnapshotWriteError> {
        self.file
            .write_all_at(&self.buf, self.written)
            .map_err(|source| self.failed("write the snapshot", source))?;
        self.written += self.buf.len() as u64;
        self.unsynced += self.buf.len();
        self.buf.clear();
        if self.unsynced >= SYNC_BYTES {
            self.file
                .sync_data()
                .map_err(|source| self.failed("sync the snapshot", source))?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Makes the file durable, then gives it its name, durably. What was given to [`Draft::push`] is the snapshot `id`.
    pub(super) fn publish(
        mut self,
        id: SnapshotId,
    ) -> Result<FinishedSnapshot, SnapshotWriteError> {
        self.write_out()?;
        assert_eq!(
            self.written, id.bytes,
            "the file is as long as was reckoned"
        );
        // Length and bytes: once the name is there, so is all of the file.
        if !mutant(Mutant::SkipsSnapshotSync) {
            self.file
                .sync_all()
                .map_err(|source| self.failed("sync the snapshot", source))?;
        }
        let snapshots = &self.snapshots;
        let path = snapshots.path_of(&id);
        let rename = || {
            snapshots
                .files
                .rename(&self.path, &path)
                .map_err(|source| self.failed("rename the snapshot", source))
        };
        snapshots.registry.place(id, rename)?;
        self.placed = true;
        let dir = &self.snapshots.dir;
        if !mutant(Mutant::SkipsSnapshotName) {
            self.snapshots.files.sync_dir(dir).map_err(|source| {
                SnapshotWriteError::new("sync the directory", dir, self.written, source)
            })?;
        }
        Ok(FinishedSnapshot::new(id, &self.snapshots.registry))
    }

    fn failed(&self, operation: &'static str, source: std::io::Error) -> SnapshotWriteError {
        SnapshotWriteError::new(operation, &self.path, self.written, source)
    }
}

impl<F: Files> Drop for Draft<F> {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if let Err(error) = self.snapshots.files.remove(&self.path) {
            let file = self.path.display();
            tracing::warn!(%file, %error, "an unfinished snapshot stays until the next opening");
        }
    }
}
