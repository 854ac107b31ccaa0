//! Who belongs to the cluster, and who of them votes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use crate::types::{Incarnation, Index, LogId, MemberId, NodeId};

/// A member as the membership keeps it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// What others need to reach it, opaque to Raft: an address, say. At most [`Membership::CONTEXT_BYTES_MAX`] bytes.
    pub context: Bytes,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:x}", self.incarnation.0)
    }
}

/// A configuration of the cluster (paper §6). In a joint one a decision needs a majority of `voters` and a majority of
/// `outgoing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    members: BTreeMap<NodeId, Member>,
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
}

/// Why a membership was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MembershipError {
    /// It has no voter, so nothing could ever be decided.
    NoVoter,
    /// A node's number stands in it twice, or is 0.
    BadNode(NodeId),
    /// A voter that is not among the members.
    UnknownVoter(NodeId),
    /// More than [`Membership::MEMBERS_MAX`] members.
    TooMany(usize),
    /// A context over [`Membership::CONTEXT_BYTES_MAX`] bytes.
    ContextTooLong(NodeId),
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVoter => f.write_str("a membership needs at least one voter"),
            Self::BadNode(node) => {
                write!(f, "node id {node} is 0 or stands in the membership twice")
            }
            Self::UnknownVoter(node) => write!(f, "voter {node} is not a member"),
            Self::TooMany(count) => {
                write!(
                    f,
                    "{count} members; at most {} are supported",
                    Membership::MEMBERS_MAX
                )
            }
            Self::ContextTooLong(node) => {
                write!(
                    f,
                    "node {node}'s context is over {} bytes",
                    Membership::CONTEXT_BYTES_MAX
                )
            }
        }
    }
}

impl core::error::Error for MembershipError {}

impl Membership {
    /// How many members a configuration may have, learners included.
    pub const MEMBERS_MAX: usize = 64;
    /// How long a member's context may be, in bytes.
    pub const CONTEXT_BYTES_MAX: usize = 1024;

    /// A configuration in which every member votes.
    ///
    /// # Errors
    /// When it is empty, too large, or names a node twice or as 0.
    pub fn of_voters(
        members: impl IntoIterator<Item = (MemberId, Bytes)>,
    ) -> Result<Self, MembershipError> {
        let members: Vec<(MemberId, Bytes)> = members.into_iter().collect();
        let voters = members.iter().map(|(id, _)| id.node).collect();
        Self::from_parts(members, voters, Vec::new())
    }

    /// A configuration of its parts, as a decoder has them: checked, whoever sent them.
    ///
    /// # Errors
    /// As [`MembershipError`] lists them.
    pub fn from_parts(
        members: Vec<(MemberId, Bytes)>,
        mut voters: Vec<NodeId>,
        mut outgoing: Vec<NodeId>,
    ) -> Result<Self, MembershipError> {
        if members.len() > Self::MEMBERS_MAX {
            return Err(MembershipError::TooMany(members.len()));
        }
        let mut map = BTreeMap::new();
        for (id, context) in members {
            if context.len() > Self::CONTEXT_BYTES_MAX {
                return Err(MembershipError::ContextTooLong(id.node));
            }
            let member = Member {
                incarnation: id.incarnation,
                context,
            };
            if id.node == NodeId::ZERO || map.insert(id.node, member).is_some() {
                return Err(MembershipError::BadNode(id.node));
            }
        }
        if voters.is_empty() {
            return Err(MembershipError::NoVoter);
        }
        for list in [&mut voters, &mut outgoing] {
            list.sort_unstable();
            if let Some(pair) = list.windows(2).find(|pair| pair.first() == pair.last()) {
                return Err(MembershipError::BadNode(
                    pair.first().copied().unwrap_or_default(),
                ));
            }
            if let Some(&node) = list.iter().find(|node| !map.contains_key(node)) {
                return Err(MembershipError::UnknownVoter(node));
            }
        }
        Ok(Self {
            members: map,
            voters,
            outgoing,
        })
    }

    /// All members, learners included, in the order of their numbers.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, &Bytes)> {
        self.members.iter().map(|(&node, member)| {
            (
                MemberId {
                    node,
                    incarnation: member.incarnation,
                },
                &member.context,
            )
        })
    }

    /// The member that has this node's number now.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// Whether this very member, incarnation included, belongs to the configuration.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        self.member(id.node)
            .is_some_and(|member| member.incarnation == id.incarnation)
    }

    /// Whether this very member votes, in either half.
    #[must_use]
    pub fn is_voter(&self, id: MemberId) -> bool {
        self.contains(id) && (self.voters.contains(&id.node) || self.outgoing.contains(&id.node))
    }

    /// The voters (of the new half, when joint), ascending.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// The voters of the old half; empty unless the configuration is joint.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Its size as flow control counts it, in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.members
            .values()
            .map(|member| member.context.len() + 24)
            .sum::<usize>()
            + 8 * (self.voters.len() + self.outgoing.len())
    }
}

/// The memberships that the log holds: what was in force at the last entry handed out to apply, and those after it, the last
/// of which is in force. One takes
/// effect as soon as it is appended, and is undone when its entry is cut (thesis §4.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MembershipLog {
    entries: Vec<(LogId, Membership)>,
    /// What stands in for a membership on a node that has heard of none.
    none: Membership,
}

impl MembershipLog {
    pub(crate) fn new(entries: Vec<(LogId, Membership)>) -> Self {
        Self {
            entries,
            none: Membership::default(),
        }
    }

    /// The membership in force.
    pub(crate) fn current(&self) -> &Membership {
        self.entries
            .last()
            .map_or(&self.none, |(_, membership)| membership)
    }

    /// The entry that it stands in.
    pub(crate) fn current_at(&self) -> LogId {
        self.entries.last().map_or(LogId::ZERO, |&(at, _)| at)
    }

    pub(crate) fn append(&mut self, at: LogId, membership: Membership) {
        assert!(
            at.index > self.current_at().index || self.entries.is_empty(),
            "a membership at {at} came out of order"
        );
        self.entries.push((at, membership));
    }

    /// The log was cut at `from`.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.entries.retain(|&(at, _)| at.index < from);
    }

    /// The log begins anew with this membership, which a snapshot brought.
    pub(crate) fn reset(&mut self, at: LogId, membership: Membership) {
        self.entries.clear();
        self.entries.push((at, membership));
    }

    /// What was in force at `index`, and the entry it stands in.
    pub(crate) fn in_force_at(&self, index: Index) -> Option<&(LogId, Membership)> {
        self.entries.iter().rev().find(|(at, _)| at.index <= index)
    }

    /// Nobody asks any more what was in force before `index`, which is committed.
    pub(crate) fn forget_before(&mut self, index: Index) {
        let older = self
            .entries
            .iter()
            .take_while(|(at, _)| at.index <= index)
            .count();
        if older > 1 {
            self.entries.drain(..older - 1);
        }
    }

    /// Everything up to `commit` is committed now, `before` being the commit index until now: those that became committed by this.
    pub(crate) fn commit(&mut self, before: Index, commit: Index) -> Vec<LogId> {
        if self
            .entries
            .last()
            .is_none_or(|&(at, _)| at.index <= before)
        {
            return Vec::new();
        }
        self.entries
            .iter()
            .map(|&(at, _)| at)
            .filter(|at| at.index > before && at.index <= commit)
            .collect()
    }
}
