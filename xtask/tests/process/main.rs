//! Real clusters of the built binaries, under the faults of real life.
//!
//! Build the binaries first, with `cargo build -p raft-kv -p raft-cli`; `cargo xtask ci` does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod backup;
mod bounds;
mod cluster_command;
mod copied_directory;
mod durability;
mod failover;
mod full_disk;
mod harness;
mod hostile_network;
mod logs;
mod looks;
mod membership;
mod operations;
mod partition;
mod quick_start;
mod refusals;
mod trace;
mod transfers;
mod upgrade;
mod wiped_node;
