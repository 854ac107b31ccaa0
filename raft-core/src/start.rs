//! How a node begins: as a founding member of a new cluster, or from what its disk holds.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::apply::ApplyState;
use crate::config::Config;
use crate::entry::{Entry, Payload};
use crate::error::{RecoverError, StartError};
use crate::few::Few;
use crate::follower_read::ForwardedReads;
use crate::invariants::Checked;
use crate::journal::{Journal, Mark};
use crate::log_view::LogView;
use crate::membership::Membership;
use crate::membership_log::MembershipLog;
use crate::mutants::{Mutant, mutant};
use crate::outbox::Outbox;
use crate::raft::Raft;
use crate::rng::Rng;
use crate::role::{Role, RoleName};
use crate::snapshot::{Snapshot, Snapshots};
use crate::types::{ClusterId, HardState, Identity, Index, LogId, Term};

/// What a driver read back from its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Who this node is; the boot number is this start's.
    pub identity: Identity,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The entry right before the log's first: [`LogId::ZERO`] when the log begins at 1.
    pub base: LogId,
    /// The newest snapshot that was marked; none when there never was one, and the log begins at 1 and holds a membership. Its end
    /// lies between `base` and `last`. (One that ends at [`LogId::ZERO`] gives no more than the membership that an empty log
    /// starts with.)
    pub snapshot: Option<Snapshot>,
    /// The log's runs of equal terms, ascending: where each begins, and its term.
    pub runs: Vec<(Index, Term)>,
    /// The log's last index; `base.index` when it is empty.
    pub last: Index,
    /// Every membership in the log, ascending; what the snapshot covers may be left out.
    pub memberships: Vec<(LogId, Membership)>,
    /// Up to where the state machine that the driver holds has applied: the snapshot's end for one that was just loaded from it.
    pub applied: Index,
}

impl Raft {
    /// The log id of the first membership, which every founding member writes for itself.
    pub const FOUNDING: LogId = LogId::new(1, 1);

    /// Starts a founding member of a new cluster, on an empty disk. Its first job writes `membership` as entry 1@1: the same on
    /// every founding member, so that they all start from one log. Nothing is granted or asked before that is durable.
    ///
    /// # Errors
    /// When the settings or the membership cannot work, the membership does not hold this node, or the identity names no cluster.
    pub fn bootstrap(
        config: Config,
        identity: Identity,
        membership: Membership,
    ) -> Result<Self, StartError> {
        check_founder(&config, identity, &membership)?;
        let mut raft = Self::start(
            config,
            identity,
            HardState::default(),
            LogView::empty(LogId::ZERO),
            Vec::new(),
            Index::ZERO,
        );
        raft.term = Self::FOUNDING.term;
        raft.journal.state_changed();
        raft.append(Entry {
            id: Self::FOUNDING,
            payload: Payload::Membership(membership),
        });
        raft.reported = (raft.term, raft.role_name(), None);
        raft.checked = Checked::of(&raft);
        Ok(raft)
    }

    /// Starts a founding member of a new cluster that begins with a state: that of a backup, say. The driver's state machine holds it, and its
    /// snapshot, which is durable, stands in for all of a log up to its end: there is no founding entry, and nobody can be sent the
    /// state as entries. The first job marks it, on an empty disk. Every founding member gives the same `snapshot`, whose
    /// membership stood in its last entry. Nothing is granted or asked before that job is durable.
    ///
    /// # Errors
    /// As [`Raft::bootstrap`], and when the snapshot's membership did not stand in its last entry.
    pub fn bootstrap_from(
        config: Config,
        identity: Identity,
        snapshot: Snapshot,
    ) -> Result<Self, StartError> {
        check_founder(&config, identity, &snapshot.membership)?;
        let last = snapshot.last;
        if !snapshot.is_possible() || snapshot.membership_at != last || last.term == Term::ZERO {
            return Err(StartError::BadSnapshot(last));
        }
        let mut raft = Self::start(
            config,
            identity,
            HardState::default(),
            LogView::empty(last),
            vec![(last, snapshot.membership.clone())],
            last.index,
        );
        raft.term = last.term;
        raft.journal.state_changed();
        // As for a snapshot that was received: nothing counts as durable before the mark is.
        raft.journal.log_changed(Index::ZERO.next());
        raft.snapshots.found(last.index);
        raft.journal.mark(Mark {
            snapshot,
            resets_log: true,
        });
        raft.reported = (raft.term, raft.role_name(), None);
        raft.checked = Checked::of(&raft);
        Ok(raft)
    }

    /// Starts a new node that others are to take in: it has an empty disk, knows of no membership, and waits for a leader to send it the
    /// log. Until then it grants no vote and asks for none. It must be told which cluster that is, by an operator or by whoever asks to
    /// have it added.
    ///
    /// # Errors
    /// When the settings cannot work, or the identity names no cluster.
    pub fn join(config: Config, identity: Identity) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        if identity.cluster == ClusterId::UNKNOWN {
            return Err(StartError::NoCluster);
        }
        Ok(Self::start(
            config,
            identity,
            HardState::default(),
            LogView::empty(LogId::ZERO),
            Vec::new(),
            Index::ZERO,
        ))
    }

    /// Starts a node from what its disk holds.
    ///
    /// # Errors
    /// When the settings cannot work, or what was read is not what a core ever wrote.
    pub fn recover(config: Config, disk: Recovered) -> Result<Self, RecoverError> {
        config.validate().map_err(RecoverError::Config)?;
        if disk.identity.cluster == ClusterId::UNKNOWN {
            return Err(RecoverError::NoCluster);
        }
        let log = LogView::from_runs(disk.base, disk.runs, disk.last)
            .map_err(|(at, before)| RecoverError::BadRuns { at, before })?;
        let last = log.last();
        if last.term > disk.hard_state.term {
            return Err(RecoverError::TermBehindLog {
                stored: disk.hard_state.term,
                last,
            });
        }
        for index in [disk.hard_state.commit, disk.applied] {
            if index > last.index {
                return Err(RecoverError::BeyondLog { index, last });
            }
        }
        check_snapshot(&log, disk.snapshot.as_ref(), disk.applied)?;
        let covered = disk.snapshot.as_ref().map(|snapshot| snapshot.last.index);
        let mut memberships: Vec<(LogId, Membership)> = disk
            .snapshot
            .iter()
            .map(|snapshot| (snapshot.membership_at, snapshot.membership.clone()))
            .collect();
        for (at, membership) in disk.memberships {
            if covered.is_some_and(|covered| at.index <= covered) {
                continue;
            }
            let in_order = memberships
                .last()
                .is_none_or(|(before, _)| before.index < at.index);
            if !in_order || at.index <= disk.base.index || !log.contains(at) {
                return Err(RecoverError::BadMembership(at));
            }
            memberships.push((at, membership));
        }
        if mutant(Mutant::StartsFromOldMembership) {
            memberships.truncate(1);
        }
        // Only a node that was never told anything knows of none: see `join`.
        if memberships.is_empty() && last != LogId::ZERO {
            return Err(RecoverError::NoMembership);
        }
        let mut raft = Self::start(
            config,
            disk.identity,
            disk.hard_state,
            log,
            memberships,
            disk.applied,
        );
        raft.snapshots = Snapshots::new(
            disk.snapshot
                .filter(|snapshot| snapshot.last != LogId::ZERO),
            disk.applied,
        );
        raft.commit_to(covered.unwrap_or_default());
        raft.verified = raft.commit;
        raft.checked = Checked::of(&raft);
        Ok(raft)
    }

    fn start(
        config: Config,
        identity: Identity,
        hard_state: HardState,
        log: LogView,
        memberships: Vec<(LogId, Membership)>,
        applied: Index,
    ) -> Self {
        // What the base covers is committed, and so is what was applied.
        let commit = hard_state.commit.max(log.base().index).max(applied);
        let seed = [
            config.seed,
            identity.member.node.0,
            identity.member.incarnation.0,
            identity.boot.0,
        ];
        let mut raft = Self {
            term: hard_state.term,
            voted_for: hard_state
                .voted_for
                .filter(|_| !mutant(Mutant::ForgetsVotes)),
            commit,
            journal: Journal::new(log.last().index),
            durable_state: (hard_state.term, hard_state.voted_for),
            states_under_way: vec![],
            stored_commit: hard_state.commit,
            memberships: MembershipLog::new(memberships),
            snapshots: Snapshots::new(None, applied),
            full: false,
            forwarded: ForwardedReads::default(),
            role: Role::Follower,
            leader: None,
            verified: commit,
            now: 0,
            leader_heard_at: 0,
            leader_number: 0,
            election_at: 0,
            apply: ApplyState::new(applied),
            outbox: Outbox::default(),
            rng: Rng::new(&seed),
            last_number: 0,
            boots: Few::default(),
            strangers: BTreeMap::new(),
            removed_at: None,
            reported_at: LogId::ZERO,
            reported: (hard_state.term, RoleName::Follower, None),
            checked: Checked::default(),
            log,
            config,
            identity,
        };
        raft.memberships.commit(Index::ZERO, commit);
        raft.reported.1 = raft.role_name();
        raft.draw_election_timeout();
        raft.checked = Checked::of(&raft);
        raft
    }
}

/// Whether this node can be a founding member of a cluster with this first membership.
fn check_founder(
    config: &Config,
    identity: Identity,
    membership: &Membership,
) -> Result<(), StartError> {
    config.validate().map_err(StartError::Config)?;
    if identity.cluster == ClusterId::UNKNOWN {
        return Err(StartError::NoCluster);
    }
    if membership.voters().is_empty() {
        return Err(StartError::Membership(
            crate::membership::MembershipError::NoVoter,
        ));
    }
    if !membership.contains(identity.member) {
        return Err(StartError::NotAMember(identity.member));
    }
    Ok(())
}

/// Whether snapshot, log and state machine go together: nothing is missing between them (F-S1).
fn check_snapshot(
    log: &LogView,
    snapshot: Option<&Snapshot>,
    applied: Index,
) -> Result<(), RecoverError> {
    let base = log.base();
    let end = snapshot.map_or(LogId::ZERO, |snapshot| snapshot.last);
    let possible = snapshot.is_none_or(Snapshot::is_possible);
    if end.index < base.index || !log.contains(end) || !possible {
        return Err(RecoverError::BadSnapshot(end));
    }
    if applied < base.index {
        return Err(RecoverError::AppliedBehindLog { applied, base });
    }
    Ok(())
}
