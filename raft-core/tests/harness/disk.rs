//! A node's disk: a log, and the files of snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::{Entry, HardState, Index, LogId, PersistJob, Snapshot};

/// A snapshot's content: every entry that the state machine has applied.
pub type Content = Arc<Vec<Entry>>;

/// What a node's disk holds: what was answered as durable, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    /// The entry in front of the log's first.
    pub base: LogId,
    pub log: Vec<Entry>,
    /// The snapshot that is marked.
    pub snapshot: Option<Snapshot>,
    /// Files of snapshots, marked or not.
    pub files: BTreeMap<LogId, Content>,
}

impl Disk {
    /// Writes a job in the order of its fields.
    pub fn write(&mut self, job: &PersistJob) {
        if let Some(hard_state) = job.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = &job.snapshot {
            self.mark(snapshot);
        }
        if let Some(from) = job.truncate_from {
            let keep = from.0.checked_sub(self.base.index.0 + 1);
            self.log
                .truncate(keep.expect("a cut into what is gone") as usize);
        }
        for entry in &job.entries {
            assert_eq!(
                entry.id.index.0,
                self.last() + 1,
                "a job leaves a gap on disk"
            );
            self.log.push(entry.clone());
        }
    }

    fn mark(&mut self, snapshot: &Snapshot) {
        let last = snapshot.last;
        assert!(
            self.files.contains_key(&last),
            "a snapshot at {last} is marked without a file"
        );
        let newest = self.snapshot.as_ref().map_or(LogId::ZERO, |old| old.last);
        assert!(last.index > newest.index, "{last} is marked after {newest}");
        if self.base != last
            && self
                .entry(last.index.0)
                .is_none_or(|entry| entry.id != last)
        {
            self.log.clear();
            self.base = last;
        }
        self.files.retain(|id, _| id.index >= last.index);
        self.snapshot = Some(snapshot.clone());
    }

    /// The driver lets go of what a snapshot stands in for.
    pub fn cut(&mut self, up_to: Index) {
        let covered = self.snapshot.as_ref().map_or(0, |mark| mark.last.index.0);
        assert!(
            up_to.0 <= covered,
            "the log is cut at {up_to}, the snapshot ends at {covered}"
        );
        if up_to > self.base.index {
            let count = (up_to.0 - self.base.index.0) as usize;
            self.base = self.log.drain(..count).next_back().unwrap().id;
        }
    }

    /// The last index of the log.
    pub fn last(&self) -> u64 {
        self.base.index.0 + self.log.len() as u64
    }

    /// The content of the snapshot that is marked.
    pub fn content(&self) -> Option<&Content> {
        self.files.get(&self.snapshot.as_ref()?.last)
    }

    /// The entry at an index, be it in the log or in the snapshot.
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        match index.checked_sub(self.base.index.0 + 1) {
            Some(at) => self.log.get(at as usize),
            None => self.content()?.get(index.checked_sub(1)? as usize),
        }
    }

    pub fn holds(&self, id: LogId) -> bool {
        id.index.0 == 0 || self.entry(id.index.0).is_some_and(|entry| entry.id == id)
    }
}
