//! The store as seen from one key.

use bytes::Bytes;

use super::key_state::KeyState;
use super::span::Span;
use super::{Evidence, Input, Output, hint, key_of, show};
use crate::api::{CommandReply, Operation, Query, QueryReply, Refusal, Revision};
use crate::sim::linearizability::Model;

/// One key of an empty store. Revisions of other keys are not known to it: answers say what the revision is, and it must not fall.
#[derive(Clone, Default, Debug)]
pub struct KeyModel {
    evidence: Evidence,
}

impl KeyModel {
    /// A model for a history that tells so much.
    #[must_use]
    pub fn new(evidence: Evidence) -> Self {
        Self { evidence }
    }
}

impl Model for KeyModel {
    type Input = Input;
    type Output = Output;
    type State = KeyState;
    type Next = Vec<KeyState>;

    fn initial(&self) -> KeyState {
        KeyState::default()
    }

    fn step(&self, state: &KeyState, input: &Input, output: Option<&Output>) -> Vec<KeyState> {
        let state = state.clone();
        // What is about no key changes none, and what is about many is not for this model.
        let Ok(Some(key)) = key_of(input) else {
            return vec![state];
        };
        match (input, output) {
            (Input::Read(_), None) => vec![state],
            (Input::Read(query), Some(Output::Read { reply, revision })) => {
                Vec::from_iter(read(state, &key, query, reply, *revision))
            }
            (Input::Write(operation), None | Some(Output::Write(CommandReply::Forgotten))) => {
                unanswered(&self.evidence, state, &key, operation)
            }
            (Input::Write(operation), Some(output)) => {
                Vec::from_iter(write(state, &key, operation, output))
            }
            (Input::Read(_), Some(_)) => Vec::new(),
        }
    }

    fn interchangeable(&self, one: &Input, other: &Input) -> bool {
        self.evidence.alike(one, other)
    }

    fn hint(&self, _input: &Input, output: &Output) -> Option<u64> {
        hint(output)
    }

    fn describe(&self, input: &Input, output: Option<&Output>) -> String {
        show::describe(input, output)
    }
}

fn read(
    state: KeyState,
    key: &Bytes,
    query: &Query,
    reply: &QueryReply,
    revision: Option<Revision>,
) -> Option<KeyState> {
    let state = match revision {
        Some(revision) => state.at_revision(revision)?,
        None => state,
    };
    let count = u64::from(state.exists());
    if reply.count != count || reply.more {
        return None;
    }
    match (query.count_only, reply.kvs.as_slice()) {
        (true, []) => Some(state),
        (false, []) => state.shown(key, None, query.keys_only),
        (false, [kv]) => state.shown(key, Some(kv), query.keys_only),
        _ => None,
    }
}

/// Where a write may lead to that nobody has an answer of.
fn unanswered(
    evidence: &Evidence,
    state: KeyState,
    key: &Bytes,
    operation: &Operation,
) -> Vec<KeyState> {
    let (conditions, value) = match operation {
        Operation::Put {
            value,
            lease: 0,
            conditions,
            ..
        } => (conditions, Some(value)),
        Operation::Delete { conditions, .. } => (conditions, None),
        // A lease that is not there is refused, and there are none yet.
        _ => return vec![state],
    };
    let changed = |state: KeyState| {
        let revision = Span::at_least(evidence.first_free(state.floor(), key, value)?);
        match value {
            Some(value) => state.put(revision, value),
            None => state.delete(revision),
        }
    };
    match state.clone().if_all(conditions) {
        None => vec![state],
        Some(met) if met == state => Vec::from_iter(changed(met)),
        // It depends on a revision that is not known exactly.
        Some(met) => changed(met).into_iter().chain([state]).collect(),
    }
}

fn write(state: KeyState, key: &Bytes, operation: &Operation, output: &Output) -> Option<KeyState> {
    let (conditions, want_previous) = match operation {
        Operation::Put {
            conditions,
            want_previous,
            ..
        }
        | Operation::Delete {
            conditions,
            want_previous,
            ..
        } => (conditions, *want_previous),
        _ => return Some(state),
    };
    match (operation, output) {
        (_, Output::Write(CommandReply::Refused(Refusal::TooManyOutstanding))) => Some(state),
        (_, Output::Write(CommandReply::ConditionFailed { current, revision })) => {
            let state = state.at_revision(*revision)?;
            let state = state.shown(key, current.as_ref(), false)?;
            state.clone().if_all(conditions).is_none().then_some(state)
        }
        (
            Operation::Put {
                value, lease: 0, ..
            },
            Output::Write(CommandReply::Put { revision, previous }),
        ) => {
            let state = state.if_all(conditions)?;
            let state = if want_previous {
                state.shown(key, previous.as_ref(), false)?
            } else if previous.is_none() {
                state
            } else {
                return None;
            };
            state.put(Span::exactly(*revision), value)
        }
        (
            Operation::Put {
                value, lease: 0, ..
            },
            Output::Seen { revision },
        ) => state
            .if_all(conditions)?
            .put(Span::exactly(*revision), value),
        (
            Operation::Put { lease: 1.., .. },
            Output::Write(CommandReply::Refused(Refusal::NoSuchLease)),
        ) => state.if_all(conditions),
        (
            Operation::Delete { .. },
            Output::Write(CommandReply::Deleted {
                count,
                revision,
                previous,
            }),
        ) => {
            let state = state.if_all(conditions)?;
            if *count != u64::from(state.exists()) {
                return None;
            }
            let state = match previous.as_slice() {
                [] if want_previous => state.shown(key, None, false)?,
                [kv] if want_previous => state.shown(key, Some(kv), false)?,
                [] => state,
                _ => return None,
            };
            if *count == 0 {
                state.at_revision(*revision)
            } else {
                state.delete(Span::exactly(*revision))
            }
        }
        _ => None,
    }
}
