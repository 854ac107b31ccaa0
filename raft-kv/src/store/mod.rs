//! The store: a state machine that says the same everywhere.
//!
//! [`Store::apply_payload`] reads nothing but the command and the state: no clock, no configuration of the node, no order of
//! a hash table. So replicas that applied the same entries are the same, and [`Store::state_hash`] shows it. The applied
//! index, the keys, the sessions and the cluster version are one state: an entry changes all of it or nothing.
//!
//! ```
//! use bytes::Bytes;
//! use raft_core::LogId;
//! use raft_kv::api::{Command, CommandReply, Operation};
//! use raft_kv::store::{Settings, Store};
//!
//! let mut store = Store::new(Settings::default());
//! let command = |session, sequence, operation| Command {
//!     session,
//!     sequence,
//!     first_outstanding: sequence,
//!     principal: Bytes::new(),
//!     operation,
//! };
//! store.apply(LogId::new(1, 1), &command(0, 0, Operation::RegisterSession))?;
//! let put = command(1, 1, Operation::Put {
//!     key: "k".into(),
//!     value: "v".into(),
//!     lease: 0,
//!     want_previous: false,
//!     conditions: vec![],
//! });
//! let reply = store.apply(LogId::new(2, 1), &put)?;
//! assert_eq!(reply, CommandReply::Put { revision: 1, previous: None });
//! // The client did not hear of it and sends it again: it counts once.
//! assert_eq!(store.apply(LogId::new(3, 1), &put)?, reply);
//! assert_eq!(store.revision(), 1);
//! # Ok::<(), raft_kv::store::ApplyError>(())
//! ```

mod carry_out;
mod chunks;
mod conditions;
mod error;
mod hash;
mod history;
mod keys;
mod leases;
mod lessor;
mod locks;
#[cfg(raft_kv_next)]
mod next;
mod query;
mod sessions;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use raft_core::{Index, LogId, Term};

use crate::api::{
    Change, Command, CommandReply, LeaseId, LeaseInfo, LockInfo, Operation, Query, QueryReply,
    RequestError, Revision, RevisionError, Watched,
};
use crate::mutants::{Mutant, mutant};
use crate::wire::{self, COMMAND_FORMAT_MAX};
use hash::{ItemHash, Kind};
use history::History;
use keys::Keys;
use leases::Leases;
use lessor::Lessor;
use locks::Locks;
use sessions::{Sessions, Verdict};
use snapshot::NUMBERS_END;

pub use crate::release::CLUSTER_VERSION_MAX;
pub use error::{ApplyError, JumpTooFar};
pub(crate) use keys::is_in;
pub use settings::Settings;
pub use snapshot::{
    STORE_SNAPSHOT_ITEM_BYTES_MAX, STORE_SNAPSHOT_VERSION, StoreSnapshotError, StoreSnapshotPlace,
};
pub use validate::{
    CLAIM_VALUE_BYTES_MAX, CONDITIONS_MAX, Limits, STEPS_MAX, validate_command, validate_lock,
    validate_query, validate_range,
};

/// Keys, sessions, and how far they have come.
///
/// A clone is a picture of the state: it takes about a millisecond for a million keys and shares nearly all memory with the
/// store, which goes on. Either copies what it writes to later: a chunk of some hundred pointers, a session. So a snapshot can
/// be written from a clone ([`Store::write_to`]) by another thread while entries are applied. What was overwritten meanwhile is
/// freed with the clone, by whoever drops it.
#[derive(Clone)]
pub struct Store {
    settings: Settings,
    applied: Index,
    revision: Revision,
    cluster_version: u16,
    /// The release that raised the version last; empty before.
    raised_by: String,
    /// The newest version that this store follows: no part of the state.
    follows: u16,
    keys: Keys,
    leases: Leases,
    locks: Locks,
    history: History,
    sessions: Sessions,
    /// No part of the state.
    lessor: Lessor,
    /// What the state's hash was at some of the last entries: no part of the state.
    past: VecDeque<(Index, u64)>,
}

/// After how many entries the state's hash is kept, and how many are. So replicas under load can be compared, though they are never asked at
/// the same entry.
const PAST_EVERY: u64 = 256;
const PAST_MAX: usize = 16;

impl fmt::Debug for Store {
    /// Shows counters only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("applied", &self.applied)
            .field("revision", &self.revision)
            .field("cluster_version", &self.cluster_version)
            .field("keys", &self.keys.len())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store: what a new cluster starts from.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::following(settings, CLUSTER_VERSION_MAX)
    }

    /// An empty store that follows no version beyond this one, as that of another release would.
    pub(crate) fn following(settings: Settings, follows: u16) -> Self {
        Self {
            settings,
            applied: Index::ZERO,
            revision: 0,
            cluster_version: settings.cluster_version,
            raised_by: String::new(),
            follows,
            keys: Keys::default(),
            leases: Leases::default(),
            locks: Locks::default(),
            history: History::default(),
            sessions: Sessions::default(),
            lessor: Lessor::default(),
            past: VecDeque::new(),
        }
    }

    /// Applies the command that the entry `at` holds, and says what to answer.
    ///
    /// # Errors
    /// When this release cannot apply it. Nothing has changed then, and the node must stop: an entry is never skipped.
    ///
    /// # Panics
    /// When `at` is not the entry right behind the last applied one.
    pub fn apply_payload(
        &mut self,
        at: LogId,
        payload: &Bytes,
    ) -> Result<CommandReply, ApplyError> {
        let damaged = |error| ApplyError::Damaged { at, error };
        // Looked at first: of what a newer release wrote, no more than this may be legible.
        let header = wire::command_header(payload).map_err(damaged)?;
        if header.format > COMMAND_FORMAT_MAX {
            return Err(ApplyError::UnknownFormat {
                at,
                format: header.format,
            });
        }
        if header.cluster_version > self.cluster_version {
            return Err(ApplyError::ClusterVersionNotInForce {
                at,
                needed: header.cluster_version,
                in_force: self.cluster_version,
            });
        }
        let command = wire::decode_command(payload.clone()).map_err(damaged)?;
        self.apply(at, &command)
    }

    /// Applies a command that was decoded already, as the entry `at`.
    ///
    /// # Errors
    /// When the command raises the cluster version beyond this release. Nothing has changed then, and the node must stop.
    ///
    /// # Panics
    /// When `at` is not the entry right behind the last applied one.
    pub fn apply(&mut self, at: LogId, command: &Command) -> Result<CommandReply, ApplyError> {
        if let Operation::SetClusterVersion { version, release } = &command.operation
            && *version > self.follows
        {
            return Err(ApplyError::ClusterVersionTooNew {
                at,
                version: *version,
                release: release.clone(),
                follows: self.follows,
            });
        }
        self.note_applied(at.index);
        if mutant(Mutant::ReadsChance) && crate::node::disk::random().is_multiple_of(2) {
            self.commit([]);
        }
        Ok(match (&command.operation, command.session) {
            (Operation::RegisterSession, _) => {
                let session = self.sessions.register(at.index.0, &self.settings);
                CommandReply::Registered { session }
            }
            // Applying it twice is applying it once.
            (Operation::SetClusterVersion { version, release }, 0) => {
                self.raise_cluster_version(*version, release)
            }
            (Operation::Expire { leases }, 0) => self.end_leases(leases),
            _ => match self.sessions.judge(at.index.0, command, &self.settings) {
                Verdict::Answered(reply) => reply,
                Verdict::Fresh => {
                    let reply = self.carry_out(at.index, command);
                    self.sessions.keep(command, &reply, &self.settings);
                    reply
                }
            },
        })
    }

    /// The entry at this index is for someone else (a no-op, a membership): the state has come to it all the same.
    ///
    /// # Panics
    /// When it is not the entry right behind the last applied one.
    pub fn note_applied(&mut self, index: Index) {
        assert!(
            index == self.applied.next(),
            "entry {index} was to be applied behind entry {}",
            self.applied
        );
        // Of the state before this entry, which is whole.
        if self.applied.0.is_multiple_of(PAST_EVERY) && self.applied > Index::ZERO {
            if self.past.len() == PAST_MAX {
                self.past.pop_front();
            }
            self.past.push_back((self.applied, self.state_hash()));
        }
        self.applied = index;
    }

    /// Makes this the state that another cluster begins with, after its entry `at`. The revision is raised by `jump`, so that whoever
    /// remembers one of the old cluster never meets it again for another state; keys keep theirs. Every session ends: a command that
    /// comes again from the old cluster is answered with [`CommandReply::SessionExpired`], and never applied a second time. Numbers of
    /// sessions are indexes, so `at` must lie behind all that the old cluster ever had.
    ///
    /// # Errors
    /// When no log has such an index or revision, or `at` is not behind the last applied entry; nothing has changed then.
    pub fn begin_anew(&mut self, at: Index, jump: u64) -> Result<(), JumpTooFar> {
        let revision = self.revision.checked_add(jump);
        let revision = revision.filter(|revision| *revision < NUMBERS_END);
        let (Some(revision), true) = (revision, at > self.applied && at.0 < NUMBERS_END) else {
            return Err(JumpTooFar { jump });
        };
        self.revision = revision;
        // Whoever watched the old cluster, or read it at some revision, must not go on here as if it were the same.
        self.history = History::beginning_at(revision);
        self.sessions = Sessions::default();
        self.past = VecDeque::new();
        self.applied = at;
        Ok(())
    }

    /// Hashes of the state, each after the entry that it stands beside, ascending; the last is of the state as it is.
    pub fn hashes(&self) -> impl Iterator<Item = (Index, u64)> + use<'_> {
        let now = (self.applied, self.state_hash());
        self.past.iter().copied().chain([now])
    }

    /// The bug [`Mutant::DropsSessionsWithLeader`].
    pub(crate) fn drop_sessions(&mut self) {
        self.sessions = Sessions::default();
    }

    /// Answers a query: with as many key-values as it asks for and as fit into `reply_bytes_max`,
    /// though with at least one when there is one. Values are shared, not copied. Takes time in proportion to the key-values
    /// in the reply, and to a small part of the keys in the range, which it counts; at an older revision, to the changes since as well.
    ///
    /// # Errors
    /// When the revision that it asks for is not kept any more, or is yet to come.
    pub fn query(
        &self,
        query: &Query,
        reply_bytes_max: usize,
    ) -> Result<QueryReply, RevisionError> {
        if query.revision == 0 || query.revision == self.revision {
            return Ok(query::query(&self.keys, query, reply_bytes_max));
        }
        self.history.check(query.revision)?;
        Ok(query::query_past(
            &self.keys,
            &self.history,
            query,
            reply_bytes_max,
        ))
    }

    /// What happened from a revision on to what is watched: whole revisions, ascending, as many as about fit into `bytes_max`, though at
    /// least one if there is one; and from which revision to go on. Looks at no more than about `looked_max` changes, so it may find
    /// nothing and say to go on all the same. Beyond the newest revision there is nothing yet.
    ///
    /// # Errors
    /// [`RevisionError::Compacted`] when changes at this revision, or behind it, are not kept any more.
    pub fn changes(
        &self,
        from: Revision,
        watched: &Watched,
        bytes_max: u64,
        looked_max: usize,
    ) -> Result<(Vec<Change>, Revision), RevisionError> {
        let watched = Some(watched);
        self.history.changes(from, watched, bytes_max, looked_max)
    }

    /// How many changes there were from a revision on and before another: what it cost to look at them.
    pub(crate) fn count_changes(&self, from: Revision, to: Revision) -> usize {
        self.history.count(from, to)
    }

    /// [`changes`](Self::changes) of all keys and locks.
    pub(crate) fn all_changes(
        &self,
        from: Revision,
        bytes_max: u64,
        looked_max: usize,
    ) -> Result<(Vec<Change>, Revision), RevisionError> {
        self.history.changes(from, None, bytes_max, looked_max)
    }

    /// The oldest revision that can be read; changes can be watched from the one behind it.
    #[must_use]
    pub fn oldest_revision(&self) -> Revision {
        self.history.oldest()
    }

    /// A lease, with at most so many of its keys, and of its claims.
    #[must_use]
    pub fn lease(&self, lease: LeaseId, max: usize) -> Option<LeaseInfo> {
        let found = self.leases.get(lease)?;
        let claims = found.claims.iter().take(max);
        Some(LeaseInfo {
            lease,
            ttl_ms: found.ttl_ms,
            remaining_ms: self.lessor.remaining_ms(lease),
            keys: found.keys.iter().take(max).cloned().collect(),
            claims: claims.map(|(lock, &token)| (lock.clone(), token)).collect(),
        })
    }

    /// The leases behind this one, ascending, each with its time to live in milliseconds.
    pub fn leases(&self, behind: LeaseId) -> impl Iterator<Item = (LeaseId, u64)> + use<'_> {
        let leases = self.leases.behind(behind);
        leases.map(|(lease, found)| (lease, found.ttl_ms))
    }

    /// Time has passed, and this node leads in this term and has applied an entry of it, if it does. Gives the commands that a leader has
    /// to propose: leases that were not kept alive end by them.
    #[must_use]
    pub fn tick(&mut self, leading: Option<Term>, elapsed_ms: u32) -> Vec<Operation> {
        let due = self.lessor.tick(leading, elapsed_ms, &self.leases);
        due.into_iter()
            .map(|leases| Operation::Expire { leases })
            .collect()
    }

    /// Lets a lease live for its whole time again, by the clock of this node, which leads in this term and has confirmed that since it was
    /// asked to (thesis §6.4). No part of the state: a new leader gives every lease its whole time.
    ///
    /// # Errors
    /// [`RequestError::NoSuchLease`], and [`RequestError::ReadFailed`] when this node does not know the times of that term yet.
    pub fn keep_alive(&mut self, lease: LeaseId, leading: Term) -> Result<u64, RequestError> {
        let ttl_ms = self.leases.get(lease).map(|lease| lease.ttl_ms);
        let ttl_ms = ttl_ms.ok_or(RequestError::NoSuchLease)?;
        if self.lessor.leading() != Some(leading) {
            return Err(RequestError::ReadFailed);
        }
        match self.lessor.keep_alive(lease, ttl_ms) {
            true => Ok(ttl_ms),
            false => Err(RequestError::NoSuchLease),
        }
    }

    /// How many leases there are.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.leases.len()
    }

    /// A lock's queue, with at most so many claims.
    #[must_use]
    pub fn lock(&self, lock: &[u8], max: usize) -> LockInfo {
        LockInfo {
            claims: self.locks.queue(lock).take(max).collect(),
            more: self.locks.queue_len(lock) > max,
        }
    }

    /// The limits that apply judges by: part of the state.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The revision: how many commands have changed keys.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The last applied entry.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// How many keys there are.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// About how many bytes the replies take that are kept for retries.
    #[must_use]
    pub fn kept_reply_bytes(&self) -> u64 {
        self.sessions.reply_bytes()
    }

    /// The cluster version in force.
    #[must_use]
    pub fn cluster_version(&self) -> u16 {
        self.cluster_version
    }

    /// The newest cluster version that this store follows.
    #[must_use]
    pub fn follows(&self) -> u16 {
        self.follows
    }

    /// A hash of the whole state: keys, leases, locks, history, sessions, revision, applied index, cluster version and settings. Replicas at the same
    /// applied index have the same. It is kept up to date by apply, so asking costs nothing.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        let hash = self
            .settings
            .words()
            .into_iter()
            .fold(ItemHash::new(Kind::Whole), ItemHash::word)
            .word(self.applied.0)
            .word(self.revision)
            .word(self.cluster_version.into())
            .word(self.keys.hash())
            .word(self.sessions.hash())
            .word(self.leases.hash())
            .word(self.locks.hash())
            .word(self.history.oldest())
            .word(self.history.hash());
        match self.raised_by.as_str() {
            "" => hash.finish(),
            release => hash.bytes(release.as_bytes()).finish(),
        }
    }
}
