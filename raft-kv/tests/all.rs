//! The tests of the node, the store, the client and the simulator, as one program: a program each would link everything some twenty
//! times over.
//!
//! `cargo test -p raft-kv --test all store_sessions::` runs one file's. A test has a program of its own, named in `Cargo.toml`, only where it
//! measures the whole process: its memory.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail so"
)]

mod binary;
mod linearizability_harness;
mod replica_harness;
mod store_machine;
mod wire_samples;

mod backup;
mod client_property;
mod linearizability_brute_force;
mod linearizability_histories;
mod linearizability_revisions;
mod linearizability_store;
mod log_binary;
mod node_embedded;
mod node_snapshots;
mod replica_crash;
mod replica_formation;
mod replica_membership;
mod replica_tickets;
mod replica_upgrade;
mod serve_binary;
mod serve_cluster;
mod sim;
mod store_coordination;
mod store_door;
mod store_model;
mod store_operations;
mod store_sessions;
mod store_snapshot;
mod wire_golden;
mod wire_roundtrip;
