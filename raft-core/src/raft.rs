//! The public face of the core. (Signatures first; the bodies follow.)

use alloc::vec::Vec;
use bytes::Bytes;

use crate::*;

/// What a driver read back from its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Who this node is; the boot number is this start's.
    pub identity: Identity,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The entry right before the log's first: [`LogId::ZERO`] when the log begins at 1.
    pub base: LogId,
    /// The membership that was in force at `base`, and the entry it stood in; none when the log begins at 1.
    pub base_membership: Option<(LogId, Membership)>,
    /// The log's runs of equal terms, ascending: where each begins, and its term.
    pub runs: Vec<(Index, Term)>,
    /// The log's last index; `base.index` when it is empty.
    pub last: Index,
    /// Every membership in the log, ascending.
    pub memberships: Vec<(LogId, Membership)>,
    /// Up to where the state machine that the driver holds has applied: `base.index` for one that starts from its snapshot.
    pub applied: Index,
}

/// One node's Raft.
#[derive(Clone, Debug)]
pub struct Raft {}

impl Raft {
    /// Starts a member of a new cluster, on an empty disk: its first job writes `membership` as entry 1@1, the same on every
    /// initial member. Nothing may be stored yet for this node.
    pub fn bootstrap(config: Config, identity: Identity, membership: Membership) -> Result<Self, StartError> {
        let _ = (config, identity, membership);
        unreachable!()
    }
    /// Starts a node from what its disk holds.
    pub fn recover(config: Config, disk: Recovered) -> Result<Self, RecoverError> {
        let _ = (config, disk);
        unreachable!()
    }
    /// Time has passed.
    pub fn tick(&mut self, elapsed_ticks: u32) {
        let _ = elapsed_ticks;
    }
    /// Ticks until a tick would do anything by itself: the driver may sleep so long.
    #[must_use]
    pub fn ticks_until_deadline(&self) -> u32 {
        1
    }
    /// A peer's envelope.
    pub fn receive(&mut self, envelope: Envelope) -> Result<(), Rejected> {
        let _ = envelope;
        Ok(())
    }
    /// Appends commands, when this node leads. Exactly one [`Effect::Outcome`] follows for each.
    pub fn propose(&mut self, batch: Vec<Bytes>) -> Result<ProposalIds, ProposeError> {
        let _ = batch;
        Err(ProposeError::Busy)
    }
    /// Asks for a linearizable read. [`Effect::ReadReady`] or [`Effect::ReadFailed`] follows.
    pub fn read(&mut self) -> Result<ReadId, ReadError> {
        Err(ReadError::Busy)
    }
    /// Every job up to this one is durable.
    pub fn persisted(&mut self, job: JobId) -> Result<(), AnswerError> {
        let _ = job;
        Ok(())
    }
    /// The state machine has applied everything up to here.
    pub fn applied(&mut self, index: Index) -> Result<(), AnswerError> {
        let _ = index;
        Ok(())
    }
    /// What the driver read for a [`FetchJob`]; nothing when the entries are not there any more (they were cut since).
    pub fn fetched(&mut self, id: FetchId, entries: Vec<Entry>) {
        let _ = (id, entries);
    }
    /// The next thing to do, if there is any. Call it until it returns none, after every input or batch of inputs: what one
    /// call can cover (a job, an append, a read round) is gathered from all inputs since.
    pub fn next_effect(&mut self) -> Option<Effect> {
        None
    }
    /// A picture of this node.
    #[must_use]
    pub fn status(&self) -> Status {
        unreachable!()
    }
}
