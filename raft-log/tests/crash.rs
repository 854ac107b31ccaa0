//! Crashes at every operation, on the simulated disk; see `harness/sweep.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::HashSet;

use crate::harness::sweep::{REPLAY, Sweep, Tally, sweep};
use crate::harness::{
    Active, History, Op, Step, dir, options, random_steps, read_model, run, two_pages,
};
use raft_log::sim_disk::{Fault, SimDisk};
use raft_log::{Log, Options};

/// Scales the sweep: how many random workloads each of four tests takes, and of how many steps.
const WORKLOADS: u64 = 4;
const STEPS: usize = 40;

fn append(bytes: usize) -> Op {
    Op::Append {
        bytes,
        new_term: false,
    }
}

/// Votes, batches of several parts, truncation, rotation, a batch larger than a segment, purge, both ways to reopen.
fn scripted() -> Vec<Step> {
    vec![
        Step::Commit(vec![Op::Metadata(1)]),
        Step::Commit(vec![append(100), append(700), append(0)]),
        Step::Commit(vec![
            Op::Metadata(2),
            Op::Truncate(2),
            Op::Append {
                bytes: 600,
                new_term: true,
            },
        ]),
        Step::Settle,
        Step::Commit(vec![append(1500), append(20)]),
        Step::Drop,
        Step::Commit(vec![append(900)]),
        Step::Commit(vec![append(900), Op::Metadata(3)]),
        Step::Purge(4),
        Step::Commit(vec![append(6000)]),
        Step::Reopen,
        Step::Commit(vec![Op::Truncate(1), append(10)]),
        Step::Purge(8),
        Step::Commit(vec![append(10)]),
    ]
}

/// A vote, then appends until its segment is recycled: the vote must live on in the checkpoints.
fn vote_recycled() -> Vec<Step> {
    let mut steps = vec![Step::Commit(vec![Op::Metadata(7)])];
    for _ in 0..5 {
        // The first one leaves the second page as it is.
        steps.push(Step::Commit(vec![append(2500)]));
        steps.push(Step::Commit(vec![append(3000)]));
        steps.push(Step::Commit(vec![append(700)]));
        steps.push(Step::Purge(8));
    }
    steps
}

/// Random steps, among them what fills segments, and snapshots up to which they are purged.
fn recycling(seed: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for (nth, step) in (0..).zip(random_steps(seed, STEPS / 2)) {
        steps.push(step);
        steps.push(Step::Commit(vec![append(1700 + nth * 90)]));
        if nth % 2 == 1 {
            steps.extend([Step::Snapshot(0), Step::Purge(8)]);
        }
    }
    steps
}

/// Files go round, one of them through a snapshot that replaces the log.
fn resets_recycled() -> Vec<Step> {
    let fill = || Step::Commit(vec![append(3000), append(2500)]);
    let mut steps = Vec::new();
    for ahead in [0, 3, 0] {
        steps.extend([fill(), fill(), fill()]);
        steps.push(Step::Reset(ahead, vec![Op::Metadata(7), append(30)]));
        steps.push(Step::Commit(vec![append(200), append(100)]));
    }
    steps.extend([fill(), Step::Drop, Step::Commit(vec![append(50)])]);
    steps
}

/// Snapshots made, marked, replaced, purged up to, over several segments and openings.
fn snapshots() -> Vec<Step> {
    vec![
        Step::Commit(vec![Op::Metadata(1), append(700), append(10), append(20)]),
        Step::Snapshot(1),
        Step::Commit(vec![append(900), append(900)]),
        Step::Purge(8),
        Step::Snapshot(2),
        Step::Commit(vec![Op::Truncate(2), append(1200), Op::Metadata(2)]),
        Step::Reopen,
        Step::Commit(vec![append(1500)]),
        Step::Snapshot(0),
        Step::Purge(5),
        Step::Drop,
        Step::Commit(vec![append(100)]),
        Step::Snapshot(0),
        Step::Purge(8),
        Step::Reopen,
        Step::Commit(vec![append(10)]),
    ]
}

/// Snapshots installed ahead of the log and at its end, with records behind and without, and what follows: truncation, another
/// snapshot, another installation.
fn resets() -> Vec<Step> {
    let newer = Op::Append {
        bytes: 40,
        new_term: true,
    };
    vec![
        Step::Reset(3, vec![Op::Metadata(7), append(30)]),
        Step::Commit(vec![append(1900), newer.clone()]),
        Step::Commit(vec![append(1900), append(1900)]),
        Step::Snapshot(2),
        Step::Reset(0, Vec::new()),
        Step::Commit(vec![append(10)]),
        Step::Drop,
        Step::Commit(vec![append(2000), append(1900)]),
        Step::Reset(
            9,
            vec![Op::Metadata(8), append(3000), newer, Op::Truncate(1)],
        ),
        Step::Reset(0, vec![append(5)]),
        Step::Reopen,
        Step::Purge(8),
        Step::Snapshot(0),
        Step::Purge(8),
        Step::Commit(vec![append(5000)]),
        Step::Reset(1, vec![Op::Metadata(9)]),
    ]
}

fn workload(name: &str) -> Vec<Step> {
    if let Some(seed) = name.strip_prefix("recycling-") {
        return recycling(seed.parse().unwrap());
    }
    match name.strip_prefix("random-") {
        Some(seed) => random_steps(seed.parse().unwrap(), STEPS),
        None if name == "scripted" => scripted(),
        None if name == "vote-recycled" => vote_recycled(),
        None if name == "snapshots" => snapshots(),
        None if name == "resets" => resets(),
        None if name == "resets-recycled" => resets_recycled(),
        None => panic!("no workload is called {name:?}"),
    }
}

/// Where files are to be recycled, segments are large enough to keep old bytes.
fn options_of(name: &str) -> Options {
    if name.contains("recycl") {
        two_pages()
    } else {
        options()
    }
}

fn swept(name: &str) -> Tally {
    let tally = sweep(|disk| disk, name, &options_of(name), &workload(name))
        .unwrap_or_else(|error| panic!("{error}"));
    tally.print(name);
    tally
}

/// F-L1, F-L2, F-L7, F-L9, F-L12, F-L13, F-L17, F-L19, F-L21; S-F12, S-L7, S-L10: what was acknowledged is there, what was
/// not is there as a whole batch or not at all, after a crash anywhere, and after a crash in the recovery of it.
#[test]
fn scripted_workload() {
    let tally = swept("scripted");
    assert!(tally.cases > 2000 && tally.in_recovery > 1000 && tally.cuts > 100);
    for operation in [
        "CreateDir directory",
        "Create superblock",
        "Rename superblock",
        "Write superblock",
        "SyncData superblock",
        "Create segment",
        "Write segment",
        "SyncData segment",
        "SyncAll segment",
        "SyncDir directory",
    ] {
        assert!(tally.reached(operation), "never reached: {operation}");
    }
}

/// F-L13: a vote, then appends until its segment is recycled: the very file that held it is in use again, and has its old bytes.
#[test]
fn a_vote_outlives_its_segment() {
    let tally = swept("vote-recycled");
    assert!(tally.cases > 2000 && tally.recyclings > 1);
    assert!(tally.stale > 200 && tally.stale_cuts > 20);
    let steps = vote_recycled();
    let active_after = |steps: &[Step]| {
        let disk = SimDisk::new();
        let history = run(&disk, &dir(), &two_pages(), steps, false);
        assert_eq!(history.error, None);
        let vote = history.acknowledged.metadata;
        assert_eq!(vote, Some(vec![7; 8]), "the vote");
        Active::of(&disk).unwrap()
    };
    let first = dir().join("00000000000000000001.seg");
    let full = active_after(&steps[..3]);
    assert_eq!(full.file, first);
    let held = |active: &Active| {
        let old = &full.bytes[5000..5500];
        active.is_recycled() && active.file != first && active.bytes[5000..5500] == *old
    };
    assert!(full.bytes[5000..5500].iter().all(|&byte| byte != 0));
    let lives = (4..=steps.len()).filter(|&upto| held(&active_after(&steps[..upto])));
    assert!(lives.count() > 0, "the vote's file was never used again");
}

/// F-L7, F-L9, F-L13, F-S1: files that were purged by a snapshot that replaced the log are recycled too.
#[test]
fn files_of_a_replaced_log_are_recycled() {
    let tally = swept("resets-recycled");
    assert!(tally.cases > 2000 && tally.recyclings > 3);
    assert!(tally.stale > 200 && tally.stale_cuts > 20);
}

/// F-L7, F-L9: whatever happens between, a recycled file never brings back what it held.
#[test]
fn recycling_workloads() {
    let mut all = Tally::default();
    for seed in 0..WORKLOADS / 2 {
        all.add(&swept(&format!("recycling-{seed}")));
    }
    assert!(all.cases > 15_000 && all.recyclings > 10);
    assert!(all.stale > 1000 && all.stale_cuts > 100);
}

const SNAPSHOT_OPERATIONS: [&str; 7] = [
    "Create temporary file",
    "Write temporary file",
    "SyncAll temporary file",
    "Rename snapshot",
    "Remove snapshot",
    "Write segment",
    "SyncDir directory",
];

/// F-S1, F-S8, F-L17: a log opens with its newest snapshot, whole, wherever a crash came between file, name, mark and purge.
#[test]
fn snapshots_survive() {
    let tally = swept("snapshots");
    assert!(tally.cases > 2000 && tally.in_recovery > 1000);
    for operation in SNAPSHOT_OPERATIONS {
        assert!(tally.reached(operation), "never reached: {operation}");
    }
}

/// F-S1, F-S2: a log that a snapshot replaces is the old one or the new one, and nothing between.
#[test]
fn installed_snapshots_survive() {
    let tally = swept("resets");
    assert!(tally.cases > 3500 && tally.in_recovery > 2500);
    for operation in SNAPSHOT_OPERATIONS {
        assert!(tally.reached(operation), "never reached: {operation}");
    }
}

fn random_workloads(quarter: u64) {
    let mut all = Tally::default();
    for seed in quarter * WORKLOADS..(quarter + 1) * WORKLOADS {
        all.add(&swept(&format!("random-{seed}")));
    }
    assert!(all.cases > 15_000);
}

#[test]
fn random_workloads_first_quarter() {
    random_workloads(0);
}

#[test]
fn random_workloads_second_quarter() {
    random_workloads(1);
}

#[test]
fn random_workloads_third_quarter() {
    random_workloads(2);
}

#[test]
fn random_workloads_last_quarter() {
    random_workloads(3);
}

/// F-L7: a batch of two records is torn, so that the second is whole and the first is not. After the recovery the first is
/// written again, byte for byte, with another one behind it; and whatever is lost of that, the old second record never
/// follows the new first one.
#[test]
fn a_torn_record_rewritten_byte_for_byte() {
    let before = [Step::Commit(vec![append(100)])];
    let two = |second| [Step::Commit(vec![append(700), append(second)])];
    let calm = run(&SimDisk::new(), &dir(), &options(), &before, false);
    let mut all = Tally::default();
    let mut torn = 0;
    let mut seen = HashSet::new();
    for operation in 1.. {
        let disk = SimDisk::new();
        assert_eq!(run(&disk, &dir(), &options(), &before, false).error, None);
        disk.kill();
        let first = disk.operations();
        disk.fail(first + operation, Fault::PowerLoss);
        let start = calm.clone();
        let history = crate::harness::run_from(&disk, &dir(), &options(), &two(700), false, start);
        if history.error.is_none() {
            break;
        }
        for keep in disk.power_losses(64, operation) {
            let left = disk.fork();
            left.restart(keep);
            if !seen.insert(left.fingerprint()) {
                continue;
            }
            let (log, recovery) = Log::open_with(left.fork(), &dir(), options()).unwrap();
            if recovery.cut.as_ref().is_none_or(|cut| cut.records == 0) {
                continue;
            }
            torn += 1;
            let acknowledged = read_model(&log, Some(&recovery)).unwrap();
            assert_eq!(acknowledged, calm.acknowledged, "{operation}, {keep:?}");
            let tally = Sweep {
                name: "byte-for-byte",
                options: &options(),
                base: &left,
                start: &History {
                    acknowledged,
                    boot: history.boot,
                    ..History::default()
                },
                steps: &two(690),
                recoveries: false,
                wrap: &|disk| disk,
            };
            all.add(
                &tally
                    .run()
                    .unwrap_or_else(|error| panic!("{operation}, {keep:?}, then {error}")),
            );
        }
    }
    all.print("byte-for-byte");
    assert!(torn > 5 && all.cases > 500, "{torn} torn");
}

/// One case alone: the one that RAFT_LOG_CRASH names, as the message of a failure does, or else any, to see that it can be done.
#[test]
fn replay() {
    let case = std::env::var(REPLAY).unwrap_or_else(|_| "scripted/20/0".into());
    let (name, numbers) = case.split_once('/').unwrap();
    let numbers: Vec<u64> = numbers
        .split('/')
        .map(|number| number.parse().unwrap())
        .collect();
    let tally = Sweep {
        name,
        options: &options_of(name),
        base: &SimDisk::new(),
        start: &History::default(),
        steps: &workload(name),
        recoveries: true,
        wrap: &|disk| disk,
    };
    tally
        .replay(&numbers)
        .unwrap_or_else(|error| panic!("{error}"))
        .print(&case);
}
