//! Which states of a node behave alike, for a search that is to visit each of them once.
//!
//! Nodes that were led into the same situation by different ways differ in what no decision depends on: how much time has passed since
//! the beginning, how high request numbers, jobs and boots have been counted, which timeout was drawn. [`Raft::canonicalize`] turns
//! a state into the one that stands for all of them; together with `Eq` and `Hash` it makes sets of states possible.
//!
//! What is compared is kept: ages are cut off where every comparison has long been decided, and numbers are renamed in their order. It is
//! no part of what a driver needs, and so not in the documentation.

use alloc::vec::Vec;

use crate::message::{AppendResult, Envelope, Message, RequestId};
use crate::raft::Raft;
use crate::rng::Rng;
use crate::role::{Campaign, Leadership, Role};
use crate::types::{Boot, LogId, MemberId, NodeId, Term};

/// The time that it is in every canonical state: late enough for every age that is told apart.
const NOW: u64 = 1 << 32;

/// How the request numbers of a node are renamed. A number that it still knows becomes an even one, in their order; all those between
/// two of them, which it will never know again, become the one odd number between.
///
/// What a leader asks one peer is compared with nothing that it asks another, unless a read round is under way. So the numbers
/// of each peer are counted by themselves then, and whom it asked first is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Numbers {
    /// Those to all peers together.
    Together(Vec<u64>),
    /// Those to each peer.
    Apart(Vec<(NodeId, Vec<u64>)>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Together(Vec::new())
    }
}

impl Numbers {
    /// The new name of the number of a request to `peer`. 0 names no request, and stays.
    #[must_use]
    pub fn rename(&self, peer: NodeId, number: u64) -> u64 {
        if number == 0 {
            return 0;
        }
        let known = match self {
            Self::Together(known) => known.as_slice(),
            Self::Apart(peers) => {
                let own = peers.iter().find(|(node, _)| *node == peer);
                own.map_or(&[][..], |(_, known)| known)
            }
        };
        match known.binary_search(&number) {
            Ok(at) => 2 * at as u64 + 2,
            Err(at) => 2 * at as u64 + 1,
        }
    }

    /// Above all names that are given.
    fn last(&self) -> u64 {
        let known = match self {
            Self::Together(known) => known.len(),
            Self::Apart(peers) => peers
                .iter()
                .map(|(_, known)| known.len())
                .max()
                .unwrap_or(0),
        };
        2 * known as u64 + 1
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

    /// To whichever append of a life it is the answer, what matches does: a leader does the same.
    #[doc(hidden)]
    pub fn forget_whose_match(&mut self) {
        if let Message::AppendResponse {
            id,
            result: AppendResult::Matched(_),
        } = &mut self.message
        {
            id.number = id.number.min(1);
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
        let numbers = self.numbers();
        self.each_number(&mut |peer, number| {
            *number = numbers.rename(peer.unwrap_or(NodeId::ZERO), *number);
        });
        self.outbox.each_held(&mut |_, envelope| {
            let peer = envelope.to.node;
            envelope.rename(me, &mut |_| {}, &mut |id| {
                id.number = numbers.rename(peer, id.number);
            });
        });
        // To whom it speaks first is of no matter: messages overtake each other.
        self.outbox.sort_held();
        // What was given last is above all that is known, and not below what is forgotten.
        self.last_number = numbers.last();
        numbers
    }

    /// The numbers that it knows.
    fn numbers(&mut self) -> Numbers {
        let mut peers: Vec<(Option<NodeId>, Vec<u64>)> = Vec::new();
        self.each_number(&mut |peer, number| match peers
            .iter_mut()
            .find(|(other, _)| *other == peer)
        {
            Some((_, known)) => known.push(*number),
            None => peers.push((peer, alloc::vec![*number])),
        });
        let tidy = |known: &mut Vec<u64>| {
            known.sort_unstable();
            known.dedup();
            known.retain(|&number| number > 0);
        };
        if peers.iter().any(|(peer, _)| peer.is_none()) {
            let mut known = peers.into_iter().flat_map(|(_, known)| known).collect();
            tidy(&mut known);
            return Numbers::Together(known);
        }
        let apart = peers.into_iter().filter_map(|(peer, mut known)| {
            tidy(&mut known);
            Some((peer?, known))
        });
        Numbers::Apart(apart.collect())
    }

    /// Whether its leader's voice keeps it from voting for others (thesis §4.2.3).
    #[doc(hidden)]
    #[must_use]
    pub fn hears_a_leader(&self) -> bool {
        let silent = self.now.saturating_sub(self.leader_heard_at);
        !matches!(self.role, Role::Leader(_))
            && self.leader.is_some()
            && silent < u64::from(self.config.election_timeout_ticks)
    }

    /// Makes it a node that has heard nothing of its leader for an election timeout.
    #[doc(hidden)]
    pub fn forget_leaders_voice(&mut self) {
        if !matches!(self.role, Role::Leader(_)) {
            let silent = 2 * u64::from(self.config.election_timeout_ticks);
            self.now = self.now.max(silent);
            self.leader_heard_at = self.now - silent;
        }
    }

    /// Forgets the refusals of votes that wait, what waits twice, and which append was answered by what matches.
    #[doc(hidden)]
    pub fn forget_refusals(&mut self) {
        self.outbox
            .each_held(&mut |_, envelope| envelope.forget_whose_match());
        self.outbox.forget_held(|envelope| {
            matches!(
                envelope.message,
                Message::VoteResponse { granted: false, .. }
            )
        });
    }

    /// An answer from a later term arrives, to whatever it has asked.
    #[doc(hidden)]
    pub fn hear_of(&mut self, term: Term) {
        if term > self.term {
            self.step(|raft| raft.become_follower(term, None));
        }
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

    /// Every number of a request of its own that this node may be reminded of, and whom it asks by it, unless that is everyone.
    fn each_number(&mut self, visit: &mut dyn FnMut(Option<NodeId>, &mut u64)) {
        // Only what a former member answers is compared with it; while the first membership stands, there are none.
        let none_departed = self.memberships.current_at() == LogId::ZERO;
        match &mut self.role {
            Role::Follower => {}
            Role::PreCandidate(Campaign { number, .. })
            | Role::Candidate(Campaign { number, .. }) => visit(None, number),
            Role::Leader(leadership) => {
                if none_departed {
                    leadership.settled_at = leadership.settled_at.map(|_| 0);
                }
                leadership.each_number(visit);
            }
        }
    }
}

impl Leadership {
    fn each_number(&mut self, visit: &mut dyn FnMut(Option<NodeId>, &mut u64)) {
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for (node, peer) in nodes.into_iter().zip(self.peers.values_mut()) {
            peer.each_number(&mut |number| visit(Some(node), number));
        }
        if let Some(told) = self.settled_at.as_mut().filter(|told| **told > 0) {
            visit(None, told);
        }
        self.reads.each_number(&mut |number| visit(None, number));
        // The driver's names; nobody else ever says them.
        for proposal in &mut self.open {
            proposal.number = 0;
        }
        if let Some(change) = &mut self.change {
            change.number = 0;
        }
    }
}
