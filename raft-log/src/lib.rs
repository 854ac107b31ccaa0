//! A write-ahead log.

pub mod files;
#[cfg(feature = "sim")]
pub mod sim_disk;
pub mod writer;

mod batch;
mod error;
mod format;
mod index;
mod log;
mod open;
mod options;
mod position;
mod prepare;
mod reader;
mod recovery;
mod segment;
mod shared;
mod superblock;

pub use batch::{Batch, OwnedRecord, Record};
pub use error::{Damage, Failure, InvalidBatch, OpenError, ReadError, WriteError};
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
