//! A membership, and an entry's payload.
//!
//! Hand-laid, so that equal memberships have equal bytes: a cluster's identity is a hash of them.

use bytes::{BufMut, Bytes};
use raft_core::{Incarnation, MemberId, Membership, NodeId, Payload};

use super::VERSION;
use crate::wire::DecodeError;
use crate::wire::buffer::Reader;

const WHAT: &str = "membership";

pub(crate) const PAYLOAD_COMMAND: u8 = 0;
pub(crate) const PAYLOAD_NOOP: u8 = 1;
pub(crate) const PAYLOAD_MEMBERSHIP: u8 = 2;

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let mut out = Vec::with_capacity(8 + membership.len_bytes());
    out.put_u8(VERSION);
    let members: Vec<_> = membership.members().collect();
    out.put_u8(count(members.len()));
    for (id, context) in members {
        out.put_u64_le(id.node.0);
        out.put_u64_le(id.incarnation.0);
        let length =
            u16::try_from(context.len()).expect("Membership bounds a context's length below 2^16");
        out.put_u16_le(length);
        out.put_slice(context);
    }
    for list in [membership.voters(), membership.outgoing()] {
        out.put_u8(count(list.len()));
        list.iter().for_each(|node| out.put_u64_le(node.0));
    }
    out.into()
}

fn count(length: usize) -> u8 {
    const { assert!(Membership::MEMBERS_MAX <= u8::MAX as usize) };
    u8::try_from(length).expect("Membership bounds its members below 256")
}

pub(crate) fn decode_membership(bytes: Bytes) -> Result<Membership, DecodeError> {
    let mut reader = Reader::new(WHAT, bytes);
    reader.u8()?;
    let mut members = Vec::with_capacity(read_count(&mut reader)?);
    for _ in 0..members.capacity() {
        let node = NodeId(reader.u64()?);
        let incarnation = Incarnation(reader.u64()?);
        let length = reader.u16()? as usize;
        // Copied: a membership is kept for long, and a slice would keep the whole received frame with it.
        let context = Bytes::copy_from_slice(&reader.take(length)?);
        members.push((MemberId { node, incarnation }, context));
    }
    let voters = read_nodes(&mut reader)?;
    let outgoing = read_nodes(&mut reader)?;
    reader.finish()?;
    Ok(Membership::from_parts(members, voters, outgoing)?)
}

fn read_count(reader: &mut Reader) -> Result<usize, DecodeError> {
    let count = reader.u8()?;
    if usize::from(count) > Membership::MEMBERS_MAX {
        return Err(DecodeError::TooMany {
            what: "members of a membership",
            count: count.into(),
            max: Membership::MEMBERS_MAX as u64,
        });
    }
    Ok(count.into())
}

fn read_nodes(reader: &mut Reader) -> Result<Vec<NodeId>, DecodeError> {
    let count = read_count(reader)?;
    (0..count).map(|_| reader.u64().map(NodeId)).collect()
}

pub(crate) fn encode_payload(payload: &Payload) -> (u8, Bytes) {
    match payload {
        Payload::Command(bytes) => (PAYLOAD_COMMAND, bytes.clone()),
        Payload::Noop => (PAYLOAD_NOOP, Bytes::new()),
        Payload::Membership(membership) => (PAYLOAD_MEMBERSHIP, encode_membership(membership)),
    }
}
