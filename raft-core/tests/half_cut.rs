//! Networks that are cut in part: some nodes hear some others. Wherever one node is left that a majority hears and that hears a
//! majority, the cluster has a leader, keeps it, and commits; and keeps it still when the network is whole again (thesis §4.2.3, §6.2, §9.6;
//! F-P14, F-P15, F-N1). Without CheckQuorum the first fails, without pre-votes the last. `RAFT_SEED=n` runs one seed, `RAFT_SEEDS=n` more of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::harness::Cluster;
use raft_core::{Config, Outcome};

/// Five nodes, and who hears whom: pairs in both directions, then some in one.
struct Network {
    name: &'static str,
    both: &'static [(u64, u64)],
    one_way: &'static [(u64, u64)],
}

const ALL: &[(u64, u64)] = &[
    (1, 2),
    (1, 3),
    (1, 4),
    (1, 5),
    (2, 3),
    (2, 4),
    (2, 5),
    (3, 4),
    (3, 5),
    (4, 5),
];

const NETWORKS: [Network; 7] = [
    Network {
        name: "whole",
        both: ALL,
        one_way: &[],
    },
    Network {
        name: "a bridge: 3 hears both halves, which do not hear each other",
        both: &[(1, 2), (1, 3), (2, 3), (3, 4), (3, 5), (4, 5)],
        one_way: &[],
    },
    Network {
        name: "a star: all hear 3 alone",
        both: &[(1, 3), (2, 3), (3, 4), (3, 5)],
        one_way: &[],
    },
    Network {
        name: "a chain",
        both: &[(1, 2), (2, 3), (3, 4), (4, 5)],
        one_way: &[],
    },
    Network {
        name: "a ring",
        both: &[(1, 2), (2, 3), (3, 4), (4, 5), (1, 5)],
        one_way: &[],
    },
    Network {
        name: "1 is heard, and hears nobody",
        both: &[(2, 3), (2, 4), (2, 5), (3, 4), (3, 5), (4, 5)],
        one_way: &[(1, 2), (1, 3), (1, 4), (1, 5)],
    },
    Network {
        name: "1 hears, and nobody hears it",
        both: &[(2, 3), (2, 4), (2, 5), (3, 4), (3, 5), (4, 5)],
        one_way: &[(2, 1), (3, 1), (4, 1), (5, 1)],
    },
];

fn cut(cluster: &mut Cluster, network: &Network) {
    for from in 1..=5 {
        for to in (1..=5).filter(|&to| to != from) {
            let both = network.both.contains(&(from.min(to), from.max(to)));
            if !both && !network.one_way.contains(&(from, to)) {
                cluster.cut.insert((from, to));
            }
        }
    }
}

fn run(cluster: &mut Cluster, ticks: u32) {
    for _ in 0..ticks {
        for id in cluster.ids() {
            cluster.tick(id, 1);
        }
        cluster.settle();
    }
    cluster.take_trace();
}

/// Whether someone takes a proposal and commits it.
fn commits(cluster: &mut Cluster) -> bool {
    for id in cluster.ids() {
        let Ok(numbers) = cluster.propose(id, &["x"]) else {
            continue;
        };
        run(cluster, 8);
        if matches!(
            cluster.nodes[&id].outcomes.get(&numbers[0]),
            Some(Outcome::Committed(_))
        ) {
            return true;
        }
    }
    false
}

/// n1 to n5 elect `leader`, then the network is cut: someone leads, commits, and goes on leading.
fn check(seed: u64, network: &Network, leader: u64) {
    let config = Config {
        election_timeout_ticks: 10,
        heartbeat_ticks: 3,
        ..Config::new(seed)
    };
    let mut cluster = Cluster::founded(config, 5);
    while cluster.leader().is_none() {
        run(&mut cluster, 1);
    }
    let first = cluster.leader().unwrap();
    if first != leader {
        cluster.transfer(first, Some(leader)).unwrap();
    }
    run(&mut cluster, 12);
    assert_eq!(cluster.leader(), Some(leader));

    cut(&mut cluster, network);
    run(&mut cluster, 150);
    assert!(commits(&mut cluster), "nothing is committed");
    let elections = cluster.checker.elections;
    run(&mut cluster, 300);
    assert!(commits(&mut cluster), "nothing is committed later");
    cluster.cut.clear();
    run(&mut cluster, 100);
    assert!(commits(&mut cluster), "nothing is committed in the end");
    let more = cluster.checker.elections - elections;
    assert_eq!(more, 0, "{more} more leaders in 40 timeouts");
}

#[test]
fn a_healthy_majority_has_a_leader_and_keeps_it() {
    let env = |name: &str| std::env::var(name).ok().map(|value| value.parse().unwrap());
    let seeds = match env("RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..env("RAFT_SEEDS").unwrap_or(4),
    };
    for seed in seeds {
        for network in &NETWORKS {
            for leader in 1..=5 {
                let result = std::panic::catch_unwind(|| check(seed, network, leader));
                if let Err(panic) = result {
                    eprintln!("led by n{leader}, then {}", network.name);
                    eprintln!(
                        "replay with: RAFT_SEED={seed} cargo test -p raft-core --test all half_cut::"
                    );
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}
