//! How many files a log keeps open, however many segments it has; and what a reader says of a segment that it has to open and that
//! is not there any more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
#![cfg(target_os = "linux")]

mod harness;

use std::fs;
use std::path::Path;

use harness::{dir, options};
use raft_log::sim_disk::SimDisk;
use raft_log::{Batch, Files, Log, ReadError, Record};

/// 64 for readers; and the superblock, the segment in use, the one made ready, the lock, one being opened.
const OPEN_MAX: usize = 64 + 5;

fn open_in(dir: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let target = |link: std::io::Result<fs::DirEntry>| fs::read_link(link.ok()?.path()).ok();
    links
        .filter_map(target)
        .filter(|file| file.starts_with(dir))
        .count()
}

fn append<F: Files>(log: &mut Log<F>, records: u64) {
    for _ in 0..records {
        let index = log.last_index() + 1;
        let record = Record {
            index,
            term: 1,
            kind: 0,
            payload: &[index as u8; 2500],
        };
        log.commit(Batch::new().append(record)).unwrap();
    }
}

/// One record a segment.
#[test]
fn the_number_of_open_files_is_bounded() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    let mut options = options();
    options.tail_bytes = 0;
    let (mut log, _) = Log::open(&dir, options.clone()).unwrap();
    let segments = 100;
    append(&mut log, segments);
    assert!(log.counters().rotations + 2 > segments);
    let reader = log.reader();
    let read_all = |from: u64| {
        for index in from..=segments {
            let records = reader.read(index, 0).unwrap();
            assert_eq!(records[0].payload, vec![index as u8; 2500]);
            assert!(open_in(&dir) <= OPEN_MAX, "{} open", open_in(&dir));
        }
    };
    read_all(1);
    let one_read = reader.read(1, usize::MAX).unwrap();
    assert!(one_read.len() > 70 && open_in(&dir) <= OPEN_MAX);
    read_all(1);
    // What is purged is closed: an open file would keep its room.
    log.purge(segments - 3).unwrap();
    assert!(open_in(&dir) <= 4 + 5, "{} open", open_in(&dir));
    read_all(segments - 2);
    append(&mut log, 20);
    log.close().unwrap();

    let (mut log, _) = Log::open(&dir, options.clone()).unwrap();
    append(&mut log, segments);
    drop(log);
    let (log, recovery) = Log::open(&dir, options).unwrap();
    assert_eq!(recovery.last_index, 2 * segments + 20);
    assert!(open_in(&dir) <= OPEN_MAX, "{} open", open_in(&dir));
    log.close().unwrap();
}

/// Fills segments, and reads in so many others that the first is closed.
fn with_the_first_one_closed(disk: &SimDisk) -> Log<SimDisk> {
    let mut options = options();
    options.tail_bytes = 0;
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options).unwrap();
    append(&mut log, 100);
    for index in 1..=100 {
        log.reader().read(index, 0).unwrap();
    }
    log
}

#[test]
fn a_segment_that_is_gone_or_strange_is_no_purge() {
    let first = dir().join("00000000000000000001.seg");
    let disk = SimDisk::new();
    let log = with_the_first_one_closed(&disk);
    disk.lose(&first);
    let error = log.reader().read(1, 0).unwrap_err();
    let said = error.to_string();
    assert!(
        matches!(&error, ReadError::Io(failure) if failure.file == first && failure.source.kind() == std::io::ErrorKind::NotFound),
        "{said}"
    );
    log.reader().read(2, 0).unwrap();

    let disk = SimDisk::new();
    let log = with_the_first_one_closed(&disk);
    let second = disk
        .content(&dir().join("00000000000000000002.seg"))
        .unwrap();
    disk.rot(&first, |bytes| bytes.clone_from(&second));
    let error = log.reader().read(1, 0).unwrap_err();
    assert!(
        matches!(&error, ReadError::Corrupt { file, index: 1, .. } if *file == first),
        "{error}"
    );
}

/// The log was closed, and a later opening has purged the segment, written over its file, or removed it.
#[test]
fn a_segment_that_was_purged_since_is_said_to_be() {
    let disk = SimDisk::new();
    let log = with_the_first_one_closed(&disk);
    let reader = log.reader();
    log.close().unwrap();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    log.purge(90).unwrap();
    append(&mut log, 5);
    let gone = reader.read(1, 0).unwrap_err();
    assert!(
        matches!(gone, ReadError::Purged { index: 1, first } if first > 1),
        "{gone}"
    );
    assert_eq!(reader.read(100, 0).unwrap()[0].payload, vec![100; 2500]);
}
