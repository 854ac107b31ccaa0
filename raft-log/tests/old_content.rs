//! What verifies and contradicts what stands beside it, and is found by one comparison alone: an old record in the last place of a
//! segment, an old superblock, and a checkpoint that says another thing than the segment before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::harness::{dir, options};
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::{Batch, Damage, Log, OpenError, Record};

fn open(disk: &SimDisk) -> Log<SimDisk> {
    Log::open_with(disk.clone(), &dir(), options()).unwrap().0
}

fn append(log: &mut Log<SimDisk>, index: u64, bytes: usize) {
    let payload = vec![0x5a; bytes];
    log.commit(Batch::new().append(Record {
        index,
        term: 1,
        kind: 0,
        payload: &payload,
    }))
    .unwrap();
}

fn content(disk: &SimDisk, file: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    disk.fork().rot(file, |bytes| content.clone_from(bytes));
    content
}

/// File and damage that an opening finds; the last index, if it finds none.
fn found(disk: &SimDisk) -> Result<u64, (PathBuf, Damage)> {
    disk.kill();
    match Log::open_with(disk.clone(), &dir(), options()) {
        Ok((_, recovery)) => Ok(recovery.last_index),
        Err(OpenError::Corrupt { file, what, .. }) => Err((file, what)),
        Err(error) => panic!("{error}"),
    }
}

/// F-L7: the write of the last record of a segment was lost, and one of a former life stands in its place, as long and with no
/// effect on what the log holds. Nothing but the chain value of the next segment's checkpoint tells.
#[test]
fn an_old_record_in_the_last_place_of_a_segment_is_found() {
    let disk = SimDisk::new();
    let first = dir().join("00000000000000000001.seg");
    let mut log = open(&disk);
    append(&mut log, 1, 2500);
    let used = |bytes: &[u8]| bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let place = used(&content(&disk, &first)).next_multiple_of(8);
    // Never acknowledged: a truncation that cuts nothing, as long as the boot record that comes in its place.
    disk.fail(disk.operations() + 2, Fault::PowerLoss);
    log.commit(Batch::new().truncate_from(2)).unwrap_err();
    let old = content(&disk, &first)[place..place + 48].to_vec();
    assert!(old.iter().any(|&byte| byte != 0));
    disk.restart(Keep::Nothing);
    let mut log = open(&disk);
    assert!(
        used(&content(&disk, &first)) <= place + 48,
        "the boot ends it"
    );
    append(&mut log, 2, 1000);
    assert_eq!(log.counters().rotations, 1);
    log.close().unwrap();
    assert_eq!(found(&disk.fork()), Ok(2));
    disk.rot(&first, |bytes| {
        bytes[place..place + 48].copy_from_slice(&old);
    });
    let second = dir().join("00000000000000000002.seg");
    assert_eq!(found(&disk), Err((second, Damage::Checkpoint)));
}

/// F-L20: a superblock from before the newest opening, which used no further segment. Its watermark is old, so that a loss at the
/// end would be taken for torn; the boot record in the log tells. With one copy lost, the other may be that old.
#[test]
fn a_superblock_of_an_earlier_boot_is_found() {
    let disk = SimDisk::new();
    let superblock = dir().join("superblock");
    let mut log = open(&disk);
    append(&mut log, 1, 100);
    log.close().unwrap();
    let old = content(&disk, &superblock);
    disk.kill();
    let mut log = open(&disk);
    append(&mut log, 2, 100);
    drop(log);
    assert_eq!(found(&disk.fork()), Ok(2));
    disk.rot(&superblock, |bytes| bytes.clone_from(&old));
    assert_eq!(
        found(&disk.fork()),
        Err((superblock.clone(), Damage::SuperblockOld))
    );
    for copy in [0, 4096] {
        let disk = disk.fork();
        disk.rot(&superblock, |bytes| bytes[copy] ^= 1);
        assert_eq!(found(&disk), Ok(2), "without the copy at {copy}");
    }
}

/// F-L20: a superblock of the same boot, from before a segment was put into use. Without a look at the segments behind, that one
/// and all that was acknowledged in it would be thrown away.
#[test]
fn a_superblock_from_before_the_last_segment_is_found() {
    let disk = SimDisk::new();
    let superblock = dir().join("superblock");
    let mut log = open(&disk);
    append(&mut log, 1, 2500);
    let old = content(&disk, &superblock);
    append(&mut log, 2, 1000);
    assert_eq!(log.counters().rotations, 1);
    drop(log);
    assert_eq!(found(&disk.fork()), Ok(2));
    disk.rot(&superblock, |bytes| bytes.clone_from(&old));
    assert_eq!(found(&disk), Err((superblock, Damage::SuperblockOld)));
}

/// F-L13: the chain goes over the headers of the records, so a checkpoint with the right header may still say another thing than the
/// records before it: what the log begins with, ends with, or stands on. Each is compared.
#[test]
fn a_checkpoint_that_contradicts_the_segment_before_is_found() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    append(&mut log, 1, 100);
    let mut writer = log.snapshots().create(1, 1).unwrap();
    writer.write_all(b"content").unwrap();
    let snapshot = writer.finish().unwrap();
    log.commit(Batch::new().metadata(b"v").snapshot(&snapshot))
        .unwrap();
    log.purge(1).unwrap();
    append(&mut log, 2, 2500);
    append(&mut log, 3, 1000);
    assert_eq!(log.counters().rotations, 1);
    log.close().unwrap();
    let second = dir().join("00000000000000000002.seg");
    // The payload as `docs/log-format.md` has it, under the checksum that belongs to it and the old header.
    let forged = |change: &dyn Fn(&mut [u8])| {
        let disk = disk.fork();
        disk.rot(&second, |bytes| {
            let (header, rest) = bytes[512..].split_at_mut(48);
            let payload = &mut rest[..81];
            assert_eq!(payload[80], b'v');
            change(payload);
            let crc = u32::from_le_bytes(header[..4].try_into().unwrap());
            let body_crc = crc32c::crc32c_append(crc, payload);
            header[4..8].copy_from_slice(&body_crc.to_le_bytes());
        });
        found(&disk)
    };
    let damage = Err((second.clone(), Damage::Checkpoint));
    assert_eq!(forged(&|_| {}), Ok(3));
    type Change = fn(&mut [u8]);
    let changes: [(&str, Change); 5] = [
        ("purged", |payload| payload[..16].fill(0)),
        ("last", |payload| payload[16] = 3),
        ("snapshot", |payload| payload[56] ^= 1),
        ("metadata", |payload| payload[80] = b'w'),
        ("no metadata", |payload| payload[72] = 0),
    ];
    for (what, change) in changes {
        assert_eq!(forged(&change), damage, "{what}");
    }
}
