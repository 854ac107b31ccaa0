//! What is on its way to the disk, and what therefore may not be said yet.
//!
//! A change of the hard state or of the log goes into the *open* job, which is sealed and handed out when the driver drains
//! the effects. Guards: nothing counts as durable while any job that wrote or cut it is under way, so that the answer to an old
//! write never counts for a rewritten index.

use alloc::collections::VecDeque;

use crate::mutants::{Mutant, mutant};
use crate::snapshot::Snapshot;
use crate::types::{Index, JobId};

/// A job that was handed out and not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    id: JobId,
    /// It holds a new term or vote.
    state: bool,
    /// The lowest index that it writes or cuts.
    from: Option<Index>,
    /// When it was handed out.
    issued_at: u64,
}

/// A snapshot that stands in for the log up to its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) snapshot: Snapshot,
    /// The log goes on right behind it, and holds nothing of what it held before.
    pub(crate) resets_log: bool,
}

/// The jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Journal {
    pending: VecDeque<Pending>,
    /// The lowest index that any job, open or under way, writes or cuts: what [`Journal::durable_index`] is asked for all the time.
    lowest: Option<Index>,
    /// The newest job under way that holds a term or a vote.
    state_under_way: Option<JobId>,
    /// The number of the newest job that was handed out.
    issued: JobId,
    open_state: bool,
    open_from: Option<Index>,
    open_mark: Option<Mark>,
    /// When a job was last answered.
    completed_at: u64,
    /// The log's last index once every job that was handed out is done.
    issued_last: Index,
}

/// What the open job was to hold.
pub(crate) struct Sealed {
    pub(crate) id: JobId,
    pub(crate) state: bool,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) truncate_from: Option<Index>,
    /// Where the job's entries begin.
    pub(crate) from: Option<Index>,
}

impl Journal {
    /// Nothing under way, and a log that ends at `last`.
    pub(crate) fn new(last: Index) -> Self {
        Self {
            pending: VecDeque::new(),
            lowest: None,
            state_under_way: None,
            issued: JobId::ZERO,
            open_state: false,
            open_from: None,
            open_mark: None,
            completed_at: 0,
            issued_last: last,
        }
    }

    /// The term or the vote has changed.
    pub(crate) fn state_changed(&mut self) {
        self.open_state = true;
    }

    /// The log was written, or cut, at `index` and behind.
    pub(crate) fn log_changed(&mut self, index: Index) {
        self.open_from = Some(self.open_from.map_or(index, |from| from.min(index)));
        self.lowest = Some(self.lowest.map_or(index, |from| from.min(index)));
    }

    /// A snapshot is to be marked. One that resets the log replaces an older mark that is not handed out, and covers it.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.open_mark = Some(mark);
    }

    fn open_id(&self) -> JobId {
        self.issued.next()
    }

    /// Whether the open job holds anything.
    #[inline]
    pub(crate) fn holds_anything(&self) -> bool {
        self.open_state || self.open_from.is_some() || self.open_mark.is_some()
    }

    /// Seals the open job, if it holds anything, at a time when the log ends at `last`.
    #[inline]
    pub(crate) fn seal(&mut self, last: Index, now: u64) -> Option<Sealed> {
        if !self.holds_anything() {
            return None;
        }
        let (snapshot, reset) = match self.open_mark.take() {
            Some(mark) => {
                let reset = mark.resets_log.then_some(mark.snapshot.last.index);
                (Some(mark.snapshot), reset)
            }
            None => (None, None),
        };
        let (state, from) = (core::mem::take(&mut self.open_state), self.open_from.take());
        self.issued = self.issued.next();
        if state {
            self.state_under_way = Some(self.issued);
        }
        self.pending.push_back(Pending {
            id: self.issued,
            state,
            from,
            issued_at: now,
        });
        // Behind a snapshot nothing is left, even where the disk's log holds the very entry that it ends with.
        let truncate_from = match reset {
            Some(end) => Some(end.next()),
            None => from.filter(|&from| from <= self.issued_last),
        };
        if from.is_some() {
            self.issued_last = last;
        }
        Some(Sealed {
            id: self.issued,
            state,
            snapshot,
            truncate_from,
            from: match reset {
                Some(end) => from.map(|from| from.max(end.next())),
                None => from,
            },
        })
    }

    /// Takes the answer that all jobs up to `id` are durable; whether there was such a job under way.
    #[inline]
    pub(crate) fn complete(&mut self, id: JobId, now: u64) -> bool {
        if self.pending.front().is_none_or(|oldest| id < oldest.id) || id > self.issued {
            return false;
        }
        self.completed_at = now;
        while self.pending.front().is_some_and(|oldest| oldest.id <= id) {
            self.pending.pop_front();
        }
        // Mostly nothing else is under way.
        self.lowest = self.open_from;
        for from in self.pending.iter().filter_map(|job| job.from) {
            if !mutant(Mutant::CountsUnfinishedWrites) {
                self.lowest = Some(self.lowest.map_or(from, |lowest| lowest.min(from)));
            }
        }
        self.state_under_way = self.state_under_way.filter(|&job| job > id);
        true
    }

    /// The newest job, open or under way, that holds a term or a vote.
    pub(crate) fn state_job(&self) -> Option<JobId> {
        if self.open_state {
            return Some(self.open_id());
        }
        self.state_under_way
    }

    /// The newest job, open or under way, that writes or cuts `index` or anything before it.
    pub(crate) fn job_reaching(&self, index: Index) -> Option<JobId> {
        if self.open_from.is_some_and(|from| from <= index) {
            return Some(self.open_id());
        }
        self.pending
            .iter()
            .rev()
            .find(|job| job.from.is_some_and(|from| from <= index))
            .map(|job| job.id)
    }

    /// Up to where a log that ends at `last` is durable.
    pub(crate) fn durable_index(&self, last: Index) -> Index {
        self.lowest.map_or(last, |from| from.previous().min(last))
    }

    /// How many jobs are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.pending.len()
    }

    /// Numbers the jobs under way from 1, as if they had been handed out `now`; how many there were before them.
    pub(crate) fn forget_done(&mut self, now: u64) -> u64 {
        let done = self.issued.0 - self.pending.len() as u64;
        for job in &mut self.pending {
            job.id.0 -= done;
            job.issued_at = now;
        }
        if let Some(job) = &mut self.state_under_way {
            job.0 -= done;
        }
        self.issued.0 -= done;
        self.completed_at = now;
        done
    }

    /// The oldest job under way, and since when nothing has been answered. A disk that is slow and moves on is not one that hangs.
    pub(crate) fn oldest(&self) -> Option<(JobId, u64)> {
        self.pending
            .front()
            .map(|job| (job.id, job.issued_at.max(self.completed_at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// S-F3, S-F4: an old write's answer does not count for an index that was written again.
    #[test]
    fn rewritten_index_waits_for_the_newer_job() {
        let mut journal = Journal::new(Index(11));
        journal.log_changed(Index(12));
        assert_eq!(journal.seal(Index(12), 0).unwrap().truncate_from, None);
        journal.log_changed(Index(12));
        assert_eq!(
            journal.seal(Index(12), 0).unwrap().truncate_from,
            Some(Index(12))
        );
        assert_eq!(journal.durable_index(Index(12)), Index(11));
        assert!(journal.complete(JobId(1), 0));
        assert_eq!(
            journal.durable_index(Index(12)),
            Index(11),
            "job 2 wrote 12 again"
        );
        assert_eq!(journal.job_reaching(Index(12)), Some(JobId(2)));
        assert!(journal.complete(JobId(2), 0));
        assert_eq!(journal.durable_index(Index(12)), Index(12));
        assert!(!journal.complete(JobId(2), 0), "answered already");
        assert!(!journal.complete(JobId(3), 0), "never handed out");
    }

    /// What a newer job cuts below an older one is not durable, though the older one comes first.
    #[test]
    fn a_newer_job_that_reaches_lower_counts_too() {
        let mut journal = Journal::new(Index(11));
        journal.log_changed(Index(12));
        journal.seal(Index(12), 0).unwrap();
        journal.log_changed(Index(10));
        assert_eq!(
            journal.durable_index(Index(10)),
            Index(9),
            "the open job cuts at 10"
        );
        journal.seal(Index(10), 0).unwrap();
        assert_eq!(
            journal.durable_index(Index(10)),
            Index(9),
            "job 2 cuts at 10"
        );
        assert_eq!(journal.job_reaching(Index(10)), Some(JobId(2)));
        assert_eq!(journal.job_reaching(Index(9)), None);
    }

    /// S-F5: a cut inside the open job, below what was handed out, is a cut on disk.
    #[test]
    fn cut_in_the_open_job() {
        let mut journal = Journal::new(Index(5));
        journal.log_changed(Index(6));
        journal.log_changed(Index(4));
        journal.log_changed(Index(4));
        let sealed = journal.seal(Index(7), 0).unwrap();
        assert_eq!(
            (sealed.truncate_from, sealed.from),
            (Some(Index(4)), Some(Index(4)))
        );
        assert!(journal.seal(Index(7), 0).is_none());
    }

    /// An older job's answer says nothing of what came in since, though no job holds it yet.
    #[test]
    fn what_is_not_handed_out_is_not_durable() {
        let mut journal = Journal::new(Index(11));
        journal.log_changed(Index(12));
        journal.seal(Index(12), 0).unwrap();
        journal.log_changed(Index(13));
        assert!(journal.complete(JobId(1), 0));
        assert_eq!(journal.durable_index(Index(13)), Index(12));
    }

    proptest! {
        /// What is kept beside the jobs is what going through them would find.
        #[test]
        fn as_found_in_the_jobs(steps in prop::collection::vec((0u8..5, 1u64..12), 0..40)) {
            let mut journal = Journal::new(Index(11));
            for (what, number) in steps {
                match what {
                    0 => journal.log_changed(Index(number)),
                    1 => journal.state_changed(),
                    2 => drop(journal.seal(Index(11), 0)),
                    3 => drop(journal.complete(JobId(number), 0)),
                    _ => drop(journal.forget_done(0)),
                }
                let jobs = || journal.pending.iter();
                let written = jobs().filter_map(|job| job.from).chain(journal.open_from);
                let durable = written.min().map_or(Index(11), Index::previous);
                prop_assert_eq!(journal.durable_index(Index(11)), durable);
                let states = jobs().filter(|job| job.state).map(|job| job.id);
                let open = journal.open_state.then(|| journal.open_id());
                prop_assert_eq!(journal.state_job(), states.chain(open).max());
            }
        }
    }
}
