//! Questions that change nothing.

use super::keys::KEY_VALUE_OVERHEAD_BYTES;
use super::{Keys, Record};
use crate::api::{KeyValue, Query, QueryReply};
use crate::wire::KEY_VALUES_MAX;
use bytes::Bytes;

/// Answers a query with as many key-values as it asks for and as fit, though always at least one when there is one.
pub(super) fn query(keys: &Keys, query: &Query, reply_bytes_max: usize) -> QueryReply {
    let count = keys.count(&query.keys) as u64;
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
    let range = keys.range(&query.keys);
    let kvs = if query.reverse {
        gather(range.rev(), query.keys_only, limit, reply_bytes_max)
    } else {
        gather(range, query.keys_only, limit, reply_bytes_max)
    };
    let more = (kvs.len() as u64) < count;
    QueryReply { kvs, count, more }
}

fn gather<'a>(
    range: impl Iterator<Item = (&'a Bytes, &'a Record)>,
    keys_only: bool,
    limit: usize,
    bytes_max: usize,
) -> Vec<KeyValue> {
    let mut kvs = Vec::new();
    let mut bytes = 0;
    for (key, record) in range.take(limit) {
        let value_bytes = if keys_only { 0 } else { record.value.len() };
        bytes += key.len() + value_bytes + KEY_VALUE_OVERHEAD_BYTES;
        if bytes > bytes_max && !kvs.is_empty() {
            break;
        }
        kvs.push(if keys_only {
            record.without_value(key)
        } else {
            record.with_key(key)
        });
    }
    kvs
}
