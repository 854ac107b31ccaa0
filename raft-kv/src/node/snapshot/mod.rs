//! Snapshots of a node: files beside its log, each with the state machine's whole state and what the cluster needs besides.
//!
//! [`shelf`] keeps what is durable until the log marks it; [`work`] is what is done about them, and [`worker`] does it, one thing after
//! another, on [threads](threads) of their own. What is decided
//! is decided in [`replica`](super::replica): when one is taken, who is sent which, and when one takes the place of the state.

pub(crate) mod shelf;
pub(crate) mod threads;
pub(crate) mod work;
pub(crate) mod worker;
