//! `cargo xtask sim`: whole clusters in one thread, from one seed. It builds `raft-kv-sim` and hands everything on to it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo;

/// How many seeds CI runs.
const CI_SEEDS: &str = "1000";

/// Seeds beyond those that found something once: `docs/testing.md` says what.
const KEPT: [&str; 5] = ["1386", "1806", "4993", "6891", "8157"];

/// The argument that asks for the known bugs, which have a build of their own.
const MUTANTS: &str = "--mutants";

/// Simulates whole clusters under faults, in an optimized build.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// As `cargo xtask sim --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the simulator and runs it.
///
/// # Errors
/// When it does not build, or finds something.
pub fn run(arguments: &Arguments) -> Result<()> {
    let arguments: Vec<&str> = arguments.arguments.iter().map(String::as_str).collect();
    simulate(&arguments)
}

/// What CI has the time for: the standing seeds, every mark among them; those that found something; that a seed is the same run in every build; and that the
/// known bugs are found.
pub(crate) fn ci() -> Result<()> {
    simulate(&["--seeds", CI_SEEDS, "--marks"])?;
    for seed in KEPT {
        simulate(&["--first", seed, "--seeds", "1"])?;
    }
    let hashes = ["--hashes", "--seeds", "2"];
    let optimized = printed(simulator("search").args(hashes))?;
    let again = printed(simulator("search").args(hashes))?;
    let plain = printed(simulator("dev").args(hashes))?;
    ensure!(
        optimized == again && optimized == plain,
        "a seed is another run in another build: optimized\n{optimized}again\n{again}not optimized\n{plain}"
    );
    println!("   the same runs twice, and without optimization");
    simulate(&[MUTANTS])
}

fn simulate(arguments: &[&str]) -> Result<()> {
    let mut command = simulator("search");
    if arguments.contains(&MUTANTS) {
        cargo::with_mutants(&mut command);
    }
    command.args(arguments);
    if let Some(commit) = commit() {
        command.env("RAFT_COMMIT", commit);
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(
        status.success(),
        "the simulator ended with {status}; see above"
    );
    Ok(())
}

/// The command that builds the simulator and runs it, up to its arguments.
fn simulator(profile: &str) -> Command {
    let mut command = cargo::command(&["run", "--quiet", "--profile", profile]);
    command.args([
        "--package",
        "raft-kv",
        "--features",
        "sim",
        "--bin",
        "raft-kv-sim",
        "--",
    ]);
    command
}

fn printed(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "the simulator ended with {}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The commit that is built, if this is a git checkout.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(cargo::workspace_root())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
