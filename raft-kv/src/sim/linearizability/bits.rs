//! A set of small numbers that is dense below and empty above: what a search has placed so far. Only what lies between takes room.

/// One set has one representation, so that sets can be compared and hashed.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(super) struct Bits {
    /// So many words at the beginning are all ones, and not stored.
    full: usize,
    /// The words behind them; the last is not zero.
    words: Vec<u64>,
}

const WORD: usize = u64::BITS as usize;

impl Bits {
    pub(super) fn insert(&mut self, number: usize) {
        let Some(at) = (number / WORD).checked_sub(self.full) else {
            return;
        };
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        if let Some(word) = self.words.get_mut(at) {
            *word |= 1 << (number % WORD);
        }
        while self.words.first() == Some(&u64::MAX) {
            self.words.remove(0);
            self.full += 1;
        }
    }

    pub(super) fn remove(&mut self, number: usize) {
        let at = number / WORD;
        if at < self.full {
            let ones = std::iter::repeat_n(u64::MAX, self.full - at);
            self.words.splice(0..0, ones);
            self.full = at;
        }
        if let Some(word) = self.words.get_mut(at - self.full) {
            *word &= !(1 << (number % WORD));
        }
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.word(number / WORD) & (1 << (number % WORD)) != 0
    }

    /// The first number from this on that is not in the set.
    pub(super) fn next_absent(&self, from: usize) -> usize {
        let mut number = from.max(self.full * WORD);
        loop {
            let absent = !self.word(number / WORD) >> (number % WORD);
            if absent != 0 {
                return number + absent.trailing_zeros() as usize;
            }
            number = (number / WORD + 1) * WORD;
        }
    }

    pub(super) fn is_subset(&self, of: &Self) -> bool {
        let words = self.full + self.words.len();
        (of.full..words).all(|at| self.word(at) & !of.word(at) == 0)
    }

    fn word(&self, at: usize) -> u64 {
        match at.checked_sub(self.full) {
            None => u64::MAX,
            Some(at) => self.words.get(at).copied().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn bits(numbers: &BTreeSet<usize>) -> Bits {
        let mut bits = Bits::default();
        for &number in numbers {
            bits.insert(number);
        }
        bits
    }

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((0..300_usize, 0..4_u8), 0..900), dense in 0..300_usize) {
            let mut set: BTreeSet<usize> = (0..dense).collect();
            let mut ours = bits(&set);
            for (number, what) in steps {
                if what == 0 {
                    set.remove(&number);
                    ours.remove(number);
                } else {
                    set.insert(number);
                    ours.insert(number);
                }
                prop_assert_eq!(&ours, &bits(&set));
                prop_assert_eq!(ours.contains(number), what != 0);
                prop_assert_eq!(ours.next_absent(number), (number..).find(|n| !set.contains(n)).unwrap());
            }
        }

        #[test]
        fn subsets_are_told(
            one in prop::collection::btree_set(0..200_usize, 0..200),
            without in prop::collection::btree_set(0..200_usize, 0..12),
        ) {
            let other: BTreeSet<usize> = (0..200).filter(|n| !without.contains(n)).collect();
            let both: BTreeSet<usize> = one.intersection(&other).copied().collect();
            prop_assert_eq!(bits(&one).is_subset(&bits(&other)), one.is_subset(&other));
            prop_assert!(bits(&both).is_subset(&bits(&one)) && bits(&both).is_subset(&bits(&other)));
        }
    }
}
