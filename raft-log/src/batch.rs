//! What is written: borrowed records, gathered into one atomic batch.

use bytes::Bytes;

use crate::error::{InvalidBatch, Oversized};
use crate::format::{Content, MARK_DROPS, MARK_KEEPS, RecordType, record_bytes};
use crate::options::METADATA_BYTES_MAX;
use crate::snapshot::FinishedSnapshot;

/// One record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place: one more than the record before; the first is 1.
    pub index: u64,
    /// At least 1, and never lower than that of the record before. A log without terms writes 1 everywhere.
    pub term: u64,
    /// The caller's; [`Recovery::marked`](crate::Recovery::marked) lists those that are not 0.
    pub kind: u8,
    /// The content: up to [`Options::record_bytes_max`](crate::Options::record_bytes_max) bytes.
    pub payload: &'a [u8],
}

/// One record as it is read, or given to a [`Writer`](crate::writer::Writer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// See [`Record::index`].
    pub index: u64,
    /// See [`Record::term`].
    pub term: u64,
    /// See [`Record::kind`].
    pub kind: u8,
    /// See [`Record::payload`].
    pub payload: Bytes,
}

impl OwnedRecord {
    /// The same record, borrowed.
    #[must_use]
    pub fn as_record(&self) -> Record<'_> {
        Record {
            index: self.index,
            term: self.term,
            kind: self.kind,
            payload: &self.payload,
        }
    }
}

/// What becomes durable together or not at all, in the order of the calls. Borrows all payloads.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    ops: Vec<Content<'a>>,
    snapshots: Vec<&'a FinishedSnapshot>,
    bytes: u64,
    records: u64,
    use_reserve: bool,
}

/// What a batch may use of the end of a segment when there is no room for the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing: it has records.
    None,
    /// All but the last part.
    Reserve,
    /// All of it: it makes room, or an opening needs it before room can be made.
    All,
}

impl<'a> Batch<'a> {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Batch::default()
    }

    /// An empty batch with room for so many parts: records, and metadata or a truncation.
    #[must_use]
    pub fn with_capacity(parts: usize) -> Self {
        Batch {
            ops: Vec::with_capacity(parts),
            ..Batch::default()
        }
    }

    /// Replaces the metadata blob: at most [`METADATA_BYTES_MAX`] bytes.
    pub fn metadata(&mut self, metadata: &'a [u8]) -> &mut Self {
        self.push(Content {
            record_type: RecordType::Metadata,
            kind: 0,
            index: 0,
            term: 0,
            payload: metadata,
        })
    }

    /// Marks a snapshot of what this log holds: from now on it stands in for all records up to its index, and the files of older
    /// ones go. The records stay; [`Log::purge`] cuts them when they are no longer wanted.
    ///
    /// The log must hold the record that the snapshot ends with, by index and term: one that it does not hold is refused
    /// ([`InvalidBatch::SnapshotNotHeld`]), as is one older than the newest one marked, or than what was purged.
    ///
    /// [`Log::purge`]: crate::Log::purge
    pub fn snapshot(&mut self, finished: &'a FinishedSnapshot) -> &mut Self {
        self.mark(finished, MARK_KEEPS)
    }

    /// Marks a snapshot that came from elsewhere. As [`Batch::snapshot`], if the log holds the record that it ends with; else
    /// **all records are dropped**, and the log goes on with the index behind the snapshot's.
    pub fn install_snapshot(&mut self, finished: &'a FinishedSnapshot) -> &mut Self {
        self.mark(finished, MARK_DROPS)
    }

    fn mark(&mut self, finished: &'a FinishedSnapshot, kind: u8) -> &mut Self {
        let id = finished.id();
        self.snapshots.push(finished);
        self.push(Content {
            record_type: RecordType::Snapshot,
            kind,
            index: id.index,
            term: id.term,
            payload: finished.mark(),
        })
    }

    /// Cuts all records from `index` on. `index` lies between the first index and one behind the last (which cuts
    /// nothing). What the newest snapshot stands for cannot be cut.
    pub fn truncate_from(&mut self, index: u64) -> &mut Self {
        self.push(Content::plain(RecordType::Truncate, index, 0))
    }

    /// Appends a record.
    pub fn append(&mut self, record: Record<'a>) -> &mut Self {
        let Record {
            index,
            term,
            kind,
            payload,
        } = record;
        self.records += 1;
        self.push(Content {
            record_type: RecordType::Entry,
            kind,
            index,
            term,
            payload,
        })
    }

    /// Lets the batch use the reserve of a full disk, though it has records: the end of the present segment, an eighth of it and
    /// 64 KiB at most, which is kept for batches without any. For the few that must get through when there is no room, such as a
    /// change of the membership that replaces this node; they take that room from votes.
    pub fn use_reserve(&mut self) -> &mut Self {
        self.use_reserve = true;
        self
    }

    /// What it may use of the reserve of a full disk, if it drops the log or does not.
    pub(crate) fn claim(&self, drops_log: bool) -> Claim {
        let frees = |op: &Content<'_>| {
            matches!(
                op.record_type,
                RecordType::Purge | RecordType::Snapshot | RecordType::Boot
            )
        };
        match self.records {
            _ if drops_log => Claim::All,
            0 if self.ops.iter().any(frees) => Claim::All,
            0 => Claim::Reserve,
            _ if self.use_reserve => Claim::Reserve,
            _ => Claim::None,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The number of records to append.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The bytes it will occupy in the log, headers included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn of(content: Content<'a>) -> Self {
        let mut batch = Batch::default();
        batch.push(content);
        batch
    }

    fn push(&mut self, content: Content<'a>) -> &mut Self {
        self.bytes += record_bytes(content.payload.len());
        self.ops.push(content);
        self
    }

    pub(crate) fn ops(&self) -> &[Content<'a>] {
        &self.ops
    }

    /// The snapshots to mark.
    pub(crate) fn snapshots(&self) -> &[&'a FinishedSnapshot] {
        &self.snapshots
    }

    /// Checks sizes; the order is checked against the log.
    pub(crate) fn check_sizes(
        &self,
        record_bytes_max: u32,
        batch_bytes_max: u64,
    ) -> Result<(), InvalidBatch> {
        let check = |what, bytes: u64, max: u64| {
            if bytes > max {
                Err(InvalidBatch::TooLarge { what, bytes, max })
            } else {
                Ok(())
            }
        };
        for op in &self.ops {
            let (what, max) = match op.record_type {
                RecordType::Metadata => (Oversized::Metadata, METADATA_BYTES_MAX as u64),
                RecordType::Entry => (Oversized::Record(op.index), u64::from(record_bytes_max)),
                _ => continue,
            };
            check(what, op.payload.len() as u64, max)?;
        }
        check(Oversized::Batch, self.bytes, batch_bytes_max)
    }
}
