//! Whole clusters in one thread, from one seed: the real core, log, formation, replica, store, wire, connections and clients, on
//! simulated disks, networks and clocks, under faults; far faster than life, and the same every time.
//!
//! [`run_kv`] runs the key-value store. [`linearizability`] checks what clients saw, of the store or of any other machine.

mod agenda;
mod app;
mod check;
mod clock;
mod faults;
mod host;
mod kv;
pub mod linearizability;
mod marks;
mod nemesis;
mod net;
mod observed;
mod peers;
mod process;
mod random;
mod run;
mod setup;
mod trace;
mod wires;
mod world;

pub use agenda::Time;
pub use check::Violation;
pub use faults::{Fault, Faults, UnknownFault};
pub use kv::run_kv;
pub use marks::{Mark, Marks};
pub use run::Report;
pub use setup::{Setup, Tuning};
pub use trace::{Happening, NodeState, Record};
