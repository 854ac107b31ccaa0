//! Level watchers, by what they watch: an event must not be compared with each of ten thousand.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::api::{Event, KeyRange, Watched};
use crate::store::is_in;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Index<K> {
    keys: BTreeMap<Bytes, BTreeSet<K>>,
    prefixes: BTreeMap<Bytes, BTreeSet<K>>,
    /// How many prefixes of each length there are.
    lengths: BTreeMap<usize, usize>,
    ranges: BTreeMap<K, KeyRange>,
    locks: BTreeMap<Bytes, BTreeSet<K>>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            lengths: BTreeMap::new(),
            ranges: BTreeMap::new(),
            locks: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy> Index<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.prefixes.is_empty()
            && self.ranges.is_empty()
            && self.locks.is_empty()
    }

    pub(super) fn insert(&mut self, who: K, watched: &Watched) {
        match watched {
            Watched::Keys(KeyRange::Key(key)) => add(&mut self.keys, key, who),
            Watched::Keys(KeyRange::Prefix(prefix)) => {
                if !self.prefixes.contains_key(prefix) {
                    *self.lengths.entry(prefix.len()).or_default() += 1;
                }
                add(&mut self.prefixes, prefix, who);
            }
            Watched::Keys(range @ KeyRange::Range(..)) => {
                self.ranges.insert(who, range.clone());
            }
            Watched::Lock(lock) => add(&mut self.locks, lock, who),
        }
    }

    pub(super) fn remove(&mut self, who: K, watched: &Watched) {
        match watched {
            Watched::Keys(KeyRange::Key(key)) => drop(take(&mut self.keys, key, who)),
            Watched::Keys(KeyRange::Prefix(prefix)) => {
                if take(&mut self.prefixes, prefix, who)
                    && let Some(count) = self.lengths.get_mut(&prefix.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        self.lengths.remove(&prefix.len());
                    }
                }
            }
            Watched::Keys(KeyRange::Range(..)) => drop(self.ranges.remove(&who)),
            Watched::Lock(lock) => drop(take(&mut self.locks, lock, who)),
        }
    }

    /// Visits everyone whom an event concerns.
    pub(super) fn concerned(&self, event: &Event, mut each: impl FnMut(K)) {
        let mut all =
            |set: Option<&BTreeSet<K>>| set.into_iter().flatten().for_each(|&who| each(who));
        let key = match event {
            Event::Put { kv, .. } => &kv.key,
            Event::Deleted { previous } => &previous.key,
            Event::Claimed { lock, .. } | Event::Released { lock, .. } => {
                return all(self.locks.get(lock));
            }
        };
        all(self.keys.get(key));
        for length in self.lengths.keys() {
            if let Some(prefix) = key.get(..*length) {
                all(self.prefixes.get(prefix));
            }
        }
        for (&who, range) in &self.ranges {
            if is_in(key, range) {
                each(who);
            }
        }
    }
}

fn add<K: Ord>(sets: &mut BTreeMap<Bytes, BTreeSet<K>>, name: &Bytes, who: K) {
    // A copy of its own: the name is a slice of the frame that it came in.
    match sets.get_mut(name) {
        Some(set) => drop(set.insert(who)),
        None => drop(sets.insert(Bytes::copy_from_slice(name), BTreeSet::from([who]))),
    }
}

/// Takes one out; says whether it was the last under this name.
fn take<K: Ord>(sets: &mut BTreeMap<Bytes, BTreeSet<K>>, name: &Bytes, who: K) -> bool {
    let Some(set) = sets.get_mut(name) else {
        return false;
    };
    set.remove(&who);
    let last = set.is_empty();
    if last {
        sets.remove(name);
    }
    last
}
