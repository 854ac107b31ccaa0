//! A command as the log holds it: a fixed header, a head packed by postcard, and a put's value as the tail, so that
//! decoding slices the value out of the received frame.
//!
//! Guards: what a command needs of the cluster stands at a fixed place in front of all that only some versions can read.

use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

use super::VERSION;
use super::coordination::{FieldV1, RelationV1, Steps, share_steps};
use super::keys::KeyRangeV1;
use super::pack::{List, Slice, append, unpack};
use crate::api::{Command, Condition, Operation, Transaction};
use crate::release;
use crate::wire::buffer::{Chunks, Reader};
use crate::wire::{CommandHeader, DecodeError, LIST_MAX};

const WHAT: &str = "command";
const HEADER_BYTES: usize = 8;

/// Flag: the tail is a put's value. Without it there is no tail.
const HAS_VALUE: u8 = 1;

#[derive(Serialize, Deserialize)]
struct CommandV1<'a> {
    session: u64,
    sequence: u64,
    first_outstanding: u64,
    #[serde(borrow)]
    principal: Slice<'a>,
    operation: OperationV1<'a>,
}

#[derive(Serialize, Deserialize)]
enum OperationV1<'a> {
    RegisterSession,
    EndSession,
    Put {
        #[serde(borrow)]
        key: Slice<'a>,
        lease: u64,
        want_previous: bool,
        conditions: Conditions<'a>,
    },
    Delete {
        keys: KeyRangeV1<'a>,
        want_previous: bool,
        conditions: Conditions<'a>,
    },
    SetClusterVersion {
        version: u16,
        release: &'a str,
    },
    Transaction {
        conditions: Conditions<'a>,
        then: Steps<'a>,
        otherwise: Steps<'a>,
    },
    Grant {
        ttl_ms: u64,
    },
    Revoke {
        lease: u64,
    },
    Expire {
        leases: List<u64, LIST_MAX>,
    },
    Claim {
        lock: Slice<'a>,
        lease: u64,
        value: Slice<'a>,
        queue: bool,
    },
    Release {
        lock: Slice<'a>,
        token: u64,
    },
    Compact {
        revision: u64,
    },
}

type Conditions<'a> = List<ConditionV1<'a>, LIST_MAX>;

#[derive(Serialize, Deserialize)]
enum ConditionV1<'a> {
    Absent {
        #[serde(borrow)]
        key: Slice<'a>,
    },
    ModRevision {
        key: Slice<'a>,
        revision: u64,
    },
    Value {
        key: Slice<'a>,
        value: Slice<'a>,
    },
    Compare {
        key: Slice<'a>,
        relation: RelationV1,
        field: FieldV1<'a>,
    },
    Holds {
        lock: Slice<'a>,
        token: u64,
    },
}

/// The least cluster version in which an operation may be written.
fn cluster_version(operation: &Operation) -> u16 {
    match operation {
        Operation::RegisterSession
        | Operation::EndSession
        | Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::SetClusterVersion { .. }
        | Operation::Transaction(_)
        | Operation::Grant { .. }
        | Operation::Revoke { .. }
        | Operation::Expire { .. }
        | Operation::Claim { .. }
        | Operation::Release { .. }
        | Operation::Compact { .. } => 1,
        #[cfg(raft_kv_next)]
        Operation::Append { .. } => 2,
    }
}

/// The whole command in one buffer.
pub(crate) fn encode_command(command: &Command) -> Bytes {
    let value = value(command);
    let mut out = encode_head(
        Vec::with_capacity(128 + value.map_or(0, Bytes::len)),
        command,
    );
    out.put_slice(value.map_or(&[], |value| value));
    out.into()
}

/// The command behind what stands in `out` already; a large value as a chunk of its own.
pub(crate) fn encode_command_chunks(out: Vec<u8>, command: &Command) -> Vec<Bytes> {
    let mut chunks = Chunks::begin(encode_head(out, command));
    if let Some(value) = value(command) {
        chunks.add(value);
    }
    chunks.finish()
}

fn value(command: &Command) -> Option<&Bytes> {
    match &command.operation {
        Operation::Put { value, .. } => Some(value),
        _ => None,
    }
}

fn encode_head(mut out: Vec<u8>, command: &Command) -> Vec<u8> {
    let head = CommandV1 {
        session: command.session,
        sequence: command.sequence,
        first_outstanding: command.first_outstanding,
        principal: Slice(&command.principal),
        operation: (&command.operation).into(),
    };
    out.put_u8(VERSION);
    out.put_u8(value(command).map_or(0, |_| HAS_VALUE));
    out.put_u16_le(cluster_version(&command.operation));
    append_with_length(out, &head)
}

/// Appends a value's packed form behind its length, a `u32`.
pub(super) fn append_with_length<T: Serialize>(mut out: Vec<u8>, value: &T) -> Vec<u8> {
    let at = out.len();
    out.put_u32_le(0);
    let mut out = append(out, value);
    let length = u32::try_from(out.len() - at - 4)
        .expect("a head of 4 GiB is refused long before it is encoded");
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    out
}

/// What stands in front of a command of any version.
pub(crate) fn command_header(bytes: &Bytes) -> Result<CommandHeader, DecodeError> {
    let mut reader = Reader::new(WHAT, bytes.slice(..bytes.len().min(HEADER_BYTES)));
    let format = reader.u8()?;
    reader.u8()?;
    Ok(CommandHeader {
        format,
        cluster_version: reader.u16()?,
    })
}

pub(crate) fn decode_command(bytes: Bytes) -> Result<Command, DecodeError> {
    let mut reader = Reader::new(WHAT, bytes);
    reader.u8()?;
    let flags = reader.u8()?;
    if flags & !HAS_VALUE != 0 {
        return Err(reader.malformed("it has a flag that this version lacks"));
    }
    reader.u16()?;
    let body = reader.take_u32()?;
    let value = (flags & HAS_VALUE != 0).then(|| reader.rest_taken());
    reader.finish()?;
    let head: CommandV1<'_> = unpack(WHAT, &body)?;
    Ok(Command {
        session: head.session,
        sequence: head.sequence,
        first_outstanding: head.first_outstanding,
        principal: head.principal.share(&body),
        operation: head.operation.share(&body, value)?,
    })
}

impl<'a> From<&'a Operation> for OperationV1<'a> {
    fn from(operation: &'a Operation) -> Self {
        match operation {
            Operation::RegisterSession => Self::RegisterSession,
            Operation::EndSession => Self::EndSession,
            Operation::Put {
                key,
                value: _,
                lease,
                want_previous,
                conditions,
            } => Self::Put {
                key: Slice(key),
                lease: *lease,
                want_previous: *want_previous,
                conditions: List(conditions.iter().map(Into::into).collect()),
            },
            Operation::Delete {
                keys,
                want_previous,
                conditions,
            } => Self::Delete {
                keys: keys.into(),
                want_previous: *want_previous,
                conditions: List(conditions.iter().map(Into::into).collect()),
            },
            Operation::SetClusterVersion { version, release } => Self::SetClusterVersion {
                version: *version,
                release: release::clip(release),
            },
            #[cfg(raft_kv_next)]
            Operation::Append { .. } => unreachable!("version 2 of commands has it"),
            Operation::Transaction(transaction) => {
                let conditions = transaction.conditions.iter().map(Into::into).collect();
                Self::Transaction {
                    conditions: List(conditions),
                    then: List(transaction.then.iter().map(Into::into).collect()),
                    otherwise: List(transaction.otherwise.iter().map(Into::into).collect()),
                }
            }
            Operation::Grant { ttl_ms } => Self::Grant { ttl_ms: *ttl_ms },
            Operation::Revoke { lease } => Self::Revoke { lease: *lease },
            Operation::Expire { leases } => Self::Expire {
                leases: List(leases.clone()),
            },
            Operation::Claim {
                lock,
                lease,
                value,
                queue,
            } => Self::Claim {
                lock: Slice(lock),
                lease: *lease,
                value: Slice(value),
                queue: *queue,
            },
            Operation::Release { lock, token } => Self::Release {
                lock: Slice(lock),
                token: *token,
            },
            Operation::Compact { revision } => Self::Compact {
                revision: *revision,
            },
        }
    }
}

impl OperationV1<'_> {
    fn share(self, body: &Bytes, value: Option<Bytes>) -> Result<Operation, DecodeError> {
        let share_all = |list: Conditions<'_>| list.0.into_iter().map(|c| c.share(body)).collect();
        let is_put = matches!(self, Self::Put { .. });
        let operation = match self {
            Self::RegisterSession => Operation::RegisterSession,
            Self::EndSession => Operation::EndSession,
            Self::Put {
                key,
                lease,
                want_previous,
                conditions,
            } => Operation::Put {
                key: key.share(body),
                value: value.clone().unwrap_or_default(),
                lease,
                want_previous,
                conditions: share_all(conditions),
            },
            Self::Delete {
                keys,
                want_previous,
                conditions,
            } => Operation::Delete {
                keys: keys.share(body),
                want_previous,
                conditions: share_all(conditions),
            },
            Self::SetClusterVersion { version, release } => Operation::SetClusterVersion {
                version,
                release: release::clip(release).to_owned(),
            },
            Self::Transaction {
                conditions,
                then,
                otherwise,
            } => Operation::Transaction(Transaction {
                conditions: share_all(conditions),
                then: share_steps(then, body),
                otherwise: share_steps(otherwise, body),
            }),
            Self::Grant { ttl_ms } => Operation::Grant { ttl_ms },
            Self::Revoke { lease } => Operation::Revoke { lease },
            Self::Expire { leases } => Operation::Expire { leases: leases.0 },
            Self::Claim {
                lock,
                lease,
                value,
                queue,
            } => Operation::Claim {
                lock: lock.share(body),
                lease,
                value: value.share(body),
                queue,
            },
            Self::Release { lock, token } => Operation::Release {
                lock: lock.share(body),
                token,
            },
            Self::Compact { revision } => Operation::Compact { revision },
        };
        if value.is_some() == is_put {
            Ok(operation)
        } else {
            Err(DecodeError::Malformed {
                what: WHAT,
                detail: "a put without a value, or a value without a put",
            })
        }
    }
}

impl<'a> From<&'a Condition> for ConditionV1<'a> {
    fn from(condition: &'a Condition) -> Self {
        match condition {
            Condition::Absent { key } => Self::Absent { key: Slice(key) },
            Condition::ModRevision { key, revision } => Self::ModRevision {
                key: Slice(key),
                revision: *revision,
            },
            Condition::Value { key, value } => Self::Value {
                key: Slice(key),
                value: Slice(value),
            },
            Condition::Compare {
                key,
                relation,
                field,
            } => Self::Compare {
                key: Slice(key),
                relation: (*relation).into(),
                field: field.into(),
            },
            Condition::Holds { lock, token } => Self::Holds {
                lock: Slice(lock),
                token: *token,
            },
        }
    }
}

impl ConditionV1<'_> {
    fn share(self, body: &Bytes) -> Condition {
        match self {
            Self::Absent { key } => Condition::Absent {
                key: key.share(body),
            },
            Self::ModRevision { key, revision } => Condition::ModRevision {
                key: key.share(body),
                revision,
            },
            Self::Value { key, value } => Condition::Value {
                key: key.share(body),
                value: value.share(body),
            },
            Self::Compare {
                key,
                relation,
                field,
            } => Condition::Compare {
                key: key.share(body),
                relation: relation.into(),
                field: field.share(body),
            },
            Self::Holds { lock, token } => Condition::Holds {
                lock: lock.share(body),
                token,
            },
        }
    }
}
