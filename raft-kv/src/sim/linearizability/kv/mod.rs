//! This crate's own store, as a machine that does one command after the other, and the check of histories of its clients.
//!
//! Written from what [`crate::api`] promises and not from [`crate::store`], which it is there to judge.
//!
//! Two models. [`StoreModel`] is about all keys and counts revisions itself; ranges, and conditions on other keys than the one
//! written, need it. [`KeyModel`] is about one key and does not know the store's revision, only what the answers say of it; a history
//! of many keys in which every operation is about one of them is checked with it, key by key.

mod evidence;
mod key;
mod key_state;
mod learn;
mod quiet;
mod show;
mod span;
mod store;

use std::collections::BTreeSet;

use bytes::Bytes;

use super::revisions::{Claim, check_missing, check_revisions};
use super::{Line, Operation, Verdict, Violation, check_by_key};
use crate::api::{self, CommandReply, Condition, KeyRange, Query, QueryReply, Revision};

pub use evidence::Evidence;
pub use key::KeyModel;
pub use key_state::KeyState;
pub use store::{StoreModel, StoreState};

/// Up to so many keys are tried together first: it sees more, and counting revisions tells it early what cannot be; but each of its
/// states holds all keys.
const KEYS_TOGETHER_MAX: usize = 32;

/// What is asked of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Carry out a command.
    Write(api::Operation),
    /// Answer a query; a linearizable one, not one that may be stale.
    Read(Query),
}

/// What the store answers. A write that got [`CommandReply::SessionExpired`] has an unknown outcome, and so no output; so has one that got
/// a [`RequestError`](api::RequestError) after any try of it may have been applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// To a write.
    Write(CommandReply),
    /// To a query.
    Read {
        /// What was found.
        reply: QueryReply,
        /// The revision in the [header](api::Header) of the response: the store's when it looked. None where that is not known.
        revision: Option<Revision>,
    },
    /// To a put whose answer never came: what it wrote was seen, with this revision. [`check`] puts it in where it can, and
    /// nobody else needs to.
    Seen {
        /// The revision.
        revision: Revision,
    },
}

/// A history of the store's clients.
pub type History = super::History<Input, Output>;

/// Whether the history is linearizable, found out in at most `budget` steps. It begins with an empty store, and holds every write to
/// it.
///
/// Revisions are checked first, in one pass. Then all keys together with [`StoreModel`], unless they are many; and if that takes more than
/// half of the budget, each key by itself with [`KeyModel`], where every operation is about one key. What that finds good may
/// yet be bad in a way that only shows across keys, and not in the order or number of revisions.
pub fn check(history: &History, budget: u64) -> Verdict {
    let history = learn::learn(history);
    if let Err(violation) = revisions(&history) {
        return Verdict::NotLinearizable(Box::new(violation));
    }
    let evidence = Evidence::of(&history);
    let keys: Result<BTreeSet<Option<Bytes>>, ManyKeys> = history
        .operations()
        .map(|operation| key_of(&operation.input))
        .collect();
    let together = |budget| super::check(&StoreModel::new(evidence.clone()), &history, budget);
    let mut left = budget;
    match keys {
        Err(ManyKeys) => return together(budget),
        Ok(keys) if keys.len() <= KEYS_TOGETHER_MAX => match together(budget / 2) {
            Verdict::Inconclusive { steps } => left -= steps,
            verdict => return verdict,
        },
        Ok(_) => {}
    }
    let key = |input: &Input| key_of(input).ok().flatten();
    match check_by_key(&KeyModel::new(evidence.clone()), &history, key, left) {
        Verdict::Inconclusive { .. } => Verdict::Inconclusive { steps: budget },
        verdict => verdict,
    }
}

fn revisions(history: &History) -> Result<(), Violation> {
    let claims = claims(history);
    let violation = |reason: String, wrong: &[Claim]| Violation {
        reason,
        placed: Vec::new(),
        refused: wrong
            .iter()
            .filter_map(|claim| line(history, claim))
            .collect(),
    };
    check_revisions(&claims)
        .map_err(|wrong| violation(wrong.to_string(), &[wrong.first, wrong.second]))?;
    let unanswered: Vec<u64> = history
        .operations()
        .filter(|operation| matches!(operation.input, Input::Write(_)) && is_unanswered(operation))
        .map(|operation| operation.invoked)
        .collect();
    check_missing(&claims, &unanswered)
        .map_err(|wrong| violation(wrong.to_string(), &[wrong.shown]))
}

/// What the answers of a history say about the store's revision, for [`check_revisions`].
#[must_use]
pub fn claims(history: &History) -> Vec<Claim> {
    let claim = |operation: &Operation<Input, Output>| {
        let (revision, made) = match operation.output()? {
            Output::Write(reply) => match *reply {
                CommandReply::Put { revision, .. } => (revision, true),
                CommandReply::Deleted {
                    count, revision, ..
                } => (revision, count > 0),
                CommandReply::ConditionFailed { revision, .. } => (revision, false),
                _ => return None,
            },
            Output::Read { revision, .. } => ((*revision)?, false),
            Output::Seen { revision } => (*revision, true),
        };
        Some(Claim {
            operation: (operation.client, operation.id.0),
            invoked: operation.invoked,
            returned: operation.returned()?,
            revision,
            made,
        })
    };
    history.operations().filter_map(claim).collect()
}

/// Whether nobody knows which revision it made, if any.
fn is_unanswered(operation: &Operation<Input, Output>) -> bool {
    matches!(
        operation.output(),
        None | Some(Output::Write(CommandReply::Forgotten))
    )
}

fn line(history: &History, claim: &Claim) -> Option<Line> {
    let operation = history.operation(super::OperationId(claim.operation.1))?;
    Some(Line::of(&StoreModel::default(), operation))
}

/// It is about more than one key.
struct ManyKeys;

/// The one key that an operation is about; none when it is about no key at all.
fn key_of(input: &Input) -> Result<Option<Bytes>, ManyKeys> {
    let (key, conditions): (&Bytes, &[Condition]) = match input {
        Input::Read(Query {
            keys: KeyRange::Key(key),
            ..
        }) => (key, &[]),
        Input::Write(api::Operation::Put {
            key, conditions, ..
        }) => (key, conditions),
        Input::Write(api::Operation::Delete {
            keys: KeyRange::Key(key),
            conditions,
            ..
        }) => (key, conditions),
        Input::Read(_) | Input::Write(api::Operation::Delete { .. }) => return Err(ManyKeys),
        Input::Write(_) => return Ok(None),
    };
    if conditions
        .iter()
        .all(|condition| condition_key(condition) == Some(key))
    {
        Ok(Some(key.clone()))
    } else {
        Err(ManyKeys)
    }
}

/// The key that a condition is about, if it is about one.
fn condition_key(condition: &Condition) -> Option<&Bytes> {
    match condition {
        Condition::Absent { key }
        | Condition::ModRevision { key, .. }
        | Condition::Value { key, .. }
        | Condition::Compare { key, .. } => Some(key),
        Condition::Holds { .. } => None,
    }
}

/// Where in the order of revisions an answer stands: what saw a revision behind what made it.
fn hint(output: &Output) -> Option<u64> {
    let made = |revision: Revision| Some(revision.saturating_mul(2));
    let saw = |revision: Revision| Some(revision.saturating_mul(2).saturating_add(1));
    match output {
        Output::Write(CommandReply::Put { revision, .. }) | Output::Seen { revision } => {
            made(*revision)
        }
        Output::Write(CommandReply::Deleted {
            count, revision, ..
        }) if *count > 0 => made(*revision),
        Output::Write(
            CommandReply::Deleted { revision, .. } | CommandReply::ConditionFailed { revision, .. },
        ) => saw(*revision),
        Output::Write(_) => None,
        Output::Read { reply, revision } => {
            let newest = reply.kvs.iter().map(|kv| kv.mod_revision).max();
            saw(revision.or(newest)?)
        }
    }
}
