//! Elections (paper §5.2, §5.4.1), with pre-votes (thesis §9.6), CheckQuorum and leader stickiness (thesis §6.2, §4.2.3).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::change::OpenChange;
use crate::effect::{Effect, Outcome, ProposalId, ReadId};
use crate::entry::{Entry, Payload};
use crate::few::Few;
use crate::message::{Message, RequestId};
use crate::mutants::{Mutant, mutant};
use crate::quorum::{self, Tally};
use crate::raft::Raft;
use crate::read_index::Reads;
use crate::role::{Campaign, Leadership, Role};
use crate::types::{JobId, LogId, MemberId, Term};

/// For how many election timeouts a voter waits longer than those of the highest priority, at most.
const PATIENCE_MAX: u32 = 3;

impl Raft {
    /// Draws when to campaign, anew each time, from [T, 2T) (paper §5.2), and T later for each priority that voters have above
    /// this node's, up to 3.
    pub(crate) fn draw_election_timeout(&mut self) {
        let timeout = self.config.election_timeout_ticks;
        // Whoever is outranked lets the others try first, but not for ever: it may be the only one that has the log.
        let outranked_by = self.membership().outranked_by(self.me()).min(PATIENCE_MAX);
        // So does whoever has no room for what it would have to write.
        let full = u32::from(self.full);
        self.election_at = self.now
            + u64::from(timeout) * u64::from(1 + outranked_by + full)
            + u64::from(self.rng.below(timeout));
    }

    pub(crate) fn on_election_timeout(&mut self) {
        // While the term and vote of the last campaign are not durable there is no point in another: its requests could not leave
        // either. It is tried again at the next tick.
        if self.journal.state_job().is_some() {
            return;
        }
        if self.snapshots.replaces_state() {
            // It would lead, and could answer nobody before its state machine is there; whoever has one is faster.
            self.draw_election_timeout();
            return;
        }
        if self.may_campaign() {
            self.become_pre_candidate();
            return;
        }
        self.draw_election_timeout();
        // A learner whom nobody talks to may have been removed while it was away.
        if self.may_belong() {
            self.ask_whether_removed();
        }
    }

    /// Asks who would vote for this node in the next term, without taking that term (thesis §9.6).
    fn become_pre_candidate(&mut self) {
        let number = self.start_campaign(Role::PreCandidate, None);
        let last = self.log.last();
        self.ask_voters(&Message::PreVoteRequest {
            id: self.request_id(number),
            last,
        });
        self.count_votes();
    }

    /// Takes the next term and asks for votes in it (paper §5.2). No request leaves, and the own vote does not count, before both
    /// are durable.
    pub(crate) fn become_candidate(&mut self, transfer: bool) {
        self.enter_term(self.term.next());
        self.voted_for = Some(self.me());
        self.journal.state_changed();
        let number = self.start_campaign(Role::Candidate, self.journal.state_job());
        let last = self.log.last();
        self.ask_voters(&Message::VoteRequest {
            id: self.request_id(number),
            last,
            transfer,
        });
    }

    fn start_campaign(&mut self, role: fn(Campaign) -> Role, own_vote_job: Option<JobId>) -> u64 {
        assert!(
            !matches!(self.role, Role::Leader(_)),
            "a leader does not campaign"
        );
        let number = self.next_number();
        self.leader = None;
        self.draw_election_timeout();
        let mut answers = BTreeMap::new();
        if own_vote_job.is_none() && self.membership().contains(self.me()) {
            answers.insert(self.me().node, true);
        }
        self.role = role(Campaign {
            number,
            answers,
            own_vote_job,
        });
        number
    }

    pub(crate) fn ask_voters(&mut self, request: &Message) {
        let voters: Vec<MemberId> = self.membership().members().map(|(id, _)| id).collect();
        for voter in voters {
            if voter != self.me() && self.membership().is_voter(voter) {
                self.send(voter, request.clone(), None);
            }
        }
    }

    /// The candidate's vote for itself counts once it is durable, if it is still that very campaign (S-B43).
    pub(crate) fn count_own_vote(&mut self, job: JobId) {
        let me = self.me();
        let membership = self.memberships.current();
        if let Role::Candidate(campaign) = &mut self.role
            && campaign.own_vote_job.is_some_and(|own| own <= job)
        {
            campaign.own_vote_job = None;
            // One that the membership leaves out may campaign (thesis §4.2.2), but has no say.
            if membership.contains(me) {
                campaign.answers.insert(me.node, true);
            }
            self.count_votes();
        }
    }

    /// Acts on what the answers so far decide.
    fn count_votes(&mut self) {
        let (campaign, pre) = match &self.role {
            Role::PreCandidate(campaign) => (campaign, true),
            Role::Candidate(campaign) if campaign.own_vote_job.is_none() => (campaign, false),
            Role::Candidate(_) | Role::Follower | Role::Leader(_) => return,
        };
        match quorum::tally(self.membership(), |node| {
            campaign.answers.get(&node).copied()
        }) {
            Tally::Won if pre => self.become_candidate(false),
            Tally::Won => self.become_leader(),
            Tally::Lost => self.become_follower(self.term, None),
            Tally::Open => {}
        }
    }

    // ---- the voter's side ----

    /// Whether a leader was heard within the shortest election timeout: then nobody who lost sight of it is to depose it
    /// (thesis §4.2.3). A leader that no quorum answers steps down by itself (CheckQuorum), so while it leads it counts as heard.
    fn sticks_to_leader_against(&self, candidate: MemberId) -> bool {
        match self.role {
            Role::Leader(_) => true,
            _ => {
                self.leader.is_some_and(|leader| leader != candidate)
                    && self.now - self.leader_heard_at
                        < u64::from(self.config.election_timeout_ticks)
            }
        }
    }

    /// Whether a log that ends at `last` is at least as up to date as this one (paper §5.4.1).
    fn is_up_to_date(&self, last: LogId) -> bool {
        last >= self.log.last() || mutant(Mutant::VotesForShortLogs)
    }

    /// A node that is in no configuration has nothing to judge by, and grants nothing. One that is, grants whoever asks, though its own
    /// membership, which may be behind, gives neither of them a vote: the asker's decides whose answer counts (thesis §4.2.2).
    fn may_vote(&self) -> bool {
        !self.membership().voters().is_empty()
    }

    /// Grants a pre-vote for the term after the asker's, when it would grant the vote. Nothing changes here: no term, no vote, no
    /// timer.
    pub(crate) fn on_pre_vote_request(
        &mut self,
        from: MemberId,
        term: Term,
        id: RequestId,
        last: LogId,
    ) {
        let granted = self.may_vote()
            && term >= self.term
            && !self.sticks_to_leader_against(from)
            && self.is_up_to_date(last);
        if granted && mutant(Mutant::PreVoteRaisesTerms) {
            self.become_follower(term.next(), None);
        }
        self.send(from, Message::PreVoteResponse { id, granted }, None);
    }

    /// Grants the vote of a term to the first that asks and is up to date. The answer leaves once the vote is durable.
    pub(crate) fn on_vote_request(
        &mut self,
        from: MemberId,
        term: Term,
        id: RequestId,
        last: LogId,
        transfer: bool,
    ) {
        if term > self.term {
            if !transfer && self.sticks_to_leader_against(from) {
                return;
            }
            self.become_follower(term, None);
        }
        let granted = self.may_vote()
            && term == self.term
            && self.leader.is_none()
            && matches!(self.role, Role::Follower | Role::PreCandidate(_))
            && (self.voted_for.is_none_or(|vote| vote == from) || mutant(Mutant::VotesTwice))
            && self.is_up_to_date(last);
        if granted {
            if self.voted_for != Some(from) {
                self.voted_for = Some(from);
                self.journal.state_changed();
            }
            // Whoever was about to campaign gives the other its chance first.
            self.become_follower(term, None);
            self.draw_election_timeout();
        }
        self.send(from, Message::VoteResponse { id, granted }, None);
    }

    // ---- the candidate's side ----

    pub(crate) fn on_pre_vote_response(&mut self, from: MemberId, id: RequestId, granted: bool) {
        if let Role::PreCandidate(campaign) = &mut self.role
            && campaign.number == id.number
        {
            campaign.answers.insert(from.node, granted);
            self.count_votes();
        }
    }

    pub(crate) fn on_vote_response(&mut self, from: MemberId, id: RequestId, granted: bool) {
        if let Role::Candidate(campaign) = &mut self.role
            && campaign.number == id.number
        {
            campaign.answers.insert(from.node, granted);
            self.count_votes();
        }
    }

    // ---- transitions ----

    /// Follows in `term`, which is not behind the own one. Whoever led tells the open proposals and reads that it cannot know.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<MemberId>) {
        if term > self.term {
            self.enter_term(term);
        }
        let role = core::mem::replace(&mut self.role, Role::Follower);
        if let Role::Leader(leadership) = role {
            self.draw_election_timeout();
            self.end_leadership(*leadership);
        }
        self.leader = leader;
    }

    fn end_leadership(&mut self, leadership: Leadership) {
        let boot = self.identity.boot;
        self.note_transfer_ended(&leadership);
        if let Some(OpenChange { number, .. }) = leadership.change {
            let id = ProposalId { boot, number };
            self.outbox.push(Effect::Outcome(id, Outcome::Unknown));
        }
        for proposal in leadership.open {
            self.outbox.push(Effect::Outcome(
                ProposalId {
                    boot,
                    number: proposal.number,
                },
                Outcome::Unknown,
            ));
        }
        for number in leadership.reads.into_unanswered() {
            self.outbox
                .push(Effect::ReadFailed(ReadId { boot, number }));
        }
    }

    /// Takes a later term: no vote in it yet, and nothing verified but what is committed (every leader has that, paper §5.4.3).
    fn enter_term(&mut self, term: Term) {
        assert!(term > self.term, "term {term} is not after {}", self.term);
        self.term = term;
        self.voted_for = None;
        self.leader = None;
        self.leader_number = 0;
        self.verified = self.commit;
        self.journal.state_changed();
        self.outbox.drop_held();
    }

    fn become_leader(&mut self) {
        assert!(
            matches!(self.role, Role::Candidate(_)),
            "only a candidate becomes leader"
        );
        let last = self.log.last().index;
        let me = self.me();
        self.leader = Some(me);
        self.role = Role::Leader(Box::new(Leadership {
            peers: Few::default(),
            term_start: last.next(),
            heartbeat_at: self.now + u64::from(self.config.heartbeat_ticks),
            open: VecDeque::new(),
            open_bytes: 0,
            reads: Reads::default(),
            change: None,
            settled_at: None,
            catching_up: BTreeMap::new(),
            transfer: None,
        }));
        self.adopt_membership();
        // An entry of the own term, so that what came before can be committed (paper §5.4.2, §8).
        let id = LogId {
            index: last.next(),
            term: self.term,
        };
        self.append(Entry {
            id,
            payload: Payload::Noop,
        });
    }
}
