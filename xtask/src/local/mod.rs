//! Real clusters on this machine: server processes, the network between them, and a client to ask them with.
//!
//! `cargo xtask cluster`, `cargo xtask chaos` and the process tests all stand on these parts.

mod client;
mod cluster;
mod forwarder;
mod logs;
mod node;
mod poll;
mod ports;

pub use client::{Answer, Client, Shell};
pub use cluster::{LocalCluster, Settings};
pub use forwarder::Forwarder;
pub use logs::{Echo, Journal};
pub use node::{Node, NodeState};
pub use poll::wait_for;
pub use ports::free_ports;
