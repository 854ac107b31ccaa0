//! An opening after a process that ended in the middle: what it left is in the page cache and not on the disk, so the opening must make
//! durable what it relies on before it changes anything, and finish what was begun.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::HashSet;

use crate::harness::{check_recovery, dir, options, random_steps, run};
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::{Batch, Log, OpenError, Options, Record, Space};
use std::io::Write as _;

/// Random workloads; the process is killed at an operation, or that operation fails; the machine goes on. Then the power fails at
/// every operation of the opening that follows, with some or all of what is pending lost or torn. Nothing acknowledged is missing.
fn killed_then_power_lost(seeds: std::ops::Range<u64>) {
    let mut cases = 0;
    for seed in seeds {
        let steps = random_steps(seed, 16);
        let options = Options {
            // In the larger ones old bytes stand behind the end.
            segment_bytes: if seed % 2 == 1 { 3 * 4096 } else { 4096 },
            ..options()
        };
        for fault in [Fault::PowerLoss, Fault::Io] {
            for operation in 1.. {
                let disk = SimDisk::new();
                disk.fail(operation, fault);
                let history = run(&disk, &dir(), &options, &steps, true);
                if history.error.is_none() {
                    break;
                }
                disk.kill();
                let mut seen = HashSet::new();
                for second in 1.. {
                    let again = disk.fork();
                    again.fail(again.operations() + second, Fault::PowerLoss);
                    let done = Log::open_with(again.clone(), &dir(), options.clone()).is_ok();
                    for keep in again.power_losses(1, operation) {
                        let left = again.fork();
                        left.restart(keep);
                        if !seen.insert(left.fingerprint()) {
                            continue;
                        }
                        cases += 1;
                        check_recovery(&left, &dir(), &options, &history).unwrap_or_else(|error| {
                            panic!(
                                "seed {seed}: {fault:?} at operation {operation}, the power lost at operation {second} of the \
                                 opening, {keep:?}: {error}"
                            )
                        });
                    }
                    if done {
                        break;
                    }
                }
            }
        }
    }
    println!("{cases} cases");
    assert!(cases > 5000);
}

#[test]
fn killed_then_power_lost_first_half() {
    killed_then_power_lost(100..103);
}

#[test]
fn killed_then_power_lost_second_half() {
    killed_then_power_lost(103..106);
}

fn append(log: &mut Log<SimDisk>, bytes: usize) -> bool {
    let index = log.last_index() + 1;
    let payload = vec![index as u8; bytes];
    let record = Record {
        index,
        term: 1,
        kind: 0,
        payload: &payload,
    };
    log.commit(Batch::new().append(record)).is_ok()
}

fn open(disk: &SimDisk) -> Log<SimDisk> {
    Log::open_with(disk.clone(), &dir(), options()).unwrap().0
}

/// F-L10: the crash came when the purge was committed and its segments were not given up yet. On a full disk no other purge could
/// ever be committed, so the opening does it.
#[test]
fn an_opening_finishes_a_purge() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    while log.counters().rotations < 3 {
        assert!(append(&mut log, 1500));
    }
    disk.set_capacity(Some(0));
    while append(&mut log, 300) {}
    let last = log.last_index();
    // The record is written and synced; then comes the superblock.
    disk.fail(disk.operations() + 3, Fault::PowerLoss);
    log.purge(last).unwrap_err();
    drop(log);
    disk.restart(Keep::Nothing);

    let mut log = open(&disk);
    assert_eq!((log.first_index(), log.last_index()), (last + 1, last));
    log.retry_space();
    assert_eq!(log.space(), Space::Ready);
    assert!(append(&mut log, 1500) && append(&mut log, 1500));
}

/// The first opening needs room for the superblock and one segment; that there is none for the next is said, and no failure.
#[test]
fn a_log_begins_with_room_for_one_segment() {
    let bytes = |disk: &SimDisk| -> u64 {
        let contents = disk.files().into_iter().map(|file| disk.content(&file));
        contents.map(|content| content.unwrap().len() as u64).sum()
    };
    let roomy = SimDisk::new();
    drop(open(&roomy));
    let one = bytes(&roomy) - options().segment_bytes;
    assert_eq!(roomy.files().len(), 3, "a superblock and two segments");

    let disk = SimDisk::new();
    disk.set_capacity(Some(one));
    let mut log = open(&disk);
    assert_eq!((log.space(), bytes(&disk)), (Space::Full, one));
    assert!(append(&mut log, 300), "the first segment takes records");
    disk.set_capacity(None);
    log.retry_space();
    assert_eq!(log.space(), Space::Ready);

    let disk = SimDisk::new();
    disk.set_capacity(Some(one - 1));
    let error = Log::open_with(disk, &dir(), options()).unwrap_err();
    assert!(
        matches!(&error, OpenError::Io(failure) if failure.is_full()),
        "{error}"
    );
}

/// A snapshot that no mark ever named and no record stands behind is discarded for good: were it back after a loss of power, a later
/// opening could take it over.
#[test]
fn a_discarded_snapshot_stays_away() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    assert!(append(&mut log, 10));
    let mut writer = log.snapshots().create(7, 1).unwrap();
    writer.write_all(b"state").unwrap();
    writer.finish().unwrap();
    drop(log);
    disk.kill();
    let has_snapshot = || {
        let files = disk.files();
        files
            .iter()
            .any(|file| file.extension().unwrap_or_default() == "snap")
    };
    assert!(has_snapshot());
    drop(open(&disk));
    disk.restart(Keep::Nothing);
    assert!(!has_snapshot());
}
