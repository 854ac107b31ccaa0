//! The store as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Evidence, Input, Output, condition_key, hint, show};
use crate::api::{
    CommandReply, Condition, Field, KeyRange, KeyValue, Operation, Query, QueryReply, Refusal,
    Relation, Revision,
};
use crate::sim::linearizability::Model;

/// All keys of a store that begins empty, and its revision. A step costs time in proportion to the keys there are.
#[derive(Clone, Default, Debug)]
pub struct StoreModel {
    evidence: Evidence,
}

impl StoreModel {
    /// A model for a history that tells so much.
    #[must_use]
    pub fn new(evidence: Evidence) -> Self {
        Self { evidence }
    }
}

/// The keys, and the revision.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct StoreState {
    revision: Revision,
    keys: Arc<BTreeMap<Bytes, Record>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Record {
    value: Bytes,
    create_revision: Revision,
    mod_revision: Revision,
    version: u64,
}

impl fmt::Debug for StoreState {
    /// As answers are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.revision)?;
        for (key, record) in &*self.keys {
            write!(f, " {}", show::key_value(&key_value(key, record)))?;
        }
        Ok(())
    }
}

impl StoreModel {
    /// Whether nothing is known that speaks against it that this was done without an answer.
    fn may_be_unanswered(
        &self,
        before: &StoreState,
        operation: &Operation,
        after: &StoreState,
    ) -> bool {
        if before.revision == after.revision {
            return true;
        }
        match operation {
            Operation::Put { key, value, .. } => {
                self.evidence.is_free(after.revision, key, Some(value))
            }
            Operation::Delete { keys, .. } => before
                .keys
                .keys()
                .filter(|key| contains(keys, key))
                .all(|key| self.evidence.is_free(after.revision, key, None)),
            _ => true,
        }
    }
}

impl Model for StoreModel {
    type Input = Input;
    type Output = Output;
    type State = StoreState;
    type Next = Option<StoreState>;

    fn initial(&self) -> StoreState {
        StoreState::default()
    }

    fn step(
        &self,
        state: &StoreState,
        input: &Input,
        output: Option<&Output>,
    ) -> Option<StoreState> {
        let before = state;
        let mut state = state.clone();
        match (input, output) {
            (Input::Read(_), None) => Some(state),
            (Input::Read(query), Some(Output::Read { reply, revision })) => {
                let at = revision.is_none_or(|revision| revision == state.revision);
                (at && state.answers(query, reply)).then_some(state)
            }
            (
                Input::Write(_),
                Some(Output::Write(CommandReply::Refused(Refusal::TooManyOutstanding))),
            ) => Some(state),
            (Input::Write(operation), output) => {
                let Some(reply) = state.carry_out(operation) else {
                    return Some(state);
                };
                let fits = match output {
                    None | Some(Output::Write(CommandReply::Forgotten)) => {
                        self.may_be_unanswered(before, operation, &state)
                    }
                    Some(Output::Write(output)) => agree(&reply, output),
                    Some(Output::Seen { revision: seen }) => {
                        matches!(reply, CommandReply::Put { revision, .. } if revision == *seen)
                    }
                    Some(Output::Read { .. }) => false,
                };
                fits.then_some(state)
            }
            (Input::Read(_), Some(_)) => None,
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

impl StoreState {
    /// What the operation answers; none for one that is not about keys.
    fn carry_out(&mut self, operation: &Operation) -> Option<CommandReply> {
        Some(match operation {
            Operation::Put {
                key,
                value,
                lease,
                want_previous,
                conditions,
            } => match self.first_failed(conditions) {
                Some(failed) => self.condition_failed(failed),
                // There are none yet.
                None if *lease != 0 => CommandReply::Refused(Refusal::NoSuchLease),
                None => self.put(key, value, *want_previous),
            },
            Operation::Delete {
                keys,
                want_previous,
                conditions,
            } => match self.first_failed(conditions) {
                Some(failed) => self.condition_failed(failed),
                None => self.delete(keys, *want_previous),
            },
            _ => return None,
        })
    }

    fn first_failed<'a>(&self, conditions: &'a [Condition]) -> Option<&'a Condition> {
        conditions.iter().find(|condition| {
            let record = condition_key(condition).and_then(|key| self.keys.get(key));
            let holds = match condition {
                Condition::Absent { .. } => record.is_none(),
                Condition::ModRevision { revision, .. } => {
                    record.map_or(0, |record| record.mod_revision) == *revision
                }
                Condition::Value { value, .. } => {
                    record.is_some_and(|record| record.value == value)
                }
                Condition::Compare {
                    relation, field, ..
                } => compare(record, *relation, field),
                // There are no locks in this model, so nobody holds one.
                Condition::Holds { .. } => false,
            };
            !holds
        })
    }

    fn condition_failed(&self, condition: &Condition) -> CommandReply {
        CommandReply::ConditionFailed {
            current: condition_key(condition).and_then(|key| self.key_value(key)),
            revision: self.revision,
        }
    }

    fn put(&mut self, key: &Bytes, value: &Bytes, want_previous: bool) -> CommandReply {
        self.revision += 1;
        let previous = self.key_value(key);
        let record = Record {
            value: value.clone(),
            create_revision: previous
                .as_ref()
                .map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: previous.as_ref().map_or(0, |kv| kv.version) + 1,
        };
        Arc::make_mut(&mut self.keys).insert(key.clone(), record);
        CommandReply::Put {
            revision: self.revision,
            previous: previous.filter(|_| want_previous),
        }
    }

    fn delete(&mut self, keys: &KeyRange, want_previous: bool) -> CommandReply {
        let found = self.found(keys);
        if !found.is_empty() {
            self.revision += 1;
            let map = Arc::make_mut(&mut self.keys);
            for kv in &found {
                map.remove(&kv.key);
            }
        }
        CommandReply::Deleted {
            count: found.len() as u64,
            revision: self.revision,
            previous: if want_previous { found } else { Vec::new() },
        }
    }

    fn key_value(&self, key: &Bytes) -> Option<KeyValue> {
        self.keys.get(key).map(|record| key_value(key, record))
    }

    fn found(&self, keys: &KeyRange) -> Vec<KeyValue> {
        let within = self.keys.iter().filter(|(key, _)| contains(keys, key));
        within.map(|(key, record)| key_value(key, record)).collect()
    }

    /// Whether this is an answer to the query, which may be cut where it gets too long.
    fn answers(&self, query: &Query, reply: &QueryReply) -> bool {
        let mut found = self.found(&query.keys);
        let count = found.len() as u64;
        if query.count_only {
            return reply.count == count && reply.kvs.is_empty() && !reply.more;
        }
        if query.reverse {
            found.reverse();
        }
        if query.limit > 0 {
            found.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        }
        if query.keys_only {
            for kv in &mut found {
                kv.value = Bytes::new();
            }
        }
        reply.count == count
            && reply.more == ((reply.kvs.len() as u64) < count)
            && is_cut(&found, &reply.kvs)
    }
}

fn key_value(key: &Bytes, record: &Record) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: record.value.clone(),
        create_revision: record.create_revision,
        mod_revision: record.mod_revision,
        version: record.version,
        lease: 0,
    }
}

fn contains(keys: &KeyRange, key: &Bytes) -> bool {
    match keys {
        KeyRange::Key(only) => key == only,
        KeyRange::Prefix(prefix) => key.starts_with(prefix),
        KeyRange::Range(from, to) => key >= from && to.as_ref().is_none_or(|to| key < to),
    }
}

/// Whether an answer is what it should be: where it lists what was deleted, that may be cut where it gets too long.
fn agree(expected: &CommandReply, reply: &CommandReply) -> bool {
    match (expected, reply) {
        (
            CommandReply::Deleted {
                count,
                revision,
                previous,
            },
            CommandReply::Deleted {
                count: reply_count,
                revision: reply_revision,
                previous: reply_previous,
            },
        ) => count == reply_count && revision == reply_revision && is_cut(previous, reply_previous),
        _ => expected == reply,
    }
}

/// Whether a list is the beginning of another, and not empty unless that is.
fn is_cut(whole: &[KeyValue], cut: &[KeyValue]) -> bool {
    whole.starts_with(cut) && (whole.is_empty() || !cut.is_empty())
}

fn compare(record: Option<&Record>, relation: Relation, field: &Field) -> bool {
    let number = |of: fn(&Record) -> u64| record.map_or(0, of);
    let order = match field {
        Field::Value(value) => match record {
            Some(record) => record.value.cmp(value),
            None => return relation == Relation::NotEqual,
        },
        Field::CreateRevision(wanted) => number(|record| record.create_revision).cmp(wanted),
        Field::ModRevision(wanted) => number(|record| record.mod_revision).cmp(wanted),
        Field::Version(wanted) => number(|record| record.version).cmp(wanted),
        // There are no leases in this model.
        Field::Lease(wanted) => 0.cmp(wanted),
    };
    match relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::Greater => order.is_gt(),
    }
}
