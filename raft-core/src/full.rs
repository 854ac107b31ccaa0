//! A disk without room: a state, not a failure. A leader takes no proposals, and hands over to a voter that has room; a follower turns
//! commands away, and says so with every answer, so that nobody sends it any until there is room again. Term, vote, no-ops, memberships
//! and one snapshot go through: the log keeps a reserve for them.

use crate::effect::{Effect, Event};
use crate::entries::Entries;
use crate::entry::{Entry, Payload};
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Index, NodeId};

impl Raft {
    /// The log's disk has no room for more commands, or has some again.
    pub(crate) fn on_storage_full(&mut self, full: bool) {
        self.full = full;
    }

    /// What there is room for of `news`, which an append brings: all in front of the first command. Where the rest begins.
    pub(crate) fn turn_away(&self, news: Entries) -> (Entries, Option<Index>) {
        if !self.full {
            return (news, None);
        }
        let is_command = |entry: &Entry| matches!(entry.payload, Payload::Command(_));
        let Some(at) = news.iter().position(is_command) else {
            return (news, None);
        };
        let first = news.get(at).map(|entry| entry.id.index);
        (news.take(at), first)
    }

    /// On a leader without room: steps down when a voter that answers has room, and all of the log, so that it can be elected at once.
    /// Whether it did.
    pub(crate) fn hand_over_if_full(&mut self) -> bool {
        let Role::Leader(leadership) = &self.role else {
            return false;
        };
        let (last, now) = (self.log.last().index, self.now);
        let patience = u64::from(self.config.election_timeout_ticks);
        let can_lead = |node: &NodeId| {
            leadership.peers.get(node).is_some_and(|peer| {
                !peer.full && peer.heard && now - peer.heard_at < patience && peer.matched >= last
            })
        };
        if !self.full || !self.membership().voters().iter().any(can_lead) {
            return false;
        }
        self.outbox
            .push(Effect::Event(Event::StorageFull { term: self.term }));
        self.become_follower(self.term, None);
        true
    }
}
