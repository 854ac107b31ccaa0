//! `cargo xtask bench core`: builds and runs `raft-core/bench`, a package of its own, so that the peer that it measures our core
//! against is in no lock file of ours.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo;

/// Where cargo puts what it builds, and where the results are written unless another file is named.
const FOLDER: &str = "target/bench-core";

#[derive(Args)]
pub(super) struct CoreArguments {
    /// How often everything is measured, in turns; the median is printed, and the spread
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each side works in a round, in milliseconds of processor time
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..))]
    millis: u32,
    /// How many commands are proposed at once, a list
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024])]
    batches: Vec<u32>,
    /// Only this part
    #[arg(long, value_parser = ["proposals", "heartbeats"])]
    only: Option<String>,
    /// Only this side, to be watched by a profiler
    #[arg(long, value_parser = ["raft-core", "raft-rs"])]
    side: Option<String>,
    /// The file to which each measurement is appended as a line of JSON [default: target/bench-core/results.jsonl]
    #[arg(long)]
    json: Option<PathBuf>,
    /// Few short rounds: to see that it works
    #[arg(long)]
    quick: bool,
}

/// Builds the bench with optimization and runs it.
pub(super) fn run(arguments: &CoreArguments) -> Result<()> {
    let (rounds, millis) = if arguments.quick {
        (3, 50)
    } else {
        (arguments.rounds, arguments.millis)
    };
    let folder = cargo::workspace_root().join(FOLDER);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let json = match &arguments.json {
        // Cargo runs in the workspace's root, and whoever typed the path perhaps elsewhere.
        Some(path) => std::path::absolute(path)?,
        None => folder.join("results.jsonl"),
    };
    let batches: Vec<String> = arguments.batches.iter().map(u32::to_string).collect();
    let mut command = cargo::command(&["run", "--release", "--locked", "--manifest-path"]);
    command
        .arg("raft-core/bench/Cargo.toml")
        .arg("--target-dir")
        .arg(folder.join("build"))
        .arg("--")
        .arg("--json")
        .arg(json)
        .args(["--rounds", &rounds.to_string()])
        .args(["--millis", &millis.to_string()])
        .args(["--batches", &batches.join(",")]);
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    if let Some(side) = &arguments.side {
        command.args(["--side", side]);
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the bench ended with {status}; see above");
    Ok(())
}
