//! Where indexes end: nothing is acknowledged that the next opening would not take for a record.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use crate::harness::{dir, options};
use raft_log::sim_disk::SimDisk;
use raft_log::{Batch, InvalidBatch, Log, Record, SnapshotId, SnapshotWriteError, WriteError};

const HIGHEST: u64 = u64::MAX >> 1;

fn record(index: u64) -> Record<'static> {
    Record {
        index,
        term: 1,
        kind: 0,
        payload: b"payload",
    }
}

fn open(disk: &SimDisk) -> Log<SimDisk> {
    let (log, recovery) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    assert_eq!(recovery.cut, None);
    log
}

fn is_too_high(result: Result<(), WriteError>) -> bool {
    matches!(
        result,
        Err(WriteError::Invalid(InvalidBatch::IndexTooHigh {
            max: HIGHEST,
            ..
        }))
    )
}

/// Up to the highest index a log takes records and gives them back; beyond it, it refuses, and is none the worse.
#[test]
fn the_highest_index_is_kept_and_the_next_refused() {
    for index in [HIGHEST - 2, HIGHEST - 1] {
        let disk = SimDisk::new();
        let mut log = open(&disk);
        let snapshot = log.snapshots().create(index, 1).unwrap().finish().unwrap();
        log.commit(Batch::new().install_snapshot(&snapshot))
            .unwrap();
        for next in index + 1..=HIGHEST {
            log.commit(Batch::new().append(record(next))).unwrap();
        }
        assert!(is_too_high(
            log.commit(Batch::new().append(record(HIGHEST + 1)))
        ));
        // Cutting nothing is allowed where there is a next index.
        assert!(is_too_high(
            log.commit(Batch::new().truncate_from(HIGHEST + 1))
        ));
        log.commit(Batch::new().metadata(b"vote")).unwrap();
        drop(log);

        let log = open(&disk);
        assert_eq!((log.first_index(), log.last_index()), (index + 1, HIGHEST));
        assert_eq!(log.metadata(), Some(&b"vote"[..]));
        let records = log.reader().read(index + 1, usize::MAX).unwrap();
        assert_eq!(records.len() as u64, HIGHEST - index);
    }
}

/// No snapshot can stand where no record can follow.
#[test]
fn snapshots_leave_room_for_a_record() {
    let disk = SimDisk::new();
    let log = open(&disk);
    for index in [0, HIGHEST, HIGHEST + 1, u64::MAX - 1, u64::MAX] {
        let created = log.snapshots().create(index, 1);
        assert!(matches!(created, Err(SnapshotWriteError::Invalid { .. })));
        let id = SnapshotId {
            index,
            term: 1,
            bytes: 532,
            checksum: 0,
        };
        let received = log.snapshots().receive(id);
        assert!(matches!(received, Err(SnapshotWriteError::Invalid { .. })));
    }
}
