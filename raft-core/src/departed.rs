//! Nodes that were removed, and are to learn it: a node believes only a committed membership (thesis §4.2.3), so it has to get the
//! entries up to it.
//!
//! A leader goes on to replicate to whoever a membership leaves out, until that node knows the membership to be committed; and to a
//! former member that asks for votes because nobody talks to it any more. What such a node answers decides nothing, and never
//! deposes anyone.

use crate::progress::Progress;
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Index, MemberId};

/// How many former members a leader talks to at a time.
const DEPARTED_MAX: usize = 8;

impl Raft {
    /// Whether this leader is telling `member`, which is none any more, about its removal.
    pub(crate) fn is_departed_peer(&self, member: MemberId) -> bool {
        let Role::Leader(leadership) = &self.role else {
            return false;
        };
        let peer = leadership.peers.get(&member.node);
        peer.is_some_and(|peer| peer.member == member) && !self.membership().contains(member)
    }

    /// A node asked for a vote. A leader's former member missed its removal, and is told.
    pub(crate) fn note_asker(&mut self, from: MemberId) {
        let (now, last) = (self.now, self.log.last().index);
        // A node whose number belongs to another incarnation now lost its place with its disk.
        if self.membership().member(from.node).is_some() {
            return;
        }
        let members = self.membership().seats().len();
        if let Role::Leader(leadership) = &mut self.role
            && leadership.settled_at.is_some()
            && leadership.peers.len() < members + DEPARTED_MAX
            && !leadership.peers.contains_key(&from.node)
        {
            let progress = Progress::new(from, last, now);
            leadership.peers.insert(from.node, progress);
        }
    }

    /// A former member answered the heartbeat `number`, and says to match up to `matched`: once it has the membership, and was told after
    /// that this is committed, it knows all it needs.
    pub(crate) fn note_departed_answer(&mut self, from: MemberId, number: u64, matched: Index) {
        let at = self.memberships.current_at().index;
        if !self.is_departed_peer(from) {
            return;
        }
        if let Role::Leader(leadership) = &mut self.role
            && leadership.settled_at.is_some_and(|told| number > told)
            && matched >= at
        {
            leadership.peers.remove(&from.node);
        }
    }

    /// Gives up on former members that have been silent for two election timeouts: they ask when they come back.
    pub(crate) fn forget_silent_departed(&mut self) {
        let patience = 2 * u64::from(self.config.election_timeout_ticks);
        let (now, membership) = (self.now, self.memberships.current());
        // Mostly there are none: this node itself is no peer.
        if let Role::Leader(leadership) = &mut self.role
            && leadership.peers.len() >= membership.seats().len()
        {
            leadership.peers.retain(|_, peer| {
                membership.contains(peer.member) || now - peer.heard_at < patience
            });
        }
    }
}
