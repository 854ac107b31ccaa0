//! Reading a snapshot as a stream: a block is verified before any byte of it is handed out.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{SnapshotDamage, SnapshotReadError};
use super::verify::{Verifier, identify, open_glancing};
use super::{SnapshotId, Snapshots};
use crate::error::Failure;
use crate::files::{FileHandle, Files, OsFiles};
use crate::superblock::read_full;

/// How much is read from the file at once: all the memory that a reader takes.
const READ_BYTES: u64 = 256 * 1024;

/// A snapshot that is open for reading. It stays readable when a newer one replaces it and its file is removed.
///
/// As [`io::Read`] it hands out the payload, each block verified before; the end is told only when the whole file is
/// verified. [`SnapshotReader::read_at`] gives the bytes of the file itself, for sending.
///
/// An [`io::Error`] of it holds a [`SnapshotReadError`]: [`io::ErrorKind::InvalidData`] is damage.
pub struct SnapshotReader<F: Files = OsFiles> {
    file: F::Handle,
    path: PathBuf,
    id: SnapshotId,
    verifier: Verifier,
    /// A piece of the file: whole units from `next` on are not verified yet.
    buf: Vec<u8>,
    next: usize,
    /// Where in `buf` the payload is that is verified and not handed out.
    payload: std::ops::Range<usize>,
}

impl<F: Files> std::fmt::Debug for SnapshotReader<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<F: Files> SnapshotReader<F> {
    pub(crate) fn open(
        files: &F,
        path: PathBuf,
        id: &SnapshotId,
    ) -> Result<Self, SnapshotReadError> {
        let (file, verifier) = open_glancing(files, &path, id)?;
        Ok(SnapshotReader {
            file,
            path,
            id: *id,
            verifier,
            buf: Vec::new(),
            next: 0,
            payload: 0..0,
        })
    }

    /// Opens a snapshot's file wherever it stands: a backup, say. Which snapshot it is, the file itself says; its length, header and footer
    /// must go together, the rest is verified as it is read.
    ///
    /// # Errors
    /// See [`SnapshotReadError`].
    pub fn open_file(files: &F, path: &Path) -> Result<Self, SnapshotReadError> {
        let id = identify(files, path)?;
        Self::open(files, path.to_path_buf(), &id)
    }

    /// Which snapshot this is.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// Reads bytes of the file, not of the payload, from `offset` on; 0 at the end. They are what
    /// [`SnapshotReceiver::write`](super::SnapshotReceiver::write) wants, which verifies them: here they are not.
    ///
    /// # Errors
    /// [`SnapshotReadError::Io`].
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, SnapshotReadError> {
        let read = self.file.read_at(buf, offset);
        Ok(read.map_err(|source| Failure::new("read the snapshot", &self.path, source))?)
    }

    /// Reads the rest of the file and verifies it.
    ///
    /// # Errors
    /// The first damage, or what the operating system says.
    pub fn verify(mut self) -> Result<(), SnapshotReadError> {
        while self.advance()? {}
        Ok(())
    }

    /// Verifies the next unit; whether there was one.
    fn advance(&mut self) -> Result<bool, SnapshotReadError> {
        let len = self.verifier.unit_bytes();
        if len == 0 {
            return Ok(false);
        }
        if self.buf.len() - self.next < len {
            self.fill(len)?;
        }
        let unit = self.buf.get(self.next..self.next + len);
        let payload = self.verifier.take(unit.unwrap_or_default())?;
        self.payload = self.next..self.next + payload;
        self.next += len;
        Ok(true)
    }

    /// Reads on from where the verified part ends: `needed` bytes at least.
    fn fill(&mut self, needed: usize) -> Result<(), SnapshotReadError> {
        let offset = self.verifier.offset();
        self.next = 0;
        self.buf
            .resize(self.verifier.rest().min(READ_BYTES) as usize, 0);
        let filled = read_full(&self.file, &mut self.buf, offset);
        // After a failed read the content is unknown: forget it.
        self.buf.truncate(*filled.as_ref().unwrap_or(&0));
        let filled =
            filled.map_err(|source| Failure::new("read the snapshot", &self.path, source))?;
        if filled < needed {
            let found = offset + filled as u64;
            let what = SnapshotDamage::Length {
                expected: self.id.bytes,
                found,
            };
            return Err(SnapshotReadError::corrupt(&self.path, found, what));
        }
        Ok(())
    }
}

impl<F: Files> io::Read for SnapshotReader<F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.payload.is_empty() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let verified = self.buf.get(self.payload.clone()).unwrap_or_default();
        let len = verified.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..len), verified.get(..len)) {
            to.copy_from_slice(from);
        }
        self.payload.start += len;
        Ok(len)
    }
}

impl<F: Files> Snapshots<F> {
    /// Opens a snapshot: its length, header and footer must be those of `id`. The rest is verified as it is read.
    ///
    /// # Errors
    /// See [`SnapshotReadError`].
    pub fn open(&self, id: &SnapshotId) -> Result<SnapshotReader<F>, SnapshotReadError> {
        SnapshotReader::open(&self.files, self.path_of(id), id)
    }
}
