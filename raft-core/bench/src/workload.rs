//! What both sides do: the commands, the state machine that checks them, and a cluster of nodes in one thread.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

/// Bytes a command.
pub const COMMAND_BYTES: usize = 256;
/// The largest batch.
pub const BATCH_MAX: usize = 1024;
/// What one message may carry of entries, in bytes, as each side counts them; and what is handed out at once to apply.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How many appends may be on their way to a follower.
pub const APPENDS_IN_FLIGHT_MAX: usize = 64;
/// How many bytes of proposals may wait to be committed.
pub const UNCOMMITTED_BYTES_MAX: usize = 64 << 20;
/// How many entries stay in each log when it is cut, for followers that are behind; it is cut when it has twice as many.
pub const KEPT_ENTRIES: u64 = 4096;
/// Ticks until a follower campaigns, at the earliest.
pub const ELECTION_TICKS: u32 = 100;
/// A node ticks after so many batches.
const BATCHES_A_TICK: u32 = 64;
/// Within so many ticks a cluster has a leader, and its followers have all that the leader has.
const PATIENCE_TICKS: u32 = 10_000;

/// The commands, made beforehand: each begins with its number, and comes again after [`Commands::NUMBERS`] others. Proposing one
/// copies nothing and allocates nothing, so that what is measured is the protocol.
#[derive(Clone)]
pub struct Commands {
    made: Vec<Bytes>,
    next: usize,
}

impl Commands {
    const NUMBERS: usize = 2 * BATCH_MAX;

    pub fn new() -> Commands {
        let command = |number: usize| {
            let mut bytes = vec![0x5a; COMMAND_BYTES];
            bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
            Bytes::from(bytes)
        };
        Commands {
            made: (0..Self::NUMBERS).map(command).collect(),
            next: 0,
        }
    }

    /// The next `count` commands.
    fn take(&mut self, count: usize) -> impl ExactSizeIterator<Item = Bytes> {
        let first = self.next;
        self.next = (first + count) % Self::NUMBERS;
        (0..count).map(move |nth| self.made[(first + nth) % Self::NUMBERS].clone())
    }
}

/// The state machine: it holds that each command comes once and in order.
#[derive(Clone, Copy, Default)]
pub struct Applied {
    pub commands: u64,
    pub index: u64,
}

impl Applied {
    /// Applies the entry at `index`; `command` is empty when it holds none.
    #[inline]
    pub fn apply(&mut self, index: u64, command: &[u8]) {
        assert_eq!(index, self.index + 1, "an entry is applied out of order");
        self.index = index;
        if let Some((number, rest)) = command.split_first_chunk::<8>() {
            let expected = self.commands % Commands::NUMBERS as u64;
            assert_eq!(u64::from_le_bytes(*number), expected, "another command");
            black_box(rest);
            self.commands += 1;
        }
    }
}

/// A node of either side, with its driver.
pub trait Node: Sized {
    type Message;

    /// So many nodes, founded, no one of which leads yet. They are numbered from 1.
    fn found(nodes: u64, heartbeat_ticks: u32) -> Result<Vec<Self>>;
    fn tick(&mut self);
    fn leads(&self) -> bool;
    fn propose(&mut self, commands: impl ExactSizeIterator<Item = Bytes>) -> Result<()>;
    fn receive(&mut self, message: Self::Message) -> Result<()>;
    /// Does what is to be done: sends, writes to the log in memory, applies. Nothing waits afterwards but for other nodes.
    fn carry_out(&mut self, send: impl FnMut(u64, Self::Message)) -> Result<()>;
    fn applied(&self) -> Applied;
}

/// Nodes in one thread, and the messages between them, none of which is lost.
pub struct Cluster<N: Node> {
    nodes: Vec<N>,
    inboxes: Vec<Vec<N::Message>>,
    commands: Commands,
    leader: usize,
    batches: u32,
}

impl<N: Node> Cluster<N> {
    /// A cluster that has a leader and is calm.
    pub fn new(nodes: u64, heartbeat_ticks: u32, commands: &Commands) -> Result<Cluster<N>> {
        let nodes = N::found(nodes, heartbeat_ticks)?;
        let mut cluster = Cluster {
            inboxes: nodes.iter().map(|_| Vec::new()).collect(),
            nodes,
            commands: commands.clone(),
            leader: 0,
            batches: 0,
        };
        for _ in 0..PATIENCE_TICKS {
            cluster.tick()?;
            if let Some(leader) = cluster.nodes.iter().position(N::leads) {
                cluster.leader = leader;
                cluster.calm()?;
                return Ok(cluster);
            }
        }
        anyhow::bail!("no node was elected in {PATIENCE_TICKS} ticks");
    }

    /// One batch, from its proposal until the leader has applied it.
    pub fn batch(&mut self, count: usize) -> Result<()> {
        self.batches += 1;
        if self.batches.is_multiple_of(BATCHES_A_TICK) {
            self.tick()?;
        }
        let leader = &mut self.nodes[self.leader];
        let wanted = leader.applied().commands + count as u64;
        leader.propose(self.commands.take(count))?;
        self.carry_out(self.leader)?;
        self.deliver()?;
        let applied = self.nodes[self.leader].applied().commands;
        ensure!(
            applied == wanted,
            "{applied} of {wanted} commands are applied"
        );
        Ok(())
    }

    /// A tick of every node, and all that follows from it.
    pub fn tick(&mut self) -> Result<()> {
        for at in 0..self.nodes.len() {
            self.nodes[at].tick();
            self.carry_out(at)?;
        }
        self.deliver()
    }

    /// Goes on until every node has applied what the leader has, and holds that it is still the leader.
    pub fn calm(&mut self) -> Result<Applied> {
        for _ in 0..PATIENCE_TICKS {
            let leader = self.nodes[self.leader].applied();
            let level = |node: &N| {
                let own = node.applied();
                (own.index, own.commands) == (leader.index, leader.commands)
            };
            if leader.index > 0 && self.nodes.iter().all(level) {
                ensure!(self.nodes[self.leader].leads(), "the leader was deposed");
                return Ok(leader);
            }
            self.tick()?;
        }
        anyhow::bail!("the followers did not catch up in {PATIENCE_TICKS} ticks")
    }

    fn carry_out(&mut self, at: usize) -> Result<()> {
        let inboxes = &mut self.inboxes;
        self.nodes[at].carry_out(|to, message| {
            if let Some(inbox) = inboxes.get_mut(to as usize - 1) {
                inbox.push(message);
            }
        })
    }

    /// Brings every message to its node, and lets the node do what follows from all of them, until there are none.
    fn deliver(&mut self) -> Result<()> {
        let mut at = 0;
        let mut empty = 0;
        while empty < self.nodes.len() {
            if self.inboxes[at].is_empty() {
                empty += 1;
            } else {
                empty = 0;
                let mut inbox = std::mem::take(&mut self.inboxes[at]);
                for message in inbox.drain(..) {
                    self.nodes[at]
                        .receive(message)
                        .context("a message was refused")?;
                }
                // The buffer is used again: nothing is sent to oneself.
                self.inboxes[at] = inbox;
                self.carry_out(at)?;
            }
            at = (at + 1) % self.nodes.len();
        }
        Ok(())
    }
}
