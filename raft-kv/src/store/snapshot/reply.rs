//! A kept reply. The tags are those of the state hash.

use std::io;

use super::StoreSnapshotError;
use super::read::In;
use super::write::Out;
use crate::api::{CommandReply, KeyValue, Refusal};

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
