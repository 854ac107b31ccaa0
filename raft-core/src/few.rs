//! A map for as few keys as a cluster has nodes: it lies in one piece of memory, and a look into it follows no pointers.

use alloc::vec::Vec;
use core::fmt;

/// Keys, ascending, with their values.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Few<K, V>(Vec<(K, V)>);

impl<K: Ord + Copy, V> Few<K, V> {
    /// Where `key` is, or would be put. Looked for from the front: with so few, that is faster than any search.
    fn place(&self, key: &K) -> Result<usize, usize> {
        for (at, (other, _)) in self.0.iter().enumerate() {
            if other >= key {
                return if other == key { Ok(at) } else { Err(at) };
            }
        }
        Err(self.0.len())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let found = self.0.iter().find(|(other, _)| other == key);
        found.map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let found = self.0.iter_mut().find(|(other, _)| other == key);
        found.map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// Puts `value` in the place of `key`; what was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => self
                .0
                .get_mut(at)
                .map(|(_, old)| core::mem::replace(old, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place(key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Gives every key another name, and no two the same.
    pub(crate) fn rename(&mut self, name: impl Fn(K) -> K) {
        for (key, _) in &mut self.0 {
            *key = name(*key);
        }
        self.0.sort_by_key(|(key, _)| *key);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> IntoIterator for Few<K, V> {
    type Item = (K, V);
    type IntoIter = alloc::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Few<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(key, value)| (key, value)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        /// Against the standard library's map.
        #[test]
        fn as_a_map(steps in prop::collection::vec((0u8..3, 0u8..8, any::<u8>()), 0..60)) {
            let (mut few, mut map) = (Few::default(), BTreeMap::new());
            for (what, key, value) in steps {
                match what {
                    0 => prop_assert_eq!(few.insert(key, value), map.insert(key, value)),
                    1 => prop_assert_eq!(few.remove(&key), map.remove(&key)),
                    _ => {
                        few.retain(|&other, _| other != key);
                        map.retain(|&other, _| other != key);
                    }
                }
                prop_assert!(few.iter().eq(map.iter()));
                prop_assert_eq!(few.len(), map.len());
                for key in 0..9 {
                    prop_assert_eq!(few.get(&key), map.get(&key));
                    prop_assert_eq!(few.get_mut(&key), map.get_mut(&key));
                    prop_assert_eq!(few.contains_key(&key), map.contains_key(&key));
                }
            }
        }
    }
}
