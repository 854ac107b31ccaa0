//! How fast entries become durable.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::Arguments;
use crate::contender::{Background, Bare, Blocking, Contender, Peer, Work};
use crate::entry::{Contents, ENTRY_BYTES};
use crate::report::{Lines, Spread, quantile};

/// What is written before anything is measured, so that everyone goes on in files that were in use before.
const WARM_UP: Duration = Duration::from_millis(400);

/// One contender in one round.
struct Sample {
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    syncs_per_commit: Option<f64>,
    bytes_per_byte: Option<f64>,
}

/// Measures all contenders at all sizes and prints a table for each size.
pub fn run(arguments: &Arguments, dir: &Path, lines: &mut Lines) -> Result<()> {
    let contents = Contents::new();
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Bare::open(&dir.join("bare"), &contents)?),
        Box::new(Blocking::open(&dir.join("blocking"), &contents)?),
        Box::new(Background::open_single(&dir.join("single"), &contents)?),
        Box::new(Background::open_grouped(&dir.join("grouped"), &contents)?),
        Box::new(Peer::open(&dir.join("raft-engine"), &contents)?),
    ];
    for contender in &mut contenders {
        eprintln!("warm-up: {}", contender.name());
        // Until each has purged, and so writes into used files.
        contender.run(1024, 4 * WARM_UP)?;
    }
    for &entries in &arguments.entries {
        let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            eprintln!(
                "write: {entries} a sync, round {} of {}",
                round + 1,
                arguments.rounds
            );
            for turn in 0..contenders.len() {
                // Another one begins in each round.
                let who = (turn + round) % contenders.len();
                let (contender, samples) = (&mut contenders[who], &mut samples[who]);
                contender.run(entries, arguments.time() / 10)?;
                let sample = judge(contender.run(entries, arguments.time())?);
                lines.add(
                    "write",
                    json!({
                        "contender": contender.name(), "entries": entries, "round": round, "entries_per_second": sample.rate,
                        "p50_us": sample.p50_us, "p99_us": sample.p99_us, "syncs_per_commit": sample.syncs_per_commit,
                        "bytes_per_byte": sample.bytes_per_byte,
                    }),
                )?;
                samples.push(sample);
            }
        }
        print(entries, &contenders, &samples);
        for contender in &mut contenders {
            contender.verify()?;
        }
    }
    println!("Entries read back from each were what was written.\n");
    Ok(())
}

fn judge(mut work: Work) -> Sample {
    work.latencies.sort_unstable();
    let commits = work.latencies.len() as f64;
    let payload = (work.entries * ENTRY_BYTES as u64) as f64;
    Sample {
        rate: work.entries as f64 / work.seconds,
        p50_us: quantile(&work.latencies, 500) / 1e3,
        p99_us: quantile(&work.latencies, 990) / 1e3,
        syncs_per_commit: work.counted.map(|(syncs, _)| syncs as f64 / commits),
        bytes_per_byte: work.counted.map(|(_, bytes)| bytes as f64 / payload),
    }
}

fn print(entries: usize, contenders: &[Box<dyn Contender>], samples: &[Vec<Sample>]) {
    println!("{entries} entries of {ENTRY_BYTES} bytes a sync:\n");
    println!(
        "| who | entries/s (least–most) | MB/s | p50 µs | p99 µs | of the bare loop (least–most) | syncs a commit | bytes a byte |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let shown = |value: Option<f64>| value.map_or("–".to_string(), |value| format!("{value:.3}"));
    for (contender, own) in contenders.iter().zip(samples) {
        let rate = Spread::of(own.iter().map(|sample| sample.rate));
        // Against the bare loop of the same round.
        let ratios = own
            .iter()
            .zip(&samples[0])
            .map(|(own, bare)| own.rate / bare.rate);
        let median = |of: fn(&Sample) -> f64| Spread::of(own.iter().map(of)).median;
        println!(
            "| {} | {} | {:.1} | {:.0} | {:.0} | {} | {} | {} |",
            contender.name(),
            rate.show(0),
            rate.median * ENTRY_BYTES as f64 / 1e6,
            median(|sample| sample.p50_us),
            median(|sample| sample.p99_us),
            Spread::of(ratios).show(2),
            shown(own.last().and_then(|sample| sample.syncs_per_commit)),
            shown(own.last().and_then(|sample| sample.bytes_per_byte)),
        );
    }
    println!();
}
