//! Measures blocking commits: `cargo run --release -p raft-log --example commit_rate -- [directory] [seconds] [records]`.

use std::time::{Duration, Instant};

use raft_log::{Batch, Log, Options, Record};

/// Old records are purged, so that segments are recycled and the disk does not fill.
const KEPT_RECORDS: u64 = 200_000;
const PAYLOAD_BYTES: usize = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "commit-rate.tmp".into());
    let seconds = args.next().map_or(Ok(5), |seconds| seconds.parse())?;
    let records: u64 = args.next().map_or(Ok(64), |records| records.parse())?;
    let (mut log, recovery) = Log::open(&dir, Options::default())?;
    let payload = [7; PAYLOAD_BYTES];
    let mut next = recovery.last_index + 1;
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut batch = Batch::new();
        for index in next..next + records {
            batch.append(Record {
                index,
                term: 1,
                kind: 0,
                payload: &payload,
            });
        }
        let commit = Instant::now();
        log.commit(&batch)?;
        took.push(commit.elapsed());
        next += records;
        if next > log.first_index() + 2 * KEPT_RECORDS {
            log.purge(next - KEPT_RECORDS)?;
        }
    }
    let elapsed = begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: usize| {
        took.get(took.len() * share / 1000)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{:.0} batches/s of {records} records of {PAYLOAD_BYTES} bytes; p50 {:?}, p99 {:?}, p99.9 {:?}, most {:?}; {:?}",
        took.len() as f64 / elapsed,
        at(500),
        at(990),
        at(999),
        took.last().copied().unwrap_or_default(),
        log.counters(),
    );
    log.close()?;
    Ok(())
}
