//! Making a snapshot: from its payload, or from the bytes of another node's file.

use std::io;

use super::draft::Draft;
use super::encode::Encoding;
use super::error::{SnapshotDamage, SnapshotReadError, SnapshotReceiveError, SnapshotWriteError};
use super::verify::Verifier;
use super::{FinishedSnapshot, SnapshotId, Snapshots, is_place};
use crate::files::{Files, OsFiles};

/// Takes the payload of a new snapshot, as [`io::Write`], and streams it to a temporary file.
///
/// The bytes of the file depend on index, term and payload alone, not on how the payload was split into writes. Nothing
/// counts before [`SnapshotWriter::finish`]; dropping it removes the file. An [`io::Error`] of it holds a
/// [`SnapshotWriteError`]; after one the file is gone. `flush` does nothing.
pub struct SnapshotWriter<F: Files = OsFiles> {
    /// `None` after an error.
    draft: Option<Draft<F>>,
    encoding: Encoding,
}

impl<F: Files> std::fmt::Debug for SnapshotWriter<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

impl<F: Files> Snapshots<F> {
    /// Begins a snapshot that stands for all records up to `index`, whose term is `term`.
    ///
    /// # Errors
    /// See [`SnapshotWriteError`].
    pub fn create(&self, index: u64, term: u64) -> Result<SnapshotWriter<F>, SnapshotWriteError> {
        if !is_place(index, term) {
            return Err(SnapshotWriteError::Invalid { index, term });
        }
        let mut draft = Draft::create(self, index, term)?;
        let encoding = Encoding::begin(index, term, |bytes| draft.push(bytes))?;
        Ok(SnapshotWriter {
            draft: Some(draft),
            encoding,
        })
    }

    /// Begins to receive a snapshot whose file another node sends in pieces.
    ///
    /// # Errors
    /// See [`SnapshotWriteError`].
    pub fn receive(&self, id: SnapshotId) -> Result<SnapshotReceiver<F>, SnapshotWriteError> {
        let SnapshotId {
            index, term, bytes, ..
        } = id;
        if !is_place(index, term) {
            return Err(SnapshotWriteError::Invalid { index, term });
        }
        let verifier = Verifier::new(&self.path_of(&id), bytes, id)
            .map_err(|_| SnapshotWriteError::InvalidLength { bytes })?;
        Ok(SnapshotReceiver {
            draft: Some(Draft::create(self, index, term)?),
            verifier,
            unit: Vec::new(),
            id,
        })
    }
}

impl<F: Files> Snapshots<F> {
    /// Removes a snapshot that is not to be marked after all: one that turned out to be another's, say. Left alone, it would be gone with the
    /// next mark; or, if the log comes to hold the record it ends with, be marked at the next opening. One that is marked, or whose mark is
    /// being written, stays.
    ///
    /// # Errors
    /// [`SnapshotWriteError`], when the file cannot be removed.
    pub fn discard(&self, finished: FinishedSnapshot) -> Result<(), SnapshotWriteError> {
        let id = finished.id();
        let path = self.path_of(&id);
        self.registry.discard(id, || {
            self.files
                .remove(&path)
                .map_err(|source| SnapshotWriteError::new("remove the snapshot", &path, 0, source))
        })
    }
}

impl<F: Files> SnapshotWriter<F> {
    /// Ends the payload and makes the snapshot durable, with its name. It is marked by
    /// [`Batch::snapshot`](crate::Batch::snapshot); without that it is gone at the next opening, unless the log holds
    /// the record it stands for.
    ///
    /// # Errors
    /// See [`SnapshotWriteError`].
    pub fn finish(mut self) -> Result<FinishedSnapshot, SnapshotWriteError> {
        let mut draft = self.draft.take().ok_or(SnapshotWriteError::Ended)?;
        let id = self.encoding.finish(|bytes| draft.push(bytes))?;
        draft.publish(id)
    }

    fn append(&mut self, payload: &[u8]) -> Result<(), SnapshotWriteError> {
        // Not put back if an error interrupts this: then the file goes.
        let mut draft = self.draft.take().ok_or(SnapshotWriteError::Ended)?;
        self.encoding.append(payload, |bytes| draft.push(bytes))?;
        self.draft = Some(draft);
        Ok(())
    }
}

impl<F: Files> io::Write for SnapshotWriter<F> {
    fn write(&mut self, payload: &[u8]) -> io::Result<usize> {
        self.append(payload)?;
        Ok(payload.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes the bytes of a snapshot file in their order, in pieces of any size, and verifies every block.
///
/// A piece that did not arrive is sent again from [`SnapshotReceiver::received`] on, by whichever node has a snapshot with
/// the same id. Dropping it removes the file.
pub struct SnapshotReceiver<F: Files = OsFiles> {
    /// `None` after an error.
    draft: Option<Draft<F>>,
    verifier: Verifier,
    /// The first bytes of the next unit.
    unit: Vec<u8>,
    id: SnapshotId,
}

impl<F: Files> std::fmt::Debug for SnapshotReceiver<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReceiver")
            .field("id", &self.id)
            .field("received", &self.received())
            .finish_non_exhaustive()
    }
}

impl<F: Files> SnapshotReceiver<F> {
    /// Which snapshot is received.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// How many bytes have come: the offset in the file of the piece that is wanted next.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.verifier.offset() + self.unit.len() as u64
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// [`SnapshotReceiveError`], as soon as a block does not verify. The file is gone then, and every later call answers
    /// [`SnapshotWriteError::Ended`].
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotReceiveError> {
        let mut draft = self.draft.take().ok_or(SnapshotWriteError::Ended)?;
        while !bytes.is_empty() {
            let unit_bytes = self.verifier.unit_bytes();
            if unit_bytes == 0 {
                let (expected, found) = (self.id.bytes, self.id.bytes + bytes.len() as u64);
                let what = SnapshotDamage::Length { expected, found };
                return Err(damaged(&draft, expected, what));
            }
            let (part, rest) = bytes.split_at(bytes.len().min(unit_bytes - self.unit.len()));
            self.unit.extend_from_slice(part);
            bytes = rest;
            if self.unit.len() == unit_bytes {
                let taken = self.verifier.take(&self.unit);
                taken.map_err(SnapshotReceiveError::Damaged)?;
                draft.push(&self.unit)?;
                self.unit.clear();
            }
        }
        self.draft = Some(draft);
        Ok(())
    }

    /// Makes the snapshot durable, with its name: see [`SnapshotWriter::finish`].
    ///
    /// # Errors
    /// [`SnapshotReceiveError`]; also if it is not complete.
    pub fn finish(mut self) -> Result<FinishedSnapshot, SnapshotReceiveError> {
        let draft = self.draft.take().ok_or(SnapshotWriteError::Ended)?;
        let (expected, found) = (self.id.bytes, self.received());
        if found < expected {
            let what = SnapshotDamage::Length { expected, found };
            return Err(damaged(&draft, found, what));
        }
        Ok(draft.publish(self.id)?)
    }
}

fn damaged<F: Files>(draft: &Draft<F>, offset: u64, what: SnapshotDamage) -> SnapshotReceiveError {
    SnapshotReceiveError::Damaged(SnapshotReadError::corrupt(draft.path(), offset, what))
}
