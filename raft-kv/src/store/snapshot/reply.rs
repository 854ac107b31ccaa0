//! A kept reply. The tags are those of the state hash.

use std::io;

use super::StoreSnapshotError;
use super::read::In;
use super::write::Out;
use crate::api::{CommandReply, KeyValue, QueryReply, Refusal, StepReply};
use crate::store::STEPS_MAX;

/// Stands for a reply that was too large to be kept as well: it is what a retry is answered with.
const FORGOTTEN: u8 = 8;

/// Writes a kept reply; none: it was too large to be kept.
pub(super) fn write_reply(out: &mut Out<'_>, reply: Option<&CommandReply>) -> io::Result<()> {
    match reply {
        Some(CommandReply::Registered { session }) => {
            out.u8(1)?;
            out.u64(*session)
        }
        Some(CommandReply::Ended) => out.u8(2),
        Some(CommandReply::Put { revision, previous }) => {
            out.u8(3)?;
            out.u64(*revision)?;
            key_values(out, previous.as_slice())
        }
        Some(CommandReply::Deleted {
            count,
            revision,
            previous,
        }) => {
            out.u8(4)?;
            out.u64(*count)?;
            out.u64(*revision)?;
            key_values(out, previous)
        }
        Some(CommandReply::ConditionFailed { current, revision }) => {
            out.u8(5)?;
            out.u64(*revision)?;
            key_values(out, current.as_slice())
        }
        Some(CommandReply::ClusterVersion(version)) => {
            out.u8(6)?;
            out.u16(*version)
        }
        Some(CommandReply::SessionExpired) => out.u8(7),
        Some(CommandReply::Forgotten) | None => out.u8(FORGOTTEN),
        Some(CommandReply::Refused(Refusal::NoSuchLease)) => out.u8(9),
        Some(CommandReply::Refused(Refusal::TooManyOutstanding)) => out.u8(10),
        Some(CommandReply::Refused(Refusal::TooManyLeases)) => out.u8(11),
        Some(CommandReply::Refused(Refusal::TooManyClaims)) => out.u8(12),
        Some(CommandReply::Refused(Refusal::FutureRevision)) => out.u8(13),
        Some(CommandReply::Transaction {
            succeeded,
            revision,
            steps,
        }) => {
            let (succeeded, steps_len) = (u64::from(*succeeded), steps.len() as u64);
            numbers(out, 14, &[succeeded, *revision, steps_len])?;
            steps.iter().try_for_each(|step| write_step(out, step))
        }
        Some(CommandReply::Granted { lease }) => numbers(out, 15, &[*lease]),
        Some(CommandReply::Revoked { count, revision }) => numbers(out, 16, &[*count, *revision]),
        Some(CommandReply::Claimed {
            token,
            ahead,
            revision,
        }) => numbers(out, 17, &[*token, *ahead, *revision]),
        Some(CommandReply::Taken { holder, revision }) => {
            numbers(out, 18, &[*revision])?;
            out.claim(holder)
        }
        Some(CommandReply::Released { stood, revision }) => {
            numbers(out, 19, &[u64::from(*stood), *revision])
        }
        Some(CommandReply::Compacted { oldest }) => numbers(out, 20, &[*oldest]),
    }
}

fn numbers(out: &mut Out<'_>, tag: u8, numbers: &[u64]) -> io::Result<()> {
    out.u8(tag)?;
    numbers.iter().try_for_each(|number| out.u64(*number))
}

fn write_step(out: &mut Out<'_>, step: &StepReply) -> io::Result<()> {
    match step {
        StepReply::Put { previous } => {
            out.u8(1)?;
            key_values(out, previous.as_slice())
        }
        StepReply::Deleted { count, previous } => {
            numbers(out, 2, &[*count])?;
            key_values(out, previous)
        }
        StepReply::Got(QueryReply { kvs, count, more }) => {
            numbers(out, 3, &[*count, u64::from(*more)])?;
            key_values(out, kvs)
        }
    }
}

fn read_step(from: &mut In<'_>) -> Result<StepReply, StoreSnapshotError> {
    Ok(match from.u8()? {
        1 => StepReply::Put {
            previous: read_at_most_one(from)?,
        },
        2 => {
            let count = from.u64()?;
            StepReply::Deleted {
                count,
                previous: read_key_values(from, count)?,
            }
        }
        3 => {
            let (count, more) = (from.u64()?, read_flag(from)?);
            StepReply::Got(QueryReply {
                count,
                more,
                kvs: read_key_values(from, count)?,
            })
        }
        _ => return Err(from.malformed("a step's reply of an unknown kind")),
    })
}

fn read_flag(from: &mut In<'_>) -> Result<bool, StoreSnapshotError> {
    match from.u64()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(from.malformed("neither yes nor no")),
    }
}

/// Reads a kept reply; none: it was too large to be kept.
pub(super) fn read_reply(from: &mut In<'_>) -> Result<Option<CommandReply>, StoreSnapshotError> {
    Ok(Some(match from.u8()? {
        1 => CommandReply::Registered {
            session: from.u64()?,
        },
        2 => CommandReply::Ended,
        3 => CommandReply::Put {
            revision: from.u64()?,
            previous: read_at_most_one(from)?,
        },
        4 => {
            let (count, revision) = (from.u64()?, from.u64()?);
            CommandReply::Deleted {
                count,
                revision,
                previous: read_key_values(from, count)?,
            }
        }
        5 => {
            let revision = from.u64()?;
            CommandReply::ConditionFailed {
                current: read_at_most_one(from)?,
                revision,
            }
        }
        6 => CommandReply::ClusterVersion(from.u16()?),
        7 => CommandReply::SessionExpired,
        FORGOTTEN => return Ok(None),
        9 => CommandReply::Refused(Refusal::NoSuchLease),
        10 => CommandReply::Refused(Refusal::TooManyOutstanding),
        11 => CommandReply::Refused(Refusal::TooManyLeases),
        12 => CommandReply::Refused(Refusal::TooManyClaims),
        13 => CommandReply::Refused(Refusal::FutureRevision),
        14 => {
            let (succeeded, revision) = (read_flag(from)?, from.u64()?);
            let count = from.u64()?;
            from.check(
                count <= STEPS_MAX as u64,
                "more steps than a transaction can have",
            )?;
            let steps = (0..count)
                .map(|_| read_step(from))
                .collect::<Result<_, _>>()?;
            CommandReply::Transaction {
                succeeded,
                revision,
                steps,
            }
        }
        15 => CommandReply::Granted { lease: from.u64()? },
        16 => CommandReply::Revoked {
            count: from.u64()?,
            revision: from.u64()?,
        },
        17 => CommandReply::Claimed {
            token: from.u64()?,
            ahead: from.u64()?,
            revision: from.u64()?,
        },
        18 => CommandReply::Taken {
            revision: from.u64()?,
            holder: from.claim()?,
        },
        19 => CommandReply::Released {
            stood: read_flag(from)?,
            revision: from.u64()?,
        },
        20 => CommandReply::Compacted {
            oldest: from.u64()?,
        },
        _ => return Err(from.malformed("a reply of an unknown kind")),
    }))
}

fn key_values(out: &mut Out<'_>, kvs: &[KeyValue]) -> io::Result<()> {
    out.u64(kvs.len() as u64)?;
    kvs.iter().try_for_each(|kv| {
        let numbers = [kv.create_revision, kv.mod_revision, kv.version, kv.lease];
        out.key_value(&kv.key, &kv.value, numbers)
    })
}

fn read_key_values(from: &mut In<'_>, max: u64) -> Result<Vec<KeyValue>, StoreSnapshotError> {
    let count = from.u64()?;
    from.check(
        count <= max,
        "a reply with more key-values than it can have",
    )?;
    // They are gathered one by one, as far as they are there.
    let mut kvs = Vec::new();
    for _ in 0..count {
        kvs.push(from.key_value()?);
    }
    Ok(kvs)
}

fn read_at_most_one(from: &mut In<'_>) -> Result<Option<KeyValue>, StoreSnapshotError> {
    Ok(read_key_values(from, 1)?.pop())
}
