//! Nodes that are alike: what a state is when they are exchanged, for a search that need not visit both.
//!
//! Which node is which decides nothing in the core: ids are compared for being equal, and order maps and broadcasts, which nothing
//! depends on once timeouts are chance and messages overtake each other (`canonical.rs`). So whatever can happen to a cluster can
//! happen to the same one with its nodes exchanged. It is no part of what a driver needs, and so not in the documentation.

use alloc::collections::BTreeMap;

use crate::invariants::Checked;
use crate::message::Envelope;
use crate::raft::Raft;
use crate::role::{Campaign, Role};
use crate::types::{MemberId, NodeId};

/// Who takes whose place. Whoever is not named stays.
#[derive(Clone, Debug)]
pub struct Exchange(pub alloc::vec::Vec<(MemberId, MemberId)>);

impl Exchange {
    /// The new name of a member.
    #[must_use]
    pub fn member(&self, member: MemberId) -> MemberId {
        let found = self.0.iter().find(|(old, _)| *old == member);
        found.map_or(member, |&(_, new)| new)
    }

    fn node(&self, node: NodeId) -> NodeId {
        let found = self.0.iter().find(|(old, _)| old.node == node);
        found.map_or(node, |(_, new)| new.node)
    }

    fn keys<V>(&self, map: &mut BTreeMap<NodeId, V>) {
        let old = core::mem::take(map);
        *map = (old.into_iter())
            .map(|(node, value)| (self.node(node), value))
            .collect();
    }
}

impl Envelope {
    /// Exchanges sender and receiver for those that take their places.
    #[doc(hidden)]
    pub fn exchange(&mut self, exchange: &Exchange) {
        self.from.member = exchange.member(self.from.member);
        self.to = exchange.member(self.to);
    }
}

impl Raft {
    /// Turns a canonical state into that of a node in another's place. The memberships have to be such that they stay the same.
    #[doc(hidden)]
    pub fn exchange(&mut self, exchange: &Exchange) {
        let optional = |member: &mut Option<MemberId>| {
            *member = member.map(|member| exchange.member(member));
        };
        self.identity.member = exchange.member(self.identity.member);
        optional(&mut self.voted_for);
        optional(&mut self.durable_state.1);
        for (.., vote) in &mut self.states_under_way {
            optional(vote);
        }
        optional(&mut self.leader);
        self.boots.rename(|member| exchange.member(member));
        exchange.keys(&mut self.strangers);
        let reported = &mut self.reported.2;
        *reported = reported.map(|node| exchange.node(node));
        self.outbox
            .each_held(&mut |_, envelope| envelope.exchange(exchange));
        self.outbox.sort_held();
        match &mut self.role {
            Role::Follower => {}
            Role::PreCandidate(Campaign { answers, .. })
            | Role::Candidate(Campaign { answers, .. }) => exchange.keys(answers),
            Role::Leader(leadership) => {
                leadership.peers.rename(|node| exchange.node(node));
                for peer in leadership.peers.values_mut() {
                    peer.member = exchange.member(peer.member);
                }
                exchange.keys(&mut leadership.catching_up);
            }
        }
        self.checked = Checked::of(self);
    }
}
