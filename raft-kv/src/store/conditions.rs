//! What must hold for a command to do anything.

use super::Store;
use super::keys::Record;
use crate::api::{CommandReply, Condition, Field, Relation};
use crate::mutants::{Mutant, mutant};

impl Store {
    /// The answer when a condition does not hold.
    pub(super) fn failed(&self, conditions: &[Condition]) -> Option<CommandReply> {
        let failed = self.first_failed(conditions)?;
        let current = match failed {
            Condition::Absent { key }
            | Condition::ModRevision { key, .. }
            | Condition::Value { key, .. }
            | Condition::Compare { key, .. } => self.keys.key_value(key),
            Condition::Holds { .. } => None,
        };
        Some(CommandReply::ConditionFailed {
            current,
            revision: self.revision,
        })
    }

    /// The first of them that does not hold.
    pub(super) fn first_failed<'a>(&self, conditions: &'a [Condition]) -> Option<&'a Condition> {
        conditions.iter().find(|condition| !self.holds(condition))
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Absent { key } => self.keys.record(key).is_none(),
            Condition::ModRevision { key, revision } => {
                let record = self.keys.record(key);
                record.map_or(0, |record| record.mod_revision) == *revision
            }
            Condition::Value { key, value } => {
                let record = self.keys.record(key);
                mutant(Mutant::SkipsValueConditions)
                    || record.is_some_and(|record| record.value == value)
            }
            Condition::Compare {
                key,
                relation,
                field,
            } => compare(self.keys.record(key), *relation, field),
            Condition::Holds { lock, token } => {
                let holder = self.locks.queue(lock).next();
                holder.is_some_and(|claim| claim.token == *token)
            }
        }
    }
}

fn compare(record: Option<&Record>, relation: Relation, field: &Field) -> bool {
    let number = |of: fn(&Record) -> u64| record.map_or(0, of);
    let (found, wanted) = match field {
        Field::Value(value) => {
            let Some(record) = record else {
                return relation == Relation::NotEqual;
            };
            return related(&record.value, relation, value);
        }
        Field::CreateRevision(wanted) => (number(|record| record.create_revision), wanted),
        Field::ModRevision(wanted) => (number(|record| record.mod_revision), wanted),
        Field::Version(wanted) => (number(|record| record.version), wanted),
        Field::Lease(wanted) => (number(|record| record.lease), wanted),
    };
    related(&found, relation, wanted)
}

fn related<T: Ord>(found: &T, relation: Relation, wanted: &T) -> bool {
    match relation {
        Relation::Equal => found == wanted,
        Relation::NotEqual => found != wanted,
        Relation::Less => found < wanted,
        Relation::Greater => found > wanted,
    }
}
