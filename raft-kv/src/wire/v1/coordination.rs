//! Transactions, leases, locks and watches, inside of commands, requests and responses.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::keys::{KeyRangeV1, QueryV1};
use super::pack::{List, Slice};
use super::response::{KeyValueV1, KeyValues, share_all};
use crate::api::{
    Answer, Change, Claim, Event, Field, LeaseInfo, LockInfo, QueryReply, Question, Relation, Step,
    StepReply, Watch, WatchReply, Watched,
};
use crate::wire::buffer::Reader;
use crate::wire::{DecodeError, KEY_VALUES_MAX, LIST_MAX};

pub(super) type Steps<'a> = List<StepV1<'a>, LIST_MAX>;

#[derive(Serialize, Deserialize)]
pub(super) enum StepV1<'a> {
    Put {
        #[serde(borrow)]
        key: Slice<'a>,
        value: Slice<'a>,
        lease: u64,
        want_previous: bool,
    },
    Delete {
        keys: KeyRangeV1<'a>,
        want_previous: bool,
    },
    Get(QueryV1<'a>),
}

impl<'a> From<&'a Step> for StepV1<'a> {
    fn from(step: &'a Step) -> Self {
        match step {
            Step::Put {
                key,
                value,
                lease,
                want_previous,
            } => Self::Put {
                key: Slice(key),
                value: Slice(value),
                lease: *lease,
                want_previous: *want_previous,
            },
            Step::Delete {
                keys,
                want_previous,
            } => Self::Delete {
                keys: keys.into(),
                want_previous: *want_previous,
            },
            Step::Get(query) => Self::Get(query.into()),
        }
    }
}

pub(super) fn share_steps(steps: Steps<'_>, body: &Bytes) -> Vec<Step> {
    let share = |step| match step {
        StepV1::Put {
            key,
            value,
            lease,
            want_previous,
        } => Step::Put {
            key: key.share(body),
            value: value.share(body),
            lease,
            want_previous,
        },
        StepV1::Delete {
            keys,
            want_previous,
        } => Step::Delete {
            keys: keys.share(body),
            want_previous,
        },
        StepV1::Get(query) => Step::Get(query.share(body)),
    };
    steps.0.into_iter().map(share).collect()
}

#[derive(Serialize, Deserialize)]
pub(super) enum RelationV1 {
    Equal,
    NotEqual,
    Less,
    Greater,
}

impl From<Relation> for RelationV1 {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::Equal => Self::Equal,
            Relation::NotEqual => Self::NotEqual,
            Relation::Less => Self::Less,
            Relation::Greater => Self::Greater,
        }
    }
}

impl From<RelationV1> for Relation {
    fn from(relation: RelationV1) -> Self {
        match relation {
            RelationV1::Equal => Self::Equal,
            RelationV1::NotEqual => Self::NotEqual,
            RelationV1::Less => Self::Less,
            RelationV1::Greater => Self::Greater,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum FieldV1<'a> {
    Value(#[serde(borrow)] Slice<'a>),
    CreateRevision(u64),
    ModRevision(u64),
    Version(u64),
    Lease(u64),
}

impl<'a> From<&'a Field> for FieldV1<'a> {
    fn from(field: &'a Field) -> Self {
        match field {
            Field::Value(value) => Self::Value(Slice(value)),
            Field::CreateRevision(revision) => Self::CreateRevision(*revision),
            Field::ModRevision(revision) => Self::ModRevision(*revision),
            Field::Version(version) => Self::Version(*version),
            Field::Lease(lease) => Self::Lease(*lease),
        }
    }
}

impl FieldV1<'_> {
    pub(super) fn share(self, body: &Bytes) -> Field {
        match self {
            Self::Value(value) => Field::Value(value.share(body)),
            Self::CreateRevision(revision) => Field::CreateRevision(revision),
            Self::ModRevision(revision) => Field::ModRevision(revision),
            Self::Version(version) => Field::Version(version),
            Self::Lease(lease) => Field::Lease(lease),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum QuestionV1<'a> {
    Lease {
        lease: u64,
    },
    Leases {
        behind: u64,
        limit: u64,
    },
    Lock {
        #[serde(borrow)]
        lock: Slice<'a>,
        limit: u64,
    },
    KeepAlive {
        lease: u64,
    },
}

impl<'a> From<&'a Question> for QuestionV1<'a> {
    fn from(question: &'a Question) -> Self {
        match question {
            Question::Lease { lease } => Self::Lease { lease: *lease },
            Question::Leases { behind, limit } => Self::Leases {
                behind: *behind,
                limit: *limit,
            },
            Question::Lock { lock, limit } => Self::Lock {
                lock: Slice(lock),
                limit: *limit,
            },
            Question::KeepAlive { lease } => Self::KeepAlive { lease: *lease },
        }
    }
}

impl QuestionV1<'_> {
    pub(super) fn share(self, body: &Bytes) -> Question {
        match self {
            Self::Lease { lease } => Question::Lease { lease },
            Self::Leases { behind, limit } => Question::Leases { behind, limit },
            Self::Lock { lock, limit } => Question::Lock {
                lock: lock.share(body),
                limit,
            },
            Self::KeepAlive { lease } => Question::KeepAlive { lease },
        }
    }
}

#[derive(Serialize, Deserialize)]
enum WatchedV1<'a> {
    Keys(#[serde(borrow)] KeyRangeV1<'a>),
    Lock(Slice<'a>),
}

#[derive(Serialize, Deserialize)]
pub(super) struct WatchV1<'a> {
    #[serde(borrow)]
    watched: WatchedV1<'a>,
    from: u64,
    want_previous: bool,
}

impl<'a> From<&'a Watch> for WatchV1<'a> {
    fn from(watch: &'a Watch) -> Self {
        Self {
            watched: match &watch.watched {
                Watched::Keys(keys) => WatchedV1::Keys(keys.into()),
                Watched::Lock(lock) => WatchedV1::Lock(Slice(lock)),
            },
            from: watch.from,
            want_previous: watch.want_previous,
        }
    }
}

impl WatchV1<'_> {
    pub(super) fn share(self, body: &Bytes) -> Watch {
        Watch {
            watched: match self.watched {
                WatchedV1::Keys(keys) => Watched::Keys(keys.share(body)),
                WatchedV1::Lock(lock) => Watched::Lock(lock.share(body)),
            },
            from: self.from,
            want_previous: self.want_previous,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ClaimV1<'a> {
    token: u64,
    lease: u64,
    #[serde(borrow)]
    value: Slice<'a>,
}

impl<'a> From<&'a Claim> for ClaimV1<'a> {
    fn from(claim: &'a Claim) -> Self {
        Self {
            token: claim.token,
            lease: claim.lease,
            value: Slice(&claim.value),
        }
    }
}

impl ClaimV1<'_> {
    pub(super) fn share(self, head: &Bytes) -> Claim {
        Claim {
            token: self.token,
            lease: self.lease,
            value: self.value.share(head),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum StepReplyV1<'a> {
    Put {
        #[serde(borrow)]
        previous: Option<KeyValueV1<'a>>,
    },
    Deleted {
        count: u64,
        previous: KeyValues<'a>,
    },
    Got {
        kvs: KeyValues<'a>,
        count: u64,
        more: bool,
    },
}

impl<'a> From<&'a StepReply> for StepReplyV1<'a> {
    fn from(step: &'a StepReply) -> Self {
        match step {
            StepReply::Put { previous } => Self::Put {
                previous: previous.as_ref().map(Into::into),
            },
            StepReply::Deleted { count, previous } => Self::Deleted {
                count: *count,
                previous: List(previous.iter().map(Into::into).collect()),
            },
            StepReply::Got(reply) => Self::Got {
                kvs: List(reply.kvs.iter().map(Into::into).collect()),
                count: reply.count,
                more: reply.more,
            },
        }
    }
}

impl StepReplyV1<'_> {
    pub(super) fn share(self, head: &Bytes, tail: &mut Reader) -> Result<StepReply, DecodeError> {
        Ok(match self {
            Self::Put { previous } => StepReply::Put {
                previous: previous.map(|kv| kv.share(head, tail)).transpose()?,
            },
            Self::Deleted { count, previous } => StepReply::Deleted {
                count,
                previous: share_all(previous, head, tail)?,
            },
            Self::Got { kvs, count, more } => StepReply::Got(QueryReply {
                kvs: share_all(kvs, head, tail)?,
                count,
                more,
            }),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum AnswerV1<'a> {
    Lease(#[serde(borrow)] Option<LeaseInfoV1<'a>>),
    Leases {
        leases: List<(u64, u64), KEY_VALUES_MAX>,
        more: bool,
    },
    Lock {
        claims: List<ClaimV1<'a>, KEY_VALUES_MAX>,
        more: bool,
    },
    KeptAlive {
        ttl_ms: u64,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct LeaseInfoV1<'a> {
    lease: u64,
    ttl_ms: u64,
    remaining_ms: Option<u64>,
    #[serde(borrow)]
    keys: List<Slice<'a>, KEY_VALUES_MAX>,
    claims: List<(Slice<'a>, u64), KEY_VALUES_MAX>,
}

impl<'a> From<&'a Answer> for AnswerV1<'a> {
    fn from(answer: &'a Answer) -> Self {
        match answer {
            Answer::Lease(lease) => Self::Lease(lease.as_ref().map(|found| {
                LeaseInfoV1 {
                    lease: found.lease,
                    ttl_ms: found.ttl_ms,
                    remaining_ms: found.remaining_ms,
                    keys: List(found.keys.iter().map(|key| Slice(key)).collect()),
                    claims: List(
                        found
                            .claims
                            .iter()
                            .map(|(lock, token)| (Slice(lock), *token))
                            .collect(),
                    ),
                }
            })),
            Answer::Leases { leases, more } => Self::Leases {
                leases: List(leases.clone()),
                more: *more,
            },
            Answer::Lock(found) => Self::Lock {
                claims: List(found.claims.iter().map(Into::into).collect()),
                more: found.more,
            },
            Answer::KeptAlive { ttl_ms } => Self::KeptAlive { ttl_ms: *ttl_ms },
        }
    }
}

impl AnswerV1<'_> {
    pub(super) fn share(self, head: &Bytes) -> Answer {
        match self {
            Self::Lease(lease) => Answer::Lease(lease.map(|found| {
                LeaseInfo {
                    lease: found.lease,
                    ttl_ms: found.ttl_ms,
                    remaining_ms: found.remaining_ms,
                    keys: found
                        .keys
                        .0
                        .into_iter()
                        .map(|key| key.share(head))
                        .collect(),
                    claims: found
                        .claims
                        .0
                        .into_iter()
                        .map(|(lock, token)| (lock.share(head), token))
                        .collect(),
                }
            })),
            Self::Leases { leases, more } => Answer::Leases {
                leases: leases.0,
                more,
            },
            Self::Lock { claims, more } => Answer::Lock(LockInfo {
                claims: claims
                    .0
                    .into_iter()
                    .map(|claim| claim.share(head))
                    .collect(),
                more,
            }),
            Self::KeptAlive { ttl_ms } => Answer::KeptAlive { ttl_ms },
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum WatchReplyV1<'a> {
    Changes {
        #[serde(borrow)]
        changes: List<ChangeV1<'a>, KEY_VALUES_MAX>,
        unfinished: bool,
    },
    Progress {
        revision: u64,
    },
    Ended,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ChangeV1<'a> {
    revision: u64,
    #[serde(borrow)]
    events: List<EventV1<'a>, KEY_VALUES_MAX>,
}

#[derive(Serialize, Deserialize)]
enum EventV1<'a> {
    Put {
        #[serde(borrow)]
        kv: KeyValueV1<'a>,
        previous: Option<KeyValueV1<'a>>,
    },
    Deleted {
        previous: KeyValueV1<'a>,
    },
    Claimed {
        lock: Slice<'a>,
        claim: ClaimV1<'a>,
    },
    Released {
        lock: Slice<'a>,
        claim: ClaimV1<'a>,
    },
}

impl<'a> From<&'a WatchReply> for WatchReplyV1<'a> {
    fn from(reply: &'a WatchReply) -> Self {
        match reply {
            WatchReply::Changes {
                changes,
                unfinished,
            } => Self::Changes {
                changes: List(changes.iter().map(Into::into).collect()),
                unfinished: *unfinished,
            },
            WatchReply::Progress { revision } => Self::Progress {
                revision: *revision,
            },
            WatchReply::Ended => Self::Ended,
        }
    }
}

impl WatchReplyV1<'_> {
    pub(super) fn share(self, head: &Bytes, tail: &mut Reader) -> Result<WatchReply, DecodeError> {
        Ok(match self {
            Self::Changes {
                changes,
                unfinished,
            } => WatchReply::Changes {
                changes: changes
                    .0
                    .into_iter()
                    .map(|change| change.share(head, tail))
                    .collect::<Result<_, _>>()?,
                unfinished,
            },
            Self::Progress { revision } => WatchReply::Progress { revision },
            Self::Ended => WatchReply::Ended,
        })
    }
}

impl<'a> From<&'a Change> for ChangeV1<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            revision: change.revision,
            events: List(change.events.iter().map(Into::into).collect()),
        }
    }
}

impl ChangeV1<'_> {
    fn share(self, head: &Bytes, tail: &mut Reader) -> Result<Change, DecodeError> {
        let events = self.events.0.into_iter();
        Ok(Change {
            revision: self.revision,
            events: events
                .map(|event| event.share(head, tail))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> From<&'a Event> for EventV1<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Put { kv, previous } => Self::Put {
                kv: kv.into(),
                previous: previous.as_ref().map(Into::into),
            },
            Event::Deleted { previous } => Self::Deleted {
                previous: previous.into(),
            },
            Event::Claimed { lock, claim } => Self::Claimed {
                lock: Slice(lock),
                claim: claim.into(),
            },
            Event::Released { lock, claim } => Self::Released {
                lock: Slice(lock),
                claim: claim.into(),
            },
        }
    }
}

impl EventV1<'_> {
    fn share(self, head: &Bytes, tail: &mut Reader) -> Result<Event, DecodeError> {
        Ok(match self {
            Self::Put { kv, previous } => Event::Put {
                kv: kv.share(head, tail)?,
                previous: previous.map(|kv| kv.share(head, tail)).transpose()?,
            },
            Self::Deleted { previous } => Event::Deleted {
                previous: previous.share(head, tail)?,
            },
            Self::Claimed { lock, claim } => Event::Claimed {
                lock: lock.share(head),
                claim: claim.share(head),
            },
            Self::Released { lock, claim } => Event::Released {
                lock: lock.share(head),
                claim: claim.share(head),
            },
        })
    }
}
