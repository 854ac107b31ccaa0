//! Snapshots on their way, over a network that is slow and breaks.

use std::time::Instant;

use xtask::chaos::{Load, election_arguments};
use xtask::local::wait_for;
use xtask::random::Random;

use crate::harness::{PATIENCE, T, TestCluster, alone, prepared_with};
use crate::looks::put;

const VALUE_BYTES: usize = 64 << 10;
/// How many such values are written while a node is away: more than stays in the log, so that it needs a snapshot.
const VALUES: usize = 48;
const STORE_BYTES: u64 = (VALUES * VALUE_BYTES) as u64;

/// Three nodes of which one, a follower, has missed so much that it needs a snapshot; it is not started. Which one.
fn one_far_behind() -> (TestCluster, u8) {
    let mut arguments = election_arguments(T);
    for (flag, size) in [("--snapshot-bytes", "1MiB"), ("--segment-bytes", "1MiB")] {
        arguments.extend([flag.to_owned(), size.to_owned()]);
    }
    let mut cluster = prepared_with(3, arguments, alone());
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    let away = cluster.follower();
    cluster.node(away).unwrap().kill().unwrap();
    write(&cluster, "large");
    (cluster, away)
}

/// As many values as the store is to have.
fn write(cluster: &TestCluster, prefix: &str) {
    let mut shell = cluster.patient_shell();
    let value = "v".repeat(VALUE_BYTES);
    for key in 0..VALUES {
        put(&mut shell, &format!("{prefix}-{key}"), &value);
    }
}

/// How often a node has said this.
fn said(cluster: &mut TestCluster, id: u8, words: &str) -> usize {
    let lines = cluster.node(id).unwrap().journal.lines();
    lines.iter().filter(|line| line.contains(words)).count()
}

/// Waits until so many bytes more have reached a node.
fn wait_passed(cluster: &TestCluster, to: u8, more_bytes: u64) {
    let until = cluster.network().passed_to(to) + more_bytes;
    wait_for("more of the snapshot to arrive", PATIENCE, || {
        let passed = cluster.network().passed_to(to);
        anyhow::ensure!(passed >= until, "{passed} of {until} bytes");
        Ok(())
    })
    .unwrap();
}

/// The connection breaks at random places of the transfer: it goes on where it stopped. Then the leader dies in one, and another goes on
/// with it, or begins it anew; either ends.
#[test]
fn a_transfer_that_breaks_goes_on_and_ends() {
    let seed = Random::fresh_seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut cluster, away) = one_far_behind();
    let before = cluster.network().passed_to(away);
    cluster.network().throttle(away, Some(4 << 20));
    cluster.start(away).unwrap();
    for _ in 0..3 {
        let part = random.within(STORE_BYTES / 8, STORE_BYTES / 4);
        wait_passed(&cluster, away, part);
        cluster.network().break_connections(away);
    }
    cluster.wait_for_row(away, "the snapshot to be installed", |row| row["lag"] == 0);
    let passed = cluster.network().passed_to(away) - before;
    println!("{passed} bytes for a store of {STORE_BYTES}");
    assert!(said(&mut cluster, away, "snapshot received") > 0);
    // Begun anew each time, it would be 1.5 times as much at the very least.
    assert!(passed < STORE_BYTES * 3 / 2, "{passed} bytes");

    cluster.node(away).unwrap().kill().unwrap();
    write(&cluster, "more");
    let leader = cluster.leader();
    cluster.start(away).unwrap();
    wait_passed(&cluster, away, random.within(STORE_BYTES / 8, STORE_BYTES));
    cluster.node(leader).unwrap().kill().unwrap();
    cluster.wait_for_row(away, "the other's snapshot to be installed", |row| {
        row["lag"] == 0
    });
    cluster.network().throttle(away, None);
    cluster.start(leader).unwrap();
    cluster.assert_works("afterwards");
    assert!(said(&mut cluster, away, "snapshot received") > 1);
    cluster.assert_equal();
    cluster.assert_nothing_unfinished();
}

/// F-N9: over a slow line a snapshot takes many election timeouts. Heartbeats go beside it, so nobody campaigns, and others write.
#[test]
fn a_slow_transfer_holds_up_no_heartbeat() {
    let (mut cluster, away) = one_far_behind();
    let term = cluster.term();
    cluster.network().throttle(away, Some(1 << 20));
    let begun = Instant::now();
    cluster.start(away).unwrap();
    let load = Load::start(&cluster.client(), "beside-", 2).unwrap();
    cluster.wait_for_row(away, "the snapshot to be installed", |row| {
        row["first"].as_u64() > Some(VALUES as u64 / 2)
    });
    println!("the transfer took {:?}", begun.elapsed());
    load.wait_acknowledged(10, PATIENCE).unwrap();
    let ledger = load.finish().unwrap();
    assert!(said(&mut cluster, away, "snapshot received") > 0);
    assert_eq!(cluster.term(), term, "somebody was elected");
    assert_eq!(said(&mut cluster, away, "role=\"candidate\""), 0);
    assert_eq!(said(&mut cluster, away, "pre-candidate"), 0);
    cluster.network().throttle(away, None);
    let client = cluster.client().with_timeout(PATIENCE);
    println!("{}", ledger.check(&client, "beside-").unwrap());
    cluster.assert_equal();
}
