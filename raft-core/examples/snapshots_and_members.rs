//! Snapshots are taken, sent and installed; a new node is taken in and becomes a voter by itself; one is removed; one comes back from its
//! disk. One thread: the network is a queue, a disk a value that outlives its node. `cargo run -p raft-core --example snapshots_and_members`

#![allow(clippy::indexing_slicing)] // What is not there is a mistake in this file.
use raft_core::*;
use std::collections::{BTreeMap, VecDeque};

/// What a snapshot's file holds: here the state machine is a list of all commands, and so is its file.
type Commands = Vec<bytes::Bytes>;

/// What would be files.
#[derive(Default)]
struct Disk {
    boot: u64,
    hard_state: HardState,
    /// The entry right before the first in `log`.
    base: LogId,
    log: Vec<Entry>,
    /// The one that was marked last: a restart begins with it.
    snapshot: Option<Snapshot>,
    /// The files of snapshots, marked or not yet, by the last entry that they cover.
    files: BTreeMap<LogId, Commands>,
}

impl Disk {
    /// One job, in the order of its fields. On a real disk: all or nothing, and synced.
    fn write(&mut self, job: &PersistJob) {
        self.hard_state = job.hard_state.unwrap_or(self.hard_state);
        if let Some(snapshot) = &job.snapshot {
            // One of the own state ends with an entry of the log, which stays. One that was sent may be of another log.
            let last = snapshot.last;
            if last != self.base && !self.log.iter().any(|entry| entry.id == last) {
                self.log.clear();
                self.base = last;
            }
            self.files.retain(|file, _| file.index >= last.index);
            self.snapshot = Some(snapshot.clone());
        }
        let cut = job.truncate_from;
        self.log
            .retain(|entry| cut.is_none_or(|from| entry.id.index < from));
        self.log.extend(job.entries.iter().cloned());
    }

    /// What a core goes on from. Where the snapshot ends, the state machine begins.
    fn read(&self, identity: Identity) -> Recovered {
        let runs = self.log.chunk_by(|a, b| a.id.term == b.id.term);
        let starts = runs.filter_map(|run| run.first().map(|entry| entry.id));
        let memberships = self.log.iter().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.id, membership.clone())),
            _ => None,
        });
        let covered = self.snapshot.as_ref().map(|snapshot| snapshot.last.index);
        Recovered {
            identity,
            hard_state: self.hard_state,
            base: self.base,
            snapshot: self.snapshot.clone(),
            runs: starts.map(|id| (id.index, id.term)).collect(),
            last: self.log.last().map_or(self.base, |entry| entry.id).index,
            memberships: memberships.collect(),
            applied: covered.unwrap_or_default(),
        }
    }
}

/// An envelope on its way. If it brings a snapshot: the transfer, what the snapshot covers, and its file.
struct Parcel(Envelope, Option<(RequestId, LogId, Commands)>);

struct Node {
    raft: Raft,
    disk: Disk,
    state: Commands,
}

impl Node {
    /// Carries out whatever the core asks for.
    fn drain(&mut self, network: &mut VecDeque<Parcel>) {
        let Self { raft, disk, state } = self;
        while let Some(effect) = raft.next_effect() {
            match effect {
                Effect::Send(envelope) => network.push_back(Parcel(envelope, None)),
                Effect::Persist(job) => {
                    disk.write(&job);
                    raft.persisted(job.id).expect("a job that was handed out");
                }
                Effect::Apply(job) => {
                    let last = job.entries.last().expect("never empty").id.index;
                    for entry in job.entries {
                        if let Payload::Command(command) = entry.payload {
                            state.push(command);
                        }
                    }
                    raft.applied(last).expect("entries that were handed out");
                }
                Effect::FetchLog(job) => {
                    let wanted = |entry: &&Entry| (job.from..=job.to).contains(&entry.id.index);
                    raft.fetched(job.id, disk.log.iter().filter(wanted).cloned().collect());
                }
                Effect::TakeSnapshot(Snapshot { last, .. }) => {
                    disk.files.insert(last, state.clone()); // It may take its time; applying goes on meanwhile.
                    raft.snapshot_taken(last, true).expect("it was asked for");
                }
                Effect::SendSnapshot(envelope) => {
                    let Message::SnapshotRequest { id, snapshot } = &envelope.message else {
                        unreachable!("it brings a snapshot");
                    };
                    let transfer = (*id, snapshot.last, disk.files[&snapshot.last].clone());
                    network.push_back(Parcel(envelope, Some(transfer)));
                }
                Effect::InstallSnapshot(Snapshot { last, .. }) => {
                    *state = disk.files[&last].clone();
                    raft.snapshot_installed(last).expect("it was handed out");
                }
                Effect::CutLog { up_to } => {
                    disk.log.retain(|entry| entry.id.index > up_to.index);
                    disk.base = up_to;
                }
                Effect::Outcome(..) | Effect::Event(_) => {} // For a client that waits; for people.
                other => unreachable!("{other:?}: nobody reads"),
            }
        }
    }
}

#[derive(Default)]
struct World {
    nodes: BTreeMap<NodeId, Node>,
    network: VecDeque<Parcel>,
}

impl World {
    /// Starts a node with what its disk holds: founding members on an empty one, others to be taken in, or whoever was here before.
    fn start(&mut self, node: u64, mut disk: Disk, founders: Option<Membership>) {
        disk.boot += 1; // On a real disk it is synced before it is used.
        let identity = Identity {
            cluster: ClusterId([1; 16]),
            member: member(node),
            boot: Boot(disk.boot),
        };
        let raft = match founders {
            Some(founders) => Raft::bootstrap(config(), identity, founders).expect("a founder"),
            None if disk.boot == 1 => Raft::join(config(), identity).expect("a good config"),
            None => Raft::recover(config(), disk.read(identity)).expect("what was written"),
        };
        let loaded = disk.snapshot.as_ref().map(|s| disk.files[&s.last].clone());
        let state = loaded.unwrap_or_default();
        self.nodes.insert(NodeId(node), Node { raft, disk, state });
    }

    /// Time passes, and what follows from it happens.
    fn run(&mut self, ticks: u32) {
        for _ in 0..ticks {
            for node in self.nodes.values_mut() {
                node.raft.tick(1);
                node.drain(&mut self.network);
            }
            while let Some(parcel) = self.network.pop_front() {
                self.deliver(parcel);
            }
        }
    }

    fn deliver(&mut self, Parcel(envelope, transfer): Parcel) {
        let from = envelope.from.member.node;
        let transfer_id = transfer.as_ref().map(|(id, ..)| *id);
        let arrived = self.nodes.contains_key(&envelope.to.node);
        if let Some(node) = self.nodes.get_mut(&envelope.to.node) {
            // The file first: when the core hears of a snapshot, it is there whole, and durable.
            let file = transfer.map(|(_, last, file)| (last, file));
            node.disk.files.extend(file);
            let _ = node.raft.receive(envelope); // What is rejected changes nothing.
            node.drain(&mut self.network);
        }
        if let (Some(id), Some(node)) = (transfer_id, self.nodes.get_mut(&from)) {
            node.raft.snapshot_sent(id, arrived);
            node.drain(&mut self.network);
        }
    }

    fn leader(&mut self) -> &mut Node {
        let leads = |node: &&mut Node| node.raft.role() == RoleName::Leader;
        self.nodes.values_mut().find(leads).expect("one leads")
    }

    fn write(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let batch = vec![number.to_string().into()];
            self.leader().raft.propose(batch).expect("it leads");
            self.run(20);
        }
    }

    fn change(&mut self, step: Step) {
        let raft = &mut self.leader().raft;
        let seen = raft.status().membership_at; // Whoever saw another membership might not want this.
        raft.change_membership(Change::of(step), seen)
            .expect("one change at a time");
        self.run(200);
    }
}

fn member(node: u64) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation(1000 + node), // Drawn at random, and kept, where a disk is.
    }
}

fn config() -> Config {
    let mut config = Config::new(7);
    let policy = config.snapshots.insert(SnapshotPolicy::new());
    (policy.entries_max, policy.tail_entries) = (10, 3);
    config
}

pub(crate) fn main() {
    let founders = (1..=3).map(|node| (member(node), Default::default()));
    let founders = Membership::of_voters(founders).expect("three voters");
    let mut world = World::default();
    (1..=3).for_each(|node| world.start(node, Disk::default(), Some(founders.clone())));
    world.run(500);
    world.write(0..30);
    assert!(world.leader().disk.log.len() < 15); // A snapshot has the rest.

    // A new node starts with nothing. It is sent a snapshot first, for the log begins later.
    world.start(4, Disk::default(), None);
    world.change(Step::add(member(4), Default::default(), Seat::Promotable));
    let n4 = world.nodes[&NodeId(4)].raft.status();
    assert_eq!(n4.seat, Some(Seat::Voter)); // It has caught up.

    // A follower is removed, and learns it.
    let leads = world.leader().raft.status().identity.member;
    let leaves = member(if leads == member(1) { 2 } else { 1 });
    world.change(Step::Remove(leaves));
    let removed = world.nodes.remove(&leaves.node).expect("it runs");
    assert_eq!(removed.raft.status().seat, None);

    // The new node dies, misses much, and comes back with its disk, and nothing else.
    let disk = world.nodes.remove(&NodeId(4)).expect("it runs").disk;
    world.write(30..60);
    world.start(4, disk, None);
    world.run(200);
    let all: Commands = (0..60).map(|n| n.to_string().into()).collect();
    for (id, node) in &world.nodes {
        assert_eq!(node.state, all);
        println!("n{id}: all of it; {} entries", node.disk.log.len());
    }
}
