//! Readers that outlive their log, while another opening of it uses purged files anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use crate::harness::{dir, options};
use raft_log::inspect::Inspection;
use raft_log::sim_disk::SimDisk;
use raft_log::{Batch, Files, Log, ReadError, Reader, Record};

fn open(disk: &SimDisk) -> Log<SimDisk> {
    Log::open_with(disk.clone(), &dir(), options()).unwrap().0
}

fn rotate(log: &mut Log<SimDisk>, times: u64, fill: u8) {
    let until = log.counters().rotations + times;
    while log.counters().rotations < until {
        let record = Record {
            index: log.last_index() + 1,
            term: 1,
            kind: 0,
            payload: &[fill; 1500],
        };
        log.commit(Batch::new().append(record)).unwrap();
    }
}

/// What a reader answers for a record of the closed log: its own payload, or that it was purged.
fn is_purged<F: Files>(reader: &Reader<F>, index: u64) -> bool {
    match reader.read(index, 0) {
        Ok(records) => {
            assert_eq!(
                (records[0].index, &records[0].payload[..]),
                (index, &[1; 1500][..])
            );
            false
        }
        Err(ReadError::Purged {
            index: asked,
            first,
        }) => {
            assert_eq!(asked, index);
            assert!(first > index && first <= reader.last_index() + 1);
            true
        }
        Err(other) => panic!("{other}"),
    }
}

/// The log is purged and goes on, and so do its files; the old reader finds its records or that they are purged, and takes
/// nothing for damage.
fn follow<F: Files>(disk: &SimDisk, reader: &Reader<F>) {
    let last = reader.last_index();
    assert!((1..=last).all(|index| !is_purged(reader, index)));
    let mut log = open(disk);
    log.purge(log.last_index()).unwrap();
    let mut purged = 0;
    for _ in 0..6 {
        rotate(&mut log, 1, 2);
        let now = (1..=last).filter(|&index| is_purged(reader, index)).count();
        assert!(now >= purged, "what is purged stays so");
        purged = now;
    }
    assert!(purged > 0, "files are used anew");
}

#[test]
fn a_reader_outlives_its_log() {
    let disk = SimDisk::new();
    rotate(&mut open(&disk), 4, 1);
    // Opened anew, so that nothing is in memory.
    let log = open(&disk);
    let reader = log.reader();
    log.close().unwrap();
    follow(&disk, &reader);
}

#[test]
fn a_verified_reader_outlives_its_inspection() {
    let disk = SimDisk::new();
    let mut log = open(&disk);
    rotate(&mut log, 4, 1);
    log.close().unwrap();
    let inspection = Inspection::open_with(disk.clone(), &dir()).unwrap();
    let reader = inspection.verify().unwrap().reader;
    drop(inspection);
    follow(&disk, &reader);
}

/// Damage stays damage, in the segment's header too.
#[test]
fn damage_is_not_taken_for_a_purge() {
    for with_header in [false, true] {
        let disk = SimDisk::new();
        let mut log = open(&disk);
        rotate(&mut log, 2, 1);
        log.close().unwrap();
        let log = open(&disk);
        let reader = log.reader();
        let file = disk.files().into_iter().find(|file| {
            let bytes = disk.content(file).unwrap();
            bytes.starts_with(b"RLOG-SEG") && bytes[16] == 1
        });
        disk.rot(&file.unwrap(), |bytes| {
            let payload = bytes.windows(8).position(|bytes| bytes == [1; 8]).unwrap();
            bytes[payload] ^= 1;
            if with_header {
                bytes[16] ^= 1;
            }
        });
        let read = reader.read(1, 0);
        assert!(
            matches!(read, Err(ReadError::Corrupt { index: 1, .. })),
            "{read:?}"
        );
    }
}
