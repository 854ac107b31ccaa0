//! Handing committed entries to the state machine: in order, each once, and only what is durable here too.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::effect::{ApplyJob, Effect, FetchId, FetchJob};
use crate::entries::Entries;
use crate::entry::Entry;
use crate::raft::Raft;
use crate::types::{Index, NodeId};

/// What was handed out, and what came back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ApplyState {
    /// The last index handed out.
    pub(crate) handed: Index,
    /// The last index answered.
    pub(crate) applied: Index,
    /// Jobs not answered yet: the last index of each, and its bytes.
    under_way: VecDeque<(Index, usize)>,
    bytes: usize,
    /// What is being read from the log, and for whom.
    pub(crate) fetches: BTreeMap<FetchId, (Purpose, Index)>,
    fetching: bool,
    fetch_not_before: u64,
}

/// Whom a fetch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// This node's state machine.
    Apply,
    /// A follower.
    Peer(NodeId),
}

impl ApplyState {
    pub(crate) fn new(applied: Index) -> Self {
        Self {
            handed: applied,
            applied,
            under_way: VecDeque::new(),
            bytes: 0,
            fetches: BTreeMap::new(),
            fetching: false,
            fetch_not_before: 0,
        }
    }

    /// Takes the answer that everything up to `index` is applied; whether that can be.
    pub(crate) fn complete(&mut self, index: Index) -> bool {
        let handed_out = self
            .under_way
            .back()
            .map_or(self.applied, |&(last, _)| last);
        if index < self.applied || index > handed_out {
            return false;
        }
        self.applied = index;
        while self
            .under_way
            .front()
            .is_some_and(|&(last, _)| last <= index)
        {
            self.bytes -= self.under_way.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        true
    }

    /// A snapshot has taken the place of the state machine: it stands at `index` now, whatever was under way.
    pub(crate) fn replaced(&mut self, index: Index) {
        self.applied = index;
        self.under_way.clear();
        self.bytes = 0;
    }

    /// Every time that is to come.
    pub(crate) fn each_future(&mut self, future: &dyn Fn(&mut u64)) {
        future(&mut self.fetch_not_before);
    }

    fn note_handed_out(&mut self, last: Index, bytes: usize) {
        self.handed = last;
        self.under_way.push_back((last, bytes));
        self.bytes += bytes;
    }
}

impl Raft {
    /// Hands out what may be applied now, a job at a time, while the window has room.
    pub(crate) fn flush_apply(&mut self) {
        if self.apply.handed >= self.commit || self.snapshots.replaces_state() {
            return;
        }
        let to = self.commit.min(self.durable_index());
        while self.apply.handed < to
            && self.apply.bytes < self.config.apply_bytes_max
            && !self.apply.fetching
        {
            let from = self.apply.handed.next();
            if let Some((entries, bytes)) = self.log.slice(from, to, self.config.batch_bytes_max) {
                self.hand_out(entries, bytes);
            } else if self.now >= self.apply.fetch_not_before {
                self.apply.fetching = true;
                self.fetch(Purpose::Apply, from, to);
            } else {
                return;
            }
        }
    }

    fn hand_out(&mut self, entries: Entries, bytes: usize) {
        let Some(last) = entries.last() else { return };
        self.apply.note_handed_out(last.id.index, bytes);
        if let Some(policy) = &self.config.snapshots {
            self.snapshots.note_applying(last.id.index, bytes, policy);
        }
        self.outbox.push(Effect::Apply(ApplyJob { entries }));
    }

    /// Asks the driver for entries that are no longer in memory.
    pub(crate) fn fetch(&mut self, purpose: Purpose, from: Index, to: Index) {
        let id = FetchId(self.next_number());
        self.apply.fetches.insert(id, (purpose, from));
        self.outbox.push(Effect::FetchLog(FetchJob {
            id,
            from,
            to,
            bytes_max: self.config.batch_bytes_max,
        }));
    }

    pub(crate) fn on_fetched(&mut self, id: FetchId, entries: Vec<Entry>) {
        let Some((purpose, from)) = self.apply.fetches.remove(&id) else {
            return;
        };
        // The log may have been cut and rewritten since: only what stands in it now is used.
        let good: Vec<Entry> = (from.0..)
            .zip(entries)
            .take_while(|(index, entry)| entry.id.index.0 == *index && self.log.contains(entry.id))
            .map(|(_, entry)| entry)
            .collect();
        // After an answer with nothing in it the next try waits, so that a driver that cannot read does not spin.
        let retry_at = self.now
            + if good.is_empty() {
                u64::from(self.config.heartbeat_ticks)
            } else {
                0
            };
        match purpose {
            Purpose::Apply => {
                self.apply.fetching = false;
                self.apply.fetch_not_before = retry_at;
                if self.snapshots.replaces_state() {
                    return;
                }
                let to = self.commit.min(self.durable_index());
                let next = self.apply.handed.next();
                let good: Vec<Entry> = good
                    .into_iter()
                    .filter(|entry| entry.id.index >= next && entry.id.index <= to)
                    .collect();
                if good.first().is_some_and(|first| first.id.index == next) {
                    let bytes = good.iter().map(Entry::len_bytes).sum();
                    self.hand_out(good.into(), bytes);
                }
            }
            Purpose::Peer(node) => self.on_fetched_for_peer(node, from, good, retry_at),
        }
    }
}
