//! A state machine that writes down what it applies.

use std::io;

use bytes::Bytes;
use raft_core::{LogId, Term};

use crate::node::{Halt, Image, StateMachine};
use crate::release::Release;

/// One entry as it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AppliedEntry {
    pub(super) at: LogId,
    /// Of the state after it.
    pub(super) state_hash: u64,
}

/// See the [module](self).
pub(super) struct Observed<S> {
    pub(crate) inner: S,
    hash: fn(&S) -> u64,
    /// Since it was last asked.
    pub(super) fresh: Vec<AppliedEntry>,
}

impl<S> Observed<S> {
    pub(super) fn new(inner: S, hash: fn(&S) -> u64) -> Self {
        Self {
            inner,
            hash,
            fresh: Vec::new(),
        }
    }

    /// A hash of the state as it is.
    pub(super) fn state_hash(&self) -> u64 {
        (self.hash)(&self.inner)
    }

    fn note(&mut self, at: LogId) {
        let state_hash = self.state_hash();
        self.fresh.push(AppliedEntry { at, state_hash });
    }
}

impl<S: StateMachine> StateMachine for Observed<S> {
    type Output = S::Output;

    fn apply(&mut self, at: LogId, command: &Bytes) -> Result<Self::Output, Halt> {
        let output = self.inner.apply(at, command)?;
        self.note(at);
        Ok(output)
    }

    fn passed(&mut self, at: LogId) {
        self.inner.passed(at);
        self.note(at);
    }

    fn release(&self) -> Release {
        self.inner.release()
    }

    fn version(&self) -> u16 {
        self.inner.version()
    }

    fn raise(&self, version: u16) -> Option<Bytes> {
        self.inner.raise(version)
    }

    fn tick(&mut self, leading: Option<Term>, elapsed_ms: u32) -> Vec<Bytes> {
        self.inner.tick(leading, elapsed_ms)
    }

    fn image(&self) -> Image {
        self.inner.image()
    }

    fn empty(&self) -> Self {
        Self::new(self.inner.empty(), self.hash)
    }

    fn restore(&mut self, at: LogId, from: &mut dyn io::Read) -> io::Result<()> {
        self.inner.restore(at, from)
    }
}
