//! The process of a node: the loop that owns its replica, as `node::driver` has it, without a runtime.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft_core::{Entry, Envelope, Event as CoreEvent, FetchJob, JobId, NodeId, RoleName};
use raft_log::sim_disk::SimDisk;
use raft_log::writer::OwnedBatch;
use raft_log::{Batch, Log, Reader, Space, WriteError};

use super::agenda::Time;
use super::app::{App, Machine};
use super::check::Violation;
use super::faults::Fault;
use super::marks::Mark;
use super::peers::PeerLink;
use super::random::{between, happens};
use super::trace::Happening;
use super::world::{Checked, Event, World};
use crate::glue;
use crate::node::config::TICK;
use crate::node::disk;
use crate::node::gate::SharedGate;
use crate::node::inbox::{Context, Heard, Inspection, Own};
use crate::node::replica::{Action, Fatal, Notice, ReadRequest, Replica};
use crate::wire;

/// How many jobs one write to the log covers at most.
const GROUP_MAX: usize = 64;
/// How long the log rests before its end is written down, as the writer's thread has it.
const REST: Duration = Duration::from_millis(50);
/// How often a full disk is tried again.
const RETRY_FULL: Duration = Duration::from_millis(500);

/// The replica of an application's state machine.
type AppReplica<A> = Replica<Machine<A>, <A as App>::Write, <A as App>::Read>;

/// What has come in since the loop came round last.
pub(super) struct Inbox<A: App> {
    pub(super) own: Vec<Own>,
    pub(super) heard: Vec<Heard>,
    pub(super) writes: Vec<(Bytes, A::Write)>,
    pub(super) reads: Vec<ReadRequest<A::Read>>,
    pub(super) statuses: Vec<A::Status>,
}

/// A node's process.
pub(super) struct Process<A: App> {
    pub(super) replica: AppReplica<A>,
    log: Log<SimDisk>,
    reader: Reader<SimDisk>,
    pub(super) gate: SharedGate,
    pub(super) inbox: Inbox<A>,
    pub(super) peers: BTreeMap<NodeId, PeerLink>,
    /// By the machine's own clock.
    started: Duration,
    ticks: u64,
    round_planned: bool,
    wakes_at: Option<Time>,
    /// What waits for the disk; the first so many are being written.
    jobs: VecDeque<OwnedBatch>,
    writing: usize,
    commits: u64,
    full: bool,
    rotations: u64,
    led: bool,
}

impl<A: App> Process<A> {
    pub(super) fn new(
        replica: AppReplica<A>,
        log: Log<SimDisk>,
        reader: Reader<SimDisk>,
        gate: SharedGate,
        started: Duration,
    ) -> Self {
        Self {
            replica,
            log,
            reader,
            gate,
            inbox: Inbox {
                own: Vec::new(),
                heard: Vec::new(),
                writes: Vec::new(),
                reads: Vec::new(),
                statuses: Vec::new(),
            },
            peers: BTreeMap::new(),
            started,
            ticks: 0,
            round_planned: false,
            wakes_at: None,
            jobs: VecDeque::new(),
            writing: 0,
            commits: 0,
            full: false,
            rotations: 0,
            led: false,
        }
    }

    /// Whether something is on its way to the disk.
    pub(super) fn is_writing(&self) -> bool {
        self.writing > 0
    }

    /// Whether damage to any part of its log would be told from a torn write.
    pub(super) fn is_settled(&self) -> bool {
        self.log.is_settled() && self.jobs.is_empty()
    }

    pub(super) fn leads(&self) -> bool {
        self.replica.view().role == RoleName::Leader
    }
}

impl<A: App> World<A> {
    /// The loop has something to do; it comes round soon.
    pub(super) fn plan_round(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        let life = machine.life;
        let Some(process) = &mut machine.process else {
            return;
        };
        if std::mem::replace(&mut process.round_planned, true) {
            return;
        }
        let most = Duration::from_micros(100);
        let delay = between(&mut self.chance.looping, Duration::ZERO, most);
        self.agenda.plan_in(delay, Event::Round { host, life });
    }

    pub(super) fn woken(&mut self, host: usize, life: u64) {
        let now = self.now();
        if let Some(process) = self.process(host, life)
            && process.wakes_at.is_some_and(|at| at <= now)
        {
            process.wakes_at = None;
            self.plan_round(host);
        }
    }

    /// Feeds what has come in, and then the time, and carries out what is to be done.
    pub(super) fn round(&mut self, host: usize, life: u64) -> Checked {
        let now = self.now();
        let local = self.hosts[host].clock.local(now);
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        process.round_planned = false;
        let own = std::mem::take(&mut process.inbox.own);
        let heard = std::mem::take(&mut process.inbox.heard);
        let writes = std::mem::take(&mut process.inbox.writes);
        let reads = std::mem::take(&mut process.inbox.reads);
        let statuses = std::mem::take(&mut process.inbox.statuses);
        for event in own {
            self.feed_own(host, event)?;
        }
        for heard in heard {
            self.feed_heard(host, heard);
        }
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        process.replica.write(writes);
        process.replica.read(reads);
        let ticks = ticks(local.saturating_sub(process.started));
        let elapsed = ticks.saturating_sub(process.ticks);
        if elapsed > 0 {
            process.ticks = ticks;
            process
                .replica
                .tick(u32::try_from(elapsed).unwrap_or(u32::MAX));
        }
        for ticket in statuses {
            self.inspect(host, ticket)?;
        }
        self.act(host)
    }

    fn feed_own(&mut self, host: usize, event: Own) -> Checked {
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        match event {
            Own::Durable(job) => process.replica.persisted(job),
            Own::Full(full) => {
                process.replica.storage_full(full);
                if !full {
                    self.hit(Mark::DiskFull);
                }
            }
            Own::LogFailed(why) => return self.fails(host, &why),
            Own::Fetched { id, entries } => process.replica.fetched(id, entries),
            Own::Stop => {}
        }
        Ok(())
    }

    fn feed_heard(&mut self, host: usize, heard: Heard) {
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        match heard {
            Heard::Envelope(envelope) => {
                let old = process.replica.view().term > envelope.term;
                process.replica.receive(envelope.clone());
                if old {
                    self.hit(Mark::OldTerm);
                }
                self.note(Some(host), Happening::Received(envelope));
            }
            Heard::Formation { from, message } => process.replica.receive_formation(from, message),
        }
    }

    fn inspect(&mut self, host: usize, ticket: A::Status) -> Checked {
        let Some(process) = self.hosts[host].process.take() else {
            return Ok(());
        };
        let inspection = Inspection {
            replica: &process.replica,
            counters: process.reader.counters(),
            troubles: Vec::new(),
        };
        let result = self.with_app(|app, desk| app.inspected(&inspection, ticket, desk));
        self.hosts[host].process = Some(process);
        result
    }

    /// Carries out all that a node's replica wants done, and checks how it stands then.
    pub(super) fn act(&mut self, host: usize) -> Checked {
        while let Some(process) = &mut self.hosts[host].process {
            let Some(action) = process.replica.next_action() else {
                break;
            };
            self.carry_out_action(host, action)?;
        }
        self.stand(host)?;
        self.applied(host)?;
        self.plan_wake(host);
        Ok(())
    }

    /// What the state machine has applied since it was last asked.
    fn applied(&mut self, host: usize) -> Checked {
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        let fresh = std::mem::take(&mut process.replica.machine_mut().fresh);
        let Some(last) = fresh.last() else {
            return Ok(());
        };
        let index = last.at.index;
        self.checks.on_applied(host, &fresh)?;
        self.note(Some(host), Happening::Applied { index });
        Ok(())
    }

    /// Checks how a node stands.
    fn stand(&mut self, host: usize) -> Checked {
        let Some(process) = &self.hosts[host].process else {
            return Ok(());
        };
        let Some(raft) = process.replica.raft() else {
            return Ok(());
        };
        let before = self.checks.commit(host);
        let commit = raft.commit();
        self.checks
            .on_step(host, raft, process.replica.view().applied)?;
        if commit > before {
            self.note(Some(host), Happening::Committed { index: commit });
        }
        Ok(())
    }

    /// The machine's clock has changed.
    pub(super) fn rewake(&mut self, host: usize) {
        if let Some(process) = &mut self.hosts[host].process {
            process.wakes_at = None;
            self.plan_wake(host);
        }
    }

    fn plan_wake(&mut self, host: usize) {
        let now = self.now();
        let sleep_max = ticks(self.setup.tuning.heartbeat) / 2;
        let machine = &mut self.hosts[host];
        let life = machine.life;
        let Some(process) = &mut machine.process else {
            return;
        };
        let sleep = u64::from(process.replica.ticks_until_deadline()).clamp(1, sleep_max.max(1));
        let local =
            process.started + TICK * u32::try_from(process.ticks + sleep).unwrap_or(u32::MAX);
        let at = machine.clock.virtual_time(local).max(now);
        if process.wakes_at.is_none_or(|planned| at < planned) {
            process.wakes_at = Some(at);
            self.agenda.plan(at, Event::Wake { host, life });
        }
    }

    fn carry_out_action(
        &mut self,
        host: usize,
        action: Action<super::app::Output<A>, A::Write, A::Read>,
    ) -> Checked {
        match action {
            Action::Send(envelope) => return self.send(host, envelope),
            Action::SendFormation { to, message } => {
                let body = wire::encode_formation(&glue::formation_to_wire(message));
                self.send_frame(host, to, wire::kind::FORMATION, vec![body]);
            }
            Action::Persist(job) => {
                self.checks.on_job(host, &job)?;
                if job.truncate_from.is_some() {
                    self.hit(Mark::LogCut);
                }
                let what = Happening::Ordered {
                    job: job.id.0,
                    hard_state: job.hard_state,
                    cut: job.truncate_from,
                    entries: job.entries.iter().map(|entry: &Entry| entry.id).collect(),
                };
                if let Some(process) = &mut self.hosts[host].process {
                    let cluster = process.replica.identity().cluster;
                    process.jobs.push_back(glue::batch(cluster, job));
                }
                self.note(Some(host), what);
                self.begin_write(host);
            }
            Action::Fetch(job) => {
                self.hit(Mark::LogFetched);
                let life = self.hosts[host].life;
                let delay = self.disk_time(host);
                self.agenda.plan_in(delay, Event::Fetch { host, life, job });
            }
            Action::Peers(nodes) => self.update_peers(host, nodes),
            Action::Written { ticket, at, output } => {
                return self.answer(host, |app, context, desk| {
                    app.written(context, ticket, Ok((at, output)), desk);
                });
            }
            Action::WriteFailed { ticket, why } => {
                if why
                    == crate::node::replica::WriteFailure::Not(crate::node::replica::NotDone::Busy)
                {
                    self.hit(Mark::Busy);
                }
                return self.answer(host, |app, context, desk| {
                    app.written(context, ticket, Err(why), desk);
                });
            }
            Action::ReadReady(ticket) => {
                return self.answer(host, |app, context, desk| {
                    app.read(context, ticket, Ok(()), desk);
                });
            }
            Action::ReadFailed { ticket, why } => {
                return self.answer(host, |app, context, desk| {
                    app.read(context, ticket, Err(why), desk);
                });
            }
            Action::Notice(notice) => return self.notice(host, &notice),
            Action::Fatal(why) => return self.fatal(host, why),
        }
        Ok(())
    }

    /// Lets the application answer, with the node's state machine at hand.
    fn answer(
        &mut self,
        host: usize,
        act: impl FnOnce(&mut A, &Context<'_, A::Machine>, &mut super::app::Desk<'_, A>),
    ) -> Checked {
        let Some(process) = self.hosts[host].process.take() else {
            return Ok(());
        };
        let context = Context {
            machine: &process.replica.machine().inner,
            view: process.replica.view(),
        };
        let mut orders = Vec::new();
        let mut desk = super::app::Desk {
            now: self.agenda.now(),
            rng: &mut self.chance.clients,
            last_link: self.net.last_id(),
            orders: &mut orders,
        };
        act(&mut self.app, &context, &mut desk);
        self.hosts[host].process = Some(process);
        self.carry_out(&mut orders)
    }

    fn notice(&mut self, host: usize, notice: &Notice) -> Checked {
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        process.gate.0.update(process.replica.identity(), None);
        match notice {
            Notice::Core(CoreEvent::RoleChanged { term, role, .. }) => {
                let leads = *role == RoleName::Leader;
                let led = std::mem::replace(&mut process.led, leads);
                let deposed = led && !leads && process.replica.open_tickets() > 0;
                let member = process.replica.identity().member;
                let (role, term) = (*role, *term);
                if leads && !led {
                    if let Some(raft) = process.replica.raft() {
                        self.checks.on_leader(host, member, raft)?;
                    }
                    self.marks.hit(Mark::Election);
                }
                if deposed {
                    self.hit(Mark::LeaderDeposed);
                }
                self.note(Some(host), Happening::Role { role, term });
            }
            Notice::Core(CoreEvent::DiskStalled { .. }) => self.hit(Mark::StalledLeader),
            Notice::Core(CoreEvent::Paused { elapsed_ticks }) => {
                let timeout = ticks(self.setup.tuning.election_timeout);
                if u64::from(*elapsed_ticks) > timeout {
                    self.hit(Mark::LongPause);
                }
            }
            Notice::Wiped { .. } => self.hit(Mark::WipedKeptOut),
            _ => {}
        }
        Ok(())
    }

    /// A node says that it cannot go on. Only one whose disk was wiped may.
    fn fatal(&mut self, host: usize, why: Fatal) -> Checked {
        let why_text = why.to_string();
        self.end_process(host, &why_text);
        if self.hosts[host].wiped && matches!(why, Fatal::Formation(_)) {
            self.hit(Mark::WipedKeptOut);
            self.hosts[host].given_up = true;
            return Ok(());
        }
        Err(Violation {
            invariant: "a node goes on",
            what: format!("node {} stops: {why_text}", host + 1),
        })
    }

    // ---- the disk ----

    /// How long the disk takes for what it is given now.
    fn disk_time(&mut self, host: usize) -> Duration {
        let (least, most) = self.setup.tuning.write;
        let machine = &self.hosts[host];
        let wait = machine.stalled_until.saturating_sub(self.agenda.now());
        wait + between(&mut self.chance.disk, least, most) * machine.slow
    }

    /// Gives the disk what waits, if it is free: all of it is one write.
    pub(super) fn begin_write(&mut self, host: usize) {
        let life = self.hosts[host].life;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        if process.writing > 0 || process.jobs.is_empty() || process.full {
            return;
        }
        process.writing = process.jobs.len().min(GROUP_MAX);
        let delay = self.disk_time(host);
        self.agenda.plan_in(delay, Event::Commit { host, life });
    }

    /// The disk writes and syncs. What it was given is on it now, or the power has gone, or it has failed.
    pub(super) fn commit(&mut self, host: usize, life: u64) -> Checked {
        let now = self.now();
        let stalled = self.hosts[host].stalled_until;
        if self.process(host, life).is_some() && stalled > now {
            self.agenda.plan(stalled, Event::Commit { host, life });
            return Ok(());
        }
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        let member = process.replica.identity().member;
        let units: Vec<OwnedBatch> = process.jobs.drain(..process.writing).collect();
        process.writing = 0;
        let Some(last) = units.last().map(|unit| unit.job) else {
            return Ok(());
        };
        let mut batch = Batch::new();
        for unit in &units {
            unit.add_to(&mut batch);
        }
        if units.iter().all(|unit| unit.records.is_empty()) {
            batch.use_reserve();
        }
        match process.log.commit(&batch) {
            Ok(()) => {
                process.commits += 1;
                let full = process.log.space() == Space::Full;
                let changed = full != process.full;
                let commits = process.commits;
                let rotations = process.reader.counters().rotations;
                let turned = std::mem::replace(&mut process.rotations, rotations) != rotations;
                process.full = false;
                process.inbox.own.push(Own::Durable(JobId(last)));
                if changed {
                    process.inbox.own.push(Own::Full(full));
                }
                drop(batch);
                if units.len() > 1 {
                    self.hit(Mark::GroupCommit);
                }
                if turned {
                    self.hit(Mark::SegmentChanged);
                }
                self.checks.on_durable(host, member, last)?;
                self.note(Some(host), Happening::Durable { job: last });
                self.agenda.plan_in(
                    REST,
                    Event::Rest {
                        host,
                        life,
                        commits,
                    },
                );
                self.plan_round(host);
                self.begin_write(host);
                Ok(())
            }
            Err(WriteError::Full { .. }) => {
                drop(batch);
                let told = std::mem::replace(&mut process.full, true);
                for unit in units.into_iter().rev() {
                    process.jobs.push_front(unit);
                }
                if !told {
                    process.inbox.own.push(Own::Full(true));
                }
                let commits = process.commits;
                self.agenda.plan_in(
                    RETRY_FULL,
                    Event::Rest {
                        host,
                        life,
                        commits,
                    },
                );
                self.plan_round(host);
                Ok(())
            }
            Err(error) => {
                drop(batch);
                let why = error.to_string();
                self.write_failed(host, &why)
            }
        }
    }

    /// A write has failed: because the power went, or because the disk did.
    fn write_failed(&mut self, host: usize, why: &str) -> Checked {
        if why.contains("power loss") {
            self.hit(Mark::CrashInWrite);
            self.power_off(host);
            return Ok(());
        }
        self.fails(host, why)
    }

    pub(super) fn fetch(&mut self, host: usize, life: u64, job: FetchJob) -> Checked {
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        match disk::fetch(&process.reader, job) {
            Ok(entries) => {
                process.inbox.own.push(Own::Fetched {
                    id: job.id,
                    entries,
                });
                self.plan_round(host);
                Ok(())
            }
            Err(why) => self.write_failed(host, &why),
        }
    }

    /// The disk has rested: the log writes down where it ends; and a full disk is tried again.
    pub(super) fn rest(&mut self, host: usize, life: u64, commits: u64) -> Checked {
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        if process.commits != commits || process.writing > 0 {
            return Ok(());
        }
        // Also what failed beside the commits is told here.
        if let Err(error) = process.log.settle() {
            let why = error.to_string();
            return self.write_failed(host, &why);
        }
        if process.log.space() == Space::Full || process.full {
            process.log.retry_space();
            if process.log.space() == Space::Ready {
                process.inbox.own.push(Own::Full(false));
            }
            // A vote, which the reserve has room for, is tried in any case.
            process.full = false;
            self.agenda.plan_in(
                RETRY_FULL,
                Event::Rest {
                    host,
                    life,
                    commits,
                },
            );
            self.plan_round(host);
            self.begin_write(host);
        }
        Ok(())
    }

    // ---- what it says ----

    fn send(&mut self, host: usize, envelope: Envelope) -> Checked {
        self.checks.on_send(host, &envelope)?;
        if let raft_core::Message::AppendResponse {
            result: raft_core::AppendResult::Conflict { .. },
            ..
        } = envelope.message
        {
            self.hit(Mark::Conflict);
        }
        let to = envelope.to.node;
        let body = wire::encode_envelope(&envelope);
        self.note(Some(host), Happening::Sent(envelope));
        let net = &mut self.chance.net;
        let (lost, twice, late) = (
            happens(net, self.loss),
            happens(net, self.duplicate),
            happens(net, self.reorder),
        );
        let delay = between(net, Duration::ZERO, self.setup.tuning.election_timeout / 4);
        if self.setup.faults.has(Fault::Replay) && happens(net, 20_000) && self.recorded.len() < 64
        {
            self.recorded.push((host, to, body.clone()));
        }
        if lost {
            return Ok(());
        }
        let life = self.hosts[host].life;
        if twice {
            let body = body.clone();
            self.agenda.plan_in(
                delay / 2,
                Event::Late {
                    host,
                    life,
                    to,
                    body,
                },
            );
        }
        if late {
            self.agenda.plan_in(
                delay,
                Event::Late {
                    host,
                    life,
                    to,
                    body,
                },
            );
        } else {
            self.send_frame(host, to, wire::kind::ENVELOPE, body);
        }
        Ok(())
    }

    pub(super) fn send_late(&mut self, host: usize, life: u64, to: NodeId, body: Vec<Bytes>) {
        if self.process(host, life).is_some() {
            self.send_frame(host, to, wire::kind::ENVELOPE, body);
        }
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}
