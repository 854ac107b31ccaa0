//! `cargo xtask chaos`: faults on a real cluster under load, and a check of what it promised.

mod ledger;
mod load;
mod scenario;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::cargo::Binaries;
use crate::local::{Echo, LocalCluster, Settings, free_ports};
use crate::random::Random;

pub use ledger::{Ledger, Outcome, Verdict, Write};
pub use load::Load;
pub use scenario::{Gaps, grow_and_shrink, kill_all, kill_leaders, lag_behind};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Breaks a real cluster while clients write to it, and checks every promise it made.
///
/// Writers run through `raft-cli shell`. In the end each acknowledged write has to be there, each refused one must not,
/// and none may have been applied twice: the version of a key counts its writes.
#[derive(Args)]
pub struct Arguments {
    /// What to break
    #[arg(value_enum, default_value_t = What::Leader)]
    what: What,
    /// How often to kill
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// How many writes a node has to catch up on (`lag`)
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    writes: u64,
    /// How many clients write at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    writers: u8,
    /// The servers' election timeout T in milliseconds; their heartbeat is a tenth of it
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    election_timeout: u64,
    /// Repeats a run's choices
    #[arg(long)]
    seed: Option<u64>,
    /// Build with optimisations: for figures that are worth writing down
    #[arg(long)]
    release: bool,
    /// Show what the servers write
    #[arg(long)]
    logs: bool,
}

/// What a run breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Kill the leader with SIGKILL, again and again; report how long writes stood still
    Leader,
    /// Kill all nodes at once, and start them again
    All,
    /// Keep one node down for many writes, and let it catch up
    Lag,
    /// From one node to three, to five, and back to three, nodes killed meanwhile
    Grow,
}

/// Builds, starts three nodes in a temporary folder, breaks them, and checks.
///
/// # Errors
/// When a promise was broken, writes stood still longer than they may, or something is in the way of the run.
pub fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(Random::fresh_seed);
    let binaries = Binaries::build(arguments.release)?;
    let folder = tempfile::tempdir()?;
    let timeout = Duration::from_millis(arguments.election_timeout);
    let mut cluster = LocalCluster::new(Settings {
        binaries,
        data_dir: folder.path().to_path_buf(),
        nodes: match arguments.what {
            What::Grow => 1,
            _ => 3,
        },
        ports: free_ports(5)?,
        serve_arguments: election_arguments(timeout),
        forwarded: true,
        echo: if arguments.logs {
            Echo::Plain
        } else {
            Echo::Off
        },
    })?;
    println!(
        "seed {seed}; T = {timeout:?}; {} writers",
        arguments.writers
    );
    let outcome = start_and_break(&mut cluster, arguments, timeout, &mut Random::new(seed));
    if outcome.is_err() {
        eprint!("{}", cluster.journals(30));
    }
    cluster.stop_all(STOP_WITHIN, || false)?;
    outcome
}

fn start_and_break(
    cluster: &mut LocalCluster,
    arguments: &Arguments,
    timeout: Duration,
    random: &mut Random,
) -> Result<()> {
    cluster.start_all()?;
    cluster.wait_ready(READY_WITHIN)?;
    match arguments.what {
        What::Leader => {
            let (gaps, verdict) =
                kill_leaders(cluster, arguments.kills, arguments.writers, random)?;
            println!("{verdict}");
            let (median, longest) = (gaps.median(), gaps.longest());
            let in_timeouts = |gap: Duration| gap.as_secs_f64() / timeout.as_secs_f64();
            println!(
                "writes stood still: median {:.2} s = {:.1} T (at most 2 T), longest {:.2} s = {:.1} T (at most 5 T)",
                median.as_secs_f64(),
                in_timeouts(median),
                longest.as_secs_f64(),
                in_timeouts(longest)
            );
            ensure!(
                median <= timeout * 2 && longest <= timeout * 5,
                "writes stood still longer than they may"
            );
        }
        What::All => println!(
            "{}",
            kill_all(cluster, arguments.kills, arguments.writers, random)?
        ),
        What::Grow => println!("{}", grow_and_shrink(cluster, arguments.writers, random)?),
        What::Lag => println!(
            "{}",
            lag_behind(cluster, arguments.writes, arguments.writers)?
        ),
    }
    Ok(())
}

/// The flags of `raft-kv serve` for an election timeout, with a heartbeat of a tenth, in the servers' steps of 10 ms.
#[must_use]
pub fn election_arguments(timeout: Duration) -> Vec<String> {
    let heartbeat = (timeout.as_millis() / 100 * 10).max(10);
    let election = timeout.as_millis();
    [
        "--election-timeout".to_owned(),
        format!("{election}ms"),
        "--heartbeat".to_owned(),
        format!("{heartbeat}ms"),
    ]
    .to_vec()
}
