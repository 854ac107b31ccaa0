//! What is wrong with a batch: mistakes of the caller, of which nothing is written.

use thiserror::Error;

/// What is wrong with a batch: always a mistake of the caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidBatch {
    /// A record does not continue the log.
    #[error("record {found} does not follow record {last}; the next one has index {}", last.saturating_add(1))]
    Gap {
        /// The last index before it.
        last: u64,
        /// Its index.
        found: u64,
    },
    /// No log goes on as far as this: indexes end at 2⁶³ - 1.
    #[error("index {index} is higher than the highest that a log can hold, {max}")]
    IndexTooHigh {
        /// The index given.
        index: u64,
        /// The highest index.
        max: u64,
    },
    /// A record's term is lower than that of the record before, or zero.
    #[error(
        "record {index} has term {found}, and the record before has term {last}; terms begin at 1 and never fall"
    )]
    Term {
        /// The record's index.
        index: u64,
        /// The term of the record before.
        last: u64,
        /// Its term.
        found: u64,
    },
    /// A truncation outside the log.
    #[error("index {index} is outside what can be cut: {}", Bounds { first: *first, last: *last, verb: "cut" })]
    Range {
        /// The index given.
        index: u64,
        /// The lowest allowed.
        first: u64,
        /// The highest allowed.
        last: u64,
    },
    /// A purge beyond the end of the log.
    #[error("index {index} is outside what can be purged: {}", Bounds { first: *first, last: *last, verb: "purge" })]
    PurgeRange {
        /// The index given.
        index: u64,
        /// The lowest allowed.
        first: u64,
        /// The highest allowed.
        last: u64,
    },
    /// A purge of records that no snapshot stands in for, in a log that has snapshots.
    #[error(
        "records up to {index} cannot be purged: the newest snapshot stands for those up to {snapshot}; mark a newer one first"
    )]
    PurgeBeyondSnapshot {
        /// The index given.
        index: u64,
        /// The last index that the newest snapshot stands for.
        snapshot: u64,
    },
    /// A snapshot is older than the newest one marked, or than what was purged.
    #[error(
        "the snapshot for index {index} is older than what stands for the records up to {newest} already; there is no need of it"
    )]
    SnapshotOld {
        /// The snapshot's index.
        index: u64,
        /// The index that is reached already.
        newest: u64,
    },
    /// A snapshot's term contradicts the newest one marked, or what was purged.
    #[error(
        "the snapshot for index {index} has term {term}, and what stands for the records up to {} has term {}: it is of \
         another history, and must not be used",
        newest.0,
        newest.1
    )]
    SnapshotTerm {
        /// The snapshot's index.
        index: u64,
        /// The snapshot's term.
        term: u64,
        /// Index and term that are reached already.
        newest: (u64, u64),
    },
    /// The log does not hold the record that a snapshot of its own content ends with.
    #[error(
        "the log, which ends with {}@{}, does not hold the record {index}@{term} that the snapshot ends with; one that came \
         from another node is marked with `install_snapshot`, which drops the log",
        last.0,
        last.1
    )]
    SnapshotNotHeld {
        /// The snapshot's index.
        index: u64,
        /// The snapshot's term.
        term: u64,
        /// Index and term of the log's last record.
        last: (u64, u64),
    },
    /// The snapshot marked for this index has other bytes.
    #[error(
        "another snapshot is marked for index {index}, with another term or other bytes; keep that one"
    )]
    SnapshotDiffers {
        /// The snapshot's index.
        index: u64,
    },
    /// The snapshot is not, or no longer, a file of this log.
    #[error(
        "the snapshot for index {index} was finished in another log or before this one was opened, or another replaced its \
         file; make it anew"
    )]
    SnapshotForeign {
        /// The snapshot's index.
        index: u64,
    },
    /// A payload, metadata blob or whole batch is too large.
    #[error("{what} has {bytes} bytes, {} more than the limit of {max}", bytes.saturating_sub(*max))]
    TooLarge {
        /// What is too large.
        what: Oversized,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
}

/// What is too large in a batch, and so, which limit it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oversized {
    /// The payload of the record with this index: [`Options::record_bytes_max`](crate::Options::record_bytes_max).
    Record(u64),
    /// The metadata: [`METADATA_BYTES_MAX`](crate::METADATA_BYTES_MAX).
    Metadata,
    /// All of it, with the headers of its records: half of [`SEGMENT_BYTES_MAX`](crate::SEGMENT_BYTES_MAX).
    Batch,
}

impl std::fmt::Display for Oversized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Oversized::Record(index) => write!(f, "the payload of record {index}"),
            Oversized::Metadata => f.write_str("the metadata"),
            Oversized::Batch => f.write_str("the whole batch"),
        }
    }
}

/// The lowest and the highest index that may be given.
struct Bounds {
    first: u64,
    last: u64,
    verb: &'static str,
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Bounds { first, last, verb } = self;
        if first > last {
            write!(f, "there is nothing to {verb}")
        } else {
            write!(f, "{first} to {last}")
        }
    }
}
