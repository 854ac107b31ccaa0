//! The writer loses its power at every operation: what it said is durable is there, and nothing is there in parts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::sync::mpsc::channel;

use crate::harness::{dir, options};
use bytes::Bytes;
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::writer::{Completion, OwnedBatch, Writer};
use raft_log::{Log, OwnedRecord};

const JOBS: u64 = 24;

/// Two records a job, so that a job in parts would show.
fn unit(job: u64) -> OwnedBatch {
    let record = |index| OwnedRecord {
        index,
        term: 1,
        kind: 0,
        payload: Bytes::from(vec![index as u8; [20, 700, 0, 300][index as usize % 4]]),
    };
    OwnedBatch {
        job,
        metadata: Some(Bytes::from(vec![job as u8; 8])),
        records: vec![record(2 * job - 1), record(2 * job)],
        ..OwnedBatch::default()
    }
}

/// Submits all jobs at once, so that they queue behind one another; the highest that is said to be durable.
fn run(disk: &SimDisk) -> u64 {
    let Ok((log, _)) = Log::open_with(disk.clone(), &dir(), options()) else {
        return 0;
    };
    let (tell, told) = channel();
    let writer = Writer::spawn(log, move |done| {
        if let Completion::Durable(commit) = done {
            tell.send(commit.job).unwrap();
        }
    })
    .unwrap();
    for job in 1..=JOBS {
        if writer.submit(unit(job)).is_err() {
            break;
        }
    }
    let _ = writer.close();
    told.into_iter().last().unwrap_or(0)
}

/// F-L21: a sync's answer counts for what was written before it began, and for nothing that came while it ran.
#[test]
fn what_is_said_to_be_durable_is_there() {
    let mut cases = 0;
    // How the jobs are grouped depends on the threads, so a few rounds meet more of the groupings.
    for _round in 0..4 {
        for operation in 1.. {
            let disk = SimDisk::new();
            disk.fail(operation, Fault::PowerLoss);
            let durable = run(&disk);
            if disk.operations() < operation {
                assert_eq!(durable, JOBS);
                break;
            }
            for keep in [Keep::Nothing, Keep::All, Keep::Some(operation)] {
                let disk = disk.fork();
                disk.restart(keep);
                cases += 1;
                let (log, _) = Log::open_with(disk, &dir(), options()).unwrap();
                let last = log.last_index();
                assert!(
                    last % 2 == 0,
                    "power lost at {operation}, {keep:?}: half a job, {last}"
                );
                assert!(
                    (2 * durable..=2 * JOBS).contains(&last),
                    "power lost at {operation}, {keep:?}: {last} records, and job {durable} was durable"
                );
                let vote = [(last / 2) as u8; 8];
                assert_eq!(log.metadata(), (last > 0).then_some(&vote[..]));
            }
        }
    }
    println!("{cases} crashes");
}
