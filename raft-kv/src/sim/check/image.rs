//! What a node's disk holds, as its orders and their answers say: the log as hashes, and the hard state.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use raft_core::{Entry, HardState, Index, LogId, Membership, Payload, PersistJob, Snapshot, Term};

use crate::wire;

/// An entry, and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Stamp {
    pub(super) term: Term,
    /// Of this entry and all before it.
    pub(super) prefix: u64,
}

/// A log, as stamps; the first is of index 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamps(Vec<Stamp>);

impl Stamps {
    fn last(&self) -> Index {
        Index(self.0.len() as u64)
    }

    fn get(&self, index: Index) -> Option<Stamp> {
        self.0
            .get(usize::try_from(index.0.checked_sub(1)?).ok()?)
            .copied()
    }

    fn cut(&mut self, from: Index) {
        self.0.truncate((from.0.saturating_sub(1)) as usize);
    }

    /// Whether these are the end of this log, and what is missing is in front of a snapshot.
    fn holds(&self, held: &Held) -> bool {
        let base = held.base.index;
        let covered = held.snapshot.as_ref().map_or(Index::ZERO, |s| s.last.index);
        let end = Index(base.0 + held.entries.len() as u64);
        if base > covered || end != self.last() {
            return false;
        }
        let before = Self(self.0.get(..base.0 as usize).unwrap_or_default().to_vec());
        let fits = before
            .0
            .last()
            .map_or(raft_core::Term::ZERO, |stamp| stamp.term);
        let mut log = before;
        for entry in &held.entries {
            log.append(entry);
        }
        fits == held.base.term && log == *self
    }

    fn append(&mut self, entry: &Entry) -> Stamp {
        let before = self.0.last().map_or(0, |stamp| stamp.prefix);
        let stamp = Stamp {
            term: entry.id.term,
            prefix: hash(before, entry),
        };
        self.0.push(stamp);
        stamp
    }
}

fn hash(before: u64, entry: &Entry) -> u64 {
    let (kind, payload) = wire::encode_payload(&entry.payload);
    let mut hasher = DefaultHasher::new();
    (before, entry.id, kind, payload).hash(&mut hasher);
    hasher.finish()
}

/// What was read from a disk.
#[derive(Debug, Default)]
pub(in super::super) struct Held {
    pub(in super::super) hard_state: Option<HardState>,
    /// The entry right in front of those that are there.
    pub(in super::super) base: LogId,
    pub(in super::super) snapshot: Option<Snapshot>,
    pub(in super::super) entries: Vec<Entry>,
}

/// One order, as it changes the image.
#[derive(Clone, Debug)]
struct Order {
    job: u64,
    hard_state: Option<HardState>,
    /// A snapshot takes the place of the whole log: what it stands for.
    reset: Option<Stamps>,
    cut: Option<Index>,
    stamps: Vec<Stamp>,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Image {
    /// With everything that was ordered.
    ordered: Stamps,
    /// What is surely on the disk.
    disk: Stamps,
    hard_state: Option<HardState>,
    /// Those in the log as it was ordered.
    memberships: BTreeMap<Index, Membership>,
    /// Ordered, and not known to be on the disk.
    under_way: VecDeque<Order>,
}

impl Image {
    /// The membership that was in force in front of this entry.
    pub(super) fn membership_before(&self, index: Index) -> Option<(Index, Membership)> {
        let (at, membership) = self.memberships.range(..index).next_back()?;
        Some((*at, membership.clone()))
    }

    /// The log is cut from here.
    pub(super) fn cut_memberships(&mut self, from: Index) {
        self.memberships.retain(|index, _| *index < from);
    }

    /// A membership is appended.
    pub(super) fn add_membership(&mut self, at: Index, membership: &Membership) {
        self.memberships.insert(at, membership.clone());
    }

    pub(super) fn hard_state(&self) -> Option<HardState> {
        self.hard_state
    }

    /// The last entry that is surely on the disk.
    pub(super) fn last(&self) -> Index {
        self.disk.last()
    }

    pub(super) fn ordered_last(&self) -> Index {
        self.ordered.last()
    }

    pub(super) fn on_disk(&self, index: Index) -> Option<Stamp> {
        self.disk.get(index)
    }

    pub(super) fn ordered(&self, index: Index) -> Option<Stamp> {
        self.ordered.get(index)
    }

    /// Takes an order; what it appends, with its place. `committed` is what all nodes together have called committed.
    pub(super) fn order(
        &mut self,
        job: &PersistJob,
        committed: &[Stamp],
    ) -> Result<Vec<(LogId, Stamp)>, String> {
        let reset = match &job.snapshot {
            Some(snapshot) => self.covered(snapshot, committed)?,
            None => None,
        };
        if let Some(reset) = &reset {
            self.ordered = reset.clone();
        }
        if let Some(from) = job.truncate_from {
            self.ordered.cut(from);
        }
        let mut appended = Vec::new();
        for entry in job.entries.iter() {
            let next = self.ordered.last().next();
            if entry.id.index != next {
                return Err(format!("{} is appended where {next} comes next", entry.id));
            }
            appended.push((entry.id, self.ordered.append(entry)));
        }
        self.under_way.push_back(Order {
            job: job.id.0,
            hard_state: job.hard_state,
            reset,
            cut: job.truncate_from,
            stamps: appended.iter().map(|(_, stamp)| *stamp).collect(),
        });
        Ok(appended)
    }

    /// Orders up to this one are on the disk; the hard states in them.
    pub(super) fn durable(&mut self, job: u64) -> Vec<HardState> {
        let mut states = Vec::new();
        while let Some(order) = self.under_way.pop_front_if(|order| order.job <= job) {
            states.extend(order.hard_state);
            self.carry_out(order);
        }
        states
    }

    /// The log that a snapshot stands for, if it takes the place of this one.
    fn covered(
        &mut self,
        snapshot: &Snapshot,
        committed: &[Stamp],
    ) -> Result<Option<Stamps>, String> {
        let last = snapshot.last;
        let known = committed.get(..(last.index.0 as usize));
        let Some(known) = known.filter(|known| {
            let end = known.last();
            end.is_some_and(|end| end.term == last.term)
        }) else {
            return Err(format!(
                "a snapshot of {last} is marked, which is not committed"
            ));
        };
        if self.ordered.get(last.index) == known.last().copied() {
            return Ok(None);
        }
        self.memberships.clear();
        let at = snapshot.membership_at.index;
        self.memberships.insert(at, snapshot.membership.clone());
        Ok(Some(Stamps(known.to_vec())))
    }

    fn carry_out(&mut self, order: Order) {
        if let Some(reset) = order.reset {
            self.disk = reset;
        }
        if let Some(from) = order.cut {
            self.disk.cut(from);
        }
        self.disk.0.extend(order.stamps);
        self.hard_state = order.hard_state.or(self.hard_state);
    }

    /// The node starts again, from what was read. That must be what was durable, with the first so many of the orders that were
    /// under way: none of them in part.
    pub(super) fn restart(&mut self, held: &Held) -> Result<Vec<HardState>, String> {
        let mut states = Vec::new();
        loop {
            if self.disk.holds(held) && self.hard_state == held.hard_state {
                self.under_way.clear();
                self.ordered = self.disk.clone();
                self.memberships = memberships(held);
                return Ok(states);
            }
            let Some(order) = self.under_way.pop_front() else {
                return Err(format!(
                    "its disk held a log up to {} with {:?} at least, and holds one up to {} with {:?}",
                    self.disk.last(),
                    self.hard_state,
                    held.base.index.0 + held.entries.len() as u64,
                    held.hard_state
                ));
            };
            states.extend(order.hard_state);
            self.carry_out(order);
        }
    }
}

/// The memberships that a node knows of which holds this.
fn memberships(held: &Held) -> BTreeMap<Index, Membership> {
    let in_log = held
        .entries
        .iter()
        .filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.id.index, membership.clone())),
            _ => None,
        });
    let covered = held
        .snapshot
        .iter()
        .map(|known| (known.membership_at.index, known.membership.clone()));
    covered.chain(in_log).collect()
}
