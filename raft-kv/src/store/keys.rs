//! The keys, in byte order, each with its record.
//!
//! The map keeps copies of its own of keys and values: what a command brings is a slice of a received frame, and keeping a
//! slice of ten bytes would keep the whole frame.

use bytes::Bytes;

use super::chunks::{Chunks, Entry};
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
    pub(super) version: u64,
    pub(super) lease: LeaseId,
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
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Record)> {
        self.map.iter().map(pair)
    }

    /// The hash, reckoned anew from what is there.
    #[cfg(test)]
    pub(super) fn hash_anew(&self) -> u64 {
        let mut sum = HashSum::default();
        for (key, record) in self.iter() {
            sum.add(record.clone().hashed(key).hash);
        }
        sum.value()
    }

    /// The key with its record, for a reply.
    pub(super) fn key_value(&self, key: &[u8]) -> Option<KeyValue> {
        let (key, record) = pair(self.map.get(key)?);
        Some(record.with_key(key))
    }

    /// The keys of a range, ascending.
    pub(super) fn range(
        &self,
        keys: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Record)> + use<'_> {
        bounds(keys)
            .map(|(from, to)| self.map.range(from, to))
            .into_iter()
            .flatten()
            .map(pair)
    }

    /// How many keys a range holds.
    pub(super) fn count(&self, keys: &KeyRange) -> usize {
        if let KeyRange::Key(key) = keys {
            return usize::from(self.map.get(key).is_some());
        }
        bounds(keys).map_or(0, |(from, to)| self.map.count(&from, to.as_ref()))
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
            None
        }
    }

    /// Takes in a key that a snapshot has, behind all that are there; says whether it could. Its bytes are kept as they are given.
    #[must_use]
    pub(super) fn restore(&mut self, kv: KeyValue) -> bool {
        if self.map.last().is_some_and(|last| last.key >= kv.key) {
            return false;
        }
        let record = Record {
            value: kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
            hash: 0,
        };
        let record = record.hashed(&kv.key);
        self.hash.add(record.hash);
        self.map.insert(kv.key, record);
        true
    }

    /// Deletes a range. Of what stood there comes back as much as fits, and at least one, when it is wanted.
    pub(super) fn delete(&mut self, keys: &KeyRange, previous_bytes_max: Option<u64>) -> Deleted {
        let mut deleted = Deleted {
            count: 0,
            previous: Vec::new(),
        };
        let Some((from, to)) = bounds(keys) else {
            return deleted;
        };
        let mut room = previous_bytes_max;
        self.map.extract(&from, to.as_ref(), |key, record| {
            self.hash.remove(record.hash);
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
        });
        deleted
    }
}

fn pair(entry: &Entry<Record>) -> (&Bytes, &Record) {
    (&entry.key, &entry.value)
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
