//! The newest batches in memory, as they were written: reads of what was just committed touch no file.
//!
//! Entries are found by index alone, so nothing here knows of segments. The tail changes in the same moment as the index, and
//! holds an unbroken row of entries up to the newest one, or nothing.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::batch::Batch;
use crate::format::{Fields, RECORD_HEADER_BYTES, RecordHeader, RecordType};
use crate::index::Staged;

/// What a piece costs beside its buffers.
const PIECE_BYTES: usize = size_of::<Kept>() + size_of::<Piece>() + 16;

/// One batch as it was written.
#[derive(Default)]
pub(crate) struct Piece {
    bytes: Vec<u8>,
    /// The index of the first entry that the batch left in the log, and where in `bytes` it and those after it begin.
    first: u64,
    offsets: Vec<u32>,
    /// Bytes of payload in these entries: not more than there are.
    payload: usize,
}

impl Piece {
    /// Takes in a batch that was just written from `buf`, in the buffers that it has; `false` if no entry came of it.
    ///
    /// The two buffers are exchanged where that wastes little, so that large batches are not copied.
    pub(crate) fn take(&mut self, batch: &Batch<'_>, staged: &Staged, buf: &mut Vec<u8>) -> bool {
        self.offsets.clear();
        self.offsets.reserve(batch.records() as usize);
        self.payload = 0;
        let mut offset = 0;
        for op in batch.ops() {
            match op.record_type {
                RecordType::Entry => {
                    if self.offsets.is_empty() {
                        self.first = op.index;
                    }
                    self.offsets.push(offset);
                    self.payload += op.payload.len();
                }
                RecordType::Truncate => {
                    // What the batch itself wrote before is cut with what stood in the log.
                    let kept = op.index.saturating_sub(self.first);
                    self.offsets
                        .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                    self.payload = 0;
                }
                RecordType::Snapshot if staged.drops_at(offset) => {
                    self.offsets.clear();
                    self.payload = 0;
                }
                _ => {}
            }
            offset += crate::format::record_bytes(op.payload.len()) as u32;
        }
        if self.offsets.is_empty() {
            return false;
        }
        buf.truncate(offset as usize);
        if buf.len() >= buf.capacity() / 2 {
            std::mem::swap(&mut self.bytes, buf);
        } else {
            self.bytes.clear();
            self.bytes.shrink_to(2 * buf.len());
            self.bytes.reserve_exact(buf.len());
            self.bytes.extend_from_slice(buf);
        }
        true
    }

    fn entries(&self) -> Range<u64> {
        self.first..self.first + self.offsets.len() as u64
    }

    fn cost(&self) -> usize {
        self.bytes.capacity() + self.offsets.capacity() * size_of::<u32>() + PIECE_BYTES
    }

    /// The entry at an index: its header and its payload.
    pub(crate) fn entry(&self, index: u64) -> Option<(RecordHeader, &[u8])> {
        let nth = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let record = self.bytes.get(*self.offsets.get(nth)? as usize..)?;
        let header = RecordHeader::fields(Fields(record))?;
        let payload = record.get(RECORD_HEADER_BYTES..)?;
        let payload = payload.get(..header.length as usize)?;
        Some((header, payload))
    }
}

/// A piece, and those of its entries that are in the log.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) entries: Range<u64>,
    pub(crate) piece: Arc<Piece>,
}

/// The row of the newest pieces.
pub(crate) struct Tail {
    kept: VecDeque<Kept>,
    /// What all of them cost.
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Tail {
        Tail {
            kept: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes in what a batch did: of what was here the entries above `keep_to` are gone, `piece` is new, and the log now ends with
    /// `last`. What was purged stays until it is pushed out: nobody asks for it. What finds no room any more goes to `gone`, for who calls to drop it without the lock.
    pub(crate) fn apply(
        &mut self,
        keep_to: u64,
        last: u64,
        piece: Option<Piece>,
        gone: &mut Vec<Arc<Piece>>,
    ) {
        while let Some(newest) = self.kept.back_mut()
            && newest.entries.end > keep_to + 1
        {
            newest.entries.end = (keep_to + 1).max(newest.entries.start);
            if newest.entries.is_empty()
                && let Some(newest) = self.kept.pop_back()
            {
                self.forget(newest, gone);
            } else {
                break;
            }
        }
        let end = |kept: &Kept| kept.entries.end;
        if let Some(piece) = piece {
            let first = self.kept.back().map_or(piece.first, end);
            assert_eq!(first, piece.first, "the tail is an unbroken row of entries");
            self.bytes += piece.cost();
            let (entries, piece) = (piece.entries(), Arc::new(piece));
            self.kept.push_back(Kept { entries, piece });
        }
        // A batch that was too large to be kept breaks the row: all before it goes.
        let broken = self
            .kept
            .back()
            .is_some_and(|newest| newest.entries.end != last + 1);
        while (broken || self.bytes > self.bytes_max)
            && let Some(oldest) = self.kept.pop_front()
        {
            self.forget(oldest, gone);
        }
    }

    fn forget(&mut self, kept: Kept, gone: &mut Vec<Arc<Piece>>) {
        self.bytes -= kept.piece.cost();
        gone.push(kept.piece);
    }

    /// The pieces with the entries from `from` on, as many as may hold `bytes` bytes of payload; none if `from` is not here.
    pub(crate) fn from(&self, from: u64, bytes: usize) -> Vec<Kept> {
        let place = self.kept.partition_point(|kept| kept.entries.end <= from);
        if self
            .kept
            .get(place)
            .is_none_or(|kept| kept.entries.start > from)
        {
            return Vec::new();
        }
        let mut surely = 0;
        let mut pieces = Vec::new();
        for kept in self.kept.range(place..) {
            if surely > bytes {
                break;
            }
            // Of the first piece and of one that was cut it is not known how much comes of it.
            if !pieces.is_empty() && kept.entries == kept.piece.entries() {
                surely += kept.piece.payload;
            }
            pieces.push(kept.clone());
        }
        pieces
    }
}
