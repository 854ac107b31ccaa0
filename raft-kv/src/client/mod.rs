//! The client: finds the leader and follows it, and tells apart what was applied, what surely was not, and what is not
//! known.
//!
//! - [`Client`] is what programs use; `driver` is the task behind it.
//! - [`machine`] decides everything, without sockets or clock, so that a simulator can run it.
//!
//! # Promises
//!
//! - A write is applied at most once, however often it was sent: each has a number in a session (thesis §6.3).
//! - [`WriteError::NotApplied`] means that the write was not applied and never will be. Where that cannot be said, the
//!   error is [`WriteError::Unknown`].
//! - Every request ends by its deadline.
//! - Reads are linearizable, unless asked to be stale; and even those never go back behind what this client has seen.
//! - Requests that run at the same time may be carried out in any order.

mod admin;
mod backup;
mod driver;
mod failure;
#[cfg(any(test, feature = "sim"))]
pub mod fake;
mod handle;
pub mod machine;
#[cfg(raft_kv_next)]
mod next;
mod read;
mod status;
#[cfg(test)]
mod tests;
mod write;

pub use admin::AdminError;
pub use backup::{BackupFailure, BackupStream};
pub use failure::{Cause, EndpointAnswer, EndpointReport, Failure};
pub use handle::{Client, ConnectError, Options};
pub use read::{Found, Get, Listed, Range, ReadError};
pub use status::{Member, Overview};
pub use write::{Delete, Deleted, Put, RequestFuture, WriteError, WriteRefusal, Written};
