//! How many keys a range holds, without walking all of them: an exact count is part of every range's answer, and a reader of
//! ten keys out of millions must not hold up the node for as long as counting the millions takes.
//!
//! The key space is cut into stretches, each with the number of its keys. A count walks the keys of at most two stretches, at
//! the range's ends, and sums up those in between.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// How many keys a stretch has at most; one that grows beyond it is cut in two.
const STRETCH_KEYS_MAX: usize = 1024;

/// The stretches by their first possible key. Each reaches to the next, the first begins at the empty key.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    stretches: BTreeMap<Bytes, usize>,
}

impl Counts {
    /// A key was inserted into the map; it was not there before.
    pub(super) fn added<T>(&mut self, key: &[u8], map: &BTreeMap<Bytes, T>) {
        let Some((start, count)) = self.stretch(key) else {
            self.stretches.insert(Bytes::new(), 1);
            return;
        };
        *count += 1;
        if *count <= STRETCH_KEYS_MAX {
            return;
        }
        let half = *count / 2;
        let keys = map.range::<Bytes, _>((Bound::Included(start), Bound::Unbounded));
        if let Some((middle, _)) = keys.into_iter().nth(half) {
            let rest = *count - half;
            *count = half;
            self.stretches.insert(middle.clone(), rest);
        }
    }

    /// A key that was in the map is gone.
    pub(super) fn removed(&mut self, key: &[u8]) {
        let Some((start, count)) = self.stretch(key) else {
            return;
        };
        *count = count.saturating_sub(1);
        // The one before reaches further then.
        if *count == 0 && !start.is_empty() {
            let start = start.clone();
            self.stretches.remove(&start);
        }
    }

    /// How many keys of the map there are from `from` on and before `to`.
    ///
    /// # Panics
    /// When `to` stands before `from`.
    pub(super) fn count<T>(
        &self,
        from: &Bytes,
        to: Bound<&Bytes>,
        map: &BTreeMap<Bytes, T>,
    ) -> usize {
        let walk = |from: &Bytes, to: Bound<&Bytes>| {
            map.range::<Bytes, _>((Bound::Included(from), to)).count()
        };
        // Those that begin within the range: all but the last lie in it as a whole.
        let mut inner = self
            .stretches
            .range::<Bytes, _>((Bound::Included(from), to));
        let Some((last, &last_count)) = inner.next_back() else {
            return walk(from, to);
        };
        let first = inner.clone().next().map_or(last, |(first, _)| first);
        let whole: usize = inner.map(|(_, count)| count).sum();
        let tail = match to {
            Bound::Unbounded => last_count,
            to => walk(last, to),
        };
        walk(from, Bound::Excluded(first)) + whole + tail
    }

    /// The stretch that a key belongs to; none before the first key.
    fn stretch(&mut self, key: &[u8]) -> Option<(&Bytes, &mut usize)> {
        self.stretches
            .range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Bytes {
        Bytes::copy_from_slice(&(number as u16).to_be_bytes())
    }

    #[test]
    fn counts_are_what_walking_gives_and_no_stretch_is_long() {
        let mut map = BTreeMap::new();
        let mut counts = Counts::default();
        let mut state = 1_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for round in 0..60 {
            for _ in 0..1000 {
                let key = key(random());
                if map.insert(key.clone(), ()).is_none() {
                    counts.added(&key, &map);
                }
            }
            // Now and then a stretch of any length goes.
            let (from, to) = (key(random()), key(random()));
            if from < to && round % 3 == 0 {
                for (key, ()) in map.extract_if(from..to, |_, ()| true) {
                    counts.removed(&key);
                }
            }
            for _ in 0..50 {
                let (from, to) = (key(random()), key(random()));
                if from < to {
                    assert_eq!(
                        counts.count(&from, Bound::Excluded(&to), &map),
                        map.range(from.clone()..to.clone()).count()
                    );
                }
                assert_eq!(
                    counts.count(&from, Bound::Unbounded, &map),
                    map.range(from..).count()
                );
            }
            assert!(counts.stretches.values().all(|&n| n <= STRETCH_KEYS_MAX));
            assert!(counts.stretches.keys().next().is_some_and(Bytes::is_empty));
        }
        assert!(counts.stretches.len() > 10 && map.len() > 10_000);
    }
}
