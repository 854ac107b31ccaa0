//! The process of a node: the loop that owns its replica, as `node::driver` has it, without a runtime.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft_core::{PersistJob, RoleName};
use raft_log::sim_disk::SimDisk;
use raft_log::writer::OwnedBatch;
use raft_log::{Log, Reader};

use super::agenda::Time;
use super::app::{App, Machine};
use super::check::Violation;
use super::marks::Mark;
use super::net::Line;
use super::peers::PeerLink;
use super::random::between;
use super::snapshots::Snapshots;
use super::trace::Happening;
use super::world::{Checked, Event, World};
use crate::glue;
use crate::node::config::TICK;
use crate::node::gate::SharedGate;
use crate::node::inbox::{Context, Heard, Inspection, Own};
use crate::node::replica::{Action, ReadRequest, Replica};
use crate::wire::{self, Transfer};

/// The replica of an application's state machine.
type AppReplica<A> = Replica<Machine<A>, <A as App>::Write, <A as App>::Read>;

/// What has come in since the loop came round last.
pub(super) struct Inbox<A: App> {
    pub(super) own: Vec<Own<Machine<A>>>,
    pub(super) heard: Vec<Heard>,
    pub(super) writes: Vec<(Bytes, A::Write)>,
    pub(super) reads: Vec<ReadRequest<A::Read>>,
    pub(super) statuses: Vec<A::Status>,
}

/// A node's process.
pub(super) struct Process<A: App> {
    pub(super) replica: AppReplica<A>,
    pub(super) log: Log<SimDisk>,
    pub(super) reader: Reader<SimDisk>,
    pub(super) snapshots: Snapshots<Machine<A>>,
    pub(super) gate: SharedGate,
    pub(super) inbox: Inbox<A>,
    pub(super) peers: BTreeMap<Line, PeerLink>,
    /// By the machine's own clock.
    started: Duration,
    ticks: u64,
    round_planned: bool,
    wakes_at: Option<Time>,
    /// What waits for the disk; the first so many are being written.
    pub(super) jobs: VecDeque<OwnedBatch>,
    pub(super) writing: usize,
    pub(super) commits: u64,
    pub(super) full: bool,
    pub(super) rotations: u64,
    pub(super) led: bool,
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
            snapshots: Snapshots::new(&log),
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

    fn feed_own(&mut self, host: usize, event: Own<Machine<A>>) -> Checked {
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
            Own::Snapshot(answer) => return self.feed_snapshots(host, answer),
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
            Heard::Release {
                from,
                boot,
                release,
            } => process.replica.hear_release(from, boot, release),
            Heard::Formation { from, message } => process.replica.receive_formation(from, message),
            Heard::Transfer { from, message } => {
                let again =
                    matches!(message, Transfer::Ready { from, sent, .. } if from > 0 && sent == 0);
                process.replica.receive_transfer(from, message);
                if again {
                    self.hit(Mark::TransferResumed);
                }
            }
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
        // One that was taken in as new may.
        if self.hosts[host].wiped && !self.hosts[host].joins {
            return Err(Violation {
                invariant: "a wiped node is kept out",
                what: format!(
                    "node {} has lost its disk, and takes part again as {}",
                    host + 1,
                    process.replica.identity().member
                ),
            });
        }
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
                let body =
                    wire::encode_formation(&glue::formation_to_wire(message), wire::PROTOCOL_MAX);
                self.send_body(
                    host,
                    Line::ordinary(to),
                    (wire::kind::FORMATION, vec![body]),
                );
            }
            Action::Persist(job) => return self.persist(host, job),
            Action::Fetch(job) => {
                self.hit(Mark::LogFetched);
                let life = self.hosts[host].life;
                let delay = self.disk_time(host);
                self.agenda.plan_in(delay, Event::Fetch { host, life, job });
            }
            Action::Snapshot(action) => self.on_snapshot_action(host, action),
            Action::CutLog { up_to } => return self.purge(host, up_to),
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
            Action::Changed { outcome, .. } => self.changed(outcome),
            Action::Notice(notice) => return self.notice(host, &notice),
            Action::Fatal(why) => return self.fatal(host, why),
        }
        Ok(())
    }

    /// What a node orders to be written waits for its disk.
    fn persist(&mut self, host: usize, job: PersistJob) -> Checked {
        if let Some(raft) = self.hosts[host]
            .process
            .as_ref()
            .and_then(|process| process.replica.raft())
        {
            self.checks.on_job(host, &job, raft)?;
        }
        if job.snapshot.is_some() {
            self.hit(Mark::SnapshotMarked);
        }
        if job.truncate_from.is_some() {
            self.hit(Mark::LogCut);
        }
        let what = Happening::Ordered {
            job: job.id.0,
            hard_state: job.hard_state,
            snapshot: job.snapshot.as_ref().map(|snapshot| snapshot.last),
            cut: job.truncate_from,
            entries: job.entries.clone(),
        };
        if let Some(process) = &mut self.hosts[host].process {
            let cluster = process.replica.identity().cluster;
            let marked = job.snapshot.as_ref().map(|snapshot| snapshot.last);
            let mark = marked.and_then(|last| process.snapshots.shelf.take(last));
            process.jobs.push_back(glue::batch(cluster, job, mark));
        }
        self.note(Some(host), what);
        self.begin_write(host);
        Ok(())
    }

    /// Lets the application answer, with the node's state machine at hand.
    fn answer(
        &mut self,
        host: usize,
        act: impl FnOnce(&mut A, &mut Context<'_, A::Machine>, &mut super::app::Desk<'_, A>),
    ) -> Checked {
        let Some(mut process) = self.hosts[host].process.take() else {
            return Ok(());
        };
        let view = process.replica.view();
        let mut context = Context {
            machine: &mut process.replica.machine_mut().inner,
            view,
        };
        let mut orders = Vec::new();
        let mut desk = super::app::Desk {
            now: self.agenda.now(),
            rng: &mut self.chance.clients,
            last_link: self.net.last_id(),
            orders: &mut orders,
        };
        act(&mut self.app, &mut context, &mut desk);
        self.hosts[host].process = Some(process);
        self.carry_out(&mut orders)
    }
}

pub(super) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}
