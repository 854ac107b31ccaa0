//! What a node answers: a fixed header, a head packed by postcard, and the values end to end as the tail, so that large
//! ones are neither copied out of the store nor out of the received frame.

use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

use super::VERSION;
use super::command::append_with_length;
use super::coordination::{AnswerV1, ClaimV1, StepReplyV1, WatchReplyV1};
use super::pack::{List, Slice, unpack};
use super::status::{MemberStatusV1, NodeStatusV1};
use crate::api::{
    AdminReply, BackupPiece, CommandReply, Event, Header, KeyValue, LeaderHint, QueryReply,
    Refusal, Reply, RequestError, Response, RevisionError, StepReply, WatchReply,
};
use crate::wire::buffer::{Chunks, Reader};
use crate::wire::{DecodeError, KEY_VALUES_MAX, LIST_MAX, MEMBERS_MAX, TEXT_BYTES_MAX};

const WHAT: &str = "response";

#[derive(Serialize, Deserialize)]
enum ReplyV1<'a> {
    Command(#[serde(borrow)] CommandReplyV1<'a>),
    Query {
        kvs: KeyValues<'a>,
        count: u64,
        more: bool,
    },
    Status(NodeStatusV1<'a>),
    Error(RequestErrorV1<'a>),
    Members {
        changed: bool,
        #[serde(borrow)]
        members: List<MemberStatusV1<'a>, MEMBERS_MAX>,
    },
    Moving {
        to: u64,
    },
    Backup {
        id: u64,
        offset: u64,
        end: bool,
        /// The bytes themselves stand in the tail.
        bytes: u32,
    },
    Answer(AnswerV1<'a>),
    Watch(WatchReplyV1<'a>),
}

pub(super) type KeyValues<'a> = List<KeyValueV1<'a>, KEY_VALUES_MAX>;

#[derive(Serialize, Deserialize)]
pub(super) struct KeyValueV1<'a> {
    #[serde(borrow)]
    key: Slice<'a>,
    /// The value itself stands in the tail.
    value_bytes: u32,
    create_revision: u64,
    mod_revision: u64,
    version: u64,
    lease: u64,
}

#[derive(Serialize, Deserialize)]
enum CommandReplyV1<'a> {
    Registered {
        session: u64,
    },
    Ended,
    Put {
        revision: u64,
        #[serde(borrow)]
        previous: Option<KeyValueV1<'a>>,
    },
    Deleted {
        count: u64,
        revision: u64,
        previous: KeyValues<'a>,
    },
    ConditionFailed {
        current: Option<KeyValueV1<'a>>,
        revision: u64,
    },
    ClusterVersion(u16),
    SessionExpired,
    Forgotten,
    Refused(RefusalV1),
    Transaction {
        succeeded: bool,
        revision: u64,
        steps: List<StepReplyV1<'a>, LIST_MAX>,
    },
    Granted {
        lease: u64,
    },
    Revoked {
        count: u64,
        revision: u64,
    },
    Claimed {
        token: u64,
        ahead: u64,
        revision: u64,
    },
    Taken {
        holder: ClaimV1<'a>,
        revision: u64,
    },
    Released {
        stood: bool,
        revision: u64,
    },
    Compacted {
        oldest: u64,
    },
}

#[derive(Serialize, Deserialize)]
enum RefusalV1 {
    NoSuchLease,
    TooManyOutstanding,
    TooManyLeases,
    TooManyClaims,
    FutureRevision,
}

impl From<Refusal> for RefusalV1 {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchLease => Self::NoSuchLease,
            Refusal::TooManyOutstanding => Self::TooManyOutstanding,
            Refusal::TooManyLeases => Self::TooManyLeases,
            Refusal::TooManyClaims => Self::TooManyClaims,
            Refusal::FutureRevision => Self::FutureRevision,
        }
    }
}

impl From<RefusalV1> for Refusal {
    fn from(refusal: RefusalV1) -> Self {
        match refusal {
            RefusalV1::NoSuchLease => Self::NoSuchLease,
            RefusalV1::TooManyOutstanding => Self::TooManyOutstanding,
            RefusalV1::TooManyLeases => Self::TooManyLeases,
            RefusalV1::TooManyClaims => Self::TooManyClaims,
            RefusalV1::FutureRevision => Self::FutureRevision,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct LeaderHintV1<'a> {
    node: u64,
    address: &'a str,
}

#[derive(Serialize, Deserialize)]
enum RequestErrorV1<'a> {
    NotLeader {
        #[serde(borrow)]
        leader: Option<LeaderHintV1<'a>>,
    },
    Busy,
    NotFormed(&'a str),
    Unknown,
    ReadFailed,
    Invalid(&'a str),
    TooLarge {
        what: &'a str,
        bytes: u64,
        max: u64,
    },
    Full,
    Compacted {
        oldest: u64,
    },
    Future {
        newest: u64,
    },
    NoSuchLease,
}

pub(crate) fn encode_response(response: &Response) -> Vec<Bytes> {
    let header = &response.header;
    let mut out = Vec::with_capacity(128);
    out.put_u8(VERSION);
    out.put_slice(&[0; 3]);
    out.put_slice(&header.cluster);
    out.put_u64_le(header.node);
    out.put_u64_le(header.revision);
    out.put_u64_le(header.applied);
    out.put_u64_le(header.term);
    let reply = match &response.body {
        Ok(Reply::Command(reply)) => ReplyV1::Command(reply.into()),
        Ok(Reply::Query(reply)) => ReplyV1::Query {
            kvs: List(reply.kvs.iter().map(Into::into).collect()),
            count: reply.count,
            more: reply.more,
        },
        Ok(Reply::Status(status)) => ReplyV1::Status(status.into()),
        Ok(Reply::Admin(AdminReply::Members { changed, members })) => ReplyV1::Members {
            changed: *changed,
            // A membership has no more than that.
            members: List(members.iter().take(MEMBERS_MAX).map(Into::into).collect()),
        },
        Ok(Reply::Admin(AdminReply::Moving { to })) => ReplyV1::Moving { to: *to },
        Ok(Reply::Backup(piece)) => ReplyV1::Backup {
            id: piece.id,
            offset: piece.offset,
            end: piece.end,
            bytes: u32::try_from(piece.bytes.len()).expect("a piece is far below 4 GiB"),
        },
        Ok(Reply::Answer(answer)) => ReplyV1::Answer(answer.into()),
        Ok(Reply::Watch(reply)) => ReplyV1::Watch(reply.into()),
        Err(error) => ReplyV1::Error(error.into()),
    };
    let mut chunks = Chunks::begin(append_with_length(out, &reply));
    for_each_key_value(response, &mut |kv| chunks.add(&kv.value));
    if let Ok(Reply::Backup(piece)) = &response.body {
        chunks.add(&piece.bytes);
    }
    chunks.finish()
}

/// Visits all key-values of a response, in the order in which they stand in its head.
fn for_each_key_value(response: &Response, each: &mut dyn FnMut(&KeyValue)) {
    match &response.body {
        Ok(Reply::Query(reply)) => reply.kvs.iter().for_each(each),
        Ok(Reply::Command(reply)) => match reply {
            CommandReply::Put { previous, .. } => previous.iter().for_each(each),
            CommandReply::ConditionFailed { current, .. } => current.iter().for_each(each),
            CommandReply::Deleted { previous, .. } => previous.iter().for_each(each),
            CommandReply::Transaction { steps, .. } => {
                for step in steps {
                    match step {
                        StepReply::Put { previous } => previous.iter().for_each(&mut *each),
                        StepReply::Deleted { previous, .. } => previous.iter().for_each(&mut *each),
                        StepReply::Got(reply) => reply.kvs.iter().for_each(&mut *each),
                    }
                }
            }
            _ => {}
        },
        Ok(Reply::Watch(WatchReply::Changes { changes, .. })) => {
            for event in changes.iter().flat_map(|change| &change.events) {
                match event {
                    Event::Put { kv, previous } => {
                        each(kv);
                        previous.iter().for_each(&mut *each);
                    }
                    Event::Deleted { previous } => each(previous),
                    Event::Claimed { .. } | Event::Released { .. } => {}
                }
            }
        }
        _ => {}
    }
}

pub(crate) fn decode_response(body: Bytes) -> Result<Response, DecodeError> {
    let mut reader = Reader::new(WHAT, body);
    reader.u8()?;
    reader.reserved(3)?;
    let header = Header {
        cluster: reader.cluster()?,
        node: reader.u64()?,
        revision: reader.u64()?,
        applied: reader.u64()?,
        term: reader.u64()?,
    };
    let head = reader.take_u32()?;
    let body = match unpack(WHAT, &head)? {
        ReplyV1::Command(reply) => Ok(Reply::Command(reply.share(&head, &mut reader)?)),
        ReplyV1::Query { kvs, count, more } => Ok(Reply::Query(QueryReply {
            kvs: share_all(kvs, &head, &mut reader)?,
            count,
            more,
        })),
        ReplyV1::Status(status) => Ok(Reply::Status(status.into())),
        ReplyV1::Members { changed, members } => {
            let members = members.0.into_iter().map(Into::into).collect();
            Ok(Reply::Admin(AdminReply::Members { changed, members }))
        }
        ReplyV1::Moving { to } => Ok(Reply::Admin(AdminReply::Moving { to })),
        ReplyV1::Backup {
            id,
            offset,
            end,
            bytes,
        } => Ok(Reply::Backup(BackupPiece {
            id,
            offset,
            bytes: reader.take(bytes as usize)?,
            end,
        })),
        ReplyV1::Answer(answer) => Ok(Reply::Answer(answer.share(&head))),
        ReplyV1::Watch(reply) => Ok(Reply::Watch(reply.share(&head, &mut reader)?)),
        ReplyV1::Error(error) => Err(error.into()),
    };
    reader.finish()?;
    Ok(Response { header, body })
}

pub(super) fn share_all(
    kvs: KeyValues<'_>,
    head: &Bytes,
    tail: &mut Reader,
) -> Result<Vec<KeyValue>, DecodeError> {
    let mut shared = Vec::with_capacity(kvs.0.len());
    for kv in kvs.0 {
        shared.push(kv.share(head, tail)?);
    }
    Ok(shared)
}

impl<'a> From<&'a KeyValue> for KeyValueV1<'a> {
    fn from(kv: &'a KeyValue) -> Self {
        Self {
            key: Slice(&kv.key),
            value_bytes: u32::try_from(kv.value.len())
                .expect("a value of 4 GiB is refused long before it is stored"),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

impl KeyValueV1<'_> {
    pub(super) fn share(self, head: &Bytes, tail: &mut Reader) -> Result<KeyValue, DecodeError> {
        Ok(KeyValue {
            key: self.key.share(head),
            value: tail.take(self.value_bytes as usize)?,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        })
    }
}

impl<'a> From<&'a CommandReply> for CommandReplyV1<'a> {
    fn from(reply: &'a CommandReply) -> Self {
        match reply {
            CommandReply::Registered { session } => Self::Registered { session: *session },
            CommandReply::Ended => Self::Ended,
            CommandReply::Put { revision, previous } => Self::Put {
                revision: *revision,
                previous: previous.as_ref().map(Into::into),
            },
            CommandReply::Deleted {
                count,
                revision,
                previous,
            } => Self::Deleted {
                count: *count,
                revision: *revision,
                previous: List(previous.iter().map(Into::into).collect()),
            },
            CommandReply::ConditionFailed { current, revision } => Self::ConditionFailed {
                current: current.as_ref().map(Into::into),
                revision: *revision,
            },
            CommandReply::ClusterVersion(version) => Self::ClusterVersion(*version),
            CommandReply::SessionExpired => Self::SessionExpired,
            CommandReply::Forgotten => Self::Forgotten,
            CommandReply::Refused(refusal) => Self::Refused((*refusal).into()),
            CommandReply::Transaction {
                succeeded,
                revision,
                steps,
            } => Self::Transaction {
                succeeded: *succeeded,
                revision: *revision,
                steps: List(steps.iter().map(Into::into).collect()),
            },
            CommandReply::Granted { lease } => Self::Granted { lease: *lease },
            CommandReply::Revoked { count, revision } => Self::Revoked {
                count: *count,
                revision: *revision,
            },
            CommandReply::Claimed {
                token,
                ahead,
                revision,
            } => Self::Claimed {
                token: *token,
                ahead: *ahead,
                revision: *revision,
            },
            CommandReply::Taken { holder, revision } => Self::Taken {
                holder: holder.into(),
                revision: *revision,
            },
            CommandReply::Released { stood, revision } => Self::Released {
                stood: *stood,
                revision: *revision,
            },
            CommandReply::Compacted { oldest } => Self::Compacted { oldest: *oldest },
        }
    }
}

impl CommandReplyV1<'_> {
    fn share(self, head: &Bytes, tail: &mut Reader) -> Result<CommandReply, DecodeError> {
        Ok(match self {
            Self::Registered { session } => CommandReply::Registered { session },
            Self::Ended => CommandReply::Ended,
            Self::Put { revision, previous } => CommandReply::Put {
                revision,
                previous: previous.map(|kv| kv.share(head, tail)).transpose()?,
            },
            Self::Deleted {
                count,
                revision,
                previous,
            } => CommandReply::Deleted {
                count,
                revision,
                previous: share_all(previous, head, tail)?,
            },
            Self::ConditionFailed { current, revision } => CommandReply::ConditionFailed {
                current: current.map(|kv| kv.share(head, tail)).transpose()?,
                revision,
            },
            Self::ClusterVersion(version) => CommandReply::ClusterVersion(version),
            Self::SessionExpired => CommandReply::SessionExpired,
            Self::Forgotten => CommandReply::Forgotten,
            Self::Refused(refusal) => CommandReply::Refused(refusal.into()),
            Self::Transaction {
                succeeded,
                revision,
                steps,
            } => CommandReply::Transaction {
                succeeded,
                revision,
                steps: steps
                    .0
                    .into_iter()
                    .map(|step| step.share(head, tail))
                    .collect::<Result<_, _>>()?,
            },
            Self::Granted { lease } => CommandReply::Granted { lease },
            Self::Revoked { count, revision } => CommandReply::Revoked { count, revision },
            Self::Claimed {
                token,
                ahead,
                revision,
            } => CommandReply::Claimed {
                token,
                ahead,
                revision,
            },
            Self::Taken { holder, revision } => CommandReply::Taken {
                holder: holder.share(head),
                revision,
            },
            Self::Released { stood, revision } => CommandReply::Released { stood, revision },
            Self::Compacted { oldest } => CommandReply::Compacted { oldest },
        })
    }
}

impl<'a> From<&'a RequestError> for RequestErrorV1<'a> {
    fn from(error: &'a RequestError) -> Self {
        match error {
            RequestError::NotLeader { leader } => Self::NotLeader {
                leader: leader.as_ref().map(Into::into),
            },
            RequestError::Busy => Self::Busy,
            RequestError::Full => Self::Full,
            RequestError::NotFormed(text) => Self::NotFormed(clip(text)),
            RequestError::Unknown => Self::Unknown,
            RequestError::ReadFailed => Self::ReadFailed,
            RequestError::Invalid(text) => Self::Invalid(clip(text)),
            RequestError::TooLarge { what, bytes, max } => Self::TooLarge {
                what: clip(what),
                bytes: *bytes,
                max: *max,
            },
            RequestError::Revision(RevisionError::Compacted { oldest }) => {
                Self::Compacted { oldest: *oldest }
            }
            RequestError::Revision(RevisionError::Future { newest }) => {
                Self::Future { newest: *newest }
            }
            RequestError::NoSuchLease => Self::NoSuchLease,
        }
    }
}

impl From<RequestErrorV1<'_>> for RequestError {
    fn from(error: RequestErrorV1<'_>) -> Self {
        match error {
            RequestErrorV1::NotLeader { leader } => Self::NotLeader {
                leader: leader.map(Into::into),
            },
            RequestErrorV1::Busy => Self::Busy,
            RequestErrorV1::Full => Self::Full,
            RequestErrorV1::NotFormed(text) => Self::NotFormed(clip(text).to_owned()),
            RequestErrorV1::Unknown => Self::Unknown,
            RequestErrorV1::ReadFailed => Self::ReadFailed,
            RequestErrorV1::Invalid(text) => Self::Invalid(clip(text).to_owned()),
            RequestErrorV1::TooLarge { what, bytes, max } => Self::TooLarge {
                what: clip(what).to_owned(),
                bytes,
                max,
            },
            RequestErrorV1::Compacted { oldest } => RevisionError::Compacted { oldest }.into(),
            RequestErrorV1::Future { newest } => RevisionError::Future { newest }.into(),
            RequestErrorV1::NoSuchLease => Self::NoSuchLease,
        }
    }
}

impl<'a> From<&'a LeaderHint> for LeaderHintV1<'a> {
    fn from(hint: &'a LeaderHint) -> Self {
        Self {
            node: hint.node,
            address: clip(&hint.address),
        }
    }
}

impl From<LeaderHintV1<'_>> for LeaderHint {
    fn from(hint: LeaderHintV1<'_>) -> Self {
        Self {
            node: hint.node,
            address: clip(hint.address).to_owned(),
        }
    }
}

/// As much of a text as travels: it is there to be read by a person, who does without its end.
pub(super) fn clip(text: &str) -> &str {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text.get(..end).unwrap_or_default()
}
