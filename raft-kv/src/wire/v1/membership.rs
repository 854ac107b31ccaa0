//! A membership, and an entry's payload.
//!
//! Hand-laid, so that equal memberships have equal bytes: a cluster's identity is a hash of them.

use bytes::{BufMut, Bytes};
use raft_core::{Incarnation, Member, MemberId, Membership, MembershipParts, NodeId, Payload};

use super::VERSION;
use crate::wire::DecodeError;
use crate::wire::buffer::Reader;

const WHAT: &str = "membership";

/// Set in the count of members: priorities, promotions, or more of a joint membership stand behind the lists.
const HAS_MORE: u8 = 0x80;

pub(crate) const PAYLOAD_COMMAND: u8 = 0;
pub(crate) const PAYLOAD_NOOP: u8 = 1;
pub(crate) const PAYLOAD_MEMBERSHIP: u8 = 2;

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let mut out = Vec::with_capacity(8 + membership.len_bytes());
    out.put_u8(VERSION);
    let members: Vec<_> = membership.members().collect();
    let more = encode_more(membership);
    let flag = if more.is_empty() { 0 } else { HAS_MORE };
    out.put_u8(count(members.len()) | flag);
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
    out.put_slice(&more);
    out.into()
}

/// What few memberships have; nothing for those that do not.
fn encode_more(membership: &Membership) -> Vec<u8> {
    let mut out = Vec::new();
    let notable: Vec<(NodeId, &Member)> = membership
        .members()
        .filter_map(|(id, _)| Some((id.node, membership.member(id.node)?)))
        .filter(|(_, member)| member.priority != 0 || member.promote)
        .collect();
    let (demoted, replaced) = (membership.demoted(), membership.replaced());
    if notable.is_empty() && demoted.is_empty() && replaced.is_empty() {
        return out;
    }
    out.put_u8(count(notable.len()));
    for (node, member) in notable {
        out.put_u64_le(node.0);
        out.put_u8(member.priority);
        out.put_u8(u8::from(member.promote));
    }
    out.put_u8(count(demoted.len()));
    demoted.iter().for_each(|node| out.put_u64_le(node.0));
    out.put_u8(count(replaced.len()));
    for id in replaced {
        out.put_u64_le(id.node.0);
        out.put_u64_le(id.incarnation.0);
    }
    out
}

fn count(length: usize) -> u8 {
    const { assert!(Membership::MEMBERS_MAX < HAS_MORE as usize) };
    u8::try_from(length).expect("Membership bounds its members below 128")
}

pub(crate) fn decode_membership(bytes: Bytes) -> Result<Membership, DecodeError> {
    let mut reader = Reader::new(WHAT, bytes);
    reader.u8()?;
    let first = reader.u8()?;
    let count = check_count(first & !HAS_MORE)?;
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let node = NodeId(reader.u64()?);
        let incarnation = Incarnation(reader.u64()?);
        let length = reader.u16()? as usize;
        // Copied: a membership is kept for long, and a slice would keep the whole received frame with it.
        let context = Bytes::copy_from_slice(&reader.take(length)?);
        members.push((node, Member::new(incarnation, context)));
    }
    let mut parts = MembershipParts {
        members,
        voters: read_nodes(&mut reader)?,
        outgoing: read_nodes(&mut reader)?,
        ..MembershipParts::default()
    };
    if first & HAS_MORE != 0 {
        read_more(&mut reader, &mut parts)?;
    }
    reader.finish()?;
    Ok(Membership::from_parts(parts)?)
}

fn read_more(reader: &mut Reader, parts: &mut MembershipParts) -> Result<(), DecodeError> {
    let notable = read_count(reader)?;
    for _ in 0..notable {
        let node = NodeId(reader.u64()?);
        let (priority, promote) = (reader.u8()?, reader.bool()?);
        let member = parts.members.iter_mut().find(|(id, _)| *id == node);
        match member {
            Some((_, member)) if priority != 0 || promote => {
                (member.priority, member.promote) = (priority, promote);
            }
            _ => return Err(reader.malformed("it notes something of nobody, or nothing")),
        }
    }
    parts.demoted = read_nodes(reader)?;
    for _ in 0..read_count(reader)? {
        let node = NodeId(reader.u64()?);
        let incarnation = Incarnation(reader.u64()?);
        parts.replaced.push(MemberId { node, incarnation });
    }
    if notable == 0 && parts.demoted.is_empty() && parts.replaced.is_empty() {
        return Err(reader.malformed("it ends with nothing to say"));
    }
    Ok(())
}

fn read_count(reader: &mut Reader) -> Result<usize, DecodeError> {
    check_count(reader.u8()?)
}

fn check_count(count: u8) -> Result<usize, DecodeError> {
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
