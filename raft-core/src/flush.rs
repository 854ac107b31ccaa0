//! What is made when the driver drains the effects: one job, one append a peer, one read round, for all inputs since.

use crate::effect::{Effect, PersistJob};
use crate::entries::Entries;
use crate::raft::Raft;
use crate::role::{Leadership, Role};

impl Raft {
    /// Whether [`Raft::flush`] may do anything. Mostly the last of what was to be done has just been answered, and it would go through all
    /// its parts for nothing.
    #[inline]
    pub(crate) fn may_flush(&self) -> bool {
        let leads = match &self.role {
            Role::Leader(leadership) => self.may_flush_leadership(leadership),
            _ => false,
        };
        leads
            || self.journal.holds_anything()
            || self.apply.handed < self.commit
            || self.memberships.holds_older()
            || self.log.tail_bytes() > self.config.tail_bytes_max
            || !self.forwarded.is_idle()
            || self.snapshots.may_flush()
            || self.is_snapshot_due()
    }

    fn may_flush_leadership(&self, leadership: &Leadership) -> bool {
        let last = self.log.last().index;
        !leadership.reads.is_idle()
            || leadership.reads.wants_round()
            || leadership.transfer.is_some()
            || !leadership.catching_up.is_empty()
            || !leadership.peers.values().all(|peer| peer.has_all(last))
    }

    /// Whether [`Raft::flush`] does nothing, found out by doing it: [`Raft::may_flush`] must not say less.
    pub(crate) fn is_flushed(&self) -> bool {
        let mut flushed = self.clone();
        flushed.flush();
        flushed == *self
    }

    /// Makes everything that can be made now. Entries go to the peers before they go to the own disk, so that all disks work at
    /// once (thesis §10.2.1).
    pub(crate) fn flush(&mut self) {
        if matches!(self.role, Role::Leader(_)) {
            self.promote_learners();
            self.flush_replication();
            self.flush_transfer();
        }
        self.flush_job();
        self.flush_install_snapshot();
        self.flush_apply();
        if self.memberships.holds_older() {
            self.memberships.forget_before(self.apply.handed);
        }
        if self.is_snapshot_due() {
            self.take_snapshot();
        }
        if !self.forwarded.is_idle() {
            self.flush_forwarded_reads();
        }
        // What is still to be applied is kept for longer, but not without end: it can be read back from the log.
        let tail_bytes_max = self.config.tail_bytes_max;
        if self.log.tail_bytes() > tail_bytes_max {
            let durable = self.durable_index();
            self.log
                .trim(self.apply.handed.min(durable), tail_bytes_max);
            let tail_bytes_most = tail_bytes_max.saturating_mul(2);
            if self.log.tail_bytes() > tail_bytes_most {
                self.log.trim(durable, tail_bytes_most);
            }
        }
    }

    fn flush_job(&mut self) {
        let last = self.log.last().index;
        let Some(sealed) = self.journal.seal(last, self.now) else {
            return;
        };
        if sealed.state {
            self.states_under_way
                .push((sealed.id, self.term, self.voted_for));
        }
        let entries = match sealed.from {
            Some(from) if from <= last => {
                let slice = self.log.slice(from, last, usize::MAX);
                slice.expect("what is not durable is kept in memory").0
            }
            _ => Entries::NONE,
        };
        assert!(
            sealed
                .from
                .is_none_or(|from| from.0 + entries.len() as u64 == last.0 + 1),
            "a job has a gap"
        );
        // The commit index rides along: it is only a hint, and not worth a write of its own.
        let hard_state =
            (sealed.state || self.commit > self.stored_commit).then(|| self.hard_state());
        self.stored_commit = self.commit;
        if let Some(snapshot) = &sealed.snapshot {
            self.snapshots.note_marking(sealed.id, snapshot.clone());
        }
        let job = PersistJob {
            id: sealed.id,
            hard_state,
            snapshot: sealed.snapshot,
            truncate_from: sealed.truncate_from,
            entries,
        };
        self.outbox.push(Effect::Persist(job));
    }
}
