//! Reads on a node that does not lead: the leader is asked for an index that is safe to read at, and the read is answered here once
//! that is applied (thesis §6.4, last paragraph).
//!
//! Guards: every attempt has a number of its own, and only an answer to one that was made after the reads came in, by the leader of
//! this very term, confirms them; whatever is not confirmed ends with the leader or with its time, and so no read hangs.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use crate::effect::{Effect, ReadId};
use crate::message::{Message, RequestId};
use crate::raft::Raft;
use crate::read_index::Asker;
use crate::role::Role;
use crate::types::{Index, MemberId, Term};

/// The reads of a node that does not lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ForwardedReads {
    /// Came in since the leader was asked.
    waiting: Vec<u64>,
    /// What the leader was asked for.
    asked: Option<Asked>,
    /// Confirmed, and waiting until the index is applied.
    confirmed: VecDeque<Confirmed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    reads: Vec<u64>,
    /// The numbers under which the leader was asked; an answer to any of them will do.
    attempts: Vec<u64>,
    /// When the last of them was made.
    asked_at: u64,
    /// When it is given up.
    until: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Confirmed {
    index: Index,
    reads: Vec<u64>,
    until: u64,
}

impl ForwardedReads {
    /// Whether nothing is to be asked for, and nothing waits to be answered.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.confirmed.is_empty()
    }

    /// How many wait for anything.
    pub(crate) fn count(&self) -> usize {
        let asked = self.asked.as_ref().map_or(0, |asked| asked.reads.len());
        let confirmed: usize = self.confirmed.iter().map(|batch| batch.reads.len()).sum();
        self.waiting.len() + asked + confirmed
    }

    pub(crate) fn push(&mut self, read: u64) {
        self.waiting.push(read);
    }

    /// All that no leader has confirmed.
    fn take_unconfirmed(&mut self) -> Vec<u64> {
        let asked = self.asked.take().map_or_else(Vec::new, |asked| asked.reads);
        asked.into_iter().chain(self.waiting.drain(..)).collect()
    }

    /// All whose time is up.
    fn take_late(&mut self, now: u64) -> Vec<u64> {
        let asked = self.asked.take_if(|asked| asked.until <= now);
        let mut late = asked.map_or_else(Vec::new, |asked| asked.reads);
        while let Some(batch) = self.confirmed.pop_front_if(|batch| batch.until <= now) {
            late.extend(batch.reads);
        }
        late
    }
}

impl Raft {
    /// Asks the leader, for all reads that came in since it was asked last; answers those whose index is applied.
    pub(crate) fn flush_forwarded_reads(&mut self) {
        let applied = self.apply.applied;
        while let Some(batch) = self
            .forwarded
            .confirmed
            .pop_front_if(|batch| batch.index <= applied)
        {
            let boot = self.identity.boot;
            for number in batch.reads {
                self.outbox.push(Effect::ReadReady(ReadId { boot, number }));
            }
        }
        let Some(leader) = self.leader.filter(|&leader| leader != self.me()) else {
            return;
        };
        if self.forwarded.asked.is_none() && !self.forwarded.waiting.is_empty() {
            let number = self.next_number();
            self.forwarded.asked = Some(Asked {
                reads: core::mem::take(&mut self.forwarded.waiting),
                attempts: vec![number],
                asked_at: self.now,
                until: self.now + u64::from(self.config.election_timeout_ticks),
            });
            self.ask_for_read_index(leader, number);
        }
    }

    fn ask_for_read_index(&mut self, leader: MemberId, number: u64) {
        let id = self.request_id(number);
        self.send(leader, Message::ReadRequest { id }, None);
    }

    /// Gives up what is late, and asks again where a message may have been lost.
    pub(crate) fn on_forwarded_reads_tick(&mut self) {
        let late = self.forwarded.take_late(self.now);
        self.fail_reads(late);
        let (now, number) = (self.now, self.last_number + 1);
        let patience = 2 * u64::from(self.config.heartbeat_ticks);
        if let Some(asked) = &mut self.forwarded.asked
            && now - asked.asked_at >= patience
            && let Some(leader) = self.leader
        {
            asked.asked_at = now;
            asked.attempts.push(number);
            self.last_number = number;
            self.ask_for_read_index(leader, number);
        }
    }

    /// The leader, the term or the role has changed: who was asked may not be the one to answer any more (S-E8).
    pub(crate) fn fail_unconfirmed_reads(&mut self) {
        let reads = self.forwarded.take_unconfirmed();
        self.fail_reads(reads);
    }

    fn fail_reads(&mut self, reads: Vec<u64>) {
        let boot = self.identity.boot;
        for number in reads {
            self.outbox
                .push(Effect::ReadFailed(ReadId { boot, number }));
        }
    }

    /// The leader has an answer: the index that it had committed when it was asked, confirmed by a round begun after that; or none.
    pub(crate) fn on_read_response(&mut self, from: MemberId, id: RequestId, index: Option<Index>) {
        let answered = |asked: &mut Asked| asked.attempts.contains(&id.number);
        if self.leader != Some(from) || matches!(self.role, Role::Leader(_)) {
            return;
        }
        let Some(asked) = self.forwarded.asked.take_if(answered) else {
            return;
        };
        match index {
            Some(index) => self.forwarded.confirmed.push_back(Confirmed {
                index,
                reads: asked.reads,
                until: asked.until,
            }),
            None => self.fail_reads(asked.reads),
        }
    }

    /// A member asks this node, which it takes for the leader of `term`, for an index to read at.
    pub(crate) fn on_read_request(&mut self, from: MemberId, term: Term, id: RequestId) {
        let welcome = term == self.term && self.membership().contains(from);
        match &mut self.role {
            Role::Leader(leadership)
                if welcome && leadership.reads.count() < self.config.reads_max =>
            {
                leadership.reads.push(Asker::Peer(from, id));
            }
            _ => self.send(from, Message::ReadResponse { id, index: None }, None),
        }
    }
}
