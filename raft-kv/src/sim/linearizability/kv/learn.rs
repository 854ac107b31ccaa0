//! What later answers tell of writes that were never answered.
//!
//! An unanswered put may have happened at any time or never, and a search that has to try all of that for each of a hundred takes for
//! ever. But when somebody has seen its value, it did happen, with the revision that was seen, and before that answer came.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::evidence::shown_in;
use super::{History, Input, Output};
use crate::api::{CommandReply, Operation, Query, Revision};
use crate::sim::linearizability::Outcome;

/// A value of a key.
type Written = (Bytes, Bytes);

/// The history, with an answer ([`Output::Seen`]) for every unanswered put of which one is certain.
pub(super) fn learn(history: &History) -> History {
    let mut history = history.clone();
    for (_, _, outcome) in history.outcomes_mut() {
        // Not applied now; but whether an earlier try was is not known.
        if let Outcome::Returned {
            output: Output::Write(CommandReply::SessionExpired),
            ..
        } = outcome
        {
            *outcome = Outcome::Unknown;
        }
    }
    let sights = sights(&history);
    let writers = writers(&history);
    for (input, invoked, outcome) in history.outcomes_mut() {
        let Input::Write(Operation::Put { key, value, .. }) = input else {
            continue;
        };
        let written = (key.clone(), value.clone());
        if !matches!(outcome, Outcome::Unknown) || writers.get(&written) != Some(&1) {
            continue;
        }
        // A value that one put alone writes has one revision. Two, or one seen before the put was asked: the search will refuse it.
        if let Some(seen) = sights.get(&written)
            && let [revision] = Vec::from_iter(&seen.revisions).as_slice()
            && seen.at >= invoked
        {
            *outcome = Outcome::Returned {
                output: Output::Seen {
                    revision: **revision,
                },
                at: seen.at,
            };
        }
    }
    history
}

/// Where a value was seen.
struct Sight {
    /// When that was first answered.
    at: u64,
    revisions: BTreeSet<Revision>,
}

fn sights(history: &History) -> BTreeMap<Written, Sight> {
    let mut sights: BTreeMap<Written, Sight> = BTreeMap::new();
    for operation in history.operations() {
        let (Some(output), Some(at)) = (operation.output(), operation.returned()) else {
            continue;
        };
        // Where only keys were asked for, the empty value is none.
        if matches!(
            &operation.input,
            Input::Read(Query {
                keys_only: true,
                ..
            })
        ) {
            continue;
        }
        for kv in shown_in(output) {
            let sight = sights.entry((kv.key.clone(), kv.value.clone()));
            let sight = sight.or_insert_with(|| Sight {
                at,
                revisions: BTreeSet::new(),
            });
            sight.at = sight.at.min(at);
            sight.revisions.insert(kv.mod_revision);
        }
    }
    sights
}

/// How many puts may have written a value: all of those that were not surely refused.
fn writers(history: &History) -> BTreeMap<Written, usize> {
    let mut writers = BTreeMap::new();
    for operation in history.operations() {
        let refused = matches!(
            operation.output(),
            Some(Output::Write(
                CommandReply::ConditionFailed { .. } | CommandReply::Refused(_)
            ))
        );
        if let Input::Write(Operation::Put { key, value, .. }) = &operation.input
            && !refused
        {
            *writers.entry((key.clone(), value.clone())).or_insert(0) += 1;
        }
    }
    writers
}
