//! One node: the real core on a disk, with the jobs that are on their way to it. What it does when something happens, and whether it
//! promised what its disk does not hold.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use raft_core::{
    AppendResult, Boot, Change, ClusterId, Config, Effect, Entry, Envelope, Exchange, HardState,
    Identity, Incarnation, Index, JobId, LogId, MemberId, Membership, Message, NodeId, Numbers,
    Payload, PersistJob, Raft, Recovered, RoleName, Snapshot, Term,
};

/// T, in ticks. As short as it may be: only that it passes matters.
const TIMEOUT: u32 = 6;
const HEARTBEAT: u32 = 2;

/// The member that founded the cluster as this node.
pub fn member(node: usize) -> MemberId {
    MemberId {
        node: NodeId(node as u64),
        incarnation: Incarnation(node as u64),
    }
}

/// Settings under which a disk may take any time, an append carries one entry, and one at a time is under way.
pub fn config() -> Config {
    Config {
        election_timeout_ticks: TIMEOUT,
        heartbeat_ticks: HEARTBEAT,
        disk_stall_ticks: u32::MAX,
        batch_bytes_max: 1,
        inflight_appends_max: 1,
        // What is durable and applied is read back from the disk, before a restart as after it.
        tail_bytes_max: 1,
        ..Config::new(0)
    }
}

/// What a disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    pub hard_state: HardState,
    pub log: Vec<Entry>,
}

impl Disk {
    pub fn write(&mut self, job: &PersistJob) {
        if let Some(hard_state) = job.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(from) = job.truncate_from {
            self.log.truncate(from.0 as usize - 1);
        }
        self.log.extend(job.entries.iter().cloned());
    }
}

/// A node. Of two that are equal only one is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub raft: Raft,
    pub disk: Disk,
    /// Handed out, and not answered.
    pub jobs: Vec<PersistJob>,
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// An envelope arrives.
    Deliver(Box<Envelope>),
    /// The oldest job becomes durable.
    Persist,
    /// It stops dead, the oldest so many jobs having reached the disk, and starts again.
    Restart {
        kept: usize,
    },
    /// Nothing reaches it for an election timeout, and nothing that it says meanwhile reaches anyone.
    Silence,
    /// The same, until it campaigns.
    Timeout,
    /// An answer from a later term arrives, to whatever it has asked.
    Hear(Term),
    /// It leads, and its next heartbeats are due.
    Heartbeat,
    Propose,
    Read,
    Change(Change),
    /// It loses its disk, and comes back as another member that waits to be taken in.
    Wipe,
}

/// What a node forgets.
#[derive(Clone, Copy)]
pub struct Forgets {
    /// That it has heard its leader within an election timeout.
    pub leaders_voice: bool,
    /// That it was to refuse a vote, to say the same twice, and by which request it came to have what it has.
    pub refusals: bool,
}

/// What a node did.
#[derive(Clone, Debug)]
pub struct Output {
    pub node: Node,
    /// How its requests were renamed.
    pub numbers: Numbers,
    pub sent: Vec<Envelope>,
    /// Reads that were answered.
    pub reads: usize,
    /// What was broken, if anything was.
    pub wrong: Option<String>,
}

impl Node {
    /// Starts from a disk, as member `id` of a cluster that `base` founded.
    pub fn start(id: MemberId, boot: u64, base: Option<&Membership>, disk: Disk) -> Self {
        let raft = recover(id, boot, base, &disk);
        let jobs = Vec::new();
        let mut node = Self { raft, disk, jobs };
        let mut effects = Effects::default();
        node.drain(&mut effects);
        node.canonicalize();
        node
    }

    pub fn member(&self) -> MemberId {
        self.raft.status().identity.member
    }

    /// The log with what is on its way to the disk.
    pub fn log(&self) -> Vec<Entry> {
        let mut disk = self.disk.clone();
        self.jobs.iter().for_each(|job| disk.write(job));
        disk.log
    }

    pub fn forget(&mut self, what: Forgets) {
        if what.leaders_voice {
            self.raft.forget_leaders_voice();
        }
        if what.refusals {
            self.raft.forget_refusals();
        }
    }

    /// What it is when nodes are exchanged.
    pub fn exchanged(&self, exchange: &Exchange) -> Self {
        let mut node = self.clone();
        node.raft.exchange(exchange);
        let on_disk = core::iter::once(&mut node.disk.hard_state);
        let states = on_disk.chain(
            node.jobs
                .iter_mut()
                .filter_map(|job| job.hard_state.as_mut()),
        );
        for state in states {
            state.voted_for = state.voted_for.map(|vote| exchange.member(vote));
        }
        node
    }

    /// What comes of an input; none, when it cannot happen now.
    pub fn step(
        &self,
        input: &Input,
        base: Option<&Membership>,
        forgets: Forgets,
    ) -> Option<Output> {
        let mut node = self.clone();
        let mut effects = Effects::default();
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let happened = node.take(input, base, &mut effects);
            node.forget(forgets);
            let numbers = happened.then(|| node.canonicalize());
            numbers.inspect(|_| {
                effects.check_untouched(self, &node, input);
                effects.check_disk(self, &node, input);
            })
        }));
        let numbers = match ran {
            Ok(numbers) => numbers?,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied());
                effects.wrong = Some(format!("panic: {}", text.unwrap_or("?")));
                node = self.clone();
                Numbers::default()
            }
        };
        Some(Output {
            node,
            numbers,
            sent: effects.sent,
            reads: effects.reads,
            wrong: effects.wrong,
        })
    }

    fn take(&mut self, input: &Input, base: Option<&Membership>, effects: &mut Effects) -> bool {
        match input {
            Input::Deliver(envelope) => {
                // Whatever is refused was refused for a reason, and changed nothing.
                let _ = self.raft.receive(Envelope::clone(envelope));
            }
            Input::Persist => {
                if self.jobs.is_empty() {
                    return false;
                }
                let job = self.jobs.remove(0);
                self.disk.write(&job);
                self.raft.persisted(job.id).unwrap();
            }
            Input::Restart { kept } => {
                if *kept > self.jobs.len() {
                    return false;
                }
                let identity = self.raft.status().identity;
                for job in self.jobs.drain(..).take(*kept) {
                    self.disk.write(&job);
                }
                let base = base.filter(|base| base.contains(identity.member));
                self.raft = recover(identity.member, identity.boot.0 + 1, base, &self.disk);
            }
            Input::Silence => self.tick(TIMEOUT, effects, |_| false),
            Input::Timeout => {
                let before = self.raft.status().term;
                let campaigns = |raft: &Raft| {
                    let status = raft.status();
                    status.role == RoleName::PreCandidate || status.term > before
                };
                self.tick(4 * TIMEOUT, effects, campaigns);
                if !campaigns(&self.raft) {
                    return false;
                }
            }
            Input::Hear(term) => self.raft.hear_of(*term),
            Input::Heartbeat => {
                if self.raft.status().role != RoleName::Leader {
                    return false;
                }
                self.raft.tick(HEARTBEAT);
            }
            Input::Propose => {
                let value = Bytes::from_static(b"command");
                if self.raft.propose(vec![value]).is_err() {
                    return false;
                }
            }
            Input::Read => {
                if self.raft.status().role != RoleName::Leader || self.raft.read().is_err() {
                    return false;
                }
            }
            Input::Change(change) => {
                let at = self.raft.status().membership_at;
                if self.raft.change_membership(change.clone(), at).is_err() {
                    return false;
                }
            }
            Input::Wipe => {
                let node = self.member().node;
                let incarnation = Incarnation(100 + node.0);
                let id = identity(MemberId { node, incarnation }, 1);
                self.raft = Raft::join(config(), id).unwrap();
                self.disk = Disk::default();
                self.jobs.clear();
            }
        }
        self.drain(effects);
        true
    }

    /// Lets time pass. Only what is said at the end of it is heard.
    fn tick(&mut self, ticks: u32, effects: &mut Effects, until: impl Fn(&Raft) -> bool) {
        for _ in 0..ticks {
            self.drain(effects);
            effects.sent.clear();
            self.raft.tick(1);
            if until(&self.raft) {
                return;
            }
        }
        self.drain(effects);
        effects.sent.clear();
    }

    /// Carries out all effects. Applying and reading the log take no time; writing does.
    fn drain(&mut self, effects: &mut Effects) {
        while let Some(effect) = self.raft.next_effect() {
            match effect {
                Effect::Send(envelope) => {
                    effects.check_sent(self, &envelope);
                    effects.sent.push(envelope);
                }
                Effect::Persist(job) => self.jobs.push(job),
                Effect::Apply(job) => {
                    effects.check_applied(self, &job.entries);
                    let last = job.entries.last().unwrap().id.index;
                    self.raft.applied(last).unwrap();
                }
                Effect::FetchLog(job) => {
                    let from = job.from.0 as usize - 1;
                    let entry = self.disk.log.get(from..from + 1).unwrap_or_default();
                    self.raft.fetched(job.id, entry.to_vec());
                }
                Effect::ReadReady(_) => effects.reads += 1,
                _ => {}
            }
        }
    }

    /// Turns it into the one that stands for all that behave like it.
    fn canonicalize(&mut self) -> Numbers {
        for (job, id) in self.jobs.iter_mut().zip(1..) {
            job.id = JobId(id);
        }
        self.raft.canonicalize()
    }
}

fn identity(member: MemberId, boot: u64) -> Identity {
    Identity {
        cluster: ClusterId([7; 16]),
        member,
        boot: Boot(boot),
    }
}

fn recover(id: MemberId, boot: u64, base: Option<&Membership>, disk: &Disk) -> Raft {
    let mut runs: Vec<(Index, Term)> = Vec::new();
    for entry in &disk.log {
        if runs.last().is_none_or(|&(_, term)| term != entry.id.term) {
            runs.push((entry.id.index, entry.id.term));
        }
    }
    let memberships = disk.log.iter().filter_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some((entry.id, membership.clone())),
        _ => None,
    });
    let snapshot = base.map(|base| Snapshot {
        last: LogId::ZERO,
        membership: base.clone(),
        membership_at: LogId::ZERO,
    });
    let recovered = Recovered {
        identity: identity(id, boot),
        hard_state: disk.hard_state,
        base: LogId::ZERO,
        snapshot,
        memberships: memberships.collect(),
        runs,
        last: Index(disk.log.len() as u64),
        applied: Index::ZERO,
    };
    Raft::recover(config(), recovered).expect("a disk that a core wrote")
}

/// What came out of a node in one step.
#[derive(Default)]
struct Effects {
    sent: Vec<Envelope>,
    reads: usize,
    wrong: Option<String>,
}

impl Effects {
    fn expect(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(why());
        }
    }

    /// What is said is on the disk: the term, the vote, the entries.
    fn check_sent(&mut self, node: &Node, envelope: &Envelope) {
        let (id, state) = (node.member().node, node.disk.hard_state);
        self.expect(state.term >= envelope.term, || {
            format!("n{id} speaks in a term that is not on its disk")
        });
        let vote = match &envelope.message {
            Message::VoteResponse { granted: true, .. } => Some(envelope.to),
            Message::VoteRequest { .. } => Some(node.member()),
            _ => None,
        };
        let durable = |vote| state.term > envelope.term || state.voted_for == Some(vote);
        self.expect(vote.is_none_or(durable), || {
            format!("n{id} says a vote that is not on its disk")
        });
        let matched = match envelope.message {
            Message::AppendResponse {
                result: AppendResult::Matched(index) | AppendResult::Full(index),
                ..
            }
            | Message::HeartbeatResponse { matched: index, .. } => index,
            _ => Index::ZERO,
        };
        self.expect(matched.0 <= node.disk.log.len() as u64, || {
            format!("n{id} acknowledges {matched}, which is not on its disk")
        });
    }

    /// What is applied stands in the log, durably.
    fn check_applied(&mut self, node: &Node, entries: &[Entry]) {
        for entry in entries {
            let on_disk = node.disk.log.get(entry.id.index.0 as usize - 1);
            self.expect(on_disk == Some(entry), || {
                format!(
                    "n{} applies {}, which is not on its disk",
                    node.member().node,
                    entry.id
                )
            });
        }
    }

    /// The term of a disk never falls, and its vote never changes within a term.
    fn check_disk(&mut self, before: &Node, after: &Node, input: &Input) {
        let (old, new) = (before.disk.hard_state, after.disk.hard_state);
        let kept = old.voted_for.is_none() || old.voted_for == new.voted_for;
        let id = before.member().node;
        self.expect(
            new.term > old.term || new.term == old.term && kept || *input == Input::Wipe,
            || {
                let vote = |vote: Option<MemberId>| vote.map_or(0, |member| member.node.0);
                format!(
                    "n{id}'s disk goes from a vote for n{} in term {} to one for n{} in term {}",
                    vote(old.voted_for),
                    old.term,
                    vote(new.voted_for),
                    new.term
                )
            },
        );
    }

    /// A pre-vote changes no term and no vote (thesis §9.6).
    fn check_untouched(&mut self, before: &Node, after: &Node, input: &Input) {
        let Input::Deliver(envelope) = input else {
            return;
        };
        if !matches!(envelope.message, Message::PreVoteRequest { .. }) {
            return;
        }
        let (before, after) = (before.raft.status(), after.raft.status());
        self.expect(
            (before.term, before.voted_for) == (after.term, after.voted_for),
            || {
                format!(
                    "a pre-vote moves n{} from term {} to {}",
                    after.identity.member.node, before.term, after.term
                )
            },
        );
    }
}
