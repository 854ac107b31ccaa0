//! What version 2 of the protocol and of commands would bring, in the build that plays the next release (`release.rs`): an envelope
//! without its reserved bytes, and a command that writes behind what stands at a key.
//!
//! The real version 2 takes the place of this file: a folder `v2`, with its own golden bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_core::Envelope;

use super::buffer::Reader;
use super::{DecodeError, v1};
use crate::api::{Command, Operation};

/// The first byte of all that is encoded here.
pub(super) const VERSION: u8 = 2;

const COMMAND: &str = "command";
/// The cluster version that a command of this version needs.
const NEEDS: u16 = 2;

/// As version 1, without the two reserved bytes behind the kind.
pub(super) fn encode_envelope(envelope: &Envelope) -> Vec<Bytes> {
    let mut chunks = v1::encode_envelope(envelope);
    if let Some(first) = chunks.first_mut() {
        let kind = first.get(1).copied().unwrap_or_default();
        let mut head = BytesMut::with_capacity(first.len());
        head.put_u8(VERSION);
        head.put_u8(kind);
        head.extend_from_slice(first.get(4..).unwrap_or_default());
        *first = head.freeze();
    }
    chunks
}

pub(super) fn decode_envelope(mut body: Bytes) -> Result<Envelope, DecodeError> {
    let what = "envelope";
    let mut as_v1 = BytesMut::with_capacity(body.len() + 2);
    body.try_get_u8()
        .map_err(|_| DecodeError::Truncated { what })?;
    as_v1.put_u8(v1::VERSION);
    as_v1.put_u8(
        body.try_get_u8()
            .map_err(|_| DecodeError::Truncated { what })?,
    );
    as_v1.put_u16_le(0);
    as_v1.extend_from_slice(&body);
    v1::decode_envelope(as_v1.freeze())
}

/// Whether a command can be said in this version only.
pub(super) fn has(command: &Command) -> bool {
    matches!(command.operation, Operation::Append { .. })
}

/// The header that every version has, then session, sequence, first outstanding, length of the key, key, value.
pub(super) fn encode_command(command: &Command) -> Bytes {
    let mut out = Vec::new();
    out.put_u8(VERSION);
    out.put_u8(0);
    out.put_u16_le(NEEDS);
    if let Operation::Append { key, value } = &command.operation {
        out.put_u64_le(command.session);
        out.put_u64_le(command.sequence);
        out.put_u64_le(command.first_outstanding);
        // The door refuses a longer one than 4 KiB.
        out.put_u32_le(u32::try_from(key.len()).unwrap_or(u32::MAX));
        out.put_slice(key);
        out.put_slice(value);
    }
    out.into()
}

pub(super) fn decode_command(bytes: Bytes) -> Result<Command, DecodeError> {
    let mut reader = Reader::new(COMMAND, bytes);
    reader.u8()?;
    reader.reserved(1)?;
    reader.u16()?;
    let (session, sequence, first_outstanding) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let key = reader.take_u32()?;
    let value = reader.rest_taken();
    Ok(Command {
        session,
        sequence,
        first_outstanding,
        principal: Bytes::new(),
        operation: Operation::Append { key, value },
    })
}
