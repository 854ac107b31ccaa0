//! All dispatch: what a tick and an envelope mean, by term (paper §5.1) and by role.

use crate::effect::{Effect, Event};
use crate::entry::Payload;
use crate::error::Rejected;
use crate::message::{AppendResult, Envelope, Message, RequestId, Sender};
use crate::mutants::{Mutant, mutant};
use crate::raft::Raft;
use crate::role::Role;
use crate::snapshot::Snapshot;
use crate::types::{ClusterId, Index, LogId, MemberId, Term};

/// Terms and indexes beyond this are taken for nonsense: no cluster reaches them by counting, and nothing overflows below.
const NUMBER_MAX: u64 = 1 << 62;

impl Raft {
    pub(crate) fn on_tick(&mut self) {
        self.on_forwarded_reads_tick();
        match &self.role {
            Role::Leader(_) => self.on_leader_tick(),
            _ if self.now >= self.election_at => self.on_election_timeout(),
            _ => {}
        }
    }

    /// What it holds is taken out of it: a message is large, and not moved about.
    pub(crate) fn on_envelope(&mut self, envelope: &mut Envelope) -> Result<(), Rejected> {
        self.check_delivery(envelope)?;
        check_form(envelope)?;
        self.check_sender(envelope.from)?;

        let (from, term) = (envelope.from.member, envelope.term);
        match &mut envelope.message {
            &mut Message::PreVoteRequest { id, last } => {
                self.note_asker(from);
                self.on_pre_vote_request(from, term, id, last);
            }
            &mut Message::VoteRequest { id, last, transfer } => {
                self.note_asker(from);
                self.on_vote_request(from, term, id, last, transfer);
            }
            &mut Message::TimeoutNow { id } => self.on_timeout_now(from, term, id),
            &mut Message::ReadRequest { id } => self.on_read_request(from, term, id),
            &mut Message::AppendRequest {
                id,
                prev,
                ref mut entries,
                commit,
            } => {
                if term < self.term {
                    let result = AppendResult::Conflict {
                        prev: prev.index,
                        hint: LogId::ZERO,
                    };
                    self.send(from, Message::AppendResponse { id, result }, None);
                    return Ok(());
                }
                self.follow(from, term, id)?;
                self.on_append_request(from, id, prev, core::mem::take(entries), commit)?;
            }
            &mut Message::SnapshotRequest { id, ref snapshot } => {
                if term < self.term {
                    let result = AppendResult::Conflict {
                        prev: snapshot.last.index,
                        hint: LogId::ZERO,
                    };
                    self.send(from, Message::AppendResponse { id, result }, None);
                    return Ok(());
                }
                self.follow(from, term, id)?;
                self.on_snapshot_request(from, id, snapshot.clone())?;
            }
            &mut Message::HeartbeatRequest { id, commit } => {
                if term < self.term {
                    self.send(
                        from,
                        Message::HeartbeatResponse {
                            id,
                            matched: Index::ZERO,
                            full: self.full,
                        },
                        None,
                    );
                    return Ok(());
                }
                self.follow(from, term, id)?;
                self.on_heartbeat_request(from, id, commit);
            }
            response => return self.on_response(from, term, response),
        }
        Ok(())
    }

    /// An answer. It counts only from a member of the configuration in force, to a request of this very boot. That of a former member
    /// says at most that it has learnt that it is none: it decides nothing, and deposes nobody.
    fn on_response(
        &mut self,
        from: MemberId,
        term: Term,
        response: &Message,
    ) -> Result<(), Rejected> {
        let id = match response {
            Message::PreVoteResponse { id, .. }
            | Message::VoteResponse { id, .. }
            | Message::AppendResponse { id, .. }
            | Message::ReadResponse { id, .. }
            | Message::HeartbeatResponse { id, .. } => *id,
            _ => return Err(Rejected::Malformed),
        };
        if id.boot == self.identity.boot && id.number > self.last_number {
            return Err(Rejected::Malformed);
        }
        let member = self.counts(from);
        if id.boot != self.identity.boot || !(member || self.is_departed_peer(from)) {
            return Ok(());
        }
        if term > self.term && !member {
            return Ok(());
        }
        if term > self.term {
            // Whoever answers from a later term: what was asked is over (paper §5.1).
            self.become_follower(term, None);
            return Ok(());
        }
        match *response {
            // A voter of an earlier term answers a pre-vote in that term: it has no reason to raise it.
            Message::PreVoteResponse { id, granted } => {
                self.on_pre_vote_response(from, id, granted);
            }
            _ if term < self.term => {}
            Message::VoteResponse { id, granted } => self.on_vote_response(from, id, granted),
            Message::ReadResponse { id, index } => self.on_read_response(from, id, index),
            Message::AppendResponse { id, result } => {
                return self.on_append_response(from, id, result);
            }
            Message::HeartbeatResponse { id, matched, full } => {
                return self.on_heartbeat_response(from, id, matched, full);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether what this member answers counts: it is a member in this very incarnation (F-M8).
    fn counts(&self, from: MemberId) -> bool {
        let node_known = self.membership().member(from.node).is_some();
        self.membership().contains(from) || node_known && mutant(Mutant::IgnoresIncarnations)
    }

    /// Whether an envelope to this member is one to this node.
    fn is_me(&self, to: MemberId) -> bool {
        let me = self.me();
        to == me || to.node == me.node && mutant(Mutant::IgnoresIncarnations)
    }

    /// Takes the sender for the leader of `term`, which is not behind this node's.
    fn follow(&mut self, from: MemberId, term: Term, id: RequestId) -> Result<(), Rejected> {
        if term == self.term {
            let other = match self.role {
                Role::Leader(_) => Some(self.me()),
                _ => self.leader,
            };
            if other.is_some_and(|leader| leader != from) {
                let why = Rejected::TwoLeadersSameTerm(term);
                self.outbox
                    .push(Effect::Event(Event::PeerBroken { member: from, why }));
                return Err(why);
            }
        }
        if term > self.term || self.leader != Some(from) {
            self.become_follower(term, Some(from));
        }
        self.leader_heard_at = self.now;
        self.leader_number = self.leader_number.max(id.number);
        self.draw_election_timeout();
        Ok(())
    }

    /// Whether the envelope is for this member of this cluster (F-N3, S-K2).
    fn check_delivery(&self, envelope: &Envelope) -> Result<(), Rejected> {
        if envelope.cluster != self.identity.cluster
            || envelope.cluster == ClusterId::UNKNOWN
            || !self.is_me(envelope.to)
        {
            return Err(Rejected::Misdelivered);
        }
        if envelope.from.member.node == self.me().node {
            return Err(Rejected::FromSelf);
        }
        Ok(())
    }

    /// Looks at who speaks: a member, someone under a member's number, or anyone else.
    fn check_sender(&mut self, from: Sender) -> Result<(), Rejected> {
        let Some(member) = self.membership().member(from.member.node) else {
            return Ok(());
        };
        if member.incarnation == from.member.incarnation {
            return self.check_boot(from);
        }
        let member = MemberId {
            node: from.member.node,
            incarnation: member.incarnation,
        };
        self.note_stranger(member, from.member);
        Ok(())
    }

    /// Refuses a life of a member that is over: its disk was copied, or rolled back, or its messages are old. Only members are
    /// remembered, so that strangers cannot fill the memory.
    fn check_boot(&mut self, from: Sender) -> Result<(), Rejected> {
        match self.boots.get_mut(&from.member) {
            Some(latest) if from.boot < *latest => return Err(Rejected::StaleBoot),
            Some(latest) => {
                *latest = from.boot;
                return Ok(());
            }
            None => self.boots.insert(from.member, from.boot),
        };
        if self.boots.len() > crate::membership::Membership::MEMBERS_MAX {
            let membership = self.memberships.current();
            self.boots.retain(|&member, _| membership.contains(member));
        }
        Ok(())
    }

    /// Tells of a node that speaks under a member's number without being that member (S-K1, F-M8).
    fn note_stranger(&mut self, member: MemberId, from: MemberId) {
        if self.strangers.insert(from.node, from.incarnation) != Some(from.incarnation) {
            self.outbox
                .push(Effect::Event(Event::PeerLostLog { member, now: from }));
        }
    }
}

/// Whether an envelope's fields go together (F-P20, S-K6): nothing behind this needs to doubt them.
fn check_form(envelope: &Envelope) -> Result<(), Rejected> {
    let sane_id = |id: LogId| {
        id.index.0 < NUMBER_MAX && id.term <= envelope.term && (id.index.0 == 0) == (id.term.0 == 0)
    };
    let sane_index = |index: Index| index.0 < NUMBER_MAX;
    let good = envelope.term.0 < NUMBER_MAX
        && match &envelope.message {
            Message::PreVoteRequest { last, .. } | Message::VoteRequest { last, .. } => {
                sane_id(*last)
            }
            Message::TimeoutNow { id } => id.boot == envelope.from.boot,
            Message::AppendRequest {
                prev,
                entries,
                commit,
                ..
            } => {
                let mut before = *prev;
                sane_id(*prev)
                    && sane_index(*commit)
                    && entries.iter().all(|entry| {
                        let follows =
                            entry.id.index.0 == before.index.0 + 1 && entry.id.term >= before.term;
                        before = entry.id;
                        let decides = match &entry.payload {
                            Payload::Membership(membership) => !membership.voters().is_empty(),
                            Payload::Command(_) | Payload::Noop => true,
                        };
                        follows && decides && sane_id(entry.id)
                    })
            }
            Message::SnapshotRequest { snapshot, .. } => {
                let Snapshot {
                    last,
                    membership_at: at,
                    ..
                } = snapshot;
                sane_id(*last) && sane_id(*at) && last.index > Index::ZERO && snapshot.is_possible()
            }
            Message::HeartbeatRequest { commit, .. } => sane_index(*commit),
            Message::HeartbeatResponse { matched, .. } => sane_index(*matched),
            Message::ReadResponse { index, .. } => index.is_none_or(sane_index),
            Message::ReadRequest { .. } => true,
            Message::AppendResponse {
                result: AppendResult::Matched(index) | AppendResult::Full(index),
                ..
            } => sane_index(*index),
            Message::AppendResponse {
                result: AppendResult::Conflict { prev, hint },
                ..
            } => sane_index(*prev) && sane_id(*hint),
            Message::PreVoteResponse { .. } | Message::VoteResponse { .. } => true,
        };
    if good {
        Ok(())
    } else {
        Err(Rejected::Malformed)
    }
}
