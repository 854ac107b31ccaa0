//! What is checked at the door, before a command is proposed or a query asked. Apply does not check it again: it takes
//! whatever the log holds.

use bytes::Bytes;

use crate::api::{
    Command, Condition, Field, KEY_BYTES_MAX, KeyRange, Operation, Query, RequestError, Step,
    TTL_MS_MAX, TTL_MS_MIN, Transaction, VALUE_BYTES_MAX,
};

/// How many conditions a command may carry.
pub const CONDITIONS_MAX: usize = 64;

/// How many steps either branch of a transaction may have.
pub const STEPS_MAX: usize = 128;

/// The largest value of a claim on a lock, in bytes: it is there to say who holds it.
pub const CLAIM_VALUE_BYTES_MAX: usize = 4 << 10;

/// What a node lets in. It may differ from node to node: only what a leader lets in matters, and apply takes everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest key, in bytes.
    pub key_bytes_max: usize,
    /// The largest value, in bytes.
    pub value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: KEY_BYTES_MAX,
            value_bytes_max: VALUE_BYTES_MAX,
        }
    }
}

/// Checks what no state can mend.
///
/// # Errors
/// [`RequestError::Invalid`] or [`RequestError::TooLarge`]: surely not applied.
pub fn validate_command(command: &Command, limits: &Limits) -> Result<(), RequestError> {
    // Access control is to come; until then nobody speaks for anyone.
    if !command.principal.is_empty() {
        return invalid("a command in someone's name, but this release has no access control");
    }
    validate_session(command)?;
    match &command.operation {
        Operation::RegisterSession | Operation::EndSession => Ok(()),
        Operation::Put {
            key,
            value,
            conditions,
            ..
        } => {
            validate_key(key, limits)?;
            at_most("the value", value.len(), limits.value_bytes_max)?;
            validate_conditions(conditions, limits)
        }
        Operation::Delete {
            keys, conditions, ..
        } => {
            validate_range(keys, limits)?;
            validate_conditions(conditions, limits)
        }
        // From a client it could stop every node of an older release.
        Operation::SetClusterVersion { .. } => invalid(
            "the cluster version is raised by the leader alone, once every member runs a release that follows the next one",
        ),
        #[cfg(raft_kv_next)]
        Operation::Append { key, value } => {
            validate_key(key, limits)?;
            at_most("the value", value.len(), limits.value_bytes_max)
        }
        Operation::Transaction(transaction) => validate_transaction(transaction, limits),
        Operation::Grant {
            ttl_ms: TTL_MS_MIN..=TTL_MS_MAX,
        } => Ok(()),
        Operation::Grant { ttl_ms } => invalid(&format!(
            "a lease of {ttl_ms} ms; {TTL_MS_MIN} to {TTL_MS_MAX} ms are allowed"
        )),
        Operation::Revoke { lease } => validate_lease(*lease),
        Operation::Expire { .. } => {
            invalid("only a leader says that a lease has expired; a client revokes it")
        }
        Operation::Claim {
            lock, lease, value, ..
        } => {
            validate_lock(lock, limits)?;
            validate_lease(*lease)?;
            at_most("the claim's value", value.len(), CLAIM_VALUE_BYTES_MAX)
        }
        Operation::Release { lock, token } => {
            validate_lock(lock, limits)?;
            match token {
                0 => invalid("no claim has the token 0"),
                _ => Ok(()),
            }
        }
        Operation::Compact { revision: 0 } => invalid("there is nothing before revision 0"),
        Operation::Compact { .. } => Ok(()),
    }
}

fn validate_transaction(transaction: &Transaction, limits: &Limits) -> Result<(), RequestError> {
    validate_conditions(&transaction.conditions, limits)?;
    for steps in [&transaction.then, &transaction.otherwise] {
        if steps.len() > STEPS_MAX {
            return invalid(&format!(
                "{} steps; at most {STEPS_MAX} are allowed",
                steps.len()
            ));
        }
        for step in steps {
            validate_step(step, limits)?;
        }
    }
    Ok(())
}

fn validate_step(step: &Step, limits: &Limits) -> Result<(), RequestError> {
    match step {
        Step::Put { key, value, .. } => {
            validate_key(key, limits)?;
            at_most("the value", value.len(), limits.value_bytes_max)
        }
        Step::Delete { keys, .. } => validate_range(keys, limits),
        Step::Get(query) if query.revision != 0 => {
            invalid("a transaction asks of the state as it is, and of no older revision")
        }
        Step::Get(query) => validate_range(&query.keys, limits),
    }
}

fn validate_lease(lease: u64) -> Result<(), RequestError> {
    match lease {
        0 => invalid("there is no lease 0"),
        _ => Ok(()),
    }
}

/// Checks a lock's name.
///
/// # Errors
/// [`RequestError::Invalid`] or [`RequestError::TooLarge`].
pub fn validate_lock(lock: &Bytes, limits: &Limits) -> Result<(), RequestError> {
    if lock.is_empty() {
        return invalid("a lock's name must not be empty");
    }
    at_most("the lock's name", lock.len(), limits.key_bytes_max)
}

/// Checks a query's keys.
///
/// # Errors
/// [`RequestError::Invalid`] or [`RequestError::TooLarge`].
pub fn validate_query(query: &Query, limits: &Limits) -> Result<(), RequestError> {
    validate_range(&query.keys, limits)
}

fn validate_session(command: &Command) -> Result<(), RequestError> {
    match (&command.operation, command.session) {
        (Operation::RegisterSession | Operation::SetClusterVersion { .. }, 0) => Ok(()),
        (Operation::RegisterSession, _) => {
            invalid("a session is registered outside of any session")
        }
        (_, 0) => invalid("a command needs a session"),
        _ if command.sequence == 0 => invalid("a session's commands are numbered from 1"),
        _ if !(1..=command.sequence).contains(&command.first_outstanding) => {
            invalid("first_outstanding must be at least 1 and at most the command's own sequence")
        }
        _ => Ok(()),
    }
}

fn validate_conditions(conditions: &[Condition], limits: &Limits) -> Result<(), RequestError> {
    if conditions.len() > CONDITIONS_MAX {
        return invalid(&format!(
            "{} conditions; at most {CONDITIONS_MAX} are allowed",
            conditions.len()
        ));
    }
    conditions.iter().try_for_each(|condition| match condition {
        Condition::Absent { key } | Condition::ModRevision { key, .. } => validate_key(key, limits),
        Condition::Value { key, value } => {
            validate_key(key, limits)?;
            at_most("a condition's value", value.len(), limits.value_bytes_max)
        }
        Condition::Compare { key, field, .. } => {
            validate_key(key, limits)?;
            match field {
                Field::Value(value) => {
                    at_most("a condition's value", value.len(), limits.value_bytes_max)
                }
                _ => Ok(()),
            }
        }
        Condition::Holds { lock, .. } => validate_lock(lock, limits),
    })
}

/// Checks a range's keys.
///
/// # Errors
/// [`RequestError::Invalid`] or [`RequestError::TooLarge`].
pub fn validate_range(range: &KeyRange, limits: &Limits) -> Result<(), RequestError> {
    match range {
        KeyRange::Key(key) => validate_key(key, limits),
        KeyRange::Prefix(prefix) => at_most("the prefix", prefix.len(), limits.key_bytes_max),
        KeyRange::Range(from, to) => {
            at_most("the range's start", from.len(), limits.key_bytes_max)?;
            to.as_ref().map_or(Ok(()), |to| {
                at_most("the range's end", to.len(), limits.key_bytes_max)
            })
        }
    }
}

fn validate_key(key: &Bytes, limits: &Limits) -> Result<(), RequestError> {
    if key.is_empty() {
        return invalid("a key must not be empty");
    }
    at_most("the key", key.len(), limits.key_bytes_max)
}

fn at_most(what: &str, bytes: usize, max: usize) -> Result<(), RequestError> {
    if bytes <= max {
        return Ok(());
    }
    Err(RequestError::TooLarge {
        what: what.to_owned(),
        bytes: bytes as u64,
        max: max as u64,
    })
}

fn invalid(why: &str) -> Result<(), RequestError> {
    Err(RequestError::Invalid(why.to_owned()))
}
