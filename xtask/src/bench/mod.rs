//! `cargo xtask bench`: what clusters, the log and the core do a second on this machine, as tables to be written down.
//!
//! It measures, and asserts nothing of time: that is for a person, on a quiet machine.

mod catch_up;
mod cluster;
mod core;
mod log;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Measures, in release builds, and prints tables.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Whole clusters on this machine, beside etcd: loads, failover, restart, memory, and what the machine can do at best
    Cluster(cluster::ClusterArguments),
    /// A node is added to a large store, and sent a snapshot, while clients write: what that costs them, and the leader's memory
    CatchUp(catch_up::CatchUpArguments),
    /// The log beside raft-engine and a bare loop of write and fdatasync: writing, opening, reading
    Log(log::LogArguments),
    /// The core beside raft-rs: proposals, allocations, heartbeat rounds, all in memory
    Core(core::CoreArguments),
}

/// Measures what is asked for.
///
/// # Errors
/// When something cannot be started, or an answer was wrong.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Cluster(arguments) => cluster::run(arguments),
        What::CatchUp(arguments) => catch_up::run(arguments),
        What::Log(arguments) => log::run(arguments),
        What::Core(arguments) => core::run(arguments),
    }
}
