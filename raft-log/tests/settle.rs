//! Settling: the superblock says where the durable log ends, so damage to the very last batch is found.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::harness::{dir, options, variants};
use bytes::Bytes;
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::writer::{OwnedBatch, Writer, WriterOptions};
use raft_log::{Batch, Log, OpenError, OwnedRecord, Record, Recovery, WriteError};

fn open(disk: &SimDisk) -> Result<(Log<SimDisk>, Recovery), OpenError> {
    Log::open_with(disk.clone(), &dir(), options())
}

fn append(log: &mut Log<SimDisk>, bytes: usize) -> Result<(), WriteError> {
    let index = log.last_index() + 1;
    let payload = vec![index as u8; bytes];
    log.commit(Batch::new().append(Record {
        index,
        term: 1,
        kind: 0,
        payload: &payload,
    }))
}

fn segment(number: u64) -> PathBuf {
    dir().join(format!("{number:020}.seg"))
}

fn bytes_of(disk: &SimDisk, file: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    disk.fork().rot(file, |bytes| all.clone_from(bytes));
    all
}

/// One sync, in the superblock alone; a second call has nothing to do, and the record that an opening writes is not settled.
#[test]
fn settling_writes_the_superblock_and_no_record() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    assert!(!log.is_settled());
    append(&mut log, 10).unwrap();
    let (before, operations, syncs) = (
        bytes_of(&disk, &segment(1)),
        disk.operations(),
        log.counters().syncs,
    );
    log.settle().unwrap();
    assert!(log.is_settled());
    log.settle().unwrap();
    assert_eq!(disk.operations() - operations, 2, "a write and a sync");
    assert_eq!(log.counters().syncs - syncs, 1);
    assert_eq!(bytes_of(&disk, &segment(1)), before);
    append(&mut log, 10).unwrap();
    assert!(!log.is_settled());
    drop(log);
    assert!(!open(&disk).unwrap().0.is_settled());
}

/// F-L4: after a settle and a crash, every flipped bit of the last batch is damage, and none of it is cut.
#[test]
fn the_last_batch_cannot_be_lost_once_settled() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, 700).unwrap();
    let begins = bytes_of(&disk, &segment(1));
    let begins = begins.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    append(&mut log, 60).unwrap();
    let whole = bytes_of(&disk, &segment(1));
    let ends = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let mut outcomes = [0, 0];
    for settled in [false, true] {
        if settled {
            log.settle().unwrap();
        }
        for bit in begins.next_multiple_of(8) * 8..ends * 8 {
            let disk = disk.fork();
            disk.kill();
            disk.rot(&segment(1), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match open(&disk) {
                Err(OpenError::Corrupt {
                    index: Some(2),
                    file,
                    ..
                }) if settled && file == segment(1) => {}
                Ok((log, recovery)) if !settled && log.last_index() == 1 => {
                    assert!(recovery.cut.is_some() && !recovery.clean);
                }
                other => panic!("bit {bit}, settled {settled}: {other:?}"),
            }
            outcomes[usize::from(settled)] += 1;
        }
    }
    assert!(outcomes[0] > 800 && outcomes[0] == outcomes[1]);
    disk.restart(Keep::Nothing);
    let (log, recovery) = open(&disk).unwrap();
    assert!(
        recovery.clean,
        "the superblock names the end, and nothing is behind it"
    );
    assert_eq!((log.last_index(), recovery.cut), (2, None));
}

/// A write that is torn behind a settled end is cut and reported, and all before it is there. The log was not clean then.
#[test]
fn a_torn_write_behind_a_settled_end_is_cut() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, 100).unwrap();
    log.settle().unwrap();
    disk.fail(disk.operations() + 2, Fault::PowerLoss);
    append(&mut log, 1500).unwrap_err();
    let (mut cut, mut clean) = (0, 0);
    for keep in variants(disk.pending(), 8, 1) {
        let disk = disk.fork();
        disk.restart(keep);
        let (log, recovery) = open(&disk).unwrap();
        let all = log.last_index() == 2;
        assert!(all || log.last_index() == 1);
        assert_eq!(recovery.clean, !all && recovery.cut.is_none(), "{keep:?}");
        cut += u64::from(recovery.cut.is_some());
        clean += u64::from(recovery.clean);
    }
    assert!(cut > 0 && clean > 0, "{cut} cut, {clean} clean");
}

/// A crash while the superblock is written for a settle or a close loses nothing, whatever arrives of that write; nor does
/// the loss of the copy that was written, as long as the log is whole.
#[test]
fn a_settle_that_is_torn_takes_nothing_away() {
    for rotated in [false, true] {
        let run = || {
            let disk = SimDisk::new();
            let (mut log, _) = open(&disk).unwrap();
            append(&mut log, 100).unwrap();
            log.settle().unwrap();
            while rotated && log.counters().rotations < 2 {
                append(&mut log, 900).unwrap();
            }
            append(&mut log, 100).unwrap();
            (disk, log)
        };
        let (disk, mut log) = run();
        let last = log.last_index();
        for operation in [1, 2] {
            let (crashed, mut log) = run();
            crashed.fail(crashed.operations() + operation, Fault::PowerLoss);
            log.settle().unwrap_err();
            assert!(matches!(log.settle(), Err(WriteError::Poisoned(_))));
            for keep in variants(crashed.pending(), 4, 7) {
                let disk = crashed.fork();
                disk.restart(keep);
                let (log, recovery) = open(&disk).unwrap();
                assert_eq!((log.last_index(), recovery.cut), (last, None), "{keep:?}");
            }
        }
        log.settle().unwrap();
        disk.kill();
        for copy in [0, 4096] {
            let disk = disk.fork();
            disk.rot(&dir().join("superblock"), |bytes| bytes[copy] ^= 1);
            assert_eq!(open(&disk).unwrap().0.last_index(), last);
        }
    }
}

/// The watermark may stand in a segment that is not the last, or that is purged: then it says nothing, and the rules of a
/// crash hold for what came after it.
#[test]
fn an_old_watermark_does_no_harm() {
    for purge in [false, true] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        append(&mut log, 100).unwrap();
        log.settle().unwrap();
        while log.counters().rotations < 2 {
            append(&mut log, 900).unwrap();
        }
        append(&mut log, 50).unwrap();
        let last = log.last_index();
        if purge {
            log.purge(last - 2).unwrap();
            append(&mut log, 50).unwrap();
        }
        let last = log.last_index();
        disk.kill();
        let whole = disk.fork();
        let (log, recovery) = open(&whole).unwrap();
        assert!(log.last_index() == last && !recovery.clean && recovery.cut.is_none());
        let number = segment(3);
        disk.rot(&number, |bytes| {
            let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
            bytes[end] ^= 1;
        });
        let (log, recovery) = open(&disk).unwrap();
        assert!(log.last_index() == last - 1 && recovery.cut.is_some());
    }
}

/// On a full disk too, where no record would find room: a resting writer settles, and does so once.
#[test]
fn a_full_disk_can_be_settled() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    disk.set_capacity(Some(8192 + 2 * 4096));
    // Votes fill the reserve too.
    while append(&mut log, 300).is_ok() {}
    while log.commit(Batch::new().metadata(b"a vote")).is_ok() {}
    let last = log.last_index();
    log.settle().unwrap();
    disk.restart(Keep::Nothing);
    // An opening writes a record of its own.
    disk.set_capacity(None);
    let (log, recovery) = open(&disk).unwrap();
    assert!(recovery.clean && log.last_index() == last);
}

/// The writer settles when it rests, and then rests: it does not write on.
#[test]
fn a_resting_writer_settles_once() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk).unwrap();
    let limits = WriterOptions {
        settle_after: Duration::from_millis(1),
        ..WriterOptions::default()
    };
    let (told, tell) = channel();
    let writer = Writer::spawn_with(log, limits, move |done| told.send(done).unwrap()).unwrap();
    let payload = Bytes::from_static(b"x");
    let record = OwnedRecord {
        index: 1,
        term: 1,
        kind: 0,
        payload,
    };
    writer
        .submit(OwnedBatch {
            job: 1,
            records: vec![record],
            ..OwnedBatch::default()
        })
        .unwrap();
    tell.recv().unwrap();
    let clean = || {
        let disk = disk.fork();
        disk.kill();
        open(&disk).unwrap().1.clean
    };
    while !clean() {
        std::thread::yield_now();
    }
    let operations = disk.operations();
    for _ in 0..1000 {
        std::thread::yield_now();
        assert!(disk.operations() <= operations + 1, "the sync at most");
    }
    writer.close().unwrap();
}
