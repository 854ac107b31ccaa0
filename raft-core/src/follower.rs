//! The follower's side of replication (paper §5.3).

use crate::entries::Entries;
use crate::entry::{Entry, Payload};
use crate::error::Rejected;
use crate::message::{AppendResult, Message, RequestId};
use crate::mutants::{Mutant, mutant};
use crate::raft::Raft;
use crate::types::{Index, LogId, MemberId};

impl Raft {
    /// Whether an append would leave alone what is committed, and say who belongs: what a leader of any term owes (S-C16).
    pub(crate) fn check_append(&self, prev: LogId, entries: &Entries) -> Result<(), Rejected> {
        // Mostly they go on where this log ends, and so are all new.
        if prev == self.log.last() {
            return match entries.first() {
                Some(first) if !self.says_who_belongs(first) => Err(Rejected::Malformed),
                _ => Ok(()),
            };
        }
        if !self.agrees_at(prev) {
            return if prev.index <= self.commit {
                Err(Rejected::CommittedConflict(prev.index))
            } else {
                Ok(())
            };
        }
        let base = self.log.base();
        if entries
            .iter()
            .any(|entry| entry.id.index == base.index && entry.id != base)
        {
            return Err(Rejected::CommittedConflict(base.index));
        }
        match entries.iter().find(|entry| !self.is_known(entry)) {
            Some(first) if first.id.index <= self.commit => {
                Err(Rejected::CommittedConflict(first.id.index))
            }
            Some(first) if !self.says_who_belongs(first) => Err(Rejected::Malformed),
            _ => Ok(()),
        }
    }

    /// Whether this log has that entry. What a snapshot covers is committed, and so agrees.
    fn agrees_at(&self, prev: LogId) -> bool {
        prev.index < self.log.base().index || self.log.contains(prev)
    }

    fn is_known(&self, entry: &Entry) -> bool {
        entry.id.index <= self.log.base().index || self.log.contains(entry.id)
    }

    /// An append of this term's leader, which was checked. Only entries that truly differ are cut, so that an old or repeated append changes
    /// nothing (F-P7).
    pub(crate) fn on_append_request(
        &mut self,
        from: MemberId,
        id: RequestId,
        prev: LogId,
        entries: Entries,
        commit: Index,
    ) {
        if !self.agrees_at(prev) {
            let hint = self.log.last_at_or_below(prev.index, prev.term);
            let result = AppendResult::Conflict {
                prev: prev.index,
                hint,
            };
            self.send(from, Message::AppendResponse { id, result }, None);
            return;
        }
        let verified = entries.last().map_or(prev.index, |last| last.id.index);
        // Mostly they go on where this log ends.
        let news = if prev.index >= self.log.last().index {
            entries
        } else {
            let count = (entries.iter())
                .take_while(|entry| self.is_known(entry))
                .count();
            entries.skip(count)
        };
        let (news, turned_away) = self.turn_away(news);
        let verified = turned_away.map_or(verified, Index::previous);
        if let Some(first) = news.first().map(|first| first.id.index) {
            if first <= self.log.last().index {
                self.truncate(first);
            }
            self.append_all(news);
        }
        if mutant(Mutant::CutsWithoutConflict) {
            self.cut_behind(verified);
        }
        self.verified = self.verified.max(verified);
        self.commit_to(commit.min(self.committable()));
        let matched = verified.max(self.commit);
        let result = if self.full {
            AppendResult::Full(matched)
        } else {
            AppendResult::Matched(matched)
        };
        self.send(from, Message::AppendResponse { id, result }, Some(matched));
    }

    /// Whether a log that goes on with `first`, what it replaces being cut, says who belongs to the cluster. Every honest one does, from the
    /// founding entry on; from one that does not, this node could not be recovered.
    fn says_who_belongs(&self, first: &Entry) -> bool {
        matches!(first.payload, Payload::Membership(_))
            || (self.memberships.in_force_at(first.id.index.previous())).is_some()
    }

    /// A heartbeat of this term's leader. It commits no further than this log is known to be the leader's (F-P8, S-C32).
    pub(crate) fn on_heartbeat_request(&mut self, from: MemberId, id: RequestId, commit: Index) {
        self.commit_to(commit.min(self.committable()));
        let matched = self.verified.min(self.durable_index());
        self.send(
            from,
            Message::HeartbeatResponse {
                id,
                matched,
                full: self.full,
            },
            Some(matched),
        );
    }

    /// Up to where a leader's commit index may be believed: as far as this log is known to be the leader's.
    fn committable(&self) -> Index {
        if mutant(Mutant::CommitsUnverified) {
            return self.log.last().index;
        }
        self.verified
    }

    /// The bug [`Mutant::CutsWithoutConflict`]; it spares what is known to be committed.
    fn cut_behind(&mut self, verified: Index) {
        let from = verified.max(self.commit).next();
        if from <= self.log.last().index {
            self.truncate(from);
        }
    }

    /// Cuts the log, and what was in force or about to be said because of the part that goes.
    fn truncate(&mut self, from: Index) {
        assert!(
            from > self.commit,
            "entry {from} is committed (up to {}) and cannot be cut",
            self.commit
        );
        assert!(
            self.leadership().is_none(),
            "a leader never cuts its own log (paper §5.3)"
        );
        self.log.truncate(from);
        self.memberships.truncate(from);
        self.outbox.drop_vouching(from);
        self.journal.log_changed(from);
        self.verified = self.verified.min(from.previous());
    }

    /// Appends what a leader sent; a membership is in force from here on (thesis §4.1).
    fn append_all(&mut self, entries: Entries) {
        for entry in &entries {
            self.note_appended(entry);
        }
        self.log.append_all(entries);
    }

    /// Appends an entry as leader; a membership is in force from here on (thesis §4.1).
    pub(crate) fn append(&mut self, entry: Entry) {
        self.note_appended(&entry);
        self.log.append(entry);
    }

    fn note_appended(&mut self, entry: &Entry) {
        self.journal.log_changed(entry.id.index);
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.append(entry.id, membership.clone());
        }
    }

    /// Everything up to `commit` is committed.
    pub(crate) fn commit_to(&mut self, commit: Index) {
        if commit <= self.commit {
            return;
        }
        let last = self.log.last().index;
        assert!(
            commit <= last,
            "{commit} cannot be committed in a log that ends at {last}"
        );
        let before = core::mem::replace(&mut self.commit, commit);
        self.note_committed_memberships(before);
        self.forget_removal_behind_commit();
    }
}
