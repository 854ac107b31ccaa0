//! All that it takes to embed the core: three nodes over channels of one's own, each with a log in memory and a list for a state machine.
//! `cargo run -p raft-core --example embed`. (Nothing here outlives a crash; `three_nodes.rs` has a node that does.)

use bytes::Bytes;
use raft_core::*;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What a node's thread is told.
enum Input {
    Peer(Envelope),
    /// With where to say what became of it. Dropped unsaid: ask another node.
    Propose(&'static str, Sender<Outcome>),
    Stop,
}

const COMMANDS: [&str; 3] = ["one", "two", "three"];
type Peers = BTreeMap<NodeId, Sender<Input>>;

fn member(node: u64) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation(1000 + node), // Drawn at random, and kept, where a disk is.
    }
}

/// The driver of one node: inputs in, effects out, until it is stopped. What it has applied then.
fn run(node: u64, inbox: &Receiver<Input>, peers: &Peers) -> Vec<Bytes> {
    let members = Membership::of_voters((1..=3).map(|node| (member(node), Default::default())));
    let identity = Identity {
        cluster: ClusterId([1; 16]),
        member: member(node),
        boot: Boot(1),
    };
    let mut raft = Raft::bootstrap(Config::new(42), identity, members.expect("three voters"))
        .expect("a founder");
    let (mut log, mut applied) = (Vec::<Entry>::new(), Vec::new());
    let mut waiting: BTreeMap<ProposalId, Sender<Outcome>> = BTreeMap::new();
    let mut tick_at = Instant::now();
    loop {
        match inbox.recv_timeout(tick_at.saturating_duration_since(Instant::now())) {
            Ok(Input::Peer(envelope)) => drop(raft.receive(envelope)),
            Ok(Input::Propose(command, answer)) => {
                if let Ok(ids) = raft.propose(vec![command.into()]) {
                    waiting.insert(ids.first, answer);
                }
            }
            Ok(Input::Stop) => return applied,
            Err(_) => {}
        }
        if Instant::now() >= tick_at {
            raft.tick(1);
            tick_at = Instant::now() + Duration::from_millis(2);
        }
        while let Some(effect) = raft.next_effect() {
            match effect {
                Effect::Send(envelope) => {
                    if let Some(peer) = peers.get(&envelope.to.node) {
                        drop(peer.send(Input::Peer(envelope)));
                    }
                }
                Effect::Persist(job) => {
                    // On a disk: with the term and vote in `job.hard_state`, all or nothing, and synced.
                    log.retain(|entry| job.truncate_from.is_none_or(|from| entry.id.index < from));
                    log.extend(job.entries);
                    raft.persisted(job.id).expect("a job that was handed out");
                }
                Effect::FetchLog(job) => {
                    let wanted = |entry: &&Entry| (job.from..=job.to).contains(&entry.id.index);
                    raft.fetched(job.id, log.iter().filter(wanted).cloned().collect());
                }
                Effect::Apply(job) => {
                    let last = job.entries.last().expect("never empty").id.index;
                    for entry in job.entries {
                        if let Payload::Command(command) = entry.payload {
                            applied.push(command);
                        }
                    }
                    raft.applied(last).expect("entries that were handed out");
                }
                Effect::Outcome(id, outcome) => {
                    let _ = waiting.remove(&id).map(|answer| answer.send(outcome));
                }
                Effect::Event(_) => {} // For people.
                other => unreachable!("{other:?}: nobody reads here, and no snapshots are taken"),
            }
        }
    }
}

pub(crate) fn main() {
    let (outboxes, inboxes): (Vec<_>, Vec<_>) = (1..=3).map(|_| channel()).unzip();
    let peers: Peers = (1..).map(NodeId).zip(outboxes).collect();
    let mut nodes = Vec::new();
    for (node, inbox) in (1..).zip(inboxes) {
        let peers = peers.clone();
        nodes.push(thread::spawn(move || run(node, &inbox, &peers)));
    }
    // A client that asks one node after the other, until the leader takes the command and a majority has it.
    let mut asked = peers.values().cycle();
    for command in COMMANDS {
        asked.any(|node| {
            let (answer, outcome) = channel();
            node.send(Input::Propose(command, answer)).expect("it runs");
            matches!(outcome.recv(), Ok(Outcome::Committed(_)))
        });
    }
    for node in peers.values() {
        node.send(Input::Stop).expect("it runs");
    }
    let applied = nodes.into_iter().map(|node| node.join().expect("no panic"));
    // Whoever led has applied them all, in order; the others may not have heard of the last.
    let mut longest = applied.max_by_key(Vec::len).expect("three nodes");
    longest.dedup(); // One that was asked again, its outcome being unknown, may stand there twice.
    assert_eq!(longest, COMMANDS);
    println!("applied: {longest:?}");
}
