//! `cargo xtask search`: every state of a small cluster of the real core, and the known bugs that such a search has to find.
//!
//! It builds `raft-core/tests/search` and runs it: as it is for the states, and with the bugs compiled in for the guards.

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::cargo;

/// Searches all states of a small cluster, in an optimized build.
#[derive(Args)]
pub struct Arguments {
    /// How far [default: full, or nothing with --guards]
    #[arg(long)]
    bound: Option<Bound>,
    /// Known bugs, one at a time: the search has to find each
    #[arg(long)]
    guards: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bound {
    /// All faults in one search of three terms: 110 million states, an hour, 9 GiB of memory
    Combined,
    /// Minutes
    Full,
    /// Seconds
    Ci,
}

/// Runs the chosen searches.
///
/// # Errors
/// When one does not build, finds something that is broken, or does not find a known bug.
pub fn run(arguments: &Arguments) -> Result<()> {
    let bound = match arguments.bound {
        None if arguments.guards => None,
        bound => Some(bound.unwrap_or(Bound::Full)),
    };
    match bound {
        Some(Bound::Combined) => search(&["--bound", "combined"], false)?,
        Some(Bound::Full) => search(&["--bound", "full"], false)?,
        Some(Bound::Ci) => search(&["--bound", "ci"], false)?,
        None => {}
    }
    if arguments.guards {
        search(&["--guards"], true)?;
    }
    Ok(())
}

/// What CI has the time for: small bounds, and all guards.
pub(crate) fn ci() -> Result<()> {
    run(&Arguments {
        bound: Some(Bound::Ci),
        guards: true,
    })
}

fn search(arguments: &[&str], mutants: bool) -> Result<()> {
    let mut command = cargo::command(&["test", "--profile", "search", "--package", "raft-core"]);
    command.args(["--test", "search"]);
    if mutants {
        cargo::with_mutants(&mut command);
    }
    let status = command
        .arg("--")
        .args(arguments)
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "the search ended with {status}; see above"
    );
    Ok(())
}
