#![doc = include_str!("../README.md")]
//!
//! # The pieces
//!
//! - [`Log`] is the log in a directory: [`Log::open`], [`Log::commit`], [`Log::purge`], [`Log::close`]. One owner writes.
//! - [`Batch`] is what becomes durable together: metadata, truncation and [`Record`]s, in the order of the calls.
//! - [`Recovery`] is what an opening found. [`peek_identity`] tells whose log a directory is before it is opened.
//! - [`Reader`] reads durable records from any thread.
//! - [`Snapshots`] makes, receives and reads files that stand in for the records up to an index; [`Batch::snapshot`] marks one,
//!   [`Batch::install_snapshot`] one that may replace the log. [`SnapshotEncoder`] and [`SnapshotReader::open_file`] write and read such a
//!   file anywhere else: a backup, say.
//! - [`writer`] has a thread that commits in groups what others submit.
//! - [`inspect`] verifies and lists a log that nobody has open, and changes nothing.
//! - [`files`] is the seam to the file system; `sim_disk` (feature `sim`) a disk in memory that crashes, tears, lies, fills
//!   up, rots and fails as it is told; `conformance` (feature `sim`) suites for other implementers of [`Files`], and of logs.
//!
//! Every operation has an error type of its own; each message says what happened, in which file, and what to do.
//! The bytes on the disk are described in `docs/log-format.md` of the repository.

#[cfg(feature = "sim")]
pub mod conformance;
pub mod files;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod fuzz;
pub mod inspect;
#[cfg(feature = "sim")]
pub mod sim_disk;
pub mod writer;

mod ahead;
mod batch;
mod error;
mod format;
mod index;
mod log;
#[cfg(not(raft_mutants))]
mod mutants;
#[cfg(raft_mutants)]
pub mod mutants;
mod open;
mod open_files;
mod options;
mod position;
mod prepare;
mod reader;
mod recovery;
mod repair;
mod segment;
mod shared;
mod snapshot;
mod spare;
mod superblock;
mod tail;

pub use batch::{Batch, OwnedRecord, Record};
pub use error::{Damage, Failure, InvalidBatch, OpenError, Oversized, ReadError, WriteError};
pub use files::{FileHandle, Files, OsFiles};
pub use log::Log;
pub use open::{Recovery, peek_identity, peek_identity_with};
pub use options::{
    IDENTITY_BYTES_MAX, METADATA_BYTES_MAX, Options, OptionsError, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
};
pub use position::Position;
pub use prepare::Space;
pub use reader::Reader;
pub use recovery::Cut;
pub use shared::Counters;
pub use snapshot::{
    FinishedSnapshot, SnapshotDamage, SnapshotEncoder, SnapshotId, SnapshotReadError,
    SnapshotReader, SnapshotReceiveError, SnapshotReceiver, SnapshotWriteError, SnapshotWriter,
    Snapshots,
};
