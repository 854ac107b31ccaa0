//! get, range.

use std::os::unix::ffi::OsStringExt;

use bytes::{BufMut, Bytes, BytesMut};
use raft_kv::api::{KeyRange, KeyValue};
use serde_json::{Value, json};

use crate::args::{GetArgs, RangeArgs};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Bytes64, add, bytes_json, kv_json};
use crate::write::print_kv;

pub(crate) async fn get(context: &mut Context, args: GetArgs) -> Outcome {
    let key = Bytes::from(args.key.into_vec());
    let mut get = context.client().get(key.clone());
    if args.stale {
        get = get.stale();
    }
    let found = get.await?;
    let revision = found.header.revision;
    let Some(kv) = found.kv else {
        if context.output.is_json() {
            context
                .output
                .json(&json!({ "found": false, "key": bytes_json(&key), "revision": revision }))?;
        }
        let failure = Failure::new(Exit::NotFound, format!("there is no key {}", Bytes64(&key)));
        return Err(failure.answered());
    };
    if context.output.is_json() {
        let mut answer = kv_json(&kv);
        add(&mut answer, "found", json!(true));
        add(&mut answer, "revision", json!(revision));
        context.output.json(&answer)?;
    } else {
        context.output.raw(&kv.value)?;
        context.output.raw(b"\n")?;
    }
    Ok(())
}

pub(crate) async fn range(context: &mut Context, args: RangeArgs) -> Outcome {
    let mut part = Part::new(&args);
    let mut left = args.limit;
    let mut all: Vec<Value> = Vec::new();
    let (mut count, mut revision) = (None, 0);
    let more = loop {
        let mut range = context.client().range(part.keys()).limit(left.unwrap_or(0));
        for (wanted, set) in [
            (
                args.keys_only,
                (|r| r.keys_only()) as fn(raft_kv::client::Range) -> raft_kv::client::Range,
            ),
            (args.count, |r| r.count_only()),
            (args.reverse, |r| r.reverse()),
            (args.stale, |r| r.stale()),
        ] {
            if wanted {
                range = set(range);
            }
        }
        let listed = range.await?;
        count.get_or_insert(listed.count);
        revision = revision.max(listed.header.revision);
        for kv in &listed.kvs {
            if context.output.is_json() {
                all.push(listed_json(kv, args.keys_only));
            } else if args.keys_only {
                context.output.raw(&kv.key)?;
                context.output.raw(b"\n")?;
            } else {
                print_kv(context, kv)?;
            }
        }
        left = left.map(|left| left.saturating_sub(listed.kvs.len() as u64));
        match listed.kvs.last() {
            Some(last) if listed.more && left != Some(0) => {
                part.go_on_after(&last.key, args.reverse);
            }
            _ => break listed.more,
        }
    };
    let count = count.unwrap_or(0);
    if context.output.is_json() {
        let answer = json!({ "kvs": all, "count": count, "more": more && !args.count, "revision": revision });
        context.output.json(&answer)?;
    } else if args.count {
        context.output.line(count)?;
    }
    Ok(())
}

fn listed_json(kv: &KeyValue, keys_only: bool) -> Value {
    let mut value = kv_json(kv);
    if let (true, Some(fields)) = (keys_only, value.as_object_mut()) {
        fields.remove("value");
    }
    value
}

/// What is left to be listed: one reply of the server may not hold it all.
struct Part {
    from: Bytes,
    to: Option<Bytes>,
}

impl Part {
    fn new(args: &RangeArgs) -> Part {
        if let Some(prefix) = &args.prefix {
            let from = Bytes::from(prefix.clone().into_vec());
            return Part {
                to: end_of_prefix(&from),
                from,
            };
        }
        let bytes = |key: &std::ffi::OsString| Bytes::from(key.clone().into_vec());
        Part {
            from: args.from.as_ref().map(bytes).unwrap_or_default(),
            to: args.to.as_ref().map(bytes),
        }
    }

    fn keys(&self) -> KeyRange {
        if self.from.is_empty() && self.to.is_none() {
            return KeyRange::Prefix(Bytes::new());
        }
        KeyRange::Range(self.from.clone(), self.to.clone())
    }

    fn go_on_after(&mut self, last: &[u8], reverse: bool) {
        if reverse {
            self.to = Some(Bytes::copy_from_slice(last));
        } else {
            // The smallest key behind it.
            let mut next = BytesMut::with_capacity(last.len() + 1);
            next.put_slice(last);
            next.put_u8(0);
            self.from = next.freeze();
        }
    }
}

/// The first key behind all that begin with `prefix`; none: there is none.
fn end_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=kept)?.to_vec();
    *end.last_mut()? += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(end_of_prefix(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(end_of_prefix(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(end_of_prefix(b"\xff"), None);
        assert_eq!(end_of_prefix(b""), None);
    }

    #[test]
    fn a_listing_goes_on_right_behind_its_last_key() {
        let mut part = Part {
            from: Bytes::new(),
            to: None,
        };
        assert_eq!(part.keys(), KeyRange::Prefix(Bytes::new()));
        part.go_on_after(b"k", false);
        assert_eq!(
            part.keys(),
            KeyRange::Range(Bytes::from_static(b"k\0"), None)
        );
        part.go_on_after(b"m", true);
        assert_eq!(
            part.keys(),
            KeyRange::Range(Bytes::from_static(b"k\0"), Some(Bytes::from_static(b"m")))
        );
    }
}
