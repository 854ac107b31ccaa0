//! One chunk of the map: some keys in a row.
//!
//! Guards: the words that a search goes by are always those of the keys.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// A key and its value.
#[derive(Clone)]
pub(in crate::store) struct Entry<V> {
    pub(in crate::store) key: Bytes,
    pub(in crate::store) value: V,
}

/// Where a key stands in a chunk.
struct Slot<V> {
    /// The eight bytes of the key behind those that all keys of the chunk have in common: most comparisons of a search end
    /// with it, and so touch neither the entry nor the key, which are elsewhere in memory.
    word: u64,
    entry: Arc<Entry<V>>,
}

impl<V> Clone for Slot<V> {
    fn clone(&self) -> Self {
        Self {
            word: self.word,
            entry: Arc::clone(&self.entry),
        }
    }
}

/// Some keys in a row, ascending.
pub(super) struct Chunk<V> {
    /// How many bytes at the beginning all keys have in common, or fewer.
    common: usize,
    slots: Vec<Slot<V>>,
}

impl<V> Clone for Chunk<V> {
    fn clone(&self) -> Self {
        Self {
            common: self.common,
            slots: self.slots.clone(),
        }
    }
}

impl<V> Default for Chunk<V> {
    fn default() -> Self {
        Self {
            common: 0,
            slots: Vec::new(),
        }
    }
}

impl<V> Chunk<V> {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn first(&self) -> Option<&Entry<V>> {
        self.slots.first().map(|slot| &*slot.entry)
    }

    pub(super) fn last(&self) -> Option<&Entry<V>> {
        self.slots.last().map(|slot| &*slot.entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<V>> {
        self.slots.iter().map(|slot| &*slot.entry)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<Entry<V>>> {
        let at = self.find(key).ok()?;
        self.slots.get(at).map(|slot| &slot.entry)
    }

    /// Where a key stands, or would stand.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(first) = self.first() else {
            return Err(0);
        };
        match head(key, self.common).cmp(head(&first.key, self.common)) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.len()),
            Ordering::Equal => {}
        }
        let word = word(key, self.common);
        self.slots.binary_search_by(|slot| {
            let by_word = slot.word.cmp(&word);
            by_word.then_with(|| slot.entry.key[..].cmp(key))
        })
    }

    /// Where the keys stand from `from` on and before `to`.
    pub(super) fn positions(&self, from: &[u8], to: Option<&[u8]>) -> Range<usize> {
        let at = |key| self.find(key).unwrap_or_else(|at| at);
        at(from)..to.map_or(self.len(), at)
    }

    /// The keys from `from` on and before `to`.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = &Entry<V>> + ExactSizeIterator + use<'_, V> {
        let slots = self.slots.get(self.positions(from, to));
        slots.unwrap_or_default().iter().map(|slot| &*slot.entry)
    }

    /// Adds a key that is not there; says whether it is the last one now.
    pub(super) fn insert(&mut self, entry: Arc<Entry<V>>) -> bool {
        let key = &entry.key;
        let at = self.find(key).unwrap_or_else(|at| at);
        let fits = self
            .first()
            .is_some_and(|first| head(&first.key, self.common) == head(key, self.common));
        let slot = Slot {
            word: word(key, self.common),
            entry,
        };
        self.slots.insert(at, slot);
        if !fits {
            self.set_words();
        }
        at + 1 == self.len()
    }

    /// Puts another entry, of the same key, in the place of one; gives back what stood there.
    pub(super) fn replace(
        &mut self,
        at: usize,
        next: impl FnOnce(&Arc<Entry<V>>) -> Arc<Entry<V>>,
    ) -> Option<Arc<Entry<V>>> {
        let slot = self.slots.get_mut(at)?;
        let next = next(&slot.entry);
        Some(std::mem::replace(&mut slot.entry, next))
    }

    /// Takes out the keys at these positions.
    ///
    /// # Panics
    /// When there are no such positions.
    pub(super) fn take(&mut self, positions: Range<usize>) -> Vec<Arc<Entry<V>>> {
        let taken = self.slots.drain(positions);
        taken.map(|slot| slot.entry).collect()
    }

    /// The last keys of the chunk, from this position on, as a chunk of their own.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let mut rest = Self {
            common: 0,
            slots: self.slots.split_off(at),
        };
        // Else it would stay as large as it never will be again.
        self.slots.shrink_to_fit();
        self.set_words();
        rest.set_words();
        rest
    }

    /// Adds the keys of the chunk behind this one.
    pub(super) fn append(&mut self, mut next: Self) {
        self.slots.append(&mut next.slots);
        self.set_words();
    }

    /// Reckons the words anew, behind all that the keys have in common now.
    fn set_words(&mut self) {
        // What the first and the last begin with, all between them begin with.
        let (Some(first), Some(last)) = (self.slots.first(), self.slots.last()) else {
            return;
        };
        let both = first.entry.key.iter().zip(&last.entry.key);
        self.common = both.take_while(|(a, b)| a == b).count();
        for slot in &mut self.slots {
            slot.word = word(&slot.entry.key, self.common);
        }
    }
}

/// The beginning of a key; all of it if it is no longer than that.
fn head(key: &[u8], length: usize) -> &[u8] {
    key.get(..length).unwrap_or(key)
}

/// Eight bytes of a key from here on, filled up with zeros, as a number that orders as they do.
fn word(key: &[u8], from: usize) -> u64 {
    let mut word = [0; 8];
    let rest = key.get(from..).unwrap_or_default();
    word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(word)
}
