//! What a line says that its record does not: which message was received, which entries became durable, committed and applied.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use raft_core::{Entry, Envelope, Index, LogId, Term};

use super::raft::write_in;

type Hashed<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// Goes along with the records, in their order.
#[derive(Debug, Default)]
pub(super) struct Follow {
    messages: Hashed<u64, Sends>,
    logs: BTreeMap<u64, NodeLog>,
    writes: Hashed<LogId, (u64, u64)>,
}

/// The steps in which the very same message was sent, and has not arrived.
#[derive(Debug, Default)]
struct Sends {
    under_way: VecDeque<u64>,
    arrived: Option<u64>,
}

/// A node's log, as far as its records say what stands in it.
#[derive(Debug, Default)]
struct NodeLog {
    /// Of each entry, from index 1 on.
    terms: Vec<Term>,
    /// What was ordered and is not durable.
    jobs: VecDeque<(u64, Vec<LogId>)>,
    commit: Index,
    applied: Index,
}

/// A clients' write, and where it stands.
pub(super) type Write = (u64, u64);

impl Follow {
    fn key(envelope: &Envelope) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(envelope)
    }

    pub(super) fn sent(&mut self, step: u64, envelope: &Envelope) {
        let sends = self.messages.entry(Self::key(envelope)).or_default();
        sends.under_way.push_back(step);
    }

    /// The step in which it was sent. What comes a second time was repeated by the network.
    pub(super) fn received(&mut self, envelope: &Envelope) -> Option<u64> {
        let sends = self.messages.get_mut(&Self::key(envelope))?;
        if let Some(step) = sends.under_way.pop_front() {
            sends.arrived = Some(step);
        }
        sends.arrived
    }

    /// A node has started with this log: the first entry of each term, and the last one.
    pub(super) fn started(&mut self, node: u64, log: &[LogId], commit: Index, applied: Index) {
        let mut terms = Vec::new();
        for start in log {
            let fill = terms.last().copied().unwrap_or(start.term);
            terms.resize(length(start.index), fill);
            if let Some(last) = terms.last_mut() {
                *last = start.term;
            }
        }
        let jobs = VecDeque::new();
        self.logs.insert(
            node,
            NodeLog {
                terms,
                jobs,
                commit,
                applied,
            },
        );
    }

    /// A snapshot has taken the place of a node's state.
    pub(super) fn installed(&mut self, node: u64, last: LogId) {
        self.logs.entry(node).or_default().applied = last.index;
    }

    pub(super) fn ordered(
        &mut self,
        node: u64,
        job: u64,
        snapshot: Option<LogId>,
        cut: Option<Index>,
        entries: &[Entry],
    ) {
        let log = self.logs.entry(node).or_default();
        if let Some(last) = snapshot {
            let end = length(last.index);
            if end.checked_sub(1).and_then(|at| log.terms.get(at)) != Some(&last.term) {
                // The log gives way to the snapshot; what it covers is not told.
                log.terms = vec![Term::ZERO; end.saturating_sub(1)];
                log.terms.push(last.term);
            }
        }
        if let Some(cut) = cut {
            log.terms.truncate(length(cut).saturating_sub(1));
        }
        for entry in entries {
            // In a trace whose beginning is missing, what lies before is not known.
            log.terms
                .resize(length(entry.id.index).saturating_sub(1), Term::ZERO);
            log.terms.push(entry.id.term);
            if let Some(write) = write_in(entry) {
                self.writes.insert(entry.id, write);
            }
        }
        let ids = entries.iter().map(|entry| entry.id).collect();
        log.jobs.push_back((job, ids));
    }

    /// The entries, and the writes in them, that have become durable.
    pub(super) fn durable(&mut self, node: u64, job: u64) -> (Vec<LogId>, Vec<Write>) {
        let log = self.logs.entry(node).or_default();
        let mut ids = Vec::new();
        while log.jobs.front().is_some_and(|(first, _)| *first <= job) {
            ids.extend(log.jobs.pop_front().map(|(_, ids)| ids).unwrap_or_default());
        }
        let writes = ids.iter().filter_map(|id| self.writes.get(id)).copied();
        let writes = writes.collect();
        (ids, writes)
    }

    /// The first index that is newly committed, and the writes from there on.
    pub(super) fn committed(&mut self, node: u64, index: Index) -> (Index, Vec<Write>) {
        let log = self.logs.entry(node).or_default();
        let first = std::mem::replace(&mut log.commit, index).next();
        (first, self.writes_in(node, first, index))
    }

    /// The first index that is newly applied, and the writes from there on.
    pub(super) fn applied(&mut self, node: u64, index: Index) -> (Index, Vec<Write>) {
        let log = self.logs.entry(node).or_default();
        let first = std::mem::replace(&mut log.applied, index).next();
        (first, self.writes_in(node, first, index))
    }

    fn writes_in(&self, node: u64, first: Index, last: Index) -> Vec<Write> {
        let Some(log) = self.logs.get(&node) else {
            return Vec::new();
        };
        (first.0..=last.0)
            .map(Index)
            .filter_map(|index| {
                let term = *log.terms.get(length(index).checked_sub(1)?)?;
                self.writes.get(&LogId { index, term }).copied()
            })
            .collect()
    }
}

/// How long a log is that ends here.
fn length(index: Index) -> usize {
    usize::try_from(index.0).unwrap_or(usize::MAX)
}
