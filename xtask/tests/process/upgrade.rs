//! A rolling upgrade between two builds: the shipped one, and one that plays the next release, which speaks a newer protocol, follows cluster
//! version 2, and has a command that only that version has (`raft-kv/src/wire/next.rs`).

use anyhow::ensure;
use serde_json::Value;
use xtask::chaos::{Load, election_arguments};
use xtask::local::{Client, wait_for};

use crate::harness::{PATIENCE, T, TestCluster, alone, binaries, next_binaries, prepared_with};

/// A cluster of the shipped programs, which takes snapshots often.
fn started() -> TestCluster {
    let mut arguments = election_arguments(T);
    // A quarter of it stays behind a snapshot.
    arguments.extend(["--snapshot-bytes".to_owned(), "64KiB".to_owned()]);
    let mut cluster = prepared_with(3, arguments, alone());
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    cluster
}

/// A client of the next release; one of the shipped one is `cluster.client()` before the programs are changed.
fn new_client(cluster: &TestCluster) -> Client {
    Client::new(&next_binaries().client, cluster.endpoints()).with_timeout(PATIENCE)
}

fn restart(cluster: &mut TestCluster, id: u8) {
    let node = cluster.node(id).unwrap();
    node.ask_to_stop().unwrap();
    assert!(node.wait(PATIENCE).unwrap().success());
    cluster.start(id).unwrap();
}

/// Waits until every member answers and this is in force everywhere; the whole status.
fn in_force(client: &Client, version: u64) -> Value {
    wait_for(&format!("version {version} everywhere"), PATIENCE, || {
        let status = client.json(&["status"])?;
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let all = members.iter().all(|row| row["cluster_version"] == version);
        ensure!(all && !members.is_empty(), "{status}");
        Ok(status)
    })
    .unwrap()
}

/// Waits until the leader says that this node holds the version back.
fn held_back_by(client: &Client, id: u8) {
    let named = format!("node {id} runs release {}", env!("CARGO_PKG_VERSION"));
    wait_for(
        "the status to name who holds the version back",
        PATIENCE,
        || {
            let status = client.json(&["status"])?;
            let why = status["cluster_version_held_back"]
                .as_str()
                .unwrap_or_default();
            ensure!(why.contains(&named), "{status}");
            Ok(())
        },
    )
    .unwrap();
}

fn move_lead(client: &Client, id: u8) {
    wait_for("the lead to move", PATIENCE, || {
        if client.leader()? != id {
            client
                .run(&["leader", "move", &id.to_string()])?
                .success()?;
        }
        ensure!(client.leader()? == id);
        Ok(())
    })
    .unwrap();
}

/// The new command, which changes the state as no node of the shipped release could.
fn append(client: &Client, value: &str) -> (Option<i32>, String) {
    let answer = client.run(&["append", "journal", value]).unwrap();
    (answer.status, answer.stderr)
}

#[test]
fn a_rolling_upgrade_fails_no_request_and_ends_in_the_next_version() {
    let mut cluster = started();
    let old = cluster.client().with_timeout(PATIENCE);
    let new = new_client(&cluster);
    let load = Load::start(&old, "upgrade-", 4).unwrap();
    cluster.put("journal", "1");
    assert_eq!(in_force(&new, 1)["cluster_version"], 1);

    // A new client of old nodes: the old commands work, and the new one is surely not applied.
    assert_eq!(new.run(&["get", "journal"]).unwrap().stdout, "1\n");
    let (status, said) = append(&new, "x");
    assert_eq!(status, Some(9), "{said}");

    cluster.set_binaries(next_binaries());
    let ids = cluster.ids();
    for (done, id) in ids.iter().enumerate() {
        load.wait_acknowledged(20, PATIENCE).unwrap();
        restart(&mut cluster, *id);
        load.wait_acknowledged(20, PATIENCE).unwrap();
        if let Some(left) = ids.get(done + 1) {
            // Both ways: new followers of an old leader, and old followers of a new one.
            move_lead(&old, *left);
            load.wait_acknowledged(20, PATIENCE).unwrap();
            move_lead(&old, *id);
            load.wait_acknowledged(20, PATIENCE).unwrap();
            held_back_by(&new, *left);
            in_force(&new, 1);
            let (status, said) = append(&new, "x");
            assert_eq!(status, Some(9), "{said}");
        }
    }
    in_force(&new, 2);
    let (status, said) = append(&new, "2");
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(old.run(&["get", "journal"]).unwrap().stdout, "12\n");
    load.wait_acknowledged(20, PATIENCE).unwrap();

    let verdict = load.finish().unwrap().check(&old, "upgrade-").unwrap();
    println!("{verdict}");
    assert_eq!((verdict.unknown, verdict.refused), (0, 0), "{verdict:?}");
    let check = old.json(&["check"]).unwrap();
    assert_eq!(check["equal"], true, "{check}");
    // New nodes speak the newer protocol among themselves.
    let said = cluster.journals(usize::MAX);
    assert!(said.contains("version=2"), "{said}");
}

#[test]
fn an_older_release_is_sent_snapshots_before_the_raise_and_turned_away_after_it() {
    let mut cluster = started();
    let old = cluster.client().with_timeout(PATIENCE);
    cluster.set_binaries(next_binaries());
    restart(&mut cluster, 1);
    restart(&mut cluster, 2);
    move_lead(&old, 1);

    // Before: a new leader sends an old follower a snapshot.
    cluster.node(3).unwrap().kill().unwrap();
    let mut shell = old.shell().unwrap();
    for number in 0..200 {
        let value = "v".repeat(1024);
        let put = shell.ask(&format!("put key-{number} {value}")).unwrap();
        assert!(put["revision"].is_u64(), "{put}");
    }
    cluster.set_binaries(binaries());
    cluster.start(3).unwrap();
    wait_for("node 3 to go on from a snapshot", PATIENCE, || {
        let members = old.members()?;
        let row = members.iter().find(|row| row["id"] == 3);
        let first = row.and_then(|row| row["first"].as_u64());
        ensure!(first.is_some_and(|first| first > 60), "{row:?}");
        Ok(())
    })
    .unwrap();
    assert_eq!(old.json(&["check"]).unwrap()["equal"], true);
    held_back_by(&new_client(&cluster), 3);

    // After: its directory is no longer for the older release, which says what is.
    cluster.set_binaries(next_binaries());
    restart(&mut cluster, 3);
    in_force(&old, 2);
    cluster.node(3).unwrap().kill().unwrap();
    cluster.set_binaries(binaries());
    cluster.start(3).unwrap();
    let status = cluster.node(3).unwrap().wait(PATIENCE).unwrap();
    let said = cluster.node(3).unwrap().journal.last_line().unwrap();
    assert_eq!(status.code(), Some(3), "{said}");
    let release = format!("start raft-kv {}-next or later", env!("CARGO_PKG_VERSION"));
    assert!(said.contains(&release), "{said}");

    // Nor is a node of the older release taken in.
    let id = cluster.add().unwrap();
    let address = cluster.endpoint(id);
    let add = ["member", "add", &id.to_string(), &address];
    wait_for("the older release to be refused", PATIENCE, || {
        let answer = old.run(&add)?;
        let refused = "follows up to cluster version 1, and 2 is in force";
        ensure!(answer.status != Some(0), "{answer:?}");
        ensure!(answer.stderr.contains(refused), "{answer:?}");
        Ok(())
    })
    .unwrap();
    cluster.set_binaries(next_binaries());
    cluster.start(3).unwrap();
    wait_for("all to be equal", PATIENCE, || {
        let check = old.json(&["check"])?;
        ensure!(
            check["equal"] == true && check["not_compared"] == 0,
            "{check}"
        );
        Ok(())
    })
    .unwrap();
}
