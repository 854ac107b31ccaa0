//! A replicated key-value store for coordination, and a way to replicate any state machine of one's own: raft-core,
//! raft-log and raft-net-tcp composed into a running node.
//!
//! # Replicating a state machine of one's own
//!
//! Implement [`node::StateMachine`], start a node on each machine, and propose:
//!
//! ```no_run
//! use std::io::{self, Read};
//!
//! use bytes::Bytes;
//! use raft_core::LogId;
//! use raft_kv::node::{Halt, Image, Node, NodeConfig, StateMachine};
//!
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Output = u64;
//!
//!     fn apply(&mut self, _at: LogId, command: &Bytes) -> Result<u64, Halt> {
//!         self.0 += command.len() as u64;
//!         Ok(self.0)
//!     }
//!
//!     fn image(&self) -> Image {
//!         let state = self.0;
//!         Image::new(move |out| out.write_all(&state.to_le_bytes()))
//!     }
//!
//!     fn empty(&self) -> Self {
//!         Self::default()
//!     }
//!
//!     fn restore(&mut self, _at: LogId, from: &mut dyn Read) -> io::Result<()> {
//!         let mut state = [0; 8];
//!         from.read_exact(&mut state)?;
//!         self.0 = u64::from_le_bytes(state);
//!         Ok(())
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = [(1, "127.0.0.1:7301".into()), (2, "127.0.0.1:7302".into()), (3, "127.0.0.1:7303".into())];
//! let node = Node::start(NodeConfig::new(1, "data/1", cluster.into()), Counter::default()).await?;
//! let count = node.propose(Bytes::from_static(b"+++")).await?;
//! assert_eq!(node.read(|counter| counter.0).await?, count);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/counter.rs` runs all three in one process.
//!
//! # Map
//!
//! - [`node`]: drives core, log and network for any state machine. What decides in it is synchronous
//!   ([`node::replica`], [`node::formation`]); the tokio shell around it is thin. [`node::server`] serves clients of the store.
//! - [`glue`]: the one file that converts between core, log, network and wire, none of which knows another.
//! - [`store`]: the key-value state machine.
//! - [`backup`]: a cluster's whole state in a file, and the new cluster that begins with it.
//! - [`wire`]: versioned encodings of messages, entries, requests.
//! - [`api`]: what a client may ask and what it is answered, as plain data.
//! - [`client`]: finds the leader, follows it, and tells applied, surely not applied and unknown apart.
//! - `sim` (feature `sim`): whole clusters in one thread, from one seed; and a checker for linearizability.
//! - [`release`]: what this release is called, what it speaks and what it follows.
//! - [`base64`]: bytes that are no text, for people and JSON.
//! - `bin/raft-kv`: the server, and a look into a stopped node's log.

pub mod api;
pub mod backup;
pub mod base64;
pub mod client;
pub mod glue;
#[cfg(not(raft_mutants))]
mod mutants;
#[cfg(raft_mutants)]
pub mod mutants;
pub mod node;
pub mod release;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod wire;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
