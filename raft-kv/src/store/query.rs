//! Questions that change nothing.

use std::cmp::Ordering;

use super::history::History;
use super::keys::{Entry, Item, KEY_VALUE_OVERHEAD_BYTES, Keys, Record};
use crate::api::{KeyValue, Query, QueryReply};
use crate::wire::KEY_VALUES_MAX;

/// Answers a query about the keys as they are with as many key-values as it asks for and as fit, though always at least one when there is one.
pub(super) fn query(keys: &Keys, query: &Query, reply_bytes_max: usize) -> QueryReply {
    let count = keys.count(&query.keys) as u64;
    let range = keys.range(&query.keys);
    if query.reverse {
        answer(range.rev(), count, query, reply_bytes_max)
    } else {
        answer(range, count, query, reply_bytes_max)
    }
}

/// Answers a query about an older revision, which the history must hold.
pub(super) fn query_past(
    keys: &Keys,
    history: &History,
    query: &Query,
    reply_bytes_max: usize,
) -> QueryReply {
    let past = history.differences(query.revision, &query.keys);
    let now = keys.count(&query.keys);
    let gone = past
        .iter()
        .filter(|(key, _)| keys.record(key).is_some())
        .count();
    let stood = past.values().flatten().count();
    let count = (now - gone + stood) as u64;
    // What did not change since stands where it stood; what did is among the differences.
    let same = keys
        .range(&query.keys)
        .filter(|entry| !past.contains_key(&entry.key));
    let other = past.values().flatten().map(|item: &&Item| &***item);
    if query.reverse {
        let merged = Merged::new(same.rev(), other.rev(), Ordering::Greater);
        answer(merged, count, query, reply_bytes_max)
    } else {
        let merged = Merged::new(same, other, Ordering::Less);
        answer(merged, count, query, reply_bytes_max)
    }
}

/// Two rows of keys as one, in the order of both.
struct Merged<'a, A: Iterator<Item = &'a Entry<Record>>, B: Iterator<Item = &'a Entry<Record>>> {
    a: std::iter::Peekable<A>,
    b: std::iter::Peekable<B>,
    order: Ordering,
}

impl<'a, A, B> Merged<'a, A, B>
where
    A: Iterator<Item = &'a Entry<Record>>,
    B: Iterator<Item = &'a Entry<Record>>,
{
    fn new(a: A, b: B, order: Ordering) -> Self {
        Self {
            a: a.peekable(),
            b: b.peekable(),
            order,
        }
    }
}

impl<'a, A, B> Iterator for Merged<'a, A, B>
where
    A: Iterator<Item = &'a Entry<Record>>,
    B: Iterator<Item = &'a Entry<Record>>,
{
    type Item = &'a Entry<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        match (self.a.peek(), self.b.peek()) {
            (Some(a), Some(b)) if a.key.cmp(&b.key) != self.order => self.b.next(),
            (Some(_), _) => self.a.next(),
            (None, _) => self.b.next(),
        }
    }
}

fn answer<'a>(
    range: impl Iterator<Item = &'a Entry<Record>>,
    count: u64,
    query: &Query,
    bytes_max: usize,
) -> QueryReply {
    if query.count_only {
        return QueryReply {
            kvs: Vec::new(),
            count,
            more: false,
        };
    }
    let limit = match usize::try_from(query.limit) {
        Ok(0) | Err(_) => KEY_VALUES_MAX,
        Ok(limit) => limit.min(KEY_VALUES_MAX),
    };
    let kvs = gather(range, query.keys_only, limit, bytes_max);
    let more = (kvs.len() as u64) < count;
    QueryReply { kvs, count, more }
}

fn gather<'a>(
    range: impl Iterator<Item = &'a Entry<Record>>,
    keys_only: bool,
    limit: usize,
    bytes_max: usize,
) -> Vec<KeyValue> {
    let mut kvs = Vec::new();
    let mut bytes = 0;
    for entry in range.take(limit) {
        let value_bytes = if keys_only {
            0
        } else {
            entry.value.value.len()
        };
        bytes += entry.key.len() + value_bytes + KEY_VALUE_OVERHEAD_BYTES;
        if bytes > bytes_max && !kvs.is_empty() {
            break;
        }
        kvs.push(if keys_only {
            entry.value.without_value(&entry.key)
        } else {
            entry.to_key_value()
        });
    }
    kvs
}
