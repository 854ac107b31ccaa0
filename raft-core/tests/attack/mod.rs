//! One core against a driver and peers of bad faith: inputs of every kind in any order, and what must hold whatever comes. The property
//! test (`hostile.rs`) and the fuzzer (`raft-core/fuzz`) share it.
//!
//! The driver is honest where a driver has to be (it writes what it says it has written) and careless everywhere else: it answers late, in
//! parts, what nobody asked, and dies at any moment. Peers say anything.

#![allow(unreachable_pub)] // Each user has its own part of it.

mod decode;
mod disk;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
pub use decode::decode;
use disk::Disk;
use raft_core::*;

pub const CLUSTER: ClusterId = ClusterId([7; 16]);

pub fn member(node: u64, incarnation: u64) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

/// A membership of no voters, as a node has it that knows of none, and no honest peer sends it.
pub fn of_nobody() -> Membership {
    let identity = Identity {
        cluster: CLUSTER,
        member: member(1, 1),
        boot: Boot(1),
    };
    let new = Raft::join(Config::new(1), identity).expect("a good config");
    new.membership().clone()
}

/// Everything that can be done to a core.
#[derive(Clone, Debug)]
pub enum Input {
    Tick(u32),
    Receive(Envelope),
    /// A member says this, in the term that is current here or so many later.
    Hear(u64, u64, Message),
    /// As many commands, of so many bytes each.
    Propose(usize, usize),
    Read,
    /// At this place; none: at that of the membership in force.
    Change(Vec<Step>, Option<LogId>),
    Transfer(Option<u64>),
    Full(bool),
    /// Carries out at most so many effects.
    Drain(usize),
    /// So many of the oldest jobs are durable.
    Persist(usize),
    /// So many of the oldest apply jobs are done.
    Apply(usize),
    Fetched(Fetched),
    /// The snapshot that was asked for is there, or could not be made.
    Taken(bool),
    Installed,
    /// The oldest transfer of a snapshot has ended.
    Sent(bool),
    /// So many of the oldest messages on their way are answered, as by peers that agree with all.
    Agree(usize),
    /// The oldest is answered as by a peer that has lost its log, and refuses what it can.
    Refuse,
    /// Answers that were not asked for.
    WrongAnswer(u64),
    /// The process dies; so many of the jobs under way had reached the disk. It is recovered from that.
    Restart(usize),
}

/// What comes of a fetch.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// What the log holds.
    All,
    /// One entry of it.
    One,
    /// Nothing: it was cut since.
    Nothing,
    /// Something else.
    Lies(Vec<Entry>),
}

/// What a run got to, so that a generator of inputs can show that it is worth something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Led,
    Committed,
    Restarted,
    Cut,
    Fetched,
    Took,
    SentSnapshot,
    Installed,
    Answered,
    Changed,
    Transfer,
    Removed,
    Rejected,
}

/// One node in the hands of this driver.
struct Victim {
    raft: Raft,
    boot: u64,
    disk: Disk,
    jobs: VecDeque<PersistJob>,
    applying: VecDeque<Index>,
    /// Up to where entries were handed out to apply.
    handed: Index,
    fetches: VecDeque<FetchJob>,
    taking: Option<LogId>,
    installing: VecDeque<LogId>,
    sending: VecDeque<RequestId>,
    mail: VecDeque<Envelope>,
    /// Proposals and reads that were taken, and have not ended.
    open: BTreeSet<u64>,
    effects: Vec<Effect>,
    marks: BTreeSet<Mark>,
}

fn config() -> Config {
    Config {
        election_timeout_ticks: 9,
        heartbeat_ticks: 3,
        tail_bytes_max: 40,
        batch_bytes_max: 200,
        inflight_appends_max: 3,
        apply_bytes_max: 100,
        uncommitted_bytes_max: 1000,
        command_bytes_max: 100,
        reads_max: 4,
        snapshots: Some(SnapshotPolicy {
            entries_max: 3,
            bytes_max: 1000,
            tail_entries: 1,
            tail_bytes: 60,
        }),
        ..Config::new(3)
    }
}

fn identity(boot: u64) -> Identity {
    Identity {
        cluster: CLUSTER,
        member: member(1, 1),
        boot: Boot(boot),
    }
}

/// n1 of three against the inputs: everything that it asked for, and what was reached.
///
/// # Panics
/// When the core does, or asks for what cannot be.
pub fn run(inputs: &[Input]) -> (Vec<Effect>, BTreeSet<Mark>) {
    let voters = [1, 2, 3].map(|node| (member(node, node), Bytes::new()));
    let members = Membership::of_voters(voters).expect("three");
    let mut victim = Victim {
        raft: Raft::bootstrap(config(), identity(1), members).expect("a founder"),
        boot: 1,
        disk: Disk::default(),
        jobs: VecDeque::new(),
        applying: VecDeque::new(),
        handed: Index::ZERO,
        fetches: VecDeque::new(),
        taking: None,
        installing: VecDeque::new(),
        sending: VecDeque::new(),
        mail: VecDeque::new(),
        open: BTreeSet::new(),
        effects: Vec::new(),
        marks: BTreeSet::new(),
    };
    for input in inputs {
        victim.take(input.clone());
        victim.check();
    }
    victim.drain(usize::MAX);
    victim.check();
    (victim.effects, victim.marks)
}

impl Victim {
    /// What is rejected changes nothing: no state, and no effect but the report that a peer is broken.
    fn receive(&mut self, envelope: Envelope) {
        let mut before = self.raft.clone();
        if self.raft.receive(envelope).is_ok() {
            return;
        }
        self.marks.insert(Mark::Rejected);
        let mut after = self.raft.clone();
        // Around every input the role is looked at, also around one that is ignored.
        before.fetched(FetchId(u64::MAX), vec![]);
        assert_eq!(before.status(), after.status());
        let effects = |raft: &mut Raft| -> Vec<Effect> {
            std::iter::from_fn(|| raft.next_effect())
                .filter(|effect| !matches!(effect, Effect::Event(Event::PeerBroken { .. })))
                .collect()
        };
        assert_eq!(effects(&mut before), effects(&mut after));
        assert!(before == after, "a rejected envelope left something behind");
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick(ticks) => self.raft.tick(ticks),
            Input::Receive(envelope) => self.receive(envelope),
            Input::Hear(node, ahead, message) => {
                let from = Sender {
                    member: member(node, node),
                    boot: Boot(1),
                };
                self.receive(Envelope {
                    cluster: CLUSTER,
                    from,
                    to: member(1, 1),
                    term: Term(self.raft.status().term.0.saturating_add(ahead)),
                    message,
                });
            }
            Input::Propose(count, bytes) => {
                let batch = vec![Bytes::from(vec![b'v'; bytes]); count];
                if let Ok(ids) = self.raft.propose(batch) {
                    assert_eq!(ids.count as usize, count);
                    self.open.extend(ids.iter().map(|id| id.number));
                }
            }
            Input::Read => self.open.extend(self.raft.read().map(|read| read.number)),
            Input::Change(steps, at) => {
                let expect = at.unwrap_or_else(|| self.raft.status().membership_at);
                if let Ok(id) = self.raft.change_membership(Change { steps }, expect) {
                    self.marks.insert(Mark::Changed);
                    self.open.insert(id.number);
                }
            }
            Input::Transfer(to) => {
                if self.raft.transfer_leadership(to.map(NodeId)).is_ok() {
                    self.marks.insert(Mark::Transfer);
                }
            }
            Input::Full(full) => self.raft.storage_full(full),
            Input::Drain(count) => self.drain(count),
            Input::Agree(count) => (0..count.min(self.mail.len())).for_each(|_| self.reply(true)),
            Input::Refuse => self.reply(false),
            Input::WrongAnswer(number) => self.answer_wrongly(number),
            Input::Restart(kept) => self.restart(kept),
            answer => self.answer(answer),
        }
    }

    /// The answers that a sound driver gives, if there is anything to answer.
    fn answer(&mut self, answer: Input) {
        match answer {
            Input::Persist(count) => {
                let count = count.min(self.jobs.len());
                let mut last = None;
                for job in self.jobs.drain(..count) {
                    last = Some(job.id);
                    self.disk.write(job);
                }
                if let Some(job) = last {
                    self.raft.persisted(job).expect("handed out");
                }
            }
            Input::Apply(count) => {
                let count = count.min(self.applying.len());
                if let Some(last) = self.applying.drain(..count).next_back() {
                    self.raft.applied(last).expect("handed out");
                }
            }
            Input::Fetched(fetched) => {
                if let Some(job) = self.fetches.pop_front() {
                    let there = self.disk.read(job.from, job.to);
                    let entries = match fetched {
                        Fetched::All => there,
                        Fetched::One => there.into_iter().take(1).collect(),
                        Fetched::Nothing => Vec::new(),
                        Fetched::Lies(entries) => entries,
                    };
                    self.marks.insert(Mark::Fetched);
                    self.raft.fetched(job.id, entries);
                }
            }
            Input::Taken(taken) => {
                if let Some(last) = self.taking.take() {
                    self.raft.snapshot_taken(last, taken).expect("asked for");
                }
            }
            Input::Installed => {
                if let Some(last) = self.installing.pop_front() {
                    self.applying.clear();
                    self.raft.snapshot_installed(last).expect("asked for");
                }
            }
            Input::Sent(sent) => {
                if let Some(id) = self.sending.pop_front() {
                    self.raft.snapshot_sent(id, sent);
                }
            }
            other => panic!("{other:?} is no answer"),
        }
    }

    fn drain(&mut self, count: usize) {
        let mut budget = 10_000;
        for _ in 0..count {
            let Some(effect) = self.raft.next_effect() else {
                return;
            };
            budget -= 1;
            assert!(budget > 0, "there is no end of effects");
            self.note(&effect);
            self.effects.push(effect);
        }
    }

    /// Takes an effect in, and looks whether it is one that can be.
    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Send(envelope) => self.mail.push_back(envelope.clone()),
            Effect::SendSnapshot(envelope) => {
                self.marks.insert(Mark::SentSnapshot);
                if let Message::SnapshotRequest { id, .. } = envelope.message {
                    self.sending.push_back(id);
                }
                self.mail.push_back(envelope.clone());
            }
            Effect::Persist(job) => {
                let before = self.jobs.back().map_or(self.disk.last_job, |job| job.id);
                assert_eq!(job.id, before.next(), "jobs are numbered");
                if job.truncate_from.is_some() {
                    self.marks.insert(Mark::Cut);
                }
                self.jobs.push_back(job.clone());
            }
            Effect::Apply(job) => {
                for entry in &job.entries {
                    assert_eq!(entry.id.index, self.handed.next(), "each entry once");
                    self.handed = entry.id.index;
                }
                self.applying.push_back(self.handed);
            }
            Effect::FetchLog(job) => {
                assert!(job.from <= job.to && job.bytes_max > 0);
                self.fetches.push_back(*job);
            }
            Effect::TakeSnapshot(snapshot) => {
                assert_eq!(snapshot.last.index, self.handed, "of this very state");
                assert_eq!(self.taking, None, "one at a time");
                self.marks.insert(Mark::Took);
                self.taking = Some(snapshot.last);
            }
            Effect::InstallSnapshot(snapshot) => {
                assert!(snapshot.last.index >= self.handed, "it never goes back");
                self.marks.insert(Mark::Installed);
                self.handed = snapshot.last.index;
                self.installing.push_back(snapshot.last);
            }
            Effect::CutLog { up_to } => self.disk.cut(up_to.index),
            Effect::Outcome(id, outcome) => {
                self.end(id.boot, id.number);
                if matches!(outcome, Outcome::Committed(_)) {
                    self.marks.insert(Mark::Committed);
                }
            }
            Effect::ReadReady(id) => {
                self.marks.insert(Mark::Answered);
                self.end(id.boot, id.number);
            }
            Effect::ReadFailed(id) => self.end(id.boot, id.number),
            Effect::Event(Event::Removed { .. }) => {
                self.marks.insert(Mark::Removed);
            }
            _ => {}
        }
    }

    fn end(&mut self, boot: Boot, number: u64) {
        assert_eq!(boot.0, self.boot);
        assert!(self.open.remove(&number), "{number} ends twice");
    }

    fn check(&mut self) {
        let status = self.raft.status();
        if status.role == RoleName::Leader {
            self.marks.insert(Mark::Led);
        }
        assert!(self.raft.ticks_until_deadline() >= 1, "a driver would spin");
        assert!(status.applied <= status.commit && status.commit <= status.last.index);
        assert!(status.open_reads <= 2 * config().reads_max);
    }

    /// The oldest message that is on its way is answered by whoever it is for.
    fn reply(&mut self, granted: bool) {
        let Some(asked) = self.mail.pop_front() else {
            return;
        };
        let message = match asked.message {
            Message::PreVoteRequest { id, .. } => Message::PreVoteResponse { id, granted },
            Message::VoteRequest { id, .. } => Message::VoteResponse { id, granted },
            Message::AppendRequest { id, prev, .. } if !granted => Message::AppendResponse {
                id,
                result: AppendResult::Conflict {
                    prev: prev.index,
                    hint: LogId::ZERO,
                },
            },
            Message::AppendRequest {
                id, prev, entries, ..
            } => Message::AppendResponse {
                id,
                result: AppendResult::Matched(
                    entries.last().map_or(prev.index, |entry| entry.id.index),
                ),
            },
            Message::SnapshotRequest { id, snapshot } => Message::AppendResponse {
                id,
                result: AppendResult::Matched(snapshot.last.index),
            },
            Message::HeartbeatRequest { id, commit } => Message::HeartbeatResponse {
                id,
                matched: if granted { commit } else { Index::ZERO },
                full: false,
            },
            Message::ReadRequest { id } => Message::ReadResponse {
                id,
                index: granted.then(|| self.raft.status().commit),
            },
            _ => return,
        };
        let from = Sender {
            member: asked.to,
            boot: Boot(1),
        };
        let answer = Envelope {
            from,
            to: asked.from.member,
            message,
            ..asked
        };
        let _ = self.raft.receive(answer);
    }

    /// Answers that no driver of sound mind gives: refused, or without effect.
    fn answer_wrongly(&mut self, number: u64) {
        let raft = &mut self.raft;
        let far = number.max(100_000);
        assert!(raft.persisted(JobId(far)).is_err(), "no such job");
        assert!(raft.persisted(JobId(0)).is_err(), "no such job");
        // A snapshot that was made up may reach as far as an index can.
        assert!(
            raft.applied(Index(far)).is_err() || raft.commit() >= Index(far),
            "not handed out"
        );
        let nowhere = LogId::new(far, 1);
        assert!(raft.snapshot_taken(nowhere, true).is_err(), "not asked for");
        assert!(raft.snapshot_installed(nowhere).is_err(), "not asked for");
        let former = RequestId {
            boot: Boot(self.boot + 1),
            number,
        };
        raft.snapshot_sent(former, number.is_multiple_of(2));
        raft.fetched(FetchId(far), Vec::new());
    }

    /// What is on the disk is what a core wrote, and so it can be recovered from, always.
    fn restart(&mut self, kept: usize) {
        let kept = kept.min(self.jobs.len());
        for job in self.jobs.drain(..kept) {
            self.disk.write(job);
        }
        if self.disk.is_empty() {
            return; // Nothing of the founding is there: that is done anew.
        }
        self.boot += 1;
        self.disk.last_job = JobId(0);
        self.handed = self.disk.covered();
        let recovered = self.disk.recovered(identity(self.boot), self.handed);
        self.raft = Raft::recover(config(), recovered).expect("what a core wrote");
        self.jobs.clear();
        self.applying.clear();
        self.fetches.clear();
        self.taking = None;
        self.installing.clear();
        self.sending.clear();
        self.open.clear();
        self.marks.insert(Mark::Restarted);
    }
}
