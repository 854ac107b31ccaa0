//! Snapshots that are durable, and that the log has not marked yet.

use std::collections::BTreeMap;

use raft_core::LogId;
use raft_log::FinishedSnapshot;
use raft_log::writer::Mark;

/// By the last entry that each covers.
#[derive(Debug, Default)]
pub(crate) struct Shelf(BTreeMap<LogId, Mark>);

impl Shelf {
    /// This node took it.
    pub(crate) fn taken(&mut self, last: LogId, finished: FinishedSnapshot) {
        self.0.insert(last, Mark::Taken(finished));
    }

    /// Another node sent it, or the cluster begins with it: it takes the place of all that the log holds.
    pub(crate) fn replacing(&mut self, last: LogId, finished: FinishedSnapshot) {
        self.0.insert(last, Mark::Installed(finished));
    }

    /// How the log marks it; the older ones are of no use any more.
    pub(crate) fn take(&mut self, last: LogId) -> Option<Mark> {
        let mark = self.0.remove(&last);
        self.0.retain(|other, _| other.index > last.index);
        mark
    }
}
