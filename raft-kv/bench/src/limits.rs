//! What the machine can do at best: syncs of three processes at once, and a round trip over the loopback between two.
//!
//! No cluster of three on one disk acknowledges a put from one client faster than a sync on all of them and two round trips.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::results::Results;
use crate::run::Run;

/// What is written before each sync: about a record with a key of 16 and a value of 256 bytes, in a page of its own.
const BLOCK_BYTES: usize = 4096;
/// The file whose blocks were all written before.
const FILE_BYTES: u64 = 16 << 20;
/// After so long without work a processor is idle, and has to be woken.
const REST: Duration = Duration::from_millis(1);
/// A put's request, about.
const MESSAGE_BYTES: usize = 320;

/// Measures what is not in the results yet.
pub(crate) fn measure(run: &Run, results: &mut Results) -> Result<()> {
    for round in 1..=run.rounds {
        let fields = json!({"part": "limits", "round": round});
        if results.has(&fields) {
            continue;
        }
        std::fs::create_dir_all(&run.dir)?;
        let time = run.time.min(Duration::from_secs(2));
        let alone = syncs(run, 1, time)?;
        let three = syncs(run, 3, time)?;
        let trip = round_trips(time, Duration::ZERO)?;
        let rested = round_trips(time, REST)?;
        let mut sample = fields;
        sample["sync_alone_us"] = json!(alone);
        sample["sync_of_three_us"] = json!(three);
        sample["round_trip_us"] = json!(trip);
        sample["rested_round_trip_us"] = json!(rested);
        run.say(&format!(
            "limits: round {round}: fdatasync alone {alone} µs, of three at once {three} µs, a round trip {trip} µs, after a rest {rested} µs"
        ));
        results.append(sample)?;
        run.clear()?;
    }
    Ok(())
}

/// So many processes at once; the median in microseconds, of all of them.
fn syncs(run: &Run, processes: usize, time: Duration) -> Result<u64> {
    let millis = time.as_millis().to_string();
    let workers: Vec<Child> = (0..processes)
        .map(|number| {
            let file = run.dir.join(format!("sync-{number}"));
            again(&["sync-worker", &file.display().to_string(), &millis])
        })
        .collect::<Result<_>>()?;
    let mut medians = Vec::new();
    for worker in workers {
        let output = worker.wait_with_output()?;
        ensure!(output.status.success(), "a process that syncs failed");
        let said: Value = serde_json::from_slice(&output.stdout)?;
        medians.push(said["p50_us"].as_u64().context("no median")?);
    }
    medians.sort_unstable();
    medians.get(processes / 2).copied().context("no median")
}

fn again(arguments: &[&str]) -> Result<Child> {
    let me = std::env::current_exe().context("cannot find this program")?;
    Command::new(me)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start this program again")
}

/// The process that syncs: written blocks of a file, in order, over and over.
pub(crate) fn sync_worker(path: &Path, time: Duration) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let block = [0x5a_u8; BLOCK_BYTES];
    let blocks = FILE_BYTES / BLOCK_BYTES as u64;
    for number in 0..blocks {
        file.write_all_at(&block, number * BLOCK_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut latencies = histogram()?;
    let begun = Instant::now();
    for number in (0..blocks).cycle() {
        if begun.elapsed() >= time {
            break;
        }
        let before = Instant::now();
        file.write_all_at(&block, number * BLOCK_BYTES as u64)?;
        file.sync_data()?;
        record(&mut latencies, before.elapsed());
    }
    std::fs::remove_file(path)?;
    println!("{}", json!({"p50_us": latencies.value_at_quantile(0.5)}));
    Ok(())
}

/// Between this process and another, each of which sleeps until the other has written; before each it rests so long. The median
/// in microseconds.
fn round_trips(time: Duration, rest: Duration) -> Result<u64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut echo = again(&["echo-worker", &listener.local_addr()?.to_string()])?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut message = [7_u8; MESSAGE_BYTES];
    let mut latencies = histogram()?;
    let begun = Instant::now();
    while begun.elapsed() < time {
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
        let before = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        record(&mut latencies, before.elapsed());
    }
    drop(stream);
    ensure!(echo.wait()?.success(), "the process that echoes failed");
    Ok(latencies.value_at_quantile(0.5))
}

/// The process that sends back what it gets, until the connection is closed.
pub(crate) fn echo_worker(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut message = [0_u8; MESSAGE_BYTES];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message)?;
    }
    Ok(())
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn record(latencies: &mut Histogram<u64>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    latencies.saturating_record(micros.max(1));
}
