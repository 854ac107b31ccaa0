//! Which states of a node behave alike, for a search that is to visit each of them once.
//!
//! Nodes that were led into the same situation by different ways differ in what no decision depends on: how much time has passed since
//! the beginning, how high request numbers, jobs and boots have been counted, which timeout was drawn. [`Raft::canonicalize`] turns
//! a state into the one that stands for all of them; together with `Eq` and `Hash` it makes sets of states possible.
//!
//! What is compared is kept: ages are cut off where every comparison has long been decided, and numbers are renamed in their order. It is
//! no part of what a driver needs, and so not in the documentation.

use alloc::vec::Vec;

use crate::message::{Envelope, Message, RequestId};
use crate::raft::Raft;
use crate::rng::Rng;
use crate::role::{Campaign, Leadership, Role};
use crate::types::{Boot, MemberId};

/// The time that it is in every canonical state: late enough for every age that is told apart.
const NOW: u64 = 1 << 32;

/// How the request numbers of a node are renamed. A number that it still knows becomes an even one, in their order; all those between
/// two of them, which it will never know again, become the one odd number between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Numbers {
    known: Vec<u64>,
}

impl Numbers {
    /// The new name of `number`. 0 names no request, and stays.
    #[must_use]
    pub fn rename(&self, number: u64) -> u64 {
        if number == 0 {
            return 0;
        }
        match self.known.binary_search(&number) {
            Ok(at) => 2 * at as u64 + 2,
            Err(at) => 2 * at as u64 + 1,
        }
    }
}

impl Envelope {
    /// Whose request this is, or answers, and its name.
    #[doc(hidden)]
    pub fn request(&mut self) -> (MemberId, &mut RequestId) {
        let (from, to) = (self.from.member, self.to);
        match &mut self.message {
            Message::PreVoteRequest { id, .. }
            | Message::VoteRequest { id, .. }
            | Message::AppendRequest { id, .. }
            | Message::SnapshotRequest { id, .. }
            | Message::ReadRequest { id }
            | Message::HeartbeatRequest { id, .. }
            | Message::TimeoutNow { id } => (from, id),
            Message::PreVoteResponse { id, .. }
            | Message::VoteResponse { id, .. }
            | Message::AppendResponse { id, .. }
            | Message::ReadResponse { id, .. }
            | Message::NotAMember { id, .. }
            | Message::HeartbeatResponse { id, .. } => (to, id),
        }
    }

    /// Renames boots and requests of `member`, which has sent this or is to get it.
    #[doc(hidden)]
    pub fn rename(
        &mut self,
        member: MemberId,
        boot: &mut dyn FnMut(&mut Boot),
        request: &mut dyn FnMut(&mut RequestId),
    ) {
        if self.from.member == member {
            boot(&mut self.from.boot);
        }
        let (asker, id) = self.request();
        if asker == member {
            request(id);
        }
    }
}

impl Raft {
    /// Turns this state into the one that stands for all that behave like it: that do the same, whatever they are told, if an election
    /// timeout may come at any time, and a disk may take any time. Names of proposals and reads are forgotten, and jobs under way are
    /// numbered from 1. The answer says how this node's requests were renamed: messages under way are to be renamed alike.
    ///
    /// # Panics
    /// When effects wait, or a transfer, a snapshot, a fetch or a read on a follower is under way: those are not covered.
    #[doc(hidden)]
    pub fn canonicalize(&mut self) -> Numbers {
        let transfers =
            matches!(&self.role, Role::Leader(leadership) if leadership.transfer.is_some());
        let covered = self.outbox.is_drained()
            && self.forwarded.count() == 0
            && self.apply.fetches.is_empty()
            && self.snapshots.taking().is_none()
            && self.snapshots.installing().is_none()
            && !transfers;
        assert!(covered, "a state that a canonical one is not made of");
        // It is looked at only by whoever may have got or lost a vote since, and then brought up to date.
        self.reported_at = self.memberships.current_at();
        self.forget_when();
        self.forget_job_numbers();
        let me = self.me();
        for (member, _) in self.memberships.current().members() {
            // A boot of 0 is before all others, as is none.
            if member != me && !self.boots.contains_key(&member) {
                self.boots.insert(member, Boot::ZERO);
            }
        }
        let mut known = Vec::new();
        self.each_number(&mut |number| known.push(*number));
        known.sort_unstable();
        known.dedup();
        known.retain(|&number| number > 0);
        let numbers = Numbers { known };
        self.each_number(&mut |number| *number = numbers.rename(*number));
        self.outbox.each_held(&mut |_, envelope| {
            envelope.rename(me, &mut |_| {}, &mut |id| {
                id.number = numbers.rename(id.number);
            });
        });
        // What was given last is above all that is known, and not below what is forgotten.
        self.last_number = 2 * numbers.known.len() as u64 + 1;
        numbers
    }

    /// The campaign under way for votes, if one is: answers to another count for nothing.
    #[doc(hidden)]
    #[must_use]
    pub fn campaign(&self) -> Option<u64> {
        match &self.role {
            Role::Candidate(campaign) => Some(campaign.number),
            _ => None,
        }
    }

    /// Renames what this node keeps of the boots and the requests of `member`, itself or another: its own boot, or the latest that was
    /// heard; what is in envelopes that wait.
    #[doc(hidden)]
    pub fn rename(
        &mut self,
        member: MemberId,
        boot: &mut dyn FnMut(&mut Boot),
        request: &mut dyn FnMut(&mut RequestId),
    ) {
        if self.me() == member {
            boot(&mut self.identity.boot);
        }
        if let Some(heard) = self.boots.get_mut(&member) {
            boot(heard);
        }
        self.outbox
            .each_held(&mut |_, envelope| envelope.rename(member, boot, request));
    }

    /// Time is told by ages, and by what is still to come.
    fn forget_when(&mut self) {
        let timeout = u64::from(self.config.election_timeout_ticks);
        let now = self.now;
        let past = |at: &mut u64| *at = NOW - now.saturating_sub(*at).min(2 * timeout);
        let future = |at: &mut u64| *at = NOW + at.saturating_sub(now);
        self.now = NOW;
        // When an election timeout comes is chance.
        self.rng = Rng::new(&[]);
        self.election_at = NOW + 2 * timeout - 1;
        // Only an order to campaign asks for the newest request, and only stickiness for when.
        self.leader_number = 0;
        match self.leader {
            Some(_) => past(&mut self.leader_heard_at),
            None => self.leader_heard_at = 0,
        }
        self.apply.each_future(&future);
        self.snapshots.each_future(&future);
        if let Role::Leader(leadership) = &mut self.role {
            future(&mut leadership.heartbeat_at);
            for peer in leadership.peers.values_mut() {
                peer.each_time(&past, &future);
            }
            for catch_up in leadership.catching_up.values_mut() {
                catch_up.each_past(&past);
            }
        }
    }

    fn forget_job_numbers(&mut self) {
        let done = self.journal.forget_done(NOW);
        let rename = |job: &mut crate::types::JobId| job.0 = job.0.saturating_sub(done);
        for (job, ..) in &mut self.states_under_way {
            rename(job);
        }
        self.outbox.each_held(&mut |until, _| rename(until));
        if let Role::Candidate(campaign) = &mut self.role
            && let Some(job) = &mut campaign.own_vote_job
        {
            rename(job);
        }
    }

    /// Every number of a request of its own that this node may be reminded of.
    fn each_number(&mut self, visit: &mut dyn FnMut(&mut u64)) {
        match &mut self.role {
            Role::Follower => {}
            Role::PreCandidate(Campaign { number, .. })
            | Role::Candidate(Campaign { number, .. }) => visit(number),
            Role::Leader(leadership) => leadership.each_number(visit),
        }
    }
}

impl Leadership {
    fn each_number(&mut self, visit: &mut dyn FnMut(&mut u64)) {
        for peer in self.peers.values_mut() {
            peer.each_number(visit);
        }
        self.settled_at.iter_mut().for_each(&mut *visit);
        self.reads.each_number(visit);
        // The driver's names; nobody else ever says them.
        for proposal in &mut self.open {
            proposal.number = 0;
        }
        if let Some(change) = &mut self.change {
            change.number = 0;
        }
    }
}
