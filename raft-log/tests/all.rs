//! The tests of the log, as one program: a program each would compile and link the same harness some thirty times over.
//!
//! `cargo test -p raft-log --test all damage_cases::` runs one file's. A test has a program of its own, named in `Cargo.toml`, only where it
//! measures the whole process: its memory, its open files.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail so"
)]

mod harness;

mod basic;
mod concurrent;
mod conformance;
mod corpus;
mod crash;
mod crash_careless;
mod crash_full;
mod damage;
mod damage_cases;
mod damage_real;
mod faults;
mod full_disk;
mod highest_index;
mod inspect;
mod lying_disk;
mod model;
mod old_content;
mod reader_outlives;
mod recycle;
mod reopen;
mod settle;
mod sim_disk;
mod snapshot;
mod snapshot_damage;
mod strace;
mod tail;
mod terminator;
mod writer;
mod writer_crash;
mod writer_full;
mod writer_panic;
