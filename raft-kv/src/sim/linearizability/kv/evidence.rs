//! What all answers of a history together tell, whatever the order: which values nobody has ever seen, and which revisions a write
//! that was never answered can have made. It narrows the search, and forbids nothing that is possible.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;

use super::quiet::Quiet;
use super::{History, Input, Output};
use crate::api::{CommandReply, Condition, KeyValue, Operation, Query, Revision};

/// What the answers of a history tell. By default nothing.
#[derive(Clone, Default, Debug)]
pub struct Evidence {
    /// The values that answers show or conditions ask for, with their keys. Which of the others was written does not matter. None:
    /// any may be seen.
    seen: Option<HashSet<(Bytes, Bytes)>>,
    /// The revisions that answered writes made.
    claimed: BTreeSet<Revision>,
    /// What stood where after a revision.
    shown: BTreeMap<Revision, (Bytes, Bytes)>,
    /// When keys were not changed.
    quiet: Quiet,
}

impl Evidence {
    /// What a history tells.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut seen = HashSet::new();
        let mut shown = BTreeMap::new();
        for operation in history.operations() {
            for kv in operation.output().into_iter().flat_map(shown_in) {
                let value = (kv.key.clone(), kv.value.clone());
                // Where only keys were asked for, the empty value is none.
                if !matches!(
                    &operation.input,
                    Input::Read(Query {
                        keys_only: true,
                        ..
                    })
                ) {
                    shown.insert(kv.mod_revision, value.clone());
                }
                seen.insert(value);
            }
            for condition in conditions(&operation.input) {
                if let Condition::Value { key, value } = condition {
                    seen.insert((key.clone(), value.clone()));
                }
            }
        }
        let claims = super::claims(history).into_iter();
        Self {
            seen: Some(seen),
            claimed: claims
                .filter(|claim| claim.made)
                .map(|claim| claim.revision)
                .collect(),
            shown,
            quiet: Quiet::of(history),
        }
    }

    /// The first revision above another that an unanswered write may have made: a put of this value, or the deletion of the key.
    /// Above all that is known everything is free.
    pub(super) fn first_free(
        &self,
        above: Revision,
        key: &Bytes,
        value: Option<&Bytes>,
    ) -> Option<Revision> {
        (above.checked_add(1)?..).find(|revision| self.is_free(*revision, key, value))
    }

    /// Whether an unanswered write may have made this revision.
    pub(super) fn is_free(&self, revision: Revision, key: &Bytes, value: Option<&Bytes>) -> bool {
        let fits = |(shown_key, shown_value): &(Bytes, Bytes)| {
            shown_key == key && Some(shown_value) == value
        };
        !self.claimed.contains(&revision)
            && self.shown.get(&revision).is_none_or(fits)
            && !self.quiet.contains(key, revision)
    }

    /// Whether it makes no difference to anyone which of two unanswered operations was carried out.
    pub(super) fn alike(&self, one: &Input, other: &Input) -> bool {
        let (
            Input::Write(Operation::Put {
                key,
                value,
                lease,
                conditions,
                ..
            }),
            Input::Write(Operation::Put {
                key: other_key,
                value: other_value,
                lease: other_lease,
                conditions: other_conditions,
                ..
            }),
        ) = (one, other)
        else {
            return one == other;
        };
        (key, lease, conditions) == (other_key, other_lease, other_conditions)
            && (value == other_value
                || (self.is_unseen(key, value) && self.is_unseen(key, other_value)))
    }

    fn is_unseen(&self, key: &Bytes, value: &Bytes) -> bool {
        let value = (key.clone(), value.clone());
        self.seen
            .as_ref()
            .is_some_and(|seen| !seen.contains(&value))
    }
}

fn conditions(input: &Input) -> &[Condition] {
    match input {
        Input::Write(Operation::Put { conditions, .. } | Operation::Delete { conditions, .. }) => {
            conditions
        }
        Input::Write(_) | Input::Read(_) => &[],
    }
}

/// The key-values that an answer shows.
pub(super) fn shown_in(output: &Output) -> &[KeyValue] {
    match output {
        Output::Read { reply, .. } => &reply.kvs,
        Output::Write(CommandReply::Put { previous, .. }) => previous.as_slice(),
        Output::Write(CommandReply::Deleted { previous, .. }) => previous,
        Output::Write(CommandReply::ConditionFailed { current, .. }) => current.as_slice(),
        Output::Write(_) | Output::Seen { .. } => &[],
    }
}
