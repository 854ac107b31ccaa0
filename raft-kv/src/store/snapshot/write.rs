//! Fields as bytes, to any writer. All numbers are little-endian.

use std::io::{self, Write};

use super::STORE_SNAPSHOT_ITEM_BYTES_MAX;
use crate::api::Claim;
use crate::store::keys::Record;

const BUFFER_BYTES: usize = 64 << 10;

/// Gathers small fields before it writes them. (Unlike the standard library's, it does not try again when dropped behind a
/// failed write.)
pub(super) struct Out<'a> {
    buffer: Vec<u8>,
    to: &'a mut dyn Write,
}

impl<'a> Out<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self {
            buffer: Vec::with_capacity(BUFFER_BYTES),
            to,
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.to.write_all(&self.buffer)?;
            self.buffer.clear();
            if bytes.len() > BUFFER_BYTES {
                return self.to.write_all(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn u8(&mut self, number: u8) -> io::Result<()> {
        self.bytes(&[number])
    }

    pub(super) fn u16(&mut self, number: u16) -> io::Result<()> {
        self.bytes(&number.to_le_bytes())
    }

    pub(super) fn u64(&mut self, number: u64) -> io::Result<()> {
        self.bytes(&number.to_le_bytes())
    }

    /// A key-value: both lengths, create revision, mod revision, version and lease, key, value.
    pub(super) fn key_value(
        &mut self,
        key: &[u8],
        value: &[u8],
        numbers: [u64; 4],
    ) -> io::Result<()> {
        self.length(key)?;
        self.length(value)?;
        for number in numbers {
            self.u64(number)?;
        }
        self.bytes(key)?;
        self.bytes(value)
    }

    /// A key-value without its key: create revision, mod revision, version and lease, and the value behind its length.
    pub(super) fn record(&mut self, record: &Record) -> io::Result<()> {
        for number in record.numbers() {
            self.u64(number)?;
        }
        self.counted(&record.value)
    }

    /// A claim: token, lease, and the value behind its length.
    pub(super) fn claim(&mut self, claim: &Claim) -> io::Result<()> {
        self.u64(claim.token)?;
        self.u64(claim.lease)?;
        self.counted(&claim.value)
    }

    /// Bytes behind their length.
    pub(super) fn counted(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length(bytes)?;
        self.bytes(bytes)
    }

    fn length(&mut self, bytes: &[u8]) -> io::Result<()> {
        const { assert!(STORE_SNAPSHOT_ITEM_BYTES_MAX <= u32::MAX as usize) };
        if bytes.len() > STORE_SNAPSHOT_ITEM_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a key or value of {} bytes cannot be in a snapshot; at most {STORE_SNAPSHOT_ITEM_BYTES_MAX} can",
                    bytes.len()
                ),
            ));
        }
        self.bytes(&(bytes.len() as u32).to_le_bytes())
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> io::Result<()> {
        self.to.write_all(&self.buffer)?;
        self.to.flush()
    }
}
