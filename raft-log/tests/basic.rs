//! The log on the operating system's files: what it answers, before and after reopening.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use raft_log::{
    Batch, InvalidBatch, Log, OpenError, Options, ReadError, Record, WriteError, peek_identity,
};

fn options() -> Options {
    Options {
        segment_bytes: 8192,
        identity: b"node 1".to_vec(),
        ..Options::default()
    }
}

fn record(index: u64, term: u64, payload: &[u8]) -> Record<'_> {
    Record {
        index,
        term,
        kind: index.is_multiple_of(3).into(),
        payload,
    }
}

fn append(log: &mut Log, range: std::ops::RangeInclusive<u64>, term: u64, payload: &[u8]) {
    let mut batch = Batch::new();
    for index in range {
        batch.append(record(index, term, payload));
    }
    log.commit(&batch).unwrap();
}

fn check(log: &Log) {
    let reader = log.reader();
    assert!(matches!(
        reader.read(40, 10),
        Err(ReadError::Purged { first: 41, .. })
    ));
    assert!(matches!(
        reader.read(92, 10),
        Err(ReadError::BeyondEnd { last: 91, .. })
    ));
    let records = reader.read(41, 3000).unwrap();
    assert_eq!(records.len(), 10);
    assert!(
        records
            .iter()
            .zip(41..)
            .all(|(record, index)| record.index == index && record.payload == [7; 300][..])
    );
    let newest = &reader.read(91, 0).unwrap()[0];
    assert_eq!(
        (newest.index, newest.term, &newest.payload[..]),
        (91, 3, &b"new"[..])
    );
}

/// S-L1, S-L7, S-L9: rotation, truncation, purge, reads, and all of it after reopening.
#[test]
fn a_log_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/b");
    assert_eq!(peek_identity(&dir).unwrap(), None);
    let (mut log, recovery) = Log::open(&dir, options()).unwrap();
    assert!(
        recovery.created
            && recovery.boot == 1
            && recovery.last_index == 0
            && recovery.first_index == 1
    );
    for first in (1..=100).step_by(10) {
        append(&mut log, first..=first + 9, 1, &[7; 300]);
    }
    log.commit(
        Batch::new()
            .metadata(b"vote")
            .truncate_from(91)
            .append(record(91, 3, b"new")),
    )
    .unwrap();
    assert_eq!(log.last_index(), 91);
    log.purge(40).unwrap();
    check(&log);
    log.close().unwrap();

    assert_eq!(peek_identity(&dir).unwrap().unwrap(), b"node 1");
    let (log, recovery) = Log::open(&dir, options()).unwrap();
    assert!(recovery.clean && !recovery.created && recovery.cut.is_none());
    assert_eq!(
        (
            recovery.boot,
            recovery.first_index,
            recovery.last_index,
            recovery.term_before
        ),
        (2, 41, 91, 1)
    );
    assert_eq!(recovery.runs, [(41, 1), (91, 3)]);
    assert_eq!(recovery.metadata.as_deref(), Some(&b"vote"[..]));
    assert_eq!(
        recovery.marked,
        (41..=91)
            .filter(|index: &u64| index.is_multiple_of(3))
            .map(|index| (index, 1))
            .collect::<Vec<_>>()
    );
    check(&log);
    // F-L14: one holder at a time, within a process too.
    assert!(matches!(
        Log::open(&dir, options()),
        Err(OpenError::Locked { .. })
    ));
    drop(log);

    // F-L15: a directory of another log.
    let foreign = Log::open(
        &dir,
        Options {
            identity: b"node 2".to_vec(),
            ..options()
        },
    );
    assert!(
        matches!(foreign, Err(OpenError::ForeignIdentity { stored, .. }) if stored == b"node 1")
    );
}

#[test]
fn a_truncation_alone_and_an_append_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(dir.path(), options()).unwrap();
    append(&mut log, 1..=5, 1, b"old");
    log.commit(Batch::new().truncate_from(3)).unwrap();
    append(&mut log, 3..=4, 2, b"new");
    for _ in 0..2 {
        let read: Vec<_> = log
            .reader()
            .read(1, 99)
            .unwrap()
            .into_iter()
            .map(|r| (r.index, r.term, r.payload))
            .collect();
        let expected: [(u64, u64, &[u8]); 4] = [
            (1, 1, b"old"),
            (2, 1, b"old"),
            (3, 2, b"new"),
            (4, 2, b"new"),
        ];
        assert!(
            read.iter()
                .map(|(index, term, payload)| (*index, *term, &payload[..]))
                .eq(expected)
        );
        drop(log);
        log = Log::open(dir.path(), options()).unwrap().0;
    }
}

#[test]
fn a_wrong_batch_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(dir.path(), options()).unwrap();
    append(&mut log, 1..=2, 5, b"");
    let mut refused = |batch: &Batch<'_>| match log.commit(batch) {
        Err(WriteError::Invalid(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(Batch::new().append(record(4, 5, b""))),
        InvalidBatch::Gap { last: 2, found: 4 }
    );
    assert_eq!(
        refused(Batch::new().append(record(3, 4, b""))),
        InvalidBatch::Term {
            index: 3,
            last: 5,
            found: 4
        }
    );
    let far = refused(Batch::new().append(record(3, 5, b"")).truncate_from(5));
    assert_eq!(
        far,
        InvalidBatch::Range {
            index: 5,
            first: 1,
            last: 4
        }
    );
    let big = vec![0; 70_000];
    assert!(matches!(
        refused(Batch::new().metadata(&big)),
        InvalidBatch::TooLarge { max: 65536, .. }
    ));
    assert!(matches!(
        log.purge(3),
        Err(WriteError::Invalid(InvalidBatch::PurgeRange {
            index: 3,
            first: 1,
            last: 2
        }))
    ));
    append(&mut log, 3..=3, 5, b"");
}

/// S-L1: a record larger than a segment stands alone in one of its own size. One sync a commit, whatever is in it.
#[test]
fn large_batches_and_the_count_of_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(
        dir.path(),
        Options {
            segment_bytes: 1 << 20,
            ..options()
        },
    )
    .unwrap();
    append(&mut log, 1..=1, 1, &vec![1; 1_500_000]);
    let before = log.counters();
    append(&mut log, 2..=65, 1, &[2; 256]);
    let after = log.counters();
    assert_eq!(
        after.syncs - before.syncs,
        1 + 2,
        "the oversized segment was full"
    );
    append(&mut log, 66..=129, 1, &[2; 256]);
    assert_eq!(log.counters().syncs - after.syncs, 1);
    drop(log);
    let (log, recovery) = Log::open(dir.path(), options()).unwrap();
    assert_eq!(recovery.last_index, 129);
    assert_eq!(
        log.reader().read(1, 0).unwrap()[0].payload,
        vec![1; 1_500_000]
    );
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("photo.jpg"), b"x").unwrap();
    assert!(
        matches!(Log::open(dir.path(), options()), Err(OpenError::NotALog { found, .. }) if found == "photo.jpg")
    );
    assert!(matches!(
        peek_identity(dir.path()),
        Err(OpenError::NotALog { .. })
    ));
}

#[cfg(unix)]
#[test]
fn the_directory_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("log");
    drop(Log::open(&dir, options()).unwrap());
    assert_eq!(
        std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

/// Not a test by itself: the other process of the next one.
#[test]
fn another_process() {
    if let Some(dir) = std::env::var_os("RAFT_LOG_SECOND_PROCESS") {
        let opened = Log::open(dir, options());
        assert!(
            matches!(opened, Err(OpenError::Locked { .. })),
            "{opened:?}"
        );
        println!("refused");
    }
}

/// F-L14: the lock holds between processes, and ends with the one that has it.
#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let second = || {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["basic::another_process", "--exact", "--nocapture"])
            .env("RAFT_LOG_SECOND_PROCESS", dir.path())
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).contains("refused"),
        )
    };
    let (mut log, _) = Log::open(dir.path(), options()).unwrap();
    append(&mut log, 1..=3, 1, b"mine");
    assert_eq!(second(), (true, true));
    append(&mut log, 4..=5, 1, b"still mine");
    log.close().unwrap();
    assert_eq!(second(), (false, false), "it would get the directory now");
}
