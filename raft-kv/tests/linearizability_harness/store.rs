//! Histories of the store: a notation, and the real store as the machine that makes them.
//!
//! `put x 1 -> @3`, `put x 1 if x=0 -> @3`, also `if x@2` and `if !x`; refused: `-> no @3 x=1(1,3,v2)` or `-> no @3 absent`.
//! `get x -> x=1(1,3,v2) @3` (created, modified, version), `get x -> absent @3`; the `@3` may be left out. `get x*` is a range.
//! `delete x -> 1 @4` says how many were, `count x -> 1 @4` how many there are.

use bytes::Bytes;
use raft_core::LogId;
use raft_kv::api::*;
use raft_kv::sim::linearizability::Outcome;
use raft_kv::sim::linearizability::kv::{History, Input, Output};
use raft_kv::store::{Settings, Store};

use super::{Random, parse};

pub(crate) fn store_history(text: &str) -> History {
    parse(text, operation, answer)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn operation(text: &str) -> Input {
    let (text, conditions) = match text.split_once(" if ") {
        Some((text, conditions)) => (text, conditions.split(',').map(condition).collect()),
        None => (text, Vec::new()),
    };
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        ["get", what] => Input::Read(query(keys(what))),
        ["count", what] => Input::Read(Query {
            count_only: true,
            ..query(keys(what))
        }),
        ["put", key, value] => put(key, value, conditions),
        ["delete", what] => Input::Write(Operation::Delete {
            keys: keys(what),
            want_previous: false,
            conditions,
        }),
        _ => panic!("{text}"),
    }
}

pub(crate) fn put(key: &str, value: &str, conditions: Vec<Condition>) -> Input {
    Input::Write(Operation::Put {
        key: bytes(key),
        value: bytes(value),
        lease: 0,
        want_previous: false,
        conditions,
    })
}

fn condition(text: &str) -> Condition {
    let text = text.trim();
    if let Some(key) = text.strip_prefix('!') {
        Condition::Absent { key: bytes(key) }
    } else if let Some((key, revision)) = text.split_once('@') {
        Condition::ModRevision {
            key: bytes(key),
            revision: revision.parse().unwrap(),
        }
    } else {
        let (key, value) = text.split_once('=').unwrap();
        Condition::Value {
            key: bytes(key),
            value: bytes(value),
        }
    }
}

fn keys(text: &str) -> KeyRange {
    match text.strip_suffix('*') {
        Some(prefix) => KeyRange::Prefix(bytes(prefix)),
        None => KeyRange::Key(bytes(text)),
    }
}

pub(crate) fn query(keys: KeyRange) -> Query {
    Query {
        keys,
        limit: 0,
        keys_only: false,
        count_only: false,
        reverse: false,
        revision: 0,
    }
}

fn answer(input: &Input, text: &str) -> Output {
    let words: Vec<&str> = text.split_whitespace().collect();
    let revision = words
        .iter()
        .find_map(|word| word.strip_prefix('@'))
        .map(|text| text.parse().unwrap());
    let kvs: Vec<KeyValue> = words
        .iter()
        .filter(|word| word.contains('='))
        .map(|word| key_value(word))
        .collect();
    let made = || revision.unwrap_or_else(|| panic!("no revision: {text}"));
    match (input, words[0]) {
        (
            Input::Read(Query {
                count_only: true, ..
            }),
            count,
        ) => Output::Read {
            reply: QueryReply {
                count: count.parse().unwrap(),
                ..QueryReply::default()
            },
            revision,
        },
        (Input::Read(_), _) => Output::Read {
            reply: QueryReply {
                count: kvs.len() as u64,
                kvs,
                more: false,
            },
            revision,
        },
        (_, "no") => Output::Write(CommandReply::ConditionFailed {
            current: kvs.into_iter().next(),
            revision: made(),
        }),
        (_, "forgotten") => Output::Write(CommandReply::Forgotten),
        (_, "expired") => Output::Write(CommandReply::SessionExpired),
        (Input::Write(Operation::Put { .. }), _) => Output::Write(CommandReply::Put {
            revision: made(),
            previous: None,
        }),
        (_, count) => Output::Write(CommandReply::Deleted {
            count: count.parse().unwrap(),
            revision: made(),
            previous: Vec::new(),
        }),
    }
}

/// `x=1(1,3,v2)`.
fn key_value(text: &str) -> KeyValue {
    let (key, rest) = text.split_once('=').unwrap();
    let (value, rest) = rest.trim_end_matches(')').split_once('(').unwrap();
    let numbers: Vec<u64> = rest
        .split(',')
        .map(|text| text.trim_start_matches('v').parse().unwrap())
        .collect();
    KeyValue {
        key: bytes(key),
        value: bytes(value),
        create_revision: numbers[0],
        mod_revision: numbers[1],
        version: numbers[2],
        lease: 0,
    }
}

/// The real store, as one machine.
#[derive(Clone)]
pub(crate) struct RealStore {
    store: Store,
    entry: u64,
    session: SessionId,
}

impl RealStore {
    pub(crate) fn new() -> Self {
        let mut new = Self {
            store: Store::new(Settings::default()),
            entry: 0,
            session: 0,
        };
        new.command(Operation::RegisterSession);
        new.session = 1;
        new
    }

    fn command(&mut self, operation: Operation) -> CommandReply {
        self.entry += 1;
        let sequence = if self.session == 0 { 0 } else { self.entry };
        let command = Command {
            session: self.session,
            sequence,
            first_outstanding: sequence,
            principal: Bytes::new(),
            operation,
        };
        self.store
            .apply(LogId::new(self.entry, 1), &command)
            .unwrap()
    }

    pub(crate) fn apply(&mut self, input: &Input) -> Output {
        match input {
            Input::Write(operation) => Output::Write(self.command(operation.clone())),
            Input::Read(query) => Output::Read {
                reply: self.store.query(query, 100).unwrap(),
                revision: Some(self.store.revision()),
            },
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.store.revision()
    }
}

/// What clients of the store ask: of so many keys, of each value its own or out of few.
pub(crate) struct Asks {
    pub(crate) keys: u64,
    /// Every so many operations one is about all keys; 0: none.
    pub(crate) ranges_percent: u64,
    pub(crate) unique_values: bool,
    pub(crate) next: u64,
}

impl Asks {
    pub(crate) fn any(&mut self, random: &mut Random, revision: Revision) -> Input {
        self.next += 1;
        let key = bytes(&format!("k{}", random.below(self.keys)));
        let value = if self.unique_values {
            bytes(&format!("v{}", self.next))
        } else {
            bytes(&format!("v{}", random.below(3)))
        };
        let range = random.percent(self.ranges_percent);
        let keys = if range {
            KeyRange::Prefix(bytes("k"))
        } else {
            KeyRange::Key(key.clone())
        };
        let condition_key = if range {
            bytes(&format!("k{}", random.below(self.keys)))
        } else {
            key.clone()
        };
        let conditions = match random.below(10) {
            0 => vec![Condition::Absent { key: condition_key }],
            1 => vec![Condition::ModRevision {
                key: condition_key,
                revision: revision.saturating_sub(random.below(4)),
            }],
            2 => vec![Condition::Value {
                key: condition_key,
                value: bytes(&format!("v{}", random.below(3))),
            }],
            _ => Vec::new(),
        };
        let want_previous = random.percent(30);
        match random.below(10) {
            0..=3 => Input::Read(Query {
                limit: if range { random.below(3) } else { 0 },
                keys_only: random.percent(10),
                count_only: random.percent(10),
                reverse: random.percent(30),
                revision: 0,
                ..query(keys)
            }),
            4 => Input::Write(Operation::Delete {
                keys,
                want_previous,
                conditions,
            }),
            _ => Input::Write(Operation::Put {
                key,
                value,
                lease: u64::from(random.percent(3)),
                want_previous,
                conditions,
            }),
        }
    }
}

/// Makes one number in an answer one more or one less, or leaves a revision out, which is no lie.
pub(crate) fn tampered(random: &mut Random, history: &History) -> History {
    let mut operations: Vec<_> = history.operations().cloned().collect();
    let at = random.below(operations.len() as u64) as usize;
    let Outcome::Returned { output, .. } = &mut operations[at].outcome else {
        return history.clone();
    };
    let up = random.percent(50);
    let change = |number: &mut u64| *number = number.saturating_add_signed(if up { 1 } else { -1 });
    match output {
        Output::Read { revision, .. } if random.percent(30) => *revision = None,
        Output::Read { reply, revision } => match (reply.kvs.first_mut(), revision) {
            (Some(kv), _) if random.percent(80) => match random.below(3) {
                0 => change(&mut kv.version),
                1 => change(&mut kv.mod_revision),
                _ => change(&mut kv.create_revision),
            },
            (_, Some(revision)) => change(revision),
            _ => change(&mut reply.count),
        },
        Output::Write(
            CommandReply::Put { revision, .. }
            | CommandReply::ConditionFailed { revision, .. }
            | CommandReply::Deleted { revision, .. },
        ) => change(revision),
        _ => {}
    }
    super::history(&operations)
}

/// The key that an operation is about, if it is one alone.
pub(crate) fn only_key(input: &Input) -> Option<Bytes> {
    let (key, conditions) = match input {
        Input::Write(Operation::Put {
            key, conditions, ..
        }) => (key, conditions.as_slice()),
        Input::Write(Operation::Delete {
            keys: KeyRange::Key(key),
            conditions,
            ..
        }) => (key, conditions.as_slice()),
        Input::Read(Query {
            keys: KeyRange::Key(key),
            ..
        }) => (key, [].as_slice()),
        _ => return None,
    };
    let same = |condition: &Condition| match condition {
        Condition::Absent { key: other }
        | Condition::ModRevision { key: other, .. }
        | Condition::Value { key: other, .. } => other == key,
        _ => false,
    };
    conditions.iter().all(same).then(|| key.clone())
}

/// Whether an answer to the one may be an answer to the other.
pub(crate) fn same_kind(one: &Input, other: &Input) -> bool {
    match (one, other) {
        (Input::Write(one), Input::Write(other)) => {
            std::mem::discriminant(one) == std::mem::discriminant(other)
        }
        (Input::Read(one), Input::Read(other)) => one.keys == other.keys,
        _ => false,
    }
}
