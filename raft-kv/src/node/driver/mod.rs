//! The loop that owns a node's replica: takes everything that has come in, feeds it, and only then carries out what is to
//! be done about it; so one job for the log, one append to each peer and one round of reads cover all of it.
//!
//! Guards: the loop waits for nothing but its inbox and its clock. Sending drops, writing and reading are other threads'.

mod close;
mod condition;
mod log;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use raft_core::{FetchJob, JobId, Outcome, ProposalId, RoleName};
use raft_log::writer::{OwnedBatch, SubmitError, Writer};
use raft_log::{OsFiles, Reader};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::StateMachine;
use super::accept::Front;
use super::config::TICK;
use super::exit::Exit;
use super::gate::Gate;
use super::inbox::{
    Arrivals, Changed, Context, FromPeer, Heard, Inspection, Own, Plan, ReadTicket, Request,
    WriteTicket,
};
use super::peers::{self, Peers};
use super::replica::{Action, NotDone, Notice, ReadFailure, Replica, SnapshotAction, WriteFailure};
use super::seed;
use super::snapshot::shelf::Shelf;
use super::snapshot::threads::SnapshotThreads;
use super::snapshot::worker::Task;
use crate::glue;
use close::{CLOSE_MAX, close_within};
use condition::Condition;

/// How many waiting items of each kind one round takes.
const ROUND_MAX: usize = 1024;
/// How many bytes of jobs may wait for the disk before requests have to wait. Peers go on: what they may send unanswered is
/// bounded by the core, and a node that does not listen to its leader would campaign against it. Small enough for a slow disk
/// to write it well before the core takes it for one that hangs.
const BACKLOG_BYTES_MAX: usize = 16 << 20;
/// How long one round makes answers to long reads, though always at least one. A heartbeat that is due then is late by no
/// more than this and one answer.
const LONG_READS_TIME: Duration = Duration::from_millis(2);
/// How long open requests may still be answered once the node is told to stop.
const STOP_GRACE: Duration = Duration::from_millis(300);

/// What the loop works with.
pub(crate) struct Parts<S: StateMachine, F: Front<S>> {
    pub(crate) replica: Replica<S, F::Write, F::Read>,
    pub(crate) arrivals: Arrivals<S, F::Write, F::Read>,
    pub(crate) front: Arc<F>,
    pub(crate) peers: Peers,
    pub(crate) gate: Arc<Gate>,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) fetches: mpsc::Sender<FetchJob>,
    pub(crate) snapshots: SnapshotThreads<S>,
    /// The directory whose seed goes once the cluster is formed, if it is being restored.
    pub(crate) seed_in: Option<PathBuf>,
    /// The loop looks around at least this often: well within a heartbeat, beyond which the core takes the process for one
    /// that stood still.
    pub(crate) sleep_max_ticks: u32,
    /// How long a leader that was told to stop tries to hand over.
    pub(crate) handover_max: Duration,
    /// Accepts connections, and so keeps the inbox open; ends with the loop.
    pub(crate) acceptor: JoinHandle<()>,
}

/// What has come in since the last round.
struct Round<S: StateMachine, W, R> {
    own: Vec<Own<S>>,
    peers: Vec<FromPeer>,
    requests: Vec<Request<S, W, R>>,
}

pub(crate) struct Driver<S: StateMachine, F: Front<S>> {
    parts: Parts<S, F>,
    round: Round<S, F::Write, F::Read>,
    started: Instant,
    /// Ticks since then that the replica knows of.
    ticks: u64,
    /// Jobs that are not durable: number and bytes.
    under_way: VecDeque<(JobId, usize)>,
    backlog_bytes: usize,
    /// Jobs that the writer's queue had no room for, in order.
    waiting: VecDeque<OwnedBatch>,
    /// Reads that may be answered, and take long, in order.
    long_reads: VecDeque<F::Read>,
    /// Whether the front has more to do than one round had time for.
    front_is_busy: bool,
    condition: Condition,
    /// Snapshots that the log is still to mark.
    shelf: Shelf,
    /// Who waits for a change of the membership.
    changes: BTreeMap<ProposalId, oneshot::Sender<Changed>>,
    /// Whether the lead is to go to another node before it stops.
    hands_over: bool,
    /// Once the node is told to stop: until when open requests may be answered.
    stopping: Option<Instant>,
}

impl<S: StateMachine, F: Front<S>> Driver<S, F> {
    pub(crate) fn new(parts: Parts<S, F>) -> Self {
        Self {
            parts,
            round: Round {
                own: Vec::new(),
                peers: Vec::new(),
                requests: Vec::new(),
            },
            started: Instant::now(),
            ticks: 0,
            under_way: VecDeque::new(),
            backlog_bytes: 0,
            waiting: VecDeque::new(),
            long_reads: VecDeque::new(),
            front_is_busy: false,
            condition: Condition::default(),
            shelf: Shelf::default(),
            changes: BTreeMap::new(),
            hands_over: false,
            stopping: None,
        }
    }

    /// Runs until the node is told to stop, or cannot go on.
    pub(crate) async fn run(mut self) -> Exit {
        // What there is to do before anything comes in: addresses to dial, a log to apply.
        let mut exit = self.act();
        while exit.is_none() {
            self.wait().await;
            exit = self
                .feed()
                .or_else(|| self.act())
                .or_else(|| self.finished());
        }
        let exit = exit.unwrap_or(Exit::Stopped);
        // Whoever still waits hears that nobody knows.
        self.parts.replica.stop();
        while let Some(action) = self.parts.replica.next_action() {
            let _ = self.carry_out(action);
        }
        for ticket in std::mem::take(&mut self.long_reads) {
            ticket.done(&mut self.context(), Err(ReadFailure(NotDone::Stopping)));
        }
        self.parts.acceptor.abort();
        match exit {
            Exit::Stopped => self.close().await,
            failed => {
                // Dropping the writer waits for its thread, and that may hang in a disk that failed.
                std::thread::spawn(move || drop(self.parts.writer));
                failed
            }
        }
    }

    /// Waits until there is something to do, and takes all that has come in.
    async fn wait(&mut self) {
        let wake = self.wakes_at();
        // Requests wait for a disk that lags; but who does not lead has nothing to write, and says so.
        let leads = self.parts.replica.view().role == RoleName::Leader;
        let takes_requests = !leads || self.backlog_bytes < BACKLOG_BYTES_MAX;
        let Round {
            own,
            peers,
            requests,
        } = &mut self.round;
        let arrivals = &mut self.parts.arrivals;
        tokio::select! {
            biased;
            _ = arrivals.own.recv_many(own, ROUND_MAX) => {}
            _ = arrivals.peers.recv_many(peers, ROUND_MAX) => {}
            _ = arrivals.requests.recv_many(requests, ROUND_MAX), if takes_requests => {}
            // Nothing has come in: on with what was left.
            () = yield_now(), if !self.long_reads.is_empty() || self.front_is_busy => {}
            () = sleep_until(wake) => {}
        }
        while own.len() < ROUND_MAX
            && let Ok(event) = arrivals.own.try_recv()
        {
            own.push(event);
        }
        while peers.len() < ROUND_MAX
            && let Ok(event) = arrivals.peers.try_recv()
        {
            peers.push(event);
        }
        while takes_requests
            && requests.len() < ROUND_MAX
            && let Ok(request) = arrivals.requests.try_recv()
        {
            requests.push(request);
        }
    }

    fn wakes_at(&self) -> Instant {
        let ticks = self
            .parts
            .replica
            .ticks_until_deadline()
            .clamp(1, self.parts.sleep_max_ticks);
        let at = self.started + tick_times(self.ticks + u64::from(ticks));
        self.stopping.map_or(at, |until| at.min(until))
    }

    /// Feeds what has come in, and then the time: a node that was paused first hears what it missed.
    fn feed(&mut self) -> Option<Exit> {
        for event in std::mem::take(&mut self.round.own) {
            match event {
                Own::Durable(job) => {
                    self.on_durable(job);
                    if let Err(exit) = self.submit() {
                        return Some(exit);
                    }
                }
                Own::Full(full) => {
                    self.condition.full(full);
                    self.parts.replica.storage_full(full);
                }
                Own::LogFailed(why) => return Some(Exit::Log(why)),
                Own::Fetched { id, entries } => self.parts.replica.fetched(id, entries),
                Own::Snapshot(answer) => {
                    match answer.reach(&mut self.parts.replica, &mut self.shelf) {
                        Ok(None) => {}
                        Ok(Some(before)) => self.parts.snapshots.employ(Task::Forget(before)),
                        Err(why) => return Some(Exit::Snapshot(why)),
                    }
                }
                Own::Stop => self.begin_to_stop(),
            }
        }
        for FromPeer { heard, _held } in std::mem::take(&mut self.round.peers) {
            match heard {
                Heard::Envelope(envelope) => self.parts.replica.receive(envelope),
                Heard::Formation { from, message } => {
                    self.parts.replica.receive_formation(from, message);
                }
                Heard::Transfer { from, message } => {
                    self.parts.replica.receive_transfer(from, message);
                }
                Heard::Release {
                    from,
                    boot,
                    release,
                } => self.parts.replica.hear_release(from, boot, release),
            }
        }
        self.feed_requests();
        let ticks = u64::try_from(self.started.elapsed().as_millis() / TICK.as_millis())
            .unwrap_or(u64::MAX);
        let elapsed = ticks.saturating_sub(self.ticks);
        if elapsed > 0 {
            self.ticks = ticks;
            self.condition
                .waits_for(self.parts.replica.waits_for(), ticks);
            self.parts
                .replica
                .tick(u32::try_from(elapsed).unwrap_or(u32::MAX));
        }
        None
    }

    /// All writes of a round go in as one batch, and all reads as another.
    fn feed_requests(&mut self) {
        let mut all_writes = Vec::new();
        let mut all_reads = Vec::new();
        for request in std::mem::take(&mut self.round.requests) {
            match request {
                Request::Batch {
                    mut writes,
                    mut reads,
                } => {
                    all_writes.append(&mut writes);
                    all_reads.append(&mut reads);
                }
                Request::Inspect(inspect) => inspect(&Inspection {
                    replica: &self.parts.replica,
                    counters: self.parts.reader.counters(),
                    troubles: self
                        .condition
                        .troubles()
                        .chain(self.peer_troubles())
                        .collect(),
                }),
                Request::Change {
                    plan,
                    newcomer,
                    answer,
                } => {
                    if let Some((member, boot, release)) = newcomer {
                        self.parts.replica.hear_release(member, boot, release);
                    }
                    self.change(plan, answer);
                }
                Request::Transfer { to, answer } => {
                    let _ = answer.send(self.parts.replica.transfer_leadership(to));
                }
                Request::Dial(answer) => drop(answer.send(self.parts.peers.stranger_dial())),
            }
        }
        if self.stopping.is_none() {
            self.parts.replica.write(all_writes);
            self.parts.replica.read(all_reads);
            return;
        }
        let mut context = self.context();
        for (_, ticket) in all_writes {
            ticket.done(&context, Err(WriteFailure::Not(NotDone::Stopping)));
        }
        for request in all_reads {
            request
                .ticket
                .done(&mut context, Err(ReadFailure(NotDone::Stopping)));
        }
    }

    /// Changes the membership as planned on the one in force.
    fn change(&mut self, plan: Plan, answer: oneshot::Sender<Changed>) {
        let replica = &mut self.parts.replica;
        let leader = replica.leader();
        let done = match replica.status() {
            Some(status) if status.role == RoleName::Leader => {
                if status.membership.is_joint()
                    || !status.membership_committed
                    || replica.is_raising()
                {
                    Changed::InFlux
                } else {
                    match plan(&status) {
                        Err(why) => Changed::Not(NotDone::Refused(why)),
                        Ok(None) => Changed::Done {
                            changed: false,
                            status: Box::new(status),
                        },
                        Ok(Some(change)) => {
                            match replica.change_membership(change, status.membership_at) {
                                Ok(id) => return drop(self.changes.insert(id, answer)),
                                Err(why) => Changed::Not(why),
                            }
                        }
                    }
                }
            }
            Some(_) => Changed::Not(NotDone::NotLeader { leader }),
            None => Changed::Not(NotDone::NotFormed(replica.waits_for().unwrap_or_default())),
        };
        let _ = answer.send(done);
    }

    /// What is wrong with the other members. A former one may be gone for good.
    fn peer_troubles(&self) -> Vec<String> {
        let replica = &self.parts.replica;
        let known = |node| {
            let member = replica.raft()?.membership().member(node)?;
            Some(member.incarnation)
        };
        let matters = |node| replica.raft().is_none() || known(node).is_some();
        let mut troubles = self.parts.peers.troubles(matters, known);
        for member in replica.wiped() {
            let trouble = peers::wiped(member.node);
            if !troubles.contains(&trouble) {
                troubles.push(trouble);
            }
        }
        troubles
    }

    fn on_durable(&mut self, job: JobId) {
        while let Some(&(id, bytes)) = self.under_way.front()
            && id <= job
        {
            self.under_way.pop_front();
            self.backlog_bytes -= bytes;
        }
        self.parts.replica.persisted(job);
    }

    /// Carries out all that is to be done.
    fn act(&mut self) -> Option<Exit> {
        while let Some(action) = self.parts.replica.next_action() {
            if let Err(exit) = self.carry_out(action) {
                return Some(exit);
            }
        }
        self.answer_long_reads();
        let front = self.parts.front.clone();
        self.front_is_busy = front.observe(&self.context());
        None
    }

    /// Answers as many as there is time for in one round; the rest in the next, when the loop has looked around. The state is
    /// newer then, which is as good.
    fn answer_long_reads(&mut self) {
        let until = Instant::now() + LONG_READS_TIME;
        while let Some(ticket) = self.long_reads.pop_front() {
            ticket.done(&mut self.context(), Ok(()));
            if Instant::now() >= until {
                break;
            }
        }
    }

    fn context(&mut self) -> Context<'_, S> {
        let view = self.parts.replica.view();
        Context {
            machine: self.parts.replica.machine_mut(),
            view,
        }
    }

    fn carry_out(&mut self, action: Action<S::Output, F::Write, F::Read>) -> Result<(), Exit> {
        match action {
            Action::Send(envelope) => self.parts.peers.send(&envelope),
            Action::SendFormation { to, message } => self.parts.peers.send_formation(to, message),
            Action::Persist(job) => {
                let id = job.id;
                let bytes = job.entries.iter().map(raft_core::Entry::len_bytes).sum();
                self.under_way.push_back((id, bytes));
                self.backlog_bytes += bytes;
                let cluster = self.parts.replica.identity().cluster;
                let marked = job.snapshot.as_ref().map(|snapshot| snapshot.last);
                let mark = marked.and_then(|last| self.shelf.take(last));
                self.waiting.push_back(glue::batch(cluster, job, mark));
                self.submit()?;
            }
            Action::Fetch(job) => {
                let gone = |_| Exit::Log("the thread that reads the log has ended".into());
                self.parts.fetches.send(job).map_err(gone)?;
            }
            Action::Snapshot(action) => self.on_snapshot_action(action),
            // One that is not purged now goes with the next.
            Action::CutLog { up_to } => drop(self.parts.writer.purge(up_to.0)),
            Action::Peers(nodes) => {
                self.parts
                    .gate
                    .update(self.parts.replica.identity(), Some(nodes.clone()));
                // The settings were checked at the start; only they could be wrong.
                if let Err(error) = self.parts.peers.update(&nodes) {
                    tracing::error!(%error, "peers cannot be dialled");
                }
            }
            Action::Written { ticket, at, output } => {
                ticket.done(&self.context(), Ok((at, output)));
            }
            Action::WriteFailed { ticket, why } => ticket.done(&self.context(), Err(why)),
            Action::ReadReady(ticket) if ticket.is_long() => self.long_reads.push_back(ticket),
            Action::ReadReady(ticket) => ticket.done(&mut self.context(), Ok(())),
            Action::ReadFailed { ticket, why } => ticket.done(&mut self.context(), Err(why)),
            Action::Changed { id, outcome } => {
                if let Some(answer) = self.changes.remove(&id) {
                    let _ = answer.send(match (outcome, self.parts.replica.status()) {
                        (Outcome::Committed(_), Some(status)) => Changed::Done {
                            changed: true,
                            status: Box::new(status),
                        },
                        _ => Changed::Unknown,
                    });
                }
            }
            Action::Notice(notice) => {
                self.parts.gate.update(self.parts.replica.identity(), None);
                log::notice(&notice);
                if let Notice::Formed { .. } = notice
                    && let Some(dir) = self.parts.seed_in.take()
                {
                    // What is large may take long to remove.
                    std::thread::spawn(move || seed::remove(&OsFiles, &dir));
                }
            }
            Action::Fatal(why) => return Err(Exit::Fatal(why)),
        }
        Ok(())
    }

    fn on_snapshot_action(&mut self, action: SnapshotAction) {
        match action {
            SnapshotAction::Do(job) => self.parts.snapshots.employ(Task::Do(job)),
            SnapshotAction::Restore { file } => {
                let machine = self.parts.replica.machine().empty();
                let task = Task::Restore { file, machine };
                self.parts.snapshots.employ(task);
            }
            SnapshotAction::Send { to, message } => self.parts.peers.send_transfer(to, &message),
            SnapshotAction::Sent { to } => self.parts.peers.end_transfer(to),
        }
    }

    /// Hands jobs to the writer for as long as it has room. What is left goes when a job has become durable.
    fn submit(&mut self) -> Result<(), Exit> {
        while let Some(batch) = self.waiting.pop_front() {
            match self.parts.writer.try_submit(batch) {
                Ok(()) => {}
                Err(SubmitError::QueueFull(batch)) => {
                    self.waiting.push_front(batch);
                    break;
                }
                // It ends by itself only when it fails, and says why through the inbox: that ends the loop. Until then nothing
                // becomes durable, and so nothing is acknowledged.
                Err(SubmitError::Closed(batch)) => {
                    self.waiting.push_front(batch);
                    break;
                }
                Err(error) => return Err(Exit::Log(error.to_string())),
            }
        }
        Ok(())
    }

    /// Open requests are answered, and a leader hands over first: its followers need not wait for an election timeout to notice that it
    /// is gone.
    fn begin_to_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let hands_over = self.parts.replica.view().role == RoleName::Leader
            && self.parts.replica.transfer_leadership(None).is_ok();
        let grace = if hands_over {
            STOP_GRACE.max(self.parts.handover_max)
        } else {
            STOP_GRACE
        };
        self.hands_over = hands_over;
        self.stopping = Some(Instant::now() + grace);
    }

    /// Whether the node was told to stop and nothing is left to be answered, nor to be handed over; or no time.
    fn finished(&self) -> Option<Exit> {
        let until = self.stopping?;
        let open = self.parts.replica.open_tickets() + self.long_reads.len();
        let leads = self.hands_over && self.parts.replica.view().role == RoleName::Leader;
        let done = (open == 0 && !leads) || Instant::now() >= until;
        done.then_some(Exit::Stopped)
    }

    /// Makes durable what the log's thread has, and says in the log that it ended well.
    async fn close(self) -> Exit {
        let Self {
            parts: Parts {
                writer, snapshots, ..
            },
            waiting,
            ..
        } = self;
        // Nothing of these was acknowledged, and a disk that is full or slow need not have room for them: they are fetched
        // again from whoever has them.
        drop(waiting);
        let exit = close_within(CLOSE_MAX, move || writer.close()).await;
        // Whatever these were at, nobody was told of it; but they hold the directory.
        let (ended, end) = oneshot::channel();
        std::thread::spawn(move || {
            snapshots.stop();
            let _ = ended.send(());
        });
        if tokio::time::timeout(CLOSE_MAX, end).await.is_err() {
            tracing::warn!(
                "a snapshot is still at work, and holds the data directory until it ends"
            );
        }
        exit
    }
}

fn tick_times(ticks: u64) -> Duration {
    Duration::from_millis(
        u64::try_from(TICK.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_mul(ticks),
    )
}
