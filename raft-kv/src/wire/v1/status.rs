//! What a node says of itself.

use serde::{Deserialize, Serialize};

use super::pack::List;
use super::response::{LeaderHintV1, clip};
use crate::api::{MemberStatus, NodeStatus};
use crate::wire::MEMBERS_MAX;

/// How many hashes of its state a node gives at most.
const HASHES_MAX: usize = 64;

#[derive(Serialize, Deserialize)]
pub(super) struct NodeStatusV1<'a> {
    id: u64,
    incarnation: u64,
    boot: u64,
    role: &'a str,
    #[serde(borrow)]
    leader: Option<LeaderHintV1<'a>>,
    term: u64,
    commit: u64,
    applied: u64,
    first: u64,
    last: u64,
    disk_bytes: u64,
    keys: u64,
    hashes: List<(u64, u64), HASHES_MAX>,
    syncs: u64,
    version: &'a str,
    cluster_version: u16,
    follows: u16,
    held_back: &'a str,
    error: &'a str,
    members: List<MemberStatusV1<'a>, MEMBERS_MAX>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MemberStatusV1<'a> {
    id: u64,
    incarnation: u64,
    address: &'a str,
    voter: bool,
    promotes: bool,
    matched: u64,
    silent_ms: Option<u64>,
}

impl<'a> From<&'a NodeStatus> for NodeStatusV1<'a> {
    fn from(status: &'a NodeStatus) -> Self {
        Self {
            id: status.id,
            incarnation: status.incarnation,
            boot: status.boot,
            role: clip(&status.role),
            leader: status.leader.as_ref().map(Into::into),
            term: status.term,
            commit: status.commit,
            applied: status.applied,
            first: status.first,
            last: status.last,
            disk_bytes: status.disk_bytes,
            keys: status.keys,
            hashes: List(status.hashes.iter().copied().take(HASHES_MAX).collect()),
            syncs: status.syncs,
            version: clip(&status.version),
            cluster_version: status.cluster_version,
            follows: status.follows,
            held_back: clip(&status.held_back),
            error: clip(&status.error),
            // A membership has no more than that.
            members: List(
                status
                    .members
                    .iter()
                    .take(MEMBERS_MAX)
                    .map(Into::into)
                    .collect(),
            ),
        }
    }
}

impl From<NodeStatusV1<'_>> for NodeStatus {
    fn from(status: NodeStatusV1<'_>) -> Self {
        Self {
            id: status.id,
            incarnation: status.incarnation,
            boot: status.boot,
            role: clip(status.role).to_owned(),
            leader: status.leader.map(Into::into),
            term: status.term,
            commit: status.commit,
            applied: status.applied,
            first: status.first,
            last: status.last,
            disk_bytes: status.disk_bytes,
            keys: status.keys,
            hashes: status.hashes.0,
            syncs: status.syncs,
            version: clip(status.version).to_owned(),
            cluster_version: status.cluster_version,
            follows: status.follows,
            held_back: clip(status.held_back).to_owned(),
            error: clip(status.error).to_owned(),
            members: status.members.0.into_iter().map(Into::into).collect(),
        }
    }
}

impl<'a> From<&'a MemberStatus> for MemberStatusV1<'a> {
    fn from(member: &'a MemberStatus) -> Self {
        Self {
            id: member.id,
            incarnation: member.incarnation,
            address: clip(&member.address),
            voter: member.voter,
            promotes: member.promotes,
            matched: member.matched,
            silent_ms: member.silent_ms,
        }
    }
}

impl From<MemberStatusV1<'_>> for MemberStatus {
    fn from(member: MemberStatusV1<'_>) -> Self {
        Self {
            id: member.id,
            incarnation: member.incarnation,
            address: clip(member.address).to_owned(),
            voter: member.voter,
            promotes: member.promotes,
            matched: member.matched,
            silent_ms: member.silent_ms,
        }
    }
}
