//! `cargo xtask bench`: what the store, the log and the core do a second on this machine, as a table to be written down.
//!
//! It measures, and asserts nothing of time: that is for a person, on a quiet machine.

mod catch_up;
mod core;
mod log;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cargo::Binaries;
use crate::local::{Echo, LocalCluster, Settings, free_ports};

const READY_WITHIN: Duration = Duration::from_secs(60);
const WARM_UP_SECONDS: u32 = 1;
const KEYS: u32 = 1000;
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Measures, in release builds, and prints a table.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Three nodes on this machine under `raft-cli bench`, which checks every answer
    Cluster(ClusterArguments),
    /// A node is added to a large store, and sent a snapshot, while clients write: what that costs them, and the leader's memory
    CatchUp(catch_up::CatchUpArguments),
    /// The log beside raft-engine and a bare loop of write and fdatasync: writing, opening, reading
    Log(log::LogArguments),
    /// The core beside raft-rs: proposals, allocations, heartbeat rounds, all in memory
    Core(core::CoreArguments),
}

#[derive(Args)]
struct ClusterArguments {
    /// How long each cell is measured, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How often each cell is measured, in turns; the median is printed, and the spread
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many clients, a list
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    clients: Vec<u32>,
    /// Bytes a value
    #[arg(long, default_value_t = 256)]
    value_size: u32,
    /// One short round: to see that it works
    #[arg(long)]
    quick: bool,
}

/// One measurement.
struct Sample {
    ops_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Of the three servers together.
    server_cpu_us_per_op: f64,
    leader_syncs_per_op: f64,
}

/// Measures what is asked for.
///
/// # Errors
/// When something cannot be started, or an answer was wrong.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Cluster(arguments) => cluster(arguments),
        What::CatchUp(arguments) => catch_up::run(arguments),
        What::Log(arguments) => log::run(arguments),
        What::Core(arguments) => core::run(arguments),
    }
}

fn cluster(arguments: &ClusterArguments) -> Result<()> {
    let (seconds, rounds) = if arguments.quick {
        (1, 1)
    } else {
        (arguments.seconds, arguments.rounds)
    };
    let folder = tempfile::tempdir_in(crate::cargo::workspace_root().join("target"))?;
    let mut cluster = LocalCluster::new(Settings {
        binaries: Binaries::build(true)?,
        data_dir: folder.path().to_path_buf(),
        nodes: 3,
        ports: free_ports(3)?,
        serve_arguments: Vec::new(),
        forwarded: false,
        echo: Echo::Off,
    })?;
    cluster.start_all()?;
    cluster.wait_ready(READY_WITHIN)?;
    let cells: Vec<(&str, u32)> = ["put", "get"]
        .into_iter()
        .flat_map(|op| arguments.clients.iter().map(move |&clients| (op, clients)))
        .collect();
    let mut samples: Vec<Vec<Sample>> = cells.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for ((op, clients), samples) in cells.iter().zip(&mut samples) {
            eprintln!("round {round} of {rounds}: {op}, {clients} clients, {seconds} s");
            samples.push(measure(
                &mut cluster,
                op,
                *clients,
                seconds,
                arguments.value_size,
            )?);
        }
    }
    cluster.stop_all(STOP_WITHIN, || false)?;
    print_table(&cells, &samples);
    Ok(())
}

fn measure(
    cluster: &mut LocalCluster,
    op: &str,
    clients: u32,
    seconds: u32,
    value_size: u32,
) -> Result<Sample> {
    let (cpu_before, syncs_before) = (server_cpu(cluster)?, leader_syncs(cluster)?);
    let (clients, seconds, value_size) = (
        clients.to_string(),
        seconds.to_string(),
        value_size.to_string(),
    );
    let client = cluster.client().with_timeout(Duration::from_secs(30));
    let (warm_up, keys) = (WARM_UP_SECONDS.to_string(), KEYS.to_string());
    let report = client.json(&[
        "bench",
        "--op",
        op,
        "--clients",
        &clients,
        "--seconds",
        &seconds,
        "--value-size",
        &value_size,
        "--warm-up",
        &warm_up,
        "--keys",
        &keys,
    ])?;
    let number = |key: &str| {
        report
            .get(key)
            .and_then(Value::as_f64)
            .with_context(|| format!("no {key} in {report}"))
    };
    ensure!(
        number("wrong")? == 0.0 && number("errors")? == 0.0,
        "wrong answers or errors: {report}"
    );
    let (cpu, syncs) = (
        server_cpu(cluster)? - cpu_before,
        leader_syncs(cluster)? - syncs_before,
    );
    // What the servers did besides: a second of warm-up, and every key written once.
    let measured = number("seconds")?.max(0.001);
    let ops = number("ops")? * (measured + f64::from(WARM_UP_SECONDS)) / measured + f64::from(KEYS);
    Ok(Sample {
        ops_per_second: number("ops_per_second")?,
        p50_us: number("p50_us")?,
        p99_us: number("p99_us")?,
        server_cpu_us_per_op: cpu * 1e6 / ops,
        leader_syncs_per_op: syncs / ops,
    })
}

/// User and system time of all servers so far, in seconds.
fn server_cpu(cluster: &mut LocalCluster) -> Result<f64> {
    let mut ticks = 0.0;
    for id in cluster.ids() {
        let pid = cluster
            .node(id)?
            .pid()
            .with_context(|| format!("n{id} is down"))?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name, which may hold anything, utime and stime are the 12th and 13th field.
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(11)
            .take(2);
        ticks += fields
            .filter_map(|field| field.parse::<f64>().ok())
            .sum::<f64>();
    }
    // Linux counts them in hundredths of a second on every platform that it tells programs about.
    Ok(ticks / 100.0)
}

fn leader_syncs(cluster: &LocalCluster) -> Result<f64> {
    let members = cluster.client().members()?;
    let leads = |member: &&Value| member.get("role").and_then(Value::as_str) == Some("leader");
    let leader = members.iter().find(leads).context("no node leads")?;
    leader
        .get("syncs")
        .and_then(Value::as_f64)
        .context("the leader does not count its syncs")
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_table(cells: &[(&str, u32)], samples: &[Vec<Sample>]) {
    println!(
        "| op | clients | ops/s (min–max) | p50 µs | p99 µs | servers' CPU µs/op | leader's syncs/op |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for ((op, clients), samples) in cells.iter().zip(samples) {
        let ops = |sample: &Sample| sample.ops_per_second;
        let least = samples.iter().map(ops).fold(f64::INFINITY, f64::min);
        let most = samples.iter().map(ops).fold(0.0, f64::max);
        println!(
            "| {op} | {clients} | {:.0} ({least:.0}–{most:.0}) | {:.0} | {:.0} | {:.1} | {:.4} |",
            median(samples, ops),
            median(samples, |sample| sample.p50_us),
            median(samples, |sample| sample.p99_us),
            median(samples, |sample| sample.server_cpu_us_per_op),
            median(samples, |sample| sample.leader_syncs_per_op),
        );
    }
}
