//! The disk of the attacked node: it holds what was written, no more and no less.

use raft_core::*;

#[derive(Default)]
pub struct Disk {
    pub last_job: JobId,
    hard_state: HardState,
    base: LogId,
    snapshot: Option<Snapshot>,
    log: Vec<Entry>,
}

impl Disk {
    pub fn is_empty(&self) -> bool {
        self.base == LogId::ZERO && self.log.is_empty()
    }

    fn last(&self) -> LogId {
        self.log.last().map_or(self.base, |entry| entry.id)
    }

    /// Where the snapshot ends.
    pub fn covered(&self) -> Index {
        self.snapshot
            .as_ref()
            .map_or(Index::ZERO, |snapshot| snapshot.last.index)
    }

    /// Writes a job in the order of its fields.
    pub fn write(&mut self, job: PersistJob) {
        self.last_job = job.id;
        if let Some(state) = job.hard_state {
            assert!(state.term >= self.hard_state.term, "the term falls");
            self.hard_state = state;
        }
        if let Some(snapshot) = job.snapshot {
            assert!(snapshot.last.index > self.covered(), "an older snapshot");
            let holds = self.base == snapshot.last
                || self.log.iter().any(|entry| entry.id == snapshot.last);
            if !holds {
                self.log.clear();
                self.base = snapshot.last;
            }
            self.snapshot = Some(snapshot);
        }
        if let Some(from) = job.truncate_from {
            assert!(from > self.base.index, "a cut into what is gone");
            self.log.retain(|entry| entry.id.index < from);
        }
        for entry in job.entries {
            let last = self.last();
            assert_eq!(entry.id.index, last.index.next(), "a gap");
            assert!(entry.id.term >= last.term, "terms fall");
            self.log.push(entry);
        }
    }

    /// Lets go of the log's front.
    pub fn cut(&mut self, up_to: Index) {
        assert!(up_to <= self.covered(), "no snapshot stands in for it");
        while self
            .log
            .first()
            .is_some_and(|entry| entry.id.index <= up_to)
        {
            self.base = self.log.remove(0).id;
        }
    }

    pub fn read(&self, from: Index, to: Index) -> Vec<Entry> {
        let wanted = |entry: &&Entry| from <= entry.id.index && entry.id.index <= to;
        if from <= self.base.index {
            return Vec::new();
        }
        self.log.iter().filter(wanted).cloned().collect()
    }

    pub fn recovered(&self, identity: Identity, applied: Index) -> Recovered {
        let mut runs: Vec<(Index, Term)> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.log {
            if runs.last().is_none_or(|&(_, term)| term != entry.id.term) {
                runs.push((entry.id.index, entry.id.term));
            }
            if let Payload::Membership(membership) = &entry.payload {
                memberships.push((entry.id, membership.clone()));
            }
        }
        Recovered {
            identity,
            hard_state: self.hard_state,
            base: self.base,
            snapshot: self.snapshot.clone(),
            runs,
            last: self.last().index,
            memberships,
            applied,
        }
    }
}
