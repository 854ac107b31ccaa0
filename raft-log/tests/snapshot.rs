//! Snapshots: their files, their marks, and what a mark does to the log.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::{Read, Write};
use std::sync::mpsc::channel;

use crate::harness::{dir, options};
use raft_log::sim_disk::{Fault, SimDisk};
use raft_log::writer::{Completion, Mark, OwnedBatch, Writer};
use raft_log::{
    Batch, FinishedSnapshot, InvalidBatch, Log, OpenError, ReadError, Record, Recovery, SnapshotId,
    SnapshotReadError, SnapshotWriteError, Snapshots, WriteError,
};

fn open(disk: &SimDisk) -> (Log<SimDisk>, Recovery) {
    Log::open_with(disk.clone(), &dir(), options()).unwrap()
}

fn append(log: &mut Log<SimDisk>, count: u64, term: u64) {
    for _ in 0..count {
        let index = log.last_index() + 1;
        log.commit(Batch::new().append(Record {
            index,
            term,
            kind: 0,
            payload: &index.to_le_bytes(),
        }))
        .unwrap();
    }
}

fn make(
    snapshots: &Snapshots<SimDisk>,
    index: u64,
    term: u64,
    payload: &[u8],
) -> Result<FinishedSnapshot, SnapshotWriteError> {
    let mut writer = snapshots.create(index, term)?;
    writer.write_all(payload).unwrap();
    writer.finish()
}

fn read(snapshots: &Snapshots<SimDisk>, id: &SnapshotId) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut reader = snapshots.open(id).unwrap();
    reader.read_to_end(&mut payload).unwrap();
    payload
}

fn snapshot_files(disk: &SimDisk) -> Vec<String> {
    let names = disk.files().into_iter();
    names
        .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.contains(".snap"))
        .collect()
}

fn bytes_of(disk: &SimDisk, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.rot(&dir().join(name), |file| bytes.clone_from(file));
    bytes
}

fn refused(result: Result<(), WriteError>) -> InvalidBatch {
    match result {
        Err(WriteError::Invalid(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

/// The bytes of version 1, made by another implementation of `docs/snapshot-format.md`. Whatever changes them is a new version.
#[test]
fn golden_files() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk);
    let small = make(&log.snapshots(), 7, 3, b"hello").unwrap().id();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let bytes = bytes_of(&disk, "00000000000000000007-00000000000000000003.snap");
    assert_eq!((small.bytes, small.checksum), (541, 0xf309_7e1a));
    assert_eq!(
        hex(&bytes[..32]),
        "524c4f472d534e5001000000b110034807000000000000000300000000000000"
    );
    assert!(bytes[32..512].iter().all(|&byte| byte == 0));
    assert_eq!(
        hex(&bytes[512..]),
        "68656c6c6faf485dd2524c4f472d454e4405000000000000001a7e09f3"
    );

    let payload: Vec<u8> = (0..10_000).map(|n| (n * 7 + n / 251) as u8).collect();
    let large = make(&log.snapshots(), (1 << 40) + 5, 9, &payload).unwrap();
    let bytes = bytes_of(&disk, "00000001099511627781-00000000000000000009.snap");
    assert_eq!(
        (large.id().bytes, large.id().checksum),
        (10_544, 0x3836_e9a2)
    );
    assert_eq!(crc32c(&bytes), 0xaa36_02c5, "the whole file");

    let empty = make(&log.snapshots(), 1, 1, b"").unwrap();
    assert_eq!((empty.id().bytes, empty.id().checksum), (532, 0x94da_fe89));
    assert_eq!(read(&log.snapshots(), &empty.id()), b"");
}

/// Bit by bit, so that nothing is shared with the crate.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}

/// The plain way: make, mark, purge, reopen; the older file goes when the newer mark is durable, and not before.
#[test]
fn a_mark_keeps_the_records_and_replaces_older_files() {
    let disk = SimDisk::new();
    let (mut log, recovery) = open(&disk);
    assert_eq!(recovery.snapshot, None);
    append(&mut log, 10, 1);
    let first = make(&log.snapshots(), 4, 1, b"four").unwrap();
    assert_eq!(log.snapshot(), None, "not before it is marked");
    log.commit(Batch::new().snapshot(&first)).unwrap();
    assert_eq!(log.snapshot(), Some(first.id()));
    assert_eq!(log.reader().snapshot(), Some(first.id()));
    assert_eq!((log.first_index(), log.last_index()), (1, 10));

    let beyond = refused(log.purge(5));
    assert_eq!(
        beyond,
        InvalidBatch::PurgeBeyondSnapshot {
            index: 5,
            snapshot: 4
        },
        "F-L17"
    );
    log.purge(3).unwrap();

    let second = make(&log.snapshots(), 8, 1, b"eight").unwrap();
    assert_eq!(snapshot_files(&disk).len(), 2);
    log.commit(Batch::new().metadata(b"vote").snapshot(&second))
        .unwrap();
    assert_eq!(
        snapshot_files(&disk),
        ["00000000000000000008-00000000000000000001.snap"]
    );
    assert_eq!(read(&log.snapshots(), &second.id()), b"eight");
    let gone = log.snapshots().open(&first.id()).unwrap_err();
    assert!(matches!(gone, SnapshotReadError::Missing { .. }), "{gone}");
    drop(log);

    let (log, recovery) = open(&disk);
    assert_eq!(recovery.snapshot, Some(second.id()));
    assert_eq!((recovery.first_index, recovery.last_index), (4, 10));
    assert_eq!(read(&log.snapshots(), &second.id()), b"eight");
}

/// F-S2: a snapshot ahead of the log, or of another history at its end, replaces all of it, in one step with metadata and the
/// records that follow.
#[test]
fn a_mark_ahead_of_the_log_drops_it() {
    for (index, term) in [(20, 5), (4, 2), (6, 9)] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk);
        append(&mut log, 6, 1);
        let segments = disk.files().len();
        for _ in 0..20 {
            log.commit(Batch::new().metadata(&[1; 800])).unwrap();
        }
        assert!(disk.files().len() > segments + 3);
        let snapshot = make(&log.snapshots(), index, term, b"state").unwrap();
        let next = Record {
            index: index + 1,
            term: 9,
            kind: 3,
            payload: b"next",
        };
        let reader = log.reader();
        log.commit(
            Batch::new()
                .metadata(b"term 9")
                .install_snapshot(&snapshot)
                .append(next),
        )
        .unwrap();
        let check = |log: &Log<SimDisk>| {
            assert_eq!(
                (log.first_index(), log.last_index()),
                (index + 1, index + 1)
            );
            assert_eq!(log.term(index), Some(term));
            assert_eq!(log.snapshot(), Some(snapshot.id()));
            assert_eq!(log.metadata(), Some(&b"term 9"[..]));
            let records = log.reader().read(index + 1, 100).unwrap();
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].payload, &b"next"[..]);
            let purged = log.reader().read(3, 100).unwrap_err();
            assert!(matches!(purged, ReadError::Purged { .. }));
        };
        check(&log);
        assert_eq!(reader.first_index(), index + 1);
        assert!(
            disk.files().len() <= segments + 3,
            "the old segments are gone, but for two spare files: {:?}",
            disk.files()
        );
        drop(log);
        let (log, recovery) = open(&disk);
        check(&log);
        assert_eq!(recovery.term_before, term);
        assert_eq!(recovery.runs, [(index + 1, 9)]);
        assert_eq!(recovery.marked, [(index + 1, 3)]);
    }
}

/// What is meant as a snapshot of the log's own records never drops any, whatever index or term it was given.
#[test]
fn only_an_installed_snapshot_drops_the_log() {
    for (index, term) in [(20, 5), (4, 2), (6, 9), (7, 1)] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk);
        append(&mut log, 6, 1);
        let snapshot = make(&log.snapshots(), index, term, b"state").unwrap();
        let before = disk.operations();
        let error = refused(log.commit(Batch::new().metadata(b"vote").snapshot(&snapshot)));
        assert_eq!(
            error,
            InvalidBatch::SnapshotNotHeld {
                index,
                term,
                last: (6, 1)
            }
        );
        assert_eq!(disk.operations(), before, "nothing was written");
        assert_eq!((log.first_index(), log.last_index()), (1, 6));
        assert_eq!((log.snapshot(), log.metadata()), (None, None));
        log.commit(Batch::new().install_snapshot(&snapshot))
            .unwrap();
        assert_eq!((log.first_index(), log.last_index()), (index + 1, index));
    }
}

/// The log's only record is replaced by a snapshot for the same index and another term, in a new segment: at an opening, the segment's
/// checkpoint still speaks of the old one.
#[test]
fn a_mark_replaces_the_term_of_the_last_record() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    log.commit(Batch::new().append(Record {
        index: 1,
        term: 1,
        kind: 0,
        payload: &[1; 2000],
    }))
    .unwrap();
    let snapshot = make(&log.snapshots(), 1, 2, b"state").unwrap();
    let metadata = [7; 2000];
    log.commit(Batch::new().install_snapshot(&snapshot).metadata(&metadata))
        .unwrap();
    log.commit(Batch::new().snapshot(&snapshot)).unwrap();
    append(&mut log, 1, 2);
    drop(log);
    let (log, recovery) = open(&disk);
    assert_eq!(disk.files().len(), 5, "segment 1 is a spare file");
    assert_eq!(recovery.snapshot, Some(snapshot.id()));
    assert_eq!(recovery.term_before, 2);
    assert_eq!((log.first_index(), log.last_index()), (2, 2));
}

/// Several units in one batch, as the writing thread makes them: the mark sees what stands before it in the same batch.
#[test]
fn a_mark_sees_the_records_of_its_own_batch() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 2, 1);
    let record = |index, term| Record {
        index,
        term,
        kind: 0,
        payload: b"",
    };
    let kept = make(&log.snapshots(), 4, 2, b"kept").unwrap();
    let drops = make(&log.snapshots(), 5, 3, b"drops").unwrap();
    let mut batch = Batch::new();
    batch.append(record(3, 2)).append(record(4, 2));
    batch
        .snapshot(&kept)
        .append(record(5, 2))
        .append(record(6, 2));
    // The record 5 of this batch has term 2.
    batch
        .install_snapshot(&drops)
        .append(record(6, 3))
        .snapshot(&drops);
    batch
        .append(record(7, 3))
        .truncate_from(7)
        .append(record(7, 4));
    log.commit(&batch).unwrap();
    let check = |log: &Log<SimDisk>| {
        assert_eq!((log.first_index(), log.last_index()), (6, 7));
        assert_eq!(
            (log.term(5), log.term(6), log.term(7)),
            (Some(3), Some(3), Some(4))
        );
        let read = log.reader().read(6, 1000).unwrap();
        let ids: Vec<_> = read.iter().map(|read| (read.index, read.term)).collect();
        assert_eq!(ids, [(6, 3), (7, 4)]);
        assert_eq!(log.snapshot(), Some(drops.id()));
    };
    check(&log);
    assert_eq!(snapshot_files(&disk).len(), 1);
    drop(log);
    check(&open(&disk).0);

    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 2, 1);
    let kept = make(&log.snapshots(), 3, 1, b"kept").unwrap();
    let mut batch = Batch::new();
    // No new run begins: the term is that of the records before.
    batch
        .append(record(3, 1))
        .snapshot(&kept)
        .append(record(4, 1));
    log.commit(&batch).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (1, 4));
}

/// F-S3 and its like: whatever would contradict the newest mark, or what was purged, is refused, and nothing is written.
#[test]
fn what_contradicts_the_newest_mark_is_refused() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 10, 3);
    let snapshots = log.snapshots();
    let older = make(&snapshots, 2, 3, b"older").unwrap();
    let low_term = make(&snapshots, 9, 2, b"low term").unwrap();
    let newest = make(&snapshots, 6, 3, b"newest").unwrap();
    let other_term = make(&snapshots, 6, 4, b"other term").unwrap();
    log.commit(Batch::new().snapshot(&newest)).unwrap();
    let before = disk.operations();
    assert_eq!(
        refused(log.commit(Batch::new().snapshot(&older))),
        InvalidBatch::SnapshotForeign { index: 2 },
        "its file is gone"
    );
    assert_eq!(
        refused(log.commit(Batch::new().snapshot(&low_term))),
        InvalidBatch::SnapshotTerm {
            index: 9,
            term: 2,
            newest: (6, 3)
        }
    );
    assert_eq!(
        refused(log.commit(Batch::new().snapshot(&other_term))),
        InvalidBatch::SnapshotForeign { index: 6 }
    );
    let cut = refused(log.commit(Batch::new().truncate_from(6)));
    assert_eq!(
        cut,
        InvalidBatch::Range {
            index: 6,
            first: 7,
            last: 11
        }
    );
    assert_eq!(disk.operations(), before, "nothing was written");
    log.commit(Batch::new().snapshot(&newest)).unwrap();
    log.commit(Batch::new().truncate_from(7)).unwrap();

    // Too late to be finished at all.
    for (index, term) in [(5, 3), (6, 4), (6, 3)] {
        let late = make(&snapshots, index, term, b"late").unwrap_err();
        assert!(
            matches!(late, SnapshotWriteError::Superseded { .. }),
            "{late}"
        );
    }
    assert_eq!(
        make(&snapshots, 6, 3, b"newest").unwrap(),
        newest,
        "the same bytes once more do no harm"
    );
    assert_eq!(snapshot_files(&disk).len(), 2, "9@2 was never marked");
    assert_eq!(read(&snapshots, &newest.id()), b"newest");

    // A log that was purged without a snapshot, as a plain write-ahead log is.
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 5, 3);
    log.purge(4).unwrap();
    let snapshots = log.snapshots();
    let old = make(&snapshots, 3, 3, b"").unwrap();
    assert_eq!(
        refused(log.commit(Batch::new().snapshot(&old))),
        InvalidBatch::SnapshotOld {
            index: 3,
            newest: 4
        }
    );
    for term in [2, 4] {
        let other = make(&snapshots, 4, term, b"").unwrap();
        let error = refused(log.commit(Batch::new().snapshot(&other)));
        assert!(
            matches!(error, InvalidBatch::SnapshotTerm { .. }),
            "{error}"
        );
    }
    let same = make(&snapshots, 4, 3, b"").unwrap();
    log.commit(Batch::new().snapshot(&same)).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (5, 5));
}

/// A finished snapshot is the proof that its file is durable, in this opening of this log, as it was when it was finished.
#[test]
fn only_what_is_there_can_be_marked() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk);
    let stale = make(&log.snapshots(), 3, 1, b"three").unwrap();
    drop(log);
    let (mut log, _) = open(&disk);
    assert!(snapshot_files(&disk).is_empty(), "it was never marked");
    let foreign = |log: &mut Log<SimDisk>, finished: &FinishedSnapshot| {
        let error = refused(log.commit(Batch::new().snapshot(finished)));
        assert_eq!(error, InvalidBatch::SnapshotForeign { index: 3 });
    };
    foreign(&mut log, &stale);
    let (other, _) = open(&SimDisk::new());
    let elsewhere = make(&other.snapshots(), 3, 1, b"three").unwrap();
    foreign(&mut log, &elsewhere);
    // The same file stands here, and nobody knows whether its name is durable: create, write, sync, rename, sync of the directory.
    disk.fail(disk.operations() + 5, Fault::Io);
    let failed = make(&log.snapshots(), 3, 1, b"three").unwrap_err();
    assert!(
        failed.to_string().contains("sync the directory"),
        "{failed}"
    );
    foreign(&mut log, &elsewhere);

    // Other bytes under its name.
    let snapshots = log.snapshots();
    let first = make(&snapshots, 3, 1, b"one").unwrap();
    let second = make(&snapshots, 3, 1, b"two").unwrap();
    foreign(&mut log, &first);
    log.commit(Batch::new().install_snapshot(&second)).unwrap();
    assert_eq!(read(&snapshots, &second.id()), b"two");

    // A refused batch leaves no trace: the name is free for other bytes.
    let next = make(&snapshots, 9, 1, b"one").unwrap();
    let gap = Record {
        index: 12,
        term: 1,
        kind: 0,
        payload: b"",
    };
    let error = refused(log.commit(Batch::new().install_snapshot(&next).append(gap)));
    assert!(matches!(error, InvalidBatch::Gap { .. }), "{error}");
    let other = make(&snapshots, 9, 1, b"two").unwrap();
    log.commit(Batch::new().install_snapshot(&other)).unwrap();
    assert_eq!(log.snapshot(), Some(other.id()));

    for (index, term) in [(0, 1), (1, 0), ((1 << 63) - 1, 1)] {
        let error = snapshots.create(index, term).unwrap_err();
        assert!(matches!(error, SnapshotWriteError::Invalid { .. }));
    }
}

/// A snapshot that no mark names at an opening: kept if the log has the record it ends with and all of it verifies.
#[test]
fn an_opening_adopts_or_discards_what_was_never_marked() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 8, 2);
    let snapshots = log.snapshots();
    let marked = make(&snapshots, 2, 2, b"marked").unwrap();
    log.commit(Batch::new().snapshot(&marked)).unwrap();
    let held = make(&snapshots, 5, 2, &[5; 9000]).unwrap().id();
    make(&snapshots, 4, 2, b"older").unwrap();
    make(&snapshots, 7, 3, b"another term").unwrap();
    make(&snapshots, 30, 3, b"ahead").unwrap();
    let mut unfinished = snapshots.create(6, 2).unwrap();
    unfinished.write_all(&[1; 300_000]).unwrap();
    std::mem::forget(unfinished);
    assert_eq!(snapshot_files(&disk).len(), 6);
    drop(log);
    disk.kill();

    let rotten = disk.fork();
    let name = "00000000000000000005-00000000000000000002.snap";
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.snapshot, Some(held));
    assert_eq!(log.snapshot(), Some(held));
    assert_eq!((log.first_index(), log.last_index()), (1, 8));
    assert_eq!(snapshot_files(&disk), [name]);
    drop(log);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.snapshot, Some(held), "it is marked by now");
    assert_eq!(read(&log.snapshots(), &held), [5; 9000]);

    // One bad byte in the middle: header and footer verify, and it is not adopted.
    rotten.rot(&dir().join(name), |bytes| bytes[5000] ^= 1);
    let (log, recovery) = open(&rotten);
    assert_eq!(
        recovery.snapshot.map(|id| id.index),
        Some(4),
        "the next best"
    );
    assert_eq!(
        read(&log.snapshots(), &recovery.snapshot.unwrap()),
        b"older"
    );
    assert_eq!(snapshot_files(&rotten).len(), 1);
}

/// F-S1, F-L8: the sync of a mark fails, so that the mark is seen after a restart of the process and not durable. The power goes while
/// that opening acts on it: whichever mark is left, its snapshot is there.
#[test]
fn a_mark_that_is_seen_and_not_durable() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 8, 2);
    let first = make(&log.snapshots(), 3, 2, b"first").unwrap();
    log.commit(Batch::new().snapshot(&first)).unwrap();
    let second = make(&log.snapshots(), 30, 3, b"second").unwrap();
    disk.fail(disk.operations() + 2, Fault::Io);
    let failed = log
        .commit(Batch::new().install_snapshot(&second))
        .unwrap_err();
    assert!(matches!(failed, WriteError::Failed(_)), "{failed}");
    drop(log);
    disk.kill();

    let seen = disk.fork();
    seen.record();
    let (log, recovery) = open(&seen);
    assert_eq!(
        recovery.snapshot,
        Some(second.id()),
        "the page cache shows it"
    );
    drop(log);
    let mut newest = [0, 0];
    for crashed in seen.recorded() {
        for keep in crashed.power_losses(32, 1) {
            let left = crashed.fork();
            left.restart(keep);
            let (log, _) = open(&left);
            let id = log.snapshot().unwrap();
            let payload = read(&log.snapshots(), &id);
            let nth = usize::from(id == second.id());
            assert_eq!(payload, [&b"first"[..], b"second"][nth]);
            newest[nth] += 1;
        }
    }
    println!("left with the first or the second: {newest:?}");
    assert!(newest.iter().all(|&count| count > 10), "{newest:?}");
}

/// Dropped without finish, or failing, it leaves nothing; two at once do not meet, even for the same record.
#[test]
fn temporary_files_go() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 3, 1);
    let snapshots = log.snapshots();
    let mut one = snapshots.create(3, 1).unwrap();
    let mut two = snapshots.create(3, 1).unwrap();
    let mut three = snapshots.create(2, 1).unwrap();
    assert_eq!(snapshot_files(&disk).len(), 3);
    for _ in 0..100 {
        one.write_all(&[1; 3000]).unwrap();
        two.write_all(&[1; 3000]).unwrap();
        three.write_all(&[3; 3000]).unwrap();
    }
    drop(three);
    let (one, two) = (one.finish().unwrap(), two.finish().unwrap());
    assert_eq!(one, two);
    assert_eq!(snapshot_files(&disk).len(), 1);
    log.commit(Batch::new().snapshot(&one)).unwrap();
    log.commit(Batch::new().snapshot(&two)).unwrap();
    assert_eq!(read(&snapshots, &two.id()), [1; 300_000]);
}

/// Every operation of a snapshot fails once, with EIO and with ENOSPC: a typed error, no file left, and the log goes on.
#[test]
fn a_failure_of_a_snapshot_does_not_poison_the_log() {
    for fault in [Fault::Io, Fault::NoSpace] {
        let mut failed = 0;
        for operation in 1.. {
            let disk = SimDisk::new();
            let (mut log, _) = open(&disk);
            append(&mut log, 3, 1);
            disk.fail(disk.operations() + operation, fault);
            let before = disk.operations();
            let result = log.snapshots().create(3, 1).and_then(|mut writer| {
                for _ in 0..10 {
                    if let Err(error) = writer.write_all(&[7; 1_000_000]) {
                        let expected = match fault {
                            Fault::NoSpace => std::io::ErrorKind::StorageFull,
                            _ => std::io::ErrorKind::Other,
                        };
                        assert_eq!(error.kind(), expected);
                        let again = writer.write_all(b"more").unwrap_err();
                        assert!(again.to_string().contains("an earlier write"), "{again}");
                        let ended = writer.finish().unwrap_err();
                        assert!(matches!(ended, SnapshotWriteError::Ended));
                        return Err(error.downcast().unwrap());
                    }
                }
                writer.finish()
            });
            if disk.operations() < before + operation {
                result.unwrap();
                break;
            }
            failed += 1;
            let error = result.unwrap_err();
            match fault {
                Fault::NoSpace => {
                    assert!(matches!(error, SnapshotWriteError::Full { .. }), "{error}");
                }
                _ => assert!(matches!(error, SnapshotWriteError::Failed(_)), "{error}"),
            }
            let left = snapshot_files(&disk);
            assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
            append(&mut log, 1, 1);
            let again = make(&log.snapshots(), 3, 1, b"again").unwrap();
            log.commit(Batch::new().snapshot(&again)).unwrap();
            drop(log);
            let (log, recovery) = open(&disk);
            assert_eq!(
                (recovery.snapshot, recovery.last_index),
                (Some(again.id()), 4)
            );
            assert_eq!(read(&log.snapshots(), &again.id()), b"again");
        }
        println!("{failed} operations failed with {fault:?}");
        assert!(failed > 40, "the writes and syncs of 10 MB");
    }
}

/// F-L10: a disk that is full stops a snapshot and nothing else, and its mark fits into the log's reserve.
#[test]
fn a_full_disk_stops_the_snapshot_only() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 3, 1);
    let finished = make(&log.snapshots(), 2, 1, &[1; 500]).unwrap();
    let used = disk.files().len() as u64 * 4096 + 8192;
    disk.set_capacity(Some(used + 3000));
    let mut writer = log.snapshots().create(3, 1).unwrap();
    let full = writer.write_all(&[7; 300_000]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    drop(writer);
    while log
        .commit(Batch::new().append(Record {
            index: log.last_index() + 1,
            term: 1,
            kind: 0,
            payload: &[1; 200],
        }))
        .is_ok()
    {}
    log.commit(Batch::new().snapshot(&finished)).unwrap();
    assert_eq!(log.snapshot(), Some(finished.id()));
}

/// F-S4: a reader goes on when a newer snapshot replaces the one it reads.
#[test]
fn a_reader_survives_replacement() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 3, 1);
    let payload: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
    let first = make(&log.snapshots(), 2, 1, &payload).unwrap();
    log.commit(Batch::new().snapshot(&first)).unwrap();
    let mut reader = log.snapshots().open(&first.id()).unwrap();
    let mut read = vec![0; 100];
    reader.read_exact(&mut read).unwrap();
    let second = make(&log.snapshots(), 3, 1, b"new").unwrap();
    log.commit(Batch::new().snapshot(&second)).unwrap();
    assert_eq!(snapshot_files(&disk).len(), 1);
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, payload);
}

/// While a snapshot is written, nobody else can open the directory; afterwards the handle is of no use for another log.
#[test]
fn a_writer_holds_the_directory() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk);
    let snapshots = log.snapshots();
    let writer = snapshots.create(1, 1).unwrap();
    drop(log);
    let locked = Log::open_with(disk.clone(), &dir(), options());
    assert!(matches!(locked, Err(OpenError::Locked { .. })));
    drop(writer);
    let closed = snapshots.create(1, 1).unwrap_err();
    assert!(matches!(closed, SnapshotWriteError::Closed { .. }));
    open(&disk);
}

/// Through the writing thread: made elsewhere, marked in the order of the jobs, with records behind it.
#[test]
fn through_the_writer() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 5, 1);
    let (told, tell) = channel();
    let writer = Writer::spawn(log, move |done| told.send(done).unwrap()).unwrap();
    let ahead = make(&writer.snapshots(), 40, 2, b"ahead").unwrap();
    let unit = OwnedBatch {
        job: 1,
        snapshot: Some(Mark::Installed(ahead.clone())),
        records: vec![raft_log::OwnedRecord {
            index: 41,
            term: 2,
            kind: 0,
            payload: bytes::Bytes::new(),
        }],
        ..OwnedBatch::default()
    };
    writer.submit(unit).unwrap();
    assert!(matches!(tell.recv().unwrap(), Completion::Durable(commit) if commit.job == 1));
    assert_eq!(writer.reader().snapshot(), Some(ahead.id()));
    assert_eq!(writer.reader().last_index(), 41);
    writer.close().unwrap();
    let (log, recovery) = open(&disk);
    assert_eq!((recovery.first_index, recovery.last_index), (41, 41));
    assert_eq!(log.snapshot(), Some(ahead.id()));
}
