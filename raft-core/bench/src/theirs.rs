//! raft-rs with its `MemStorage`, driven as its documentation says: `ready`, write, `advance`, apply.

use anyhow::{Result, ensure};
use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::workload::{
    APPENDS_IN_FLIGHT_MAX, Applied, ELECTION_TICKS, KEPT_ENTRIES, MESSAGE_BYTES_MAX, Node,
    UNCOMMITTED_BYTES_MAX,
};

/// What stands above the tables.
pub const CONFIGURATION: &str = "raft-rs is 0.7.0 with protobuf-codec, MemStorage, a logger that discards all, check_quorum and pre_vote. \
     As it is best here: all commands of a batch in one MsgPropose, which shares them, and skip_bcast_commit, so that the commit index \
     rides with the next append, as in raft-core. As it comes: RawNode::propose for each command, and its own setting of skip_bcast_commit";

/// `PLAIN`: as it comes. Else as it is best here.
pub struct Theirs<const PLAIN: bool> {
    raw: RawNode<MemStorage>,
    /// The first entry in the log.
    first: u64,
    applied: Applied,
}

impl<const PLAIN: bool> Theirs<PLAIN> {
    fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.applied.apply(entry.index, &entry.data);
        }
    }

    /// Cuts the log like the other side.
    fn cut(&mut self) {
        let applied = self.applied.index;
        if applied >= self.first + 2 * KEPT_ENTRIES {
            self.first = applied - KEPT_ENTRIES;
            let mut storage = self.raw.store().wl();
            storage.compact(self.first).expect("the log has it");
        }
    }
}

impl<const PLAIN: bool> Node for Theirs<PLAIN> {
    type Message = Message;

    fn found(nodes: u64, heartbeat_ticks: u32) -> Result<Vec<Self>> {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        (1..=nodes)
            .map(|id| {
                let config = Config {
                    id,
                    election_tick: ELECTION_TICKS as usize,
                    heartbeat_tick: heartbeat_ticks as usize,
                    max_size_per_msg: MESSAGE_BYTES_MAX as u64,
                    max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
                    max_uncommitted_size: UNCOMMITTED_BYTES_MAX as u64,
                    max_committed_size_per_ready: MESSAGE_BYTES_MAX as u64,
                    check_quorum: true,
                    pre_vote: true,
                    skip_bcast_commit: !PLAIN,
                    ..Config::default()
                };
                let voters: Vec<u64> = (1..=nodes).collect();
                let storage = MemStorage::new_with_conf_state(ConfState::from((voters, vec![])));
                Ok(Theirs {
                    raw: RawNode::new(&config, storage, &logger)?,
                    first: 1,
                    applied: Applied::default(),
                })
            })
            .collect()
    }

    fn tick(&mut self) {
        self.raw.tick();
    }

    fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn propose(&mut self, commands: impl ExactSizeIterator<Item = Bytes>) -> Result<()> {
        if PLAIN {
            for command in commands {
                self.raw.propose(Vec::new(), command.to_vec())?;
            }
            return Ok(());
        }
        let entry = |data| Entry {
            data,
            ..Entry::default()
        };
        let entries: Vec<Entry> = commands.map(entry).collect();
        let mut message = Message {
            from: self.raw.raft.id,
            entries: entries.into(),
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgPropose);
        Ok(self.raw.raft.step(message)?)
    }

    fn receive(&mut self, message: Message) -> Result<()> {
        Ok(self.raw.step(message)?)
    }

    fn carry_out(&mut self, mut send: impl FnMut(u64, Message)) -> Result<()> {
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            for message in ready.take_messages() {
                send(message.to, message);
            }
            ensure!(ready.snapshot().is_empty(), "a snapshot came");
            let committed = ready.take_committed_entries();
            self.apply(&committed);
            if !ready.entries().is_empty() || ready.hs().is_some() {
                let mut storage = self.raw.store().wl();
                storage.append(ready.entries())?;
                if let Some(hard_state) = ready.hs() {
                    storage.set_hardstate(hard_state.clone());
                }
            }
            for message in ready.take_persisted_messages() {
                send(message.to, message);
            }
            let mut light = self.raw.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.raw.store().wl().mut_hard_state().set_commit(commit);
            }
            for message in light.take_messages() {
                send(message.to, message);
            }
            let committed = light.take_committed_entries();
            self.apply(&committed);
            self.raw.advance_apply();
            self.cut();
        }
        Ok(())
    }

    fn applied(&self) -> Applied {
        self.applied
    }
}
