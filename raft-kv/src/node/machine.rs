//! What is replicated: the trait that a user implements.

use std::{fmt, io};

use bytes::Bytes;
use raft_core::{LogId, Term};

use crate::release::Release;

/// A deterministic state machine: every node applies the same commands in the same order, and must come to the same
/// state. So [`apply`](Self::apply) reads nothing but the command and the state: no clock, no randomness, no order of a
/// hash map, no setting of the node.
///
/// The state lives in memory. Now and then the node has it written to a snapshot, and lets go of the log in front of it; after a
/// restart it reads the snapshot back into the state machine that it was started with, and applies what came after.
pub trait StateMachine: Sized + Send + 'static {
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

    /// What this state machine is: the name of the program, and the newest version of commands and state that it
    /// [follows](Release::follows). Other nodes are told when a connection opens. The default is version 1, for what never changes.
    fn release(&self) -> Release {
        Release::default()
    }

    /// The version that is in force: part of the state, and so the same on every node. A command that needs a later one must not be
    /// proposed, and [`apply`](Self::apply) must stop at one.
    fn version(&self) -> u16 {
        1
    }

    /// The command that raises the version in force to this one, unless it is there already. A leader proposes it once every member is
    /// known to follow that version. None, the default: nothing is ever raised.
    fn raise(&self, version: u16) -> Option<Bytes> {
        let _ = version;
        None
    }

    /// Time has passed: `elapsed_ms` milliseconds of this node's own. `leading` is the term in which this node leads and has applied an entry,
    /// if it does: so all that earlier leaders wrote is applied. The commands that come back are proposed; whether they are ever
    /// applied is not certain, and nobody waits for it. So something can end by the leader's clock, and yet at the same entry everywhere;
    /// what [`apply`](Self::apply) does may not depend on what is remembered here. The default does nothing.
    fn tick(&mut self, leading: Option<Term>, elapsed_ms: u32) -> Vec<Bytes> {
        let _ = (leading, elapsed_ms);
        Vec::new()
    }

    /// The whole state as it is now, to be written by another thread while this one applies on. Nothing else happens at the node until
    /// this returns: clone what is cheap to clone, share what is large ([`Arc`](std::sync::Arc)).
    ///
    /// What is written must depend on the state alone, so that the same state gives the same bytes on every node: then a transfer that
    /// one leader began is gone on with by the next.
    fn image(&self) -> Image;

    /// A state machine with this one's settings that has applied nothing: what [`restore`](Self::restore) is called on while this one
    /// still answers.
    fn empty(&self) -> Self;

    /// Takes over the state that an [`Image`] wrote, after the entry `at`. Called on one that has applied nothing. It reads all that was
    /// written, and no more.
    ///
    /// # Errors
    /// What the reader says (it verifies what it gives), or what is wrong with the bytes: the node stops. It never goes on with half a
    /// state.
    fn restore(&mut self, at: LogId, from: &mut dyn io::Read) -> io::Result<()>;
}

type Write = dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send;

/// A state as it was at some moment, to be written to a snapshot on a thread of its own.
pub struct Image(Box<Write>);

impl Image {
    /// `write` writes the state. An error that it returns is reported, and another snapshot is taken later.
    pub fn new(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static) -> Self {
        Self(Box::new(write))
    }

    /// Writes the state.
    ///
    /// # Errors
    /// What the writer says, or what kept the state machine from writing.
    pub fn write_to(self, out: &mut dyn io::Write) -> io::Result<()> {
        (self.0)(out)
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").finish_non_exhaustive()
    }
}

/// Why a state machine could not apply a command. The node stops with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Halt(pub String);
