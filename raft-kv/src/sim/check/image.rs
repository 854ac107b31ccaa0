//! What a node's disk holds, as its orders and their answers say: the log as hashes, and the hard state.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use raft_core::{Entry, HardState, Index, LogId, Membership, Payload, PersistJob, Term};

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

/// One order, as it changes the image.
#[derive(Clone, Debug)]
struct Order {
    job: u64,
    hard_state: Option<HardState>,
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
    /// What was read from a disk.
    pub(in super::super) fn read(hard_state: Option<HardState>, entries: &[Entry]) -> Self {
        let mut disk = Stamps::default();
        for entry in entries {
            disk.append(entry);
        }
        Self {
            ordered: disk.clone(),
            disk,
            hard_state,
            memberships: entries
                .iter()
                .filter_map(|entry| match &entry.payload {
                    Payload::Membership(membership) => Some((entry.id.index, membership.clone())),
                    _ => None,
                })
                .collect(),
            under_way: VecDeque::new(),
        }
    }

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

    /// Takes an order; what it appends, with its place.
    pub(super) fn order(&mut self, job: &PersistJob) -> Result<Vec<(LogId, Stamp)>, String> {
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

    fn carry_out(&mut self, order: Order) {
        if let Some(from) = order.cut {
            self.disk.cut(from);
        }
        self.disk.0.extend(order.stamps);
        self.hard_state = order.hard_state.or(self.hard_state);
    }

    /// The node starts again, from what was read. That must be what was durable, with the first so many of the orders that were
    /// under way: none of them in part.
    pub(super) fn restart(&mut self, held: Self) -> Result<Vec<HardState>, String> {
        let mut states = Vec::new();
        loop {
            if self.disk == held.disk && self.hard_state == held.hard_state {
                self.under_way.clear();
                self.ordered = self.disk.clone();
                self.memberships = held.memberships;
                return Ok(states);
            }
            let Some(order) = self.under_way.pop_front() else {
                return Err(format!(
                    "its disk held a log up to {} with {:?} at least, and holds one up to {} with {:?}",
                    self.disk.last(),
                    self.hard_state,
                    held.disk.last(),
                    held.hard_state
                ));
            };
            states.extend(order.hard_state);
            self.carry_out(order);
        }
    }
}
