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
        let speaker = self.check_speaker(envelope.from)?;
        if let Err(why) = self.check_claims(envelope, speaker) {
            let member = envelope.from.member;
            if why != Rejected::Malformed {
                self.outbox
                    .push(Effect::Event(Event::PeerBroken { member, why }));
            }
            return Err(why);
        }
        // Nothing is refused any more from here on, and until here nothing was changed.
        self.note_speaker(envelope.from, speaker);

        let (from, term) = (envelope.from.member, envelope.term);
        match &mut envelope.message {
            &mut Message::PreVoteRequest { id, last } => {
                self.tell_asker(from, id);
                self.note_asker(from);
                self.on_pre_vote_request(from, term, id, last);
            }
            &mut Message::VoteRequest { id, last, transfer } => {
                self.tell_asker(from, id);
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
                    self.refuse_older_leader(from, id, prev.index);
                    return Ok(());
                }
                self.follow(from, term, id);
                self.on_append_request(from, id, prev, core::mem::take(entries), commit);
            }
            &mut Message::SnapshotRequest { id, ref snapshot } => {
                if term < self.term {
                    self.refuse_older_leader(from, id, snapshot.last.index);
                    return Ok(());
                }
                self.follow(from, term, id);
                self.on_snapshot_request(from, id, snapshot.clone());
            }
            &mut Message::HeartbeatRequest { id, commit } => {
                if term < self.term {
                    let message = Message::HeartbeatResponse {
                        id,
                        matched: Index::ZERO,
                        full: self.full,
                    };
                    self.send(from, message, None);
                    return Ok(());
                }
                self.follow(from, term, id);
                self.on_heartbeat_request(from, id, commit);
            }
            &mut Message::NotAMember { id, at } if id.boot == self.identity.boot => {
                self.on_not_a_member(at);
            }
            response => self.on_response(from, speaker, term, response),
        }
        Ok(())
    }

    /// Whoever led an older term is answered with the newer one (paper §5.1).
    fn refuse_older_leader(&mut self, from: MemberId, id: RequestId, prev: Index) {
        let hint = LogId::ZERO;
        let result = AppendResult::Conflict { prev, hint };
        self.send(from, Message::AppendResponse { id, result }, None);
    }

    /// Whether what an envelope claims contradicts what this node knows: two leaders of a term, another entry where one is committed, an
    /// answer to what was never asked, or that acknowledges what never was.
    fn check_claims(&self, envelope: &Envelope, speaker: Speaker) -> Result<(), Rejected> {
        let (from, term) = (envelope.from.member, envelope.term);
        match &envelope.message {
            Message::PreVoteRequest { .. }
            | Message::VoteRequest { .. }
            | Message::TimeoutNow { .. }
            | Message::ReadRequest { .. } => Ok(()),
            // It is not followed, and so not believed.
            Message::AppendRequest { .. }
            | Message::SnapshotRequest { .. }
            | Message::HeartbeatRequest { .. }
                if term < self.term =>
            {
                Ok(())
            }
            Message::AppendRequest { prev, entries, .. } => {
                self.check_leads(from, term)?;
                self.check_append(*prev, entries)
            }
            Message::SnapshotRequest { snapshot, .. } => {
                self.check_leads(from, term)?;
                self.check_snapshot(snapshot)
            }
            Message::HeartbeatRequest { .. } => self.check_leads(from, term),
            &Message::PreVoteResponse { id, .. }
            | &Message::VoteResponse { id, .. }
            | &Message::ReadResponse { id, .. }
            | &Message::NotAMember { id, .. } => self.check_asked(id),
            &Message::AppendResponse { id, result } => {
                self.check_asked(id)?;
                match result {
                    AppendResult::Matched(index) | AppendResult::Full(index) => {
                        self.check_acknowledged(envelope, speaker, id, index)
                    }
                    AppendResult::Conflict { .. } => Ok(()),
                }
            }
            &Message::HeartbeatResponse { id, matched, .. } => {
                self.check_asked(id)?;
                self.check_acknowledged(envelope, speaker, id, matched)
            }
        }
    }

    /// Whether a term has this leader, as far as this node knows.
    fn check_leads(&self, from: MemberId, term: Term) -> Result<(), Rejected> {
        let leader = match self.role {
            Role::Leader(_) => Some(self.me()),
            _ => self.leader,
        };
        if term == self.term && leader.is_some_and(|leader| leader != from) {
            return Err(Rejected::TwoLeadersSameTerm(term));
        }
        Ok(())
    }

    /// Whether a request of this life can have been asked.
    fn check_asked(&self, id: RequestId) -> Result<(), Rejected> {
        if id.boot == self.identity.boot && id.number > self.last_number {
            return Err(Rejected::Malformed);
        }
        Ok(())
    }

    /// Whether a leader has what an answer that counts acknowledges.
    fn check_acknowledged(
        &self,
        envelope: &Envelope,
        speaker: Speaker,
        id: RequestId,
        index: Index,
    ) -> Result<(), Rejected> {
        if matches!(self.role, Role::Leader(_))
            && index > self.log.last().index
            && envelope.term == self.term
            && self.is_heard(envelope.from.member, speaker, id)
        {
            return Err(Rejected::AckBeyondLog(index));
        }
        Ok(())
    }

    /// Whether an answer is to a request of this very life, by someone who is asked.
    fn is_heard(&self, from: MemberId, speaker: Speaker, id: RequestId) -> bool {
        id.boot == self.identity.boot && (speaker.counts() || self.is_departed_peer(from))
    }

    /// An answer. It counts only from a member of the configuration in force, to a request of this very boot. That of a former member
    /// says at most that it has learnt that it is none: it decides nothing, and deposes nobody.
    fn on_response(&mut self, from: MemberId, speaker: Speaker, term: Term, response: &Message) {
        let (Message::PreVoteResponse { id, .. }
        | Message::VoteResponse { id, .. }
        | Message::AppendResponse { id, .. }
        | Message::ReadResponse { id, .. }
        | Message::HeartbeatResponse { id, .. }) = *response
        else {
            return;
        };
        if !self.is_heard(from, speaker, id) {
            return;
        }
        if term > self.term {
            // Whoever answers from a later term: what was asked is over (paper §5.1).
            if speaker.counts() {
                self.become_follower(term, None);
            }
            return;
        }
        match *response {
            // A voter of an earlier term answers a pre-vote in that term: it has no reason to raise it.
            Message::PreVoteResponse { id, granted } => {
                self.on_pre_vote_response(from, id, granted);
            }
            _ if term < self.term => {}
            Message::VoteResponse { id, granted } => self.on_vote_response(from, id, granted),
            Message::ReadResponse { id, index } => self.on_read_response(from, id, index),
            Message::AppendResponse { id, result } => self.on_append_response(from, id, result),
            Message::HeartbeatResponse { id, matched, full } => {
                self.on_heartbeat_response(from, id, matched, full);
            }
            _ => {}
        }
    }

    /// Whether an envelope to this member is one to this node.
    fn is_me(&self, to: MemberId) -> bool {
        let me = self.me();
        to == me || to.node == me.node && mutant(Mutant::IgnoresIncarnations)
    }

    /// Takes the sender for the leader of `term`, which is not behind this node's.
    fn follow(&mut self, from: MemberId, term: Term, id: RequestId) {
        if term > self.term || self.leader != Some(from) {
            self.become_follower(term, Some(from));
        }
        self.leader_heard_at = self.now;
        self.leader_number = self.leader_number.max(id.number);
        self.draw_election_timeout();
    }

    /// Whether the envelope is for this member of this cluster (F-N3, S-K2).
    fn check_delivery(&self, envelope: &Envelope) -> Result<(), Rejected> {
        if envelope.cluster != self.identity.cluster || envelope.cluster == ClusterId::UNKNOWN {
            return Err(Rejected::OtherCluster(envelope.cluster));
        }
        if envelope.to.node != self.me().node {
            return Err(Rejected::OtherNode(envelope.to.node));
        }
        if !self.is_me(envelope.to) {
            return Err(Rejected::OtherIncarnation(envelope.to.incarnation));
        }
        if envelope.from.member.node == self.me().node {
            return Err(Rejected::FromSelf);
        }
        Ok(())
    }

    /// Who speaks; refuses a life of a member that is over: its disk was copied, or rolled back, or its messages are old.
    fn check_speaker(&self, from: Sender) -> Result<Speaker, Rejected> {
        let Some(member) = self.membership().member(from.member.node) else {
            return Ok(Speaker::Other);
        };
        if member.incarnation != from.member.incarnation {
            return Ok(Speaker::Namesake(MemberId {
                node: from.member.node,
                incarnation: member.incarnation,
            }));
        }
        match self.boots.get(&from.member) {
            Some(latest) if from.boot < *latest => Err(Rejected::StaleBoot),
            latest => Ok(Speaker::Member {
                known: latest == Some(&from.boot),
            }),
        }
    }

    /// Keeps the latest life of each member, and notes who speaks under a member's number. Only members are remembered, so that
    /// strangers cannot fill the memory.
    fn note_speaker(&mut self, from: Sender, speaker: Speaker) {
        match speaker {
            Speaker::Member { known: true } | Speaker::Other => return,
            Speaker::Namesake(member) => return self.note_stranger(member, from.member),
            Speaker::Member { known: false } => {}
        }
        if let Some(latest) = self.boots.get_mut(&from.member) {
            *latest = from.boot;
            return;
        }
        self.boots.insert(from.member, from.boot);
        if self.boots.len() > crate::membership::Membership::MEMBERS_MAX {
            let membership = self.memberships.current();
            self.boots.retain(|&member, _| membership.contains(member));
        }
    }

    /// Tells of a node that speaks under a member's number without being that member (S-K1, F-M8).
    fn note_stranger(&mut self, member: MemberId, from: MemberId) {
        if self.strangers.insert(from.node, from.incarnation) != Some(from.incarnation) {
            self.outbox
                .push(Effect::Event(Event::PeerLostLog { member, now: from }));
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy)]
enum Speaker {
    /// A member; perhaps in the life that was heard of last.
    Member { known: bool },
    /// Someone under this member's number.
    Namesake(MemberId),
    /// Anyone else.
    Other,
}

impl Speaker {
    /// Whether what it answers counts: it is a member in this very incarnation (F-M8).
    fn counts(self) -> bool {
        match self {
            Self::Member { .. } => true,
            Self::Namesake(_) => mutant(Mutant::IgnoresIncarnations),
            Self::Other => false,
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
                if !sane_id(before) {
                    return Err(Rejected::Malformed);
                }
                for entry in entries {
                    let follows =
                        entry.id.index.0 == before.index.0 + 1 && entry.id.term >= before.term;
                    let decides = match &entry.payload {
                        Payload::Membership(membership) => !membership.voters().is_empty(),
                        Payload::Command(_) | Payload::Noop => true,
                    };
                    if !(follows && decides && sane_id(entry.id)) {
                        return Err(Rejected::Malformed);
                    }
                    before = entry.id;
                }
                sane_index(*commit)
            }
            Message::SnapshotRequest { snapshot, .. } => {
                let Snapshot {
                    last,
                    membership_at: at,
                    ..
                } = snapshot;
                sane_id(*last) && sane_id(*at) && last.index > Index::ZERO && snapshot.is_possible()
            }
            Message::NotAMember { at, .. } => sane_id(*at) && at.index > Index::ZERO,
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
