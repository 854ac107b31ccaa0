//! Time (paper §5.2): when a node campaigns, and what a tick moves.

use std::collections::BTreeMap;

use raft_core::{Boot, Config, Effect, Identity, Message, Raft};

use crate::harness::{Cluster, membership};
use crate::{config, make_candidate, make_leader, status};

/// n1 of five, in a life and with a seed of its own.
fn fresh(seed: u64, node: u64) -> Raft {
    let identity = Identity {
        cluster: crate::harness::CLUSTER,
        member: crate::harness::member(node),
        boot: Boot(1),
    };
    let config = Config {
        election_timeout_ticks: 10,
        heartbeat_ticks: 3,
        ..Config::new(seed)
    };
    let mut raft = Raft::bootstrap(config, identity, membership(1..=5)).unwrap();
    carry_out(&mut raft);
    raft
}

/// Whether it asks for pre-votes.
fn carry_out(raft: &mut Raft) -> bool {
    let mut asks = false;
    while let Some(effect) = raft.next_effect() {
        match effect {
            Effect::Persist(job) => raft.persisted(job.id).unwrap(),
            Effect::Send(envelope) => {
                asks |= matches!(envelope.message, Message::PreVoteRequest { .. });
            }
            _ => {}
        }
    }
    asks
}

/// After how many ticks it campaigns.
fn timeout(raft: &mut Raft) -> u64 {
    let mut ticks = 0;
    loop {
        ticks += 1;
        raft.tick(1);
        if carry_out(raft) {
            return ticks;
        }
    }
}

/// S-B21, S-B23: of 10 to 19 ticks, T being 10, each comes, and about as often as any other: so after 10 ticks one in ten has
/// campaigned, after 15 six, after 19 all. It is drawn anew for each campaign.
#[test]
fn timeouts_are_spread_over_t_to_2t() {
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    let mut same = 0;
    for seed in 0..2000 {
        let mut raft = fresh(seed, 1);
        let (first, second) = (timeout(&mut raft), timeout(&mut raft));
        same += u32::from(first == second);
        for ticks in [first, second] {
            *counts.entry(ticks).or_default() += 1;
        }
    }
    let drawn: Vec<u64> = counts.keys().copied().collect();
    assert_eq!(drawn, (10..20).collect::<Vec<_>>());
    assert!(
        counts.values().all(|count| (320..480).contains(count)),
        "of 4000: {counts:?}"
    );
    assert!(
        (120..280).contains(&same),
        "{same} of 2000 drew the same twice"
    );
}

/// S-B22: of five nodes that lose their leader at the same moment, in under 30 of 100 cases do two campaign first at the same tick. (By chance
/// alone, it would be 23.) Node ids alone tell their seeds apart.
#[test]
fn few_campaign_at_the_same_tick() {
    let mut conflicts = 0;
    for seed in 0..1000 {
        let timeouts: Vec<u64> = (1..=5).map(|id| timeout(&mut fresh(seed, id))).collect();
        let first = timeouts.iter().min().unwrap();
        conflicts += u32::from(timeouts.iter().filter(|&t| t == first).count() > 1);
    }
    assert!(conflicts < 300, "{conflicts} of 1000");
    assert!(conflicts > 100, "{conflicts} of 1000: too few to be chance");
}

/// S-J1: a tick by itself moves nothing but time, in any role: no term, vote, log, commit index or role, and nothing is sent, until a
/// deadline is reached.
#[test]
fn a_tick_moves_only_timers() {
    let followers = || Cluster::scripted(config(), &vec![vec![1]; 3], &[]);
    let mut candidate = followers();
    make_candidate(&mut candidate, 1);
    let mut leader = followers();
    make_leader(&mut leader, 1);
    leader.settle();
    for mut cluster in [followers(), candidate, leader] {
        cluster.net.clear();
        let mut before = status(&cluster, 1);
        cluster.tick(1, 1);
        let mut after = status(&cluster, 1);
        assert!(cluster.net.is_empty(), "{:?} sends", after.role);
        // How long peers have been silent is a timer.
        for peer in before.peers.iter_mut().chain(&mut after.peers) {
            peer.silent_ticks = None;
        }
        assert_eq!(before, after);
    }
}
