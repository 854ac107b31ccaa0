//! How many bytes lie between two entries that were handed out to apply: what the log in front of a snapshot is bounded by.
//!
//! Not of every entry, but of one after so many bytes, so that it stays small however long the log is. Guards: what is said to fit does.

use alloc::collections::VecDeque;

use crate::types::Index;

/// Counted from where it began; what lies in front of that counts as too much.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sizes {
    /// Up to this entry, and with it, so many bytes; ascending in both. Never empty.
    steps: VecDeque<(Index, u64)>,
    /// The last entry that was counted, and all bytes.
    end: (Index, u64),
}

impl Default for Sizes {
    fn default() -> Self {
        Self::behind(Index::ZERO)
    }
}

impl Sizes {
    /// Counts what comes behind `index`.
    pub(crate) fn behind(index: Index) -> Self {
        Self {
            steps: VecDeque::from([(index, 0)]),
            end: (index, 0),
        }
    }

    /// The entries up to `last` have so many bytes more. One place is remembered for every `step_bytes`.
    pub(crate) fn note(&mut self, last: Index, bytes: usize, step_bytes: usize) {
        self.end = (last, self.end.1.saturating_add(bytes as u64));
        let before = self.steps.back().map_or(0, |&(_, bytes)| bytes);
        if self.end.1 - before >= step_bytes as u64 {
            self.remember();
        }
    }

    /// Remembers the last entry that was counted, whatever lies before it.
    pub(crate) fn remember(&mut self) {
        if self.steps.back() != Some(&self.end) {
            self.steps.push_back(self.end);
        }
    }

    /// The first remembered entry behind which, up to `end`, lie no more than `bytes_max`. At most `end`.
    pub(crate) fn fits_behind(&self, end: Index, bytes_max: usize) -> Index {
        let known = self.steps.iter().find(|&&(index, _)| index >= end);
        let &(_, bytes) = known.unwrap_or(&self.end);
        let enough = |&&(_, before): &&(Index, u64)| bytes - before.min(bytes) <= bytes_max as u64;
        let first = self.steps.iter().find(enough);
        first.map_or(end, |&(index, _)| index.min(end))
    }

    /// Nobody asks about what lies in front of `index` any more.
    pub(crate) fn forget_before(&mut self, index: Index) {
        while self.steps.get(1).is_some_and(|&(next, _)| next <= index) {
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// F-O9: against the sizes of all entries. What is said to fit does, and no less than a step and a job under what would.
        #[test]
        fn as_a_plain_list(
            jobs in prop::collection::vec(prop::collection::vec(1usize..50, 1..5), 1..30),
            begin in 0u64..5, step in 0usize..100, max in 0usize..400, asked in 0usize..30, forgotten in 0u64..100,
        ) {
            let mut sizes = Sizes::behind(Index(begin));
            let mut list: Vec<usize> = Vec::new();
            let (mut asked_at, mut job_max) = (Index(begin), 0);
            for (nth, job) in jobs.iter().enumerate() {
                list.extend(job);
                let bytes = job.iter().sum();
                job_max = job_max.max(bytes);
                sizes.note(Index(begin + list.len() as u64), bytes, step);
                if nth == asked {
                    sizes.remember();
                    asked_at = Index(begin + list.len() as u64);
                }
            }
            let all = |from: Index| list.iter().take((asked_at.0 - begin) as usize).skip((from.0 - begin) as usize).sum::<usize>();
            let front = sizes.fits_behind(asked_at, max);
            prop_assert!(front >= Index(begin) && front <= asked_at);
            prop_assert!(all(front) <= max, "{} bytes behind {front}, which are to be {max}", all(front));
            if front > Index(begin) {
                prop_assert!(all(front) + step + job_max > max, "{} bytes more fit", max - all(front));
            }
            sizes.forget_before(Index(forgotten).min(front));
            prop_assert_eq!(sizes.fits_behind(asked_at, max), front);
            // What was there before it began to count is too much, whatever it is.
            prop_assert_eq!(sizes.fits_behind(Index(begin), 0), Index(begin));
        }
    }
}
