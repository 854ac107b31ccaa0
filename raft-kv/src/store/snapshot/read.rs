//! Fields from any reader. All numbers are little-endian.
//!
//! Guards: no length is believed before that many bytes are there.

use std::io::{self, BufReader, Read};

use bytes::Bytes;

use super::{STORE_SNAPSHOT_ITEM_BYTES_MAX, StoreSnapshotError, StoreSnapshotPlace};
use crate::api::{Claim, KeyValue};

/// So much is read at once, and so much at most is allocated for what was only claimed.
const STEP_BYTES: usize = 64 << 10;

/// Takes fields off a reader, and knows where it is.
pub(super) struct In<'a> {
    from: BufReader<&'a mut dyn Read>,
    place: StoreSnapshotPlace,
}

impl<'a> In<'a> {
    pub(super) fn new(from: &'a mut dyn Read) -> Self {
        Self {
            from: BufReader::with_capacity(STEP_BYTES, from),
            place: StoreSnapshotPlace {
                part: "head",
                number: 0,
                offset: 0,
            },
        }
    }

    /// What comes now, for the errors.
    pub(super) fn at(&mut self, part: &'static str, number: u64) {
        (self.place.part, self.place.number) = (part, number);
    }

    /// Refuses the bytes if this does not hold.
    pub(super) fn check(
        &self,
        holds: bool,
        detail: &'static str,
    ) -> Result<(), StoreSnapshotError> {
        if holds {
            Ok(())
        } else {
            Err(self.malformed(detail))
        }
    }

    pub(super) fn malformed(&self, detail: &'static str) -> StoreSnapshotError {
        StoreSnapshotError::Malformed {
            place: self.place,
            detail,
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, StoreSnapshotError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, StoreSnapshotError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, StoreSnapshotError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, StoreSnapshotError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn key_value(&mut self) -> Result<KeyValue, StoreSnapshotError> {
        let (key, value) = (self.length()?, self.length()?);
        Ok(KeyValue {
            create_revision: self.u64()?,
            mod_revision: self.u64()?,
            version: self.u64()?,
            lease: self.u64()?,
            key: self.bytes(key)?,
            value: self.bytes(value)?,
        })
    }

    /// A key-value, of which only the key was read yet.
    pub(super) fn record(&mut self, key: Bytes) -> Result<KeyValue, StoreSnapshotError> {
        Ok(KeyValue {
            key,
            create_revision: self.u64()?,
            mod_revision: self.u64()?,
            version: self.u64()?,
            lease: self.u64()?,
            value: self.counted()?,
        })
    }

    pub(super) fn claim(&mut self) -> Result<Claim, StoreSnapshotError> {
        Ok(Claim {
            token: self.u64()?,
            lease: self.u64()?,
            value: self.counted()?,
        })
    }

    /// Bytes behind their length.
    pub(super) fn counted(&mut self) -> Result<Bytes, StoreSnapshotError> {
        let length = self.length()?;
        self.bytes(length)
    }

    /// Nothing may be left.
    pub(super) fn finish(mut self) -> Result<(), StoreSnapshotError> {
        let place = self.place;
        match self.from.read_exact(&mut [0]) {
            Ok(()) => Err(StoreSnapshotError::Remainder { place }),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(source) => Err(StoreSnapshotError::Io { place, source }),
        }
    }

    fn length(&mut self) -> Result<usize, StoreSnapshotError> {
        let length = self.u32()?;
        if length as usize > STORE_SNAPSHOT_ITEM_BYTES_MAX {
            return Err(StoreSnapshotError::TooLarge {
                place: self.place,
                bytes: length.into(),
                max: STORE_SNAPSHOT_ITEM_BYTES_MAX as u64,
            });
        }
        Ok(length as usize)
    }

    /// Bytes of their own, in exactly as much memory as they need.
    pub(super) fn bytes(&mut self, length: usize) -> Result<Bytes, StoreSnapshotError> {
        let mut bytes = Vec::with_capacity(length.min(STEP_BYTES));
        while bytes.len() < length {
            let start = bytes.len();
            bytes.resize(length.min(start + STEP_BYTES), 0);
            self.fill(bytes.get_mut(start..).unwrap_or_default())?;
        }
        Ok(bytes.into_boxed_slice().into())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreSnapshotError> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    fn fill(&mut self, to: &mut [u8]) -> Result<(), StoreSnapshotError> {
        let place = self.place;
        self.from
            .read_exact(to)
            .map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => StoreSnapshotError::Truncated { place },
                _ => StoreSnapshotError::Io { place, source },
            })?;
        self.place.offset += to.len() as u64;
        Ok(())
    }
}
