//! Whether what the clients saw can be explained.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Operation;
use crate::api::{self, CommandReply, KeyRange, Query, Reply};
use crate::client::machine::{Ask, End};
use crate::sim::app::{Judgement, concurrent};
use crate::sim::linearizability::Verdict;
use crate::sim::linearizability::kv::{History, Input, Output, check};

/// How many steps the search for an order may take.
const BUDGET: u64 = 2_000_000;

/// An operation and its end, in a line.
pub(super) fn describe(ask: &Ask, end: &End) -> String {
    let what = match ask {
        Ask::Write(operation) => format!("{operation:?}"),
        Ask::Read { query, .. } => format!("{query:?}"),
        Ask::Status { address } => format!("status of {address}"),
        Ask::Admin { address, admin } => format!("{admin:?} at {address}"),
        Ask::Backup { address, .. } => format!("backup of {address}"),
    };
    match end {
        End::Answered { reply, .. } => format!("{what}: {reply:?}"),
        End::NotApplied(_) => format!("{what}: not applied"),
        End::Unknown(_) => format!("{what}: unknown"),
    }
}

pub(super) fn judge(operations: &[Operation]) -> Judgement {
    match check(&history(operations), BUDGET) {
        Verdict::Linearizable => Judgement::Good,
        Verdict::NotLinearizable(violation) => Judgement::Bad(violation.to_string()),
        inconclusive @ Verdict::Inconclusive { .. } => {
            Judgement::Inconclusive(inconclusive.to_string())
        }
    }
}

/// The history as the checker takes it. What surely was not applied is left out, and so are reads without an answer.
fn history(operations: &[Operation]) -> History {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        let Some(input) = input(&operation.ask) else {
            continue;
        };
        let is_read = matches!(input, Input::Read(_));
        let ended = operation.ended.as_ref();
        let left_out = match ended.map(|(_, end)| end) {
            Some(End::NotApplied(_)) => true,
            Some(End::Unknown(_)) | None => is_read,
            Some(End::Answered { .. }) => false,
        };
        if left_out {
            continue;
        }
        events.push((nanos(operation.invoked), false, number));
        if let Some((at, End::Answered { .. })) = ended {
            events.push((nanos(*at), true, number));
        }
    }
    // What is asked at the moment of an answer is taken for concurrent with it.
    events.sort_unstable();
    let mut history = History::new();
    let mut ids = BTreeMap::new();
    for (at, answered, number) in events {
        let operation = &operations[number];
        if !answered {
            if let Some(input) = input(&operation.ask) {
                ids.insert(number, history.invoke(operation.client as u64, input, at));
            }
        } else if let Some(output) = operation.ended.as_ref().and_then(|(_, end)| output(end))
            && let Some(&id) = ids.get(&number)
        {
            history.complete(id, output, at);
        }
    }
    history
}

fn nanos(time: crate::sim::Time) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn input(ask: &Ask) -> Option<Input> {
    match ask {
        Ask::Write(operation) => Some(Input::Write(operation.clone())),
        Ask::Read { query, .. } => Some(Input::Read(query.clone())),
        Ask::Status { .. } | Ask::Admin { .. } | Ask::Backup { .. } => None,
    }
}

/// What an answer says; none where it leaves open whether the write was applied.
fn output(end: &End) -> Option<Output> {
    let End::Answered { header, reply } = end else {
        return None;
    };
    match reply {
        Reply::Command(CommandReply::SessionExpired) => None,
        Reply::Command(reply) => Some(Output::Write(reply.clone())),
        Reply::Query(reply) => Some(Output::Read {
            reply: reply.clone(),
            revision: Some(header.revision),
        }),
        Reply::Status(_)
        | Reply::Admin(_)
        | Reply::Backup(_)
        | Reply::Answer(_)
        | Reply::Watch(_) => None,
    }
}

/// How many operations ran at the same time as another on the same key.
pub(super) fn concurrent_on_a_key(operations: &[Operation]) -> u64 {
    let mut spans: BTreeMap<&Bytes, Vec<(u64, u64)>> = BTreeMap::new();
    for operation in operations {
        let key = match &operation.ask {
            Ask::Write(api::Operation::Put { key, .. })
            | Ask::Write(api::Operation::Delete {
                keys: KeyRange::Key(key),
                ..
            })
            | Ask::Read {
                query:
                    Query {
                        keys: KeyRange::Key(key),
                        ..
                    },
                ..
            } => key,
            _ => continue,
        };
        let end = operation
            .ended
            .as_ref()
            .map_or(u64::MAX, |(at, _)| nanos(*at));
        spans
            .entry(key)
            .or_default()
            .push((nanos(operation.invoked), end));
    }
    spans
        .into_values()
        .map(|spans| concurrent(spans.into_iter()))
        .sum()
}
