//! What raft-core does a second, beside raft-rs.
//!
//! Both do the same work in one thread: three nodes, whose driver sends messages by pushing them to a list, writes to a log in memory and
//! applies to a state machine that checks the order. They take turns, and who begins changes from round to round. Nothing is judged: the
//! tables are for a person. Run it by `cargo xtask bench core`.

mod counting;
mod ours;
mod report;
mod theirs;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::counting::{Allocations, Counting};
use crate::ours::Ours;
use crate::report::{Lines, Spread};
use crate::theirs::Theirs;
use crate::workload::{BATCH_MAX, COMMAND_BYTES, Cluster, Commands, KEPT_ENTRIES, Node};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A leader speaks after so many ticks, except where heartbeats are what is measured.
const HEARTBEAT_TICKS: u32 = 10;
/// The clock is looked at after so many commands, or after one batch.
const COMMANDS_A_LOOK: usize = 256;

/// Measures the core beside raft-rs.
#[derive(Parser)]
struct Arguments {
    /// The file to which each measurement is appended as a line of JSON
    #[arg(long)]
    json: PathBuf,
    /// How often everything is measured
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long each side works in a round, in milliseconds of processor time
    #[arg(long, default_value_t = 500)]
    millis: u64,
    /// How many commands are proposed at once, a list
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024])]
    batches: Vec<usize>,
    /// Only this part
    #[arg(long, value_parser = ["proposals", "heartbeats"])]
    only: Option<String>,
    /// Only this side, to be watched by a profiler
    #[arg(long, value_parser = SIDES)]
    side: Option<String>,
}

/// What one side did in one round.
#[derive(Clone, Copy)]
struct Sample {
    a_second: f64,
    allocations: f64,
    bytes: f64,
}

/// The time that this thread has had a processor for. Whoever else wants the processors changes what the caches hold, but is not counted.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Does `work` again and again until `time` is over; it answers how much it did.
fn measure(time: Duration, mut work: impl FnMut() -> Result<usize>) -> Result<Sample> {
    let before = Allocations::so_far();
    let begun = worked();
    let mut done = 0;
    let seconds = loop {
        done += work()?;
        let elapsed = worked() - begun;
        if elapsed >= time {
            break elapsed.as_secs_f64();
        }
    };
    let made = Allocations::so_far() - before;
    Ok(Sample {
        a_second: done as f64 / seconds,
        allocations: made.count as f64 / done as f64,
        bytes: made.bytes as f64 / done as f64,
    })
}

/// Commands proposed `batch` at a time, each batch applied on the leader before the next; then every follower has them too.
fn propose<N: Node>(cluster: &mut Cluster<N>, batch: usize, time: Duration) -> Result<Sample> {
    let before = cluster.calm()?.commands;
    let mut proposed = 0;
    let sample = measure(time, || {
        let batches = COMMANDS_A_LOOK.div_ceil(batch);
        for _ in 0..batches {
            cluster.batch(batch)?;
        }
        proposed += batches * batch;
        Ok(batches * batch)
    })?;
    let applied = cluster.calm()?.commands - before;
    ensure!(
        applied == proposed as u64,
        "{applied} of {proposed} commands were applied"
    );
    Ok(sample)
}

/// Ticks of a cluster that has nothing to do, with a heartbeat round in each.
fn beat<N: Node>(cluster: &mut Cluster<N>, time: Duration) -> Result<Sample> {
    let sample = measure(time, || {
        for _ in 0..COMMANDS_A_LOOK {
            cluster.tick()?;
        }
        Ok(COMMANDS_A_LOOK)
    })?;
    cluster.calm()?;
    Ok(sample)
}

/// Who is measured. All are compared with the second.
const SIDES: [&str; 3] = ["raft-core", "raft-rs", "raft-rs, as it comes"];

/// A cluster of one of the sides.
enum Side {
    Ours(Cluster<Ours>),
    Theirs(Cluster<Theirs<false>>),
    Plain(Cluster<Theirs<true>>),
}

impl Side {
    /// One cluster of each side.
    fn all(nodes: u64, heartbeat_ticks: u32) -> Result<[Side; 3]> {
        let commands = Commands::new();
        Ok([
            Side::Ours(Cluster::new(nodes, heartbeat_ticks, &commands)?),
            Side::Theirs(Cluster::new(nodes, heartbeat_ticks, &commands)?),
            Side::Plain(Cluster::new(nodes, heartbeat_ticks, &commands)?),
        ])
    }

    fn work(&mut self, what: Workload, time: Duration) -> Result<Sample> {
        match self {
            Side::Ours(cluster) => what.run(cluster, time),
            Side::Theirs(cluster) => what.run(cluster, time),
            Side::Plain(cluster) => what.run(cluster, time),
        }
    }
}

/// What a cluster is to do.
#[derive(Clone, Copy)]
enum Workload {
    Propose { batch: usize },
    Beat,
}

impl Workload {
    fn run<N: Node>(self, cluster: &mut Cluster<N>, time: Duration) -> Result<Sample> {
        match self {
            Workload::Propose { batch } => propose(cluster, batch, time),
            Workload::Beat => beat(cluster, time),
        }
    }
}

/// Rounds, in each of which every side is measured after a tenth of the time for warming up.
fn rounds(
    arguments: &Arguments,
    sides: &mut [Side; 3],
    what: Workload,
) -> Result<[Vec<Sample>; 3]> {
    let time = Duration::from_millis(arguments.millis);
    let wanted = |side| arguments.side.as_deref().is_none_or(|only| only == side);
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..arguments.rounds {
        for turn in 0..SIDES.len() {
            // Another one begins in each round.
            let who = (turn + round) % SIDES.len();
            if wanted(SIDES[who]) {
                sides[who].work(what, time / 10)?;
                samples[who].push(sides[who].work(what, time)?);
            }
        }
    }
    Ok(samples)
}

fn proposals(arguments: &Arguments, lines: &mut Lines) -> Result<()> {
    println!("Proposals of {COMMAND_BYTES} bytes, three nodes:\n");
    println!(
        "| at once | who | proposals/s (least–most) | of raft-rs (least–most) | ns a proposal | allocations a proposal | bytes allocated a proposal |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut sides = Side::all(3, HEARTBEAT_TICKS)?;
    for &batch in &arguments.batches {
        let samples = rounds(arguments, &mut sides, Workload::Propose { batch })?;
        for (who, own) in SIDES.into_iter().zip(&samples) {
            for (round, sample) in own.iter().enumerate() {
                lines.add(
                    "proposals",
                    json!({
                        "who": who, "batch": batch, "round": round, "proposals_per_second": sample.a_second,
                        "allocations": sample.allocations, "allocated_bytes": sample.bytes,
                    }),
                )?;
            }
            let rate = Spread::of(own.iter().map(|sample| sample.a_second));
            println!(
                "| {batch} | {who} | {} | {} | {:.0} | {:.2} | {:.0} |",
                rate.show(0),
                ratios(own, &samples[1]).show(2),
                1e9 / rate.median,
                Spread::of(own.iter().map(|sample| sample.allocations)).median,
                Spread::of(own.iter().map(|sample| sample.bytes)).median,
            );
        }
    }
    println!();
    Ok(())
}

fn heartbeats(arguments: &Arguments, lines: &mut Lines) -> Result<()> {
    println!("A heartbeat round, with a tick of every node:\n");
    println!(
        "| nodes | who | ns (least–most) | rounds a second, of raft-rs (least–most) | allocations |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for nodes in [3, 5, 7] {
        let samples = rounds(arguments, &mut Side::all(nodes, 1)?, Workload::Beat)?;
        for (who, own) in SIDES.into_iter().zip(&samples) {
            for (round, sample) in own.iter().enumerate() {
                lines.add(
                    "heartbeats",
                    json!({
                        "who": who, "nodes": nodes, "round": round, "rounds_per_second": sample.a_second,
                        "allocations": sample.allocations, "allocated_bytes": sample.bytes,
                    }),
                )?;
            }
            println!(
                "| {nodes} | {who} | {} | {} | {:.2} |",
                Spread::of(own.iter().map(|sample| 1e9 / sample.a_second)).show(0),
                ratios(own, &samples[1]).show(2),
                Spread::of(own.iter().map(|sample| sample.allocations)).median,
            );
        }
    }
    println!();
    Ok(())
}

/// How much faster than the other side in the same round.
fn ratios(own: &[Sample], theirs: &[Sample]) -> Spread {
    Spread::of((own.iter().zip(theirs)).map(|(own, theirs)| own.a_second / theirs.a_second))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments
            .batches
            .iter()
            .all(|batch| (1..=BATCH_MAX).contains(batch)),
        "--batches takes numbers from 1 to {BATCH_MAX}"
    );
    let mut lines = Lines::open(&arguments.json)?;
    println!("{}.\n", theirs::CONFIGURATION);
    println!(
        "{} rounds of {} ms of processor time, in turns; a second is one of those; each log keeps the last {KEPT_ENTRIES} entries or more.\n",
        arguments.rounds, arguments.millis
    );
    let wanted = |part| arguments.only.as_deref().is_none_or(|only| only == part);
    if wanted("proposals") {
        proposals(&arguments, &mut lines)?;
    }
    if wanted("heartbeats") {
        heartbeats(&arguments, &mut lines)?;
    }
    println!("Every command was applied once and in order, on every node.");
    Ok(())
}
