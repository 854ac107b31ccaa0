//! What a node answers: a fixed header, a head packed by postcard, and the values end to end as the tail, so that large
//! ones are neither copied out of the store nor out of the received frame.

use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

use super::VERSION;
use super::command::append_with_length;
use super::pack::{List, Slice, unpack};
use super::status::{MemberStatusV1, NodeStatusV1};
use crate::api::{
    AdminReply, BackupPiece, CommandReply, Header, KeyValue, LeaderHint, QueryReply, Refusal,
    Reply, RequestError, Response,
};
use crate::wire::buffer::{Chunks, Reader};
use crate::wire::{DecodeError, KEY_VALUES_MAX, MEMBERS_MAX, TEXT_BYTES_MAX};

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
}

type KeyValues<'a> = List<KeyValueV1<'a>, KEY_VALUES_MAX>;

#[derive(Serialize, Deserialize)]
struct KeyValueV1<'a> {
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
}

#[derive(Serialize, Deserialize)]
enum RefusalV1 {
    NoSuchLease,
    TooManyOutstanding,
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
        Err(error) => ReplyV1::Error(error.into()),
    };
    let mut chunks = Chunks::begin(append_with_length(out, &reply));
    key_values(response).for_each(|kv| chunks.add(&kv.value));
    if let Ok(Reply::Backup(piece)) = &response.body {
        chunks.add(&piece.bytes);
    }
    chunks.finish()
}

/// All key-values of a response, in the order in which they stand in its head.
fn key_values(response: &Response) -> impl Iterator<Item = &KeyValue> {
    let (one, many): (Option<&KeyValue>, &[KeyValue]) = match &response.body {
        Ok(Reply::Query(reply)) => (None, &reply.kvs),
        Ok(Reply::Command(reply)) => match reply {
            CommandReply::Put { previous, .. } => (previous.as_ref(), &[]),
            CommandReply::ConditionFailed { current, .. } => (current.as_ref(), &[]),
            CommandReply::Deleted { previous, .. } => (None, previous),
            _ => (None, &[]),
        },
        _ => (None, &[]),
    };
    one.into_iter().chain(many)
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
        ReplyV1::Error(error) => Err(error.into()),
    };
    reader.finish()?;
    Ok(Response { header, body })
}

fn share_all(
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
    fn share(self, head: &Bytes, tail: &mut Reader) -> Result<KeyValue, DecodeError> {
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
            CommandReply::Refused(refusal) => Self::Refused(match refusal {
                Refusal::NoSuchLease => RefusalV1::NoSuchLease,
                Refusal::TooManyOutstanding => RefusalV1::TooManyOutstanding,
            }),
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
            Self::Refused(refusal) => CommandReply::Refused(match refusal {
                RefusalV1::NoSuchLease => Refusal::NoSuchLease,
                RefusalV1::TooManyOutstanding => Refusal::TooManyOutstanding,
            }),
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
