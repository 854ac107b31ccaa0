//! What clients do, as the trace has it.

use super::judge::describe;
use crate::api::{KeyRange, Operation, Request};
use crate::client::machine::{Ask, End};
use crate::sim::trace::{Happening, Outcome};

/// A client wants something.
pub(super) fn asked(client: usize, operation: usize, ask: &Ask) -> Happening {
    let what = match ask {
        Ask::Write(write) => write_in_words(write),
        Ask::Read { query, .. } => format!("get {}", keys_in_words(&query.keys)),
        Ask::Status { address } => format!("status of {address}"),
        Ask::Admin { address, admin } => format!("{admin:?} at {address}"),
        Ask::Backup { address, .. } => format!("backup of {address}"),
    };
    Happening::Asked {
        client,
        operation,
        what,
    }
}

/// A client's operation has ended.
pub(super) fn ended(client: usize, operation: usize, ask: &Ask, end: &End) -> Happening {
    let outcome = match end {
        End::Answered { .. } => Outcome::Answered,
        End::NotApplied(_) => Outcome::NotApplied,
        End::Unknown(_) => Outcome::Unknown,
    };
    Happening::Answered {
        client,
        operation,
        outcome,
        what: describe(ask, end),
    }
}

/// What a write is known by, all the way to where it is applied.
pub(super) fn write_id(request: &Request) -> Option<(u64, u64)> {
    match request {
        Request::Write(command) if command.session > 0 => Some((command.session, command.sequence)),
        _ => None,
    }
}

fn write_in_words(write: &Operation) -> String {
    let (verb, keys, conditions) = match write {
        Operation::Put {
            key, conditions, ..
        } => ("put", KeyRange::Key(key.clone()), conditions.len()),
        Operation::Delete {
            keys, conditions, ..
        } => ("delete", keys.clone(), conditions.len()),
        other => return format!("{other:?}"),
    };
    let condition = if conditions > 0 { " if" } else { "" };
    format!("{verb} {}{condition}", keys_in_words(&keys))
}

fn keys_in_words(keys: &KeyRange) -> String {
    match keys {
        KeyRange::Key(key) => String::from_utf8_lossy(key).into_owned(),
        KeyRange::Prefix(prefix) => format!("{}*", String::from_utf8_lossy(prefix)),
        KeyRange::Range(from, to) => format!(
            "{}..{}",
            String::from_utf8_lossy(from),
            String::from_utf8_lossy(to.as_deref().unwrap_or_default())
        ),
    }
}
