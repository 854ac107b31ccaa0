//! What a dump lists.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::position::Position;
use crate::snapshot::SnapshotId;

/// One thing that stands in the directory of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item<'a> {
    /// One of the two copies of the superblock.
    Superblock(SuperblockItem),
    /// The head of a segment. What stands in the segment follows.
    Segment(SegmentItem),
    /// Segments that should be there and are not.
    Missing(RangeInclusive<u64>),
    /// A record that verifies.
    Record(RecordItem<'a>),
    /// Bytes between or behind the records of a segment.
    Gap(Gap),
    /// A snapshot's file.
    Snapshot(SnapshotItem),
}

/// Why a block of 512 bytes says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// There is no such file.
    Missing,
    /// It does not verify.
    Damaged,
    /// It is of a version that this build does not know.
    Version(u32),
}

/// A copy of the superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuperblockItem {
    /// The superblock's file.
    pub file: PathBuf,
    /// Where in it the copy stands.
    pub offset: u64,
    /// What it says.
    pub content: Result<SuperblockFacts, Unreadable>,
    /// Whether it is the newer one that verifies: the one that counts.
    pub counts: bool,
}

/// What a copy of the superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuperblockFacts {
    /// The copy with the higher one counts.
    pub sequence: u64,
    /// The number of the newest opening.
    pub boot: u64,
    /// The segments in use; none if the last is 0.
    pub segments: RangeInclusive<u64>,
    /// All before it is durable; the end of the log, if it was closed cleanly.
    pub watermark: Position,
    /// The caller's identity.
    pub identity: Vec<u8>,
}

/// The head of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentItem {
    /// The segment's file.
    pub file: PathBuf,
    /// The number in its name.
    pub number: u64,
    /// The length of the file.
    pub length: u64,
    /// What the header says. When it does not verify, nothing in the file can be.
    pub content: Result<SegmentFacts, Unreadable>,
    /// Whether the superblock counts it among the segments in use; none without a superblock.
    pub in_use: Option<bool>,
    /// Whether number and identity are those of its name and of the superblock, as far as these are known.
    pub belongs: bool,
}

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentFacts {
    /// The number of the segment.
    pub number: u64,
    /// The boot in which it was made.
    pub epoch: u64,
    /// The size it was made with, in bytes.
    pub size: u32,
    /// The largest payload of an entry, in bytes.
    pub payload_max: u32,
    /// Whether the file was another segment before: then old bytes stand where this one has not written yet, else zeros.
    pub recycled: bool,
}

/// A record that verifies in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordItem<'a> {
    /// The segment's file.
    pub file: PathBuf,
    /// Its segment and its first byte there.
    pub position: Position,
    /// The length of its payload.
    pub length: u32,
    /// All before this was durable when the record was written.
    pub watermark: Position,
    /// Whether it ends its batch.
    pub end: bool,
    /// What its chain and its batch say.
    pub standing: Standing,
    /// What it says.
    pub content: Content<'a>,
}

/// What chain and batch say of a record. Each segment is followed from its own first record on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It continues the record before, and its batch is complete.
    Complete,
    /// It continues the record before, and its batch has no end: a torn write, or damage.
    Unfinished,
    /// It verifies by itself and does not continue the record before: what is left of a torn write, or the chain before
    /// it is damaged.
    Stray,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content<'a> {
    /// A caller's record.
    Entry {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// The caller's kind.
        kind: u8,
        /// The caller's bytes.
        payload: &'a [u8],
    },
    /// The caller's metadata, which replaces what was there before.
    Metadata(&'a [u8]),
    /// Entries from this index on are cut.
    Truncate {
        /// The first index cut.
        from: u64,
    },
    /// The state at the head of a segment; none if it verifies and does not decode.
    Checkpoint(Option<CheckpointFacts>),
    /// An opening.
    Boot {
        /// Its number.
        boot: u64,
    },
    /// Entries up to this one are purged.
    Purge {
        /// The last index purged.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// A snapshot stands for the records up to its index.
    Snapshot {
        /// Which; none if the mark verifies and does not decode.
        snapshot: Option<SnapshotId>,
        /// Whether all records are dropped, since the log did not hold the one that the snapshot ends with.
        drops: bool,
    },
}

/// The state at the head of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointFacts {
    /// Index and term of the last entry purged; zeros if none.
    pub purged: (u64, u64),
    /// Index and term of the last entry.
    pub last: (u64, u64),
    /// The newest snapshot that was marked.
    pub snapshot: Option<SnapshotId>,
    /// The boot number.
    pub boot: u64,
    /// The caller's metadata.
    pub metadata: Option<Vec<u8>>,
}

/// A snapshot's file: finished, or one that was never finished and that the next opening removes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotItem {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub length: u64,
    /// Which snapshot it is, when all of it verifies; or why it does not, in words.
    pub content: Result<SnapshotId, String>,
}

/// Bytes of a segment that are no records of it: zeros that were never written over; remains of a torn write; what another
/// life of the file has left; or damage. [`Inspection::verify`](super::Inspection::verify) tells which.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The segment's file.
    pub file: PathBuf,
    /// Where they begin.
    pub position: Position,
    /// How many.
    pub bytes: u64,
    /// How many of them are not zero.
    pub nonzero: u64,
}
