//! F-O6: disks that fill up, on file systems of their own, and have room again: nothing acknowledged is lost, it is said what is wrong, reads go on,
//! and writing does by itself.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use xtask::chaos::election_arguments;
use xtask::local::{Shell, wait_for};

use crate::harness::{PATIENCE, T, TestCluster, alone, prepared_with};

const DISK_BYTES: u64 = 16 << 20;
const VALUE_BYTES: usize = 64 << 10;

/// A file system in memory that holds a node's data directory. Unmounted when it is dropped.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// `None`, with a word about it, where nobody may mount. Where checks have to be complete that is a failure.
    fn mount(at: &Path) -> Option<Disk> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "none"])
            .arg(at)
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        assert!(
            mounted || std::env::var_os("CI").is_none(),
            "cannot mount a tmpfs; run this as root"
        );
        if !mounted {
            println!("skipped: cannot mount a tmpfs; run this as root");
        }
        mounted.then(|| Disk { at: at.to_owned() })
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Something else takes all the room that is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.ballast()).unwrap();
        let page = [1; 4096];
        loop {
            match ballast.write_all(&page) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Three nodes that have not started yet, each with a disk of its own.
fn three() -> Option<(TestCluster, Vec<Disk>)> {
    let mut arguments = election_arguments(T);
    for (flag, size) in [("--snapshot-bytes", "2MiB"), ("--segment-bytes", "1MiB")] {
        arguments.extend([flag.to_owned(), size.to_owned()]);
    }
    let cluster = prepared_with(3, arguments, alone());
    let mut disks = Vec::new();
    for id in cluster.ids() {
        let disk = Disk::mount(&cluster.path(&format!("disk{id}")))?;
        fs::create_dir(disk.at.join("data")).unwrap();
        symlink(disk.at.join("data"), cluster.data_dir(id)).unwrap();
        disks.push(disk);
    }
    Some((cluster, disks))
}

/// Writes one key after the other, and remembers those that were acknowledged.
#[derive(Default)]
struct Writer {
    acknowledged: Vec<u64>,
    next: u64,
}

impl Writer {
    fn write(&mut self, shell: &mut Shell) -> Value {
        let (key, value) = (self.next, "v".repeat(VALUE_BYTES));
        self.next += 1;
        // Of few keys, so that the state stays small, each value saying which write it is.
        let answer = shell
            .ask(&format!("put key-{} {key}-{value}", key % 16))
            .unwrap();
        if answer["revision"].is_u64() {
            self.acknowledged.push(key);
        }
        answer
    }

    /// All are acknowledged.
    fn write_all(&mut self, shell: &mut Shell, count: usize) {
        for _ in 0..count {
            let answer = self.write(shell);
            assert!(answer["revision"].is_u64(), "{answer}");
        }
    }

    /// Each key holds the last write of it that was acknowledged, or a later one.
    fn check(&self, shell: &mut Shell) {
        for key in 0..16 {
            let last = self
                .acknowledged
                .iter()
                .filter(|nth| *nth % 16 == key)
                .max();
            let answer = shell.ask(&format!("get key-{key}")).unwrap();
            let value = answer["value"].as_str().unwrap_or_default();
            let found: Option<u64> = value.split('-').next().and_then(|nth| nth.parse().ok());
            assert!(
                found >= last.copied(),
                "key-{key} holds {found:?}, not {last:?}"
            );
        }
    }
}

fn is_full(row: &Value) -> bool {
    let error = row["error"].as_str().unwrap_or_default();
    error.contains("the disk is full")
}

#[test]
fn a_full_disk_is_said_and_borne_on_a_follower_on_the_leader_and_on_all() {
    let Some((mut cluster, disks)) = three() else {
        return;
    };
    let disk = |id: u8| &disks[usize::from(id) - 1];
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    let mut shell = cluster.patient_shell();
    let mut writer = Writer::default();
    writer.write_all(&mut shell, 16);

    // A follower: nobody else notices.
    let follower = cluster.follower();
    disk(follower).fill();
    writer.write_all(&mut shell, 40);
    cluster.wait_for_row(follower, "its status to say it", is_full);
    disk(follower).free();
    cluster.wait_for_row(follower, "it to have all", |row| {
        row["lag"] == 0 && !is_full(row)
    });

    // The leader: it hands over, and writes go on.
    let leader = cluster.leader();
    disk(leader).fill();
    writer.write_all(&mut shell, 40);
    assert_ne!(cluster.leader(), leader);
    cluster.wait_for_row(leader, "its status to say it", is_full);
    disk(leader).free();
    cluster.wait_for_row(leader, "it to have all", |row| {
        row["lag"] == 0 && !is_full(row)
    });

    // All: writes are refused, in words, and reads go on.
    disks.iter().for_each(Disk::fill);
    let hasty = cluster.client().with_timeout(Duration::from_secs(2));
    let mut hasty_shell = hasty.shell().unwrap();
    let refused = (0..200)
        .map(|_| writer.write(&mut hasty_shell))
        .find(|answer| answer["error"].is_object());
    println!("{}", refused.unwrap());
    // Two are enough: then nothing can be committed, and the third is spared what it could only keep for itself.
    let full = wait_for("a majority to say it", PATIENCE, || {
        let rows = cluster.client().members()?;
        let full = rows.iter().filter(|row| is_full(row));
        let full: Vec<u64> = full.filter_map(|row| row["id"].as_u64()).collect();
        anyhow::ensure!(full.len() >= 2, "{rows:?}");
        Ok(full)
    })
    .unwrap();
    let answer = hasty.run(&["put", "small", "1"]).unwrap();
    println!("{answer:?}");
    assert_eq!(answer.status, Some(6), "{answer:?}");
    for words in ["the disk is full", "hint: make room"] {
        assert!(answer.stderr.contains(words), "{answer:?}");
    }
    writer.check(&mut shell);
    for disk in &disks {
        disk.free();
    }
    writer.write_all(&mut shell, 32);
    for id in cluster.ids() {
        cluster.wait_for_row(id, "it to have all", |row| row["lag"] == 0 && !is_full(row));
    }
    for id in full.into_iter().filter_map(|id| u8::try_from(id).ok()) {
        let lines = cluster.node(id).unwrap().journal.lines();
        let said = |words: &str| lines.iter().any(|line| line.contains(words));
        assert!(said("the disk is full"), "n{id}: {lines:?}");
        assert!(said("the disk has room again"), "n{id}: {lines:?}");
    }
    writer.check(&mut shell);
    cluster.assert_equal();
    cluster.assert_nothing_unfinished();
}
