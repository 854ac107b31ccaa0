//! What a whole cluster does a second, beside etcd: three nodes of each on this machine, in turns, under the same closed loop.
//!
//! Nothing is judged: the tables are for a person. Run it by `cargo xtask bench cluster`.

mod backend;
mod catch_up;
mod cells;
mod cluster;
mod failover;
mod limits;
mod load;
mod plot;
mod process;
mod report;
mod restart;
mod results;
mod run;
mod system;
mod value;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::cells::Group;
use crate::cluster::Programs;
use crate::load::Op;
use crate::results::Results;
use crate::run::Run;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measures clusters
    Run(RunArguments),
    /// A process that syncs, for the limits of the machine
    SyncWorker { file: PathBuf, millis: u64 },
    /// A process that echoes, for the limits of the machine
    EchoWorker { address: String },
}

#[derive(Args)]
struct RunArguments {
    /// The program raft-kv
    #[arg(long)]
    raft_kv: PathBuf,
    /// The program etcd; without it only raft-kv is measured
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// The directory on whose disk the servers write
    #[arg(long)]
    dir: PathBuf,
    /// The file to which each measurement is appended as a line of JSON
    #[arg(long)]
    results: PathBuf,
    /// Where the plot is written
    #[arg(long)]
    plot: PathBuf,
    /// Which source raft-kv was built from: figures of two builds do not go into one file
    #[arg(long)]
    build: String,
    #[arg(long)]
    rounds: u32,
    /// Seconds before each measurement
    #[arg(long)]
    warm_up: f64,
    /// Seconds of each measurement
    #[arg(long)]
    seconds: f64,
    #[arg(long, value_delimiter = ',')]
    clients: Vec<u32>,
    #[arg(long, value_delimiter = ',', value_parser = ["put", "get", "mix"])]
    ops: Vec<String>,
    #[arg(long)]
    keys: u32,
    #[arg(long)]
    kills: u32,
    #[arg(long)]
    restart_keys: u32,
    /// What is measured, in this order
    #[arg(long, value_delimiter = ',')]
    parts: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<()> {
    match what {
        What::SyncWorker { file, millis } => {
            limits::sync_worker(&file, Duration::from_millis(millis))
        }
        What::EchoWorker { address } => limits::echo_worker(&address),
        What::Run(arguments) => {
            // All of it runs in this thread but the clients: the kernel ends the servers with the thread that started them.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(measure(&arguments))
        }
    }
}

async fn measure(arguments: &RunArguments) -> Result<()> {
    let programs = Programs {
        raft_kv: arguments.raft_kv.clone(),
        etcd: arguments.etcd.clone(),
    };
    let settings = settings(arguments)?;
    let mut results = Results::open(&arguments.results, &settings)?;
    let (dir, _lock) = run::prepare(&arguments.dir)?;
    let ops = Op::ALL.into_iter();
    let run = Run {
        programs,
        dir,
        rounds: arguments.rounds,
        warm_up: Duration::try_from_secs_f64(arguments.warm_up)?,
        time: Duration::try_from_secs_f64(arguments.seconds)?,
        clients: arguments.clients.clone(),
        ops: ops
            .filter(|op| arguments.ops.iter().any(|name| name == op.name()))
            .collect(),
        keys: arguments.keys,
        kills: arguments.kills,
        restart_keys: arguments.restart_keys,
    };
    run.clear()?;
    for part in &arguments.parts {
        let outcome = measure_part(&run, part, &mut results).await;
        if outcome.is_err() {
            eprintln!("what the servers wrote is left in {}", run.dir.display());
        }
        outcome.with_context(|| format!("part `{part}`"))?;
    }
    run.clear()?;
    print!("{}", report::text(&results));
    if let Some(drawing) = plot::load(&results) {
        std::fs::write(&arguments.plot, drawing)
            .with_context(|| format!("cannot write {}", arguments.plot.display()))?;
        println!("\nplot: {}", arguments.plot.display());
    }
    println!("results: {}", arguments.results.display());
    Ok(())
}

async fn measure_part(run: &Run, part: &str, results: &mut Results) -> Result<()> {
    let groups = match part {
        "limits" => return limits::measure(run, results),
        "failover" => return failover::measure(run, results).await,
        "restart" => return restart::measure(run, results).await,
        "catch-up" => return catch_up::measure(run, results).await,
        "load" => Group::load(run),
        "nodes" => Group::nodes(run),
        "values" => Group::values(run),
        "keys" => Group::keys(run),
        _ => anyhow::bail!("there is no such part"),
    };
    for group in groups {
        group.measure(run, results).await?;
    }
    Ok(())
}

/// What all figures of one file have in common.
fn settings(arguments: &RunArguments) -> Result<Value> {
    let etcd = match &arguments.etcd {
        None => None,
        Some(path) => {
            let output = Command::new(path)
                .arg("--version")
                .output()
                .with_context(|| format!("cannot run {}", path.display()))?;
            let text = String::from_utf8_lossy(&output.stdout);
            let version = text
                .lines()
                .find_map(|line| line.strip_prefix("etcd Version: "));
            let version = version.map(str::to_owned);
            ensure!(
                version.is_some(),
                "{} is no etcd: it does not tell its version",
                path.display()
            );
            version
        }
    };
    Ok(json!({
        "kind": "settings",
        "build": arguments.build,
        "etcd": etcd,
        "warm_up": arguments.warm_up,
        "seconds": arguments.seconds,
        "machine": system::machine(),
    }))
}
