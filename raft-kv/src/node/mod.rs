//! A node: core, log and network composed, for any [`StateMachine`].
//!
//! What decides is synchronous and knows no clock, file or socket: [`replica`] (the core, the state machine and who waits
//! for what) and [`formation`] (how the first membership comes about). Around it is a thin tokio shell: `driver` (the
//! loop that owns the replica), `disk` (data directory, log writer thread, fetch thread), `peers` and `accept`
//! (connections), `gate` (who may connect), `seed` (what a restored cluster begins with). [`Node`] is the way in for whoever replicates a state machine of their own;
//! [`server`] is the key-value store's.
//!
//! One write's way: [`NodeHandle::propose`] (or a client's connection) → inbox → [`replica::Replica::write`] → an append to each
//! peer and a job to the log writer, both made once for all that came in together → answers → applied here → the ticket's
//! answer.

pub(crate) mod accept;
pub(crate) mod config;
pub(crate) mod disk;
mod driver;
mod exit;
pub mod formation;
pub(crate) mod gate;
mod handle;
pub(crate) mod inbox;
pub(crate) mod launch;
mod machine;
mod peers;
pub mod replica;
pub(crate) mod seed;
pub mod server;
pub(crate) mod snapshot;

pub use config::{COMMAND_BYTES_MAX, NodeConfig, NodeConfigError};
pub use disk::DirectoryError;
pub use exit::{Exit, StartError};
pub use handle::{Node, NodeHandle, NodeReport, ProposeError, ReadError};
pub use machine::{Halt, Image, StateMachine};
pub use replica::FormedDisk;
