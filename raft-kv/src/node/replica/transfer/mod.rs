//! How a snapshot's file gets from a leader to a follower: offered, sent in pieces, acknowledged piece by piece, and gone on with after
//! any interruption where it stopped, by whoever leads then, if the file is the same to the last byte.
//!
//! ```text
//! leader                       follower
//! Offer ────────────────────►  has it, or knows all that it covers to be committed: Have(all)
//!                              has a part of this very file: Ready(from there)
//! Chunk, Chunk, Chunk ──────►  written: Have(so much); one is missing: Want(that one)
//! (a window of them)
//!                              durable, with its name: Have(all)
//! SnapshotRequest ──────────►  the core's message; now there is something to install
//! ```
//!
//! Everything may be lost, repeated or late. The leader asks again by its offer, which is always answered while it leads. An offer comes behind
//! the pieces that were sent before it, and says how far those went: so its answer tells what is lost from what is only late.
//!
//! Guards: the core's request goes out only after the follower has said that its file is whole and durable; what is under way is at most
//! a window; no piece is written but the one that is next.

mod receive;
mod send;
#[cfg(test)]
mod tests;

pub(super) use receive::{Receiving, Taken};
pub(super) use send::Sending;
