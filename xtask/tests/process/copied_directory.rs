//! F-M10: data directories that were copied, or put back to an earlier state. Their node has forgotten what it promised since; the others refuse it
//! as soon as they have heard a later life of it.

use std::fs;
use std::path::Path;

use xtask::local::wait_for;

use crate::harness::{PATIENCE, TestCluster, started};

/// As `cp -r`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn restart(cluster: &mut TestCluster, id: u8) {
    cluster.node(id).unwrap().ask_to_stop().unwrap();
    cluster.node(id).unwrap().wait(PATIENCE).unwrap();
    cluster.start(id).unwrap();
    cluster.wait_for_row(id, "it to be back", |row| row["lag"] == 0);
}

/// A follower's directory is put back to what it was two starts ago.
#[test]
fn a_directory_that_was_put_back_is_refused() {
    let mut cluster = started(3);
    cluster.put("before", "1");
    let back = cluster.follower();
    cluster.node(back).unwrap().ask_to_stop().unwrap();
    cluster.node(back).unwrap().wait(PATIENCE).unwrap();
    let (dir, old) = (cluster.data_dir(back), cluster.path("old"));
    copy(&dir, &old);
    cluster.start(back).unwrap();
    cluster.wait_for_row(back, "it to be back", |row| row["lag"] == 0);
    restart(&mut cluster, back);
    cluster.put("since", "2");
    cluster.node(back).unwrap().ask_to_stop().unwrap();
    cluster.node(back).unwrap().wait(PATIENCE).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    copy(&old, &dir);
    cluster.start(back).unwrap();
    let words = "an older copy of its data directory";
    wait_for("the node to be refused", PATIENCE, || {
        let lines = cluster.node(back)?.journal.lines();
        anyhow::ensure!(lines.iter().any(|line| line.contains(words)), "{lines:#?}");
        Ok(())
    })
    .unwrap();
    let status = cluster.client().run(&["status"]).unwrap().stdout;
    println!("{status}");
    assert!(status.contains(words), "{status}");
    // It counts for nothing: with another node down, there is no majority.
    let (leader, ids) = (cluster.leader(), cluster.ids());
    let other = ids.into_iter().find(|id| ![leader, back].contains(id));
    cluster.node(other.unwrap()).unwrap().kill().unwrap();
    let hasty = cluster.client().with_timeout(crate::harness::T * 4);
    let answer = hasty.run(&["put", "forgotten", "3"]).unwrap();
    assert_ne!(answer.status, Some(0), "{answer:?}");
    cluster.start(other.unwrap()).unwrap();
    assert_eq!(cluster.get("since"), "2");
}
