//! Who waits for a read: first for the core to confirm it, then, if asked for, until an index is applied here.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::{Index, ReadId};

/// How new an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// At least as new as everything acknowledged before the question arrived.
    Linearizable,
    /// Whatever this node has.
    Stale,
}

/// A question to the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest<R> {
    /// How new its answer must be.
    pub freshness: Freshness,
    /// Answer only once this index is applied here; 0 for no such wish.
    pub min_applied: Index,
    /// Whose it is.
    pub ticket: R,
}

/// Open reads. Each ticket leaves once.
#[derive(Clone, Debug)]
pub(super) struct Reads<R> {
    now_ticks: u64,
    /// By what the core knows them as; one name for all that came in one batch.
    confirming: BTreeMap<ReadId, Vec<ReadRequest<R>>>,
    confirming_len: usize,
    /// By the index they wait for; the number keeps those of one index apart, and in order.
    waiting: BTreeMap<(Index, u64), (u64, R)>,
    /// (deadline in ticks, where it stands in `waiting`).
    deadlines: BTreeSet<(u64, Index, u64)>,
    next_number: u64,
}

impl<R> Reads<R> {
    pub(super) fn new() -> Self {
        Self {
            now_ticks: 0,
            confirming: BTreeMap::new(),
            confirming_len: 0,
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_number: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.confirming_len + self.waiting.len()
    }

    /// The core has taken these under one name.
    pub(super) fn confirm(&mut self, id: ReadId, requests: Vec<ReadRequest<R>>) {
        self.confirming_len += requests.len();
        let before = self.confirming.insert(id, requests);
        assert!(before.is_none(), "the core gave two reads one name");
    }

    /// The core has decided on them.
    pub(super) fn confirmed(&mut self, id: ReadId) -> Vec<ReadRequest<R>> {
        let requests = self.confirming.remove(&id).unwrap_or_default();
        self.confirming_len -= requests.len();
        requests
    }

    /// Keeps a ticket until `index` is applied, for at most `ticks`.
    pub(super) fn wait(&mut self, index: Index, ticks: u32, ticket: R) {
        let deadline = self.now_ticks + u64::from(ticks);
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.insert((index, number), (deadline, ticket));
        self.deadlines.insert((deadline, index, number));
    }

    /// Those that waited for nothing beyond `applied`.
    pub(super) fn applied(&mut self, applied: Index) -> Vec<R> {
        let later = self.waiting.split_off(&(applied.plus(1), 0));
        let ready = std::mem::replace(&mut self.waiting, later);
        ready
            .into_iter()
            .map(|((index, number), (deadline, ticket))| {
                self.deadlines.remove(&(deadline, index, number));
                ticket
            })
            .collect()
    }

    /// Time has passed; those that waited for too long.
    pub(super) fn tick(&mut self, elapsed_ticks: u32) -> Vec<R> {
        self.now_ticks += u64::from(elapsed_ticks);
        let mut late = Vec::new();
        while let Some(&(deadline, index, number)) = self.deadlines.first()
            && deadline <= self.now_ticks
        {
            self.deadlines.pop_first();
            late.extend(
                self.waiting
                    .remove(&(index, number))
                    .map(|(_, ticket)| ticket),
            );
        }
        late
    }

    pub(super) fn ticks_until_deadline(&self) -> u32 {
        let Some(&(deadline, ..)) = self.deadlines.first() else {
            return u32::MAX;
        };
        u32::try_from(deadline.saturating_sub(self.now_ticks)).unwrap_or(u32::MAX)
    }

    /// Every open ticket.
    pub(super) fn drain(&mut self) -> Vec<R> {
        self.deadlines.clear();
        self.confirming_len = 0;
        let confirming = std::mem::take(&mut self.confirming)
            .into_values()
            .flatten()
            .map(|request| request.ticket);
        confirming
            .chain(
                std::mem::take(&mut self.waiting)
                    .into_values()
                    .map(|(_, ticket)| ticket),
            )
            .collect()
    }
}
