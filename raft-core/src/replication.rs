//! The leader's side of replication (paper §5.3), the commit rule (§5.4.2), and CheckQuorum (thesis §6.2).

use alloc::vec::Vec;

use crate::apply::Purpose;
use crate::effect::{Effect, Event, Outcome, ProposalId, ReadId};
use crate::entries::Entries;
use crate::entry::Entry;
use crate::message::{AppendResult, Message, RequestId};
use crate::mutants::{Mutant, mutant};
use crate::progress::{Mode, Progress};
use crate::quorum;
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Index, LogId, MemberId, NodeId};

impl Raft {
    pub(crate) fn on_leader_tick(&mut self) {
        if let Some((job, issued_at)) = self.journal.oldest()
            && self.now - issued_at >= u64::from(self.config.disk_stall_ticks)
        {
            // Someone whose disk works is to lead (F-P16).
            self.outbox.push(Effect::Event(Event::DiskStalled { job }));
            self.try_hand_over_at_once();
            self.become_follower(self.term, None);
            return;
        }
        if self.hand_over_if_full() {
            return;
        }
        let now = self.now;
        let Role::Leader(leadership) = &self.role else {
            return;
        };
        // CheckQuorum: the latest time by which a quorum, this node included, had answered.
        let heard_at = |node: NodeId| {
            leadership
                .peers
                .get(&node)
                .map_or(now, |peer| peer.heard_at)
        };
        if now - quorum::reached(self.membership(), heard_at)
            >= u64::from(self.config.election_timeout_ticks)
            && !mutant(Mutant::TrustsItsLead)
        {
            self.outbox
                .push(Effect::Event(Event::QuorumLost { term: self.term }));
            self.become_follower(self.term, None);
            return;
        }
        let heartbeat_due = now >= leadership.heartbeat_at;
        self.on_transfer_tick();
        self.forget_silent_departed();
        if heartbeat_due {
            self.send_heartbeats();
        }
    }

    /// Begins a heartbeat round, and with it a read round if reads wait for one.
    fn send_heartbeats(&mut self) {
        let number = self.next_number();
        let heartbeat_at = self.now + u64::from(self.config.heartbeat_ticks);
        let (commit, begins_reads) = (self.commit, self.wants_read_round());
        let Some(leadership) = self.leadership() else {
            return;
        };
        leadership.heartbeat_at = heartbeat_at;
        if begins_reads {
            leadership.reads.begin(number, commit);
        }
        for nth in 0.. {
            let Some(peer) = self.peer_at(nth) else {
                return;
            };
            let message = Message::HeartbeatRequest {
                id: self.request_id(number),
                commit,
            };
            self.send(peer, message, None);
        }
    }

    /// Whether the next heartbeat round is a read round too: reads wait for one, and this leader knows what is committed, having
    /// committed an entry of its own term (thesis §6.4).
    fn wants_read_round(&self) -> bool {
        let Role::Leader(leadership) = &self.role else {
            return false;
        };
        let knows_commit = self.commit >= leadership.term_start || mutant(Mutant::ReadsBeforeNoop);
        leadership.reads.wants_round() && knows_commit
    }

    pub(crate) fn on_heartbeat_response(
        &mut self,
        from: MemberId,
        id: RequestId,
        matched: Index,
        full: bool,
    ) {
        let (now, base, last) = (self.now, self.log.base().index, self.log.last().index);
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        let Some(peer) = leadership.peers.get_mut(&from.node) else {
            return;
        };
        peer.note_heard(now);
        peer.round = peer.round.max(id.number);
        peer.full = full;
        let news = peer.note_matched(matched, last);
        if matches!(peer.mode, Mode::Snapshot { .. }) {
            peer.note_agreement(matched, base);
        }
        peer.note_heartbeat_answered(id.number, matched, now, &self.config);
        if news {
            self.advance_commit();
        }
        self.note_departed_answer(from, id.number, matched);
    }

    pub(crate) fn on_append_response(
        &mut self,
        from: MemberId,
        id: RequestId,
        result: AppendResult,
    ) {
        let (now, base, last) = (self.now, self.log.base().index, self.log.last().index);
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        let Some(peer) = leadership.peers.get_mut(&from.node) else {
            return;
        };
        peer.note_heard(now);
        match result {
            AppendResult::Matched(index) | AppendResult::Full(index) => {
                // What matches in this term goes on to match: any copy of the probe may have been answered.
                peer.note_agreement(index, base);
                let news = peer.note_matched(index, last);
                peer.note_full(matches!(result, AppendResult::Full(_)), id.number);
                // What is committed needs no more copies.
                if news && index > self.commit {
                    self.advance_commit();
                }
            }
            // A refusal of something that is known to match, or that is not asked any more, is old.
            AppendResult::Conflict { prev, hint }
                if prev > peer.matched && (peer.is_under_way(id.number) || peer.is_asked(prev)) =>
            {
                // A log that ends in front of this one's base agrees with nothing in this one: a snapshot is needed.
                let agreed = if hint.index < base {
                    hint
                } else {
                    self.log.last_at_or_below(hint.index, hint.term)
                };
                let next = peer.next_after_conflict(prev, agreed);
                peer.become_probing(next);
            }
            AppendResult::Conflict { .. } => {}
        }
    }

    /// Commits what a quorum has durably, this node included: but only up to an entry of the own term, and with it all before.
    /// Counting copies of older entries would commit what a later leader may overwrite (paper §5.4.2, fig. 8).
    pub(crate) fn advance_commit(&mut self) {
        let Role::Leader(leadership) = &self.role else {
            return;
        };
        let own = if mutant(Mutant::CountsItselfBeforeDurable) {
            self.log.last().index
        } else {
            self.durable_index()
        };
        let me = self.me().node;
        let matched = |node: NodeId| match leadership.peers.get(&node) {
            Some(peer) => peer.matched.0,
            None if node == me => own.0,
            None => 0,
        };
        let reached = Index(quorum::reached(self.membership(), matched));
        let own_term = self.log.term_at(reached) == Some(self.term);
        if reached > self.commit && (own_term || mutant(Mutant::CommitsOlderTerms)) {
            self.commit_to(reached);
            self.tell_outcomes();
            self.continue_change();
        }
    }

    fn tell_outcomes(&mut self) {
        let (boot, commit) = (self.identity.boot, self.commit);
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        while let Some(proposal) = leadership
            .open
            .pop_front_if(|proposal| proposal.index <= commit)
        {
            leadership.open_bytes -= proposal.bytes;
            let at = LogId {
                index: proposal.index,
                term: self.term,
            };
            self.outbox.push(Effect::Outcome(
                ProposalId {
                    boot,
                    number: proposal.number,
                },
                Outcome::Committed(at),
            ));
        }
    }

    // ---- what is sent when the driver drains the effects ----

    /// Sends every peer what it may have now.
    pub(crate) fn flush_replication(&mut self) {
        let wants_round = self.wants_read_round();
        let last = self.log.last().index;
        for nth in 0.. {
            let Role::Leader(leadership) = &self.role else {
                return;
            };
            let Some(peer) = leadership.peers.values().nth(nth) else {
                break;
            };
            // Mostly nobody is to be sent anything.
            if !peer.has_all(last) {
                let node = peer.member.node;
                while self.send_next(node) {}
            }
        }
        if wants_round {
            self.send_heartbeats();
        }
        self.answer_reads();
    }

    /// Confirms the rounds that a quorum has answered, and answers the reads whose index is applied.
    fn answer_reads(&mut self) {
        let me = self.me().node;
        let Role::Leader(leadership) = &self.role else {
            return;
        };
        if leadership.reads.is_idle() {
            return;
        }
        let answered = |node: NodeId| match leadership.peers.get(&node) {
            Some(peer) => peer.round,
            None if node == me => u64::MAX,
            None => 0,
        };
        let mut confirmed = quorum::reached(self.membership(), answered);
        let (boot, mut applied) = (self.identity.boot, self.apply.applied);
        if mutant(Mutant::TrustsItsLead) {
            confirmed = u64::MAX;
        }
        if mutant(Mutant::AnswersReadsBeforeApplied) {
            applied = self.commit;
        }
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        let for_peers = leadership.reads.confirm(confirmed);
        while let Some(reads) = leadership.reads.take_ready(applied) {
            for number in reads {
                self.outbox.push(Effect::ReadReady(ReadId { boot, number }));
            }
        }
        if let Some((index, peers)) = for_peers {
            for (peer, id) in peers {
                let index = Some(index);
                self.send(peer, Message::ReadResponse { id, index }, None);
            }
        }
    }

    /// Sends one append to a peer, if there is reason and room for one. Whether another may follow.
    fn send_next(&mut self, node: NodeId) -> bool {
        let last = self.log.last().index;
        let Role::Leader(leadership) = &self.role else {
            return false;
        };
        let Some(peer) = leadership.peers.get(&node) else {
            return false;
        };
        let probing = peer.mode != Mode::Stream;
        if !peer.may_send(&self.config) || peer.fetching || (!probing && peer.next > last) {
            return false;
        }
        let next = peer.next;
        let Some(term) = self.log.term_at(next.previous()) else {
            // Whoever is not there would not take it.
            let patience = u64::from(self.config.election_timeout_ticks);
            if peer.heard && self.now - peer.heard_at < patience {
                self.send_snapshot(node);
            }
            return false;
        };
        let prev = LogId {
            index: next.previous(),
            term,
        };
        // One without room takes no commands. Where the logs agree is found out without.
        if peer.full && next <= last && self.log.may_be_command(next) {
            if probing {
                self.send_append(node, prev, Entries::NONE, 0);
            }
            return false;
        }
        let (entries, bytes) = match self.log.slice(next, last, self.config.batch_bytes_max) {
            Some(slice) => slice,
            // A probe asks where the logs agree; it does not need the entries for that.
            None if probing => (Entries::NONE, 0),
            None => {
                if self.now >= peer.fetch_not_before {
                    self.with_peer(node, |peer| peer.fetching = true);
                    self.fetch(Purpose::Peer(node), next, last);
                }
                return false;
            }
        };
        let sent_all = prev.index.plus(entries.count() as u64) >= last;
        self.send_append(node, prev, entries, bytes);
        !probing && !sent_all
    }

    /// Sends `entries`, of so many `bytes`, which follow `prev`; none, to probe.
    fn send_append(&mut self, node: NodeId, prev: LogId, entries: Entries, bytes: usize) {
        let number = self.next_number();
        let last = entries.last().map_or(prev.index, |entry| entry.id.index);
        let now = self.now;
        let Some(member) = self.with_peer(node, |peer| {
            peer.note_sent(number, last, bytes, now);
            peer.member
        }) else {
            return;
        };
        let message = Message::AppendRequest {
            id: self.request_id(number),
            prev,
            entries,
            commit: self.commit,
        };
        self.send(member, message, None);
    }

    /// Entries for a peer came from the log.
    pub(crate) fn on_fetched_for_peer(
        &mut self,
        node: NodeId,
        from: Index,
        entries: Vec<Entry>,
        retry_at: u64,
    ) {
        let wanted = self.with_peer(node, |peer| {
            peer.fetching = false;
            peer.fetch_not_before = retry_at;
            peer.mode == Mode::Stream && peer.next == from
        });
        // Entries in front of the log are for a snapshot to bring: it may have been cut while they were read from it.
        let index = from.previous();
        if wanted == Some(true)
            && !entries.is_empty()
            && let Some(term) = self.log.term_at(index)
        {
            let bytes = entries.iter().map(Entry::len_bytes).sum();
            self.send_append(node, LogId { index, term }, entries.into(), bytes);
        }
    }

    /// The `nth` of this leader's peers.
    fn peer_at(&self, nth: usize) -> Option<MemberId> {
        match &self.role {
            Role::Leader(leadership) => leadership.peers.values().nth(nth).map(|peer| peer.member),
            _ => None,
        }
    }

    pub(crate) fn with_peer<T>(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&mut Progress) -> T,
    ) -> Option<T> {
        self.leadership()?.peers.get_mut(&node).map(act)
    }
}
