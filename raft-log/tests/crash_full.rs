//! The power goes at every operation of a log on a disk that is full for a while, with batches larger than a segment, which find
//! room or do not. What was acknowledged is there, and the log goes on. (The sweep of `crash.rs` never runs out of room.)
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::HashSet;

use crate::harness::{dir, options};
use raft_log::sim_disk::{Fault, SimDisk};
use raft_log::{Batch, Log, OpenError, Record, WriteError};

/// How many random subsets of the pending changes are tried at each operation, beside the regular ones.
const SUBSETS: u64 = 16;

fn payload(index: u64, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (index as usize * 31 + at) as u8)
        .collect()
}

/// The log under the workload, and the sizes of the records that were acknowledged.
struct Run {
    log: Log<SimDisk>,
    sizes: Vec<usize>,
}

impl Run {
    /// Appends a record; whether there was room.
    fn append(&mut self, bytes: usize) -> Result<bool, WriteError> {
        let index = self.sizes.len() as u64 + 1;
        let payload = payload(index, bytes);
        let record = Record {
            index,
            term: 1,
            kind: 0,
            payload: &payload,
        };
        match self.log.commit(Batch::new().append(record)) {
            Ok(()) => self.sizes.push(bytes),
            Err(WriteError::Full { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// Fills segments, purges them if files are to be kept as spares, runs out of room, gets some, and goes on.
fn workload(disk: &SimDisk, purges: bool, sizes: &mut Vec<usize>) -> Result<[u64; 2], String> {
    let opened = Log::open_with(disk.clone(), &dir(), options());
    let mut run = Run {
        log: opened.map_err(|error| error.to_string())?.0,
        sizes: Vec::new(),
    };
    let mut refused = [0, 0];
    let mut steps = || -> Result<(), WriteError> {
        for _ in 0..6 {
            run.append(1500)?;
        }
        if purges {
            run.log.purge(6)?;
        }
        // Room for what is there, and a little more.
        let segments = disk.files().len() as u64 - 1;
        for extra in [0, 1, 0] {
            disk.set_capacity(Some(8192 + (segments + extra) * 4096));
            refused[0] += u64::from(!run.append(9000)?);
            for _ in 0..3 {
                refused[1] += u64::from(!run.append(1500)?);
            }
            run.log.retry_space();
        }
        disk.set_capacity(None);
        run.append(9000)?;
        run.append(1500)?;
        run.log.purge(run.sizes.len() as u64 - 1)?;
        run.append(1500)?;
        Ok(())
    };
    let done = steps().map_err(|error| error.to_string());
    *sizes = run.sizes;
    done.map(|()| refused)
}

/// All that was acknowledged is there, and at most the one record that was under way.
fn check(disk: &SimDisk, sizes: &[usize]) -> Result<(), String> {
    disk.set_capacity(None);
    let (mut log, _) = match Log::open_with(disk.clone(), &dir(), options()) {
        Err(error @ OpenError::Corrupt { .. }) => return Err(error.to_string()),
        opened => opened.unwrap(),
    };
    let (last, acknowledged) = (log.last_index(), sizes.len() as u64);
    if !(acknowledged..=acknowledged + 1).contains(&last) {
        return Err(format!(
            "{acknowledged} were acknowledged, {last} are there"
        ));
    }
    let records = log.reader().read(log.first_index(), usize::MAX);
    for record in records.into_iter().flatten() {
        let known = sizes.get(record.index as usize - 1);
        let bytes = known.copied().unwrap_or(record.payload.len());
        assert_eq!(record.payload, payload(record.index, bytes));
    }
    let next = Record {
        index: last + 1,
        term: 1,
        kind: 0,
        payload: b"goes on",
    };
    log.commit(Batch::new().append(next)).unwrap();
    Ok(())
}

fn sweep(purges: bool) {
    let mut seen = HashSet::new();
    let refused = workload(&SimDisk::new(), purges, &mut Vec::new()).unwrap();
    assert!(
        refused.iter().all(|&refused| refused > 0),
        "large and usual batches are to run out of room: {refused:?}"
    );
    for operation in 1.. {
        let disk = SimDisk::new();
        disk.fail(operation, Fault::PowerLoss);
        let mut sizes = Vec::new();
        if workload(&disk, purges, &mut sizes).is_ok() {
            println!(
                "purges: {purges}: {operation} operations, {} cases",
                seen.len()
            );
            break;
        }
        for keep in disk.power_losses(SUBSETS, operation) {
            let left = disk.fork();
            left.restart(keep);
            if seen.insert((sizes.len(), left.fingerprint()))
                && let Err(error) = check(&left, &sizes)
            {
                panic!("purges: {purges}, power lost at {operation}, {keep:?}: {error}");
            }
        }
    }
    assert!(seen.len() > 300);
}

/// F-L9, F-L10: a segment that steps aside for a larger one comes back durably before anything goes into it.
#[test]
fn with_spare_files() {
    sweep(true);
}

#[test]
fn without_spare_files() {
    sweep(false);
}
