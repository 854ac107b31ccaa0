//! The writing thread on a full disk: order, who is told what, and that nobody waits for ever.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::{dir, options};
use bytes::Bytes;
use raft_log::sim_disk::{Fault, Keep, Operation, SimDisk};
use raft_log::writer::{CloseError, Completion, OwnedBatch, SubmitError, Writer, WriterOptions};
use raft_log::{Batch, Log, OpenError, Options, OwnedRecord, Space};

fn entry(job: u64) -> OwnedBatch {
    let record = OwnedRecord {
        index: job,
        term: 1,
        kind: 0,
        payload: Bytes::from(vec![job as u8; 300]),
    };
    OwnedBatch {
        job,
        records: vec![record],
        ..OwnedBatch::default()
    }
}

fn vote(job: u64) -> OwnedBatch {
    OwnedBatch {
        job,
        metadata: Some(Bytes::from_static(b"a vote")),
        ..OwnedBatch::default()
    }
}

/// Nothing happens unless something is submitted, purged or closed.
fn patient() -> WriterOptions {
    WriterOptions {
        queue_units_max: 2,
        settle_after: Duration::from_secs(3600),
        retry_full_after: Duration::from_secs(3600),
        ..WriterOptions::default()
    }
}

/// A writer on a disk with room for the superblock and the two segments that are there.
fn spawn(limits: WriterOptions) -> (SimDisk, Writer<SimDisk>, Receiver<Completion>) {
    spawn_with(limits, false)
}

fn spawn_with(
    limits: WriterOptions,
    background: bool,
) -> (SimDisk, Writer<SimDisk>, Receiver<Completion>) {
    let disk = SimDisk::new();
    let options = Options {
        background,
        ..options()
    };
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options).unwrap();
    // The next segment is there before the disk is full.
    while disk.files().len() < 3 || log.space() == Space::Full {
        std::thread::yield_now();
    }
    disk.set_capacity(Some(8192 + 2 * 4096));
    let (told, tell) = channel();
    let writer = Writer::spawn_with(log, limits, move |done| {
        let _ = told.send(done);
    })
    .unwrap();
    (disk, writer, tell)
}

/// Fills the log until a unit waits for room; its job. All before it are durable.
fn fill(writer: &Writer<SimDisk>, tell: &Receiver<Completion>) -> u64 {
    for job in 1.. {
        writer.submit(entry(job)).unwrap();
        loop {
            match tell.recv().unwrap() {
                Completion::Durable(commit) => {
                    assert_eq!(commit.job, job);
                    break;
                }
                Completion::Full { job: waits } => {
                    assert_eq!(waits, job);
                    return job;
                }
                Completion::Failed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }
    unreachable!()
}

/// What is in the log after the writer is gone: the last index, and whether it was closed cleanly.
fn left(disk: &SimDisk) -> (u64, bool, Option<Vec<u8>>) {
    disk.set_capacity(None);
    let (log, recovery) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    let metadata = log.metadata().map(<[u8]>::to_vec);
    (recovery.last_index, recovery.clean, metadata)
}

/// The wait for room may last for ever, so what was acknowledged before it is settled first, and again what a purge writes
/// meanwhile: after a crash, damage to it is no torn write.
#[test]
fn what_was_acknowledged_is_settled_while_one_waits_for_room() {
    let (disk, writer, tell) = spawn(patient());
    let waits = fill(&writer, &tell);
    let before = disk.fork();
    before.restart(Keep::Nothing);
    let segment = before.files().into_iter().rfind(|file| {
        let bytes = before.content(file).unwrap();
        bytes.starts_with(b"RLOG-SEG") && bytes[512..].iter().any(|&byte| byte != 0)
    });
    let segment = segment.unwrap();
    let bytes = before.content(&segment).unwrap();
    let newest = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    assert_eq!(bytes[newest], waits as u8 - 1);
    before.rot(&segment, |bytes| bytes[newest] ^= 1);
    let opened = Log::open_with(before, &dir(), options());
    assert!(
        matches!(&opened, Err(OpenError::Corrupt { file, .. }) if *file == segment),
        "{opened:?}"
    );
    drop(writer);
}

/// Closing does not wait for room: the log ends cleanly before the unit that waits, the caller is told which, and a log that
/// is whole is not reported as failed.
#[test]
fn closing_gives_up_what_waits_for_room() {
    let (disk, writer, tell) = spawn(patient());
    let waits = fill(&writer, &tell);
    writer.submit(entry(waits + 1)).unwrap();
    writer.submit(vote(waits + 2)).unwrap();
    let error = writer.close().unwrap_err();
    assert!(
        matches!(&error, CloseError::Full { job, dir } if *job == waits && *dir == crate::harness::dir()),
        "{error}"
    );
    let rest: Vec<_> = tell.iter().collect();
    assert!(rest.is_empty(), "neither durable nor failed: {rest:?}");
    assert_eq!(left(&disk), (waits - 1, true, None));
}

/// With room in the last moment all is written.
#[test]
fn closing_tries_once_more() {
    let (disk, writer, tell) = spawn(patient());
    let waits = fill(&writer, &tell);
    writer.submit(vote(waits + 1)).unwrap();
    assert!(writer.purge(waits - 1));
    writer.close().unwrap();
    assert_eq!(left(&disk), (waits, true, Some(b"a vote".to_vec())));
}

/// Dropping the handle is the same, without the answer.
#[test]
fn dropping_gives_up_what_waits_for_room() {
    let (disk, writer, tell) = spawn(patient());
    let waits = fill(&writer, &tell);
    writer.submit(entry(waits + 1)).unwrap();
    drop(writer);
    assert_eq!(tell.iter().count(), 0);
    assert_eq!(left(&disk), (waits - 1, true, None));
}

/// A full queue behind a full disk does not hold whoever submits: neither one who comes now, nor one who waits already.
#[test]
fn submitting_never_waits_for_the_disk() {
    let (disk, writer, tell) = spawn(patient());
    let waits = fill(&writer, &tell);
    writer.submit(entry(waits + 1)).unwrap();
    writer.submit(entry(waits + 2)).unwrap();
    let refused = writer.submit(entry(waits + 3));
    assert!(
        matches!(refused, Err(SubmitError::QueueFull(unit)) if unit == entry(waits + 3)),
        "the unit comes back"
    );
    // Once there is room, all goes on, and waiting for the queue is allowed again.
    disk.set_capacity(None);
    assert!(writer.purge(0));
    for job in waits + 3..waits + 20 {
        loop {
            match writer.submit(entry(job)) {
                Ok(()) => break,
                Err(SubmitError::QueueFull(_)) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    writer.close().unwrap();
    assert_eq!(left(&disk), (waits + 19, true, None));
}

/// One who waits for the queue while the disk fills up gets the unit back.
#[test]
fn the_disk_fills_up_while_one_waits_for_the_queue() {
    let (disk, writer, tell) = spawn(patient());
    let refused = (1..1000).find(|&job| match writer.submit(entry(job)) {
        Ok(()) => false,
        Err(SubmitError::QueueFull(unit)) => unit == entry(job),
        Err(error) => panic!("{error}"),
    });
    let refused = refused.unwrap();
    let Err(CloseError::Full { job, .. }) = writer.close() else {
        panic!("there was room")
    };
    assert!(job < refused);
    let durable = tell.iter().filter_map(|done| match done {
        Completion::Durable(commit) => Some(commit.job),
        _ => None,
    });
    assert_eq!(durable.last(), Some(job - 1));
    assert_eq!(left(&disk), (job - 1, true, None));
}

/// Who turns records away on the first word of a lack of room is told when there is room again, though nothing is written;
/// until then it is not told that there might be.
#[test]
fn an_idle_writer_tells_when_there_is_room_again() {
    for background in [false, true] {
        let limits = WriterOptions {
            // One unit a commit: a larger one might want a segment of its own.
            commit_bytes_max: 1,
            settle_after: Duration::from_millis(1),
            retry_full_after: Duration::from_millis(1),
            ..WriterOptions::default()
        };
        let (disk, writer, tell) = spawn_with(limits, background);
        // They reach into the second segment and do not fill it; there is no room for a third.
        let jobs = 12;
        (1..=jobs).for_each(|job| writer.submit(entry(job)).unwrap());
        let (mut durable, mut space) = (0, Space::Ready);
        while (durable, space) != (jobs, Space::Full) {
            match tell.recv_timeout(Duration::from_secs(60)).unwrap() {
                Completion::Durable(commit) => (durable, space) = (commit.job, commit.space),
                Completion::Space(told) => space = told,
                other => panic!("{other:?}"),
            }
        }
        // It tries again and again, and still there is no room.
        let before = disk.operations();
        while disk.operations() < before + 50 {
            std::thread::yield_now();
        }
        let told: Vec<_> = tell.try_iter().collect();
        assert!(told.is_empty(), "background {background}: {told:?}");
        disk.set_capacity(None);
        let told = tell.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(
            matches!(told, Completion::Space(Space::Ready)),
            "background {background}: {told:?}"
        );
        writer.close().unwrap();
        assert_eq!(left(&disk).0, jobs);
    }
}

/// A unit with records that asks for the reserve gets it, alone and together with votes; next to one that does not ask, it
/// goes first and that one waits.
#[test]
fn a_unit_may_ask_for_the_reserve() {
    let disk = SimDisk::new();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    disk.set_capacity(Some(8192 + 2 * 4096));
    let mut jobs = 1;
    let small = |job| {
        let mut unit = entry(job);
        unit.records[0].payload = Bytes::from_static(b"member");
        unit
    };
    while log
        .commit(Batch::new().append(small(jobs).records[0].as_record()))
        .is_ok()
    {
        jobs += 1;
    }
    let asks = |job| OwnedBatch {
        use_reserve: true,
        ..small(job)
    };
    let limits = WriterOptions {
        queue_units_max: 10,
        ..patient()
    };
    let (told, tell) = channel();
    let writer = Writer::spawn_with(log, limits, move |done| {
        let _ = told.send(done);
    })
    .unwrap();
    writer.submit(asks(jobs)).unwrap();
    writer.submit(vote(jobs + 1)).unwrap();
    let mut second = asks(jobs + 2);
    second.records[0].index = jobs + 1;
    writer.submit(second).unwrap();
    let mut plain = small(jobs + 3);
    plain.records[0].index = jobs + 2;
    writer.submit(plain).unwrap();
    let mut durable = 0;
    let waits = loop {
        match tell.recv().unwrap() {
            Completion::Durable(commit) => durable = commit.job,
            Completion::Full { job } => break job,
            Completion::Space(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((durable, waits), (jobs + 2, jobs + 3));
    assert!(matches!(writer.close(), Err(CloseError::Full { .. })));
    assert_eq!(left(&disk), (jobs + 1, true, Some(b"a vote".to_vec())));
}

/// One who stops submitting records when told can vote to the end of the reserve. A vote behind a record that finds no room
/// waits with it: the order of units holds.
#[test]
fn votes_reach_the_reserve_only_at_the_head() {
    let (disk, writer, tell) = spawn(patient());
    let mut jobs = 0;
    loop {
        jobs += 1;
        writer.submit(entry(jobs)).unwrap();
        match tell.recv().unwrap() {
            Completion::Durable(commit) if commit.space == Space::Full => break,
            Completion::Durable(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let records = jobs;
    let mut votes = 0;
    let stuck = loop {
        jobs += 1;
        writer.submit(vote(jobs)).unwrap();
        match tell.recv().unwrap() {
            Completion::Durable(commit) => assert_eq!(commit.job, jobs),
            Completion::Full { job } => break job,
            other => panic!("{other:?}"),
        }
        votes += 1;
    };
    assert_eq!(stuck, jobs);
    assert!(votes > 4096 / 8 / 56, "more than the reserve: {votes}");
    assert!(matches!(writer.close(), Err(CloseError::Full { job, .. }) if job == stuck));
    assert_eq!(left(&disk).0, records);

    let (disk, writer, tell) = spawn(patient());
    let waits = fill(&writer, &tell);
    writer.submit(vote(waits + 1)).unwrap();
    assert!(writer.purge(0), "the unit that waits is tried again");
    writer.submit(vote(waits + 2)).unwrap();
    assert!(tell.recv_timeout(Duration::from_millis(20)).is_err());
    disk.set_capacity(None);
    assert!(writer.purge(0));
    let mut durable = waits - 1;
    while durable < waits + 2 {
        match tell.recv().unwrap() {
            Completion::Durable(commit) => {
                assert_eq!(commit.job, durable + commit.jobs);
                durable = commit.job;
            }
            other => panic!("{other:?}"),
        }
    }
    writer.close().unwrap();
}

/// While there is no room, a try that fails for another reason is no news of room: the failure is told, and not "ready" before it.
#[test]
fn a_failed_try_is_not_told_as_room() {
    let limits = WriterOptions {
        retry_full_after: Duration::from_millis(1),
        ..WriterOptions::default()
    };
    let (disk, writer, tell) = spawn_with(limits, true);
    let jobs = 12;
    (1..=jobs).for_each(|job| writer.submit(entry(job)).unwrap());
    let mut space = Space::Ready;
    while space == Space::Ready {
        match tell.recv().unwrap() {
            Completion::Durable(commit) => space = commit.space,
            Completion::Space(told) => space = told,
            other => panic!("{other:?}"),
        }
    }
    let third = dir().join("00000000000000000003.seg");
    disk.fail_next(Operation::SyncAll, &third, Fault::Io);
    disk.set_capacity(None);
    let told = tell
        .iter()
        .find(|done| !matches!(done, Completion::Durable(_)));
    assert!(matches!(told, Some(Completion::Failed { .. })), "{told:?}");
    drop(writer);
}
