//! Backups of real clusters, and new clusters of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use xtask::local::{Answer, wait_for};

use crate::harness::{PATIENCE, TestCluster, binaries, started};

/// By how much `raft-kv restore` raises the revision unless it is told otherwise.
const JUMP: u64 = 1 << 40;

/// Runs the server's program offline.
fn offline(arguments: &[&str]) -> Answer {
    let output = Command::new(binaries().server)
        .args(arguments)
        .output()
        .unwrap();
    Answer {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn save(cluster: &TestCluster, file: &Path) -> Value {
    let client = cluster.client().with_timeout(PATIENCE);
    let saved = client.json(&["snapshot", "save", file.to_str().unwrap()]);
    let saved = saved.unwrap();
    assert!(saved["cluster"].is_string(), "{saved}");
    saved
}

/// Takes the nodes down and puts their directories aside, where they can be found by the number of the node.
fn set_aside(cluster: &mut TestCluster, name: &str) -> PathBuf {
    let aside = cluster.path(name);
    fs::create_dir(&aside).unwrap();
    cluster.stop_all(PATIENCE, || false).unwrap();
    for id in cluster.ids() {
        let dir = cluster.data_dir(id);
        fs::rename(&dir, aside.join(format!("n{id}"))).unwrap();
    }
    aside
}

fn restore(cluster: &TestCluster, id: u8, file: &Path) -> Answer {
    let arguments = cluster.serve_arguments(id);
    let list = arguments.iter().position(|word| word == "--cluster");
    let list = &arguments[list.unwrap() + 1];
    let (file, dir) = (file.to_str().unwrap(), cluster.data_dir(id));
    let dir = dir.to_str().unwrap();
    let id = id.to_string();
    offline(&[
        "restore",
        file,
        "--data-dir",
        dir,
        "--id",
        &id,
        "--cluster",
        list,
    ])
}

fn restore_all(cluster: &TestCluster, file: &Path) {
    for id in cluster.ids() {
        let said = restore(cluster, id, file).success().unwrap();
        assert!(said.contains("raised by 1099511627776"), "{said}");
    }
}

#[test]
fn what_was_acknowledged_before_a_save_is_in_the_restored_cluster() {
    let mut cluster = started(3);
    let file = cluster.path("backup.snap");
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let writer = cluster.client().with_timeout(PATIENCE);
    let (before, saved) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut shell = writer.shell().unwrap();
            while !stop.load(Ordering::Relaxed) {
                let next = acknowledged.load(Ordering::Relaxed) + 1;
                let answer = shell.ask(&format!("put load/{next} {next}")).unwrap();
                assert!(answer["revision"].is_u64(), "{answer}");
                acknowledged.store(next, Ordering::Relaxed);
            }
        });
        let enough = wait_for("writes", PATIENCE, || {
            anyhow::ensure!(acknowledged.load(Ordering::Relaxed) > 50);
            Ok(())
        });
        enough.unwrap();
        let before = acknowledged.load(Ordering::Relaxed);
        let saved = save(&cluster, &file);
        stop.store(true, Ordering::Relaxed);
        (before, saved)
    });
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let name = file.to_str().unwrap();
    let client = cluster.client();
    let again = client.run(&["snapshot", "save", name]).unwrap();
    assert_eq!(again.status, Some(1), "{again:?}");
    assert!(again.stderr.contains("--force"), "{again:?}");
    assert_eq!(client.json(&["snapshot", "verify", name]).unwrap(), saved);
    let left = fs::read_dir(file.parent().unwrap()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().contains(".part")),
        "{left:?}"
    );

    let aside = set_aside(&mut cluster, "old");
    restore_all(&cluster, &file);
    // Into a directory that holds something, nothing is restored.
    let twice = restore(&cluster, 1, &file);
    assert_eq!(twice.status, Some(2), "{twice:?}");
    assert!(twice.stderr.contains("not empty"), "{twice:?}");
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    for number in 1..=before {
        assert_eq!(cluster.get(&format!("load/{number}")), number.to_string());
    }
    let client = cluster.client().with_timeout(PATIENCE);
    let put = client.json(&["put", "new", "1"]).unwrap();
    let revision = put["revision"].as_u64().unwrap();
    assert!(
        revision > saved["revision"].as_u64().unwrap() + JUMP,
        "{put}"
    );
    let check = client.json(&["check"]).unwrap();
    assert_eq!(check["equal"], true, "{check}");
    let second = save(&cluster, &cluster.path("second.snap"));
    assert_ne!(second["cluster"], saved["cluster"]);

    an_old_node_is_refused(&mut cluster, &aside);
    // All of it survives a restart, though the backups are gone.
    fs::remove_file(&file).unwrap();
    for id in cluster.ids() {
        cluster.node(id).unwrap().kill().unwrap();
    }
    cluster.start_all().unwrap();
    assert_eq!(cluster.get("new"), "1");
    assert_eq!(cluster.get("load/1"), "1");
}

/// A node of the old cluster, under its old address, is no member of the new one.
fn an_old_node_is_refused(cluster: &mut TestCluster, aside: &Path) {
    cluster.node(3).unwrap().kill().unwrap();
    let (new, own) = (cluster.path("new3"), cluster.data_dir(3));
    fs::rename(&own, &new).unwrap();
    fs::rename(aside.join("n3"), &own).unwrap();
    cluster.start(3).unwrap();
    // It says so itself, and it counts for nothing: the two others alone acknowledge this.
    let journal = cluster.node(3).unwrap().journal.clone();
    wait_for("the old node to be refused", PATIENCE, || {
        let lines = journal.lines();
        let refused = lines.iter().any(|line| line.contains("belongs to cluster"));
        anyhow::ensure!(refused, "{:?}", journal.last_line());
        Ok(())
    })
    .unwrap();
    let two = vec![cluster.endpoint(1), cluster.endpoint(2)];
    let client = cluster.client().with_endpoints(two).with_timeout(PATIENCE);
    client.run(&["put", "two", "1"]).unwrap().success().unwrap();
    let old = cluster.client_of(3).with_timeout(Duration::from_secs(2));
    assert_ne!(old.run(&["get", "two"]).unwrap().status, Some(0));
    cluster.node(3).unwrap().kill().unwrap();
    fs::remove_dir_all(&own).unwrap();
    fs::rename(&new, &own).unwrap();
    cluster.start(3).unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
}

#[test]
fn a_founder_restored_from_another_backup_is_named_and_founds_nothing() {
    let mut cluster = started(3);
    cluster.put("which", "first");
    let (first, second) = (cluster.path("first.snap"), cluster.path("second.snap"));
    save(&cluster, &first);
    cluster.put("which", "second");
    save(&cluster, &second);
    set_aside(&mut cluster, "old");
    for (id, file) in [(1, &first), (2, &first), (3, &second)] {
        restore(&cluster, id, file).success().unwrap();
    }
    cluster.start_all().unwrap();
    wait_for("node 3 to be named", PATIENCE, || {
        let members = cluster.client().members()?;
        let text = serde_json::to_string(&members)?;
        let named = "node 3 is not to found the same cluster: it was restored from another backup";
        anyhow::ensure!(text.contains(named), "{text}");
        Ok(())
    })
    .unwrap();
    assert!(cluster.client().leader().is_err());

    // One that was not restored at all is named too.
    cluster.node(3).unwrap().kill().unwrap();
    fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    cluster.start(3).unwrap();
    wait_for("node 3 to be named", PATIENCE, || {
        let text = serde_json::to_string(&cluster.client().members()?)?;
        let named = "this node was restored from a backup, and that one was not";
        anyhow::ensure!(text.contains(named), "{text}");
        Ok(())
    })
    .unwrap();

    cluster.node(3).unwrap().kill().unwrap();
    fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    restore(&cluster, 3, &first).success().unwrap();
    cluster.start(3).unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    assert_eq!(cluster.get("which"), "first");
}

#[test]
fn a_cluster_that_lost_its_majority_is_rebuilt_from_what_is_left() {
    let mut cluster = started(3);
    for number in 0..40 {
        cluster.put(&format!("kept/{number}"), &number.to_string());
    }
    let file = cluster.path("left.snap");
    let name = file.to_str().unwrap().to_owned();
    let dir = |cluster: &TestCluster, id| cluster.data_dir(id).to_str().unwrap().to_owned();
    let dirs = [dir(&cluster, 1), dir(&cluster, 2)];
    let running = offline(&["recover", &dirs[0], "--out", &name]);
    assert_eq!(running.status, Some(3), "{running:?}");
    assert!(running.stderr.contains("in use"), "{running:?}");
    assert!(!file.exists());

    cluster.stop_all(PATIENCE, || false).unwrap();
    fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    let before = content(&cluster.data_dir(1));
    let gone = offline(&["recover", &dirs[0], &dirs[1], "--out", &name]);
    assert_eq!(gone.status, Some(2), "{gone:?}");
    let said = offline(&["recover", &dirs[0], "--out", &name]);
    let said = said.success().unwrap();
    assert!(said.contains("taken: the newest log"), "{said}");
    assert!(said.contains("were surely committed"), "{said}");
    assert_eq!(content(&cluster.data_dir(1)), before, "nothing is changed");

    fs::remove_dir_all(cluster.data_dir(1)).unwrap();
    restore_all(&cluster, &file);
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    for number in 0..40 {
        assert_eq!(cluster.get(&format!("kept/{number}")), number.to_string());
    }
}

/// Names and bytes of all files in a directory.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_cluster_of_one_is_restored_and_a_damaged_backup_is_not() {
    let mut cluster = started(1);
    cluster.put("alone", "1");
    let file = cluster.path("backup.snap");
    save(&cluster, &file);
    set_aside(&mut cluster, "old");
    let bytes = fs::read(&file).unwrap();
    let damaged = cluster.path("damaged.snap");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (damage, what) in [
        (&flipped[..], "damaged"),
        (&bytes[..bytes.len() - 9], "damaged"),
    ] {
        fs::write(&damaged, damage).unwrap();
        let name = damaged.to_str().unwrap();
        let verified = cluster.client().run(&["snapshot", "verify", name]).unwrap();
        assert_eq!(verified.status, Some(1), "{verified:?}");
        assert!(verified.stderr.contains(what), "{verified:?}");
        let refused = restore(&cluster, 1, &damaged);
        assert_eq!(refused.status, Some(3), "{refused:?}");
        assert!(refused.stderr.contains(what), "{refused:?}");
        assert!(!cluster.data_dir(1).exists());
    }
    let name = cluster.path("nowhere.snap");
    let client = cluster.client();
    let missing = client.run(&["snapshot", "verify", name.to_str().unwrap()]);
    assert_eq!(missing.unwrap().status, Some(3));

    restore_all(&cluster, &file);
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    assert_eq!(cluster.get("alone"), "1");
}
