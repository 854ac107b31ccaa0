//! The log: one writer, one commit at a time, one sync a commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::batch::{Batch, Claim};
use crate::error::{Failure, InvalidBatch, WriteError};
use crate::files::{FileHandle, Files, OsFiles};
use crate::format::{
    CHECKPOINT_FIXED_BYTES, Checkpoint, Content, Encoder, HEADER_BYTES, PAGE_BYTES, RecordType,
    record_bytes, terminator_end,
};
use crate::index::Staged;
use crate::mutants::{Mutant, mutant};
use crate::open_files::Known;
use crate::options::{Options, SEGMENT_BYTES_MAX};
use crate::position::Position;
use crate::prepare::{Preparer, Space};
use crate::reader::Reader;
use crate::segment::Segment;
use crate::shared::{Counters, Shared};
use crate::snapshot::{self, Registry, SnapshotId, Snapshots};
use crate::superblock::Superblock;
use crate::tail::Piece;

/// The write buffer keeps at most this much between two commits.
const BUFFER_KEPT_BYTES: usize = 8 * 1024 * 1024;

/// A write-ahead log in a directory of its own.
///
/// It belongs to one owner, who calls [`Log::commit`]; [`Log::reader`] gives any number of readers.
pub struct Log<F: Files = OsFiles> {
    // The order matters: the preparer ends before the directory's lock goes.
    pub(crate) preparer: Preparer<F>,
    pub(crate) files: F,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) superblock: Superblock<F>,
    pub(crate) shared: Arc<Shared<F>>,
    pub(crate) active: Arc<Segment<F>>,
    /// The end of the durable log, and the CRC of the last record before it.
    pub(crate) end: Position,
    pub(crate) chain: u32,
    /// Whether the superblock says that all of it is durable.
    pub(crate) settled: bool,
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) buf: Vec<u8>,
    /// Buffers for the next piece of the tail, and the list of those that go: kept between commits.
    pub(crate) spare: Piece,
    pub(crate) gone: Vec<Arc<Piece>>,
    pub(crate) poison: Option<Arc<Failure>>,
    pub(crate) snapshots: Snapshots<F>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) _lock: Arc<F::Lock>,
}

impl<F: Files> std::fmt::Debug for Log<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<F: Files> Log<F> {
    /// Makes a batch durable: all of it or, after a crash or an error, all or nothing. One write and one sync; three syncs
    /// when a new segment begins. An empty batch does nothing.
    ///
    /// # Errors
    /// After [`WriteError::Invalid`] and [`WriteError::Full`] nothing was written, and the log goes on.
    /// After [`WriteError::Failed`] it is unknown whether the batch is on the disk: nothing more can be written, and every
    /// later call answers [`WriteError::Poisoned`]. No sync is ever tried again: the operating system may have dropped
    /// what it failed to write, and would answer "done".
    pub fn commit(&mut self, batch: &Batch<'_>) -> Result<(), WriteError> {
        self.check_poison()?;
        if batch.is_empty() {
            return Ok(());
        }
        batch.check_sizes(self.options.record_bytes_max, SEGMENT_BYTES_MAX / 2)?;
        if batch.snapshots().is_empty() {
            return self.commit_checked(batch);
        }
        let kept = self.keep_snapshots(batch);
        let committed = kept
            .map_err(WriteError::from)
            .and_then(|()| self.commit_checked(batch));
        match &committed {
            Ok(()) => self.replace_snapshots(),
            // Nothing was written.
            Err(WriteError::Invalid(_) | WriteError::Full { .. }) => {
                for finished in batch.snapshots() {
                    self.registry.release(&finished.id());
                }
            }
            Err(_) => {}
        }
        committed
    }

    fn commit_checked(&mut self, batch: &Batch<'_>) -> Result<(), WriteError> {
        let staged = self.stage(batch)?;
        let dropped = staged.drops_log();
        self.make_room(batch, dropped)?;
        let start = self.end.offset;
        self.encode_and_write(batch, &staged)?;

        // Durable. From here on nothing can fail that concerns it.
        if let Some(newest) = batch
            .ops()
            .iter()
            .rev()
            .find(|op| op.record_type == RecordType::Metadata)
        {
            self.metadata = Some(newest.payload.to_vec());
        }
        let segment = self.active.header.number;
        let piece = self.keep(batch, &staged);
        let keep_to = staged.keep_to();
        let mut gone = std::mem::take(&mut self.gone);
        {
            let mut view = self.shared.view_mut();
            view.index.apply(staged, segment, start);
            let last = view.index.last;
            view.tail.apply(keep_to, last, piece, &mut gone);
        }
        self.reuse(gone);
        if self.buf.capacity() > BUFFER_KEPT_BYTES {
            self.buf = Vec::new();
        }
        let tally = &self.shared.tally;
        tally.commits.fetch_add(1, Ordering::Relaxed);
        tally.records.fetch_add(batch.records(), Ordering::Relaxed);
        tally.bytes.fetch_add(batch.bytes(), Ordering::Relaxed);
        if dropped {
            // Only this can fail. The batch is durable then; what is left over goes with the next purge or opening.
            self.give_up_segments()?;
        }
        Ok(())
    }

    /// Sees to it that the files to be marked stay as they are.
    fn keep_snapshots(&self, batch: &Batch<'_>) -> Result<(), InvalidBatch> {
        for finished in batch.snapshots() {
            let id = finished.id();
            if !finished.is_of(&self.registry) || !self.registry.keep(&id) {
                return Err(InvalidBatch::SnapshotForeign { index: id.index });
            }
        }
        Ok(())
    }

    /// The newest mark is durable: the files of older snapshots go. One that does not takes room until the next opening, and
    /// does no other harm.
    fn replace_snapshots(&self) {
        let Some(newest) = self.snapshot() else {
            return;
        };
        let names = self.registry.marked(newest);
        if let Err(failure) = snapshot::remove(&self.files, &self.dir, &names) {
            tracing::warn!(%failure, "an old snapshot stays until the next opening");
        }
    }

    /// Writes down that all that was committed is durable, if nothing says so yet. One small write and a sync, in the
    /// superblock: it takes no room in the log, so it works on a full disk too.
    ///
    /// Every batch says so of the batches before it; for the last one nobody does until the next. Until then, damage to
    /// that last batch cannot be told from a write torn by a crash. A caller that falls idle calls this (the
    /// [`Writer`](crate::writer::Writer) does). It is written into one of the superblock's two copies; [`Log::close`] writes
    /// both, so that the loss of one hides nothing.
    ///
    /// # Errors
    /// [`WriteError::Failed`] and [`WriteError::Poisoned`], as [`Log::commit`].
    pub fn settle(&mut self) -> Result<(), WriteError> {
        self.check_poison()?;
        if self.settled {
            return Ok(());
        }
        self.write_watermark()?;
        self.settled = true;
        Ok(())
    }

    /// Forgets all records up to `up_to`, which must not be beyond the last one, and removes the segments that hold
    /// nothing else. The first index is then `up_to + 1`, also after the next opening.
    ///
    /// Once a snapshot is marked, nothing beyond it can be purged. Without any, the caller must have made durable what
    /// replaces the records. Below the first index it does nothing.
    ///
    /// # Errors
    /// As [`Log::commit`]; [`InvalidBatch::PurgeRange`] if `up_to` is beyond the end,
    /// [`InvalidBatch::PurgeBeyondSnapshot`] if it is beyond the newest snapshot.
    pub fn purge(&mut self, up_to: u64) -> Result<(), WriteError> {
        self.check_poison()?;
        let (first, last, term) = {
            let view = self.shared.view();
            (view.index.first(), view.index.last, view.index.term(up_to))
        };
        if up_to < first {
            return Ok(());
        }
        let term = term.ok_or(InvalidBatch::PurgeRange {
            index: up_to,
            first,
            last,
        })?;
        self.commit(&Batch::of(Content::plain(RecordType::Purge, up_to, term)))?;
        self.give_up_segments()
    }

    /// A handle for reading.
    #[must_use]
    pub fn reader(&self) -> Reader<F> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Makes and reads the snapshots in this log's directory. The handle is for any thread; what it makes counts when
    /// [`Batch::snapshot`] has marked it. While one is being written, the directory stays locked, even if the log is
    /// dropped.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots<F> {
        self.snapshots.clone()
    }

    /// Ends the log cleanly: its end stands in the superblock, so that at the next opening any loss at all is noticed.
    /// Dropping a log without this is safe too, and like a crash.
    ///
    /// # Errors
    /// As [`Log::commit`].
    pub fn close(mut self) -> Result<(), WriteError> {
        self.check_poison()?;
        // Twice, so that both copies say it and one may be lost.
        self.write_watermark()?;
        self.write_watermark()
    }

    /// The first index there is; one more than [`Log::last_index`] if the log is empty.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.shared.view().index.first()
    }

    /// The last index; one less than [`Log::first_index`] if the log is empty.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.shared.view().index.last
    }

    /// The term of a record, also of the one before the first; `None` outside the log.
    #[must_use]
    pub fn term(&self, index: u64) -> Option<u64> {
        self.shared.view().index.term(index)
    }

    /// The newest snapshot that is marked.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.shared.view().index.snapshot
    }

    /// The number of this opening: higher than that of every opening before, whatever crashed.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.superblock.facts.boot
    }

    /// The newest metadata blob.
    #[must_use]
    pub fn metadata(&self) -> Option<&[u8]> {
        self.metadata.as_deref()
    }

    /// Whether the superblock says that all that was committed is durable; see [`Log::settle`]. An opening writes a record
    /// of its own, so it is never so right after it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether there is room for the next segment, as far as is known without waiting. [`Space::Full`] comes long before
    /// [`WriteError::Full`]: the present segment still takes what fits. It stands until a segment is ready, not only tried.
    /// It speaks of usual segments: [`Space::Ready`] is no promise to a batch that needs a larger one.
    pub fn space(&mut self) -> Space {
        self.preparer.space()
    }

    /// Tries anew to make the next segment ready, if there was no room for it; for when room may have been made.
    pub fn retry_space(&mut self) {
        if self.poison.is_none() && self.preparer.space() == Space::Full {
            self.preparer.order(self.active.header.number + 1);
        }
    }

    /// Figures since the log was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.tally.counters()
    }

    pub(crate) fn check_poison(&mut self) -> Result<(), WriteError> {
        if let Some(failure) = &self.poison {
            return Err(WriteError::Poisoned(Arc::clone(failure)));
        }
        // The next segment is made ready beside the commits, and a write or sync that failed there is as final as any.
        match self.preparer.failure() {
            Some(failure) => self.latch(Err(failure)),
            None => Ok(()),
        }
    }

    /// Remembers the first failure for good.
    fn latch<T>(&mut self, result: Result<T, Failure>) -> Result<T, WriteError> {
        result.map_err(|failure| {
            tracing::error!(%failure, "the log is closed for good");
            let failure = Arc::new(failure);
            self.poison = Some(Arc::clone(&failure));
            WriteError::Failed(failure)
        })
    }

    /// Says in the older copy of the superblock that all up to the end of the log is durable. It is: whoever gets here has
    /// seen the sync of the last batch succeed.
    fn write_watermark(&mut self) -> Result<(), WriteError> {
        let end = self.end;
        let written = self.superblock.write(|facts| facts.watermark = end);
        self.latch(written)?;
        self.shared.tally.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Checks the order of all ops and works out what they change, with offsets counted from the batch's first byte.
    fn stage(&self, batch: &Batch<'_>) -> Result<Staged, InvalidBatch> {
        let view = self.shared.view();
        let mut staged = Staged::new(&view.index, false);
        let mut offset = 0;
        for op in batch.ops() {
            staged.record(&view.index, op, offset)?;
            offset += record_bytes(op.payload.len()) as u32;
        }
        Ok(staged)
    }

    /// Switches to the next segment if the batch does not fit into this one.
    ///
    /// The last part of a segment is a reserve: on a full disk, batches without entries (votes, truncations, purges), and
    /// those that say so ([`Batch::use_reserve`]), may still use it, so that a node can take part in an election, and free
    /// space. The last quarter of it is for what frees space alone, and for openings. It is for who asks: a
    /// [`Writer`](crate::writer::Writer) keeps the order of its units, so that behind one with entries none gets here.
    /// A batch that begins a new segment may fill it to its end: a reserve is kept from what comes second.
    fn make_room(&mut self, batch: &Batch<'_>, drops_log: bool) -> Result<(), WriteError> {
        let size = u64::from(self.active.header.size);
        let end = u64::from(self.end.offset) + batch.bytes();
        let reserve = reserve_bytes(size);
        if end <= size - reserve {
            return Ok(());
        }
        let kept = match batch.claim(drops_log) {
            Claim::None => reserve,
            Claim::Reserve => reserve / 4,
            Claim::All => 0,
        };
        let fits = end <= size - kept;
        // Known to be full: another try would fill what is left of the disk with zeros, for each vote.
        if fits && self.preparer.space() == Space::Full {
            return Ok(());
        }
        match self.rotate(batch.bytes()) {
            Err(WriteError::Full { .. }) if fits => Ok(()),
            result => result,
        }
    }

    /// Begins the next segment: checkpoint first, durably, and only then the superblock says that the segment counts.
    /// A crash in between leaves a file that the next opening throws away.
    fn rotate(&mut self, batch_bytes: u64) -> Result<(), WriteError> {
        let number = self.active.header.number + 1;
        let metadata_bytes = self.metadata.as_ref().map_or(0, Vec::len);
        let checkpoint_bytes = record_bytes(CHECKPOINT_FIXED_BYTES + metadata_bytes);
        let needed = u64::from(HEADER_BYTES) + checkpoint_bytes + batch_bytes;
        let segment = match self.preparer.take(number, needed) {
            Ok(segment) => Arc::new(segment),
            Err(failure) if failure.is_full() => {
                return Err(WriteError::Full {
                    dir: self.dir.clone(),
                    bytes: needed.max(self.options.segment_bytes),
                });
            }
            Err(failure) => return self.latch(Err(failure)),
        };
        self.activate(segment)
    }

    /// Writes the checkpoint and puts the segment into use.
    fn activate(&mut self, segment: Arc<Segment<F>>) -> Result<(), WriteError> {
        let number = segment.header.number;
        let (end, chain) = (self.end, self.chain);
        let body = {
            let view = self.shared.view();
            let index = &view.index;
            let last = (index.last, index.term(index.last).unwrap_or(0));
            let (boot, metadata) = (self.boot(), self.metadata.clone());
            Checkpoint {
                base: index.base,
                last,
                snapshot: index.snapshot,
                boot,
                metadata,
            }
            .encode()
        };
        let written = write_checkpoint(&segment, &body, end, chain);
        let (end, chain) = self.latch(written)?;
        let written = self.superblock.write(|facts| facts.segment_last = number);
        self.latch(written)?;
        self.shared.tally.syncs.fetch_add(2, Ordering::Relaxed);
        self.shared.tally.rotations.fetch_add(1, Ordering::Relaxed);
        self.shared.files.keep(Arc::clone(&segment));
        self.shared
            .view_mut()
            .segments
            .insert(number, Known::of(&segment));
        self.active = segment;
        self.end = end;
        self.chain = chain;
        self.preparer.order(number + 1);
        Ok(())
    }

    /// The one write, with zeros behind the batch, and the one sync.
    ///
    /// All payloads are copied into one buffer, the large ones too: the copy costs a few percent of the CRC and a
    /// thousandth of the sync, and in return a batch is a single write at a single place, which is what tearing is reasoned
    /// (and simulated) about.
    fn encode_and_write(&mut self, batch: &Batch<'_>, staged: &Staged) -> Result<(), WriteError> {
        self.buf.clear();
        self.buf
            .reserve(batch.bytes() as usize + 2 * PAGE_BYTES as usize);
        let (salt, start) = (self.active.salt, self.end);
        let mut watermark = start;
        if mutant(Mutant::ClaimsTooMuchDurable) {
            watermark.offset += batch.bytes() as u32;
        }
        let mut encoder = Encoder {
            buf: &mut self.buf,
            salt,
            start,
            watermark,
            chain: self.chain,
        };
        let (last, others) = batch
            .ops()
            .split_last()
            .unwrap_or_else(|| unreachable!("the batch is not empty"));
        for op in others {
            encoder.push(&staged.as_written(op, encoder.buf.len()), false);
        }
        encoder.push(&staged.as_written(last, encoder.buf.len()), true);
        let chain = encoder.chain;
        assert_eq!(
            self.buf.len() as u64,
            batch.bytes(),
            "a batch occupies what was reckoned"
        );

        let end = start.offset + self.buf.len() as u32;
        let zeros_to = terminator_end(end, self.active.header.size);
        self.buf.resize((zeros_to - start.offset) as usize, 0);
        let file = &self.active.file;
        let written = file.write_all_at(&self.buf, start.offset.into());
        let written =
            written.map_err(|source| Failure::new("write the segment", &self.active.path, source));
        self.latch(written)?;
        let metadata_alone = || {
            let mut ops = batch.ops().iter();
            ops.all(|op| op.record_type == RecordType::Metadata)
        };
        let synced = if mutant(Mutant::SkipsMetadataSync) && metadata_alone() {
            Ok(())
        } else {
            self.active.file.sync_data()
        };
        let synced = match synced {
            Err(_) if mutant(Mutant::RetriesFailedSync) => self.active.file.sync_data(),
            synced => synced,
        };
        let synced =
            synced.map_err(|source| Failure::new("sync the segment", &self.active.path, source));
        self.latch(synced)?;
        self.shared.tally.syncs.fetch_add(1, Ordering::Relaxed);

        self.end.offset = end;
        self.chain = chain;
        self.settled = false;
        Ok(())
    }

    /// What was just written, for the readers' tail.
    fn keep(&mut self, batch: &Batch<'_>, staged: &Staged) -> Option<Piece> {
        if batch.bytes() > self.options.tail_bytes as u64 {
            return None;
        }
        let mut piece = std::mem::take(&mut self.spare);
        if piece.take(batch, staged, &mut self.buf) {
            return Some(piece);
        }
        self.spare = piece;
        None
    }

    /// Drops what fell out of the tail, and keeps the buffers of one piece for the next: fresh memory costs more than the
    /// encoding.
    fn reuse(&mut self, mut gone: Vec<Arc<Piece>>) {
        for piece in gone.drain(..) {
            // A piece that is being read goes with its reader.
            if let Some(piece) = Arc::into_inner(piece) {
                self.spare = piece;
            }
        }
        self.gone = gone;
    }

    /// Gives up the segments that hold no live entry: their files become the next ones, or are removed. The superblock forgets
    /// them first, so that a crash in between leaves files too many and never one too few.
    pub(crate) fn give_up_segments(&mut self) -> Result<(), WriteError> {
        let old = self.superblock.facts.segment_first;
        let new = {
            let view = self.shared.view();
            view.index
                .points
                .front()
                .map_or(self.active.header.number, |point| point.segment)
        };
        if new <= old {
            return Ok(());
        }
        let written = self.superblock.write(|facts| facts.segment_first = new);
        self.latch(written)?;
        self.shared.tally.syncs.fetch_add(1, Ordering::Relaxed);
        // In one step: a reader in between would miss segments that are in use.
        let purged = {
            let mut view = self.shared.view_mut();
            let kept = view.segments.split_off(&new);
            std::mem::replace(&mut view.segments, kept)
        };
        self.shared.files.close_below(new);
        // A file that a reader still reads must keep its bytes: it is removed, which leaves it to that reader. Nobody new
        // finds the others, since the view has them no more.
        let purged = purged.into_iter().map(|(number, known)| {
            let unread = Arc::into_inner(known);
            (number, unread.map(|known| known.header.size))
        });
        let given = self.preparer.give(purged);
        self.latch(given)
    }
}

/// The part of a segment that is kept for batches without entries.
fn reserve_bytes(size: u64) -> u64 {
    (size / 8).min(64 * 1024)
}

/// Writes the record at the head of a segment, durably; answers what follows it: position and chain.
pub(crate) fn write_checkpoint<F: Files>(
    segment: &Segment<F>,
    body: &[u8],
    watermark: Position,
    chain: u32,
) -> Result<(Position, u32), Failure> {
    let mut buf = Vec::new();
    let start = Position {
        segment: segment.header.number,
        offset: HEADER_BYTES,
    };
    let mut encoder = Encoder {
        buf: &mut buf,
        salt: segment.salt,
        start,
        watermark,
        chain,
    };
    encoder.push(
        &Content {
            record_type: RecordType::Checkpoint,
            kind: 0,
            index: 0,
            term: 0,
            payload: body,
        },
        true,
    );
    let chain = encoder.chain;
    let end = HEADER_BYTES + buf.len() as u32;
    let zeros_to = terminator_end(end, segment.header.size);
    buf.resize((zeros_to - HEADER_BYTES) as usize, 0);
    segment
        .file
        .write_all_at(&buf, HEADER_BYTES.into())
        .and_then(|()| segment.file.sync_data())
        .map_err(|source| {
            Failure::new("write the checkpoint of the segment", &segment.path, source)
        })?;
    Ok((
        Position {
            offset: end,
            ..start
        },
        chain,
    ))
}
