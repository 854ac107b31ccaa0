//! The state hash: a sum over one hash for each item, so that changing an item costs no more than hashing that item.
//!
//! It is there to notice that two replicas differ, and equal on every platform. It does not withstand someone who looks for
//! collisions.

use crate::api::{CommandReply, KeyValue, QueryReply, Refusal, StepReply};

const SECRET: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
    0xd6e8_feb8_6659_fd93,
];

/// What an item is, so that items of different kinds never stand for each other.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Key = 1,
    Session = 2,
    Reply = 3,
    Whole = 4,
    Lease = 5,
    Claim = 6,
    Past = 7,
}

/// Hashes one item, field by field.
pub(super) struct ItemHash(u64);

impl ItemHash {
    pub(super) const fn new(kind: Kind) -> Self {
        Self(fold(SECRET[0], kind as u64 ^ SECRET[1]))
    }

    #[must_use]
    pub(super) const fn word(self, word: u64) -> Self {
        Self(fold(word ^ SECRET[2], self.0 ^ SECRET[0]))
    }

    #[must_use]
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let (chunks, rest) = bytes.as_chunks::<16>();
        let mut last = [0; 16];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let mut hash = self.word(bytes.len() as u64).0;
        for chunk in chunks.iter().chain([&last]) {
            let both = u128::from_le_bytes(*chunk);
            hash = fold(both as u64 ^ SECRET[2], (both >> 64) as u64 ^ hash);
        }
        Self(hash)
    }

    #[must_use]
    pub(super) const fn finish(self) -> u64 {
        fold(self.0 ^ SECRET[1], SECRET[3])
    }

    #[must_use]
    pub(super) fn reply(self, reply: &CommandReply) -> Self {
        match reply {
            CommandReply::Registered { session } => self.word(1).word(*session),
            CommandReply::Ended => self.word(2),
            CommandReply::Put { revision, previous } => {
                self.word(3).word(*revision).key_values(previous.as_slice())
            }
            CommandReply::Deleted {
                count,
                revision,
                previous,
            } => self
                .word(4)
                .word(*count)
                .word(*revision)
                .key_values(previous),
            CommandReply::ConditionFailed { current, revision } => {
                self.word(5).word(*revision).key_values(current.as_slice())
            }
            CommandReply::ClusterVersion(version) => self.word(6).word((*version).into()),
            CommandReply::SessionExpired => self.word(7),
            CommandReply::Forgotten => self.word(8),
            CommandReply::Refused(Refusal::NoSuchLease) => self.word(9),
            CommandReply::Refused(Refusal::TooManyOutstanding) => self.word(10),
            CommandReply::Refused(Refusal::TooManyLeases) => self.word(11),
            CommandReply::Refused(Refusal::TooManyClaims) => self.word(12),
            CommandReply::Refused(Refusal::FutureRevision) => self.word(13),
            CommandReply::Transaction {
                succeeded,
                revision,
                steps,
            } => steps.iter().fold(
                self.word(14)
                    .word((*succeeded).into())
                    .word(*revision)
                    .word(steps.len() as u64),
                Self::step,
            ),
            CommandReply::Granted { lease } => self.word(15).word(*lease),
            CommandReply::Revoked { count, revision } => self.word(16).word(*count).word(*revision),
            CommandReply::Claimed {
                token,
                ahead,
                revision,
            } => self.word(17).word(*token).word(*ahead).word(*revision),
            CommandReply::Taken { holder, revision } => self
                .word(18)
                .word(holder.token)
                .word(holder.lease)
                .bytes(&holder.value)
                .word(*revision),
            CommandReply::Released { stood, revision } => {
                self.word(19).word((*stood).into()).word(*revision)
            }
            CommandReply::Compacted { oldest } => self.word(20).word(*oldest),
        }
    }

    fn step(self, step: &StepReply) -> Self {
        match step {
            StepReply::Put { previous } => self.word(1).key_values(previous.as_slice()),
            StepReply::Deleted { count, previous } => {
                self.word(2).word(*count).key_values(previous)
            }
            StepReply::Got(QueryReply { kvs, count, more }) => self
                .word(3)
                .word(*count)
                .word((*more).into())
                .key_values(kvs),
        }
    }

    fn key_values(self, kvs: &[KeyValue]) -> Self {
        kvs.iter().fold(self.word(kvs.len() as u64), |hash, kv| {
            hash.bytes(&kv.key)
                .bytes(&kv.value)
                .word(kv.create_revision)
                .word(kv.mod_revision)
                .word(kv.version)
                .word(kv.lease)
        })
    }
}

/// Multiplies, and folds the product's halves together: every bit of both factors reaches every bit of the result.
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// The sum of the hashes of a set of items, in whatever order they came and went.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HashSum(u64);

impl HashSum {
    pub(super) const fn add(&mut self, item: u64) {
        self.0 = self.0.wrapping_add(item);
    }

    pub(super) const fn remove(&mut self, item: u64) {
        self.0 = self.0.wrapping_sub(item);
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }
}
