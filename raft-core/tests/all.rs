//! The tests of the core, as one program: a program each would compile and link the same harness again.
//!
//! `cargo test -p raft-core --test all golden::` runs one file's. A test has a program of its own, named in `Cargo.toml`, only where it
//! measures the whole process, or is run in another way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail so"
)]

mod attack;
mod harness;

mod bootstrap_from;
mod contradictions;
mod examples;
mod golden;
mod half_cut;
mod hostile;
mod properties;
mod random;
mod slow_links;
