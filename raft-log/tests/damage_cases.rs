//! Damages with a story: what is found as what, and where the limit is. The sweep over all small ones is in `damage.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::PathBuf;

use crate::harness::{History, Op, Step, dir, options, read_model, run};
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::{Batch, Damage, Log, OpenError, ReadError, Record};

fn append(bytes: usize) -> Op {
    Op::Append {
        bytes,
        new_term: false,
    }
}

/// Three segments; the last batch spans several sectors and has several records.
fn steps() -> Vec<Step> {
    vec![
        Step::Commit(vec![Op::Metadata(1), append(700), append(10)]),
        Step::Commit(vec![append(900), append(900)]),
        Step::Reopen,
        Step::Commit(vec![Op::Truncate(1), append(1200), Op::Metadata(2)]),
        Step::Commit(vec![append(1500)]),
        Step::Drop,
        Step::Commit(vec![append(300), append(700)]),
        Step::Commit(vec![append(600), append(20), append(600)]),
    ]
}

fn build(close: bool) -> (SimDisk, History) {
    let disk = SimDisk::new();
    let history = run(&disk, &dir(), &options(), &steps(), close);
    assert_eq!(history.error, None);
    (disk, history)
}

/// The file and the kind of the damage that an opening finds; `None` if the log is as it was.
fn found(disk: &SimDisk, history: &History) -> Option<(PathBuf, Damage)> {
    disk.kill();
    match Log::open_with(disk.clone(), &dir(), options()) {
        Ok((log, recovery)) => {
            let content = read_model(&log, Some(&recovery)).unwrap();
            assert_eq!(content, history.acknowledged);
            None
        }
        Err(OpenError::Corrupt { file, what, .. }) => Some((file, what)),
        Err(error) => panic!("{error}"),
    }
}

/// F-L15, F-L16, F-L20: files of another log, older ones, and missing ones are told apart.
#[test]
fn strangers_and_old_copies_are_named_for_what_they_are() {
    let superblock = dir().join("superblock");
    let segment = dir().join("00000000000000000002.seg");
    let bytes_of = |disk: &SimDisk, file| {
        let mut copy = Vec::new();
        disk.rot(file, |bytes| copy.clone_from(bytes));
        copy
    };
    let (disk, history) = build(true);
    let older = SimDisk::new();
    run(&older, &dir(), &options(), &steps()[..1], true);
    disk.rot(&superblock, |bytes| *bytes = bytes_of(&older, &superblock));
    let old = Some((superblock.clone(), Damage::SuperblockOld));
    assert_eq!(found(&disk, &history), old);

    let (disk, _) = build(true);
    let stranger = SimDisk::new();
    let others = raft_log::Options {
        identity: b"other".to_vec(),
        ..options()
    };
    run(&stranger, &dir(), &others, &steps(), true);
    disk.rot(&segment, |bytes| *bytes = bytes_of(&stranger, &segment));
    let foreign = Some((segment.clone(), Damage::SegmentForeign));
    assert_eq!(found(&disk, &history), foreign);

    for (file, what) in [
        (superblock, Damage::SuperblockMissing),
        (segment, Damage::SegmentMissing),
    ] {
        let (disk, _) = build(true);
        disk.lose(&file);
        assert_eq!(found(&disk, &history), Some((file, what)));
    }
}

/// F-L7: an overwrite that was lost, so that a record of a former life stands where this life began. It verifies, its place
/// is right, and nothing of its order is wrong: what comes behind does not chain to it.
#[test]
fn an_old_record_in_its_old_place_is_found() {
    let disk = SimDisk::new();
    let open = || Log::open_with(disk.clone(), &dir(), options()).unwrap().0;
    let segment = dir().join("00000000000000000001.seg");
    let used = || {
        let mut used = Vec::new();
        disk.fork().rot(&segment, |bytes| used.clone_from(bytes));
        used.truncate(used.iter().rposition(|&byte| byte != 0).unwrap() + 1);
        used
    };
    let mut log = open();
    log.commit(Batch::new().metadata(b"a vote")).unwrap();
    let place = used().len().next_multiple_of(8);
    // Never acknowledged, and as long as the boot record that comes in its place.
    disk.fail(disk.operations() + 2, Fault::PowerLoss);
    log.commit(Batch::new().metadata(b"")).unwrap_err();
    let mut old = used()[place..].to_vec();
    old.resize(48, 0);
    disk.restart(Keep::Nothing);
    let mut log = open();
    log.commit(Batch::new().append(Record {
        index: 1,
        term: 1,
        kind: 0,
        payload: b"x",
    }))
    .unwrap();
    log.close().unwrap();
    disk.rot(&segment, |bytes| {
        bytes[place..place + old.len()].copy_from_slice(&old);
    });
    let opened = Log::open_with(disk.clone(), &dir(), options());
    assert!(matches!(opened, Err(OpenError::Corrupt { file, .. }) if file == segment));
}

/// After a clean close either copy of the superblock knows where the log ends, so losing one hides no other loss.
#[test]
fn one_copy_of_the_superblock_is_enough() {
    let (disk, history) = build(true);
    let superblock = dir().join("superblock");
    let newest = disk
        .files()
        .into_iter()
        .filter(|file| file.extension().is_some());
    // The last file is the one made ready; the one in use is before it.
    let segment = newest.rev().nth(1).unwrap();
    for copy in [0, 4096] {
        let disk = disk.fork();
        disk.rot(&superblock, |bytes| bytes[copy..copy + 512].fill(0));
        let twice = disk.fork();
        assert_eq!(found(&disk, &history), None);
        twice.rot(&segment, |bytes| {
            let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
            bytes[last] ^= 1;
        });
        let damaged = found(&twice, &history).unwrap();
        assert_eq!(damaged.0, segment);
    }
}

/// Rot that comes while the log is open is found by the read.
#[test]
fn a_read_verifies() {
    let disk = SimDisk::new();
    // Reads of the newest records touch no file, unless none are kept in memory.
    let options = raft_log::Options {
        tail_bytes: 0,
        ..options()
    };
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options).unwrap();
    let record = |index| Record {
        index,
        term: 1,
        kind: 0,
        payload: &[0x5a; 200],
    };
    log.commit(Batch::new().append(record(1)).append(record(2)))
        .unwrap();
    let segment = dir().join("00000000000000000001.seg");
    disk.rot(&segment, |bytes| {
        let last = bytes.iter().rposition(|&byte| byte == 0x5a).unwrap();
        bytes[last] = 0;
    });
    let reader = log.reader();
    assert_eq!(reader.read(1, 0).unwrap().len(), 1);
    let error = reader.read(2, 0).unwrap_err();
    assert!(
        matches!(&error, ReadError::Corrupt { index: 2, file, .. } if *file == segment),
        "{error}"
    );
}

/// The limit of what can be told from a torn write, as the README states it: nothing whole is left behind the damage. One page
/// of zeros takes the end of a batch and all of the small one behind it; with a single record left, it is found. So it is
/// once the log was settled or closed.
#[test]
fn damage_to_the_very_end_looks_torn() {
    let segment = dir().join("00000000000000000001.seg");
    // Batches of one record: the third and fourth are small, and end the log.
    let build = |settle: bool, close: bool| {
        let disk = SimDisk::new();
        let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
        let mut starts = Vec::new();
        for (index, len) in (1..).zip([500, 500, 10, 10]) {
            let payload = vec![index as u8; len];
            log.commit(Batch::new().append(Record {
                index,
                term: 1,
                kind: 0,
                payload: &payload,
            }))
            .unwrap();
            disk.rot(&segment, |bytes| {
                let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
                starts.push(last + 1 - len);
            });
        }
        if settle {
            log.settle().unwrap();
        }
        if close {
            log.close().unwrap();
        }
        disk.kill();
        (disk, starts)
    };
    // Zeros from the payload of one batch to the end of that of another; the last index left, or that it was found.
    let zeroed = |(disk, starts): (SimDisk, Vec<usize>), from: usize, to: Option<usize>| {
        disk.rot(&segment, |bytes| {
            let end = to.map_or(bytes.len(), |to| starts[to - 1] + 10);
            bytes[starts[from - 1]..end].fill(0);
        });
        match Log::open_with(disk, &dir(), options()) {
            Ok((_, recovery)) => {
                // Nothing but the head of the first one is left of what was lost.
                assert!(
                    recovery
                        .cut
                        .is_some_and(|cut| cut.bytes <= 48 && cut.records == 0)
                );
                Ok(recovery.last_index)
            }
            Err(OpenError::Corrupt { index, .. }) => Err(index),
            Err(error) => panic!("{error}"),
        }
    };
    let (crashed, settled, closed) = ((false, false), (true, false), (false, true));
    let build = |(settle, close)| build(settle, close);
    assert_eq!(zeroed(build(crashed), 4, None), Ok(3), "the last batch");
    assert_eq!(zeroed(build(crashed), 2, None), Ok(1), "three batches");
    assert_eq!(zeroed(build(crashed), 2, Some(3)), Err(Some(2)), "one left");
    assert_eq!(zeroed(build(settled), 4, Some(4)), Err(Some(4)));
    assert_eq!(zeroed(build(settled), 4, None), Err(Some(4)));
    assert_eq!(zeroed(build(settled), 2, None), Err(Some(2)));
    assert_eq!(zeroed(build(closed), 4, None), Err(Some(4)));
    assert_eq!(zeroed(build(closed), 2, None), Err(Some(2)));

    // With the heads too: as if the last two had never been written. The superblock knows better, once it was settled.
    let headless = |(disk, starts): (SimDisk, Vec<usize>)| {
        disk.rot(&segment, |bytes| bytes[starts[2] - 48..].fill(0));
        Log::open_with(disk, &dir(), options())
    };
    let (_, recovery) = headless(build(crashed)).unwrap();
    assert_eq!((recovery.last_index, recovery.cut), (2, None));
    for found in [settled, closed] {
        let error = headless(build(found)).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { index: Some(3), .. }));
    }
}

/// F-L22: a file of a later version is told from a damaged one, and named; in each kind of file, also where one copy is of this
/// version.
#[test]
fn a_later_version_is_no_damage() {
    for (name, copies) in [
        ("superblock", &[0, 4096][..]),
        ("superblock", &[4096]),
        ("00000000000000000001.seg", &[0]),
    ] {
        let (disk, _) = build(true);
        let path = dir().join(name);
        disk.rot(&path, |bytes| {
            for &copy in copies {
                let block = &mut bytes[copy..copy + 512];
                block[8..12].copy_from_slice(&7u32.to_le_bytes());
                let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[16..]);
                block[12..16].copy_from_slice(&crc.to_le_bytes());
            }
        });
        disk.kill();
        let error = Log::open_with(disk, &dir(), options()).unwrap_err();
        assert!(
            matches!(&error, OpenError::UnknownVersion { file, found: 7, known: 1 } if *file == path),
            "{error}"
        );
    }
}

/// F-L13: a vote is found though the segment in which it was written is long gone.
#[test]
fn a_vote_outlives_its_segment() {
    let disk = SimDisk::new();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    log.commit(Batch::new().metadata(b"a vote")).unwrap();
    for index in 1..=40 {
        log.commit(Batch::new().append(Record {
            index,
            term: 1,
            kind: 0,
            payload: &[1; 900],
        }))
        .unwrap();
        log.purge(index).unwrap();
    }
    assert!(log.counters().rotations > 5);
    let first = dir().join("00000000000000000001.seg");
    assert_eq!(disk.content(&first), None, "its segment is gone");
    disk.restart(Keep::Nothing);
    let (log, recovery) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    assert_eq!(log.metadata(), Some(&b"a vote"[..]));
    assert_eq!((recovery.first_index, recovery.term_before), (41, 1));
}
