//! What is known of one key at a point of an order. Each step takes the state as it was and gives what is left of it, more being
//! known; or nothing, when it contradicts what was known.

use std::fmt;

use bytes::Bytes;

use super::show;
use super::span::Span;
use crate::api::{Condition, KeyValue, Revision};

/// One key, and how far the store has come at least.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyState {
    /// The store's revision is at least this.
    floor: Revision,
    record: Option<Record>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Record {
    value: Bytes,
    created: Span,
    modified: Span,
    version: u64,
}

impl fmt::Debug for KeyState {
    /// As answers are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{} or later: ", self.floor)?;
        match &self.record {
            None => f.write_str("absent"),
            Some(Record {
                value,
                created,
                modified,
                version,
            }) => write!(
                f,
                "{}({created:?},{modified:?},v{version})",
                show::bytes(value)
            ),
        }
    }
}

impl KeyState {
    pub(super) fn exists(&self) -> bool {
        self.record.is_some()
    }

    /// The store is at this revision now.
    pub(super) fn at_revision(mut self, revision: Revision) -> Option<Self> {
        if revision < self.floor {
            return None;
        }
        self.floor = revision;
        if let Some(record) = &mut self.record {
            record.created = record.created.if_at_most(revision)?;
            record.modified = record.modified.if_at_most(revision)?;
        }
        Some(self)
    }

    /// An answer shows this of the key.
    pub(super) fn shown(
        mut self,
        key: &Bytes,
        shown: Option<&KeyValue>,
        without_value: bool,
    ) -> Option<Self> {
        let (record, kv) = match (&mut self.record, shown) {
            (None, None) => return Some(self),
            (Some(record), Some(kv)) => (record, kv),
            _ => return None,
        };
        let value_fits = if without_value {
            kv.value.is_empty()
        } else {
            kv.value == record.value
        };
        let order_fits = if kv.version == 1 {
            kv.create_revision == kv.mod_revision
        } else {
            kv.create_revision < kv.mod_revision
        };
        // There are no leases yet.
        if kv.key != key
            || !value_fits
            || kv.version != record.version
            || kv.lease != 0
            || !order_fits
        {
            return None;
        }
        record.created = record.created.if_exactly(kv.create_revision)?;
        record.modified = record.modified.if_exactly(kv.mod_revision)?;
        self.floor = self.floor.max(kv.mod_revision);
        Some(self)
    }

    /// All conditions hold; they are about this key.
    pub(super) fn if_all(self, conditions: &[Condition]) -> Option<Self> {
        conditions.iter().try_fold(self, Self::if_holds)
    }

    fn if_holds(mut self, condition: &Condition) -> Option<Self> {
        match (condition, &mut self.record) {
            (Condition::Absent { .. } | Condition::ModRevision { revision: 0, .. }, None) => {}
            (Condition::ModRevision { revision, .. }, Some(record)) => {
                record.modified = record.modified.if_exactly(*revision)?;
                if record.version == 1 {
                    record.created = record.modified;
                }
                self.floor = self.floor.max(*revision);
            }
            (Condition::Value { value, .. }, Some(record)) if record.value == value => {}
            _ => return None,
        }
        Some(self)
    }

    /// The store's revision is at least this.
    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    /// It is written, with a revision that lies there.
    pub(super) fn put(mut self, modified: Span, value: &Bytes) -> Option<Self> {
        self.change(modified)?;
        let (created, version) = match &self.record {
            None => (modified, 1),
            Some(record) => {
                let below = modified.high().saturating_sub(1);
                (record.created.if_at_most(below)?, record.version + 1)
            }
        };
        self.record = Some(Record {
            value: value.clone(),
            created,
            modified,
            version,
        });
        Some(self)
    }

    /// It is deleted, with a revision that lies there; or was not there.
    pub(super) fn delete(mut self, revision: Span) -> Option<Self> {
        if self.record.is_some() {
            self.change(revision)?;
            self.record = None;
        }
        Some(self)
    }

    /// The store comes to a new revision.
    fn change(&mut self, revision: Span) -> Option<()> {
        let rises = revision.low() > self.floor;
        self.floor = revision.low();
        rises.then_some(())
    }
}
