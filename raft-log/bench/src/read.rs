//! How fast a log opens, and how fast entries are read from anywhere in it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raft_engine::Engine;
use raft_log::{Batch, Log, Options, Reader, Record};
use serde_json::json;

use crate::Arguments;
use crate::contender::{Entries, GROUP, Peer, peer_config_reading};
use crate::entry::{Contents, ENTRY_BYTES, PeerEntry};
use crate::report::{Lines, Spread, quantile};

/// Entries in a batch of the log that is opened.
const BATCH: usize = 64;
/// Bytes of content in a read of a range.
const RANGE_BYTES: usize = 64 * 1024;
/// How many of the newest entries the reads of the tail choose from.
const TAIL: u64 = 1024;

/// Fills both logs, and measures.
pub fn run(arguments: &Arguments, dir: &Path, lines: &mut Lines) -> Result<()> {
    let contents = Contents::new();
    let (ours, peers) = (dir.join("read-ours"), dir.join("read-raft-engine"));
    let count = arguments.open_mib * (1 << 20) / (ENTRY_BYTES as u64 + 48);
    eprintln!("filling two logs of {} MiB", arguments.open_mib);
    fill(&ours, &contents, count)?;
    Peer::open_for_reading(&peers, &contents)?.fill(count, BATCH)?;
    open(arguments, &ours, &peers, lines)?;
    // The newest entries are written in this opening, as they would be where they are asked for.
    let (mut log, _) = Log::open(&ours, Options::new("bench"))?;
    append(&mut log, &contents, count + TAIL)?;
    let mut peer = Peer::open_for_reading(&peers, &contents)?;
    peer.fill(count + TAIL, BATCH)?;
    let engine = peer.engine();
    let last = log
        .last_index()
        .min(engine.last_index(GROUP).context("raft-engine is empty")?);
    reads(arguments, &log.reader(), engine, last, &contents, lines)
}

fn fill(dir: &Path, contents: &Contents, count: u64) -> Result<()> {
    let (mut log, _) = Log::open(dir, Options::new("bench"))?;
    append(&mut log, contents, count)?;
    Ok(log.close()?)
}

fn append(log: &mut Log, contents: &Contents, count: u64) -> Result<()> {
    while log.last_index() < count {
        let next = log.last_index() + 1;
        let mut batch = Batch::new();
        for index in next..next + BATCH as u64 {
            batch.append(Record {
                index,
                term: 1,
                kind: 0,
                payload: contents.of(index),
            });
        }
        log.commit(&batch)?;
    }
    Ok(())
}

/// Reads all files of a directory with 1 MiB of buffer and a CRC: what no log can open faster than, with one thread.
fn scan(dir: &Path) -> Result<u64> {
    let mut buf = vec![0; 1 << 20];
    let (mut bytes, mut crc) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let file = File::open(entry?.path())?;
        let mut offset = 0;
        loop {
            let read = file.read_at(&mut buf, offset)?;
            if read == 0 {
                break;
            }
            crc = crc32c::crc32c_append(crc, &buf[..read]);
            offset += read as u64;
        }
        bytes += offset;
    }
    std::hint::black_box(crc);
    Ok(bytes)
}

/// Has the kernel forget the cached pages of a directory's files.
fn forget(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn open(arguments: &Arguments, ours: &Path, peers: &Path, lines: &mut Lines) -> Result<()> {
    type Opening<'a> = (&'a str, &'a Path, Box<dyn Fn() -> Result<Duration> + 'a>);
    let timed_scan = || {
        let begun = Instant::now();
        scan(ours)?;
        Ok(begun.elapsed())
    };
    let open_ours = || {
        let begun = Instant::now();
        let (log, _) = Log::open(ours, Options::new("bench"))?;
        let took = begun.elapsed();
        log.close()?;
        Ok(took)
    };
    let open_peer = || {
        let begun = Instant::now();
        let engine = Engine::open(peer_config_reading(peers))?;
        let took = begun.elapsed();
        drop(engine);
        Ok(took)
    };
    let ways: [Opening<'_>; 3] = [
        ("read + CRC-32C, one thread", ours, Box::new(timed_scan)),
        ("raft-log", ours, Box::new(open_ours)),
        ("raft-engine", peers, Box::new(open_peer)),
    ];
    println!(
        "Opening a log of {} MiB, {BATCH} entries in a batch:\n",
        arguments.open_mib
    );
    println!("| who | cache | seconds (least–most) | MB/s |");
    println!("| --- | --- | --- | --- |");
    for (cache, cold) in [("warm", false), ("cold", true)] {
        let mut took: Vec<Vec<f64>> = ways.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            eprintln!("open: {cache}, round {} of {}", round + 1, arguments.rounds);
            for turn in 0..ways.len() {
                let who = (turn + round) % ways.len();
                let (name, dir, open) = &ways[who];
                if cold {
                    forget(dir)?;
                }
                let seconds = open()?.as_secs_f64();
                lines.add(
                    "open",
                    json!({ "contender": name, "cache": cache, "round": round, "seconds": seconds, "mib": arguments.open_mib }),
                )?;
                took[who].push(seconds);
            }
        }
        for ((name, ..), took) in ways.iter().zip(took) {
            let spread = Spread::of(took);
            let rate = (arguments.open_mib << 20) as f64 / 1e6 / spread.median;
            println!("| {name} | {cache} | {} | {rate:.0} |", spread.show(3));
        }
    }
    println!();
    Ok(())
}

/// One way to read: answers how many entries came back.
type Read<'a> = (&'a str, &'a str, Box<dyn FnMut(u64) -> Result<usize> + 'a>);

fn reads(
    arguments: &Arguments,
    reader: &Reader,
    engine: &Engine,
    last: u64,
    contents: &Contents,
    lines: &mut Lines,
) -> Result<()> {
    let range = (RANGE_BYTES / ENTRY_BYTES) as u64;
    let one_ours = |index| {
        let records = reader.read(index, 1)?;
        ensure!(
            records[0].payload == contents.of(index),
            "entry {index} is another"
        );
        Ok(records.len())
    };
    let one_peer = |index| {
        let entry = engine
            .get_entry::<Entries>(GROUP, index)?
            .context("no such entry")?;
        ensure!(entry.data == contents.of(index), "entry {index} is another");
        Ok(1)
    };
    let range_ours = |index| Ok(reader.read(index, RANGE_BYTES)?.len());
    let range_peer = |index| {
        let mut entries: Vec<PeerEntry> = Vec::new();
        Ok(engine.fetch_entries_to::<Entries>(GROUP, index, index + range, None, &mut entries)?)
    };
    let mut ways: [Read<'_>; 6] = [
        ("one entry, anywhere", "raft-log", Box::new(one_ours)),
        ("one entry, anywhere", "raft-engine", Box::new(one_peer)),
        ("64 KiB, anywhere", "raft-log", Box::new(range_ours)),
        ("64 KiB, anywhere", "raft-engine", Box::new(range_peer)),
        ("one of the last 1024", "raft-log", Box::new(one_ours)),
        ("one of the last 1024", "raft-engine", Box::new(one_peer)),
    ];
    let mut found: Vec<Vec<(f64, f64, f64)>> = ways.iter().map(|_| Vec::new()).collect();
    let mut state = 1_u64;
    for round in 0..arguments.rounds {
        eprintln!("read: round {} of {}", round + 1, arguments.rounds);
        for turn in 0..ways.len() {
            let who = (turn + round) % ways.len();
            let (what, name, read) = &mut ways[who];
            let span = if what.contains("last") {
                TAIL
            } else {
                last - range
            };
            let lowest = if what.contains("last") {
                last - TAIL
            } else {
                0
            };
            let mut took = Vec::new();
            let begun = Instant::now();
            while begun.elapsed() < arguments.time() / 4 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let index = lowest + 1 + (state >> 33) % span;
                let one = Instant::now();
                let count = read(index)?;
                took.push(u32::try_from(one.elapsed().as_nanos()).unwrap_or(u32::MAX));
                ensure!(count >= 1, "nothing came back for entry {index}");
            }
            let mean = took.iter().map(|&nanos| f64::from(nanos)).sum::<f64>() / took.len() as f64;
            took.sort_unstable();
            let sample = (
                mean / 1e3,
                quantile(&took, 500) / 1e3,
                quantile(&took, 990) / 1e3,
            );
            lines.add(
                "read",
                json!({ "what": what, "contender": name, "round": round, "mean_us": sample.0, "p50_us": sample.1, "p99_us": sample.2 }),
            )?;
            found[who].push(sample);
        }
    }
    println!("Random reads from it, in one thread, the cache warm:\n");
    println!("| what | who | µs a read (least–most) | p50 µs | p99 µs |");
    println!("| --- | --- | --- | --- | --- |");
    for ((what, name, _), samples) in ways.iter().zip(&found) {
        let spread = |of: fn(&(f64, f64, f64)) -> f64| Spread::of(samples.iter().map(of));
        println!(
            "| {what} | {name} | {} | {:.2} | {:.2} |",
            spread(|sample| sample.0).show(2),
            spread(|sample| sample.1).median,
            spread(|sample| sample.2).median
        );
    }
    println!();
    Ok(())
}
