//! Clients that retry, double, overtake and leave out commands, run ahead, acknowledge, end their sessions and are driven out of
//! them by others. Small limits make all of that frequent.

#![allow(clippy::indexing_slicing, reason = "a test says so by panicking")]

use proptest::prelude::*;
use raft_kv::api::*;
use raft_kv::store::Settings;

use super::{bytes, command};

pub(crate) const SESSIONS_MAX: usize = 3;
pub(crate) const OUTSTANDING_MAX: u64 = 6;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Register,
    End {
        client: usize,
    },
    /// A try of some command of a client: new, a retry, or one that overtakes others; `ahead` counts from two below the oldest
    /// that the client has no answer of.
    Try {
        client: usize,
        ahead: u64,
        acknowledge: u64,
    },
    /// An entry that is not for the store.
    Pass,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let client = 0..4_usize;
    prop_oneof![
        2 => Just(Step::Register),
        1 => client.clone().prop_map(|client| Step::End { client }),
        30 => (client, 0..12_u64, prop_oneof![3 => Just(0_u64), 1 => 1..6_u64])
            .prop_map(|(client, ahead, acknowledge)| Step::Try { client, ahead, acknowledge }),
        1 => Just(Step::Pass),
    ]
}

/// A few keys and values, so that commands meet.
pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let key = || prop::sample::select(vec!["a", "ab", "b", "c"]).prop_map(bytes);
    let value = || {
        prop_oneof![
            8 => prop::sample::select(vec!["", "1", "2"]).prop_map(bytes),
            1 => Just(bytes(&"long ".repeat(60))),
        ]
    };
    let condition = || {
        prop_oneof![
            key().prop_map(|key| Condition::Absent { key }),
            (key(), 0..6_u64).prop_map(|(key, revision)| Condition::ModRevision { key, revision }),
            (key(), value()).prop_map(|(key, value)| Condition::Value { key, value }),
        ]
    };
    let conditions =
        || prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(condition(), 1..3)];
    let range = prop_oneof![
        3 => key().prop_map(KeyRange::Key),
        1 => key().prop_map(KeyRange::Prefix),
        1 => (key(), prop::option::of(key())).prop_map(|(from, to)| KeyRange::Range(from, to)),
    ];
    let lease = prop_oneof![9 => Just(0), 1 => Just(7)];
    prop_oneof![
        3 => (key(), value(), lease, any::<bool>(), conditions()).prop_map(
            |(key, value, lease, want_previous, conditions)| Operation::Put {
                key,
                value,
                lease,
                want_previous,
                conditions,
            }
        ),
        1 => (range, any::<bool>(), conditions()).prop_map(
            |(keys, want_previous, conditions)| Operation::Delete {
                keys,
                want_previous,
                conditions,
            }
        ),
    ]
}

/// Clients that know which session they have, and what they claim to have the answers of.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) sessions: Vec<(SessionId, u64)>,
}

impl Clients {
    pub(crate) fn command(&mut self, step: &Step, operations: &[Operation]) -> Option<Command> {
        let (client, ahead, acknowledge) = match *step {
            Step::End { client } => (client, 3, 0),
            Step::Try {
                client,
                ahead,
                acknowledge,
            } => (client, ahead, acknowledge),
            Step::Register | Step::Pass => return None,
        };
        // Often one whose session has ended meanwhile.
        let newest = self.sessions.len().checked_sub(1)?;
        let (session, oldest) = &mut self.sessions[newest - client.min(newest)];
        let sequence = (*oldest + ahead).saturating_sub(2).max(1);
        *oldest += acknowledge;
        // What a command says depends on its number alone, so that a retry says the same.
        let operation = match step {
            Step::End { .. } => Operation::EndSession,
            _ => operations[(*session + sequence) as usize % operations.len()].clone(),
        };
        Some(command(
            *session,
            sequence,
            (*oldest).min(sequence),
            operation,
        ))
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        sessions_max: SESSIONS_MAX,
        outstanding_max: OUTSTANDING_MAX,
        ..Settings::default()
    }
}
