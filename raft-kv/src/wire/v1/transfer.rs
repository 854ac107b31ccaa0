//! How a snapshot's file travels from node to node, and what stands in front of the state in its payload.

use bytes::{BufMut, Bytes};
use raft_core::{ClusterId, Snapshot, Term};

use super::VERSION;
use super::envelope::read_log_id;
use super::membership::encode_membership;
use crate::wire::buffer::Reader;
use crate::wire::{
    DecodeError, SNAPSHOT_HEAD_BYTES_MAX, SnapshotFile, SnapshotHead, Transfer, decode_membership,
};

const WHAT: &str = "transfer message";
const HEAD: &str = "head of a snapshot";

const OFFER: u8 = 1;
const READY: u8 = 2;
const CHUNK: u8 = 3;
const WANT: u8 = 4;
const HAVE: u8 = 5;
const REFUSED: u8 = 6;

pub(crate) fn encode_transfer(transfer: &Transfer) -> Vec<Bytes> {
    let (kind, file, number, sent) = match transfer {
        Transfer::Offer { file, term, sent } => (OFFER, file, term.0, *sent),
        Transfer::Ready { file, from, sent } => (READY, file, *from, *sent),
        Transfer::Chunk { file, offset, .. } => (CHUNK, file, *offset, 0),
        Transfer::Want { file, from } => (WANT, file, *from, 0),
        Transfer::Have { file, received } => (HAVE, file, *received, 0),
        Transfer::Refused { file } => (REFUSED, file, 0, 0),
    };
    let mut out = Vec::with_capacity(48);
    out.put_u8(VERSION);
    out.put_u8(kind);
    out.put_u16_le(0);
    out.put_u64_le(file.last.index.0);
    out.put_u64_le(file.last.term.0);
    out.put_u64_le(file.bytes);
    out.put_u32_le(file.checksum);
    out.put_u64_le(number);
    out.put_u64_le(sent);
    let mut chunks = vec![Bytes::from(out)];
    if let Transfer::Chunk { bytes, .. } = transfer {
        chunks.push(bytes.clone());
    }
    chunks
}

pub(crate) fn decode_transfer(body: Bytes) -> Result<Transfer, DecodeError> {
    let mut reader = Reader::new(WHAT, body);
    reader.u8()?;
    let kind = reader.u8()?;
    reader.reserved(2)?;
    let file = SnapshotFile {
        last: read_log_id(&mut reader)?,
        bytes: reader.u64()?,
        checksum: reader.u32()?,
    };
    let (number, sent) = (reader.u64()?, reader.u64()?);
    if sent > file.bytes || (sent > 0 && ![OFFER, READY].contains(&kind)) {
        return Err(reader.malformed("it speaks of what is beyond the file, or out of place"));
    }
    let transfer = match kind {
        OFFER => Transfer::Offer {
            file,
            term: Term(number),
            sent,
        },
        CHUNK => {
            let bytes = reader.rest_taken();
            let end = number.checked_add(bytes.len() as u64);
            if bytes.is_empty() || end.is_none_or(|end| end > file.bytes) {
                return Err(reader.malformed("a piece is empty, or goes beyond its file"));
            }
            Transfer::Chunk {
                file,
                offset: number,
                bytes,
            }
        }
        READY | WANT | HAVE if number > file.bytes => {
            return Err(reader.malformed("it speaks of what is beyond the file"));
        }
        READY => Transfer::Ready {
            file,
            from: number,
            sent,
        },
        WANT => Transfer::Want { file, from: number },
        HAVE => Transfer::Have {
            file,
            received: number,
        },
        REFUSED if number == 0 => Transfer::Refused { file },
        REFUSED => return Err(reader.malformed("a reserved number is not 0")),
        kind => return Err(DecodeError::UnknownKind { what: WHAT, kind }),
    };
    reader.finish()?;
    Ok(transfer)
}

pub(crate) fn encode_snapshot_head(head: &SnapshotHead) -> Bytes {
    let mut out = begin_head();
    out.put_slice(&head.cluster.0);
    for id in [head.snapshot.last, head.snapshot.membership_at] {
        out.put_u64_le(id.index.0);
        out.put_u64_le(id.term.0);
    }
    for membership in [&head.founding, &head.snapshot.membership] {
        let bytes = encode_membership(membership);
        out.put_u32_le(length(bytes.len()));
        out.put_slice(&bytes);
    }
    end_head(out)
}

/// The version, and room for the length of what follows, which is known at the end.
pub(super) fn begin_head() -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.put_u8(VERSION);
    out.put_slice(&[0; 3]);
    out.put_u32_le(0);
    out
}

pub(super) fn end_head(mut out: Vec<u8>) -> Bytes {
    let follows = length(out.len() - 8).to_le_bytes();
    out.iter_mut()
        .skip(4)
        .zip(follows)
        .for_each(|(to, from)| *to = from);
    out.into()
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("Membership bounds its length below 2^17")
}

/// How long the head is behind its first eight bytes.
pub(crate) fn head_length(what: &'static str, first: [u8; 8]) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(what, Bytes::copy_from_slice(&first));
    reader.u8()?;
    reader.reserved(3)?;
    let length = reader.u32()? as usize;
    if length > SNAPSHOT_HEAD_BYTES_MAX {
        return Err(DecodeError::TooMany {
            what: "bytes of a snapshot's head",
            count: length as u64,
            max: SNAPSHOT_HEAD_BYTES_MAX as u64,
        });
    }
    Ok(length)
}

pub(crate) fn decode_snapshot_head(rest: Bytes) -> Result<SnapshotHead, DecodeError> {
    let mut reader = Reader::new(HEAD, rest);
    let cluster = ClusterId(reader.cluster()?);
    let (last, membership_at) = (read_log_id(&mut reader)?, read_log_id(&mut reader)?);
    let founding = decode_membership(reader.take_u32()?)?;
    let membership = decode_membership(reader.take_u32()?)?;
    reader.finish()?;
    Ok(SnapshotHead {
        cluster,
        founding,
        snapshot: Snapshot {
            last,
            membership,
            membership_at,
        },
    })
}
