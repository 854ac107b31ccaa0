//! The entries that everyone writes: content that does not compress and follows from the index, and their shape for
//! raft-engine.

use std::any::Any;

use bytes::Bytes;
use protobuf::well_known_types::BytesValue;
use protobuf::{
    CachedSize, Clear, CodedInputStream, CodedOutputStream, Message, ProtobufResult, UnknownFields,
    reflect::MessageDescriptor, rt,
};

/// What one entry carries.
pub const ENTRY_BYTES: usize = 256;
/// How many different contents there are; the entry at `index` has the one at `index % CONTENTS`.
const CONTENTS: usize = 4096;
/// The most entries in one sync.
pub const ENTRIES_MAX: usize = 1024;

/// The contents one behind another, so that those of consecutive entries are one range.
#[derive(Clone)]
pub struct Contents(Bytes);

impl Contents {
    pub fn new() -> Contents {
        // Random enough that nothing compresses: xorshift.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = CONTENTS * ENTRY_BYTES / 8;
        let mut bytes = Vec::with_capacity((CONTENTS + ENTRIES_MAX) * ENTRY_BYTES);
        for _ in 0..words {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.extend_from_within(..ENTRIES_MAX * ENTRY_BYTES);
        Contents(bytes.into())
    }

    /// The same contents with a reference count and a place of their own: as a frame that came in by itself.
    pub fn copy(&self) -> Contents {
        Contents(Bytes::copy_from_slice(&self.0))
    }

    fn place(index: u64) -> usize {
        (index % CONTENTS as u64) as usize * ENTRY_BYTES
    }

    /// The content of the entry at `index`.
    pub fn of(&self, index: u64) -> &[u8] {
        let place = Self::place(index);
        &self.0[place..place + ENTRY_BYTES]
    }

    /// As [`Contents::of`], sharing the buffer.
    pub fn shared(&self, index: u64) -> Bytes {
        let place = Self::place(index);
        self.0.slice(place..place + ENTRY_BYTES)
    }
}

/// An entry as raft-engine takes it, with the fields of `eraftpb.Entry` that matter: written by hand, so that no `protoc` is
/// needed.
#[derive(Clone, Debug, Default)]
pub struct PeerEntry {
    pub term: u64,
    pub index: u64,
    pub data: Bytes,
    unknown: UnknownFields,
    size: CachedSize,
}

impl PartialEq for PeerEntry {
    fn eq(&self, other: &PeerEntry) -> bool {
        (self.term, self.index, &self.data) == (other.term, other.index, &other.data)
    }
}

impl Clear for PeerEntry {
    fn clear(&mut self) {
        *self = PeerEntry::default();
    }
}

impl Message for PeerEntry {
    /// Asked for by nothing that is used here.
    fn descriptor(&self) -> &'static MessageDescriptor {
        BytesValue::descriptor_static()
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, is: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        while !is.eof()? {
            let (field, wire_type) = is.read_tag_unpack()?;
            match field {
                2 => self.term = is.read_uint64()?,
                3 => self.index = is.read_uint64()?,
                4 => self.data = is.read_bytes()?.into(),
                _ => {
                    rt::read_unknown_or_skip_group(field, wire_type, is, self.mut_unknown_fields())?
                }
            }
        }
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, os: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        os.write_uint64(2, self.term)?;
        os.write_uint64(3, self.index)?;
        os.write_bytes(4, &self.data)?;
        os.write_unknown_fields(&self.unknown)
    }

    fn compute_size(&self) -> u32 {
        let numbers = [(2, self.term), (3, self.index)].map(|(field, value)| {
            rt::value_size(field, value, protobuf::wire_format::WireTypeVarint)
        });
        let size = numbers.iter().sum::<u32>()
            + rt::bytes_size(4, &self.data)
            + rt::unknown_fields_size(&self.unknown);
        self.size.set(size);
        size
    }

    fn get_cached_size(&self) -> u32 {
        self.size.get()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn new() -> PeerEntry {
        PeerEntry::default()
    }

    fn default_instance() -> &'static PeerEntry {
        static INSTANCE: std::sync::OnceLock<PeerEntry> = std::sync::OnceLock::new();
        INSTANCE.get_or_init(PeerEntry::default)
    }
}
