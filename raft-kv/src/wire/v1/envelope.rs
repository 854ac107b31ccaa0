//! What members say to each other: a fixed header, and behind it by message a few numbers, or entries. All hand-laid.
//!
//! An append's entries stand as a table of fixed rows, and behind it their payloads, end to end: so all that is not payload
//! goes out in one buffer, and a payload goes from the log to the socket, and from the socket to the log, without a copy.

use bytes::{BufMut, Bytes};
use raft_core::{
    AppendResult, Boot, ClusterId, Entry, Envelope, Incarnation, Index, LogId, MemberId, Message,
    NodeId, Payload, RequestId, Sender, Snapshot, Term,
};

use super::VERSION;
use super::membership::{
    PAYLOAD_COMMAND, PAYLOAD_MEMBERSHIP, PAYLOAD_NOOP, decode_membership, encode_membership,
    encode_payload,
};
use crate::wire::buffer::{Chunks, Reader, SHARE_BYTES_MIN};
use crate::wire::{DecodeError, ENTRIES_MAX, decode_payload};

const WHAT: &str = "envelope";
const HEADER_BYTES: usize = 84;
const APPEND_BYTES: usize = 28;
const ROW_BYTES: usize = 21;

const PRE_VOTE_REQUEST: u8 = 1;
const PRE_VOTE_RESPONSE: u8 = 2;
const VOTE_REQUEST: u8 = 3;
const VOTE_RESPONSE: u8 = 4;
const APPEND_REQUEST: u8 = 5;
const APPEND_RESPONSE: u8 = 6;
const HEARTBEAT_REQUEST: u8 = 7;
const HEARTBEAT_RESPONSE: u8 = 8;
const SNAPSHOT_REQUEST: u8 = 9;
const TIMEOUT_NOW: u8 = 10;
const READ_REQUEST: u8 = 11;
const READ_RESPONSE: u8 = 12;
const HEARTBEAT_RESPONSE_FULL: u8 = 13;
const NOT_A_MEMBER: u8 = 14;

const MATCHED: u8 = 0;
const CONFLICT: u8 = 1;
const FULL: u8 = 2;

pub(crate) fn encode_envelope(envelope: &Envelope) -> Vec<Bytes> {
    let (kind, id) = kind_and_id(&envelope.message);
    let mut out = Vec::with_capacity(HEADER_BYTES + body_bytes(&envelope.message));
    out.put_u8(VERSION);
    out.put_u8(kind);
    out.put_u16_le(0);
    out.put_slice(&envelope.cluster.0);
    put_member(&mut out, envelope.from.member);
    out.put_u64_le(envelope.from.boot.0);
    put_member(&mut out, envelope.to);
    out.put_u64_le(envelope.term.0);
    out.put_u64_le(id.boot.0);
    out.put_u64_le(id.number);
    match &envelope.message {
        Message::PreVoteRequest { last, .. } => put_log_id(&mut out, *last),
        Message::NotAMember { at, .. } => put_log_id(&mut out, *at),
        Message::VoteRequest { last, transfer, .. } => {
            put_log_id(&mut out, *last);
            out.put_u8(u8::from(*transfer));
        }
        // All that it says is its id.
        Message::TimeoutNow { .. } => {}
        Message::PreVoteResponse { granted, .. } | Message::VoteResponse { granted, .. } => {
            out.put_u8(u8::from(*granted));
        }
        Message::AppendRequest {
            prev,
            entries,
            commit,
            ..
        } => {
            put_log_id(&mut out, *prev);
            out.put_u64_le(commit.0);
            return put_entries(out, entries);
        }
        Message::AppendResponse { result, .. } => match result {
            AppendResult::Matched(index) => {
                out.put_u8(MATCHED);
                out.put_u64_le(index.0);
            }
            AppendResult::Full(index) => {
                out.put_u8(FULL);
                out.put_u64_le(index.0);
            }
            AppendResult::Conflict { prev, hint } => {
                out.put_u8(CONFLICT);
                out.put_u64_le(prev.0);
                put_log_id(&mut out, *hint);
            }
        },
        Message::ReadRequest { .. } => {}
        Message::ReadResponse { index, .. } => {
            out.put_u8(u8::from(index.is_some()));
            out.put_u64_le(index.unwrap_or_default().0);
        }
        Message::SnapshotRequest { snapshot, .. } => {
            put_log_id(&mut out, snapshot.last);
            put_log_id(&mut out, snapshot.membership_at);
            let membership = encode_membership(&snapshot.membership);
            out.put_u32_le(length(membership.len()));
            out.put_slice(&membership);
        }
        Message::HeartbeatRequest { commit, .. } => out.put_u64_le(commit.0),
        Message::HeartbeatResponse { matched, .. } => out.put_u64_le(matched.0),
        _ => unreachable!("{UNKNOWN_MESSAGE}"),
    }
    vec![out.into()]
}

const UNKNOWN_MESSAGE: &str = "raft-core has a message that version 1 of the wire lacks";

fn kind_and_id(message: &Message) -> (u8, RequestId) {
    match message {
        Message::PreVoteRequest { id, .. } => (PRE_VOTE_REQUEST, *id),
        Message::PreVoteResponse { id, .. } => (PRE_VOTE_RESPONSE, *id),
        Message::VoteRequest { id, .. } => (VOTE_REQUEST, *id),
        Message::VoteResponse { id, .. } => (VOTE_RESPONSE, *id),
        Message::AppendRequest { id, .. } => (APPEND_REQUEST, *id),
        Message::AppendResponse { id, .. } => (APPEND_RESPONSE, *id),
        Message::ReadRequest { id } => (READ_REQUEST, *id),
        Message::ReadResponse { id, .. } => (READ_RESPONSE, *id),
        Message::SnapshotRequest { id, .. } => (SNAPSHOT_REQUEST, *id),
        Message::HeartbeatRequest { id, .. } => (HEARTBEAT_REQUEST, *id),
        Message::HeartbeatResponse { id, full, .. } => match full {
            false => (HEARTBEAT_RESPONSE, *id),
            true => (HEARTBEAT_RESPONSE_FULL, *id),
        },
        Message::TimeoutNow { id } => (TIMEOUT_NOW, *id),
        Message::NotAMember { id, .. } => (NOT_A_MEMBER, *id),
        _ => unreachable!("{UNKNOWN_MESSAGE}"),
    }
}

/// About how much stands in the first chunk behind the header, so that it is allocated once.
fn body_bytes(message: &Message) -> usize {
    let Message::AppendRequest { entries, .. } = message else {
        return APPEND_BYTES;
    };
    let row = |entry: &Entry| {
        let payload = Some(entry.payload.len_bytes()).filter(|&bytes| bytes < SHARE_BYTES_MIN);
        ROW_BYTES + payload.unwrap_or(0)
    };
    APPEND_BYTES + entries.iter().map(row).sum::<usize>()
}

fn put_member(out: &mut Vec<u8>, member: MemberId) {
    out.put_u64_le(member.node.0);
    out.put_u64_le(member.incarnation.0);
}

fn put_log_id(out: &mut Vec<u8>, id: LogId) {
    out.put_u64_le(id.index.0);
    out.put_u64_le(id.term.0);
}

fn put_entries(mut out: Vec<u8>, entries: &[Entry]) -> Vec<Bytes> {
    assert!(
        entries.len() <= ENTRIES_MAX,
        "an append of {} entries: the core's batch_bytes_max allows more than the wire's {ENTRIES_MAX}",
        entries.len()
    );
    out.put_u32_le(length(entries.len()));
    for entry in entries {
        put_log_id(&mut out, entry.id);
        let (kind, bytes) = match &entry.payload {
            Payload::Command(bytes) => (PAYLOAD_COMMAND, bytes.len()),
            Payload::Noop => (PAYLOAD_NOOP, 0),
            // Encoded once more below; memberships are rare.
            Payload::Membership(_) => (PAYLOAD_MEMBERSHIP, encode_payload(&entry.payload).1.len()),
        };
        out.put_u8(kind);
        out.put_u32_le(length(bytes));
    }
    let mut chunks = Chunks::begin(out);
    for entry in entries {
        match &entry.payload {
            Payload::Command(bytes) => chunks.add(bytes),
            Payload::Noop => {}
            Payload::Membership(_) => chunks.add(&encode_payload(&entry.payload).1),
        }
    }
    chunks.finish()
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a payload of 4 GiB is refused long before it is replicated")
}

pub(crate) fn decode_envelope(body: Bytes) -> Result<Envelope, DecodeError> {
    let mut reader = Reader::new(WHAT, body);
    reader.u8()?;
    let kind = reader.u8()?;
    reader.reserved(2)?;
    let cluster = ClusterId(reader.cluster()?);
    let member = read_member(&mut reader)?;
    let boot = Boot(reader.u64()?);
    let to = read_member(&mut reader)?;
    let term = Term(reader.u64()?);
    let id = RequestId {
        boot: Boot(reader.u64()?),
        number: reader.u64()?,
    };
    let message = read_message(&mut reader, kind, id)?;
    reader.finish()?;
    Ok(Envelope {
        cluster,
        from: Sender { member, boot },
        to,
        term,
        message,
    })
}

fn read_message(reader: &mut Reader, kind: u8, id: RequestId) -> Result<Message, DecodeError> {
    Ok(match kind {
        PRE_VOTE_REQUEST => Message::PreVoteRequest {
            id,
            last: read_log_id(reader)?,
        },
        PRE_VOTE_RESPONSE => Message::PreVoteResponse {
            id,
            granted: reader.bool()?,
        },
        VOTE_REQUEST => Message::VoteRequest {
            id,
            last: read_log_id(reader)?,
            transfer: reader.bool()?,
        },
        TIMEOUT_NOW => Message::TimeoutNow { id },
        NOT_A_MEMBER => Message::NotAMember {
            id,
            at: read_log_id(reader)?,
        },
        VOTE_RESPONSE => Message::VoteResponse {
            id,
            granted: reader.bool()?,
        },
        APPEND_REQUEST => Message::AppendRequest {
            id,
            prev: read_log_id(reader)?,
            commit: Index(reader.u64()?),
            entries: read_entries(reader)?.into(),
        },
        APPEND_RESPONSE => Message::AppendResponse {
            id,
            result: match reader.u8()? {
                MATCHED => AppendResult::Matched(Index(reader.u64()?)),
                FULL => AppendResult::Full(Index(reader.u64()?)),
                CONFLICT => AppendResult::Conflict {
                    prev: Index(reader.u64()?),
                    hint: read_log_id(reader)?,
                },
                kind => {
                    return Err(DecodeError::UnknownKind {
                        what: "result of an append",
                        kind,
                    });
                }
            },
        },
        READ_REQUEST => Message::ReadRequest { id },
        READ_RESPONSE => Message::ReadResponse {
            id,
            index: match (reader.bool()?, reader.u64()?) {
                (true, index) => Some(Index(index)),
                (false, 0) => None,
                (false, _) => return Err(reader.malformed("it names an index that it refuses")),
            },
        },
        SNAPSHOT_REQUEST => Message::SnapshotRequest {
            id,
            snapshot: Snapshot {
                last: read_log_id(reader)?,
                membership_at: read_log_id(reader)?,
                membership: {
                    let length = reader.u32()? as usize;
                    decode_membership(reader.take(length)?)?
                },
            },
        },
        HEARTBEAT_REQUEST => Message::HeartbeatRequest {
            id,
            commit: Index(reader.u64()?),
        },
        HEARTBEAT_RESPONSE | HEARTBEAT_RESPONSE_FULL => Message::HeartbeatResponse {
            id,
            matched: Index(reader.u64()?),
            full: kind == HEARTBEAT_RESPONSE_FULL,
        },
        kind => return Err(DecodeError::UnknownKind { what: WHAT, kind }),
    })
}

fn read_member(reader: &mut Reader) -> Result<MemberId, DecodeError> {
    Ok(MemberId {
        node: NodeId(reader.u64()?),
        incarnation: Incarnation(reader.u64()?),
    })
}

pub(super) fn read_log_id(reader: &mut Reader) -> Result<LogId, DecodeError> {
    Ok(LogId {
        index: Index(reader.u64()?),
        term: Term(reader.u64()?),
    })
}

fn read_entries(reader: &mut Reader) -> Result<Vec<Entry>, DecodeError> {
    let count = reader.u32()? as usize;
    if count > ENTRIES_MAX {
        return Err(DecodeError::TooMany {
            what: "entries of an append",
            count: count as u64,
            max: ENTRIES_MAX as u64,
        });
    }
    let mut rows = Reader::new(WHAT, reader.take(count * ROW_BYTES)?);
    let mut entries = Vec::with_capacity(count);
    while rows.remaining() > 0 {
        let id = read_log_id(&mut rows)?;
        let kind = rows.u8()?;
        let bytes = reader.take(rows.u32()? as usize)?;
        let payload = decode_payload(kind, bytes)?;
        entries.push(Entry { id, payload });
    }
    Ok(entries)
}
