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
    let check = cluster.client().json(&["check"]).unwrap();
    assert_eq!(check["equal"], true, "{check}");
    assert_eq!(check["members"].as_array().unwrap().len(), 3, "{check}");
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

/// Whoever asks that a node votes is told when it does not yet; and asking again is safe.
#[test]
fn a_node_that_does_not_vote_yet_is_no_success() {
    let mut cluster = started(1);
    let id = cluster.add().unwrap();
    let (name, address) = (id.to_string(), cluster.endpoint(id));
    let mut client = cluster.client();
    wait_for("the node to be taken in", PATIENCE, || {
        client.run(&["member", "add", &name, &address])?.success()
    })
    .unwrap();
    cluster.node(id).unwrap().pause().unwrap();
    client = client.with_timeout(crate::harness::T * 6);
    for _ in 0..2 {
        let answer = client.run(&["member", "promote", &name]).unwrap();
        assert_eq!(answer.status, Some(1), "{answer:?}");
        assert!(answer.stderr.contains("does not vote yet"), "{answer:?}");
    }
    cluster.node(id).unwrap().resume().unwrap();
    client = client.with_timeout(PATIENCE);
    let promoted = client.run(&["member", "promote", &name]).unwrap();
    let listed = promoted.success().unwrap();
    assert_eq!(listed.matches("voter").count(), 2, "{listed}");
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

/// A store of 32 MiB, to which a node is added while clients write: it is sent a snapshot, nobody is elected meanwhile, the states are the
/// same, and nothing unfinished stays on any disk.
#[test]
fn a_node_is_added_to_a_large_store_by_snapshot_while_writes_go_on() {
    let mut arguments = xtask::chaos::election_arguments(crate::harness::T);
    arguments.extend(["--snapshot-every".to_owned(), "200".to_owned()]);
    let mut cluster = crate::harness::prepared_with(3, arguments, crate::harness::alone());
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    let mut shell = cluster.client().with_timeout(PATIENCE).shell().unwrap();
    let value = "v".repeat(64 << 10);
    for key in 0..512 {
        let put = shell.ask(&format!("put large-{key} {value}")).unwrap();
        assert!(put["revision"].is_u64(), "{put}");
    }
    let term = |cluster: &crate::harness::TestCluster| {
        let members = cluster.client().members().unwrap();
        members
            .iter()
            .filter_map(|member| member["term"].as_u64())
            .max()
    };
    let before = term(&cluster);

    let load = xtask::chaos::Load::start(&cluster.client(), "beside-", 4).unwrap();
    load.wait_acknowledged(50, PATIENCE).unwrap();
    let added = std::time::Instant::now();
    let id = cluster.add().unwrap();
    let address = cluster.endpoint(id);
    let add = ["member", "add", &id.to_string(), &address, "--voter"];
    wait_for("the node to be taken in", PATIENCE, || {
        cluster.client().run(&add)?.success()
    })
    .unwrap();
    wait_for("it to vote, from a snapshot", PATIENCE, || {
        let listed = cluster.client().run(&["member", "list"])?.success()?;
        anyhow::ensure!(listed.matches("voter").count() == 4, "{listed}");
        let members = cluster.client().members()?;
        let row = members.iter().find(|member| member["id"] == id);
        let first = row.and_then(|row| row["first"].as_u64());
        anyhow::ensure!(first.is_some_and(|first| first > 100), "{row:?}");
        Ok(())
    })
    .unwrap();
    load.wait_acknowledged(50, PATIENCE).unwrap();
    let longest = load.longest_silence(added);
    println!("no writer waited longer than {longest:?}");
    let ledger = load.finish().unwrap();
    assert_eq!(term(&cluster), before, "nobody was elected");
    let client = cluster.client().with_timeout(PATIENCE);
    println!("{}", ledger.check(&client, "beside-").unwrap());
    let check = client.json(&["check"]).unwrap();
    assert_eq!(
        (&check["equal"], check["members"].as_array().unwrap().len()),
        (&true.into(), 4),
        "{check}"
    );
    for node in cluster.ids() {
        let names: Vec<String> = std::fs::read_dir(cluster.data_dir(node))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        // One may be written at this moment; what was given up is not there.
        let unfinished = names.iter().filter(|name| name.ends_with(".tmp")).count();
        assert!(unfinished <= 1, "{names:?}");
    }
}
