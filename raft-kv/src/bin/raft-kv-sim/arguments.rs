//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use raft_kv::sim::{Faults, Occurrence, Setup, UnknownFault};

/// Simulates whole clusters, each in one thread and from one seed, under faults, and checks everything.
///
/// A seed stands for a whole run: how many nodes and clients, which settings, which faults, and all chance. The same seed is the same
/// run, to the last event. Without --seed, seeds are run one after the other on all cores.
#[derive(Parser, Clone, Debug)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
pub(crate) struct Arguments {
    /// Run this seed alone, and show how it went
    #[arg(long, value_name = "S", value_parser = seed)]
    pub(crate) seed: Option<u64>,
    /// How many seeds to run [default: 100; with --minutes: no limit]
    #[arg(long, value_name = "N", conflicts_with = "seed", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "S", default_value = "1", value_parser = seed, conflicts_with = "seed")]
    pub(crate) first: u64,
    /// Stop after so many minutes
    #[arg(long, value_name = "M", conflicts_with = "seed")]
    pub(crate) minutes: Option<f64>,
    /// Write down here what was done, and go on from what stands here
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    pub(crate) resume: Option<PathBuf>,
    /// So many runs at the same time [default: one a core]
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    pub(crate) jobs: Option<usize>,
    /// Print each seed's hash, and nothing else: the same everywhere, in every build
    #[arg(long, conflicts_with_all = ["seed", "resume", "minutes"])]
    pub(crate) hashes: bool,
    /// Known bugs instead, one at a time: each has to be found. Without names, all of them; with --seed, this seed with this bug
    #[arg(long, value_name = "NAME", num_args = 0.., conflicts_with_all = ["seeds", "minutes", "resume", "hashes"])]
    pub(crate) mutants: Option<Vec<String>>,
    /// Fail when a mark was never hit
    #[arg(long, conflicts_with = "seed")]
    pub(crate) marks: bool,
    /// So many nodes [default: 1, 3 or 5, by the seed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) nodes: Option<u8>,
    /// So many clients [default: by the seed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) clients: Option<u8>,
    /// Only these classes of faults, of those that the seed draws: `all`, `none`, or names with commas; `all,-rot` is all but one
    #[arg(
        long,
        value_name = "LIST",
        default_value = "all",
        allow_hyphen_values = true
    )]
    pub(crate) faults: Faults,
    /// These classes of faults, whatever the seed draws
    #[arg(long, value_name = "LIST", conflicts_with = "faults")]
    pub(crate) exactly: Option<Faults>,
    /// Only these faults, of those that come at moments: as --shrink prints them, like `kill.0,power.3`, or `none`
    #[arg(long, value_name = "LIST", value_parser = only)]
    pub(crate) only: Option<Only>,
    /// How many of the last events a failure shows
    #[arg(long, value_name = "N", default_value = "40")]
    pub(crate) last: usize,
    /// If it fails, look for a smaller run that fails in the same way
    #[arg(long, requires = "seed")]
    pub(crate) shrink: bool,
    /// For how many seconds faults come, in virtual time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) horizon: Option<Duration>,
    /// Write the trace here, one JSON object a line
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub(crate) trace: Option<PathBuf>,
    /// Write the run here, as a diagram to look at in a browser
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub(crate) html: Option<PathBuf>,
}

/// A list of faults.
#[derive(Clone, Debug)]
pub(crate) struct Only(pub Vec<Occurrence>);

fn only(text: &str) -> Result<Only, UnknownFault> {
    if text == "none" {
        return Ok(Only(Vec::new()));
    }
    text.split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map(Only)
}

/// Up to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number of seconds")?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(3600))
        .ok_or_else(|| "from 0 to 3600 seconds".into())
}

/// A seed in decimal, or as 0x….
fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{error}; a seed is a number, like 17 or 0x11"))
}

impl Arguments {
    /// The run that a seed stands for.
    pub(crate) fn setup(&self, seed: u64) -> Setup {
        let mut setup = Setup::draw(seed);
        setup.faults = match self.exactly {
            Some(faults) => faults,
            None => setup.faults.and(self.faults),
        };
        if let Some(nodes) = self.nodes {
            setup.nodes = nodes.into();
        }
        if let Some(clients) = self.clients {
            setup.clients = clients.into();
        }
        setup.only = self.only.as_ref().map(|only| only.0.clone());
        if let Some(seconds) = self.horizon {
            setup.horizon = seconds;
        }
        setup
    }
}
