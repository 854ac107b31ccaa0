//! The history: for each kept revision what it changed.
//!
//! A key-value stands but once in a snapshot: what a change left behind is said to be among the keys, or to be what the next change of
//! the key found, where it is so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;

use super::read::In;
use super::write::Out;
use super::{StoreSnapshotError, check_revisions};
use crate::store::Store;
use crate::store::history::{History, Past};
use crate::store::keys::{Item, Keys, restored};

const KEY: u8 = 1;
const CLAIMED: u8 = 2;
const RELEASED: u8 = 3;

/// Nothing stood there, or stands there.
const NONE: u8 = 0;
/// It follows.
const HERE: u8 = 1;
/// Before a change: what the change of the key before it left. After it: what stands among the keys.
const ELSEWHERE: u8 = 2;

pub(super) fn write(out: &mut Out<'_>, history: &History, keys: &Keys) -> io::Result<()> {
    let mut known_keys: BTreeSet<&Bytes> = BTreeSet::new();
    for (_, events) in history.iter() {
        out.u64(events.len() as u64)?;
        for past in events {
            match past {
                Past::Key { before, after } => {
                    let Some(item) = before.as_ref().or(after.as_ref()) else {
                        continue;
                    };
                    let key = &item.key;
                    let known = !known_keys.insert(key);
                    // Not by their hashes: those are no proof against someone who looks for two that are alike.
                    let stands = |item: &Item| {
                        let now = keys.record(key);
                        now.is_some_and(|now| now.mod_revision == item.value.mod_revision)
                    };
                    let before_at = place(before.as_ref(), |_| known);
                    let after_at = place(after.as_ref(), stands);
                    out.bytes(&[KEY, before_at, after_at])?;
                    out.counted(key)?;
                    for (item, at) in [(before, before_at), (after, after_at)] {
                        if let Some(item) = item.as_ref().filter(|_| at == HERE) {
                            out.record(&item.value)?;
                        }
                    }
                }
                Past::Claim { lock, claim, gone } => {
                    out.u8(if *gone { RELEASED } else { CLAIMED })?;
                    out.counted(lock)?;
                    out.claim(claim)?;
                }
            }
        }
    }
    Ok(())
}

fn place(item: Option<&Item>, elsewhere: impl FnOnce(&Item) -> bool) -> u8 {
    match item {
        None => NONE,
        Some(item) if elsewhere(item) => ELSEWHERE,
        Some(_) => HERE,
    }
}

/// Reads the history into a store whose keys are there already.
pub(super) fn read(from: &mut In<'_>, store: &mut Store) -> Result<(), StoreSnapshotError> {
    // What the last change of each key left.
    let mut left = BTreeMap::new();
    for revision in store.history.oldest() + 1..=store.revision {
        from.at("revision", revision);
        let count = from.u64()?;
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(match from.u8()? {
                KEY => read_key(from, revision, &store.keys, &mut left)?,
                kind @ (CLAIMED | RELEASED) => {
                    let (lock, claim) = (from.counted()?, from.claim()?);
                    let made = (1..=revision).contains(&claim.token);
                    from.check(made, "a claim of a revision that was not yet")?;
                    let gone = kind == RELEASED;
                    Past::Claim { lock, claim, gone }
                }
                _ => return Err(from.malformed("a change of an unknown kind")),
            });
        }
        store.history.restore(events.into());
    }
    Ok(())
}

fn read_key(
    from: &mut In<'_>,
    revision: u64,
    keys: &Keys,
    left: &mut BTreeMap<Bytes, Option<Item>>,
) -> Result<Past, StoreSnapshotError> {
    let (before_at, after_at, key) = (from.u8()?, from.u8()?, from.counted()?);
    let before = match before_at {
        NONE => None,
        HERE => Some(read_item(from, &key, revision.saturating_sub(1))?),
        ELSEWHERE => {
            let item = left.get(&key).cloned().flatten();
            Some(item.ok_or_else(|| from.malformed("no change before it left anything"))?)
        }
        _ => return Err(from.malformed("a place of an unknown kind")),
    };
    let after = match after_at {
        NONE => None,
        HERE => Some(read_item(from, &key, revision)?),
        ELSEWHERE => {
            let item = keys.item(&key).cloned();
            Some(item.ok_or_else(|| from.malformed("it is not among the keys"))?)
        }
        _ => return Err(from.malformed("a place of an unknown kind")),
    };
    let changed = after
        .as_ref()
        .is_none_or(|item| item.value.mod_revision == revision);
    from.check(changed, "it was changed at another revision")?;
    from.check(
        before.is_some() || after.is_some(),
        "a change from nothing to nothing",
    )?;
    left.insert(key, after.clone());
    Ok(Past::Key { before, after })
}

fn read_item(from: &mut In<'_>, key: &Bytes, newest: u64) -> Result<Item, StoreSnapshotError> {
    let kv = from.record(key.clone())?;
    check_revisions(from, &kv, newest)?;
    Ok(restored(kv))
}
