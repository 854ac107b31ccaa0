//! Whole clusters in one thread, from one seed: the real core, log, formation, replica, store, wire, connections and clients, on
//! simulated disks, networks and clocks, under faults; far faster than life, and the same every time.
//!
//! [`run_kv`] runs the key-value store. [`linearizability`] checks what clients saw, of the store or of any other machine.

#![allow(
    clippy::indexing_slicing,
    reason = "nodes and clients are counted from 0 and never go; a number of none of them is a fault of the simulator, which should end it"
)]

mod agenda;
mod app;
mod check;
mod clock;
mod dials;
mod faults;
mod host;
pub mod html;
mod kv;
pub mod linearizability;
mod marks;
#[cfg(raft_mutants)]
pub mod mutants;
mod nemesis;
mod net;
mod observed;
mod operator;
mod own;
mod peers;
mod process;
mod random;
mod replay;
mod run;
mod says;
mod setup;
mod shrink;
mod snapshots;
mod storage;
mod trace;
pub mod trace_json;
mod upgrade;
mod wires;
mod world;

pub use agenda::Time;
pub use check::Violation;
pub use faults::{Fault, Faults, Occurrence, UnknownFault};
pub use kv::run_kv;
pub use marks::{Mark, Marks};
pub use own::{Workload, run_own};
pub use replay::replay;
pub use run::{Report, keep_panics_quiet};
pub use setup::{Setup, Tuning};
pub use shrink::shrink;
pub use trace::{Happening, NodeState, Outcome, Record};
