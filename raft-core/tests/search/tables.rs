//! Tables in which each node, message and history that occurs anywhere is kept once, and known by its number. There are far fewer of
//! them than states of the cluster; so a state is a handful of numbers, and what a node does when something happens is worked out by
//! the core once, and looked up from then on.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A quick hash, as good as a table needs.
#[derive(Clone, Copy, Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

pub type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

pub fn hash_of(value: &impl Hash) -> u64 {
    let mut mix = Mix::default();
    value.hash(&mut mix);
    mix.finish()
}

/// Values, each kept once, in the order of their first appearance, with what is to be known of each.
pub struct Table<T, Facts> {
    values: Vec<(T, Facts)>,
    numbers: QuickMap<u64, Vec<u32>>,
}

impl<T: Hash + Eq, Facts> Table<T, Facts> {
    pub fn new() -> Self {
        Self {
            values: Vec::new(),
            numbers: QuickMap::default(),
        }
    }

    /// The number of `value`; it is compared, not only hashed.
    pub fn number(&mut self, value: T, facts: impl FnOnce(&T) -> Facts) -> u32 {
        let same_hash = self.numbers.entry(hash_of(&value)).or_default();
        let values = &self.values;
        let known = same_hash.iter().find(|&&at| values[at as usize].0 == value);
        if let Some(&known) = known {
            return known;
        }
        let number = u32::try_from(self.values.len()).expect("fewer than 2^32 of them");
        same_hash.push(number);
        let facts = facts(&value);
        self.values.push((value, facts));
        number
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn get(&self, number: u32) -> &T {
        &self.values[number as usize].0
    }

    pub fn facts(&self, number: u32) -> &Facts {
        &self.values[number as usize].1
    }
}
