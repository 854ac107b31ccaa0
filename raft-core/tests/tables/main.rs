//! Behaviours that are a table rather than a story: every combination of a few small numbers, against the rule as the paper words it,
//! counted dumbly. What is a story stands in `tests/golden`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod appends;
mod commits;
#[path = "../harness/mod.rs"]
mod harness;
mod snapshots;
mod start;
mod time;
mod votes;

use bytes::Bytes;
use harness::Cluster;
use raft_core::{
    Boot, Config, Envelope, LogId, Message, Raft, Recovered, RequestId, Sender, Status, Term,
};

/// Short timeouts, which the tables count in.
fn config() -> Config {
    Config {
        election_timeout_ticks: 10,
        heartbeat_ticks: 3,
        ..Config::new(7)
    }
}

fn status(cluster: &Cluster, id: u64) -> Status {
    cluster.nodes[&id].raft.as_ref().unwrap().status()
}

/// What `from` says to `to` in `term`.
fn say(cluster: &mut Cluster, from: u64, to: u64, term: u64, message: Message) {
    cluster.deliver(Envelope {
        cluster: harness::CLUSTER,
        from: Sender {
            member: harness::member(from),
            boot: Boot(cluster.nodes[&from].boot),
        },
        to: harness::member(to),
        term: Term(term),
        message,
    });
}

/// The id of the newest request for votes that is on its way from `from`.
fn vote_request(cluster: &Cluster, from: u64) -> RequestId {
    let ids = cluster.net.iter().filter_map(|envelope| {
        let id = match envelope.message {
            Message::VoteRequest { id, .. } => id,
            _ => return None,
        };
        (envelope.from.member.node.0 == from).then_some(id)
    });
    ids.max().expect("a request is on its way")
}

/// Time passes on `id` alone until it asks for pre-votes; they are granted by whoever would, and the votes are left on their way.
fn make_candidate(cluster: &mut Cluster, id: u64) {
    while !cluster
        .net
        .iter()
        .any(|envelope| matches!(envelope.message, Message::VoteRequest { .. }))
    {
        if cluster.net.is_empty() {
            cluster.tick(id, 1);
        }
        for envelope in std::mem::take(&mut cluster.net) {
            cluster.deliver(envelope);
        }
    }
}

/// `id` becomes the leader; its first appends are left on their way.
fn make_leader(cluster: &mut Cluster, id: u64) {
    make_candidate(cluster, id);
    while cluster.leader() != Some(id) {
        for envelope in std::mem::take(&mut cluster.net) {
            cluster.deliver(envelope);
        }
        assert!(!cluster.net.is_empty(), "n{id} does not win");
    }
}

/// Every list of at most `len` terms of 1 to `max` that never fall: every log there can be.
fn logs(len: usize, max: u64) -> Vec<Vec<u64>> {
    let mut all = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..len {
        longest = longest
            .iter()
            .flat_map(|log: &Vec<u64>| {
                (log.last().copied().unwrap_or(1)..=max)
                    .map(move |term| [&log[..], &[term]].concat())
            })
            .collect();
        all.extend(longest.iter().cloned());
    }
    all
}

/// The id of the last entry of a log.
fn last_of(log: &[u64]) -> LogId {
    LogId::new(log.len() as u64, log.last().copied().unwrap_or(0))
}

/// The terms on a node's disk.
fn terms_on_disk(cluster: &Cluster, id: u64) -> Vec<u64> {
    let log = &cluster.nodes[&id].disk.log;
    log.iter().map(|entry| entry.id.term.0).collect()
}

/// A core of its own, as one that was recovered from these parts.
fn recovered(change: impl FnOnce(&mut Recovered)) -> Result<Raft, raft_core::RecoverError> {
    let mut disk = Recovered {
        identity: raft_core::Identity {
            cluster: harness::CLUSTER,
            member: harness::member(1),
            boot: Boot(2),
        },
        hard_state: raft_core::HardState::default(),
        base: LogId::ZERO,
        snapshot: None,
        runs: Vec::new(),
        last: raft_core::Index::ZERO,
        memberships: Vec::new(),
        applied: raft_core::Index::ZERO,
    };
    change(&mut disk);
    Raft::recover(config(), disk)
}

fn command(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
