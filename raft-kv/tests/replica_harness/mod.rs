//! Whole nodes in one thread, without sockets and clocks: real replica, core, glue and log on simulated disks, and a network
//! that is a queue. Deterministic.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use bytes::Bytes;
use raft_core::{Boot, Config, Incarnation, Index, LogId, MemberId, NodeId, RoleName};
use raft_kv::glue;
use raft_kv::node::formation::{FormationMessage, Founders};
use raft_kv::node::replica::{
    Action, Fatal, Freshness, Notice, Origin, ReadRequest, Replica, ReplicaConfig, Start,
    WriteFailure,
};
use raft_kv::node::{Halt, Image, StateMachine};
use raft_kv::release::Release;
use raft_kv::wire::{self, DirectoryIdentity};
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::{Batch, Log, Options, Reader, peek_identity_with};

pub const ELECTION_TICKS: u32 = 10;

/// Every command that was applied, in order; and which version this release of it follows, 0 for the first.
#[derive(Debug, Default, Clone)]
pub struct Tally(pub Vec<(LogId, Bytes)>, pub u16);

/// The state alone.
impl PartialEq for Tally {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// The version that a command raises the state to.
fn raises(command: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(command).ok()?;
    text.strip_prefix("raise ")?.parse().ok()
}

impl StateMachine for Tally {
    type Output = usize;

    fn apply(&mut self, at: LogId, command: &Bytes) -> Result<usize, Halt> {
        if command.as_ref() == b"halt" {
            return Err(Halt("a command that nobody knows".into()));
        }
        if raises(command).is_some_and(|version| version > self.release().follows) {
            return Err(Halt("a version of another release".into()));
        }
        self.0.push((at, command.clone()));
        Ok(self.0.len())
    }

    fn release(&self) -> Release {
        let follows = self.1.max(1);
        Release {
            name: format!("{follows}.0"),
            follows,
        }
    }

    fn version(&self) -> u16 {
        let raised = self.0.iter().filter_map(|(_, command)| raises(command));
        raised.max().unwrap_or(1)
    }

    fn raise(&self, version: u16) -> Option<Bytes> {
        Some(format!("raise {version}").into())
    }

    // No snapshots are taken here: see the simulator.
    fn image(&self) -> Image {
        Image::new(|_| Err(std::io::Error::other("no snapshots here")))
    }

    fn empty(&self) -> Self {
        Self::default()
    }

    fn restore(&mut self, _: LogId, _: &mut dyn std::io::Read) -> std::io::Result<()> {
        Err(std::io::Error::other("no snapshots here"))
    }
}

pub type TestReplica = Replica<Tally, u64, u64>;

/// What became of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Written(LogId),
    WriteFailed(WriteFailure),
    /// How many commands the state held.
    Read(usize),
    ReadFailed,
}

enum Packet {
    Envelope(Bytes),
    Formation {
        from: MemberId,
        message: Box<FormationMessage>,
    },
}

pub struct Live {
    pub replica: TestReplica,
    log: Log<SimDisk>,
    reader: Reader<SimDisk>,
}

pub struct Host {
    pub disk: SimDisk,
    pub live: Option<Live>,
    lives: u64,
    pub founders: Founders,
    /// It founds nothing, and waits for a leader to take it in.
    pub joins: bool,
    /// Where the others are, as far as it knows: it sends nowhere else.
    peers: Founders,
    /// Why it ended by itself.
    pub fatal: Option<Fatal>,
}

pub struct World {
    pub hosts: BTreeMap<u64, Host>,
    net: VecDeque<(u64, u64, Packet)>,
    /// Links that lose everything, by (from, to).
    pub cut: BTreeSet<(u64, u64)>,
    /// How many messages each node has sent.
    pub sent: BTreeMap<u64, u64>,
    next_ticket: u64,
    /// Who took each ticket, and what it was for.
    pub asked: BTreeMap<u64, (u64, Bytes)>,
    pub answers: BTreeMap<u64, Vec<Answer>>,
    /// What became of changes of the membership.
    pub changes: Vec<(u64, raft_core::ProposalId, raft_core::Outcome)>,
    /// What each node had to say for its process's log.
    pub notices: Vec<(u64, Notice)>,
    /// What a power loss keeps of what was not synced, by a seed.
    pub keep: Keep,
    /// How often a disk operation failed.
    pub crashes: u64,
    /// What goes wrong: at which node's disk, at which of its operations, how.
    pub plan: Option<(u64, u64, Fault)>,
    /// Which version the releases on some nodes follow, from their next start on.
    pub follows: BTreeMap<u64, u16>,
}

pub fn founders(nodes: impl IntoIterator<Item = u64>) -> Founders {
    nodes
        .into_iter()
        .map(|node| (NodeId(node), format!("host{node}:1")))
        .collect()
}

fn dir() -> &'static Path {
    Path::new("/data")
}

impl World {
    pub fn new(nodes: u64) -> Self {
        let list = founders(1..=nodes);
        let host = |_| Host {
            disk: SimDisk::new(),
            live: None,
            lives: 0,
            founders: list.clone(),
            joins: false,
            peers: Founders::new(),
            fatal: None,
        };
        Self {
            hosts: (1..=nodes).map(|node| (node, host(node))).collect(),
            net: VecDeque::new(),
            cut: BTreeSet::new(),
            sent: BTreeMap::new(),
            next_ticket: 0,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            changes: Vec::new(),
            notices: Vec::new(),
            keep: Keep::Nothing,
            crashes: 0,
            plan: None,
            follows: BTreeMap::new(),
        }
    }

    /// The power of one machine goes and comes back. A fault that is planned for later is still to come.
    fn power_cycle(&mut self, node: u64) {
        let disk = &self.hosts[&node].disk;
        disk.restart(self.keep);
        self.arm(node);
    }

    fn arm(&self, node: u64) {
        let disk = &self.hosts[&node].disk;
        if let Some((at, operation, fault)) = self.plan
            && at == node
            && disk.operations() < operation
        {
            disk.fail(operation, fault);
        }
    }

    /// Starts a node from what its disk holds. A disk that fails on the way is powered up again and tried once more.
    pub fn start(&mut self, node: u64) {
        self.arm(node);
        for _ in 0..3 {
            match self.try_start(node) {
                Ok(()) => return,
                Err(error) => {
                    self.crashes += 1;
                    assert!(
                        error.contains("disk"),
                        "node {node} does not start: {error}"
                    );
                    self.power_cycle(node);
                }
            }
        }
        panic!("node {node} does not start");
    }

    /// Starts a new node that waits to be taken in; who it is.
    pub fn join(&mut self, node: u64) -> MemberId {
        let host = Host {
            disk: SimDisk::new(),
            live: None,
            lives: 0,
            founders: Founders::new(),
            joins: true,
            peers: Founders::new(),
            fatal: None,
        };
        self.hosts.insert(node, host);
        self.start(node);
        self.replica(node).identity().member
    }

    pub fn start_all(&mut self) {
        for node in self.nodes() {
            self.start(node);
        }
    }

    pub fn nodes(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    fn try_start(&mut self, node: u64) -> Result<(), String> {
        let host = self.hosts.get_mut(&node).unwrap();
        assert!(host.live.is_none());
        host.fatal = None;
        host.peers.clear();
        let disk = |error: raft_log::OpenError| match error {
            raft_log::OpenError::Io(_) => format!("disk: {error}"),
            other => other.to_string(),
        };
        let identity = match peek_identity_with(&host.disk, dir()).map_err(disk)? {
            Some(blob) => wire::decode_identity(blob.into()).unwrap(),
            None => {
                host.lives += 1;
                DirectoryIdentity {
                    node: NodeId(node),
                    incarnation: Incarnation(node * 1000 + host.lives),
                    restored: false,
                }
            }
        };
        let options = Options {
            segment_bytes: 4096,
            record_bytes_max: 1024,
            background: false,
            ..Options::new(wire::encode_identity(&identity).to_vec())
        };
        let (log, recovery) = Log::open_with(host.disk.clone(), dir(), options).map_err(disk)?;
        let reader = log.reader();
        let disk = glue::recovered(&recovery, &reader, |_| {
            Err(std::io::Error::other("no snapshots here"))
        })
        .map_err(|error| format!("disk: {error}"))?;
        let member = MemberId {
            node: identity.node,
            incarnation: identity.incarnation,
        };
        let start = Start {
            member,
            boot: Boot(recovery.boot),
            origin: match host.joins {
                true => Origin::Join,
                false => Origin::Found(host.founders.clone()),
            },
            disk,
        };
        let follows = self.follows.get(&node).copied().unwrap_or_default();
        let machine = Tally(Vec::new(), follows);
        let replica =
            Replica::start(config(), start, machine).map_err(|error| error.to_string())?;
        host.live = Some(Live {
            replica,
            log,
            reader,
        });
        Ok(())
    }

    /// The process is killed, and the machine's power is cut.
    pub fn crash(&mut self, node: u64) {
        self.hosts.get_mut(&node).unwrap().live = None;
        self.power_cycle(node);
        self.net.retain(|(_, to, _)| *to != node);
    }

    pub fn wipe(&mut self, node: u64) {
        self.crash(node);
        self.hosts.get_mut(&node).unwrap().disk = SimDisk::new();
    }

    pub fn replica(&self, node: u64) -> &TestReplica {
        &self.hosts[&node]
            .live
            .as_ref()
            .expect("the node is down")
            .replica
    }

    pub fn replica_mut(&mut self, node: u64) -> &mut TestReplica {
        let live = self.hosts.get_mut(&node).unwrap().live.as_mut();
        &mut live.expect("the node is down").replica
    }

    pub fn is_up(&self, node: u64) -> bool {
        self.hosts[&node].live.is_some()
    }

    /// Whether a node knows where another is.
    pub fn knows(&self, node: u64, other: u64) -> bool {
        self.hosts[&node].peers.contains_key(&NodeId(other))
    }

    /// Nothing passes between this node and the others.
    pub fn isolate(&mut self, node: u64) {
        for other in self.nodes() {
            self.cut.extend([(node, other), (other, node)]);
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Time passes everywhere, a tick at a time, and all that follows from it happens.
    pub fn run(&mut self, ticks: u32) {
        for _ in 0..ticks {
            for host in self.hosts.values_mut() {
                if let Some(live) = &mut host.live {
                    live.replica.tick(1);
                }
            }
            self.settle();
        }
    }

    /// Until nothing more happens.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            for node in self.nodes() {
                self.act(node);
            }
            let Some((from, to, packet)) = self.net.pop_front() else {
                return;
            };
            if self.cut.contains(&(from, to)) {
                continue;
            }
            let said = self.hosts.get(&from).and_then(|host| host.live.as_ref());
            let said = said.map(|live| (live.replica.identity(), live.replica.release().clone()));
            let Some(live) = self.hosts.get_mut(&to).and_then(|host| host.live.as_mut()) else {
                continue;
            };
            // As the handshake of every connection says, in front of all else.
            if let Some((who, release)) = said {
                live.replica.hear_release(who.member, who.boot, release);
            }
            match packet {
                Packet::Envelope(bytes) => {
                    live.replica.receive(wire::decode_envelope(bytes).unwrap());
                }
                Packet::Formation { from, message } => {
                    // Through the encoding, as on a wire.
                    let bytes = wire::encode_formation(
                        &glue::formation_to_wire(*message),
                        wire::PROTOCOL_MAX,
                    );
                    let message = glue::formation_from_wire(wire::decode_formation(bytes).unwrap());
                    live.replica.receive_formation(from, message);
                }
            }
        }
        panic!("it never settles");
    }

    fn act(&mut self, node: u64) {
        loop {
            let Some(live) = self
                .hosts
                .get_mut(&node)
                .and_then(|host| host.live.as_mut())
            else {
                return;
            };
            let Some(action) = live.replica.next_action() else {
                return;
            };
            let me = live.replica.identity().member;
            match action {
                Action::Send(envelope) => {
                    let bytes: Vec<u8> =
                        wire::encode_envelope(&envelope, wire::PROTOCOL_MAX).concat();
                    self.post(node, envelope.to.node, Packet::Envelope(bytes.into()));
                }
                Action::SendFormation { to, message } => {
                    let message = Box::new(message);
                    self.post(node, to, Packet::Formation { from: me, message });
                }
                Action::Persist(job) => {
                    let id = job.id;
                    let unit = glue::batch(live.replica.identity().cluster, job, None);
                    let mut batch = Batch::new();
                    if let Some(metadata) = &unit.metadata {
                        batch.metadata(metadata);
                    }
                    if let Some(from) = unit.truncate_from {
                        batch.truncate_from(from);
                    }
                    for record in &unit.records {
                        batch.append(record.as_record());
                    }
                    match live.log.commit(&batch) {
                        Ok(()) => live.replica.persisted(id),
                        Err(error) => {
                            assert!(error.to_string().contains("closed for good"), "{error}");
                            self.crashes += 1;
                            self.crash(node);
                        }
                    }
                }
                Action::Fetch(job) => {
                    let entries = match live.reader.read(job.from.0, job.bytes_max) {
                        Ok(records) => glue::entries(records).unwrap(),
                        Err(_) => Vec::new(),
                    };
                    live.replica.fetched(job.id, entries);
                }
                Action::Peers(peers) => self.hosts.get_mut(&node).unwrap().peers = peers,
                Action::Notice(notice) => self.notices.push((node, notice)),
                Action::Written { ticket, at, .. } => self.answer(ticket, Answer::Written(at)),
                Action::WriteFailed { ticket, why } => {
                    self.answer(ticket, Answer::WriteFailed(why));
                }
                Action::ReadReady(ticket) => {
                    let count = live.replica.machine().0.len();
                    self.answer(ticket, Answer::Read(count));
                }
                Action::ReadFailed { ticket, .. } => self.answer(ticket, Answer::ReadFailed),
                Action::Changed { id, outcome } => self.changes.push((node, id, outcome)),
                Action::Snapshot(_) | Action::CutLog { .. } => {
                    panic!("no snapshots are taken here")
                }
                Action::Fatal(why) => {
                    let host = self.hosts.get_mut(&node).unwrap();
                    host.fatal = Some(why);
                    host.live = None;
                    host.disk.kill();
                }
            }
        }
    }

    /// Sends it, if the sender knows where that is.
    fn post(&mut self, from: u64, to: NodeId, packet: Packet) {
        if self.hosts[&from].peers.contains_key(&to) {
            *self.sent.entry(from).or_default() += 1;
            self.net.push_back((from, to.0, packet));
        }
    }

    fn answer(&mut self, ticket: u64, answer: Answer) {
        self.answers.entry(ticket).or_default().push(answer);
    }

    fn ticket(&mut self, node: u64, command: Bytes) -> u64 {
        self.next_ticket += 1;
        self.asked.insert(self.next_ticket, (node, command));
        self.next_ticket
    }

    /// Writes a batch of as many commands as asked for, each different from all others; its tickets.
    pub fn write(&mut self, node: u64, count: usize) -> Vec<u64> {
        let batch: Vec<(Bytes, u64)> = (0..count)
            .map(|_| {
                let command = Bytes::from(format!(
                    "command {:04} {}",
                    self.next_ticket + 1,
                    "x".repeat(90)
                ));
                let ticket = self.ticket(node, command.clone());
                (command, ticket)
            })
            .collect();
        let tickets = batch.iter().map(|(_, ticket)| *ticket).collect();
        if let Some(live) = self.hosts.get_mut(&node).unwrap().live.as_mut() {
            live.replica.write(batch);
        } else {
            for (_, ticket) in batch {
                self.asked.remove(&ticket);
            }
        }
        tickets
    }

    pub fn propose(&mut self, node: u64, command: &'static [u8]) -> u64 {
        let command = Bytes::from_static(command);
        let ticket = self.ticket(node, command.clone());
        let live = self.hosts.get_mut(&node).unwrap().live.as_mut().unwrap();
        live.replica.write(vec![(command, ticket)]);
        ticket
    }

    pub fn read(&mut self, node: u64, freshness: Freshness, min_applied: u64) -> u64 {
        let ticket = self.ticket(node, Bytes::new());
        let live = self.hosts.get_mut(&node).unwrap().live.as_mut().unwrap();
        live.replica.read(vec![ReadRequest {
            freshness,
            min_applied: Index(min_applied),
            ticket,
        }]);
        ticket
    }

    pub fn answer_of(&self, ticket: u64) -> Option<&Answer> {
        self.answers
            .get(&ticket)
            .and_then(|answers| answers.first())
    }

    /// The node that leads in the latest term, if one does.
    pub fn leader(&self) -> Option<u64> {
        let leaders = self.hosts.iter().filter_map(|(node, host)| {
            let view = host.live.as_ref()?.replica.view();
            (view.role == RoleName::Leader).then_some((view.term, *node))
        });
        leaders.max().map(|(_, node)| node)
    }

    /// Runs until a node leads that reaches the others; it. Nodes that a fault stopped are started again meanwhile.
    pub fn elect(&mut self) -> u64 {
        for _ in 0..40 * ELECTION_TICKS {
            self.run(1);
            for node in self.nodes() {
                if !self.is_up(node) {
                    self.start(node);
                }
            }
            if let Some(leader) = self.leader()
                && !self.cut.contains(&(leader, leader))
            {
                return leader;
            }
        }
        panic!("no leader in {} ticks", 40 * ELECTION_TICKS);
    }

    /// What must hold whatever happened: no ticket has two answers, no two nodes differ in what they applied, nothing is
    /// applied twice, and every acknowledged command is in the state of every node that is up and caught up.
    pub fn check(&self) {
        for (ticket, answers) in &self.answers {
            assert_eq!(answers.len(), 1, "ticket {ticket} was answered {answers:?}");
        }
        let states: Vec<(u64, &Tally)> = self
            .hosts
            .iter()
            .filter_map(|(node, host)| Some((*node, host.live.as_ref()?.replica.machine())))
            .collect();
        let longest = &states
            .iter()
            .max_by_key(|(_, tally)| tally.0.len())
            .unwrap()
            .1
            .0;
        for (node, tally) in &states {
            assert_eq!(tally.0[..], longest[..tally.0.len()], "node {node} differs");
        }
        let mut commands: Vec<&Bytes> = longest.iter().map(|(_, command)| command).collect();
        commands.sort();
        let count = commands.len();
        commands.dedup();
        assert_eq!(commands.len(), count, "a command was applied twice");
        for (ticket, answers) in &self.answers {
            if let Answer::Written(at) = answers[0] {
                let (_, command) = &self.asked[ticket];
                assert!(
                    longest.contains(&(at, command.clone())),
                    "{at} was acknowledged and is lost"
                );
            }
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.answers
            .values()
            .filter(|answers| matches!(answers[0], Answer::Written(_)))
            .count()
    }
}

fn config() -> ReplicaConfig {
    ReplicaConfig::new(Config {
        election_timeout_ticks: ELECTION_TICKS,
        heartbeat_ticks: 3,
        tail_bytes_max: 600,
        batch_bytes_max: 400,
        ..Config::new(7)
    })
}
