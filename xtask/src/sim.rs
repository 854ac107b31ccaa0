//! `cargo xtask sim`: whole clusters in one thread, from one seed. It builds `raft-kv-sim` and hands everything on to it.

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo;

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
    let mut command = cargo::command(&["run", "--quiet", "--release", "--package", "raft-kv"]);
    command.args(["--features", "sim", "--bin", "raft-kv-sim", "--"]);
    command.args(&arguments.arguments);
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

/// The commit that is built, if this is a git checkout.
fn commit() -> Option<String> {
    let output = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(cargo::workspace_root())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
