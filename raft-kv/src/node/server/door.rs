//! What is checked before a request reaches the loop: so that the loop, and every replica's apply, meets only what is
//! well-formed and within the limits.

use bytes::Bytes;
use raft_core::Index;

use super::answer::{Asking, REPLY_BYTES_MAX};
use super::backup::PIECE_BYTES;
use crate::api::{Admin, Command, Question, RequestError, Watch, Watched};
use crate::mutants::{Mutant, mutant};
use crate::node::replica::Freshness;
use crate::store::{Limits, validate_command, validate_lock, validate_query, validate_range};
use crate::wire::{self, DecodeError, Incoming};

/// A payload below this is copied out of the buffer that it came in: the log keeps it for long, and a small slice would keep
/// a large buffer alive.
const COPY_BELOW_BYTES: usize = 1024;

/// How much memory a range's reply may take. Small key-values take up to twice what they count in a reply.
const RANGE_REPLY_BYTES: usize = 2 * REPLY_BYTES_MAX;

/// A request that may go to the loop.
pub(crate) enum Admitted {
    Write(Bytes),
    Read {
        asking: Asking,
        freshness: Freshness,
        min_applied: Index,
    },
    Status,
    Admin(Admin),
    Backup {
        id: u64,
        offset: u64,
    },
    Watch(Watch),
    Unwatch {
        request: u64,
    },
}

impl Admitted {
    /// How much memory the reply may take beyond what every reply does. A single key's value is shared with the store.
    pub(crate) fn reply_bytes(&self) -> usize {
        match self {
            Self::Read { asking, .. } if asking.is_long() => RANGE_REPLY_BYTES,
            Self::Backup { .. } => PIECE_BYTES,
            _ => 0,
        }
    }
}

/// Decodes and checks a request. `in_force` is the cluster version.
pub(crate) fn admit(limits: &Limits, in_force: u16, body: Bytes) -> Result<Admitted, RequestError> {
    match wire::decode_request(body).map_err(unreadable)? {
        Incoming::Write { payload, command } => {
            check_command(limits, in_force, &payload, &command)?;
            let small = payload.len() < COPY_BELOW_BYTES;
            Ok(Admitted::Write(if small {
                Bytes::copy_from_slice(&payload)
            } else {
                payload
            }))
        }
        Incoming::Read {
            query,
            stale,
            min_applied,
        } => {
            validate_query(&query, limits)?;
            let freshness = if stale {
                Freshness::Stale
            } else {
                Freshness::Linearizable
            };
            Ok(Admitted::Read {
                asking: Asking::Query(query),
                freshness,
                min_applied: Index(min_applied),
            })
        }
        Incoming::Status => Ok(Admitted::Status),
        Incoming::Admin(admin) => Ok(Admitted::Admin(admin)),
        Incoming::Backup { id, offset } => Ok(Admitted::Backup { id, offset }),
        Incoming::Ask(question) => {
            validate_question(&question, limits)?;
            Ok(Admitted::Read {
                asking: Asking::Question(question),
                freshness: Freshness::Linearizable,
                min_applied: Index::ZERO,
            })
        }
        Incoming::Watch(watch) => {
            match &watch.watched {
                Watched::Keys(keys) => validate_range(keys, limits)?,
                Watched::Lock(lock) => validate_lock(lock, limits)?,
            }
            Ok(Admitted::Watch(watch))
        }
        Incoming::Unwatch { request } => Ok(Admitted::Unwatch { request }),
    }
}

fn validate_question(question: &Question, limits: &Limits) -> Result<(), RequestError> {
    match question {
        Question::Lock { lock, .. } => validate_lock(lock, limits),
        Question::Lease { .. } | Question::Leases { .. } | Question::KeepAlive { .. } => Ok(()),
    }
}

fn check_command(
    limits: &Limits,
    in_force: u16,
    payload: &Bytes,
    command: &Command,
) -> Result<(), RequestError> {
    // A command of a later cluster version would stop every node that applies it: it must not come into the log.
    let needed = wire::command_header(payload)
        .map_err(unreadable)?
        .cluster_version;
    if needed > in_force && !mutant(Mutant::WritesBeforeRaise) {
        return Err(RequestError::Invalid(format!(
            "the command needs cluster version {needed}, and {in_force} is in force; upgrade every node first"
        )));
    }
    validate_command(command, limits)
}

fn unreadable(error: DecodeError) -> RequestError {
    RequestError::Invalid(format!("the request cannot be read: {error}"))
}
