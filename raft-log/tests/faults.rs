//! Errors of the disk: what poisons, what does not, and what a full disk lets through.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::sync::mpsc::channel;
use std::time::Duration;

use crate::harness::{check_recovery, dir, options, random_steps, read_model, run, two_pages};
use bytes::Bytes;
use raft_log::sim_disk::{Fault, Keep, Operation, SimDisk};
use raft_log::writer::{CloseError, Completion, OwnedBatch, Writer, WriterOptions};
use raft_log::{Batch, Log, OpenError, Options, OwnedRecord, Record, Space, WriteError};

fn record(index: u64, payload: &[u8]) -> Record<'_> {
    Record {
        index,
        term: 1,
        kind: 0,
        payload,
    }
}

fn open(disk: &SimDisk) -> Log<SimDisk> {
    Log::open_with(disk.clone(), &dir(), options()).unwrap().0
}

/// F-L8 (fsyncgate): a sync fails, the operating system drops the pages, and the next sync would say "done". The log stays
/// closed; the file is named; and what the page cache still shows after a restart of the process is really made durable.
#[test]
fn a_failed_sync_is_never_tried_again() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    log.commit(Batch::new().append(record(1, b"durable")))
        .unwrap();
    disk.fail(disk.operations() + 2, Fault::Io);
    let error = log
        .commit(Batch::new().append(record(2, b"dropped")))
        .unwrap_err();
    assert!(
        matches!(&error, WriteError::Failed(failure) if failure.operation == "sync the segment")
    );
    assert!(
        error.to_string().contains("00000000000000000001.seg"),
        "{error}"
    );
    assert_eq!(
        log.last_index(),
        1,
        "F-L11: memory does not run ahead of the disk"
    );
    for _ in 0..3 {
        let again = log.commit(Batch::new().append(record(2, b"dropped")));
        assert!(matches!(again, Err(WriteError::Poisoned(_))));
    }
    assert!(matches!(log.settle(), Err(WriteError::Poisoned(_))));
    assert!(matches!(log.purge(1), Err(WriteError::Poisoned(_))));
    assert_eq!(
        log.reader().read(1, 10).unwrap()[0].payload,
        &b"durable"[..],
        "reading goes on"
    );
    assert!(matches!(log.close(), Err(WriteError::Poisoned(_))));

    disk.kill();
    let log = open(&disk);
    assert_eq!(log.last_index(), 2, "the page cache shows it");
    disk.restart(Keep::Nothing);
    drop(log);
    assert_eq!(open(&disk).last_index(), 2, "so it must be durable by now");
}

/// F-L8, F-L16: a purge whose superblock could not be synced: a restart of the process sees it, and it is not durable. The power goes
/// while that opening acts on it, after any of its operations: no segment is gone that the superblock still counts.
#[test]
fn a_purge_that_is_seen_and_not_durable() {
    let mut cases = 0;
    for operation in 1.. {
        let disk = SimDisk::new();
        let mut log = open(&disk);
        for index in 1..=20 {
            log.commit(Batch::new().append(record(index, &[1; 900])))
                .unwrap();
        }
        disk.fail(disk.operations() + operation, Fault::Io);
        if log.purge(15).is_ok() {
            break;
        }
        drop(log);
        disk.kill();
        disk.record();
        drop(open(&disk));
        for (crashed, at) in disk.recorded().into_iter().zip(1..) {
            for keep in crashed.power_losses(16, at) {
                let left = crashed.fork();
                left.restart(keep);
                cases += 1;
                let opened = Log::open_with(left, &dir(), options());
                let (log, _) = opened.unwrap_or_else(|error| {
                    panic!("failed at {operation}, power lost at {at}, {keep:?}: {error}")
                });
                assert_eq!(log.last_index(), 20);
                assert_eq!(log.reader().read(16, 0).unwrap()[0].index, 16);
            }
        }
    }
    println!("{cases} cases");
    assert!(cases > 500, "{cases}");
}

/// F-L8, F-L10, F-L11, S-L11: any operation of a workload fails, with EIO or ENOSPC. Then the process restarts, and sees all
/// that was acknowledged; what it sees stays, even if the power goes right then.
#[test]
fn every_operation_fails_once() {
    let mut cases = 0;
    for seed in 20..24 {
        for fault in [Fault::Io, Fault::NoSpace] {
            for operation in 1.. {
                let disk = SimDisk::new();
                disk.fail(operation, fault);
                let history = run(&disk, &dir(), &options(), &random_steps(seed, 20), true);
                if disk.operations() < operation {
                    break;
                }
                disk.kill();
                cases += 1;
                let restarted = disk.fork();
                check_recovery(&restarted, &dir(), &options(), &history).unwrap_or_else(|error| {
                    panic!("workload {seed}, {fault:?} at {operation}: {error}")
                });
                let (log, recovery) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
                let seen = read_model(&log, Some(&recovery)).unwrap();
                disk.restart(Keep::Nothing);
                let (log, recovery) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
                assert_eq!(read_model(&log, Some(&recovery)).unwrap(), seen);
            }
        }
    }
    println!("{cases} cases");
}

/// F-L8, F-S1: any operation of a workload with snapshots fails; the process starts again and sees what is not durable; and the power
/// goes while that opening acts on it, at any of its operations.
#[test]
fn every_failure_and_then_a_power_loss_in_the_opening() {
    let mut cases = 0;
    for seed in 30..34 {
        for operation in 1.. {
            let disk = SimDisk::new();
            disk.fail(operation, Fault::Io);
            let history = run(&disk, &dir(), &options(), &random_steps(seed, 20), true);
            if disk.operations() < operation {
                break;
            }
            disk.kill();
            disk.record();
            drop(Log::open_with(disk.clone(), &dir(), options()));
            for (crashed, at) in disk.recorded().into_iter().zip(1..) {
                let seeds = (0..4).map(|seed| Keep::Some(operation * 64 + at * 4 + seed));
                for keep in seeds.chain([Keep::Nothing, Keep::All]) {
                    let left = crashed.fork();
                    left.restart(keep);
                    cases += 1;
                    check_recovery(&left, &dir(), &options(), &history).unwrap_or_else(|error| {
                        panic!(
                            "workload {seed}, EIO at {operation}, power lost at {at} of the opening, {keep:?}: {error}"
                        )
                    });
                }
            }
        }
    }
    println!("{cases} cases");
    assert!(cases > 10_000, "{cases}");
}

/// An unreadable sector is an error at opening, never a shorter log.
#[test]
fn every_read_of_an_opening_fails_once() {
    let disk = SimDisk::new();
    let history = run(&disk, &dir(), &options(), &random_steps(3, 12), true);
    assert_eq!(history.error, None);
    let before = disk.reads();
    drop(open(&disk));
    let reads = disk.reads() - before;
    for read in 1..=reads {
        let disk = disk.fork();
        disk.fail_read(disk.reads() + read);
        match Log::open_with(disk.clone(), &dir(), options()) {
            Err(OpenError::Io(_)) => {}
            Ok((log, _)) => {
                let found = read_model(&log, None).unwrap();
                assert_eq!(found, history.acknowledged);
            }
            Err(other) => panic!("read {read}: {other}"),
        }
    }
}

/// F-L10: no room for the next segment is a state: told early, refuses entries late, lets votes and purges through, and ends
/// when there is room.
#[test]
fn a_full_disk_is_a_state() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    assert_eq!(log.space(), Space::Ready);
    // Room for the superblock and the two segments that are there.
    disk.set_capacity(Some(8192 + 2 * 4096));
    let payload = [5; 300];
    let mut index = 0;
    let mut told_at = None;
    loop {
        match log.commit(Batch::new().append(record(index + 1, &payload))) {
            Ok(()) => index += 1,
            Err(WriteError::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        if log.space() == Space::Full {
            told_at.get_or_insert(index);
        }
    }
    assert!(
        told_at.unwrap() + 5 < index,
        "told at {told_at:?}, full at {index}"
    );
    log.commit(Batch::new().metadata(b"a vote")).unwrap();
    let refused = log.commit(Batch::new().append(record(index + 1, &payload)));
    assert!(matches!(refused, Err(WriteError::Full { .. })));
    assert_eq!(
        log.reader().read(1, usize::MAX).unwrap().len() as u64,
        index
    );

    // A purge makes room by itself; so does whoever deletes something else.
    let disk_elsewhere = disk.fork();
    log.purge(index).unwrap();
    log.commit(Batch::new().append(record(index + 1, &payload)))
        .unwrap();
    log.close().unwrap();
    let (log, recovery) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    assert_eq!(
        (recovery.first_index, recovery.last_index),
        (index + 1, index + 1)
    );
    assert_eq!(log.metadata(), Some(&b"a vote"[..]));

    disk_elsewhere.kill();
    disk_elsewhere.set_capacity(None);
    let mut log = open(&disk_elsewhere);
    assert_eq!(log.metadata(), Some(&b"a vote"[..]));
    log.commit(Batch::new().append(record(index + 1, &payload)))
        .unwrap();
}

/// F-L10: a batch with records that asks for it gets its part of the reserve of a full disk, and not more; no other one does.
#[test]
fn a_batch_may_ask_for_the_reserve() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    disk.set_capacity(Some(8192 + 2 * 4096));
    let payload = [5; 100];
    let mut index = 1;
    while log
        .commit(Batch::new().append(record(index, &payload)))
        .is_ok()
    {
        index += 1;
    }
    let mut asked = 0;
    loop {
        let plain = log.commit(Batch::new().append(record(index, &payload)));
        assert!(matches!(plain, Err(WriteError::Full { .. })));
        match log.commit(Batch::new().append(record(index, &payload)).use_reserve()) {
            Ok(()) => (asked, index) = (asked + 1, index + 1),
            Err(WriteError::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    // Three quarters of 512 bytes, and what no usual batch of 152 bytes could use.
    assert!((2..=3).contains(&asked), "{asked}");
    drop(log);
    disk.set_capacity(None);
    assert_eq!(open(&disk).last_index(), index - 1);
}

/// Votes on a full disk: none of them tries to make a segment, which would fill what is left of the disk with zeros each time;
/// and they leave room for a purge, and for the openings until it comes.
#[test]
fn votes_leave_room_for_what_frees_space() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    disk.set_capacity(Some(8192 + 2 * 4096));
    let payload = [5; 100];
    let mut index = 1;
    while log
        .commit(Batch::new().append(record(index, &payload)))
        .is_ok()
    {
        index += 1;
    }
    let mut votes = 0;
    loop {
        let before = disk.operations();
        match log.commit(Batch::new().metadata(b"vote")) {
            Ok(()) => assert_eq!(disk.operations(), before + 2, "a write and a sync"),
            Err(WriteError::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        votes += 1;
    }
    assert!(votes >= 3, "{votes}");
    drop(log);
    let mut log = open(&disk);
    assert_eq!(log.metadata(), Some(&b"vote"[..]));
    assert_eq!(log.space(), Space::Full);
    log.purge(index - 1).unwrap();
    log.commit(Batch::new().append(record(index, &payload)))
        .unwrap();
}

/// So do batches of theirs that carry a vote as well, and one that replaces the whole log, records included.
#[test]
fn what_frees_space_may_carry_more() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    disk.set_capacity(Some(8192 + 2 * 4096));
    let payload = [5; 100];
    let mut index = 1;
    while log
        .commit(Batch::new().append(record(index, &payload)))
        .is_ok()
    {
        index += 1;
    }
    while log.commit(Batch::new().metadata(b"vote")).is_ok() {}
    // Room for the files of two small snapshots, and for no segment.
    disk.set_capacity(Some(8192 + 2 * 4096 + 2000));
    let make =
        |log: &Log<SimDisk>, index| log.snapshots().create(index, 1).unwrap().finish().unwrap();
    let own = make(&log, index - 1);
    log.commit(Batch::new().metadata(b"v").snapshot(&own))
        .unwrap();
    log.purge(index - 1).unwrap();

    let disk = SimDisk::new();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), two_pages()).unwrap();
    disk.set_capacity(Some(8192 + 2 * 8192));
    while log
        .commit(Batch::new().append(record(log.last_index() + 1, &payload)))
        .is_ok()
    {}
    let index = log.last_index() + 1;
    while log.commit(Batch::new().metadata(b"vote")).is_ok() {}
    disk.set_capacity(Some(8192 + 2 * 8192 + 2000));
    let theirs = make(&log, index + 10);
    let next = record(index + 11, b"next");
    let mut batch = Batch::new();
    batch.metadata(b"v").install_snapshot(&theirs).append(next);
    log.commit(&batch).unwrap();
    assert_eq!(log.first_index(), index + 11);
}

/// F-L8: what fails while the next segment is made ready, but for a lack of room, is as final as any failure, and is not tried
/// again: not with the same file, nor with a new one.
#[test]
fn a_failure_beside_the_commits_is_final() {
    for background in [false, true] {
        for operation in [
            Operation::Create,
            Operation::Write,
            Operation::SyncData,
            Operation::SyncAll,
            Operation::SyncDir,
        ] {
            let disk = SimDisk::new();
            let with = Options {
                background,
                segment_bytes: 16 << 20,
                ..options()
            };
            let (mut log, _) = Log::open_with(disk.clone(), &dir(), with).unwrap();
            let large = vec![1; 2 << 20];
            let mut index = 0;
            let third = dir().join("00000000000000000003.seg");
            let file = if operation == Operation::SyncDir {
                dir()
            } else {
                third.clone()
            };
            disk.fail_next(operation, &file, Fault::Io);
            let error = loop {
                index += 1;
                assert!(index < 20, "{operation:?} has to fail");
                if let Err(error) = log.commit(Batch::new().append(record(index, &large))) {
                    break error;
                }
            };
            // Not as late as the segment is needed: seven records fit into each.
            assert!(background || index <= 9, "told with record {index}");
            assert!(
                matches!(&error, WriteError::Failed(_))
                    && error.to_string().contains("make the segment ready"),
                "{operation:?}: {error}"
            );
            let before = disk.operations();
            let again = log.commit(Batch::new().metadata(b"vote"));
            assert!(matches!(again, Err(WriteError::Poisoned(_))), "{again:?}");
            log.retry_space();
            assert_eq!(disk.operations(), before, "nothing is tried again");
        }
    }
}

/// A batch that needs a segment of its own finds no room, where a usual segment would: that is told too, and no failure. The
/// segment that was ready is still there.
#[test]
fn no_room_for_a_large_batch() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    disk.set_capacity(Some(8192 + 2 * 4096));
    let large = vec![7; 20_000];
    let refused = log.commit(Batch::new().append(record(1, &large)));
    assert!(matches!(refused, Err(WriteError::Full { .. })));
    assert_eq!(log.space(), Space::Ready, "for what is usual");
    let before = disk.operations();
    log.retry_space();
    assert_eq!(disk.operations(), before, "it was not given up");
    log.commit(Batch::new().append(record(1, b"small")))
        .unwrap();
    disk.set_capacity(None);
    log.commit(Batch::new().append(record(2, &large))).unwrap();
    drop(log);
    assert_eq!(open(&disk).last_index(), 2);
}

/// The writer keeps what finds no room, says so once, and writes it when there is room again.
#[test]
fn the_writer_waits_for_room() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.set_capacity(Some(8192 + 2 * 4096));
    let limits = WriterOptions {
        retry_full_after: Duration::from_millis(1),
        ..WriterOptions::default()
    };
    let (told, tell) = channel();
    let writer = Writer::spawn_with(log, limits, move |done| told.send(done).unwrap()).unwrap();
    for job in 1..=40 {
        let payload = Bytes::from(vec![job as u8; 300]);
        let records = vec![OwnedRecord {
            index: job,
            term: 1,
            kind: 0,
            payload,
        }];
        writer
            .submit(OwnedBatch {
                job,
                records,
                ..OwnedBatch::default()
            })
            .unwrap();
    }
    let mut durable = 0;
    let mut waited = 0;
    while durable < 40 {
        match tell.recv().unwrap() {
            Completion::Durable(commit) => durable = commit.job,
            Completion::Full { job } => {
                assert_eq!(job, durable + 1);
                waited += 1;
                if waited == 1 {
                    // What is durable may go: the purge overtakes the unit that waits.
                    assert!(writer.purge(durable));
                } else {
                    disk.set_capacity(None);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(waited >= 1);
    writer.close().unwrap();
    assert_eq!(open(&disk).last_index(), 40);
}

/// A failed sync ends the writer, tells it once, and closes the log for good.
#[test]
fn the_writer_reports_a_failed_sync() {
    let disk = SimDisk::new();
    let log = open(&disk);
    disk.fail(disk.operations() + 2, Fault::Io);
    let (told, tell) = channel();
    let writer = Writer::spawn(log, move |done| told.send(done).unwrap()).unwrap();
    let records = vec![OwnedRecord {
        index: 1,
        term: 1,
        kind: 0,
        payload: Bytes::new(),
    }];
    writer
        .submit(OwnedBatch {
            job: 1,
            records,
            ..OwnedBatch::default()
        })
        .unwrap();
    assert!(matches!(
        tell.recv().unwrap(),
        Completion::Failed {
            job: Some(1),
            error: WriteError::Failed(_)
        }
    ));
    assert!(tell.recv().is_err(), "nothing follows");
    assert!(matches!(
        writer.close(),
        Err(CloseError::Failed(WriteError::Failed(_)))
    ));
}

/// F-L5: a disk that lied about syncs is found out by the watermark: the end in the superblock, or a later segment.
#[test]
fn a_lying_disk_is_found_out() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    disk.set_lying(true);
    log.commit(Batch::new().append(record(1, &[1; 2000])))
        .unwrap();
    disk.set_lying(false);
    log.close().unwrap();
    let forgetful = disk.fork();
    forgetful.restart(Keep::Nothing);
    let opened = Log::open_with(forgetful, &dir(), options());
    assert!(
        matches!(opened, Err(OpenError::Corrupt { index: Some(1), .. })),
        "{:?}",
        opened.err()
    );
}
