//! Sessions: what makes a retried command count once (thesis §6.3).
//!
//! Guards: a command of a session is carried out at most once, and every try of it that is answered at all is answered
//! alike. Sessions end by the log alone, so they end at the same entry on every replica.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Settings;
use super::hash::{HashSum, ItemHash, Kind};
use crate::api::{Command, CommandReply, KeyValue, Refusal, SessionId, StepReply};
use crate::mutants::{Mutant, mutant};

/// About what a kept reply takes in memory besides keys and values, in bytes.
const KEPT_OVERHEAD_BYTES: u64 = 160;

/// What is to be done with a command.
pub(super) enum Verdict {
    /// Nothing: this is its answer.
    Answered(CommandReply),
    /// It is to be carried out, now and never again.
    Fresh,
}

#[derive(Clone)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    /// None: it was too large to be kept.
    pub(super) reply: Option<CommandReply>,
    bytes: u64,
    hash: u64,
}

impl Kept {
    fn new(session: SessionId, sequence: u64, reply: Option<CommandReply>) -> Self {
        let answer = reply.as_ref().unwrap_or(&CommandReply::Forgotten);
        Self {
            sequence,
            bytes: KEPT_OVERHEAD_BYTES + content_bytes(answer),
            hash: reply_hash(session, sequence, answer),
            reply,
        }
    }
}

#[derive(Clone)]
pub(super) struct Session {
    /// The log index of its last command.
    pub(super) last_used: u64,
    /// The client has the answers of all commands below.
    pub(super) first_outstanding: u64,
    /// From the lowest to the highest sequence refused for being too far ahead. Whatever lies between and was not carried
    /// out before is refused for good, so that a late double of a refused command is not carried out after all.
    pub(super) refused: Option<(u64, u64)>,
    /// Ascending by sequence.
    pub(super) replies: VecDeque<Kept>,
    reply_bytes: u64,
    /// Whether it keeps more than its fair share, and so stands in `Sessions::heavy`.
    heavy: bool,
    /// This item's part of the state hash, without the replies.
    hash: u64,
}

impl Session {
    /// A session without replies.
    pub(super) fn new(last_used: u64, first_outstanding: u64, refused: Option<(u64, u64)>) -> Self {
        Self {
            last_used,
            first_outstanding,
            refused,
            replies: VecDeque::new(),
            reply_bytes: 0,
            heavy: false,
            hash: 0,
        }
    }

    /// Keeps a reply that a snapshot has, behind all that are kept. The session has this number.
    pub(super) fn restore_reply(
        &mut self,
        id: SessionId,
        sequence: u64,
        reply: Option<CommandReply>,
    ) {
        let kept = Kept::new(id, sequence, reply);
        self.reply_bytes += kept.bytes;
        self.replies.push_back(kept);
    }

    /// How many bytes the replies take that it keeps, without what each takes at least: never more than
    /// `session_reply_bytes_max`.
    pub(super) fn content_bytes(&self) -> u64 {
        self.reply_bytes - KEPT_OVERHEAD_BYTES * self.replies.len() as u64
    }

    fn hashed(&self, id: SessionId) -> u64 {
        let (low, high) = self.refused.unwrap_or_default();
        ItemHash::new(Kind::Session)
            .word(id)
            .word(self.last_used)
            .word(self.first_outstanding)
            .word(low)
            .word(high)
            .finish()
    }

    /// Where a sequence's reply stands, or would stand.
    fn find(&self, sequence: u64) -> Result<&Kept, usize> {
        let at = self
            .replies
            .partition_point(|kept| kept.sequence < sequence);
        self.replies
            .get(at)
            .filter(|kept| kept.sequence == sequence || mutant(Mutant::AnswersWithNextReply))
            .ok_or(at)
    }

    fn judge(&mut self, sequence: u64, outstanding_max: u64) -> Verdict {
        if sequence < self.first_outstanding {
            return Verdict::Answered(CommandReply::Forgotten);
        }
        if let Ok(kept) = self.find(sequence)
            && !mutant(Mutant::AppliesRetries)
        {
            return Verdict::Answered(kept.reply.clone().unwrap_or(CommandReply::Forgotten));
        }
        let refused = self
            .refused
            .is_some_and(|(low, high)| (low..=high).contains(&sequence));
        if refused || sequence - self.first_outstanding >= outstanding_max {
            let (low, high) = self.refused.unwrap_or((sequence, sequence));
            self.refused = Some((low.min(sequence), high.max(sequence)));
            return Verdict::Answered(CommandReply::Refused(Refusal::TooManyOutstanding));
        }
        Verdict::Fresh
    }
}

/// All open sessions. A clone shares them; who then changes one copies that one.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    map: BTreeMap<SessionId, Arc<Session>>,
    /// By the log index of their last command, the least recently used first. An entry is one command, of one session.
    by_use: BTreeMap<u64, SessionId>,
    /// Those of them that keep more than a fair share of the replies.
    heavy: BTreeMap<u64, SessionId>,
    reply_bytes: u64,
    hash: HashSum,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.value()
    }

    /// The hash and the bytes of all replies, reckoned anew from what is there; checks the indexes on the way.
    #[cfg(test)]
    pub(super) fn anew(&self, settings: &Settings) -> (u64, u64) {
        let mut sum = HashSum::default();
        let mut bytes = 0;
        for (&id, session) in &self.map {
            sum.add(session.hashed(id));
            let mut session_bytes = 0;
            for kept in &session.replies {
                let reply = kept.reply.as_ref().unwrap_or(&CommandReply::Forgotten);
                sum.add(reply_hash(id, kept.sequence, reply));
                session_bytes += KEPT_OVERHEAD_BYTES;
                session_bytes += kept.reply.as_ref().map_or(0, content_bytes);
            }
            assert_eq!(session.reply_bytes, session_bytes);
            assert!(
                session
                    .replies
                    .iter()
                    .is_sorted_by_key(|kept| kept.sequence)
            );
            assert!(session.replies.len() as u64 <= settings.outstanding_max);
            assert_eq!(session.heavy, session_bytes > fair_share(settings));
            assert_eq!(self.by_use.get(&session.last_used), Some(&id));
            assert_eq!(self.heavy.contains_key(&session.last_used), session.heavy);
            bytes += session_bytes;
        }
        assert_eq!(self.by_use.len(), self.map.len());
        assert_eq!(
            self.heavy.len(),
            self.map.values().filter(|s| s.heavy).count()
        );
        (sum.value(), bytes)
    }

    pub(super) fn reply_bytes(&self) -> u64 {
        self.reply_bytes
    }

    /// All sessions, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.map.iter().map(|(&id, session)| (id, &**session))
    }

    /// Takes in a session that a snapshot has; says whether it could, for no other was last used at the same index.
    #[must_use]
    pub(super) fn restore(
        &mut self,
        id: SessionId,
        mut session: Session,
        settings: &Settings,
    ) -> bool {
        session.hash = session.hashed(id);
        self.hash.add(session.hash);
        for kept in &session.replies {
            self.hash.add(kept.hash);
        }
        self.reply_bytes += session.reply_bytes;
        session.heavy = session.reply_bytes > fair_share(settings);
        if session.heavy {
            self.heavy.insert(session.last_used, id);
        }
        let alone = self.by_use.insert(session.last_used, id).is_none();
        self.map.insert(id, Arc::new(session));
        alone
    }

    /// Opens the session of the entry at this index.
    pub(super) fn register(&mut self, index: u64, settings: &Settings) -> SessionId {
        if mutant(Mutant::MixesSessions)
            && let Some((&last, _)) = self.map.last_key_value()
            && index < last + 12
        {
            return last;
        }
        let mut session = Session::new(index, 1, None);
        session.hash = session.hashed(index);
        self.hash.add(session.hash);
        self.map.insert(index, Arc::new(session));
        self.by_use.insert(index, index);
        self.enforce(settings);
        index
    }

    /// Judges a session's command, which stands at this index, by what was before it.
    pub(super) fn judge(&mut self, index: u64, command: &Command, settings: &Settings) -> Verdict {
        let Some(session) = self.map.get_mut(&command.session).map(Arc::make_mut) else {
            if mutant(Mutant::DropsSessionsWithLeader) {
                return Verdict::Fresh;
            }
            return Verdict::Answered(CommandReply::SessionExpired);
        };
        self.by_use.remove(&session.last_used);
        self.by_use.insert(index, command.session);
        if session.heavy {
            self.heavy.remove(&session.last_used);
        }
        session.last_used = index;
        // A client cannot have the answer of the command that it sends: such a claim counts up to the command.
        let acknowledged = command.first_outstanding.min(command.sequence);
        if acknowledged > session.first_outstanding {
            session.first_outstanding = acknowledged;
            let kept_from = if mutant(Mutant::TrimsTooMuch) {
                command.sequence
            } else {
                acknowledged
            };
            while let Some(kept) = session
                .replies
                .pop_front_if(|kept| kept.sequence < kept_from)
            {
                session.reply_bytes -= kept.bytes;
                self.reply_bytes -= kept.bytes;
                self.hash.remove(kept.hash);
            }
            session.refused = session.refused.filter(|&(_, high)| high >= acknowledged);
        }
        session.heavy = session.reply_bytes > fair_share(settings);
        if session.heavy {
            self.heavy.insert(index, command.session);
        }
        let verdict = session.judge(command.sequence, settings.outstanding_max);
        self.hash.remove(session.hash);
        session.hash = session.hashed(command.session);
        self.hash.add(session.hash);
        verdict
    }

    /// Keeps the answer of a command that was judged fresh, for its retries.
    pub(super) fn keep(&mut self, command: &Command, reply: &CommandReply, settings: &Settings) {
        // A command that ends its session leaves nothing to retry it in.
        let Some(session) = self.map.get_mut(&command.session).map(Arc::make_mut) else {
            return;
        };
        let Err(at) = session.find(command.sequence) else {
            return;
        };
        let content = content_bytes(reply);
        let fits = session.reply_bytes + content <= settings.session_reply_bytes_max;
        let kept = Kept::new(
            command.session,
            command.sequence,
            fits.then(|| reply.clone()),
        );
        session.reply_bytes += kept.bytes;
        self.reply_bytes += kept.bytes;
        self.hash.add(kept.hash);
        session.replies.insert(at, kept);
        session.heavy = session.reply_bytes > fair_share(settings);
        if session.heavy {
            self.heavy.insert(session.last_used, command.session);
        }
        self.enforce(settings);
    }

    /// Closes a session, and forgets all of it.
    pub(super) fn end(&mut self, id: SessionId) {
        if let Some(session) = self.map.remove(&id) {
            self.by_use.remove(&session.last_used);
            self.heavy.remove(&session.last_used);
            self.reply_bytes -= session.reply_bytes;
            self.hash.remove(session.hash);
            session
                .replies
                .iter()
                .for_each(|kept| self.hash.remove(kept.hash));
        }
    }

    /// Ends sessions while there are too many, or they keep too much: the least recently used one, and for what is kept the
    /// least recently used of those that keep more than a fair share, of which there is one then. Never the one in use.
    fn enforce(&mut self, settings: &Settings) {
        while self.map.len() > settings.sessions_max
            && let Some(oldest) = oldest_of_several(&self.by_use)
        {
            self.end(oldest);
        }
        while self.reply_bytes > settings.reply_bytes_max
            && let Some(oldest) = oldest_of_several(&self.heavy)
        {
            self.end(oldest);
        }
    }
}

/// The least recently used session, unless it is the only one: the session in use is the last of all.
fn oldest_of_several(by_use: &BTreeMap<u64, SessionId>) -> Option<SessionId> {
    by_use
        .first_key_value()
        .filter(|_| by_use.len() > 1)
        .map(|(_, &oldest)| oldest)
}

/// What each session may keep when all keep the same, in bytes.
fn fair_share(settings: &Settings) -> u64 {
    settings.reply_bytes_max / settings.sessions_max.max(1) as u64
}

fn reply_hash(session: SessionId, sequence: u64, reply: &CommandReply) -> u64 {
    ItemHash::new(Kind::Reply)
        .word(session)
        .word(sequence)
        .reply(reply)
        .finish()
}

fn content_bytes(reply: &CommandReply) -> u64 {
    let bytes = |kv: &KeyValue| (kv.key.len() + kv.value.len()) as u64;
    let all_bytes = |kvs: &[KeyValue]| kvs.iter().map(|kv| bytes(kv) + KEPT_OVERHEAD_BYTES).sum();
    match reply {
        CommandReply::Put { previous, .. } => previous.as_ref().map_or(0, bytes),
        CommandReply::ConditionFailed { current, .. } => current.as_ref().map_or(0, bytes),
        CommandReply::Deleted { previous, .. } => all_bytes(previous),
        CommandReply::Taken { holder, .. } => holder.value.len() as u64,
        CommandReply::Transaction { steps, .. } => steps
            .iter()
            .map(|step| {
                KEPT_OVERHEAD_BYTES
                    + match step {
                        StepReply::Put { previous } => previous.as_ref().map_or(0, bytes),
                        StepReply::Deleted { previous, .. } => all_bytes(previous),
                        StepReply::Got(reply) => all_bytes(&reply.kvs),
                    }
            })
            .sum(),
        _ => 0,
    }
}
