//! The development commands behind `cargo xtask`, as a library so that the process tests use the same parts.
//!
//! It links none of the workspace's crates: it builds and runs their binaries, so that `cargo xtask cluster` starts
//! fast and a test sees exactly what a user runs.

pub mod bench;
pub mod cargo;
pub mod chaos;
pub mod ci;
pub mod cluster;
pub mod local;
pub mod random;
pub mod search;
pub mod sim;
