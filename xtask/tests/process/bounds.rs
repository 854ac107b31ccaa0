//! What a node may take of disk and memory, however much is written and however slow another is: the bounds of `docs/operations.md`.

use std::process::Command;

use xtask::chaos::election_arguments;
use xtask::local::{Shell, wait_for};

use crate::durability::can_trace;
use crate::harness::{PATIENCE, T, TestCluster, alone, binaries, prepared_with};
use crate::looks::put;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const VALUE_BYTES: u64 = 16 * KIB;
/// So many keys are written again and again, so the state stays small.
const KEYS: u64 = 8;
const STATE_BYTES: u64 = KEYS * VALUE_BYTES;
const SNAPSHOT_BYTES: u64 = 256 * KIB;
const SEGMENT_BYTES: u64 = 128 * KIB;

/// What the state keeps of what was overwritten, for those who watch.
const HISTORY_BYTES: u64 = 16 * MIB;

/// `docs/operations.md`, "How much disk": entries of two snapshots and a tail, four segments; and what is written while one is being taken, here
/// as much again as lies between two.
const LOG_BYTES_MAX: u64 = 3 * SNAPSHOT_BYTES + SNAPSHOT_BYTES / 4 + 4 * SEGMENT_BYTES;

/// Three snapshots.
const SNAPSHOTS_BYTES_MAX: u64 = 3 * (STATE_BYTES + HISTORY_BYTES);

/// `docs/operations.md`, "How much memory": a node without data, what it keeps of the log, what is under way, four times the state, and its history.
const MEMORY_BYTES_MAX: u64 = 48 * MIB + 4 * STATE_BYTES + HISTORY_BYTES;

fn arguments() -> Vec<String> {
    let mut arguments = election_arguments(T);
    for (flag, bytes) in [
        ("--snapshot-bytes", SNAPSHOT_BYTES),
        ("--segment-bytes", SEGMENT_BYTES),
    ] {
        arguments.extend([flag.to_owned(), bytes.to_string()]);
    }
    arguments
}

fn three() -> TestCluster {
    let mut cluster = prepared_with(3, arguments(), alone());
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    cluster
}

/// Writes so many values of a size; `look` is called after every sixteenth.
fn write(shell: &mut Shell, count: u64, bytes: u64, mut look: impl FnMut()) {
    let value = "v".repeat(bytes as usize);
    for nth in 0..count {
        put(shell, &format!("again-{}", nth % KEYS), &value);
        if nth % 16 == 0 {
            look();
        }
    }
}

/// The most of disk and of memory that a node was seen with.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    log: u64,
    snapshots: u64,
    memory: u64,
}

impl Most {
    fn look(&mut self, cluster: &mut TestCluster, id: u8) {
        let (log, snapshots) = cluster.directory_bytes(id);
        self.log = self.log.max(log);
        self.snapshots = self.snapshots.max(snapshots);
        self.memory = self.memory.max(cluster.memory_bytes(id));
    }

    fn assert_directory_bounded(&self, id: u8) {
        assert!(
            self.log <= LOG_BYTES_MAX && self.snapshots <= SNAPSHOTS_BYTES_MAX,
            "n{id}: {self:?}, {LOG_BYTES_MAX} bytes of log and {SNAPSHOTS_BYTES_MAX} of snapshots are allowed"
        );
    }

    fn assert_memory_bounded(&self, id: u8) {
        println!("n{id}: {self:?}");
        assert!(
            self.memory <= MEMORY_BYTES_MAX,
            "n{id}: {self:?}, {MEMORY_BYTES_MAX} bytes of memory are allowed"
        );
    }
}

/// F-O9: few large entries, fifty times what is to lie between two snapshots.
#[test]
fn fifty_times_the_log_stays_within_its_bounds() {
    let mut cluster = three();
    let mut shell = cluster.patient_shell();
    let mut most = [Most::default(); 3];
    let count = 50 * SNAPSHOT_BYTES / VALUE_BYTES;
    write(&mut shell, count, VALUE_BYTES, || {
        for (most, id) in most.iter_mut().zip(1..) {
            most.look(&mut cluster, id);
        }
    });
    for (most, id) in most.iter().zip(1..) {
        most.assert_memory_bounded(id);
        most.assert_directory_bounded(id);
    }
    cluster.assert_equal();
    cluster.assert_nothing_unfinished();
}

/// F-O8: a follower that stands still, and nobody knows whether it comes back: the leader keeps for it no more than for others. When it comes
/// back, it is sent a snapshot.
#[test]
fn a_follower_that_stands_still_costs_the_leader_no_memory() {
    let mut cluster = three();
    let (leader, still) = (cluster.leader(), cluster.follower());
    cluster.node(still).unwrap().pause().unwrap();
    let mut shell = cluster.patient_shell();
    let mut most = Most::default();
    // Kept for whoever stands still, it would be more than the bound.
    let (count, bytes) = (640, 128 * KIB);
    assert!(count * bytes > MEMORY_BYTES_MAX);
    write(&mut shell, count, bytes, || {
        most.look(&mut cluster, leader);
    });
    most.assert_memory_bounded(leader);
    cluster.node(still).unwrap().resume().unwrap();
    cluster.assert_equal();
}

/// F-O7: one slow disk of three. Writes are acknowledged by the two others, and go on while the slow one falls behind; nobody is elected, what
/// waits on it and for it is bounded, and it has all in the end.
#[test]
fn a_slow_disk_of_a_follower_slows_nobody_else() {
    if !can_trace() {
        return;
    }
    let mut cluster = three();
    let slow = cluster.follower();
    cluster.node(slow).unwrap().kill().unwrap();
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"])
        .args(["-e", "trace=fdatasync", "-e", "signal=none"])
        // Half a second for each sync.
        .args(["-e", "inject=fdatasync:delay_enter=500000"])
        .arg(binaries().server)
        .args(cluster.serve_arguments(slow));
    let node = cluster.node(slow).unwrap();
    node.start_command(&mut command).unwrap();
    cluster.wait_for_row(slow, "it to have caught up", |row| row["lag"] == 0);
    let (leader, term) = (cluster.leader(), cluster.term());

    let mut shell = cluster.patient_shell();
    let (mut most, mut most_slow) = (Most::default(), Most::default());
    let mut behind = 0;
    // Each answer of the slow disk would take half a second: all are acknowledged before it has had time for more than a few.
    write(&mut shell, 96, VALUE_BYTES, || {
        most.look(&mut cluster, leader);
        most_slow.look(&mut cluster, slow);
        let lag = cluster.row(slow).unwrap()["lag"].as_u64();
        behind = behind.max(lag.unwrap_or(0));
    });
    println!("it was {behind} entries behind");
    assert!(behind > 5, "the slow disk was not slow: {behind}");
    assert_eq!((cluster.leader(), cluster.term()), (leader, term));
    most.assert_memory_bounded(leader);
    most_slow.assert_memory_bounded(slow);
    wait_for("the slow one to have all", PATIENCE, || {
        let row = cluster.row(slow)?;
        anyhow::ensure!(row["lag"] == 0, "{row}");
        Ok(())
    })
    .unwrap();
    assert_eq!(cluster.term(), term);
    cluster.assert_equal();
}
