//! What is replicated: the trait that a user implements.

use bytes::Bytes;
use raft_core::LogId;

/// A deterministic state machine: every node applies the same commands in the same order, and must come to the same
/// state. So [`apply`](Self::apply) reads nothing but the command and the state: no clock, no randomness, no order of a
/// hash map, no setting of the node.
///
/// The state lives in memory: after a restart the node applies its log again from the beginning, to the state machine
/// that it was started with.
pub trait StateMachine: Send + 'static {
    /// What a command answers to whoever proposed it.
    type Output: Send + 'static;

    /// Applies a committed command. `at` is its place in the log; places rise, with gaps where the log holds what is
    /// not a command.
    ///
    /// # Errors
    /// [`Halt`] when this node cannot apply it, say because a newer version wrote it: the node stops *before* the
    /// command, since skipping it would make this replica differ from the others for ever. What the command's author
    /// did wrong is no such error but a kind of [`Output`](Self::Output), the same on every node.
    fn apply(&mut self, at: LogId, command: &Bytes) -> Result<Self::Output, Halt>;

    /// Every entry up to `at` is applied, where the one at `at` was not a command. For a state machine that shows its
    /// applied index; the default does nothing.
    fn passed(&mut self, at: LogId) {
        let _ = at;
    }
}

/// Why a state machine could not apply a command. The node stops with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Halt(pub String);
