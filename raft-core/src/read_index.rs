//! Linearizable reads without writing to the log: ReadIndex (thesis §6.4).
//!
//! A read notes the commit index, and waits until a quorum has answered a heartbeat round that began after the read came in,
//! and until the noted index is applied. Reads that come in while a round is under way share the next one. Guards: a round is
//! never reused, so that no answer to an older one confirms a newer read.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::message::RequestId;
use crate::types::{Index, MemberId};

/// Who wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// This node's driver, under this number.
    Here(u64),
    /// A member, which answers its readers itself.
    Peer(MemberId, RequestId),
}

/// The reads of one leadership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// Came in since the last round began.
    waiting: Vec<Asker>,
    /// The round under way.
    round: Option<Round>,
    /// Confirmed, and waiting until the index is applied; ascending.
    confirmed: VecDeque<(Index, Vec<u64>)>,
    count: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    number: u64,
    index: Index,
    reads: Vec<Asker>,
}

impl Reads {
    /// How many reads wait for anything.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether no read waits for a round or for its index; some may wait for a round to begin.
    pub(crate) fn is_idle(&self) -> bool {
        self.round.is_none() && self.confirmed.is_empty()
    }

    /// Takes a read in.
    pub(crate) fn push(&mut self, read: Asker) {
        self.waiting.push(read);
        self.count += 1;
    }

    /// Every number of a round that an answer may be compared with. The reads' own names are forgotten: only the driver says them.
    pub(crate) fn each_number(&mut self, visit: &mut dyn FnMut(&mut u64)) {
        let forget = |asker: &mut Asker| {
            if let Asker::Here(number) = asker {
                *number = 0;
            }
        };
        self.waiting.iter_mut().for_each(forget);
        for (_, reads) in &mut self.confirmed {
            reads.fill(0);
        }
        if let Some(round) = &mut self.round {
            visit(&mut round.number);
            round.reads.iter_mut().for_each(forget);
        }
    }

    /// Whether a round should begin: someone waits, and none is under way.
    pub(crate) fn wants_round(&self) -> bool {
        self.round.is_none() && !self.waiting.is_empty()
    }

    /// Begins the round `number` for all that wait, at a commit index that is this leader's own (it has committed an entry of its
    /// term).
    pub(crate) fn begin(&mut self, number: u64, commit: Index) {
        assert!(self.round.is_none(), "a read round is under way");
        self.round = Some(Round {
            number,
            index: commit,
            reads: core::mem::take(&mut self.waiting),
        });
    }

    /// A quorum has answered the round `number`. Members that asked need no more than its index.
    pub(crate) fn confirm(&mut self, number: u64) -> Option<(Index, Vec<(MemberId, RequestId)>)> {
        let round = self.round.take_if(|round| round.number <= number)?;
        let (mut here, mut peers) = (Vec::new(), Vec::new());
        for asker in round.reads {
            match asker {
                Asker::Here(number) => here.push(number),
                Asker::Peer(member, id) => peers.push((member, id)),
            }
        }
        self.count -= peers.len();
        // A round that only peers asked for leaves nothing to do here.
        if !here.is_empty() {
            self.confirmed.push_back((round.index, here));
        }
        Some((round.index, peers))
    }

    /// The next reads that may be answered, with everything up to `applied` applied.
    pub(crate) fn take_ready(&mut self, applied: Index) -> Option<Vec<u64>> {
        let (_, reads) = self
            .confirmed
            .pop_front_if(|(index, _)| *index <= applied)?;
        self.count -= reads.len();
        Some(reads)
    }

    /// Every read of this node that was not answered. Members find out by themselves that this one leads no more.
    pub(crate) fn into_unanswered(self) -> Vec<u64> {
        let confirmed = self.confirmed.into_iter().flat_map(|(_, reads)| reads);
        let round = self.round.into_iter().flat_map(|round| round.reads);
        let here = round.chain(self.waiting).filter_map(|asker| match asker {
            Asker::Here(number) => Some(number),
            Asker::Peer(..) => None,
        });
        confirmed.chain(here).collect()
    }
}
