//! The command line.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use raft_kv::sim::{Faults, Setup};

/// Simulates whole clusters, each in one thread and from one seed, under faults, and checks everything.
///
/// A seed stands for a whole run: how many nodes and clients, which settings, which faults, and all chance. The same seed is the same
/// run, to the last event. Without --seed, seeds are run one after the other on all cores.
#[derive(Parser, Clone, Debug)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
pub struct Arguments {
    /// Run this seed alone, and show how it went
    #[arg(long, value_name = "S", value_parser = seed)]
    pub seed: Option<u64>,
    /// How many seeds to run [default: 100; with --minutes: no limit]
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    pub seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "S", default_value = "1", value_parser = seed, conflicts_with = "seed")]
    pub first: u64,
    /// Stop after so many minutes
    #[arg(long, value_name = "M", conflicts_with = "seed")]
    pub minutes: Option<f64>,
    /// Write down here what was done, and go on from what stands here
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    pub resume: Option<PathBuf>,
    /// So many runs at the same time [default: one a core]
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    pub jobs: Option<usize>,
    /// Fail when a mark was never hit
    #[arg(long, conflicts_with = "seed")]
    pub marks: bool,
    /// So many nodes [default: 1, 3 or 5, by the seed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: Option<u8>,
    /// So many clients [default: by the seed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub clients: Option<u8>,
    /// Only these classes of faults, of those that the seed draws: `all`, `none`, or names with commas; `all,-rot` is all but one
    #[arg(
        long,
        value_name = "LIST",
        default_value = "all",
        allow_hyphen_values = true
    )]
    pub faults: Faults,
    /// These classes of faults, whatever the seed draws
    #[arg(long, value_name = "LIST", conflicts_with = "faults")]
    pub exactly: Option<Faults>,
    /// For how many seconds faults come, in virtual time
    #[arg(long, value_name = "SECONDS")]
    pub horizon: Option<f64>,
    /// Write the trace here, one JSON object a line
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub trace: Option<PathBuf>,
    /// Write the run here, as a diagram to look at in a browser
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub html: Option<PathBuf>,
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
    pub fn setup(&self, seed: u64) -> Setup {
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
        if let Some(seconds) = self.horizon {
            setup.horizon = Duration::try_from_secs_f64(seconds).unwrap_or(setup.horizon);
        }
        setup
    }

    /// The command that runs a seed again.
    pub fn replay(&self, seed: u64) -> String {
        let mut command = format!("cargo xtask sim --seed {seed}");
        let mut add = |text: String| {
            // Writing to a string cannot fail.
            let _ = write!(command, " {text}");
        };
        if let Some(nodes) = self.nodes {
            add(format!("--nodes {nodes}"));
        }
        if let Some(clients) = self.clients {
            add(format!("--clients {clients}"));
        }
        if self.faults != Faults::ALL {
            add(format!("--faults {}", self.faults));
        }
        if let Some(faults) = self.exactly {
            add(format!("--exactly {faults}"));
        }
        if let Some(horizon) = self.horizon {
            add(format!("--horizon {horizon}"));
        }
        command
    }
}
