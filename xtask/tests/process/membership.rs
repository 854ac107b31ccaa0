//! Clusters that grow and shrink under load, and a node whose disk is gone.

use xtask::chaos::grow_and_shrink;
use xtask::local::{NodeState, wait_for};
use xtask::random::Random;

use crate::harness::{PATIENCE, started};

/// `cargo xtask chaos grow --release` does the same.
#[test]
fn one_node_becomes_five_and_three_and_nothing_is_lost() {
    let seed = Random::fresh_seed();
    println!("seed {seed}");
    let mut cluster = started(1);
    let verdict = grow_and_shrink(&mut cluster, 4, &mut Random::new(seed)).unwrap();
    println!("{verdict}");
    assert!(verdict.acknowledged > 120, "{verdict:?}");
}

/// A disk is gone: the node says so and what to do, the status names it, and one command takes it in again; then it counts.
#[test]
fn a_wiped_node_is_named_and_comes_back_by_one_command() {
    let mut cluster = started(3);
    cluster.put("before", "1");
    let leader = cluster.leader();
    let lost = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.node(lost).unwrap().kill().unwrap();
    std::fs::remove_dir_all(cluster.data_dir(lost)).unwrap();

    // With its old flags it refuses to start, and says what to do.
    cluster.start(lost).unwrap();
    let status = cluster.node(lost).unwrap().wait(PATIENCE).unwrap();
    let said = cluster.node(lost).unwrap().journal.last_line().unwrap();
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(
        said.contains("--join") && said.contains(&format!("member add {lost} ")),
        "{said}"
    );

    // The status names it.
    let named = format!("node {lost} came with another data directory");
    wait_for("the status to name it", PATIENCE, || {
        let members = cluster.client().members()?;
        let text = serde_json::to_string(&members)?;
        anyhow::ensure!(text.contains(&named), "{text}");
        Ok(())
    })
    .unwrap();

    // Started to be taken in, one command does it.
    cluster.start_to_join(lost).unwrap();
    let address = cluster.endpoint(lost);
    let add = ["member", "add", &lost.to_string(), &address];
    wait_for("the node to be taken in", PATIENCE, || {
        cluster.client().run(&add)?.success()
    })
    .unwrap();
    // It counts: with it alone beside one of the others, writes are acknowledged.
    let other = cluster
        .ids()
        .into_iter()
        .find(|id| *id != leader && *id != lost)
        .unwrap();
    wait_for("it to vote", PATIENCE, || {
        let listed = cluster.client().run(&["member", "list"])?.success()?;
        anyhow::ensure!(listed.matches("voter").count() == 3, "{listed}");
        Ok(())
    })
    .unwrap();
    cluster.node(other).unwrap().kill().unwrap();
    cluster.put("after", "2");
    assert_eq!(cluster.get("before"), "1");

    // From now on its directory says what it is, whatever the flags.
    cluster.node(lost).unwrap().kill().unwrap();
    cluster.start(lost).unwrap();
    cluster.put("and again", "3");
    assert_eq!(cluster.node(lost).unwrap().state(), NodeState::Running);
}

/// Told to stop, a leader hands over: writes go on at once, not after an election timeout, and none fails.
#[test]
fn a_rolling_restart_fails_no_request() {
    let mut cluster = started(3);
    let load = xtask::chaos::Load::start(&cluster.client(), "rolling-", 4).unwrap();
    for id in cluster.ids() {
        load.wait_acknowledged(20, PATIENCE).unwrap();
        let node = cluster.node(id).unwrap();
        node.ask_to_stop().unwrap();
        assert!(node.wait(PATIENCE).unwrap().success());
        cluster.start(id).unwrap();
        load.wait_acknowledged(20, PATIENCE).unwrap();
    }
    let ledger = load.finish().unwrap();
    let client = cluster.client().with_timeout(PATIENCE);
    let verdict = ledger.check(&client, "rolling-").unwrap();
    println!("{verdict}");
    assert_eq!((verdict.unknown, verdict.refused), (0, 0), "{verdict:?}");
}
