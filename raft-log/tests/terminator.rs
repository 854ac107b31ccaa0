//! The zeros behind each write, and what recovery makes of bytes behind the end: in a segment made with zeros, and in a recycled
//! one, where old bytes stand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::PathBuf;

use crate::harness::{dir, options};
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::{Batch, Log, Options, Record, Recovery};

const SIZE: usize = 16384;
const JUNK: u8 = 0xa5;

fn open(disk: &SimDisk) -> (Log<SimDisk>, Recovery) {
    let options = Options {
        segment_bytes: SIZE as u64,
        ..options()
    };
    Log::open_with(disk.clone(), &dir(), options).unwrap()
}

fn append(log: &mut Log<SimDisk>, bytes: usize) {
    let index = log.last_index() + 1;
    let payload = vec![index as u8; bytes];
    log.commit(Batch::new().append(Record {
        index,
        term: 1,
        kind: 0,
        payload: &payload,
    }))
    .unwrap();
}

fn segment(number: u64) -> PathBuf {
    dir().join(format!("{number:020}.seg"))
}

fn bytes_of(disk: &SimDisk, number: u64) -> Vec<u8> {
    let mut all = Vec::new();
    disk.fork()
        .rot(&segment(number), |bytes| all = bytes.clone());
    all
}

/// Byte 44 of the header says that the file was another segment before; bytes 12 to 16 are the CRC of all others.
fn mark_recycled(bytes: &mut [u8]) {
    bytes[44] = 1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..512]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// Writes junk over all from a byte on, as if it had stood there before the segment was put into use.
fn fill(disk: &SimDisk, number: u64, from: usize) {
    disk.rot(&segment(number), |bytes| bytes[from..].fill(JUNK));
}

/// A log with three records in a recycled segment, and where it ends. Junk stands from the end of the last zeros on.
fn recycled(settle: bool) -> (SimDisk, usize) {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    disk.rot(&segment(1), |bytes| mark_recycled(bytes));
    (0..2).for_each(|_| append(&mut log, 1000));
    let before = bytes_of(&disk, 1);
    fill(
        &disk,
        1,
        before.iter().rposition(|&byte| byte != 0).unwrap() + 1,
    );
    append(&mut log, 1000);
    if settle {
        log.settle().unwrap();
    }
    disk.kill();
    let end = before.iter().rposition(|&byte| byte != 0).unwrap() + 1 + 48 + 1000;
    (disk, end)
}

fn terminator(end: usize) -> std::ops::Range<usize> {
    end..(end + 512).next_multiple_of(4096).min(SIZE)
}

/// As the format says: to the end of a page, at least 512 bytes, not beyond the segment; behind the checkpoint too.
#[test]
fn zeros_stand_behind_every_write() {
    for bytes in [10usize, 2900, 3000, 3024, 3100, 6000, 7000] {
        let disk = SimDisk::new();
        let (mut log, _) = open(&disk);
        let mut end = 512 + 128 + 48;
        let check = |end: usize, number: u64| {
            let all = bytes_of(&disk, number);
            let zeros = terminator(end);
            assert!(
                all[zeros.clone()].iter().all(|&byte| byte == 0),
                "{zeros:?}"
            );
            assert!(
                all[zeros.end..].iter().all(|&byte| byte == JUNK),
                "{zeros:?}"
            );
            assert!(all[end - 8..end].iter().any(|&byte| byte != 0));
            fill(&disk, number, zeros.start);
        };
        fill(&disk, 1, end);
        let span = (48 + bytes).next_multiple_of(8);
        while end + span <= SIZE - SIZE / 8 {
            append(&mut log, bytes);
            end += span;
            check(end, 1);
        }
        assert_eq!(log.counters().rotations, 0);
        // The next one goes into the second segment, behind the checkpoint.
        fill(&disk, 2, 512);
        append(&mut log, bytes);
        assert_eq!(log.counters().rotations, 1);
        check(512 + 128 + span, 2);
    }
}

/// Behind a checkpoint alone: the power goes when it and the superblock are written.
#[test]
fn zeros_stand_behind_a_checkpoint() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    append(&mut log, 10_000);
    fill(&disk, 2, 512);
    disk.fail(disk.operations() + 5, Fault::PowerLoss);
    log.commit(Batch::new().metadata(&[9; 10_000])).unwrap_err();
    let bytes = bytes_of(&disk, 2);
    let zeros = terminator(512 + 128);
    assert!(bytes[512..640].iter().any(|&byte| byte != JUNK));
    assert!(bytes[zeros.clone()].iter().all(|&byte| byte == 0));
    assert!(bytes[zeros.end..].iter().all(|&byte| byte == JUNK));
    drop(log);
    disk.restart(Keep::Nothing);
    disk.rot(&segment(2), |bytes| mark_recycled(bytes));
    let (_, recovery) = open(&disk);
    assert_eq!((recovery.last_index, recovery.cut), (1, None));
}

/// F-L7: old bytes in a recycled segment are no damage and no torn write, and are met by no one; after an end that was not
/// clean they are cleared.
#[test]
fn old_bytes_behind_the_end_say_nothing() {
    for settle in [false, true] {
        let (disk, end) = recycled(settle);
        let (mut log, recovery) = open(&disk);
        assert_eq!((log.last_index(), recovery.cut), (3, None));
        assert_eq!(recovery.clean, settle);
        let rest = bytes_of(&disk, 1).split_off(terminator(end + 48).end);
        let expected = if settle { JUNK } else { 0 };
        assert!(rest.iter().all(|&byte| byte == expected));
        for _ in 0..20 {
            append(&mut log, 700);
        }
        assert_eq!(log.reader().read(1, usize::MAX).unwrap().len(), 23);
        log.close().unwrap();
        let (log, recovery) = open(&disk);
        assert!(recovery.clean && log.last_index() == 23);
    }
}

/// Each byte that the last write has cleared counts, and none behind it; in a segment made with zeros each one does.
#[test]
fn a_byte_that_should_be_zero_is_a_cut() {
    for made_with_zeros in [false, true] {
        let (disk, end) = recycled(false);
        if made_with_zeros {
            let fresh = SimDisk::new();
            let (mut log, _) = open(&fresh);
            (0..3).for_each(|_| append(&mut log, 1000));
            let bytes = bytes_of(&fresh, 1);
            disk.rot(&segment(1), |old| *old = bytes);
        }
        let zeros = terminator(end);
        let places = [
            zeros.start,
            zeros.start + 300,
            zeros.end - 1,
            zeros.end,
            SIZE - 1,
        ];
        for at in places {
            let disk = disk.fork();
            disk.rot(&segment(1), |bytes| bytes[at] = 1);
            let (log, recovery) = open(&disk);
            assert_eq!(log.last_index(), 3);
            let cut = recovery.cut.map(|cut| (cut.offset, cut.bytes, cut.records));
            let reported = made_with_zeros || at < zeros.end;
            assert_eq!(
                cut,
                reported.then_some((end as u64, (at + 1 - end) as u64, 0)),
                "{at}"
            );
            let rest = bytes_of(&disk, 1).split_off(end + 48);
            assert!(rest.iter().all(|&byte| byte == 0), "cleared");
        }
    }
}

/// A record of this life of the segment is of a write that was under way, wherever it stands. It is cut once, and gone then.
#[test]
fn a_record_of_this_life_is_a_cut() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    disk.rot(&segment(1), |bytes| mark_recycled(bytes));
    append(&mut log, 1000);
    let end = 512 + 128 + 48 + 1048;
    fill(&disk, 1, terminator(end).end);
    disk.fail(disk.operations() + 2, Fault::PowerLoss);
    let large = vec![7; 5000];
    let mut batch = Batch::new();
    for index in [2, 3, 4] {
        let payload = if index == 2 { &large[..] } else { b"small" };
        batch.append(Record {
            index,
            term: 1,
            kind: 0,
            payload,
        });
    }
    log.commit(&batch).unwrap_err();
    drop(log);
    disk.restart(Keep::All);
    // Nothing arrived of the first pages; two whole records did, behind them.
    disk.rot(&segment(1), |bytes| bytes[end..end + 4096].fill(0));
    let (log, recovery) = open(&disk);
    assert_eq!(log.last_index(), 1);
    let cut = recovery.cut.unwrap();
    // From the end of the log to the end of the last record, its alignment not counted.
    assert_eq!((cut.offset, cut.records), (end as u64, 2));
    assert_eq!(cut.bytes, 48 + 5000 + 56 + 53);
    drop(log);
    let (_, recovery) = open(&disk);
    assert_eq!(recovery.cut, None);
}
