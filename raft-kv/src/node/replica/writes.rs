//! Who waits for a write: from a proposal's number to its ticket, then from its place in the log to its ticket.

use std::collections::BTreeMap;

use crate::mutants::{Mutant, mutant};
use raft_core::{Index, LogId, Outcome, ProposalId, ProposalIds};

/// Open writes. Each ticket leaves once.
#[derive(Clone, Debug)]
pub(super) struct Writes<W> {
    proposed: BTreeMap<ProposalId, W>,
    /// Committed, not applied yet. It stays true whoever leads: the entry stands there for good.
    committed: BTreeMap<Index, (LogId, W)>,
}

impl<W> Writes<W> {
    pub(super) fn new() -> Self {
        Self {
            proposed: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.proposed.len() + self.committed.len()
    }

    /// The core has taken these.
    pub(super) fn propose(&mut self, ids: ProposalIds, tickets: impl ExactSizeIterator<Item = W>) {
        assert!(
            ids.count == tickets.len() as u64,
            "the core took another number of proposals than it was given"
        );
        if mutant(Mutant::SwapsTickets) {
            let tickets: Vec<W> = tickets.collect();
            self.proposed
                .extend(ids.iter().zip(tickets.into_iter().rev()));
            return;
        }
        self.proposed.extend(ids.iter().zip(tickets));
    }

    /// The core has decided. Returns the ticket when the outcome is the answer already: nobody will ever know.
    pub(super) fn decide(&mut self, id: ProposalId, outcome: Outcome) -> Option<W> {
        let ticket = self.proposed.remove(&id)?;
        match outcome {
            Outcome::Committed(at) => {
                let before = self.committed.insert(at.index, (at, ticket));
                assert!(before.is_none(), "two proposals were committed at {at}");
                None
            }
            Outcome::Unknown => Some(ticket),
        }
    }

    /// The state machine has applied the entry at `at`; the ticket of whoever wrote it.
    pub(super) fn applied(&mut self, at: LogId) -> Option<W> {
        if mutant(Mutant::AnswersNextApplied) {
            let (_, (_, ticket)) = self.committed.pop_first()?;
            return Some(ticket);
        }
        let (committed, ticket) = self.committed.remove(&at.index)?;
        assert!(
            committed == at,
            "{at} was applied where {committed} was committed"
        );
        Some(ticket)
    }

    /// A snapshot took the place of all entries up to this one: the tickets of those that were committed, whose output nobody has here.
    pub(super) fn covered(&mut self, up_to: Index) -> Vec<W> {
        let left = self.committed.split_off(&up_to.next());
        let covered = std::mem::replace(&mut self.committed, left);
        covered.into_values().map(|(_, ticket)| ticket).collect()
    }

    /// Every open ticket, oldest first.
    pub(super) fn drain(&mut self) -> Vec<W> {
        let committed = std::mem::take(&mut self.committed)
            .into_values()
            .map(|(_, ticket)| ticket);
        committed
            .chain(std::mem::take(&mut self.proposed).into_values())
            .collect()
    }
}
