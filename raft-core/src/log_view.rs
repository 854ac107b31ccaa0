//! What the core knows of the log without reading a disk: for all of it the runs of equal terms, enough for every consistency
//! check and conflict hint; for its end, a bounded tail, the entries themselves.
//!
//! Guards: entries are contiguous and their terms never fall.

use alloc::vec::Vec;

use crate::entries::Entries;
use crate::entry::{Entry, Payload};
use crate::tail::Tail;
use crate::types::{Index, LogId, Term};

/// The log as the core sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogView {
    /// The entry before the first.
    base: LogId,
    /// The last; its term is also that of the last run.
    last: LogId,
    /// Where each run of equal terms begins; ascending in both. Covers (base, last].
    runs: Vec<(Index, Term)>,
    /// The newest entries, up to `last`, contiguous.
    tail: Tail,
}

impl LogView {
    /// An empty log behind `base`.
    pub(crate) fn empty(base: LogId) -> Self {
        Self {
            base,
            last: base,
            runs: Vec::new(),
            tail: Tail::default(),
        }
    }

    /// A log as it was found on disk; the index at which the runs do not add up, and the one before, when they do not.
    pub(crate) fn from_runs(
        base: LogId,
        runs: Vec<(Index, Term)>,
        last: Index,
    ) -> Result<Self, (Index, Index)> {
        if last < base.index {
            return Err((last, base.index));
        }
        let mut before = (base.index, base.term);
        for (position, &(first, term)) in runs.iter().enumerate() {
            let contiguous = if position == 0 {
                first == base.index.next()
            } else {
                first > before.0
            };
            let rises = if position == 0 {
                term >= before.1
            } else {
                term > before.1
            };
            if !contiguous || !rises || first > last {
                return Err((first, before.0));
            }
            before = (first, term);
        }
        if runs.is_empty() && last != base.index {
            return Err((last, base.index));
        }
        Ok(Self {
            base,
            last: LogId {
                index: last,
                term: before.1,
            },
            runs,
            tail: Tail::default(),
        })
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail.bytes()
    }

    pub(crate) fn base(&self) -> LogId {
        self.base
    }

    pub(crate) fn last(&self) -> LogId {
        self.last
    }

    /// The term of the entry at `index`; none before the base and beyond the end.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        // Mostly it is asked about the newest.
        if index == self.last.index {
            return Some(self.last.term);
        }
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last.index {
            return None;
        }
        if let Some(&(first, term)) = self.runs.last()
            && first <= index
        {
            return Some(term);
        }
        let position = self.runs.partition_point(|&(first, _)| first <= index);
        self.runs
            .get(position.checked_sub(1)?)
            .map(|&(_, term)| term)
    }

    /// Whether this very entry is in the log, or is its base.
    pub(crate) fn contains(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The last entry at or below `index` whose term is at most `term`: what a conflict is answered with, and where the leader
    /// looks next (paper §5.3, last paragraphs). At the latest, the base.
    pub(crate) fn last_at_or_below(&self, index: Index, term: Term) -> LogId {
        let index = index.min(self.last.index);
        let position = self
            .runs
            .partition_point(|&(first, run)| first <= index && run <= term);
        let Some(&(_, run_term)) = position.checked_sub(1).and_then(|at| self.runs.get(at)) else {
            return self.base;
        };
        let run_end = self
            .runs
            .get(position)
            .map_or(self.last.index, |&(next, _)| next.previous());
        LogId {
            index: run_end.min(index),
            term: run_term,
        }
    }

    /// Appends right behind the end.
    pub(crate) fn append(&mut self, entry: Entry) {
        self.note(entry.id);
        self.tail.push(entry);
    }

    /// Appends all of them right behind the end.
    pub(crate) fn append_all(&mut self, entries: Entries) {
        entries.iter().for_each(|entry| self.note(entry.id));
        self.tail.extend(entries);
    }

    /// The log goes on with `id`.
    fn note(&mut self, id: LogId) {
        let last = self.last;
        assert!(
            id.index == last.index.next(),
            "an entry {id} was to follow {last}"
        );
        assert!(id.term >= last.term, "terms fall from {last} to {id}");
        if id.term != last.term || self.runs.is_empty() {
            self.runs.push((id.index, id.term));
        }
        self.last = id;
    }

    /// Cuts off `from` and all after it.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(
            from > self.base.index,
            "a cut at {from} reaches into what a snapshot covers"
        );
        self.tail.truncate(from);
        while self.runs.last().is_some_and(|&(first, _)| first >= from) {
            self.runs.pop();
        }
        self.last = LogId {
            index: self.last.index.min(from.previous()),
            term: self.runs.last().map_or(self.base.term, |&(_, term)| term),
        };
    }

    /// Lets go of everything up to `up_to`, which the log holds: it is the new base.
    pub(crate) fn cut_front(&mut self, up_to: Index) {
        let Some(term) = self.term_at(up_to) else {
            return;
        };
        let gone = self.runs.partition_point(|&(first, _)| first <= up_to);
        self.runs.drain(..gone.saturating_sub(1));
        // The run that `up_to` stands in goes on behind it, unless it ends there.
        let next_run = self
            .runs
            .get(1)
            .map_or(self.last.index.next(), |&(first, _)| first);
        if let Some(run) = self.runs.first_mut().filter(|run| run.0 <= up_to) {
            if next_run > up_to.next() {
                run.0 = up_to.next();
            } else {
                self.runs.remove(0);
            }
        }
        self.tail.cut_front(up_to);
        self.base = LogId { index: up_to, term };
    }

    /// Entries from `from` up to `to`, as many as fit in `bytes_max` but at least one, and how many bytes they are; none when they
    /// are no longer in memory, or `from` is beyond `to`.
    #[inline]
    pub(crate) fn slice(
        &mut self,
        from: Index,
        to: Index,
        bytes_max: usize,
    ) -> Option<(Entries, usize)> {
        self.tail.slice(from, to, bytes_max)
    }

    /// Whether a command may stand at `index`: one does, or the entry is no longer in memory.
    pub(crate) fn may_be_command(&self, index: Index) -> bool {
        let entry = self.tail.get(index);
        entry.is_none_or(|entry| matches!(entry.payload, Payload::Command(_)))
    }

    /// Lets go of the oldest entries in memory, none above `up_to`, until the rest fits in `bytes_max`.
    pub(crate) fn trim(&mut self, up_to: Index, bytes_max: usize) {
        self.tail.trim(up_to, bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn log(terms: &[u64]) -> LogView {
        let mut log = LogView::empty(LogId::ZERO);
        for (i, &term) in terms.iter().enumerate() {
            log.append(Entry {
                id: LogId::new(i as u64 + 1, term),
                payload: Payload::Command(Bytes::from_static(b"x")),
            });
        }
        log
    }

    /// S-C25, without its compacted base.
    #[test]
    fn conflict_search() {
        let log = log(&[3, 3, 4, 4, 4]);
        for (index, term, expected) in [
            (5, 9, (5, 4)),
            (5, 4, (5, 4)),
            (5, 3, (2, 3)),
            (5, 2, (0, 0)),
            (9, 9, (5, 4)),
            (1, 3, (1, 3)),
        ] {
            assert_eq!(
                log.last_at_or_below(Index(index), Term(term)),
                LogId::new(expected.0, expected.1)
            );
        }
    }

    #[test]
    fn runs_that_do_not_add_up_are_refused() {
        let base = LogId::new(10, 3);
        let run = |first, term| (Index(first), Term(term));
        let good = LogView::from_runs(base, vec![run(11, 3), run(13, 5)], Index(14)).unwrap();
        assert_eq!(good.last(), LogId::new(14, 5));
        assert_eq!(good.term_at(Index(12)), Some(Term(3)));
        assert_eq!(good.term_at(Index(10)), Some(Term(3)));
        assert_eq!(good.term_at(Index(9)), None);
        for (runs, last) in [
            (vec![run(12, 3)], 14),
            (vec![run(11, 2)], 14),
            (vec![run(11, 3), run(13, 3)], 14),
            (vec![run(11, 3), run(11, 4)], 14),
            (vec![run(11, 3), run(15, 4)], 14),
            (vec![], 14),
            (vec![], 9),
        ] {
            assert!(LogView::from_runs(base, runs, Index(last)).is_err());
        }
    }

    #[test]
    fn the_tail_is_bounded_by_bytes_and_keeps_what_it_must() {
        let mut log = log(&[1; 10]);
        let each = 1 + Entry::OVERHEAD_BYTES;
        log.trim(Index(4), 2 * each);
        assert_eq!(
            log.slice(Index(4), Index(10), usize::MAX),
            None,
            "gone from memory"
        );
        assert_eq!(
            log.slice(Index(5), Index(10), usize::MAX).unwrap().0.len(),
            6,
            "5 and later had to stay"
        );
        assert_eq!(
            log.slice(Index(5), Index(10), 1).unwrap().0.len(),
            1,
            "an oversized entry goes alone"
        );
        assert_eq!(
            log.slice(Index(5), Index(6), usize::MAX).unwrap().0.len(),
            2
        );
        assert_eq!(log.slice(Index(11), Index(11), usize::MAX), None);
        assert_eq!(
            log.term_at(Index(1)),
            Some(Term(1)),
            "terms are known of all of it"
        );
    }

    proptest! {
        /// F-P5, F-P17: against a plain list of terms.
        #[test]
        fn as_a_plain_list(
            mut terms in prop::collection::vec(1u64..5, 0..12), front in 0u64..13,
            cut in 1u64..14, index in 0u64..14, term in 0u64..6, more in prop::collection::vec(5u64..7, 0..3),
        ) {
            terms.sort_unstable();
            let mut view = log(&terms);
            view.truncate(Index(cut));
            terms.truncate(cut as usize - 1);
            let mut more = more;
            more.sort_unstable();
            for term in more {
                terms.push(term);
                view.append(Entry { id: LogId::new(terms.len() as u64, term), payload: Payload::Noop });
            }
            // A front that is cut off is known of no more; where it ended, the log begins.
            let front = front.min(terms.len() as u64);
            view.cut_front(Index(front));
            let term_of = |i: u64| if i == 0 { 0 } else { terms[i as usize - 1] };
            prop_assert_eq!(view.base(), LogId::new(front, term_of(front)));
            let rebuilt = LogView::from_runs(view.base(), view.runs.clone(), view.last.index);
            prop_assert_eq!(rebuilt.map(|log| (log.runs, log.last)), Ok((view.runs.clone(), view.last)), "runs add up");
            let kept = terms.len() as u64 - front;
            prop_assert_eq!(view.slice(Index(front + 1), view.last.index, usize::MAX).map_or(0, |(kept, _)| kept.len()) as u64, kept);
            prop_assert_eq!(view.last(), LogId::new(terms.len() as u64, terms.last().copied().unwrap_or(0)));
            for i in 0..16u64 {
                let expected = if i < front { None } else if i == 0 { Some(0) } else { terms.get(i as usize - 1).copied() };
                prop_assert_eq!(view.term_at(Index(i)), expected.map(Term));
            }
            let best = (front + 1..=terms.len() as u64).rev().find(|&i| i <= index && terms[i as usize - 1] <= term);
            let expected = best.map_or(view.base(), |i| LogId::new(i, terms[i as usize - 1]));
            prop_assert_eq!(view.last_at_or_below(Index(index), Term(term)), expected);
        }
    }
}
