//! `cargo xtask bench log`: builds and runs `raft-log/bench`, a package of its own, so that the peers that it measures our log
//! against are in no lock file of ours.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo;

/// Where cargo puts what it builds, and where the logs are written unless another directory is named.
const FOLDER: &str = "target/bench-log";

#[derive(Args)]
pub(super) struct LogArguments {
    /// How often everything is measured, in turns; the median is printed, and the spread
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each contender writes in a round, in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..))]
    millis: u32,
    /// How many entries become durable at once, a list
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024])]
    entries: Vec<u32>,
    /// The size of the log that is opened and read, in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    open_mib: u32,
    /// Only this part
    #[arg(long, value_parser = ["write", "read"])]
    only: Option<String>,
    /// The directory on whose disk it is measured; must not be a tmpfs [default: target/bench-log]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The file to which each measurement is appended as a line of JSON [default: target/bench-log/results.jsonl]
    #[arg(long)]
    json: Option<PathBuf>,
    /// Few short rounds and a small log: to see that it works
    #[arg(long)]
    quick: bool,
}

/// Builds the bench with optimization and runs it.
pub(super) fn run(arguments: &LogArguments) -> Result<()> {
    let (rounds, millis, open_mib) = if arguments.quick {
        (3, 200, 128)
    } else {
        (arguments.rounds, arguments.millis, arguments.open_mib)
    };
    let folder = cargo::workspace_root().join(FOLDER);
    let given = |path: &Option<PathBuf>, default: &str| match path {
        // Cargo runs in the workspace's root, and whoever typed the path perhaps elsewhere.
        Some(path) => std::path::absolute(path),
        None => Ok(folder.join(default)),
    };
    let entries: Vec<String> = arguments.entries.iter().map(u32::to_string).collect();
    let mut command = cargo::command(&["run", "--release", "--locked", "--manifest-path"]);
    command
        .arg("raft-log/bench/Cargo.toml")
        .arg("--target-dir")
        .arg(folder.join("build"))
        .arg("--")
        .arg("--dir")
        .arg(given(&arguments.dir, "data")?)
        .arg("--json")
        .arg(given(&arguments.json, "results.jsonl")?)
        .args(["--rounds", &rounds.to_string()])
        .args(["--millis", &millis.to_string()])
        .args(["--open-mib", &open_mib.to_string()])
        .args(["--entries", &entries.join(",")]);
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the bench ended with {status}; see above");
    Ok(())
}
