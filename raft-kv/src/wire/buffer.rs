//! Both ends of a hand-laid form: [`Chunks`] gathers what is to be sent, [`Reader`] takes fields off what was received.
//! All numbers are little-endian.
//!
//! Guards: no field is read beyond the end, and no length is believed before that many bytes are there.

use bytes::{Buf, Bytes};

use super::DecodeError;

/// From this length on, bytes are sent as a chunk of their own, without a copy. Shorter ones are copied together: one copy
/// of so little is cheaper than an entry in the list of a vectored write and a reference count for each.
pub(super) const SHARE_BYTES_MIN: usize = 1024;

/// A body in the making.
pub(super) struct Chunks {
    closed: Vec<Bytes>,
    open: Vec<u8>,
}

impl Chunks {
    /// A body that begins with these bytes.
    pub(super) fn begin(open: Vec<u8>) -> Self {
        Self {
            closed: Vec::with_capacity(2),
            open,
        }
    }

    /// Adds bytes: large ones shared, small ones copied.
    pub(super) fn add(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARE_BYTES_MIN {
            self.open.extend_from_slice(bytes);
        } else {
            self.close();
            self.closed.push(bytes.clone());
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.closed.push(std::mem::take(&mut self.open).into());
        }
    }

    /// The chunks, in order.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.closed
    }
}

/// Takes fields off received bytes, from the front.
pub(super) struct Reader {
    bytes: Bytes,
    what: &'static str,
}

impl Reader {
    pub(super) fn new(what: &'static str, bytes: Bytes) -> Self {
        Self { bytes, what }
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let what = self.what;
        self.bytes
            .try_get_u8()
            .map_err(|_| DecodeError::Truncated { what })
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        let what = self.what;
        self.bytes
            .try_get_u16_le()
            .map_err(|_| DecodeError::Truncated { what })
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        let what = self.what;
        self.bytes
            .try_get_u32_le()
            .map_err(|_| DecodeError::Truncated { what })
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        let what = self.what;
        self.bytes
            .try_get_u64_le()
            .map_err(|_| DecodeError::Truncated { what })
    }

    /// A byte that is 0 or 1.
    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a yes or no is neither 0 nor 1")),
        }
    }

    pub(super) fn cluster(&mut self) -> Result<[u8; 16], DecodeError> {
        let mut id = [0; 16];
        let what = self.what;
        self.bytes
            .try_copy_to_slice(&mut id)
            .map_err(|_| DecodeError::Truncated { what })?;
        Ok(id)
    }

    /// Bytes that must be 0 in this version.
    pub(super) fn reserved(&mut self, count: usize) -> Result<(), DecodeError> {
        for _ in 0..count {
            if self.u8()? != 0 {
                return Err(self.malformed("a reserved byte is not 0"));
            }
        }
        Ok(())
    }

    /// The next bytes: a slice of what was received, not a copy.
    pub(super) fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.bytes.len() {
            return Err(DecodeError::Truncated { what: self.what });
        }
        Ok(self.bytes.split_to(length))
    }

    /// The next bytes, as many as a `u32` in front of them says.
    pub(super) fn take_u32(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// All that is left; nothing is left then.
    pub(super) fn rest_taken(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }

    /// How much is left, in bytes.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Remainder {
                what: self.what,
                bytes,
            }),
        }
    }

    pub(super) fn malformed(&self, detail: &'static str) -> DecodeError {
        DecodeError::Malformed {
            what: self.what,
            detail,
        }
    }
}
