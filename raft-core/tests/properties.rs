//! Properties over many histories and logs, against brute force. (What a majority is, and the search in one log, are tested beside their
//! code: `src/quorum.rs`, `src/log_view.rs`; who gets a vote, and what an append does, for every small log, in `tests/tables`.)

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::harness::Cluster;
use proptest::prelude::*;
use raft_core::{
    AppendResult, Config, Envelope, HardState, Index, LogId, MemberId, Message, RoleName,
};

fn config(seed: u64) -> Config {
    Config {
        election_timeout_ticks: 10,
        heartbeat_ticks: 3,
        ..Config::new(seed)
    }
}

// ---- where two logs part ----

/// Whether these may be the logs of two nodes (Log Matching, paper fig. 3): the same term at the same index only behind a common front.
fn may_coexist(a: &[u64], b: &[u64]) -> bool {
    let common = common_front(a, b);
    a.iter().zip(b).skip(common).all(|(a, b)| a != b)
}

fn common_front(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// How often a term begins in a log.
fn terms_of(log: &[u64]) -> usize {
    let mut terms = log.to_vec();
    terms.dedup();
    terms.len()
}

/// A leader with one log repairs a follower with the other. Its search ends exactly where the two part, has never looked in front of that,
/// and took no more questions than there are terms (paper §5.3, last paragraphs).
fn repairs(leader: &[u64], follower: &[u64]) {
    let logs = [leader.to_vec(), follower.to_vec(), leader.to_vec()];
    let term = 9;
    let mut cluster = Cluster::scripted(config(7), &logs, &[term; 3]);
    while cluster.leader() != Some(1) {
        if cluster.net.is_empty() {
            cluster.tick(1, 1);
        }
        for envelope in std::mem::take(&mut cluster.net) {
            cluster.deliver(envelope);
        }
    }
    let common = common_front(leader, follower) as u64;
    let mut refusals = 0;
    let agreed = loop {
        let to_n2 = |envelope: &Envelope| envelope.to.node.0 == 2;
        let at = cluster.net.iter().position(to_n2).expect("a probe");
        let probe = cluster.net.remove(at).unwrap();
        let Message::AppendRequest { prev, .. } = &probe.message else {
            panic!("{probe:?}");
        };
        let prev = prev.index.0;
        assert!(prev >= common, "{leader:?} looks at {prev} in {follower:?}");
        cluster.deliver(probe);
        let answer = cluster.net.pop_back().unwrap();
        let Message::AppendResponse { result, .. } = answer.message else {
            panic!("{answer:?}");
        };
        cluster.deliver(answer);
        match result {
            AppendResult::Conflict { .. } => refusals += 1,
            AppendResult::Matched(_) | AppendResult::Full(_) => break prev,
        }
    };
    assert_eq!(agreed, common, "{leader:?} and {follower:?}");
    let terms = terms_of(leader).min(terms_of(follower)) + 1;
    assert!(
        refusals <= terms,
        "{refusals} refusals of {leader:?} by {follower:?}"
    );
    for _ in 0..12 {
        cluster.tick(1, 1);
        cluster.settle();
    }
    let log: Vec<u64> = cluster.nodes[&2]
        .disk
        .log
        .iter()
        .map(|entry| entry.id.term.0)
        .collect();
    assert_eq!(log, [leader, &[term + 1]].concat());
}

/// Every two logs of up to four entries in three terms.
#[test]
fn every_small_log_is_repaired() {
    let mut logs: Vec<Vec<u64>> = vec![Vec::new()];
    let mut longest = logs.clone();
    for _ in 0..4 {
        longest = longest
            .iter()
            .flat_map(|log| {
                (log.last().copied().unwrap_or(1)..=3).map(|term| [&log[..], &[term]].concat())
            })
            .collect();
        logs.extend(longest.iter().cloned());
    }
    let mut pairs = 0;
    for leader in &logs {
        for follower in logs.iter().filter(|log| may_coexist(leader, log)) {
            repairs(leader, follower);
            pairs += 1;
        }
    }
    assert!(pairs > 200, "only {pairs} pairs");
}

fn log() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1u64..9, 0..25).prop_map(|mut terms| {
        terms.sort_unstable();
        terms
    })
}

// ---- old messages ----

/// What of a node must not change for an old message's sake.
#[derive(Debug, PartialEq)]
struct Lasting {
    hard_state: HardState,
    log: Vec<LogId>,
    term: u64,
    vote: Option<MemberId>,
    role: RoleName,
    leader: Option<u64>,
    last: LogId,
    commit: Index,
    applied: usize,
    outcomes: usize,
    matched: Vec<Index>,
}

fn lasting(cluster: &Cluster, id: u64) -> Lasting {
    let node = &cluster.nodes[&id];
    let status = node.raft.as_ref().unwrap().status();
    Lasting {
        hard_state: node.disk.hard_state,
        log: node.disk.log.iter().map(|entry| entry.id).collect(),
        term: status.term.0,
        vote: status.voted_for,
        role: status.role,
        leader: status.leader.map(|leader| leader.0),
        last: status.last,
        commit: status.commit,
        applied: node.applied.len(),
        outcomes: node.outcomes.len(),
        matched: status.peers.iter().map(|peer| peer.matched).collect(),
    }
}

/// What happens in the history that the messages are of.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Ticks(u64, u32),
    Propose(u64),
    Read(u64),
    Transfer(u64),
    /// Delivers so many messages, and loses the one after them.
    Deliver(usize),
    Restart(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let id = || 1u64..4;
    prop_oneof![
        4 => (id(), 1u32..12).prop_map(|(id, ticks)| Deed::Ticks(id, ticks)),
        3 => id().prop_map(Deed::Propose),
        1 => id().prop_map(Deed::Read),
        1 => id().prop_map(Deed::Transfer),
        5 => (1usize..30).prop_map(Deed::Deliver),
        1 => id().prop_map(Deed::Restart),
    ]
}

/// Delivers the next message and keeps a copy of it.
fn deliver_one(cluster: &mut Cluster, old: &mut Vec<Envelope>) -> bool {
    let Some(envelope) = cluster.net.pop_front() else {
        return false;
    };
    old.push(envelope.clone());
    cluster.deliver(envelope);
    true
}

/// A history, and all that was said in it; in the end a cluster at rest, with a leader.
fn history(seed: u64, deeds: &[Deed]) -> (Cluster, Vec<Envelope>) {
    let mut cluster = Cluster::founded(config(seed), 3);
    let mut old = Vec::new();
    for (number, &deed) in deeds.iter().enumerate() {
        match deed {
            Deed::Ticks(id, ticks) => (0..ticks).for_each(|_| cluster.tick(id, 1)),
            Deed::Propose(id) => drop(cluster.propose(id, &[&number.to_string()])),
            Deed::Read(id) => drop(cluster.read(id)),
            Deed::Transfer(to) => {
                if let Some(leader) = cluster.leader() {
                    let _ = cluster.transfer(leader, Some(to));
                }
            }
            Deed::Deliver(count) => {
                for _ in 0..count {
                    deliver_one(&mut cluster, &mut old);
                }
                old.extend(cluster.net.pop_front());
            }
            Deed::Restart(id) => {
                cluster.crash(id, 0);
                cluster.start(id);
            }
        }
    }
    let rest = |cluster: &mut Cluster, old: &mut Vec<Envelope>, ticks: u32| {
        for _ in 0..ticks {
            for id in 1..=3 {
                cluster.tick(id, 1);
            }
            while deliver_one(cluster, old) {}
        }
    };
    rest(&mut cluster, &mut old, 60);
    while cluster.leader().is_none() {
        rest(&mut cluster, &mut old, 1);
    }
    rest(&mut cluster, &mut old, 40);
    (cluster, old)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_log_is_repaired(leader in log(), follower in log(), front in 0usize..20) {
        // Two that begin alike, and then as it comes.
        let front: Vec<u64> = leader.iter().copied().take(front).collect();
        let highest = front.last().copied().unwrap_or(0);
        let back = follower.into_iter().filter(|&term| term >= highest);
        let follower: Vec<u64> = front.iter().copied().chain(back).collect();
        prop_assume!(may_coexist(&leader, &follower));
        repairs(&leader, &follower);
    }

    /// F-P7, F-P9, F-N2, S-C26: a cluster at rest is sent every message of its whole history again, twice. No term, vote, log, commit
    /// index, role or leader changes, nothing is applied again, and no match falls; whatever is answered changes nothing either. Then the
    /// same with entries that are everywhere and committed nowhere.
    #[test]
    fn an_old_envelope_changes_nothing_that_counts(
        seed in any::<u64>(), deeds in prop::collection::vec(deed(), 0..60),
    ) {
        let (mut cluster, mut old) = history(seed, &deeds);
        say_again(&mut cluster, &old, true)?;
        let leader = cluster.leader().unwrap();
        for value in ["x", "y", "z"] {
            cluster.propose(leader, &[value]).unwrap();
            for append in std::mem::take(&mut cluster.net) {
                old.push(append.clone());
                cluster.deliver(append);
            }
            cluster.net.clear();
        }
        prop_assert!(lasting(&cluster, leader).commit < lasting(&cluster, leader).last.index);
        say_again(&mut cluster, &old, false)?;
    }
}

/// Delivers each of these twice; whatever is answered is delivered too, or lost.
fn say_again(cluster: &mut Cluster, old: &[Envelope], answered: bool) -> Result<(), TestCaseError> {
    let before: Vec<Lasting> = (1..=3).map(|id| lasting(cluster, id)).collect();
    for envelope in old.iter().flat_map(|envelope| [envelope, envelope]) {
        cluster.deliver(envelope.clone());
        if answered {
            cluster.settle();
        }
        cluster.net.clear();
        for (id, before) in (1..=3).zip(&before) {
            let now = lasting(cluster, id);
            prop_assert_eq!(&now, before, "n{} after {:?}", id, envelope);
        }
    }
    Ok(())
}
