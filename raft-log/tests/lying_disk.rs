//! A disk that answers "done" and did something else: writes and reads that went to another place, syncs that never were. No
//! wrong record is ever returned, and what was lost is noticed as soon as anything on the disk can tell of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::{Path, PathBuf};

use crate::harness::{dir, options};
use raft_log::sim_disk::{Fault, Keep, Operation, SimDisk};
use raft_log::{Batch, Log, OpenError, Options, ReadError, Record, WriteError};

const BATCHES: u64 = 14;

fn payload(index: u64) -> Vec<u8> {
    vec![index as u8 + 1; [30, 900, 0, 500][index as usize % 4]]
}

fn commit(log: &mut Log<SimDisk>, nth: u64) -> Result<(), WriteError> {
    let first = log.last_index() + 1;
    let payloads = [payload(first), payload(first + 1)];
    let mut batch = Batch::new();
    let vote = [nth as u8; 8];
    batch.metadata(&vote);
    for (index, payload) in (first..).zip(&payloads) {
        batch.append(Record {
            index,
            term: 1,
            kind: 0,
            payload,
        });
    }
    log.commit(&batch)
}

/// Two records a batch, some segments, a purge. A second opening in the middle may find the damage.
fn workload(disk: &SimDisk) -> Result<(), OpenError> {
    let mut log = open(disk)?;
    for nth in 1..=BATCHES {
        commit(&mut log, nth).unwrap();
        if nth == BATCHES / 2 {
            log.purge(5).unwrap();
            // Whoever reads meanwhile gets right records, or the damage.
            disk.evict();
            read_all(&log);
            log.close().unwrap();
            log = open(disk)?;
        }
    }
    disk.evict();
    read_all(&log);
    log.close().unwrap();
    Ok(())
}

fn open(disk: &SimDisk) -> Result<Log<SimDisk>, OpenError> {
    // All reads go to the disk.
    let options = Options {
        tail_bytes: 0,
        ..options()
    };
    Ok(Log::open_with(disk.clone(), &dir(), options)?.0)
}

/// Reads record by record; how many were found damaged. A wrong one is a failure.
fn read_all(log: &Log<SimDisk>) -> u64 {
    let reader = log.reader();
    let mut damaged = 0;
    for index in log.first_index()..=log.last_index() {
        match reader.read(index, 0) {
            Ok(records) => {
                let [record] = &records[..] else {
                    panic!("{} records", records.len())
                };
                assert_eq!((record.index, record.term), (index, 1));
                assert_eq!(record.payload, payload(index));
            }
            Err(ReadError::Corrupt { .. }) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
    }
    damaged
}

/// Whether a log that was closed is found damaged; else it must be all there.
fn found_or_whole(disk: &SimDisk, what: &str) -> bool {
    match open(disk) {
        Err(OpenError::Corrupt { .. }) => true,
        Err(error) => panic!("{what}: {error}"),
        Ok(log) => {
            assert_eq!(
                (log.first_index(), log.last_index()),
                (6, 2 * BATCHES),
                "{what}"
            );
            assert_eq!(log.metadata(), Some(&[BATCHES as u8; 8][..]), "{what}");
            assert_eq!(read_all(&log), 0, "{what}");
            false
        }
    }
}

/// The places where something may land: the head of each file, its first records, its middle.
fn places(disk: &SimDisk) -> Vec<(PathBuf, u64)> {
    let files = disk.files().into_iter();
    files
        .flat_map(|file| [0, 512, 640, 1536, 4096 - 512].map(|offset| (file.clone(), offset)))
        .collect()
}

/// F-L6: every write of a workload, at each of these places.
#[test]
fn a_misdirected_write_is_found_or_harmless() {
    let dry = SimDisk::new();
    workload(&dry).unwrap();
    let (mut cases, mut found) = (0, 0);
    for operation in 1..=dry.operations() {
        for (file, offset) in places(&dry) {
            let what = format!(
                "operation {operation} went to {offset} of {}",
                file.display()
            );
            let disk = SimDisk::new();
            disk.misdirect_write(operation, &file, offset);
            cases += 1;
            match workload(&disk) {
                Err(OpenError::Corrupt { .. }) => found += 1,
                Err(error) => panic!("{what}: {error}"),
                Ok(()) => {
                    disk.kill();
                    disk.evict();
                    found += u64::from(found_or_whole(&disk, &what));
                }
            }
        }
    }
    println!("{cases} misdirected writes, {found} found");
    assert!(found > cases / 4);
}

/// F-L6: every read of an opening, and every read of a reader.
#[test]
fn a_misdirected_read_returns_no_wrong_record() {
    let disk = SimDisk::new();
    workload(&disk).unwrap();
    disk.kill();
    let before = disk.reads();
    let log = open(&disk.fork()).unwrap();
    drop(log);
    let probe = disk.fork();
    let log = open(&probe).unwrap();
    let opening = probe.reads() - before;
    read_all(&log);
    let reads = probe.reads() - before;
    drop(log);
    let (mut cases, mut found) = (0, 0);
    for read in 1..=reads {
        for (file, offset) in places(&disk) {
            let what = format!(
                "read {read} of {opening} + {} came from {offset} of {}",
                reads - opening,
                file.display()
            );
            let disk = disk.fork();
            disk.misdirect_read(disk.reads() + read, &file, offset);
            cases += 1;
            match open(&disk) {
                Err(OpenError::Corrupt { .. }) => found += 1,
                // An older superblock may be read in place of the newer copy: nothing of the log is lost by that.
                Err(error) => panic!("{what}: {error}"),
                Ok(log) => {
                    assert_eq!(
                        (log.first_index(), log.last_index()),
                        (6, 2 * BATCHES),
                        "{what}"
                    );
                    found += read_all(&log).min(1);
                    // It was a passing fault, and the next look is right.
                    assert_eq!(read_all(&log), 0, "{what}");
                }
            }
        }
    }
    println!("{cases} misdirected reads, {found} found");
    assert!(found > cases / 4);
}

/// F-L5: one sync lied, and the power goes some operations later. What comes back is the log up to some batch, with the damage
/// named if anything durable knows of more.
#[test]
fn a_sync_that_lied_loses_no_batch_in_the_middle() {
    let dry = SimDisk::new();
    workload(&dry).unwrap();
    let (mut cases, mut found, mut shorter) = (0, 0, 0);
    for lie in 1..=dry.operations() {
        for later in 1..12 {
            let disk = SimDisk::new();
            disk.fail(lie, Fault::Lie);
            disk.fail(lie + later, Fault::PowerLoss);
            let acknowledged = std::cell::Cell::new(0);
            let _ = appends(&disk, &acknowledged);
            for keep in [Keep::Nothing, Keep::Some(lie), Keep::Some(later)] {
                let disk = disk.fork();
                disk.restart(keep);
                cases += 1;
                match open(&disk) {
                    Err(OpenError::Corrupt { .. }) => found += 1,
                    Err(error) => panic!("lie at {lie}, off at {later}: {error}"),
                    Ok(log) => {
                        assert_eq!(log.last_index() % 2, 0, "whole batches");
                        assert_eq!(read_all(&log), 0);
                        let vote = log.last_index() / 2;
                        assert_eq!(
                            log.metadata().unwrap_or(&[0]),
                            vec![vote as u8; if vote > 0 { 8 } else { 1 }]
                        );
                        shorter += u64::from(log.last_index() / 2 < acknowledged.get());
                    }
                }
            }
        }
    }
    println!("{cases} lies: {found} found, {shorter} shorter with nothing to tell of it");
    assert!(found > 0 && shorter > 0);
}

fn appends(disk: &SimDisk, acknowledged: &std::cell::Cell<u64>) -> Result<(), WriteError> {
    let Ok(mut log) = open(disk) else {
        return Ok(());
    };
    for nth in 1..=BATCHES {
        commit(&mut log, nth)?;
        acknowledged.set(nth);
    }
    Ok(())
}

/// While a sync stands still, all that is durable can be read.
#[test]
fn a_stalled_sync_holds_up_no_reader() {
    let disk = SimDisk::new();
    let mut log = open(&disk).unwrap();
    commit(&mut log, 1).unwrap();
    let reader = log.reader();
    let segment = dir().join("00000000000000000001.seg");
    let hold = disk.hold(Operation::SyncData, Some(Path::new(&segment)));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| commit(&mut log, 2));
        hold.wait();
        assert_eq!((reader.first_index(), reader.last_index()), (1, 2));
        assert_eq!(reader.read(1, usize::MAX).unwrap().len(), 2);
        assert_eq!(reader.term(2), Some(1));
        assert!(matches!(
            reader.read(3, 0),
            Err(ReadError::BeyondEnd { last: 2, .. })
        ));
        hold.release();
        writer.join().unwrap().unwrap();
    });
    assert_eq!(reader.read(1, usize::MAX).unwrap().len(), 4);
}
