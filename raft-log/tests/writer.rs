//! The writing thread: group commit, order, limits, failure.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use raft_log::sim_disk::{Fault, Operation, SimDisk};
use raft_log::writer::{CloseError, Completion, OwnedBatch, SubmitError, Writer, WriterOptions};
use raft_log::{InvalidBatch, Log, Options, OwnedRecord, WriteError};

fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    }
}

fn unit(job: u64, payload: usize) -> OwnedBatch {
    let payload = Bytes::from(vec![job as u8; payload]);
    let records = vec![OwnedRecord {
        index: job,
        term: 1,
        kind: 0,
        payload,
    }];
    OwnedBatch {
        job,
        metadata: Some(Bytes::from(job.to_string())),
        snapshot: None,
        truncate_from: None,
        records,
        use_reserve: false,
    }
}

fn spawn(dir: &std::path::Path, options: WriterOptions) -> (Writer, Receiver<Completion>) {
    let (log, _) = Log::open(dir, self::options()).unwrap();
    let (told, tell) = channel();
    (
        Writer::spawn_with(log, options, move |done| told.send(done).unwrap()).unwrap(),
        tell,
    )
}

/// F-L21: a job is reported only with the sync that covers it, each exactly once and in order; many share a sync.
#[test]
fn group_commit_reports_every_job_once() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, told) = spawn(dir.path(), WriterOptions::default());
    let reader = writer.reader();
    let submit = std::thread::spawn(move || {
        (1..=500).for_each(|job| writer.submit(unit(job, 100)).unwrap());
        writer.close().unwrap();
    });
    let (mut last, mut commits) = (0, 0);
    while let Ok(Completion::Durable(commit)) = told.recv() {
        assert_eq!(commit.job, last + commit.jobs);
        assert_eq!(commit.jobs, commit.records);
        assert!(
            reader.last_index() >= commit.job,
            "what is reported can be read"
        );
        last = commit.job;
        commits += 1;
    }
    submit.join().unwrap();
    assert_eq!(last, 500);
    println!("500 jobs in {commits} commits, {:?}", reader.counters());
    let (log, recovery) = Log::open(dir.path(), options()).unwrap();
    assert!(recovery.clean && recovery.last_index == 500);
    assert_eq!(log.metadata(), Some(&b"500"[..]));
    let read = log.reader().read(1, usize::MAX).unwrap();
    assert!(
        read.iter()
            .all(|record| record.payload == vec![record.index as u8; 100])
    );
}

#[test]
fn a_small_queue_pushes_back_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let limits = WriterOptions {
        queue_units_max: 2,
        queue_bytes_max: 3000,
        commit_bytes_max: 1,
        ..WriterOptions::default()
    };
    let (writer, told) = spawn(dir.path(), limits);
    let mut refused = 0;
    for job in 1..=50 {
        let mut unit = unit(job, if job % 10 == 0 { 10_000 } else { 1000 });
        loop {
            match writer.try_submit(unit) {
                Ok(()) => break,
                Err(SubmitError::QueueFull(back)) => unit = back,
                Err(error) => panic!("{error}"),
            }
            refused += 1;
            std::thread::yield_now();
        }
    }
    writer.close().unwrap();
    assert!(refused > 0);
    let jobs: Vec<u64> = told
        .iter()
        .map(|done| match done {
            Completion::Durable(commit) => commit.job,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(jobs, (1..=50).collect::<Vec<_>>(), "one unit a commit");
}

#[test]
fn a_purge_goes_through_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, told) = spawn(dir.path(), WriterOptions::default());
    (1..=10).for_each(|job| writer.submit(unit(job, 10)).unwrap());
    while !matches!(told.recv().unwrap(), Completion::Durable(commit) if commit.job == 10) {}
    assert!(writer.purge(7));
    writer.close().unwrap();
    let (_, recovery) = Log::open(dir.path(), options()).unwrap();
    assert_eq!((recovery.first_index, recovery.last_index), (8, 10));
}

/// A unit that cannot stand in the log ends the writer, and nobody hangs.
#[test]
fn a_wrong_unit_ends_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let limits = WriterOptions {
        queue_units_max: 1,
        ..WriterOptions::default()
    };
    let (writer, told) = spawn(dir.path(), limits);
    writer.submit(unit(7, 1)).unwrap();
    // The queue is full now and then: whoever waits for it is let go.
    let refused = (8..).find_map(|job| writer.submit(unit(job, 1)).err());
    assert!(matches!(refused, Some(SubmitError::Closed(unit)) if unit.job > 7));
    assert!(matches!(
        told.recv().unwrap(),
        Completion::Failed {
            job: Some(7),
            error: WriteError::Invalid(_)
        }
    ));
    assert!(matches!(
        writer.close(),
        Err(CloseError::Failed(WriteError::Invalid(_)))
    ));
}

/// A wrong unit in the middle of a group: what came before it is durable and told, it is named, and nothing after it is written.
#[test]
fn a_wrong_unit_takes_no_good_one_with_it() {
    let disk = SimDisk::new();
    let (log, _) = Log::open_with(disk.clone(), Path::new("/log"), options()).unwrap();
    // The first unit's sync stands still, until the others wait together.
    let hold = disk.hold(Operation::SyncData, None);
    let (sender, told) = channel();
    let writer = Writer::spawn(log, move |done| {
        let _ = sender.send(done);
    })
    .unwrap();
    writer.submit(unit(1, 10)).unwrap();
    hold.wait();
    (2..=4).for_each(|job| writer.submit(unit(job, 10)).unwrap());
    let mut wrong = unit(5, 10);
    wrong.records[0].index = 7;
    writer.submit(wrong).unwrap();
    writer.submit(unit(6, 10)).unwrap();
    hold.release();
    let told: Vec<Completion> = told.iter().collect();
    let (failed, durable) = told.split_last().unwrap();
    let durable: Vec<u64> = durable
        .iter()
        .filter_map(|done| match done {
            Completion::Durable(commit) => Some(commit.job),
            _ => None,
        })
        .collect();
    assert_eq!(durable.last(), Some(&4), "{durable:?}");
    assert!(
        matches!(
            failed,
            Completion::Failed {
                job: Some(5),
                error: WriteError::Invalid(InvalidBatch::Gap { last: 4, found: 7 })
            }
        ),
        "{failed:?}"
    );
    assert!(matches!(
        writer.close(),
        Err(CloseError::Failed(WriteError::Invalid(_)))
    ));
    let (log, _) = Log::open_with(disk, Path::new("/log"), options()).unwrap();
    assert_eq!(log.last_index(), 4);
}

/// F-L8: what fails while the next segment is made ready is told to an owner who submits nothing more: at rest, the log settled.
#[test]
fn a_failure_beside_the_commits_is_told_at_rest() {
    let disk = SimDisk::new();
    let log_dir = Path::new("/log");
    let (log, _) = Log::open_with(disk.clone(), log_dir, options()).unwrap();
    let third = log_dir.join("00000000000000000003.seg");
    disk.fail_next(Operation::SyncAll, &third, Fault::Io);
    let hold = disk.hold(Operation::SyncAll, Some(&third));
    let (sender, told) = channel();
    let limits = WriterOptions {
        settle_after: Duration::from_millis(1),
        ..WriterOptions::default()
    };
    let writer = Writer::spawn_with(log, limits, move |done| {
        let _ = sender.send(done);
    })
    .unwrap();
    (1..=3).for_each(|job| writer.submit(unit(job, 400_000)).unwrap());
    while !matches!(told.recv_timeout(Duration::from_secs(60)).unwrap(), Completion::Durable(commit) if commit.job == 3)
    {
    }
    hold.wait();
    // It settles, perhaps it has already, and has nothing to do any more but to wait for the segment.
    let settled = || {
        let disk = disk.fork();
        disk.kill();
        let (_, recovered) = Log::open_with(disk, log_dir, options()).unwrap();
        recovered.clean
    };
    let begun = std::time::Instant::now();
    while !settled() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never settles"
        );
        std::thread::yield_now();
    }
    hold.release();
    let failed = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(
        matches!(
            failed,
            Completion::Failed {
                job: None,
                error: WriteError::Failed(_)
            }
        ),
        "{failed:?}"
    );
    assert!(matches!(writer.close(), Err(CloseError::Failed(_))));
}
