//! What a log takes of memory does not grow with what is in it: the peak with ten times the data is within 10 % of the peak with
//! one. One test, for the allocator counts all threads of the process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use raft_log::inspect::Inspection;
use raft_log::writer::{Completion, OwnedBatch, Writer, WriterOptions};
use raft_log::{Batch, Log, Options, OwnedRecord, Record};

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

const ENTRY_BYTES: usize = 256;
const BATCH_RECORDS: u64 = 1024;
/// 16 MiB of payload, and ten times as much.
const SMALL: u64 = (16 << 20) / ENTRY_BYTES as u64;
const LARGE: u64 = 10 * SMALL;

fn options() -> Options {
    Options {
        segment_bytes: 8 << 20,
        ..Options::new("memory")
    }
}

/// The most bytes that were allocated at once while this ran, on top of what was before.
fn peak(what: impl FnOnce()) -> usize {
    let before = PEAK.current_usage();
    PEAK.reset_peak_usage();
    what();
    PEAK.peak_usage() - before
}

fn open(dir: &Path) -> Log {
    Log::open(dir, options()).unwrap().0
}

fn write(dir: &Path, records: u64) {
    let mut log = open(dir);
    let payload = [7; ENTRY_BYTES];
    for first in (1..=records).step_by(BATCH_RECORDS as usize) {
        let mut batch = Batch::new();
        for index in first..first + BATCH_RECORDS {
            batch.append(Record {
                index,
                term: 1,
                kind: 0,
                payload: &payload,
            });
        }
        log.commit(&batch).unwrap();
    }
    assert_eq!(log.last_index(), records);
    log.close().unwrap();
}

/// Submits faster than the disk takes it: what is queued is bounded.
fn write_through_the_writer(dir: &Path, records: u64) {
    let limits = WriterOptions {
        queue_bytes_max: 4 << 20,
        // Some batches are held beside the tail: the one being written, its successor's buffers, the one that falls out. Small
        // ones make it matter little at which moment the queue is full.
        commit_bytes_max: 256 << 10,
        ..WriterOptions::default()
    };
    let (tell, told) = sync_channel(1);
    let writer = Writer::spawn_with(open(dir), limits, move |done| match done {
        Completion::Durable(commit) if commit.job == records => tell.send(()).unwrap(),
        Completion::Failed { error, .. } => panic!("{error}"),
        _ => {}
    })
    .unwrap();
    let payload = Bytes::from(vec![7; ENTRY_BYTES]);
    for index in 1..=records {
        let record = OwnedRecord {
            index,
            term: 1,
            kind: 0,
            // Each of its own, as from a network.
            payload: Bytes::copy_from_slice(&payload),
        };
        writer
            .submit(OwnedBatch {
                job: index,
                records: vec![record],
                ..OwnedBatch::default()
            })
            .unwrap();
    }
    told.recv().unwrap();
    writer.close().unwrap();
}

fn read_all(log: &Log) {
    let reader = log.reader();
    let mut next = 1;
    while next <= log.last_index() {
        for record in reader.read(next, 1 << 20).unwrap() {
            assert_eq!((record.index, record.payload.len()), (next, ENTRY_BYTES));
            next += 1;
        }
    }
}

fn dump(dir: &Path) {
    let mut items = 0;
    let inspection = Inspection::open(dir).unwrap();
    let _ = inspection.dump(|_| {
        items += 1;
        ControlFlow::<()>::Continue(())
    });
    assert!(items > SMALL);
}

#[test]
fn the_peak_does_not_grow_with_the_log() {
    let root = tempfile::tempdir().unwrap();
    let dirs = [SMALL, LARGE].map(|records| (root.path().join(records.to_string()), records));
    let mut grown = Vec::new();
    let mut compare = |what: &str, act: &dyn Fn(&Path, u64)| {
        let [small, large] = [0, 1].map(|nth| {
            let (dir, records) = &dirs[nth];
            peak(|| act(dir, *records))
        });
        println!(
            "{what}: {} KiB with 16 MiB, {} KiB with 160 MiB",
            small >> 10,
            large >> 10
        );
        if large as f64 > small as f64 * 1.1 {
            grown.push(what.to_owned());
        }
    };
    compare("writing", &write);
    // The next segment is there, or chance would decide whether an opening fills one with zeros meanwhile.
    for (dir, _) in &dirs {
        let at_once = Options {
            background: false,
            ..options()
        };
        drop(Log::open(dir, at_once).unwrap());
    }
    compare("opening", &|dir, _| drop(open(dir)));
    compare("reading", &|dir, _| read_all(&open(dir)));
    compare("verifying", &|dir, _| {
        Inspection::open(dir).unwrap().verify().unwrap();
    });
    compare("dumping", &|dir, _| dump(dir));
    for (dir, _) in &dirs {
        std::fs::remove_dir_all(dir).unwrap();
    }
    compare("writing through the writer", &write_through_the_writer);
    assert!(grown.is_empty(), "these grow with the log: {grown:?}");
}
