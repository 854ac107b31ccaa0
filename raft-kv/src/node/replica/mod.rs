//! One node as a synchronous machine: core, state machine, formation, and who waits for what.
//!
//! Events go in through the methods; [`Replica::next_action`] gives what is to be done about them. There is no clock, no
//! file, no socket and no randomness in here, and every map is ordered: the same events give the same actions.
//!
//! Guards: every ticket that comes in goes out exactly once, as applied, surely not applied, or unknown; and "applied"
//! only after this node's state machine has applied the very entry that the ticket's command became.

mod action;
mod effects;
mod founding;
mod introduce;
mod reads;
mod snapshots;
mod start;
mod transfer;
mod upgrade;
mod writes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft_core::{
    Change, ChangeError, Entry, Envelope, FetchId, Identity, Incarnation, Index, JobId, LogId,
    MemberId, Membership, Message, NodeId, Outcome, ProposalId, Raft, RoleName, Status, Term,
    TransferError,
};

pub use action::{
    Action, Fatal, NotDone, Notice, ReadFailure, SnapshotAction, SnapshotJob, View, WriteFailure,
};
pub use reads::{Freshness, ReadRequest};
pub use start::{FormedDisk, Origin, ReplicaConfig, ReplicaError, Start};

use crate::mutants::{Mutant, mutant};
use crate::node::StateMachine;
use crate::node::config::TICK;
use crate::node::formation::{Formation, FormationError, FormationMessage, Formed, Verdict};
use crate::wire::SnapshotHead;
use reads::Reads;
use snapshots::Snapshots;
use upgrade::Upgrade;
use writes::Writes;

/// Whether the node belongs to a cluster yet.
#[derive(Clone, Debug)]
enum Phase {
    Forming(Formation),
    /// All founders agree; the state that the cluster begins with is being written as its first snapshot.
    Founding(Box<SnapshotHead>),
    /// Waiting for a leader to take it in.
    Joining,
    Formed(Box<Member>),
}

/// A node that belongs to a cluster.
#[derive(Clone, Debug)]
struct Member {
    core: Raft,
    /// The cluster's first membership; none before a node that joined was sent it.
    founding: Option<Membership>,
    /// Whether this disk belongs to the cluster durably: only then does the node say that the cluster is formed.
    durable: bool,
}

/// What the core said last of itself: kept here because a reply needs it, and a full status is costly.
#[derive(Clone, Copy, Debug)]
struct Standing {
    term: Term,
    role: RoleName,
    leader: Option<NodeId>,
}

/// A node. `W` and `R` are what the caller wants back with the outcome of a write and of a read: its *tickets*.
#[derive(Debug)]
pub struct Replica<S, W, R>
where
    S: StateMachine,
{
    config: ReplicaConfig,
    identity: Identity,
    phase: Phase,
    standing: Standing,
    machine: S,
    applied: Index,
    /// The term of the entry at `applied`.
    applied_term: Term,
    writes: Writes<W>,
    /// Where nodes are, as a leader has said; what the own log says later goes before it.
    introduced: BTreeMap<NodeId, String>,
    introduced_for_ticks: u32,
    introduce_in_ticks: u32,
    upgrade: Upgrade,
    /// Changes of the membership whose outcome is open.
    changes: BTreeSet<ProposalId>,
    reads: Reads<R>,
    snapshots: Snapshots,
    actions: VecDeque<Action<S::Output, W, R>>,
    /// Where every other node is, by the membership in force, or by the founders' list; and some that were members.
    addresses: BTreeMap<NodeId, String>,
    /// With which new data directory a member came last: it asks many times a second, and is reported once.
    wiped: BTreeMap<NodeId, Incarnation>,
    /// Those of them whose member was heard of since: someone else was started in its name, and it is there all the same.
    refuted: BTreeSet<NodeId>,
    /// Nothing more happens here.
    halted: bool,
}

impl<S: StateMachine, W, R> Replica<S, W, R> {
    /// Who this node is. The cluster is unknown until it is formed.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The state machine, as it is after everything up to [`View::applied`].
    #[must_use]
    pub fn machine(&self) -> &S {
        &self.machine
    }

    /// The state machine, to change what is beside the replicated state.
    pub(crate) fn machine_mut(&mut self) -> &mut S {
        &mut self.machine
    }

    /// What stands in every reply.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            cluster: self.identity.cluster,
            node: self.identity.member.node,
            term: self.standing.term,
            role: self.standing.role,
            applied: self.applied,
        }
    }

    /// The core's own picture; none while the cluster is not formed.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match &self.phase {
            Phase::Forming(_) | Phase::Founding(_) | Phase::Joining => None,
            Phase::Formed(member) => Some(member.core.status()),
        }
    }

    /// The core; none while the cluster is not formed.
    #[must_use]
    pub fn raft(&self) -> Option<&Raft> {
        match &self.phase {
            Phase::Forming(_) | Phase::Founding(_) | Phase::Joining => None,
            Phase::Formed(member) => Some(&member.core),
        }
    }

    /// What an unformed node waits for, in words; none once the cluster is formed.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        match &self.phase {
            Phase::Forming(formation) => Some(formation.waits_for()),
            Phase::Founding(_) => {
                Some("writing the state that the restored cluster begins with".into())
            }
            Phase::Joining => Some("waiting for a leader to take this node in".into()),
            Phase::Formed(_) => None,
        }
    }

    /// Who leads, as far as this node knows, and where that node is.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, String)> {
        let leader = self.standing.leader?;
        Some((
            leader,
            self.addresses.get(&leader).cloned().unwrap_or_default(),
        ))
    }

    /// Members that came back with another data directory than the membership knows, and with which.
    pub fn wiped(&self) -> impl Iterator<Item = MemberId> {
        let known = |node| {
            let member = self.raft()?.membership().member(node)?;
            Some(member.incarnation)
        };
        self.wiped
            .iter()
            .filter(move |(node, now)| known(**node).is_some_and(|known| known != **now))
            .filter(|(node, _)| !self.refuted.contains(node))
            .map(|(node, now)| MemberId {
                node: *node,
                incarnation: *now,
            })
    }

    /// How many tickets have no answer yet.
    #[must_use]
    pub fn open_tickets(&self) -> usize {
        self.writes.len() + self.reads.len()
    }

    /// Time has passed. Feed what has arrived first.
    pub fn tick(&mut self, elapsed_ticks: u32) {
        if self.halted {
            return;
        }
        match &mut self.phase {
            Phase::Forming(formation) => formation.tick(elapsed_ticks),
            Phase::Founding(_) | Phase::Joining => {}
            Phase::Formed(member) => member.core.tick(elapsed_ticks),
        }
        self.introduce_in_ticks = self.introduce_in_ticks.saturating_sub(elapsed_ticks);
        self.forget_introductions(elapsed_ticks);
        self.upgrade.tick(elapsed_ticks);
        self.tick_transfers(elapsed_ticks);
        self.propose_own(elapsed_ticks);
        for ticket in self.reads.tick(elapsed_ticks) {
            self.actions.push_back(Action::ReadFailed {
                ticket,
                why: NotDone::Failed.into(),
            });
        }
    }

    /// Ticks until a tick would do anything by itself: the driver may sleep so long.
    #[must_use]
    pub fn ticks_until_deadline(&self) -> u32 {
        let own = match &self.phase {
            Phase::Forming(formation) => formation.ticks_until_deadline(),
            Phase::Founding(_) | Phase::Joining => u32::MAX,
            Phase::Formed(member) => member.core.ticks_until_deadline(),
        };
        own.min(self.reads.ticks_until_deadline())
            .min(self.ticks_until_introduction())
            .min(self.ticks_until_upgrade())
            .min(self.ticks_until_transfer())
    }

    /// A peer's envelope. An unformed node has no use for any.
    pub fn receive(&mut self, envelope: Envelope) {
        // An envelope alone brings nothing to install: it comes again, behind its file.
        if let Message::SnapshotRequest { snapshot, .. } = &envelope.message
            && !self.takes_in(snapshot)
        {
            return;
        }
        let from = envelope.from.member;
        if self
            .wiped
            .get(&from.node)
            .is_some_and(|now| *now != from.incarnation)
            && self
                .raft()
                .is_some_and(|core| core.membership().contains(from))
        {
            self.refuted.insert(from.node);
        }
        let Some(core) = self.core() else { return };
        let result = core.receive(envelope);
        if let Err(why) = result {
            self.actions
                .push_back(Action::Notice(Notice::Rejected { from, why }));
        }
    }

    /// A peer's word about the formation of the cluster. `from` is who the connection's handshake named.
    pub fn receive_formation(&mut self, from: MemberId, message: FormationMessage) {
        if self.halted {
            return;
        }
        match (&mut self.phase, message) {
            (Phase::Forming(formation), FormationMessage::Hello(hello)) if hello.from == from => {
                formation.on_hello(hello);
            }
            (Phase::Forming(formation), FormationMessage::Formed(formed)) => {
                match formation.on_formed(&formed) {
                    Ok(Verdict::Found(founding)) => self.found(founding),
                    Ok(Verdict::Wait) => {}
                    Ok(Verdict::Join) => {
                        if formation.seed().is_some() {
                            // It was to begin a cluster, and was taken into another one: it begins there with nothing.
                            self.machine = self.machine.empty();
                            self.applied = Index::ZERO;
                        }
                        self.phase = Phase::Joining;
                        self.introduced(&formed);
                    }
                    Err(FormationError::OtherIncarnation { member, .. })
                        if mutant(Mutant::TakesWipedForFormer) =>
                    {
                        self.identity.member = member;
                        self.found(formed.founding);
                    }
                    Err(error) => self.halt(Fatal::Formation(error)),
                }
            }
            (Phase::Joining | Phase::Formed(_), FormationMessage::Formed(formed)) => {
                self.introduced(&formed);
            }
            (Phase::Formed(member), FormationMessage::Hello(hello))
                if hello.from == from && member.durable =>
            {
                let Some(founding) = member.founding.clone() else {
                    return;
                };
                let formed = Formed {
                    cluster: self.identity.cluster,
                    founding,
                    current: member.core.status().membership,
                };
                let message = FormationMessage::Formed(formed);
                self.actions.push_back(Action::SendFormation {
                    to: from.node,
                    message,
                });
                if let Some(known) = member.core.status().membership.member(from.node)
                    && known.incarnation != from.incarnation
                {
                    let member = MemberId {
                        node: from.node,
                        incarnation: known.incarnation,
                    };
                    self.refuted.remove(&from.node);
                    let told = self.wiped.insert(from.node, from.incarnation);
                    if told != Some(from.incarnation) {
                        self.actions
                            .push_back(Action::Notice(Notice::Wiped { member, now: from }));
                    }
                }
            }
            _ => {}
        }
    }

    /// Commands to replicate, in order, each with its ticket.
    pub fn write(&mut self, batch: Vec<(Bytes, W)>) {
        if batch.is_empty() {
            return;
        }
        let refusal = match self.refusal() {
            Some(refusal) => refusal,
            None if self.writes.len() + batch.len() > self.config.writes_max => {
                WriteFailure::Not(NotDone::Busy)
            }
            None => return self.propose(batch),
        };
        for (_, ticket) in batch {
            self.actions.push_back(Action::WriteFailed {
                ticket,
                why: refusal.clone(),
            });
        }
    }

    /// Changes the membership, if it is still the one of the entry `expect`. What became of it comes as one [`Action::Changed`] with the
    /// number that is returned.
    ///
    /// # Errors
    /// Why nothing was changed, surely.
    pub fn change_membership(
        &mut self,
        change: Change,
        expect: LogId,
    ) -> Result<ProposalId, NotDone> {
        let leader = self.leader();
        if let Some(WriteFailure::Not(why)) = self.refusal() {
            return Err(why);
        }
        if let Some(why) = self.not_to_be_added(&change) {
            return Err(NotDone::Refused(why));
        }
        let Some(core) = self.core() else {
            return Err(NotDone::Stopping);
        };
        match core.change_membership(change, expect) {
            Ok(id) => {
                self.changes.insert(id);
                Ok(id)
            }
            Err(ChangeError::NotLeader { .. }) => Err(NotDone::NotLeader { leader }),
            Err(error) => Err(NotDone::Refused(error.to_string())),
        }
    }

    /// Hands the lead to this node, or to the one that is best fit; who it will be, unless it fails: then this node leads on.
    ///
    /// # Errors
    /// Why the transfer was not begun.
    pub fn transfer_leadership(&mut self, to: Option<NodeId>) -> Result<NodeId, NotDone> {
        let leader = self.leader();
        let Some(core) = self.core() else {
            return Err(NotDone::NotLeader { leader });
        };
        core.transfer_leadership(to).map_err(|error| match error {
            TransferError::NotLeader { .. } => NotDone::NotLeader { leader },
            error => NotDone::Refused(error.to_string()),
        })
    }

    /// Questions to the state machine, each with its ticket.
    pub fn read(&mut self, batch: Vec<ReadRequest<R>>) {
        if batch.is_empty() {
            return;
        }
        if let Some(WriteFailure::Not(why)) = self.refusal() {
            return self.fail_reads(batch, &why);
        }
        let (stale, linearizable): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|request| request.freshness == Freshness::Stale);
        self.admit_reads(stale);
        if linearizable.is_empty() {
            return;
        }
        if self.reads.len() + linearizable.len() > self.config.reads_max {
            return self.fail_reads(linearizable, &NotDone::Busy);
        }
        // The state machine of a node that does not lead could answer too; its clients are sent to the leader, which is one hop less.
        if self.standing.role != RoleName::Leader {
            if mutant(Mutant::AnswersReadsAnywhere) {
                return self.admit_reads(linearizable);
            }
            let leader = self.leader();
            return self.fail_reads(linearizable, &NotDone::NotLeader { leader });
        }
        let Some(core) = self.core() else { return };
        // One read of the core stands for all of the batch: each had arrived before it was asked.
        match core.read() {
            Ok(id) => self.reads.confirm(id, linearizable),
            Err(error) => {
                let why = self.read_refusal(error);
                self.fail_reads(linearizable, &why);
            }
        }
    }

    /// Every job up to this one is durable.
    pub fn persisted(&mut self, job: JobId) {
        let Some(core) = self.core() else { return };
        if let Err(error) = core.persisted(job) {
            return self.halt(Fatal::Answer(error));
        }
        if let Phase::Formed(member) = &mut self.phase
            && !member.durable
        {
            member.durable = true;
            let cluster = self.identity.cluster;
            self.actions
                .push_back(Action::Notice(Notice::Formed { cluster }));
        }
    }

    /// Whether the log's disk has no room for commands: a leader then takes none and hands over if it can, a follower turns them away.
    pub fn storage_full(&mut self, full: bool) {
        if let Some(core) = self.core() {
            core.storage_full(full);
        }
    }

    /// What the log held for a fetch; nothing when it was cut since.
    pub fn fetched(&mut self, id: FetchId, entries: Vec<Entry>) {
        if let Some(core) = self.core() {
            core.fetched(id, entries);
        }
    }

    /// Ends this node's part: every ticket is answered, and nothing happens after. What was handed out before stays
    /// valid.
    pub fn stop(&mut self) {
        if !self.halted {
            self.fail_everything();
            self.halted = true;
        }
    }

    /// The next thing to do, if there is any. Call it until it returns none, after every event or batch of events: what
    /// one action can cover is gathered from all events since.
    pub fn next_action(&mut self) -> Option<Action<S::Output, W, R>> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if self.halted {
                return None;
            }
            self.introduce();
            self.raise_version();
            if !self.actions.is_empty() {
                continue;
            }
            let effect = match &mut self.phase {
                Phase::Forming(_) => {
                    self.form();
                    if self.actions.is_empty() && matches!(self.phase, Phase::Forming(_)) {
                        return None;
                    }
                    continue;
                }
                Phase::Founding(_) | Phase::Joining => return None,
                Phase::Formed(member) => member.core.next_effect()?,
            };
            self.on_effect(effect);
        }
    }

    fn propose(&mut self, mut batch: Vec<(Bytes, W)>) {
        let Phase::Formed(member) = &mut self.phase else {
            return;
        };
        let commands = batch.iter().map(|(command, _)| command.clone()).collect();
        match member.core.propose(commands) {
            Ok(ids) => self
                .writes
                .propose(ids, batch.into_iter().map(|(_, ticket)| ticket)),
            // One that does not fit must not take the others with it.
            Err(raft_core::ProposeError::Busy | raft_core::ProposeError::BadBatch)
                if batch.len() > 1 =>
            {
                let rest = batch.split_off(batch.len() / 2);
                self.propose(batch);
                self.propose(rest);
            }
            Err(error) => {
                let why = self.write_refusal(error);
                for (_, ticket) in batch {
                    self.actions.push_back(Action::WriteFailed {
                        ticket,
                        why: why.clone(),
                    });
                }
            }
        }
    }

    /// Proposes what the state machine wants by itself. Nobody waits for it.
    fn propose_own(&mut self, elapsed_ticks: u32) {
        let Standing { term, role, .. } = self.standing;
        let leads = role == RoleName::Leader && self.applied_term == term;
        let elapsed_ms = elapsed_ticks.saturating_mul(TICK.as_millis() as u32);
        let commands = self.machine.tick(leads.then_some(term), elapsed_ms);
        if let Some(core) = self.core()
            && !commands.is_empty()
        {
            // One that is not taken is wanted again.
            let _ = core.propose(commands);
        }
    }

    /// Answers those whose wanted index is applied, keeps the others for a while.
    fn admit_reads(&mut self, requests: Vec<ReadRequest<R>>) {
        for request in requests {
            if request.min_applied <= self.applied {
                self.actions.push_back(Action::ReadReady(request.ticket));
            } else if self.reads.len() >= self.config.reads_max {
                let why = ReadFailure(NotDone::Busy);
                self.actions.push_back(Action::ReadFailed {
                    ticket: request.ticket,
                    why,
                });
            } else {
                self.reads.wait(
                    request.min_applied,
                    self.config.read_wait_ticks,
                    request.ticket,
                );
            }
        }
    }

    fn fail_reads(&mut self, requests: Vec<ReadRequest<R>>, why: &NotDone) {
        for request in requests {
            self.actions.push_back(Action::ReadFailed {
                ticket: request.ticket,
                why: ReadFailure(why.clone()),
            });
        }
    }

    fn core(&mut self) -> Option<&mut Raft> {
        match &mut self.phase {
            Phase::Formed(member) if !self.halted => Some(&mut member.core),
            _ => None,
        }
    }

    /// Why nothing can be taken at all now, if so.
    fn refusal(&self) -> Option<WriteFailure> {
        if self.halted {
            return Some(WriteFailure::Not(NotDone::Stopping));
        }
        self.waits_for()
            .map(|why| WriteFailure::Not(NotDone::NotFormed(why)))
    }

    fn write_refusal(&self, error: raft_core::ProposeError) -> WriteFailure {
        WriteFailure::Not(match error {
            raft_core::ProposeError::NotLeader { .. } => NotDone::NotLeader {
                leader: self.leader(),
            },
            raft_core::ProposeError::BadBatch => NotDone::TooLarge,
            raft_core::ProposeError::Full => NotDone::Full,
            _ => NotDone::Busy,
        })
    }

    fn read_refusal(&self, error: raft_core::ReadError) -> NotDone {
        match error {
            raft_core::ReadError::NotLeader { .. } => NotDone::NotLeader {
                leader: self.leader(),
            },
            _ => NotDone::Busy,
        }
    }

    fn fail_everything(&mut self) {
        for ticket in self.writes.drain() {
            self.actions.push_back(Action::WriteFailed {
                ticket,
                why: WriteFailure::Unknown,
            });
        }
        for id in std::mem::take(&mut self.changes) {
            let outcome = Outcome::Unknown;
            self.actions.push_back(Action::Changed { id, outcome });
        }
        for ticket in self.reads.drain() {
            self.actions.push_back(Action::ReadFailed {
                ticket,
                why: ReadFailure(NotDone::Stopping),
            });
        }
    }

    /// Nothing may happen after this: whoever waits gets an honest answer, and the last action says why.
    fn halt(&mut self, why: Fatal) {
        if !self.halted {
            self.fail_everything();
            self.halted = true;
            self.actions.push_back(Action::Fatal(why));
        }
    }
}
