//! Three nodes, a thread each, with channels for a network and a list for a disk: the whole of a driver. One node is killed and
//! comes back from its disk. `cargo run -p raft-core --example three_nodes`

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use raft_core::*;

/// What would be files: it outlives the node.
#[derive(Clone, Default)]
struct Disk {
    boot: u64,
    hard_state: HardState,
    log: Vec<Entry>,
}

enum Input {
    Peer(Envelope),
    Propose(&'static str, Sender<LogId>),
    Die,
}

type Network = Arc<Mutex<BTreeMap<NodeId, Sender<Input>>>>;

fn member(node: u64) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation(1000 + node),
    }
}

/// A founding member the first time, and what the disk knows after that.
fn open(node: u64, disk: &mut Disk) -> Raft {
    disk.boot += 1; // A real one is synced before it is used.
    let identity = Identity {
        cluster: ClusterId([1; 16]),
        member: member(node),
        boot: Boot(disk.boot),
    };
    let members = Membership::of_voters((1..=3).map(|n| (member(n), Default::default())))
        .expect("three voters");
    if disk.log.is_empty() {
        return Raft::bootstrap(Config::new(7), identity, members).expect("a good config");
    }
    let mut runs: Vec<(Index, Term)> = Vec::new();
    for entry in &disk.log {
        if runs.last().is_none_or(|&(_, term)| term != entry.id.term) {
            runs.push((entry.id.index, entry.id.term));
        }
    }
    let recovered = Recovered {
        identity,
        hard_state: disk.hard_state,
        base: LogId::ZERO,
        snapshot: None,
        runs,
        last: Index(disk.log.len() as u64),
        memberships: vec![(Raft::FOUNDING, members)],
        applied: Index::ZERO, // The state machine is in memory, and starts empty.
    };
    Raft::recover(Config::new(7), recovered).expect("what this driver wrote")
}

fn run(node: u64, disk: &Mutex<Disk>, inbox: &Receiver<Input>, network: &Network) {
    let mut raft = open(node, &mut disk.lock().expect("disk"));
    let mut waiting: BTreeMap<ProposalId, Sender<LogId>> = BTreeMap::new();
    loop {
        match inbox.recv_timeout(Duration::from_millis(2)) {
            Ok(Input::Peer(envelope)) => drop(raft.receive(envelope)),
            Ok(Input::Propose(text, answer)) => {
                if let Ok(ids) = raft.propose(vec![text.into()]) {
                    waiting.insert(ids.first, answer); // Else the sender is dropped, and the caller tries another node.
                }
            }
            Ok(Input::Die) => return,
            Err(_) => raft.tick(1),
        }
        while let Some(effect) = raft.next_effect() {
            match effect {
                Effect::Send(envelope) => {
                    if let Some(peer) = network.lock().expect("network").get(&envelope.to.node) {
                        drop(peer.send(Input::Peer(envelope)));
                    }
                }
                Effect::Persist(job) => {
                    let mut disk = disk.lock().expect("disk");
                    disk.hard_state = job.hard_state.unwrap_or(disk.hard_state);
                    if let Some(from) = job.truncate_from {
                        disk.log.truncate(from.0 as usize - 1);
                    }
                    disk.log.extend(job.entries);
                    raft.persisted(job.id).expect("a job that was handed out");
                }
                Effect::FetchLog(job) => {
                    let log = &disk.lock().expect("disk").log;
                    let entries = log
                        .get(job.from.0 as usize - 1..job.to.0 as usize)
                        .unwrap_or_default();
                    raft.fetched(job.id, entries.to_vec());
                }
                Effect::Apply(job) => {
                    for entry in &job.entries {
                        println!("n{node} applies {} {:?}", entry.id, entry.payload);
                    }
                    raft.applied(job.entries.last().expect("never empty").id.index)
                        .expect("handed out");
                }
                Effect::Outcome(id, Outcome::Committed(at)) => {
                    waiting.remove(&id).map(|answer| answer.send(at));
                }
                Effect::Outcome(id, Outcome::Unknown) => drop(waiting.remove(&id)),
                Effect::Event(event) => println!("n{node} {event:?}"),
                other => unreachable!("{other:?}: nobody reads here, and no snapshots are taken"),
            }
        }
    }
}

fn start(node: u64, disk: &Arc<Mutex<Disk>>, network: &Network) -> thread::JoinHandle<()> {
    let (outbox, inbox) = channel();
    network
        .lock()
        .expect("network")
        .insert(NodeId(node), outbox);
    let (disk, network) = (Arc::clone(disk), Arc::clone(network));
    thread::spawn(move || run(node, &disk, &inbox, &network))
}

/// Asks one node after the other until a leader takes it and commits it.
fn propose(text: &'static str, network: &Network) -> LogId {
    loop {
        for node in 1..=3 {
            let (answer, committed) = channel();
            let sent = network
                .lock()
                .expect("network")
                .get(&NodeId(node))
                .is_some_and(|peer| peer.send(Input::Propose(text, answer)).is_ok());
            if let (true, Ok(at)) = (sent, committed.recv()) {
                return at;
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Stops a node dead, and takes it off the network.
fn stop(node: u64, network: &Network) {
    let node = network.lock().expect("network").remove(&NodeId(node));
    if let Some(node) = node {
        drop(node.send(Input::Die));
    }
}

pub(crate) fn main() {
    let network = Network::default();
    let disks: Vec<Arc<Mutex<Disk>>> = (0..3).map(|_| Arc::default()).collect();
    let mut threads: Vec<_> = (1..)
        .zip(&disks)
        .map(|(node, disk)| start(node, disk, &network))
        .collect();
    println!("committed at {}", propose("hello", &network));

    println!("n1 is killed, and comes back");
    stop(1, &network);
    threads.remove(0).join().expect("n1");
    println!("committed at {}", propose("without n1", &network));
    threads.push(start(1, disks.first().expect("n1's"), &network));
    println!("committed at {}", propose("with n1", &network));

    (1..=3).for_each(|node| stop(node, &network));
    for thread in threads {
        thread.join().expect("a node");
    }
}
