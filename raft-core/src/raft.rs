//! One node's Raft: its state, and the public inputs, answers and effects.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::apply::ApplyState;
use crate::config::Config;
use crate::effect::{Effect, Event, FetchId, ProposalId, ProposalIds, ReadId};
use crate::entry::{Entry, Payload};
use crate::error::{AnswerError, ProposeError, ReadError, Rejected};
use crate::few::Few;
use crate::follower_read::ForwardedReads;
use crate::invariants::{self, Checked};
use crate::journal::Journal;
use crate::log_view::LogView;
use crate::membership::Membership;
use crate::membership_log::MembershipLog;
use crate::message::{Envelope, Message, RequestId, Sender};
use crate::mutants::{Mutant, mutant};
use crate::outbox::Outbox;
use crate::read_index::Asker;
use crate::rng::Rng;
use crate::role::{Leadership, OpenProposal, Role, RoleName};
use crate::snapshot::Snapshots;
use crate::types::{
    Boot, HardState, Identity, Incarnation, Index, JobId, LogId, MemberId, NodeId, Term,
};

/// One node's Raft. See the [crate's front page](crate) for how to drive it.
///
/// It is small, [`Clone`] and [`Eq`], so that a test can search what it may do exhaustively: equal ones do the same for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) term: Term,
    pub(crate) voted_for: Option<MemberId>,
    pub(crate) commit: Index,
    pub(crate) log: LogView,
    pub(crate) memberships: MembershipLog,
    pub(crate) journal: Journal,
    /// The newest term and vote that are durable, and those of each job under way that holds some.
    pub(crate) durable_state: (Term, Option<MemberId>),
    pub(crate) states_under_way: Vec<(JobId, Term, Option<MemberId>)>,
    /// The newest commit index that a job held.
    pub(crate) stored_commit: Index,
    pub(crate) role: Role,
    pub(crate) leader: Option<MemberId>,
    /// Up to where this log is known to be that of the leader of this term.
    pub(crate) verified: Index,
    /// Ticks, of which no more than a heartbeat interval counts at a time.
    pub(crate) now: u64,
    /// When the leader was last heard.
    pub(crate) leader_heard_at: u64,
    /// The newest request heard of it in this term.
    pub(crate) leader_number: u64,
    /// When to campaign unless a leader is heard.
    pub(crate) election_at: u64,
    pub(crate) apply: ApplyState,
    pub(crate) snapshots: Snapshots,
    /// Whether the disk has no room for commands.
    pub(crate) full: bool,
    /// Reads that came in while another node led.
    pub(crate) forwarded: ForwardedReads,
    pub(crate) outbox: Outbox,
    pub(crate) rng: Rng,
    /// The last number given to a request, a proposal, a read or a fetch in this boot; never given twice.
    pub(crate) last_number: u64,
    /// The latest boot heard of each member.
    pub(crate) boots: Few<MemberId, Boot>,
    /// Incarnations that spoke under a member's number without being it, so that each is told of once.
    pub(crate) strangers: BTreeMap<NodeId, Incarnation>,
    /// The committed membership without this node that it was told of, while its log does not say so itself.
    pub(crate) removed_at: Option<LogId>,
    /// Where the membership stood by which the role was last looked at.
    pub(crate) reported_at: LogId,
    /// What the last [`Event::RoleChanged`] said.
    pub(crate) reported: (Term, RoleName, Option<NodeId>),
    /// What it was when the safety properties were checked last.
    pub(crate) checked: Checked,
}

impl Raft {
    // ---- inputs ----

    /// Time has passed: `elapsed_ticks` since the last call.
    ///
    /// However long that was, at most one heartbeat interval counts towards an election: a process that stood still first listens
    /// (its driver hands over what waits in its inbox before it ticks).
    pub fn tick(&mut self, elapsed_ticks: u32) {
        self.step(|raft| {
            // A driver that sleeps for a heartbeat interval and wakes up a little late did not stand still.
            if elapsed_ticks > raft.config.heartbeat_ticks.saturating_mul(2) {
                raft.outbox
                    .push(Effect::Event(Event::Paused { elapsed_ticks }));
            }
            raft.now += u64::from(elapsed_ticks.min(raft.config.heartbeat_ticks));
            raft.on_tick();
        });
    }

    /// Ticks until a [`Raft::tick`] would do anything by itself; at least 1. A driver may sleep so long when nothing else comes.
    #[must_use]
    pub fn ticks_until_deadline(&self) -> u32 {
        let at = match &self.role {
            Role::Leader(leadership) => leadership.heartbeat_at,
            _ => self.election_at,
        };
        u32::try_from(at.saturating_sub(self.now))
            .unwrap_or(u32::MAX)
            .clamp(1, self.config.heartbeat_ticks)
    }

    /// Takes a peer's envelope.
    ///
    /// # Errors
    /// When it is not for this node, contradicts itself or the protocol. Nothing has changed then, and the connection that brought it may as
    /// well be closed. No envelope, whatever is in it, makes this panic.
    pub fn receive(&mut self, mut envelope: Envelope) -> Result<(), Rejected> {
        self.step(|raft| raft.on_envelope(&mut envelope))
    }

    /// Appends commands to the log, when this node leads. Exactly one [`Effect::Outcome`] follows for each.
    ///
    /// # Errors
    /// Surely nothing was appended: this node does not lead, or hands over; too much waits to be committed already, or the batch is empty or has a
    /// command over [`Config::command_bytes_max`].
    pub fn propose(&mut self, batch: Vec<Bytes>) -> Result<ProposalIds, ProposeError> {
        let leader = self.leader_node();
        let Role::Leader(leadership) = &mut self.role else {
            return Err(ProposeError::NotLeader { leader });
        };
        if leadership.transfer.is_some() {
            return Err(ProposeError::Transferring);
        }
        if self.full || !leadership.has_room(self.memberships.current()) {
            return Err(ProposeError::Full);
        }
        if batch.is_empty()
            || batch
                .iter()
                .any(|command| command.len() > self.config.command_bytes_max)
        {
            return Err(ProposeError::BadBatch);
        }
        let bytes: usize = batch
            .iter()
            .map(|command| command.len() + Entry::OVERHEAD_BYTES)
            .sum();
        // It would not fit, however often it is tried.
        if batch.len() > 1 && bytes > self.config.uncommitted_bytes_max {
            return Err(ProposeError::BadBatch);
        }
        // One command alone is always taken, so that any that is allowed can get through.
        let alone = leadership.open_bytes == 0 && batch.len() == 1;
        if !alone && leadership.open_bytes + bytes > self.config.uncommitted_bytes_max {
            return Err(ProposeError::Busy);
        }
        let first = self.last_number + 1;
        let count = batch.len() as u64;
        self.last_number += count;
        self.journal.log_changed(self.log.last().index.next());
        for (number, command) in (first..).zip(batch) {
            let id = LogId {
                index: self.log.last().index.next(),
                term: self.term,
            };
            let entry = Entry {
                id,
                payload: Payload::Command(command),
            };
            let bytes = entry.len_bytes();
            leadership.open.push_back(OpenProposal {
                number,
                index: id.index,
                bytes,
            });
            leadership.open_bytes += bytes;
            self.log.append(entry);
        }
        invariants::check_proposed(self);
        Ok(ProposalIds {
            first: ProposalId {
                boot: self.identity.boot,
                number: first,
            },
            count,
        })
    }

    /// Asks for a linearizable read (ReadIndex, thesis §6.4). [`Effect::ReadReady`] or [`Effect::ReadFailed`] follows.
    ///
    /// A node that does not lead asks the leader for the index that it must have applied first, and answers from its own state
    /// machine: within two election timeouts, or it says that it failed.
    ///
    /// # Errors
    /// When this node does not lead and knows of no leader, or too many reads wait.
    pub fn read(&mut self) -> Result<ReadId, ReadError> {
        self.step(|raft| {
            let leader = raft.leader_node();
            let number = raft.last_number + 1;
            let max = raft.config.reads_max;
            match &mut raft.role {
                Role::Leader(leadership) if leadership.reads.count() < max => {
                    leadership.reads.push(Asker::Here(number));
                }
                Role::Leader(_) => return Err(ReadError::Busy),
                _ if leader.is_none() => return Err(ReadError::NotLeader { leader }),
                _ if raft.forwarded.count() >= max => return Err(ReadError::Busy),
                _ => raft.forwarded.push(number),
            }
            raft.last_number = number;
            Ok(ReadId {
                boot: raft.identity.boot,
                number: raft.last_number,
            })
        })
    }

    /// The disk of the log has no room for more commands, or has some again. Until then a leader refuses proposals
    /// ([`ProposeError::Full`]) and hands over to a voter that has room; a follower turns commands away. Term, vote, no-ops, memberships
    /// and snapshots are still asked for: the driver keeps a reserve for them. What was asked for before stays under way.
    pub fn storage_full(&mut self, full: bool) {
        self.step(|raft| raft.on_storage_full(full));
    }

    // ---- answers ----

    /// Every job up to `job` is durable. A driver whose disk finishes out of order waits for the ones before.
    ///
    /// # Errors
    /// When no such job is under way: the driver is broken, and nothing was changed.
    pub fn persisted(&mut self, job: JobId) -> Result<(), AnswerError> {
        if !self.journal.complete(job, self.now) {
            return Err(AnswerError::UnknownJob(job));
        }
        self.on_persisted(job);
        self.report_role();
        invariants::check_persisted(self);
        Ok(())
    }

    /// The state machine has applied everything up to `index`.
    ///
    /// # Errors
    /// When that was not handed out, or is behind an earlier answer: the driver is broken, and nothing was changed.
    pub fn applied(&mut self, index: Index) -> Result<(), AnswerError> {
        let known = self.apply.complete(index);
        invariants::check_applied(self);
        if known {
            Ok(())
        } else {
            Err(AnswerError::UnknownApply(index))
        }
    }

    /// What the driver read for a [`FetchJob`](crate::FetchJob): contiguous from its first index. None, when the entries are not
    /// there any more: they were cut since, and the core does not want them either.
    ///
    /// Entries that are not those of the log as it is now are ignored.
    pub fn fetched(&mut self, id: FetchId, entries: Vec<Entry>) {
        self.step(|raft| raft.on_fetched(id, entries));
    }

    /// The snapshot that ends at `last` was taken and is durable, or, `taken` being false, could not be made; then it is asked for
    /// again later. What it is for the log is decided by the [`PersistJob`](crate::PersistJob) that marks it.
    ///
    /// # Errors
    /// When none was asked for that ends there: the driver is broken, and nothing was changed.
    pub fn snapshot_taken(&mut self, last: LogId, taken: bool) -> Result<(), AnswerError> {
        self.step(|raft| raft.on_snapshot_taken(last, taken))
    }

    /// The file of the snapshot that ends at `last` is damaged, or gone. If that is still the newest one, another is asked for at once; one of
    /// the same state has the same end, and takes the place of the damaged file. Until it is taken, this node has nothing to start from
    /// and nothing to send.
    pub fn snapshot_damaged(&mut self, last: LogId) {
        self.step(|raft| raft.on_snapshot_damaged(last));
    }

    /// The transfer `id` of an [`Effect::SendSnapshot`] has ended: the peer has the snapshot and its envelope, or, `sent` being
    /// false, has not, or nobody knows. A driver that has not heard of the peer for long says false: until it says anything, the
    /// peer gets no entries, and the log behind the snapshot is kept for it.
    ///
    /// One that is not under way any more is ignored: this node may have lost the lead since.
    pub fn snapshot_sent(&mut self, id: RequestId, sent: bool) {
        self.step(|raft| raft.on_snapshot_sent(id, sent));
    }

    /// The state machine is now what the snapshot that ends at `last` holds.
    ///
    /// # Errors
    /// When it was not asked for: the driver is broken, and nothing was changed.
    pub fn snapshot_installed(&mut self, last: LogId) -> Result<(), AnswerError> {
        self.step(|raft| raft.on_snapshot_installed(last))
    }

    // ---- outputs ----

    /// The next thing to do, if there is any.
    ///
    /// Call it until it returns none, after every input or, better, every batch of inputs: one job, one append a peer and one
    /// read round are made of all that came in since. Answers may be given in between.
    pub fn next_effect(&mut self) -> Option<Effect> {
        if self.outbox.is_drained() {
            if !self.may_flush() {
                debug_assert!(
                    self.is_flushed(),
                    "a flush was left out that does something"
                );
                return None;
            }
            self.make_effects();
        }
        // In one place only: an effect is large, and goes from here straight to the caller.
        self.outbox.pop()
    }

    #[inline(never)]
    fn make_effects(&mut self) {
        self.flush();
        self.report_role();
        // When nothing was made nothing leaves; the next input is held against what was checked last all the same.
        if !self.outbox.is_drained() {
            invariants::check_made(self);
        }
    }

    /// Its role now. This, and the five that follow, cost nothing; [`Raft::status`] has everything.
    #[must_use]
    pub fn role(&self) -> RoleName {
        self.role_name()
    }

    /// Its current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Who leads, as far as it knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader_node()
    }

    /// Up to where it knows the log to be committed.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The last entry of its log, durable or not.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.log.last()
    }

    /// The membership in force: the newest in the log, committed or not (thesis §4.1).
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    // ---- shared by the parts of the core ----

    /// Runs one input with the safety properties checked around it.
    pub(crate) fn step<T>(&mut self, input: impl FnOnce(&mut Self) -> T) -> T {
        let output = input(self);
        self.report_role();
        invariants::check(self);
        output
    }

    pub(crate) fn me(&self) -> MemberId {
        self.identity.member
    }

    pub(crate) fn leader_node(&self) -> Option<NodeId> {
        self.leader.map(|member| member.node)
    }

    pub(crate) fn durable_index(&self) -> Index {
        self.journal.durable_index(self.log.last().index)
    }

    pub(crate) fn hard_state(&self) -> HardState {
        HardState {
            term: self.term,
            voted_for: self.voted_for,
            commit: self.commit,
        }
    }

    pub(crate) fn role_name(&self) -> RoleName {
        match &self.role {
            Role::Follower if self.membership().is_voter(self.me()) => RoleName::Follower,
            Role::Follower => RoleName::Learner,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    pub(crate) fn leadership(&mut self) -> Option<&mut Leadership> {
        match &mut self.role {
            Role::Leader(leadership) => Some(leadership),
            _ => None,
        }
    }

    /// A number for a request that no other request of this boot has.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(crate) fn request_id(&self, number: u64) -> RequestId {
        RequestId {
            boot: self.identity.boot,
            number,
        }
    }

    /// Says `message` to `to`, in this term, as soon as the term and the vote are durable; and, when it vouches for the log up to
    /// an index, as soon as that is.
    ///
    /// A leader's requests never wait: its term has been durable since its candidacy (thesis §10.2.1).
    // Inlined, so that the envelope is made where it is to lie: one that is made elsewhere, and copied at once, waits for its own stores.
    #[inline(always)]
    pub(crate) fn send(&mut self, to: MemberId, message: Message, vouches_for: Option<Index>) {
        let early_vote =
            matches!(message, Message::VoteResponse { .. }) && mutant(Mutant::VotesBeforeDurable);
        let state = self.journal.state_job().filter(|_| !early_vote);
        let entries = vouches_for
            .filter(|_| !mutant(Mutant::AcknowledgesBeforeDurable))
            .and_then(|index| self.journal.job_reaching(index));
        let until = state.max(entries);
        let envelope = self.envelope(to, message);
        match until {
            Some(until) => self.outbox.hold(until, vouches_for, envelope),
            None => {
                // Looked at where it lies, so that it is made there, and not moved about.
                self.outbox.push(Effect::Send(envelope));
                if let Some(Effect::Send(envelope)) = self.outbox.newest() {
                    invariants::check_sent(self, envelope);
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn envelope(&self, to: MemberId, message: Message) -> Envelope {
        Envelope {
            cluster: self.identity.cluster,
            from: Sender {
                member: self.me(),
                boot: self.identity.boot,
            },
            to,
            term: self.term,
            message,
        }
    }

    /// Everything up to `job` is durable: what waited for it may be said, and may count.
    fn on_persisted(&mut self, job: JobId) {
        while self
            .states_under_way
            .first()
            .is_some_and(|&(id, ..)| id <= job)
        {
            let (_, term, vote) = self.states_under_way.remove(0);
            self.durable_state = (term, vote);
        }
        for _ in 0..self.outbox.held_count() {
            if let Some(envelope) = self.outbox.oldest_held(job) {
                invariants::check_sent(self, envelope);
                self.outbox.release();
            } else {
                self.outbox.hold_on();
            }
        }
        self.on_marks_durable(job);
        self.count_own_vote(job);
        self.advance_commit();
    }

    /// Says when the role has changed. Asked around every input that may change it, and mostly it is as it was.
    #[inline]
    fn report_role(&mut self) {
        let (term, role, leader) = self.reported;
        let same_role = match self.role {
            Role::Leader(_) => role == RoleName::Leader,
            Role::Follower => {
                matches!(role, RoleName::Follower | RoleName::Learner)
                    && self.reported_at == self.memberships.current_at()
            }
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        };
        if !same_role || (term, leader) != (self.term, self.leader_node()) {
            self.report_change();
        }
    }

    #[inline(never)]
    fn report_change(&mut self) {
        self.reported_at = self.memberships.current_at();
        let now = (self.term, self.role_name(), self.leader_node());
        if now != self.reported {
            self.reported = now;
            self.fail_unconfirmed_reads();
            let (term, role, leader) = now;
            self.outbox
                .push(Effect::Event(Event::RoleChanged { term, role, leader }));
        }
    }
}
