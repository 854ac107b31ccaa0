//! A leader that is stopped, or cut off from the others: it serves no stale read and acknowledges nothing.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use xtask::local::{Answer, Client, wait_for};

use crate::harness::{PATIENCE, T, TestCluster, started};

/// The value that a read gave; none when it failed.
fn value(answer: &Answer) -> Option<String> {
    (answer.status == Some(0)).then(|| answer.stdout.trim_end().to_owned())
}

/// Waits until another node than `old` leads and has acknowledged `value` for `key`.
fn another_leads(cluster: &TestCluster, old: u8, key: &str, value: &str) {
    let others: Vec<u8> = cluster.ids().into_iter().filter(|id| *id != old).collect();
    let endpoints = others.iter().map(|id| cluster.endpoint(*id)).collect();
    let client = cluster
        .client()
        .with_endpoints(endpoints)
        .with_timeout(PATIENCE);
    client.run(&["put", key, value]).unwrap().success().unwrap();
    let leader = wait_for("another leader", PATIENCE, || {
        let leader = client.leader()?;
        anyhow::ensure!(leader != old, "n{leader} leads");
        Ok(leader)
    });
    println!("n{} leads instead of n{old}", leader.unwrap());
}

/// A client of one node, and a read by it, on a thread.
fn read_in_background(client: &Client, key: &'static str) -> thread::JoinHandle<Answer> {
    let client = client.clone();
    thread::spawn(move || client.run(&["get", key]).unwrap())
}

#[test]
fn a_leader_that_was_stopped_answers_no_stale_read() {
    let mut cluster = started(3);
    cluster.put("x", "old");
    let old = cluster.leader();
    cluster.node(old).unwrap().pause().unwrap();
    another_leads(&cluster, old, "x", "new");

    // These wait in the old leader's sockets and are the first that it sees when it goes on, still believing that it
    // leads.
    let client = cluster.client_of(old).with_timeout(PATIENCE);
    let readers: Vec<_> = (0..10).map(|_| read_in_background(&client, "x")).collect();
    cluster.node(old).unwrap().resume().unwrap();
    for reader in readers {
        let answer = reader.join().unwrap();
        assert_ne!(value(&answer).as_deref(), Some("old"), "{answer:?}");
    }
    let answer = wait_for("the old leader to serve again", PATIENCE, || {
        cluster.client_of(old).run(&["get", "x"])?.success()
    });
    assert_eq!(answer.unwrap().trim_end(), "new");
    cluster.assert_works("after the pause");
}

#[test]
fn a_leader_that_is_cut_off_serves_no_stale_read_and_acknowledges_nothing_that_is_lost() {
    let mut cluster = started(3);
    cluster.put("x", "old");
    let old = cluster.leader();
    cluster.network().isolate(old);
    // Its clients reach it still: at once, when it does not know yet, and later.
    let cut_off = cluster.client_of(old).with_timeout(T * 10);
    let early = thread::spawn({
        let cut_off = cut_off.clone();
        move || cut_off.json(&["put", "early", "1"]).unwrap()
    });
    another_leads(&cluster, old, "x", "new");
    for _ in 0..5 {
        let answer = cut_off.run(&["get", "x"]).unwrap();
        assert_ne!(value(&answer).as_deref(), Some("old"), "{answer:?}");
    }
    let early = early.join().unwrap();
    println!("a put by way of the leader that was cut off: {early}");
    cluster.network().heal();
    cluster.assert_works("after healing");
    assert_eq!(cluster.get("x"), "new");
    let found = cluster.client().json(&["get", "early"]).unwrap();
    let found = found.get("found").and_then(Value::as_bool);
    if early.get("revision").is_some() {
        assert_eq!(found, Some(true), "acknowledged and lost");
    } else if early.pointer("/error/maybe_applied") == Some(&Value::Bool(false)) {
        assert_ne!(found, Some(true), "refused and there");
    }
}

/// With nobody to lead elsewhere, a client cannot be helped by another node: whoever answers is wrong.
#[test]
fn nodes_that_are_all_cut_off_answer_nothing() {
    let mut cluster = started(3);
    cluster.put("x", "old");
    let leader = cluster.leader();
    for id in cluster.ids() {
        cluster.network().isolate(id);
    }
    // Bytes that were already on their way at the cut have arrived long before this.
    let client = cluster
        .client_of(leader)
        .with_timeout(Duration::from_secs(2));
    for command in [&["get", "x"][..], &["put", "x", "new"]] {
        let answer = client.run(command).unwrap();
        assert!(
            matches!(answer.status, Some(6 | 7)),
            "{command:?}: {answer:?}"
        );
        assert!(answer.stderr.starts_with("error: "), "{answer:?}");
    }
    cluster.network().heal();
    cluster.assert_works("after healing");
    let value = cluster.get("x");
    assert!(value == "old" || value == "new", "{value}");
}
