//! What each operation does to the state.
//!
//! Guards: all that a command changes, it changes at one revision, and the revision rises exactly when something of keys or claims changed;
//! a command that is refused has changed nothing.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::Index;

use super::history::{Past, merged};
use super::keys::{Item, KEY_VALUE_OVERHEAD_BYTES};
use super::{Store, query};
use crate::api::{
    Claim, Command, CommandReply, KeyRange, KeyValue, LeaseId, Operation, Query, Refusal, Revision,
    Step, StepReply, Token, Transaction,
};
use crate::mutants::{Mutant, mutant};
use crate::release;

impl Store {
    /// Carries a session's command out, which stands at this index.
    pub(super) fn carry_out(&mut self, index: Index, command: &Command) -> CommandReply {
        match &command.operation {
            // Never comes here: it stands outside of sessions.
            Operation::RegisterSession => CommandReply::SessionExpired,
            Operation::EndSession => {
                self.sessions.end(command.session);
                CommandReply::Ended
            }
            Operation::SetClusterVersion { version, release } => {
                self.raise_cluster_version(*version, release)
            }
            #[cfg(raft_kv_next)]
            Operation::Append { key, value } => self.append(key, value),
            Operation::Put {
                key,
                value,
                lease,
                want_previous,
                conditions,
            } => match self.failed(conditions) {
                Some(failed) => failed,
                None => self.put_alone(key, value, *lease, *want_previous),
            },
            Operation::Delete {
                keys,
                want_previous,
                conditions,
            } => match self.failed(conditions) {
                Some(failed) => {
                    if mutant(Mutant::DeletesOnCondition) {
                        self.keys.delete(keys, |_| {});
                    }
                    failed
                }
                None => self.delete_alone(keys, *want_previous),
            },
            Operation::Transaction(transaction) => self.transact(transaction),
            Operation::Grant { ttl_ms } => {
                if self.leases.len() >= self.settings.leases_max {
                    return CommandReply::Refused(Refusal::TooManyLeases);
                }
                self.leases.grant(index.0, *ttl_ms);
                self.lessor.granted(index.0, *ttl_ms);
                CommandReply::Granted { lease: index.0 }
            }
            Operation::Revoke { lease } => match self.leases.get(*lease) {
                Some(_) => self.end_leases(&[*lease]),
                None => CommandReply::Refused(Refusal::NoSuchLease),
            },
            Operation::Expire { leases } => self.end_leases(leases),
            Operation::Claim {
                lock,
                lease,
                value,
                queue,
            } => self.claim(lock, *lease, value, *queue),
            Operation::Release { lock, token } => self.release(lock, *token),
            Operation::Compact { revision } => {
                if *revision > self.revision {
                    return CommandReply::Refused(Refusal::FutureRevision);
                }
                self.history.compact(*revision);
                CommandReply::Compacted {
                    oldest: self.history.oldest(),
                }
            }
        }
    }

    pub(super) fn raise_cluster_version(&mut self, version: u16, release: &str) -> CommandReply {
        if version > self.cluster_version {
            self.cluster_version = version;
            self.raised_by = release::clip(release).to_owned();
        }
        CommandReply::ClusterVersion(self.cluster_version)
    }

    /// The revision that this command's changes have.
    fn next_revision(&self) -> Revision {
        self.revision + 1
    }

    /// The command is over: what it changed becomes a revision.
    pub(super) fn commit(&mut self, events: impl Into<Arc<[Past]>>) {
        self.revision += 1;
        self.history.push(events.into(), &self.settings);
    }

    pub(super) fn put_alone(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: LeaseId,
        want_previous: bool,
    ) -> CommandReply {
        if !self.is_lease(lease) {
            return CommandReply::Refused(Refusal::NoSuchLease);
        }
        let (before, after) = self.put(key, value, lease);
        let mut previous = before.as_ref().filter(|_| want_previous);
        if mutant(Mutant::ReturnsNewAsPrevious) {
            previous = previous.map(|_| &after);
        }
        let previous = previous.map(|item| item.to_key_value());
        self.commit([Past::Key {
            before,
            after: Some(after),
        }]);
        CommandReply::Put {
            revision: self.revision,
            previous,
        }
    }

    fn delete_alone(&mut self, keys: &KeyRange, want_previous: bool) -> CommandReply {
        let mut events = Vec::new();
        self.delete(keys, &mut events);
        let mut room = Room::of(self.settings.deleted_bytes_max);
        let previous = previous(&events, want_previous, &mut room);
        let count = events.len() as u64;
        if count > 0 || mutant(Mutant::CountsEmptyDeletes) {
            self.commit(events);
        }
        CommandReply::Deleted {
            count,
            revision: self.revision,
            previous,
        }
    }

    fn is_lease(&self, lease: LeaseId) -> bool {
        lease == 0 || self.leases.get(lease).is_some()
    }

    /// Sets a key. The lease must be there.
    fn put(&mut self, key: &[u8], value: &[u8], lease: LeaseId) -> (Option<Item>, Item) {
        let (before, after) = self.keys.put(self.next_revision(), key, value, lease);
        let left = before.as_ref().map_or(0, |item| item.value.lease);
        self.leases.move_key(&after.key, left, lease);
        (before, after)
    }

    /// Deletes keys.
    fn delete(&mut self, keys: &KeyRange, events: &mut Vec<Past>) {
        let leases = &mut self.leases;
        self.keys.delete(keys, |item| {
            leases.move_key(&item.key, item.value.lease, 0);
            events.push(Past::Key {
                before: Some(item),
                after: None,
            });
        });
    }

    fn transact(&mut self, transaction: &Transaction) -> CommandReply {
        let succeeded = self.first_failed(&transaction.conditions).is_none();
        let steps = match succeeded {
            true => &transaction.then,
            false => &transaction.otherwise,
        };
        // Before anything is done: a step that cannot be carried out must not leave those before it.
        let unknown_lease = steps
            .iter()
            .any(|step| matches!(step, Step::Put { lease, .. } if !self.is_lease(*lease)));
        if unknown_lease {
            return CommandReply::Refused(Refusal::NoSuchLease);
        }
        let mut events = Vec::new();
        let mut room = Room::of(self.settings.deleted_bytes_max);
        let replies = steps
            .iter()
            .map(|step| self.step(step, &mut events, &mut room))
            .collect();
        let events = merged(events);
        if !events.is_empty() {
            self.commit(events);
        }
        CommandReply::Transaction {
            succeeded,
            revision: self.revision,
            steps: replies,
        }
    }

    /// Carries a step out, whose reply has what there is room for.
    fn step(&mut self, step: &Step, events: &mut Vec<Past>, room: &mut Room) -> StepReply {
        match step {
            Step::Put {
                key,
                value,
                lease,
                want_previous,
            } => {
                let (before, after) = self.put(key, value, *lease);
                let previous = before.as_ref().filter(|_| *want_previous);
                let previous = previous.map(|item| item.to_key_value());
                let previous = previous.filter(|kv| room.takes(reply_bytes(kv)));
                events.push(Past::Key {
                    before,
                    after: Some(after),
                });
                StepReply::Put { previous }
            }
            Step::Delete {
                keys,
                want_previous,
            } => {
                let begin = events.len();
                self.delete(keys, events);
                let deleted = events.get(begin..).unwrap_or_default();
                StepReply::Deleted {
                    count: deleted.len() as u64,
                    previous: previous(deleted, *want_previous, room),
                }
            }
            Step::Get(query) => {
                let bytes_max = usize::try_from(room.left).unwrap_or(usize::MAX);
                // Of the state as it is at this step, whatever revision it asks for: those are checked at the door.
                let now = Query {
                    revision: 0,
                    ..query.clone()
                };
                let mut reply = query::query(&self.keys, &now, bytes_max);
                // The first may be too large by itself.
                if !reply.kvs.is_empty() && !room.takes(reply.kvs.iter().map(reply_bytes).sum()) {
                    reply.kvs = Vec::new();
                    reply.more = true;
                }
                StepReply::Got(reply)
            }
        }
    }

    /// Ends leases, and what lives by them, in order.
    pub(super) fn end_leases(&mut self, leases: &[LeaseId]) -> CommandReply {
        let mut events = Vec::new();
        for &id in leases {
            let Some(lease) = self.leases.end(id) else {
                continue;
            };
            self.lessor.ended(id);
            for key in lease.keys {
                self.delete(&KeyRange::Key(key), &mut events);
            }
            for (lock, token) in lease.claims {
                self.unclaim(&lock, token, &mut events);
            }
        }
        let count = events.len() as u64;
        if count > 0 {
            self.commit(events);
        }
        CommandReply::Revoked {
            count,
            revision: self.revision,
        }
    }

    fn claim(&mut self, lock: &Bytes, lease: LeaseId, value: &Bytes, queue: bool) -> CommandReply {
        let Some(owner) = self.leases.get(lease) else {
            return CommandReply::Refused(Refusal::NoSuchLease);
        };
        let token = match owner.claims.get(lock) {
            Some(&token) => token,
            None => {
                if !queue && let Some(holder) = self.locks.queue(lock).next() {
                    return CommandReply::Taken {
                        holder,
                        revision: self.revision,
                    };
                }
                let full = self.locks.queue_len(lock) >= self.settings.queue_max
                    || self.locks.claim_count() >= self.settings.claims_max;
                if full {
                    return CommandReply::Refused(Refusal::TooManyClaims);
                }
                self.next_revision()
            }
        };
        let claim = Claim {
            token,
            lease,
            value: value.clone(),
        };
        let changes = self.locks.get(lock, token).is_none_or(|old| old != claim);
        if changes {
            let (lock, claim) = self.locks.set(lock, &claim);
            self.leases.add_claim(lease, &lock, token);
            let gone = false;
            self.commit([Past::Claim { lock, claim, gone }]);
        }
        CommandReply::Claimed {
            token,
            ahead: self.locks.ahead(lock, token),
            revision: self.revision,
        }
    }

    fn release(&mut self, lock: &Bytes, token: Token) -> CommandReply {
        let mut events = Vec::new();
        self.unclaim(lock, token, &mut events);
        let stood = !events.is_empty();
        if stood {
            self.commit(events);
        }
        CommandReply::Released {
            stood,
            revision: self.revision,
        }
    }

    fn unclaim(&mut self, lock: &[u8], token: Token, events: &mut Vec<Past>) {
        if let Some((lock, claim)) = self.locks.remove(lock, token) {
            self.leases.drop_claim(claim.lease, &lock);
            let gone = true;
            events.push(Past::Claim { lock, claim, gone });
        }
    }
}

/// How many bytes of key-values a command's reply may yet have. One always fits, however large: a reply is never larger than the larger of both.
struct Room {
    left: u64,
    taken: bool,
}

impl Room {
    fn of(bytes: u64) -> Self {
        Self {
            left: bytes,
            taken: false,
        }
    }

    /// Whether so many bytes fit; they are taken then.
    fn takes(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.left || !self.taken;
        if fits {
            self.left = self.left.saturating_sub(bytes);
            self.taken = true;
        }
        fits
    }
}

/// Of what was deleted as much as fits, when it is wanted.
fn previous(deleted: &[Past], wanted: bool, room: &mut Room) -> Vec<KeyValue> {
    let items = deleted.iter().filter_map(|past| match past {
        Past::Key { before, .. } => before.as_ref(),
        Past::Claim { .. } => None,
    });
    // The first that does not fit is the last: what comes back is the beginning of the range, without gaps.
    let kvs = items.take_while(|_| wanted).map(|item| item.to_key_value());
    kvs.take_while(|kv| room.takes(reply_bytes(kv))).collect()
}

/// About what a key-value takes in a reply, in bytes.
fn reply_bytes(kv: &KeyValue) -> u64 {
    (kv.key.len() + kv.value.len() + KEY_VALUE_OVERHEAD_BYTES) as u64
}
