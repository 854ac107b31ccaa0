//! The keys, in byte order, each with its record.
//!
//! The map keeps copies of its own of keys and values: what a command brings is a slice of a received frame, and keeping a
//! slice of ten bytes would keep the whole frame.

use std::sync::Arc;

use bytes::Bytes;

pub(super) use super::chunks::Entry;

use super::chunks::Chunks;
use super::hash::{HashSum, ItemHash, Kind};
use crate::api::{KeyRange, KeyValue, LeaseId, Revision};
use crate::mutants::{Mutant, mutant};

/// About what a key-value takes in a reply besides its key and value, in bytes.
pub(super) const KEY_VALUE_OVERHEAD_BYTES: usize = 48;

/// About what an item takes in memory besides its key and value, in bytes.
const ITEM_OVERHEAD_BYTES: u64 = 160;

/// What is kept with a key.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) value: Bytes,
    pub(super) create_revision: Revision,
    pub(super) mod_revision: Revision,
    pub(super) version: u64,
    pub(super) lease: LeaseId,
    /// This item's share of the state hash.
    pub(super) hash: u64,
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

    /// All numbers of it: create revision, mod revision, version, lease.
    pub(super) fn numbers(&self) -> [u64; 4] {
        [
            self.create_revision,
            self.mod_revision,
            self.version,
            self.lease,
        ]
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

/// A key with its record, shared by the map, its clones and the history.
pub(super) type Item = Arc<Entry<Record>>;

impl Entry<Record> {
    /// It for a reply, sharing the bytes of both.
    pub(super) fn to_key_value(&self) -> KeyValue {
        self.value.with_key(&self.key)
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.key.len() + self.value.value.len()) as u64 + ITEM_OVERHEAD_BYTES
    }
}

/// An item of its own, as a snapshot has it. Its bytes are kept as they are given.
pub(super) fn restored(kv: KeyValue) -> Item {
    let record = Record {
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
        hash: 0,
    };
    Arc::new(Entry {
        value: record.hashed(&kv.key),
        key: kv.key,
    })
}

/// The map. A clone shares nearly all memory with it.
#[derive(Clone, Default)]
pub(super) struct Keys {
    map: Chunks<Record>,
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
        self.map.get(key).map(|entry| &entry.value)
    }

    /// All keys, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<Record>> {
        self.map.iter()
    }

    /// The hash, reckoned anew from what is there.
    #[cfg(test)]
    pub(super) fn hash_anew(&self) -> u64 {
        let mut sum = HashSum::default();
        for entry in self.iter() {
            sum.add(entry.value.clone().hashed(&entry.key).hash);
        }
        sum.value()
    }

    pub(super) fn item(&self, key: &[u8]) -> Option<&Item> {
        self.map.get(key)
    }

    /// The key with its record, for a reply.
    pub(super) fn key_value(&self, key: &[u8]) -> Option<KeyValue> {
        self.item(key).map(|item| item.to_key_value())
    }

    /// The keys of a range, ascending.
    pub(super) fn range(
        &self,
        keys: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = &Entry<Record>> + use<'_> {
        bounds(keys)
            .map(|(from, to)| self.map.range(from, to))
            .into_iter()
            .flatten()
    }

    /// How many keys a range holds.
    pub(super) fn count(&self, keys: &KeyRange) -> usize {
        if let KeyRange::Key(key) = keys {
            return usize::from(self.map.get(key).is_some());
        }
        bounds(keys).map_or(0, |(from, to)| self.map.count(&from, to.as_ref()))
    }

    /// Sets a key as of this revision. Says what stood there, and what stands there now.
    pub(super) fn put(
        &mut self,
        revision: Revision,
        key: &[u8],
        value: &[u8],
        lease: LeaseId,
    ) -> (Option<Item>, Item) {
        let fresh = || Record {
            value: Bytes::copy_from_slice(value),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease,
            hash: 0,
        };
        let mut after = None;
        let before = self.map.replace(key, |before| {
            let record = &before.value;
            let next = Record {
                create_revision: if mutant(Mutant::ForgetsCreateRevision) {
                    revision
                } else {
                    record.create_revision
                },
                // Of several writes at one revision only the last is ever seen.
                version: record.version + u64::from(record.mod_revision < revision),
                ..fresh()
            };
            let next = Arc::new(Entry {
                value: next.hashed(key),
                key: before.key.clone(),
            });
            after = Some(next.clone());
            next
        });
        let after = after.unwrap_or_else(|| {
            let entry = Arc::new(Entry {
                value: fresh().hashed(key),
                key: Bytes::copy_from_slice(key),
            });
            self.map.insert(entry.clone());
            entry
        });
        if let Some(before) = &before {
            self.hash.remove(before.value.hash);
        }
        self.hash.add(after.value.hash);
        (before, after)
    }

    /// Takes in a key that a snapshot has, behind all that are there; says whether it could. Its bytes are kept as they are given.
    #[must_use]
    pub(super) fn restore(&mut self, kv: KeyValue) -> bool {
        if self.map.last().is_some_and(|last| last.key >= kv.key) {
            return false;
        }
        let item = restored(kv);
        self.hash.add(item.value.hash);
        self.map.insert(item);
        true
    }

    /// Deletes a range, and hands over what stood there, ascending.
    pub(super) fn delete(&mut self, keys: &KeyRange, mut each: impl FnMut(Item)) {
        if let Some((from, to)) = bounds(keys) {
            self.map.extract(&from, to.as_ref(), |item| {
                self.hash.remove(item.value.hash);
                each(item);
            });
        }
    }
}

/// Whether a key is in a range.
pub(crate) fn is_in(key: &[u8], keys: &KeyRange) -> bool {
    match keys {
        KeyRange::Key(one) => one == key,
        KeyRange::Prefix(prefix) => key.starts_with(prefix),
        KeyRange::Range(from, to) => **from <= *key && to.as_ref().is_none_or(|to| *key < **to),
    }
}

/// A range's first possible key, and the first behind it, if there is one; none when nothing can be in it.
fn bounds(keys: &KeyRange) -> Option<(Bytes, Option<Bytes>)> {
    match keys {
        // The next possible key is the one with a zero behind it.
        KeyRange::Key(key) => Some((key.clone(), Some([key, &[0][..]].concat().into()))),
        KeyRange::Prefix(prefix) => Some((prefix.clone(), successor(prefix))),
        KeyRange::Range(from, None) => Some((from.clone(), None)),
        // The map would panic at a range that runs backwards.
        KeyRange::Range(from, Some(to)) => (from < to).then(|| (from.clone(), Some(to.clone()))),
    }
}

/// The first key behind all that begin with a prefix; none when there is no such key.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end.into())
}
