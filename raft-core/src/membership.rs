//! Who belongs to the cluster, and who of them votes.
//!
//! Guards: a configuration is checked when it is made, whoever made it, and is never half a change: what a joint one leaves behind
//! stands in it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use crate::few::Few;
use crate::types::{Incarnation, MemberId, NodeId};

/// A member as the membership keeps it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// What others need to reach it, opaque to Raft: an address, say. At most [`Membership::CONTEXT_BYTES_MAX`] bytes. The
    /// memberships do not hold everyone whom a node has to answer: see [the front page](crate#what-the-driver-promises).
    pub context: Bytes,
    /// How much it is wanted as leader; more is more. It stands here, and not in each node's settings, so that all judge by the same
    /// numbers. It only ever delays: a voter that others outrank waits longer before it campaigns, and is picked later as the target
    /// of a transfer, but whoever has the log can win. Default 0.
    pub priority: u8,
    /// On a learner: the leader makes it a voter as soon as it has caught up (thesis §4.2.1). It stands here so that it survives a change
    /// of leaders.
    pub promote: bool,
}

impl Member {
    /// A member of no particular priority, that stays what it is.
    #[must_use]
    pub const fn new(incarnation: Incarnation, context: Bytes) -> Self {
        Self {
            incarnation,
            context,
            priority: 0,
            promote: false,
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:x}", self.incarnation.0)
    }
}

/// A configuration of the cluster (paper §6): members, of whom the voters decide, and the others, the learners, only listen. In a joint
/// one, on the way from an old set of voters to a new one, a decision needs a majority of either.
///
/// It never changes once it is made, and is shared: cloning it copies nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Membership(Arc<Lists>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Lists {
    members: Few<NodeId, Member>,
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    demoted: Vec<NodeId>,
    replaced: Vec<MemberId>,
    /// The highest priority that a member has.
    priority_max: u8,
}

/// What a [`Membership`] is made of, as a codec writes and reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipParts {
    /// All members; a node's number at most once.
    pub members: Vec<(NodeId, Member)>,
    /// See [`Membership::voters`].
    pub voters: Vec<NodeId>,
    /// See [`Membership::outgoing`].
    pub outgoing: Vec<NodeId>,
    /// See [`Membership::demoted`].
    pub demoted: Vec<NodeId>,
    /// See [`Membership::replaced`].
    pub replaced: Vec<MemberId>,
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
    /// What it says of this node cannot be: a voter that waits to become one, say, or a demotion of one that did not vote.
    Contradiction(NodeId),
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
            Self::Contradiction(node) => {
                write!(f, "what the membership says of node {node} cannot be")
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

    /// What stands in for a membership on a node that has heard of none.
    pub(crate) fn none() -> Self {
        Self(Arc::default())
    }

    /// A configuration in which every member votes.
    ///
    /// # Errors
    /// When it is empty, too large, or names a node twice or as 0.
    pub fn of_voters(
        members: impl IntoIterator<Item = (MemberId, Bytes)>,
    ) -> Result<Self, MembershipError> {
        let members: Vec<(NodeId, Member)> = members
            .into_iter()
            .map(|(id, context)| (id.node, Member::new(id.incarnation, context)))
            .collect();
        Self::from_parts(MembershipParts {
            voters: members.iter().map(|&(node, _)| node).collect(),
            members,
            ..MembershipParts::default()
        })
    }

    /// A configuration of its parts: checked, whoever sent them.
    ///
    /// # Errors
    /// As [`MembershipError`] lists them.
    pub fn from_parts(parts: MembershipParts) -> Result<Self, MembershipError> {
        if parts.members.len() > Self::MEMBERS_MAX {
            return Err(MembershipError::TooMany(parts.members.len()));
        }
        let mut members = Few::default();
        for (node, member) in parts.members {
            if member.context.len() > Self::CONTEXT_BYTES_MAX {
                return Err(MembershipError::ContextTooLong(node));
            }
            if node == NodeId::ZERO || members.insert(node, member).is_some() {
                return Err(MembershipError::BadNode(node));
            }
        }
        if parts.voters.is_empty() {
            return Err(MembershipError::NoVoter);
        }
        let mut lists = Lists {
            priority_max: priority_max(&members),
            members,
            voters: parts.voters,
            outgoing: parts.outgoing,
            demoted: parts.demoted,
            replaced: parts.replaced,
        };
        lists.replaced.sort_unstable();
        lists.voters.sort_unstable();
        lists.outgoing.sort_unstable();
        lists.demoted.sort_unstable();
        let replaced: Vec<NodeId> = lists.replaced.iter().map(|id| id.node).collect();
        let membership = Self(Arc::new(lists));
        membership.check_list(&replaced)?;
        for list in [
            membership.voters(),
            membership.outgoing(),
            membership.demoted(),
        ] {
            membership.check_list(list)?;
        }
        membership.check_seats()?;
        Ok(membership)
    }

    /// Checks that an ascending list names members, each once.
    fn check_list(&self, list: &[NodeId]) -> Result<(), MembershipError> {
        if let Some(pair) = list.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(MembershipError::BadNode(
                pair.first().copied().unwrap_or_default(),
            ));
        }
        match list.iter().find(|node| !self.0.members.contains_key(node)) {
            Some(&node) => Err(MembershipError::UnknownVoter(node)),
            None => Ok(()),
        }
    }

    /// Checks that the lists go together.
    fn check_seats(&self) -> Result<(), MembershipError> {
        let waits = |node: &&NodeId| self.member(**node).is_some_and(|member| member.promote);
        let stays =
            |node: &&NodeId| self.0.voters.contains(node) || !self.0.outgoing.contains(node);
        let wrong = (self.0.voters.iter().find(waits))
            .or_else(|| self.0.demoted.iter().find(stays))
            .copied();
        let here = |id: &&MemberId| self.contains(**id) || self.0.outgoing.contains(&id.node);
        match wrong.or_else(|| self.0.replaced.iter().find(here).map(|id| id.node)) {
            Some(node) => Err(MembershipError::Contradiction(node)),
            None => Ok(()),
        }
    }

    /// All members, learners included, in the order of their numbers.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, &Bytes)> {
        self.0.members.iter().map(|(&node, member)| {
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
        self.0.members.get(&node)
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
        self.contains(id)
            && (self.0.voters.contains(&id.node) || self.0.outgoing.contains(&id.node))
    }

    /// The voters (of the new half, when joint), ascending.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.0.voters
    }

    /// The voters of the old half that are members still; empty unless the configuration is joint. The other voters of that half are
    /// [`Membership::replaced`].
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.0.outgoing
    }

    /// Those voters of the old half that become learners; the rest of them that do not vote in the new half leave.
    #[must_use]
    pub fn demoted(&self) -> &[NodeId] {
        &self.0.demoted
    }

    /// Voters of the old half whose number belongs to another incarnation already. They still count there, as voters that never answer:
    /// nobody speaks for what a lost disk held.
    #[must_use]
    pub fn replaced(&self) -> &[MemberId] {
        &self.0.replaced
    }

    /// Whether this is a joint configuration, in which a decision needs both halves (paper §6).
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.0.outgoing.is_empty() || !self.0.replaced.is_empty()
    }

    /// Members without a vote in either half, ascending.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> {
        let votes = |node: &NodeId| self.0.voters.contains(node) || self.0.outgoing.contains(node);
        self.0
            .members
            .keys()
            .copied()
            .filter(move |node| !votes(node))
    }

    /// Every member with all that is kept of it, ascending.
    pub(crate) fn seats(&self) -> &Few<NodeId, Member> {
        &self.0.members
    }

    /// The voters of the new half, incarnation included.
    pub(crate) fn voter_ids(&self) -> impl Iterator<Item = MemberId> {
        self.members()
            .map(|(id, _)| id)
            .filter(|id| self.0.voters.contains(&id.node))
    }

    /// The joint configuration between this one and `target` (Cold,new in the paper), or `target` itself when the same members vote
    /// in both, so that every majority of one is one of the other.
    pub(crate) fn toward(&self, target: Self) -> Result<Self, MembershipError> {
        if self.voter_ids().eq(target.voter_ids()) {
            return Ok(target);
        }
        let mut parts = MembershipParts {
            members: target.0.members.clone().into_iter().collect(),
            voters: target.0.voters.clone(),
            ..MembershipParts::default()
        };
        for id in self.voter_ids() {
            let Some(member) = target.member(id.node) else {
                parts
                    .members
                    .extend(self.member(id.node).map(|member| (id.node, member.clone())));
                parts.outgoing.push(id.node);
                continue;
            };
            if member.incarnation != id.incarnation {
                parts.replaced.push(id);
                continue;
            }
            parts.outgoing.push(id.node);
            if !target.voters().contains(&id.node) {
                parts.demoted.push(id.node);
            }
        }
        Self::from_parts(parts)
    }

    /// What this joint configuration leads to (Cnew in the paper).
    pub(crate) fn without_outgoing(&self) -> Self {
        let leaves = |node: &NodeId| {
            self.0.outgoing.contains(node)
                && !self.0.voters.contains(node)
                && !self.0.demoted.contains(node)
        };
        let mut members = self.0.members.clone();
        members.retain(|node, _| !leaves(node));
        Self(Arc::new(Lists {
            priority_max: priority_max(&members),
            members,
            voters: self.0.voters.clone(),
            ..Lists::default()
        }))
    }

    /// How many priorities among the voters are above this member's.
    pub(crate) fn outranked_by(&self, id: MemberId) -> u32 {
        // Asked for with every message of a leader, and mostly nobody has a priority.
        if self.0.priority_max == 0 {
            return 0;
        }
        let own = self.member(id.node).map_or(0, |member| member.priority);
        let mut higher: Vec<u8> = (self.0.voters.iter())
            .filter_map(|&node| self.member(node))
            .map(|member| member.priority)
            .filter(|&priority| priority > own)
            .collect();
        higher.sort_unstable();
        higher.dedup();
        u32::try_from(higher.len()).unwrap_or(u32::MAX)
    }

    /// Its size as flow control counts it, in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0
            .members
            .values()
            .map(|member| member.context.len() + 26)
            .sum::<usize>()
            + 8 * (self.0.voters.len() + self.0.outgoing.len() + self.0.demoted.len())
            + 16 * self.0.replaced.len()
    }
}

fn priority_max(members: &Few<NodeId, Member>) -> u8 {
    members
        .values()
        .fold(0, |max, member| max.max(member.priority))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Priorities are counted, not those who have them; a learner's does not count.
    #[test]
    fn outranked_by_priorities() {
        let id = |node| MemberId {
            node: NodeId(node),
            incarnation: Incarnation(node),
        };
        let seat = |node, priority| {
            let member = Member::new(Incarnation(node), Bytes::new());
            (NodeId(node), Member { priority, ..member })
        };
        let of = |members: Vec<(NodeId, Member)>, voters| {
            let voters = (1..=voters).map(NodeId).collect();
            let parts = MembershipParts {
                members,
                voters,
                ..MembershipParts::default()
            };
            Membership::from_parts(parts).unwrap()
        };
        assert_eq!(of(vec![seat(1, 0), seat(2, 0)], 2).outranked_by(id(1)), 0);
        assert_eq!(of(vec![seat(1, 0), seat(2, 1)], 2).outranked_by(id(1)), 1);
        let members = vec![seat(1, 0), seat(2, 1), seat(3, 1), seat(4, 2), seat(5, 9)];
        let membership = of(members, 4);
        for (node, higher) in [(1, 2), (2, 1), (3, 1), (4, 0), (5, 0)] {
            assert_eq!(membership.outranked_by(id(node)), higher, "node {node}");
        }
    }
}
