//! A disk without room: a state, not a failure. A leader takes no proposals, and hands over to a voter that has room; it takes none
//! either when too few others have room. A follower turns commands away, and says so with every answer, so that nobody sends it any until
//! there is room again. Term, vote, no-ops, memberships and one snapshot go through: the log keeps a reserve for them.

use crate::effect::{Effect, Event};
use crate::entries::Entries;
use crate::entry::{Entry, Payload};
use crate::membership::Membership;
use crate::quorum::{self, Tally};
use crate::raft::Raft;
use crate::role::Leadership;
use crate::types::Index;

impl Leadership {
    /// Whether so many others have room that what is proposed can be committed. Whoever has said nothing has.
    #[inline]
    pub(crate) fn has_room(&self, membership: &Membership) -> bool {
        if !self.peers.values().any(|peer| peer.full) {
            return true;
        }
        let has_room = |node| !self.peers.get(&node).is_some_and(|peer| peer.full);
        matches!(
            quorum::tally(membership, |node| Some(has_room(node))),
            Tally::Won
        )
    }
}

impl Raft {
    /// The log's disk has no room for more commands, or has some again.
    pub(crate) fn on_storage_full(&mut self, full: bool) {
        if self.full && !full {
            self.snapshots.retry_at_once();
        }
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

    /// On a leader without room: hands over when a voter that answers has room, and all of the log, so that it can be elected at once.
    /// Whether it did.
    pub(crate) fn hand_over_if_full(&mut self) -> bool {
        if !self.full || !self.try_hand_over_to_room() {
            return false;
        }
        self.outbox
            .push(Effect::Event(Event::StorageFull { term: self.term }));
        self.become_follower(self.term, None);
        true
    }
}
