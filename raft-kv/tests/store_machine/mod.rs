//! A store with a log index that counts by itself, and short names for what the tests say often.

#![allow(dead_code, reason = "each test binary needs a part of it")]

pub(crate) mod clients;

use bytes::Bytes;
use raft_core::{Index, LogId};
use raft_kv::api::*;
use raft_kv::store::{Settings, Store};
use raft_kv::wire;

/// A store and the next entry's index.
pub(crate) struct Machine {
    pub(crate) store: Store,
    next: u64,
}

impl Machine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            store: Store::new(settings),
            next: 1,
        }
    }

    /// Goes on with a store that is there already.
    pub(crate) fn from(store: Store) -> Self {
        let next = store.applied().0 + 1;
        Self { store, next }
    }

    /// Applies a command as a node does: by its bytes.
    pub(crate) fn apply(&mut self, command: &Command) -> CommandReply {
        let at = LogId::new(self.next, 1);
        self.next += 1;
        let payload = wire::encode_command(command);
        let reply = self
            .store
            .apply_payload(at, &payload)
            .expect("this release can apply it");
        assert_eq!(self.store.applied(), at.index);
        reply
    }

    /// An entry that is not for the store.
    pub(crate) fn pass(&mut self) {
        self.store.note_applied(Index(self.next));
        self.next += 1;
    }

    pub(crate) fn register(&mut self) -> SessionId {
        let reply = self.apply(&command(0, 0, 0, Operation::RegisterSession));
        let CommandReply::Registered { session } = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(session, self.store.applied().0);
        session
    }
}

/// A client that applies operations one after the other, each as a command of its own.
pub(crate) struct Client {
    pub(crate) machine: Machine,
    session: SessionId,
    sequence: u64,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut machine = Machine::new(settings);
        let session = machine.register();
        Self {
            machine,
            session,
            sequence: 0,
        }
    }

    /// The same client, of another machine with the same state.
    pub(crate) fn of(&self, machine: Machine) -> Self {
        Self { machine, ..*self }
    }

    pub(crate) fn run(&mut self, operation: Operation) -> CommandReply {
        self.sequence += 1;
        let command = command(self.session, self.sequence, self.sequence, operation);
        self.machine.apply(&command)
    }
}

pub(crate) fn command(
    session: SessionId,
    sequence: u64,
    first_outstanding: u64,
    operation: Operation,
) -> Command {
    Command {
        session,
        sequence,
        first_outstanding,
        principal: Bytes::new(),
        operation,
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What a leader proposes to raise the cluster version.
pub(crate) fn raise(version: u16) -> Operation {
    Operation::SetClusterVersion {
        version,
        release: "9.8.7".into(),
    }
}

pub(crate) fn put(key: &str, value: &str) -> Operation {
    put_if(key, value, vec![])
}

pub(crate) fn put_if(key: &str, value: &str, conditions: Vec<Condition>) -> Operation {
    Operation::Put {
        key: bytes(key),
        value: bytes(value),
        lease: 0,
        want_previous: true,
        conditions,
    }
}
