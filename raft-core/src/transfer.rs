//! Handing over the lead (thesis §3.10): proposals wait outside, the target gets everything, and is told to campaign at once.
//!
//! Guards: the target is told only when it has the whole log; a [`Message::TimeoutNow`] counts only from the leader of the term, and
//! only until something newer is heard of that leader, so that one of a transfer that was given up counts for nothing.

use crate::effect::{AbortReason, Effect, Event};
use crate::error::TransferError;
use crate::message::{Message, RequestId};
use crate::progress::Progress;
use crate::raft::Raft;
use crate::role::{Leadership, Role};
use crate::types::{MemberId, NodeId, Term};

/// A transfer under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer {
    pub(crate) to: MemberId,
    /// When it is given up.
    pub(crate) until: u64,
    /// When the target was told to campaign, if it was.
    pub(crate) told_at: Option<u64>,
    /// Whether this leader has no vote any more, and steps down in any case.
    pub(crate) leaving: bool,
}

impl Raft {
    /// Hands over the lead: to `to`, or when none is named, to the best of the other voters that answer: one whose disk has room, that has
    /// all that is committed, then the highest priority, then the longest log. Says whom.
    ///
    /// Until the target leads or an election timeout has passed, proposals and changes of the membership are refused; reads go on. Given
    /// up, [`Event::TransferAborted`] says so, and proposals are taken again.
    ///
    /// # Errors
    /// When nothing was begun; [`TransferError`] says why. Asking again for the target that a transfer is under way to is none.
    pub fn transfer_leadership(&mut self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        self.step(|raft| {
            let leader = raft.leader_node();
            let Role::Leader(leadership) = &raft.role else {
                return Err(TransferError::NotLeader { leader });
            };
            if let Some(transfer) = leadership.transfer {
                return match to {
                    Some(node) if node != transfer.to.node => {
                        Err(TransferError::UnderWay { to: transfer.to })
                    }
                    _ => Ok(transfer.to.node),
                };
            }
            let to = match to {
                Some(node) => raft.transfer_target(node)?,
                None => raft.best_successor().ok_or(TransferError::NoTarget)?,
            };
            raft.begin_transfer(to, false);
            Ok(to.node)
        })
    }

    fn transfer_target(&self, node: NodeId) -> Result<MemberId, TransferError> {
        if node == self.me().node {
            return Err(TransferError::LeadsAlready);
        }
        let Some(member) = self.membership().member(node) else {
            return Err(TransferError::UnknownNode(node));
        };
        // One that votes in the outgoing half only is about to lose its vote.
        if !self.membership().voters().contains(&node) {
            return Err(TransferError::NotAVoter(node));
        }
        let incarnation = member.incarnation;
        Ok(MemberId { node, incarnation })
    }

    /// The voter that is to lead next, of those that have answered within an election timeout.
    fn best_successor(&self) -> Option<MemberId> {
        self.best_successor_of(|_| true)
    }

    /// The same, of those that `fits` says of besides.
    fn best_successor_of(&self, fits: impl Fn(&Progress) -> bool) -> Option<MemberId> {
        let Role::Leader(leadership) = &self.role else {
            return None;
        };
        let timeout = u64::from(self.config.election_timeout_ticks);
        let voters = self.membership().voters().iter();
        let peers = voters.filter_map(|node| leadership.peers.get(node));
        peers
            .filter(|peer| peer.heard && self.now - peer.heard_at < timeout && fits(peer))
            .max_by_key(|peer| {
                let member = self.membership().member(peer.member.node);
                (
                    !peer.full,
                    peer.matched >= self.commit,
                    member.map_or(0, |member| member.priority),
                    peer.matched,
                    core::cmp::Reverse(peer.member),
                )
            })
            .map(|peer| peer.member)
    }

    fn begin_transfer(&mut self, to: MemberId, leaving: bool) {
        let until = self.now + u64::from(self.config.election_timeout_ticks);
        if let Some(leadership) = self.leadership() {
            leadership.transfer = Some(Transfer {
                to,
                until,
                told_at: None,
                leaving,
            });
        }
        self.outbox
            .push(Effect::Event(Event::TransferStarted { to }));
    }

    /// This leader has no vote any more, and what took it is committed: it hands over and steps down.
    pub(crate) fn begin_hand_over(&mut self) {
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        match &mut leadership.transfer {
            Some(transfer) => transfer.leaving = true,
            None => match self.best_successor() {
                Some(to) => self.begin_transfer(to, true),
                None => self.become_follower(self.term, None),
            },
        }
    }

    /// Tells the target of a transfer to campaign, once it has everything. Called when effects are drained, so that it follows what
    /// was sent before.
    pub(crate) fn flush_transfer(&mut self) {
        let (last, now) = (self.log.last().index, self.now);
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        let Some(transfer) = &mut leadership.transfer else {
            return;
        };
        let peer = leadership.peers.get(&transfer.to.node);
        if transfer.told_at.is_some() || peer.is_none_or(|peer| peer.matched < last) {
            return;
        }
        transfer.told_at = Some(now);
        let (to, leaving) = (transfer.to, transfer.leaving);
        self.send_timeout_now(to);
        if leaving {
            self.become_follower(self.term, None);
        }
    }

    fn send_timeout_now(&mut self, to: MemberId) {
        let number = self.next_number();
        let id = self.request_id(number);
        self.send(to, Message::TimeoutNow { id }, None);
    }

    /// The disk hangs, and this leader is about to step down: whoever has everything need not wait for its election timeout.
    pub(crate) fn try_hand_over_at_once(&mut self) {
        let last = self.log.last().index;
        if let Some(to) = self.best_successor_of(|peer| peer.matched >= last) {
            self.send_timeout_now(to);
        }
    }

    /// The disk is full: hands over at once to a voter that has room and the whole log, if there is one. Whether it did.
    pub(crate) fn try_hand_over_to_room(&mut self) -> bool {
        let last = self.log.last().index;
        let to = self.best_successor_of(|peer| !peer.full && peer.matched >= last);
        to.is_some_and(|to| {
            self.send_timeout_now(to);
            true
        })
    }

    /// Watches a transfer: gives it up in time; tells a target again with every heartbeat
    /// interval.
    pub(crate) fn on_transfer_tick(&mut self) {
        let Role::Leader(leadership) = &self.role else {
            return;
        };
        let Some(transfer) = leadership.transfer else {
            return;
        };
        let heartbeat_due = self.now >= leadership.heartbeat_at;
        // Read rounds are heartbeats too, and may put off the next one for ever.
        let interval = u64::from(self.config.heartbeat_ticks);
        let told_long_ago = transfer.told_at.is_some_and(|at| self.now - at >= interval);
        if self.now >= transfer.until {
            self.abort_transfer(AbortReason::TimedOut);
        } else if heartbeat_due || told_long_ago {
            // The last one may be lost; and the target forgets it with this heartbeat.
            self.with_transfer(|transfer| transfer.told_at = None);
        }
    }

    fn with_transfer(&mut self, act: impl FnOnce(&mut Transfer)) {
        if let Some(transfer) = self.leadership().and_then(|l| l.transfer.as_mut()) {
            act(transfer);
        }
    }

    fn abort_transfer(&mut self, why: AbortReason) {
        let Some(transfer) = self.leadership().and_then(|l| l.transfer.take()) else {
            return;
        };
        let to = transfer.to;
        self.outbox
            .push(Effect::Event(Event::TransferAborted { to, why }));
        if transfer.leaving {
            self.become_follower(self.term, None);
        }
    }

    /// A leadership ends with a transfer that came to nothing.
    pub(crate) fn note_transfer_ended(&mut self, leadership: &Leadership) {
        if let Some(transfer) = leadership
            .transfer
            .filter(|transfer| transfer.told_at.is_none())
        {
            let (to, why) = (transfer.to, AbortReason::SteppedDown);
            self.outbox
                .push(Effect::Event(Event::TransferAborted { to, why }));
        }
    }

    // ---- the target's side ----

    /// The leader wants this node to lead. It asks for votes at once, without a pre-vote, and in a way that voters do not refuse for
    /// the sake of the old leader (thesis §3.10).
    pub(crate) fn on_timeout_now(&mut self, from: MemberId, term: Term, id: RequestId) {
        let fresh =
            term == self.term && self.leader == Some(from) && id.number > self.leader_number;
        let me = self.me();
        let votes = self.membership().contains(me) && self.membership().voters().contains(&me.node);
        if fresh
            && votes
            // It may have been told that it was removed where its own log does not say so yet.
            && self.may_campaign()
            && !self.snapshots.replaces_state()
            && matches!(self.role, Role::Follower)
            && self.journal.state_job().is_none()
        {
            self.become_candidate(true);
        }
    }
}
