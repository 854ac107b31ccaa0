//! Snapshots (paper §7, thesis §5.1 to §5.3): when to take one, who is sent one, what one that was received does to the log, and
//! where the log may be cut.
//!
//! The core decides; files, chunks and the state machine are the driver's. Guards: a snapshot replaces nothing that is
//! committed; it brings no term and no vote; the state machine never goes back; and the log is cut only behind a snapshot whose
//! mark is durable.

use alloc::collections::VecDeque;

use crate::config::SnapshotPolicy;
use crate::effect::{Effect, Event};
use crate::error::{AnswerError, Rejected};
use crate::journal::Mark;
use crate::log_view::LogView;
use crate::membership::Membership;
use crate::message::{AppendResult, Message, RequestId};
use crate::mutants::{Mutant, mutant};
use crate::progress::Mode;
use crate::raft::Raft;
use crate::role::Role;
use crate::sizes::Sizes;
use crate::types::{Index, JobId, LogId, MemberId, NodeId};

/// How long is waited at most before a snapshot that could not be taken is tried again: so many election timeouts, doubled so often.
const DOUBLINGS_MAX: u32 = 5;

/// One place of the log is remembered for every so many-th part of the tail.
const TAIL_STEPS: usize = 16;

/// What a snapshot stands for: the state machine after the entry `last`, and with it the log up to there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The last entry that it covers (lastIncludedIndex and lastIncludedTerm of paper fig. 13).
    pub last: LogId,
    /// The membership in force at that entry.
    pub membership: Membership,
    /// The entry that the membership stood in; at most `last`.
    pub membership_at: LogId,
}

impl Snapshot {
    /// Whether it can be one: its membership stood in its last entry or before, and somebody decides in it.
    pub(crate) fn is_possible(&self) -> bool {
        let (last, at) = (self.last, self.membership_at);
        let before = at.index < last.index && at.term <= last.term;
        (before || at == last) && !self.membership.voters().is_empty()
    }
}

/// What is known of snapshots here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Snapshots {
    /// The newest whose mark is durable: what followers are sent, and what the log may be cut behind.
    pub(crate) durable: Option<Snapshot>,
    /// Marks on their way to the disk, ascending.
    under_way: VecDeque<(JobId, Snapshot)>,
    /// The end of the newest that was marked, durably or not.
    newest: Index,
    /// What the driver was asked to take, and how much of `bytes_since` it covers.
    taking: Option<(Snapshot, usize)>,
    /// How many in turn could not be taken, and when to try again.
    failed: u32,
    retry_at: u64,
    /// The file of the newest is damaged: another is to take its place, whatever was applied since.
    damaged: bool,
    /// How large the log in front of them is.
    sizes: Sizes,
    /// How many bytes of entries were handed out to apply since the last one.
    bytes_since: usize,
    /// Received, and to replace the state machine once its mark is durable.
    to_install: Option<Snapshot>,
    /// What the driver was asked to install.
    installing: Option<LogId>,
}

impl Snapshots {
    /// With the snapshot that a disk held, and a state machine that has applied so much.
    pub(crate) fn new(found: Option<Snapshot>, applied: Index) -> Self {
        Self {
            sizes: Sizes::behind(applied),
            newest: found.as_ref().map_or(Index::ZERO, |found| found.last.index),
            durable: found,
            ..Self::default()
        }
    }

    /// The cluster begins with a snapshot that ends here, which the open job marks.
    pub(crate) fn found(&mut self, last: Index) {
        self.newest = last;
    }

    /// Every time that is to come.
    pub(crate) fn each_future(&mut self, future: &dyn Fn(&mut u64)) {
        future(&mut self.retry_at);
    }

    /// Where the one ends that the driver is taking.
    pub(crate) fn taking(&self) -> Option<LogId> {
        self.taking.as_ref().map(|(snapshot, _)| snapshot.last)
    }

    /// Where the one ends that replaces the state machine, or will as soon as it is durable.
    pub(crate) fn installing(&self) -> Option<LogId> {
        let waiting = self.to_install.as_ref().map(|snapshot| snapshot.last);
        waiting.or(self.installing)
    }

    /// Entries up to `last`, of so many bytes, were handed out to apply.
    pub(crate) fn note_applying(&mut self, last: Index, bytes: usize, policy: &SnapshotPolicy) {
        self.bytes_since = self.bytes_since.saturating_add(bytes);
        self.sizes.note(last, bytes, policy.tail_bytes / TAIL_STEPS);
    }

    /// There may be room for a snapshot that there was none for.
    pub(crate) fn retry_at_once(&mut self) {
        (self.failed, self.retry_at) = (0, 0);
    }

    /// Whether the state machine is about to be replaced: nothing is applied until it is.
    pub(crate) fn replaces_state(&self) -> bool {
        self.to_install.is_some() || self.installing.is_some()
    }

    /// Whether one waits to be installed.
    #[inline]
    pub(crate) fn may_flush(&self) -> bool {
        self.to_install.is_some()
    }

    /// A job that marks a snapshot was handed out.
    pub(crate) fn note_marking(&mut self, job: JobId, snapshot: Snapshot) {
        self.under_way.push_back((job, snapshot));
    }
}

impl Raft {
    // ---- taking ----

    /// Whether enough was applied since the last snapshot, and another may be asked for.
    #[inline]
    pub(crate) fn is_snapshot_due(&self) -> bool {
        let Some(policy) = &self.config.snapshots else {
            return false;
        };
        let entries = (self.apply.handed.0).saturating_sub(self.snapshots.newest.0);
        let due = entries >= policy.entries_max || self.snapshots.bytes_since >= policy.bytes_max;
        ((due && entries > 0) || self.snapshots.damaged)
            && self.snapshots.taking.is_none()
            && !self.snapshots.replaces_state()
            && self.now >= self.snapshots.retry_at
    }

    /// What a snapshot of the state after the entry `index` stands for; none when that entry is not committed, or not known any more.
    #[must_use]
    pub fn snapshot_at(&self, index: Index) -> Option<Snapshot> {
        let term = self
            .log
            .term_at(index)
            .filter(|_| index <= self.commit && index > Index::ZERO)?;
        let (membership_at, membership) = self.memberships.in_force_at(index)?;
        let membership = match mutant(Mutant::SnapshotsNewestMembership) {
            true => self.memberships.current(),
            false => membership,
        };
        Some(Snapshot {
            last: LogId { index, term },
            membership: membership.clone(),
            membership_at: *membership_at,
        })
    }

    /// Asks for a snapshot, which is due. It is to be of the state after the entries handed out so far, so that its description fits
    /// its content by construction.
    #[inline(never)]
    pub(crate) fn take_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot_at(self.apply.handed) else {
            return;
        };
        self.snapshots.sizes.remember();
        self.snapshots.taking = Some((snapshot.clone(), self.snapshots.bytes_since));
        self.outbox.push(Effect::TakeSnapshot(snapshot));
    }

    pub(crate) fn on_snapshot_taken(
        &mut self,
        last: LogId,
        taken: bool,
    ) -> Result<(), AnswerError> {
        let asked = self
            .snapshots
            .taking
            .take_if(|(asked, _)| asked.last == last);
        let Some((snapshot, bytes)) = asked else {
            return Err(AnswerError::UnknownSnapshot(last));
        };
        if !taken {
            // Twice as late each time: whatever was written in vain has cost the disk as much as one that is kept.
            let wait = u64::from(self.config.election_timeout_ticks) << self.snapshots.failed;
            self.snapshots.failed = (self.snapshots.failed + 1).min(DOUBLINGS_MAX);
            self.snapshots.retry_at = self.now + wait;
            return Ok(());
        }
        (self.snapshots.failed, self.snapshots.damaged) = (0, false);
        self.snapshots.bytes_since = self.snapshots.bytes_since.saturating_sub(bytes);
        // One that was received meanwhile covers more.
        if last.index > self.snapshots.newest {
            self.snapshots.newest = last.index;
            self.journal.mark(Mark {
                snapshot,
                resets_log: false,
            });
        }
        Ok(())
    }

    /// The file of this snapshot cannot be read any more. If it is the newest, one of the state as it is now takes its place.
    pub(crate) fn on_snapshot_damaged(&mut self, last: LogId) {
        let newest = self.snapshots.durable.as_ref();
        let is_newest =
            newest.is_some_and(|newest| newest.last == last) && last.index == self.snapshots.newest;
        if is_newest && self.snapshots.taking.is_none() {
            self.snapshots.damaged = true;
        }
    }

    // ---- receiving (paper fig. 13, InstallSnapshot) ----

    /// Whether a snapshot leaves alone what is committed (F-S3): it has the same entry where it ends, or it goes beyond, and covers what is
    /// committed with a term and a membership that are no older.
    pub(crate) fn check_snapshot(&self, snapshot: &Snapshot) -> Result<(), Rejected> {
        let last = snapshot.last;
        if last.index <= self.commit {
            // What lies before the base is committed, and so agrees.
            return match self.log.term_at(last.index) {
                Some(term) if term != last.term => Err(Rejected::CommittedConflict(last.index)),
                _ => Ok(()),
            };
        }
        let committed_term = self.log.term_at(self.commit).unwrap_or_default();
        let committed_membership = self
            .memberships
            .in_force_at(self.commit)
            .map_or(LogId::ZERO, |&(at, _)| at);
        let at = snapshot.membership_at;
        let fits = at == committed_membership || at.index > self.commit;
        if last.term < committed_term || !fits {
            return Err(Rejected::CommittedConflict(self.commit));
        }
        Ok(())
    }

    /// A snapshot of this term's leader, which was checked, and whose file the driver has whole. Where the log already has what it covers,
    /// nothing is replaced: what follows is kept (paper fig. 13, step 6), and a snapshot that comes twice or late changes nothing.
    pub(crate) fn on_snapshot_request(
        &mut self,
        from: MemberId,
        id: RequestId,
        snapshot: Snapshot,
    ) {
        let last = snapshot.last;
        if last.index > self.commit && self.log.term_at(last.index) != Some(last.term) {
            self.reset_log(snapshot);
        }
        self.verified = self.verified.max(last.index);
        self.commit_to(last.index);
        let matched = self.commit;
        let result = AppendResult::Matched(matched);
        self.send(from, Message::AppendResponse { id, result }, Some(matched));
    }

    /// The log begins anew behind the snapshot: what was in it and is not committed conflicts, or stands behind what does
    /// (F-S2). The state machine follows when that is durable. Term and vote stay as they are (F-S10).
    fn reset_log(&mut self, snapshot: Snapshot) {
        assert!(
            self.leadership().is_none(),
            "a leader never replaces its own log"
        );
        let before = self.commit;
        assert!(
            snapshot.last.index > before,
            "{} is committed, a snapshot at {} is older",
            before,
            snapshot.last
        );
        self.outbox.drop_vouching(before.next());
        self.journal.log_changed(before.next());
        self.journal.mark(Mark {
            snapshot: snapshot.clone(),
            resets_log: true,
        });
        self.log = LogView::empty(snapshot.last);
        // All that is left of it; a leader that had said otherwise before contradicts itself.
        self.verified = snapshot.last.index;
        let held = self.is_held_at(before);
        self.memberships
            .reset(snapshot.membership_at, snapshot.membership.clone());
        self.commit = snapshot.last.index;
        if snapshot.membership_at.index > before {
            let at = snapshot.membership_at;
            self.outbox
                .push(Effect::Event(Event::MembershipCommitted { at }));
            self.note_if_removed(held);
        }
        self.forget_removal_behind_commit();
        self.snapshots.newest = snapshot.last.index;
        self.snapshots.bytes_since = 0;
        self.snapshots.damaged = false;
        self.snapshots.sizes = Sizes::behind(snapshot.last.index);
        self.snapshots.to_install = Some(snapshot);
    }

    /// Has the state machine replaced, one snapshot at a time: its file outlives a crash from here on.
    pub(crate) fn flush_install_snapshot(&mut self) {
        if self.snapshots.installing.is_some() || self.snapshots.to_install.is_none() {
            return;
        }
        let durable = self.durable_index();
        let ready = |snapshot: &mut Snapshot| snapshot.last.index <= durable;
        if let Some(snapshot) = self.snapshots.to_install.take_if(ready) {
            self.snapshots.installing = Some(snapshot.last);
            self.apply.handed = snapshot.last.index;
            self.outbox.push(Effect::InstallSnapshot(snapshot));
        }
    }

    pub(crate) fn on_snapshot_installed(&mut self, last: LogId) -> Result<(), AnswerError> {
        if self.snapshots.installing != Some(last) {
            return Err(AnswerError::UnknownSnapshot(last));
        }
        self.snapshots.installing = None;
        self.apply.replaced(last.index);
        Ok(())
    }

    // ---- sending ----

    /// Starts a transfer to a peer that needs what the log no longer has. Until it ends the peer gets heartbeats only.
    pub(crate) fn send_snapshot(&mut self, node: NodeId) {
        let Some(snapshot) = self.snapshots.durable.clone() else {
            return;
        };
        let number = self.next_number();
        let last = snapshot.last.index;
        let Some(member) = self.with_peer(node, |peer| {
            peer.become_snapshot(number, last);
            peer.member
        }) else {
            return;
        };
        let id = self.request_id(number);
        let envelope = self.envelope(member, Message::SnapshotRequest { id, snapshot });
        crate::invariants::check_sent(self, &envelope);
        self.outbox.push(Effect::SendSnapshot(envelope));
    }

    /// A transfer has ended, for a peer that may not be sent one any more.
    pub(crate) fn on_snapshot_sent(&mut self, id: RequestId, sent: bool) {
        if id.boot != self.identity.boot {
            return;
        }
        let (now, newest) = (self.now, self.last_number);
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        let peer = leadership
            .peers
            .values_mut()
            .find(|peer| matches!(peer.mode, Mode::Snapshot { number, .. } if number == id.number));
        if let Some(peer) = peer {
            peer.end_snapshot(sent, newest, now);
        }
    }

    // ---- cutting the log ----

    /// Everything up to `job` is durable. A new mark lets the log be cut.
    pub(crate) fn on_marks_durable(&mut self, job: JobId) {
        if self.snapshots.under_way.is_empty() {
            return;
        }
        let before = self
            .snapshots
            .durable
            .as_ref()
            .map_or(Index::ZERO, |snapshot| snapshot.last.index);
        let mut moved = false;
        while let Some((_, snapshot)) = self.snapshots.under_way.pop_front_if(|(id, _)| *id <= job)
        {
            self.snapshots.durable = Some(snapshot);
            moved = true;
        }
        if moved {
            self.cut_log(before);
        }
    }

    /// Lets go of the log in front of the snapshot, but for a tail. Peers that keep up hold back more, though no further than to
    /// what the snapshot before allowed; transfers under way hold back what follows them, or they would have been for nothing.
    fn cut_log(&mut self, before: Index) {
        let (Some(policy), Some(snapshot)) = (&self.config.snapshots, &self.snapshots.durable)
        else {
            return;
        };
        let sizes = &self.snapshots.sizes;
        let tail = |index: Index| {
            let by_entries = Index(index.0.saturating_sub(policy.tail_entries));
            by_entries.max(sizes.fits_behind(index, policy.tail_bytes))
        };
        let mut to = tail(snapshot.last.index);
        if let Role::Leader(leadership) = &self.role {
            let patience = u64::from(self.config.election_timeout_ticks);
            let peers = || leadership.peers.values();
            let live = peers().filter(|peer| peer.heard && self.now - peer.heard_at < patience);
            let held = live.map(|peer| peer.matched).min().unwrap_or(to);
            to = to.min(held.max(tail(before)));
            let sending = peers().filter_map(|peer| match peer.mode {
                Mode::Snapshot { last, .. } => Some(last),
                Mode::Probe(_) | Mode::Stream => None,
            });
            to = to.min(sending.min().unwrap_or(to));
        }
        if to > self.log.base().index {
            self.log.cut_front(to);
            let up_to = self.log.base();
            self.snapshots.sizes.forget_before(up_to.index);
            self.outbox.push(Effect::CutLog { up_to });
        }
    }
}
