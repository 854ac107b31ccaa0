//! The keys, in byte order, each with its record.
//!
//! The map keeps copies of its own of keys and values: what a command brings is a slice of a received frame, and keeping a
//! slice of ten bytes would keep the whole frame.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::counts::Counts;
use super::hash::{HashSum, ItemHash, Kind};
use crate::api::{KeyRange, KeyValue, LeaseId, Revision};
use crate::mutants::{Mutant, mutant};

/// About what a key-value takes in a reply besides its key and value, in bytes.
pub(super) const KEY_VALUE_OVERHEAD_BYTES: usize = 48;

/// What is kept with a key.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) value: Bytes,
    pub(super) create_revision: Revision,
    pub(super) mod_revision: Revision,
    version: u64,
    lease: LeaseId,
    /// This item's share of the state hash.
    hash: u64,
}

impl Record {
    /// The record with its key, sharing the bytes of both.
    pub(super) fn with_key(&self, key: &Bytes) -> KeyValue {
        self.clone().into_key_value(key.clone())
    }

    pub(super) fn without_value(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    fn into_key_value(self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            value: self.value,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    fn hashed(mut self, key: &[u8]) -> Self {
        self.hash = ItemHash::new(Kind::Key)
            .bytes(key)
            .bytes(&self.value)
            .word(self.create_revision)
            .word(self.mod_revision)
            .word(self.version)
            .word(self.lease)
            .finish();
        self
    }
}

/// What a deletion took away.
pub(super) struct Deleted {
    pub(super) count: u64,
    pub(super) previous: Vec<KeyValue>,
}

/// The map.
#[derive(Clone, Default)]
pub(super) struct Keys {
    map: BTreeMap<Bytes, Record>,
    counts: Counts,
    hash: HashSum,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.value()
    }

    pub(super) fn record(&self, key: &[u8]) -> Option<&Record> {
        self.map.get(key)
    }

    /// The hash, reckoned anew from what is there.
    #[cfg(test)]
    pub(super) fn hash_anew(&self) -> u64 {
        let mut sum = HashSum::default();
        for (key, record) in &self.map {
            sum.add(record.clone().hashed(key).hash);
        }
        sum.value()
    }

    /// The key with its record, for a reply.
    pub(super) fn key_value(&self, key: &[u8]) -> Option<KeyValue> {
        let (key, record) = self.map.get_key_value(key)?;
        Some(record.with_key(key))
    }

    /// The keys of a range, ascending.
    pub(super) fn range(
        &self,
        keys: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Record)> + use<'_> {
        bounds(keys)
            .map(|bounds| self.map.range(bounds))
            .into_iter()
            .flatten()
    }

    /// How many keys a range holds.
    pub(super) fn count(&self, keys: &KeyRange) -> usize {
        match bounds(keys) {
            Some((Bound::Included(from), Bound::Included(_))) => {
                usize::from(self.map.contains_key(&from))
            }
            Some((Bound::Included(from), to)) => self.counts.count(&from, to.as_ref(), &self.map),
            // Every range has a first key that belongs to it.
            _ => 0,
        }
    }

    /// Sets a key as of this revision. What stood there comes back when it is wanted.
    pub(super) fn put(
        &mut self,
        revision: Revision,
        key: &[u8],
        value: &[u8],
        lease: LeaseId,
        want_previous: bool,
    ) -> Option<KeyValue> {
        let fresh = Record {
            value: Bytes::copy_from_slice(value),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease,
            hash: 0,
        };
        if let Some(record) = self.map.get_mut(key) {
            let next = Record {
                create_revision: if mutant(Mutant::ForgetsCreateRevision) {
                    revision
                } else {
                    record.create_revision
                },
                version: record.version + 1,
                ..fresh
            };
            let before = std::mem::replace(record, next.hashed(key));
            self.hash.remove(before.hash);
            self.hash.add(record.hash);
            want_previous.then(|| before.into_key_value(Bytes::copy_from_slice(key)))
        } else {
            let record = fresh.hashed(key);
            self.hash.add(record.hash);
            self.map.insert(Bytes::copy_from_slice(key), record);
            self.counts.added(key, &self.map);
            None
        }
    }

    /// Deletes a range. Of what stood there comes back as much as fits, and at least one, when it is wanted.
    pub(super) fn delete(&mut self, keys: &KeyRange, previous_bytes_max: Option<u64>) -> Deleted {
        let mut deleted = Deleted {
            count: 0,
            previous: Vec::new(),
        };
        let Some(bounds) = bounds(keys) else {
            return deleted;
        };
        let mut room = previous_bytes_max;
        for (key, record) in self.map.extract_if(bounds, |_, _| true) {
            self.hash.remove(record.hash);
            self.counts.removed(&key);
            deleted.count += 1;
            let bytes = (key.len() + record.value.len() + KEY_VALUE_OVERHEAD_BYTES) as u64;
            // The first that does not fit is the last: what comes back is the beginning of the range, without gaps.
            room = room.and_then(|room| {
                room.checked_sub(bytes)
                    .or(deleted.previous.is_empty().then_some(0))
            });
            if room.is_some() {
                deleted.previous.push(record.into_key_value(key));
            }
        }
        deleted
    }
}

/// A range's bounds; none when nothing can be in it.
fn bounds(keys: &KeyRange) -> Option<(Bound<Bytes>, Bound<Bytes>)> {
    match keys {
        KeyRange::Key(key) => Some((Bound::Included(key.clone()), Bound::Included(key.clone()))),
        KeyRange::Prefix(prefix) => {
            let end = successor(prefix).map_or(Bound::Unbounded, Bound::Excluded);
            Some((Bound::Included(prefix.clone()), end))
        }
        KeyRange::Range(from, None) => Some((Bound::Included(from.clone()), Bound::Unbounded)),
        // The map would panic at a range that runs backwards.
        KeyRange::Range(from, Some(to)) => {
            (from < to).then(|| (Bound::Included(from.clone()), Bound::Excluded(to.clone())))
        }
    }
}

/// The first key behind all that begin with a prefix; none when there is no such key.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end.into())
}
