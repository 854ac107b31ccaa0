//! Random runs: crashes, lost, repeated and reordered messages, slow and dying disks, pauses, changes of the membership of every
//! kind, transfers of the lead; the safety properties checked at
//! every step, and in the end, with all well again, a leader, progress, and equal logs.
//!
//! `RAFT_SEED=n` replays one run, `RAFT_SEEDS=n` makes more of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::harness::{Checker, Cluster};
use raft_core::{Config, Envelope, RoleName, SnapshotPolicy};

/// xorshift64*, as good as any here.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// How rough a run is; drawn for each, so that some faults are absent from some runs.
struct Faults {
    lose: u64,
    repeat: u64,
    reorder: u64,
    crash: u64,
    hold: u64,
    cut: u64,
    slow: u64,
    change: u64,
    transfer: u64,
    full: u64,
}

/// How many nodes there may be, members or not.
const NODES_MAX: u64 = 7;

fn run(seed: u64) -> [u64; 6] {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut config = Config::new(seed);
    config.election_timeout_ticks = 10;
    config.heartbeat_ticks = 3;
    config.tail_bytes_max = [1, 200, 1 << 20][rng.below(3) as usize];
    config.batch_bytes_max = [1, 100, 1 << 20][rng.below(3) as usize];
    config.inflight_appends_max = 1 + rng.below(4) as usize;
    config.apply_bytes_max = [1, 1 << 20][rng.below(2) as usize];
    if rng.chance(60) {
        config.snapshots = Some(SnapshotPolicy {
            entries_max: 1 + rng.below(20),
            bytes_max: [1, 300, 1 << 20][rng.below(3) as usize],
            tail_entries: rng.below(6),
            tail_bytes: [0, 100, 1 << 20][rng.below(3) as usize],
        });
    }
    let nodes = [1, 2, 3, 3, 3, 5][rng.below(6) as usize];
    let mut pick = |max: u64| if rng.chance(50) { rng.below(max) } else { 0 };
    let faults = Faults {
        lose: pick(30),
        repeat: pick(30),
        reorder: pick(50),
        crash: pick(4),
        hold: pick(20),
        cut: pick(6),
        slow: pick(60),
        change: pick(8),
        transfer: pick(4),
        full: pick(50),
    };

    let mut cluster = Cluster::founded(config, nodes);
    let mut old: Vec<Envelope> = Vec::new();
    for step in 0..1500 {
        one_step(&mut cluster, &mut rng, &faults, &mut old, step);
        cluster.take_trace();
        if step % 50 == 0 {
            Checker::check_memberships(&cluster.nodes);
        }
    }
    Checker::check_memberships(&cluster.nodes);
    Checker::check_log_matching(&cluster.nodes);
    heal(&mut cluster);
    let Checker {
        elections,
        commits,
        taken,
        installed,
        changes,
        handed_over,
        ..
    } = cluster.checker;
    [elections, commits, taken, installed, changes, handed_over]
}

fn one_step(
    cluster: &mut Cluster,
    rng: &mut Rng,
    faults: &Faults,
    old: &mut Vec<Envelope>,
    step: u64,
) {
    let ids = cluster.ids();
    let id = ids[rng.below(ids.len() as u64) as usize];
    if rng.chance(faults.crash) {
        if cluster.is_up(id) {
            let kept = rng.below(cluster.nodes[&id].jobs.len() as u64 + 1) as usize;
            cluster.crash(id, kept);
        } else {
            cluster.start(id);
        }
    }
    if rng.chance(faults.cut) {
        let other = ids[rng.below(ids.len() as u64) as usize];
        if rng.chance(40) {
            cluster.cut.clear();
        } else {
            cluster.cut.insert((id, other));
        }
    }
    if cluster.is_up(id) {
        cluster.node(id).hold = rng.chance(faults.hold);
        if rng.chance(3) {
            let full = rng.chance(faults.full);
            cluster.raft(id).storage_full(full);
        }
        if rng.chance(10) {
            cluster.node(id).slow = rng.chance(faults.slow);
        }
        cluster.chore(id, !rng.chance(faults.slow / 4) || cluster.installs(id));
        match rng.below(8) {
            0..=2 => cluster.tick(id, 1),
            3 if rng.chance(3) => cluster.tick(id, 50),
            4 | 5 => {
                let value = format!("{step}");
                let _ = cluster.propose(id, &[&value]);
            }
            6 => {
                let _ = cluster.read(id);
            }
            _ => {
                let waiting = cluster.nodes[&id].jobs.len() as u64;
                cluster.save(id, rng.below(waiting + 1) as usize);
            }
        }
    }
    if rng.chance(faults.change) {
        change(cluster, rng);
    }
    if rng.chance(faults.transfer)
        && let Some(leader) = cluster.leader()
    {
        let to = 1 + rng.below(NODES_MAX);
        let _ = cluster.transfer(leader, rng.chance(50).then_some(to));
    }
    for _ in 0..rng.below(6) {
        if cluster.net.is_empty() {
            break;
        }
        let at = if rng.chance(faults.reorder) {
            rng.below(cluster.net.len() as u64) as usize
        } else {
            0
        };
        let Some(envelope) = cluster.net.remove(at) else {
            break;
        };
        if rng.chance(faults.repeat) {
            cluster.net.push_back(envelope.clone());
            old.push(envelope.clone());
        }
        if rng.chance(faults.lose) {
            cluster.lose(&envelope);
        } else {
            cluster.deliver(envelope);
        }
    }
    // A message from long ago (F-N2).
    if rng.chance(faults.repeat / 4) && !old.is_empty() {
        let envelope = old[rng.below(old.len() as u64) as usize].clone();
        cluster.deliver(envelope);
    }
}

/// Asks whoever leads for a change of one to three steps, on nodes old and new.
fn change(cluster: &mut Cluster, rng: &mut Rng) {
    let Some(leader) = cluster.leader() else {
        return;
    };
    let mut steps = Vec::new();
    for _ in 0..1 + rng.below(3) {
        let id = 1 + rng.below(NODES_MAX);
        if !cluster.nodes.contains_key(&id) {
            cluster.join(id, id);
        }
        let kinds = [
            "voter",
            "promotable",
            "promotable",
            "learner",
            "remove",
            "remove",
        ];
        let more = ["demote", "vote", "promote", "priority"];
        let kind = match rng.below(3) {
            0 => more[rng.below(4) as usize],
            _ => kinds[rng.below(6) as usize],
        };
        let value = format!("{id}:{}", rng.below(4));
        steps.extend(crate::harness::parse_step(kind, &value));
    }
    let _ = cluster.change(leader, steps, None);
}

/// Whether nothing is left to do but to wait for the next proposal.
fn is_settled(cluster: &Cluster) -> bool {
    let Some(leader) = cluster.leader() else {
        return false;
    };
    let status = cluster.nodes[&leader].raft.as_ref().unwrap().status();
    let membership = &status.membership;
    let waits = |node| membership.member(node).unwrap().promote;
    status.membership_committed
        && !membership.is_joint()
        && membership.is_voter(status.identity.member)
        && status.transfer_to.is_none()
        && !membership.learners().any(waits)
}

/// Who is what, for whoever has to find out why.
fn picture(cluster: &Cluster) -> String {
    let line = |node: &crate::harness::Node| {
        let status = node.raft.as_ref().unwrap().status();
        let membership = crate::harness::describe_membership(&status.membership);
        format!(
            "n{} {:?} term {} last {} commit {} knows {membership} at {}\n",
            node.id, status.role, status.term, status.last, status.commit, status.membership_at
        )
    };
    cluster.nodes.values().map(line).collect()
}

/// The leader answers reads, and so does every member that follows it.
fn read_everywhere(cluster: &mut Cluster, leader: u64) -> Vec<(u64, u64)> {
    let members = cluster.raft(leader).status().membership;
    let is_member = |id: &u64| members.contains(cluster.nodes[id].member());
    let ids: Vec<u64> = cluster.ids().into_iter().filter(is_member).collect();
    ids.into_iter()
        .map(|id| (id, cluster.read(id).unwrap()))
        .collect()
}

/// All is well from here on: the cluster must find a leader, commit, answer a read, and end with equal logs.
fn heal(cluster: &mut Cluster) {
    cluster.cut.clear();
    for id in cluster.ids() {
        if !cluster.is_up(id) {
            cluster.start(id);
        }
        cluster.node(id).hold = false;
        cluster.node(id).slow = false;
        cluster.raft(id).storage_full(false);
        while !cluster.nodes[&id].chores.is_empty() {
            cluster.chore(id, true);
        }
        cluster.save(id, usize::MAX);
    }
    let round = |cluster: &mut Cluster| {
        for id in cluster.ids() {
            cluster.tick(id, 1);
        }
        cluster.settle();
        cluster.take_trace();
    };
    // What is left of the storm blows over: someone may still find out that it leads no more.
    for _ in 0..40 {
        round(cluster);
    }
    let mut rounds = 0;
    while !is_settled(cluster) {
        round(cluster);
        rounds += 1;
        assert!(
            rounds < 400,
            "no leader, or a change that does not end, after {rounds} ticks of calm:\n{}",
            picture(cluster)
        );
    }
    let leader = loop {
        let Some(leader) = cluster.leader() else {
            round(cluster);
            continue;
        };
        if cluster.propose(leader, &["last"]).is_ok() {
            break leader;
        }
    };
    let reads = read_everywhere(cluster, leader);
    for _ in 0..60 {
        round(cluster);
    }
    let leader_now = cluster.leader().unwrap();
    assert_eq!(leader_now, leader, "the lead changed hands in calm");
    for (id, read) in reads {
        let answered = cluster.nodes[&id].reads.get(&read);
        assert_eq!(answered, Some(&true), "n{id}: a read in calm");
    }
    let applied = cluster.nodes[&leader].applied.clone();
    let leading = cluster.nodes[&leader].raft.as_ref().unwrap().status();
    for node in cluster.nodes.values() {
        let status = node.raft.as_ref().unwrap().status();
        if !leading.membership.contains(node.member()) {
            continue;
        }
        assert_eq!(status.membership, leading.membership, "n{}", node.id);
        assert_eq!(
            node.applied, applied,
            "n{} has applied something else than its leader",
            node.id
        );
        assert_eq!(
            status.applied, status.last.index,
            "n{} has not applied everything",
            node.id
        );
        assert!(
            status.role == RoleName::Leader || status.leader.is_some(),
            "n{} knows of no leader",
            node.id
        );
    }
}

#[test]
fn safety_at_every_step_and_progress_in_calm() {
    let env = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().expect("a number"))
    };
    let seeds = match env("RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..env("RAFT_SEEDS").unwrap_or(300),
    };
    let count = seeds.end - seeds.start;
    let mut sums = [0; 6];
    for seed in seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        match result {
            Ok(counts) => sums
                .iter_mut()
                .zip(counts)
                .for_each(|(sum, count)| *sum += count),
            Err(panic) => {
                eprintln!(
                    "replay with: RAFT_SEED={seed} cargo test -p raft-core --test all random::"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    let [elections, commits, taken, installed, changes, handed_over] = sums;
    println!(
        "{count} seeds, {elections} elections, {commits} entries committed, {taken} snapshots taken, {installed} installed, \
         {changes} memberships committed, {handed_over} campaigns for a transfer"
    );
    if count > 1 {
        assert!(
            elections > 2 * count && commits > 20 * count,
            "the runs reach too little: {elections} elections, {commits} commits"
        );
        assert!(
            changes > 3 * count && handed_over > count / 4,
            "the runs reach too little: {changes} memberships, {handed_over} transfers"
        );
        assert!(
            taken > 10 * count && installed > count / 2,
            "the runs reach too little: {taken} snapshots taken, {installed} installed"
        );
    }
}
