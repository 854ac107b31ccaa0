//! Nodes that were removed, and are to learn it: a node believes only a committed membership (thesis §4.2.3), so it has to get the
//! entries up to it.
//!
//! A leader goes on to replicate to whoever a membership leaves out, until that node knows the membership to be committed; and to a
//! former member that asks for votes because nobody talks to it any more. What such a node answers decides nothing, and never
//! deposes anyone.
//!
//! Where that does not reach, in a later term than the leader's or under a number that another incarnation has now, one message does:
//! whoever is asked for a vote names the committed membership that leaves the asker out. What is committed stays so, whatever
//! the terms of the two are. All that follows is that the asker is quiet as long as its log lacks that entry; and a log that lacks a
//! committed entry could win no election (paper §5.4.1), even if its node has become a member again since.

use crate::effect::{Effect, Event};
use crate::message::{Message, RequestId};
use crate::progress::Progress;
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Index, LogId, MemberId};

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

    /// A node asked for a vote, or whether it is a member still. Whoever knows that it is none says so, once for each time it asks.
    pub(crate) fn tell_asker(&mut self, from: MemberId, id: RequestId) {
        if let Some(at) = self.memberships.left_out_at(from, self.commit) {
            self.send(from, Message::NotAMember { id, at }, None);
        }
    }

    /// The committed membership at `at` leaves this node out, says whoever was asked, in whatever term.
    pub(crate) fn on_not_a_member(&mut self, at: LogId) {
        // A leader has all that is committed, and knows best.
        if matches!(self.role, Role::Leader(_)) || at.index <= self.commit || !self.may_belong() {
            return;
        }
        let before = self.removed_at.replace(at);
        if self.may_belong() {
            // A later membership in this log holds it: it was added again.
            self.removed_at = before;
            return;
        }
        self.outbox.push(Effect::Event(Event::Removed { at }));
        if !matches!(self.role, Role::Follower) {
            self.become_follower(self.term, None);
        }
    }

    /// Asks whether this node is a member still: as for a pre-vote, which changes nothing at anyone, but no answer counts as one.
    pub(crate) fn ask_whether_removed(&mut self) {
        let number = self.next_number();
        self.ask_voters(&Message::PreVoteRequest {
            id: self.request_id(number),
            last: self.log.last(),
        });
    }

    /// Whether this node may campaign: it votes in a membership that may be in force.
    pub(crate) fn may_campaign(&self) -> bool {
        let commit = self.committed_here();
        commit.is_some_and(|commit| self.memberships.may_campaign(self.me(), commit))
    }

    /// Whether a membership that may be in force holds this node.
    pub(crate) fn may_belong(&self) -> bool {
        let commit = self.committed_here();
        commit.is_some_and(|commit| self.memberships.may_hold(self.me(), commit))
    }

    /// Up to where this log is known to be committed; none if it is known to lack what is.
    fn committed_here(&self) -> Option<Index> {
        match self.removed_at.filter(|at| at.index > self.commit) {
            Some(at) => self.log.contains(at).then_some(at.index),
            None => Some(self.commit),
        }
    }

    /// What this node was told of its removal is forgotten once its own log says it, or goes on behind it.
    pub(crate) fn forget_removal_behind_commit(&mut self) {
        self.removed_at = self.removed_at.filter(|at| at.index > self.commit);
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
