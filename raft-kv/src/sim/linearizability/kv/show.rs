//! Inputs and outputs in a line, for people: with values, which are the simulation's own.

use bytes::Bytes;

use super::{Input, Output};
use crate::api::{CommandReply, Condition, KeyRange, KeyValue, Operation, Query, QueryReply};

pub(super) fn describe(input: &Input, output: Option<&Output>) -> String {
    let input = match input {
        Input::Read(query) => read(query),
        Input::Write(operation) => write(operation),
    };
    match output {
        None => format!("{input} -> ?"),
        Some(output) => format!("{input} -> {}", answer(output)),
    }
}

fn read(query: &Query) -> String {
    let mut text = format!("get {}", keys(&query.keys));
    for (set, word) in [
        (query.keys_only, " keys-only"),
        (query.count_only, " count-only"),
        (query.reverse, " reverse"),
    ] {
        if set {
            text += word;
        }
    }
    if query.limit > 0 {
        text += &format!(" limit {}", query.limit);
    }
    text
}

fn write(operation: &Operation) -> String {
    match operation {
        Operation::Put {
            key,
            value,
            lease,
            conditions,
            ..
        } => {
            let lease = if *lease == 0 {
                String::new()
            } else {
                format!(" lease {lease}")
            };
            format!(
                "put {} {}{lease}{}",
                bytes(key),
                bytes(value),
                only_if(conditions)
            )
        }
        Operation::Delete {
            keys: range,
            conditions,
            ..
        } => format!("delete {}{}", keys(range), only_if(conditions)),
        other => format!("{other:?}"),
    }
}

fn only_if(conditions: &[Condition]) -> String {
    let mut text = String::new();
    for condition in conditions {
        text += &match condition {
            Condition::Absent { key } => format!(" if {} is absent", bytes(key)),
            Condition::ModRevision { key, revision } => {
                format!(" if {} is of @{revision}", bytes(key))
            }
            Condition::Value { key, value } => format!(" if {} is {}", bytes(key), bytes(value)),
            Condition::Compare {
                key,
                relation,
                field,
            } => format!(" if of {} {relation:?} {field:?}", bytes(key)),
            Condition::Holds { lock, token } => format!(" if {token} holds {}", bytes(lock)),
        };
    }
    text
}

fn answer(output: &Output) -> String {
    match output {
        Output::Seen { revision } => format!("not answered, but seen @{revision}"),
        Output::Read { reply, revision } => {
            let at = revision.map_or_else(String::new, |revision| format!(" @{revision}"));
            format!("{}{at}", found(reply))
        }
        Output::Write(CommandReply::Put { revision, previous }) => {
            format!("@{revision}{}", list(", before ", previous.iter()))
        }
        Output::Write(CommandReply::Deleted {
            count,
            revision,
            previous,
        }) => format!("{count} @{revision}{}", list(", before ", previous)),
        Output::Write(CommandReply::ConditionFailed { current, revision }) => {
            let current = current
                .as_ref()
                .map_or_else(|| "absent".to_owned(), key_value);
            format!("failed @{revision}, {current}")
        }
        Output::Write(other) => format!("{other:?}"),
    }
}

fn found(reply: &QueryReply) -> String {
    let more = if reply.more { ", more" } else { "" };
    let left_out = reply.count != reply.kvs.len() as u64;
    let count = if left_out {
        format!("{} keys", reply.count)
    } else {
        String::new()
    };
    match (reply.kvs.is_empty(), left_out) {
        (true, false) => "absent".to_owned(),
        (true, true) => format!("{count}{more}"),
        _ => format!(
            "{}{}{count}{more}",
            list("", &reply.kvs),
            if left_out { " of " } else { "" }
        ),
    }
}

fn list<'a>(before: &str, kvs: impl IntoIterator<Item = &'a KeyValue>) -> String {
    let kvs: Vec<String> = kvs.into_iter().map(key_value).collect();
    if kvs.is_empty() {
        String::new()
    } else {
        format!("{before}{}", kvs.join(" "))
    }
}

pub(super) fn key_value(kv: &KeyValue) -> String {
    format!(
        "{}={}({},{},v{})",
        bytes(&kv.key),
        bytes(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version
    )
}

fn keys(range: &KeyRange) -> String {
    match range {
        KeyRange::Key(key) => bytes(key),
        KeyRange::Prefix(prefix) => format!("{}*", bytes(prefix)),
        KeyRange::Range(from, to) => {
            format!(
                "{}..{}",
                bytes(from),
                to.as_ref().map_or_else(String::new, bytes)
            )
        }
    }
}

pub(super) fn bytes(bytes: &Bytes) -> String {
    bytes.escape_ascii().to_string()
}
