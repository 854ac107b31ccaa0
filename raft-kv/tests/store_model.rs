//! The store against a model that is too simple to be wrong: it remembers every command it ever carried out.
//!
//! Clients retry, double, overtake and leave out commands, run ahead, acknowledge, end their sessions and are driven out of
//! them by others. Small limits make all of that frequent.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says so by panicking"
)]

use std::collections::BTreeMap;

use crate::store_machine::clients::{
    Clients, OUTSTANDING_MAX, SESSIONS_MAX, Step, operation, settings, step,
};
use crate::store_machine::{Machine, bytes};
use proptest::prelude::*;
use raft_kv::api::*;
use raft_kv::store::Settings;

#[derive(Default)]
struct ModelSession {
    last_used: u64,
    first_outstanding: u64,
    /// Every command that was ever carried out, and its answer.
    carried_out: BTreeMap<u64, CommandReply>,
    refused: Vec<u64>,
}

#[derive(Default)]
struct Model {
    revision: Revision,
    keys: BTreeMap<Vec<u8>, KeyValue>,
    sessions: BTreeMap<SessionId, ModelSession>,
}

impl Model {
    fn register(&mut self, index: u64) {
        let session = ModelSession {
            last_used: index,
            first_outstanding: 1,
            ..ModelSession::default()
        };
        self.sessions.insert(index, session);
        if self.sessions.len() > SESSIONS_MAX {
            let by_use = |id: &&u64| self.sessions[id].last_used;
            let oldest = *self.sessions.keys().min_by_key(by_use).unwrap();
            self.sessions.remove(&oldest);
        }
    }

    fn apply(&mut self, index: u64, command: &Command) -> CommandReply {
        let Some(session) = self.sessions.get_mut(&command.session) else {
            return CommandReply::SessionExpired;
        };
        session.last_used = index;
        let acknowledged = command.first_outstanding.min(command.sequence);
        session.first_outstanding = session.first_outstanding.max(acknowledged);
        let oldest = session.first_outstanding;
        if command.sequence < oldest {
            return CommandReply::Forgotten;
        }
        if let Some(reply) = session.carried_out.get(&command.sequence) {
            return reply.clone();
        }
        // What was refused, and what lies between two that were, is refused until the client has passed all of it.
        let refused = &mut session.refused;
        if refused.iter().all(|&sequence| sequence < oldest) {
            refused.clear();
        }
        let between = refused.iter().any(|&low| low <= command.sequence)
            && refused.iter().any(|&high| high >= command.sequence);
        if between || command.sequence >= oldest + OUTSTANDING_MAX {
            refused.push(command.sequence);
            return CommandReply::Refused(Refusal::TooManyOutstanding);
        }
        let reply = self.carry_out(&command.operation);
        if command.operation == Operation::EndSession {
            self.sessions.remove(&command.session);
        } else if let Some(session) = self.sessions.get_mut(&command.session) {
            session.carried_out.insert(command.sequence, reply.clone());
        }
        reply
    }

    fn carry_out(&mut self, operation: &Operation) -> CommandReply {
        match operation {
            Operation::Put {
                key,
                value,
                lease,
                want_previous,
                conditions,
            } => {
                if let Some(failed) = self.failed(conditions) {
                    return failed;
                }
                if *lease != 0 {
                    return CommandReply::Refused(Refusal::NoSuchLease);
                }
                self.revision += 1;
                let previous = self.keys.get(&key[..]).cloned();
                let after = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: previous
                        .as_ref()
                        .map_or(self.revision, |kv| kv.create_revision),
                    mod_revision: self.revision,
                    version: previous.as_ref().map_or(1, |kv| kv.version + 1),
                    lease: 0,
                };
                self.keys.insert(key.to_vec(), after);
                let previous = previous.filter(|_| *want_previous);
                CommandReply::Put {
                    revision: self.revision,
                    previous,
                }
            }
            Operation::Delete {
                keys,
                want_previous,
                conditions,
            } => {
                if let Some(failed) = self.failed(conditions) {
                    return failed;
                }
                let gone: Vec<KeyValue> = self
                    .keys
                    .values()
                    .filter(|kv| within(keys, &kv.key))
                    .cloned()
                    .collect();
                gone.iter()
                    .for_each(|kv| drop(self.keys.remove(&kv.key[..])));
                self.revision += u64::from(!gone.is_empty());
                CommandReply::Deleted {
                    count: gone.len() as u64,
                    revision: self.revision,
                    previous: if *want_previous { gone } else { vec![] },
                }
            }
            _ => CommandReply::Ended,
        }
    }

    fn failed(&self, conditions: &[Condition]) -> Option<CommandReply> {
        for condition in conditions {
            let (key, holds) = match condition {
                Condition::Absent { key } => (key, !self.keys.contains_key(&key[..])),
                Condition::ModRevision { key, revision } => {
                    let found = self.keys.get(&key[..]).map(|kv| kv.mod_revision);
                    (key, found.unwrap_or(0) == *revision)
                }
                Condition::Value { key, value } => (
                    key,
                    self.keys.get(&key[..]).is_some_and(|kv| kv.value == value),
                ),
                other => panic!("{other:?} is new"),
            };
            if !holds {
                let current = self.keys.get(&key[..]).cloned();
                return Some(CommandReply::ConditionFailed {
                    current,
                    revision: self.revision,
                });
            }
        }
        None
    }
}

fn within(keys: &KeyRange, key: &[u8]) -> bool {
    match keys {
        KeyRange::Key(one) => key == one,
        KeyRange::Prefix(prefix) => key.starts_with(prefix),
        KeyRange::Range(from, to) => key >= &from[..] && to.as_ref().is_none_or(|to| key < to),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_store_does_what_the_model_does(
        steps in prop::collection::vec(step(), 1..150),
        operations in prop::collection::vec(operation(), 20),
    ) {
        let mut model = Model::default();
        let mut machine = Machine::new(settings());
        let mut replica = Machine::new(settings());
        let mut clients = Clients::default();
        for step in &steps {
            if let Some(command) = clients.command(step, &operations) {
                let reply = machine.apply(&command);
                let expected = model.apply(machine.store.applied().0, &command);
                prop_assert_eq!(&reply, &expected, "{:?}", command);
                prop_assert_eq!(replica.apply(&command), reply);
            } else if matches!(step, Step::Register) {
                let session = machine.register();
                model.register(session);
                clients.sessions.push((session, 1));
                prop_assert_eq!(replica.register(), session);
            } else {
                machine.pass();
                replica.pass();
            }
            let store = &machine.store;
            prop_assert_eq!(store.revision(), model.revision);
            prop_assert_eq!(store.session_count(), model.sessions.len());
            prop_assert_eq!(store.state_hash(), replica.store.state_hash());
        }
        let all = Query {
            keys: KeyRange::Prefix(bytes("")),
            limit: 0,
            keys_only: false,
            count_only: false,
            reverse: false,
            revision: 0,
        };
        let found = machine.store.query(&all, usize::MAX).unwrap().kvs;
        prop_assert_eq!(found, model.keys.into_values().collect::<Vec<_>>());
    }

    /// Whatever the limits on what is kept, no command is carried out twice, and no two answers to it contradict each other.
    #[test]
    fn a_command_counts_once(
        steps in prop::collection::vec(step(), 1..150),
        key in prop::sample::select(vec!["a", "b"]),
        session_reply_bytes_max in 0..3000_u64,
        reply_bytes_max in 0..3000_u64,
    ) {
        let settings = Settings { session_reply_bytes_max, reply_bytes_max, ..settings() };
        let mut machine = Machine::new(settings);
        let mut clients = Clients::default();
        let mut answers = BTreeMap::<(SessionId, u64), Vec<CommandReply>>::new();
        // Every one of them changes a key, so the revision counts how many were carried out.
        let operations = [crate::store_machine::put(key, &"v".repeat(500))];
        for step in steps {
            let command = match step {
                Step::Try { .. } => clients.command(&step, &operations),
                Step::Register => {
                    clients.sessions.push((machine.register(), 1));
                    None
                }
                _ => None,
            };
            let Some(command) = command else { continue };
            let before = machine.store.revision();
            let reply = machine.apply(&command);
            let carried_out = machine.store.revision() - before;
            let answers = answers.entry((command.session, command.sequence)).or_default();
            if carried_out > 0 {
                prop_assert_eq!(&answers[..], [], "it was answered before it was carried out");
                let CommandReply::Put { revision, .. } = reply else {
                    panic!("{reply:?}");
                };
                prop_assert_eq!(revision, before + 1);
            }
            answers.push(reply);
        }
        let mut carried_out = 0;
        for replies in answers.into_values() {
            carried_out += u64::from(matches!(replies[0], CommandReply::Put { .. }));
            for pair in replies.windows(2) {
                // An answer stays what it was until it is not kept any more, and that until the session has ended.
                let gone = [CommandReply::Forgotten, CommandReply::SessionExpired];
                let then = gone.iter().position(|reply| *reply == pair[0]);
                let now = gone.iter().position(|reply| *reply == pair[1]);
                prop_assert!(now > then || pair[0] == pair[1], "{:?}", pair);
            }
        }
        prop_assert_eq!(machine.store.revision(), carried_out);
    }
}
