//! What a caller may choose, with the limits that [`Options::validate`] checks.

use thiserror::Error;

/// The largest identity blob, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 256;
/// The largest metadata blob, in bytes: it is repeated at the head of every segment, so it must stay small.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// The smallest allowed [`Options::segment_bytes`].
pub const SEGMENT_BYTES_MIN: u64 = 4096;
/// The largest allowed [`Options::segment_bytes`], and the limit of one batch.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// How a log is laid out and what it accepts.
///
/// All but `identity` may differ from one opening to the next: each segment carries the size and the record limit it was
/// made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The size of a segment file in bytes; default 64 MiB. A multiple of 512 between [`SEGMENT_BYTES_MIN`] and
    /// [`SEGMENT_BYTES_MAX`].
    ///
    /// Two segments stand on the disk from the start: the one in use and the one made ready. Larger segments are
    /// purged later; smaller ones cost a rotation (three syncs instead of one) more often.
    pub segment_bytes: u64,
    /// The largest payload of one record in bytes; default 2 MiB + 64 KiB, so that a value of 2 MiB fits with its
    /// envelope. Reading needs at most this much memory for one record, whatever stands on the disk.
    pub record_bytes_max: u32,
    /// The caller's name for this log, at most [`IDENTITY_BYTES_MAX`] bytes; default empty.
    ///
    /// It is stored in the superblock, checked at every opening, and salts every checksum: a file that strays in from
    /// another log does not verify.
    pub identity: Vec<u8>,
    /// Whether a thread makes the next segment ready ahead of time, and another reads ahead while the log is opened; default
    /// `true`.
    ///
    /// With `false` it is made within the call that opens the log or switches segments. That costs a stall there, and
    /// makes the order of file operations a function of the calls alone, which a simulation needs.
    pub background: bool,
    /// How many bytes of memory the newest batches may take, for reads of what was just committed: default 4 MiB; 0 for none.
    ///
    /// They are kept as they were written, headers included, and count with all that they occupy.
    pub tail_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 64 * 1024 * 1024,
            record_bytes_max: 2 * 1024 * 1024 + 64 * 1024,
            identity: Vec::new(),
            background: true,
            tail_bytes: 4 * 1024 * 1024,
        }
    }
}

impl Options {
    /// The defaults, with an identity.
    #[must_use]
    pub fn new(identity: impl Into<Vec<u8>>) -> Self {
        Options {
            identity: identity.into(),
            ..Options::default()
        }
    }

    /// Checks every limit.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), OptionsError> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(512)
        {
            return Err(OptionsError::SegmentBytes(self.segment_bytes));
        }
        if self.record_bytes_max == 0 || u64::from(self.record_bytes_max) > SEGMENT_BYTES_MAX / 2 {
            return Err(OptionsError::RecordBytesMax(self.record_bytes_max));
        }
        if self.identity.len() > IDENTITY_BYTES_MAX {
            return Err(OptionsError::IdentityBytes(self.identity.len()));
        }
        Ok(())
    }
}

/// A field of [`Options`] is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// `segment_bytes` is too small, too large, or no multiple of 512.
    #[error(
        "segment_bytes is {0}; choose a multiple of 512 between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX}"
    )]
    SegmentBytes(u64),
    /// `record_bytes_max` is zero or more than half the largest segment.
    #[error("record_bytes_max is {0}; choose a value between 1 and {half}", half = SEGMENT_BYTES_MAX / 2)]
    RecordBytesMax(u32),
    /// The identity is too long.
    #[error("the identity has {0} bytes; choose one of at most {IDENTITY_BYTES_MAX}")]
    IdentityBytes(usize),
}
