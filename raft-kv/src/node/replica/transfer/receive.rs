//! The follower's side of a transfer.

use raft_core::{NodeId, Term};

use crate::wire::{SnapshotFile, Transfer};

/// A file that is being received.
#[derive(Clone, Debug)]
pub(in super::super) struct Receiving {
    pub(in super::super) file: SnapshotFile,
    /// Sets this attempt apart from others at the same file: what is told of their writes is not told of this one's.
    pub(in super::super) run: u64,
    /// Who sends it, as far as this node knows.
    pub(in super::super) from: NodeId,
    /// The term of the leader that offered it last.
    term: Term,
    /// So much is written.
    written: u64,
    /// So much was taken to be written.
    taken: u64,
    /// The sender was told what is missing, and nothing that fits has come since.
    told: bool,
    idle_ticks: u32,
}

/// What is to be done with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Taken {
    /// It is the next one, to be written.
    Write,
    /// It is not; the sender is told, if this is to be said.
    Tell(u64),
    /// It is not, and the sender knows.
    Drop,
}

impl Receiving {
    pub(in super::super) fn new(file: SnapshotFile, run: u64, from: NodeId, term: Term) -> Self {
        Self {
            file,
            run,
            from,
            term,
            written: 0,
            taken: 0,
            told: false,
            idle_ticks: 0,
        }
    }

    /// Whether another offer may take its place: one of the same leader, or of a later one.
    pub(in super::super) fn yields_to(&self, term: Term) -> bool {
        term >= self.term
    }

    /// It is offered, perhaps again, perhaps by another leader; the answer.
    pub(in super::super) fn on_offer(&mut self, from: NodeId, term: Term, sent: u64) -> Transfer {
        (self.from, self.term) = (from, term);
        self.idle_ticks = 0;
        self.told = false;
        let file = self.file;
        if self.written < self.taken {
            // Alive; where to go on is known when that is written.
            let received = self.written;
            return Transfer::Have { file, received };
        }
        let from = self.written;
        Transfer::Ready { file, from, sent }
    }

    /// A piece has come.
    pub(in super::super) fn on_piece(
        &mut self,
        from: NodeId,
        offset: u64,
        bytes: usize,
        window_bytes: u64,
    ) -> Taken {
        let end = offset + bytes as u64;
        if from != self.from || end - offset > window_bytes {
            return Taken::Drop;
        }
        // No honest sender has more than a window under way.
        if offset == self.taken
            && (self.taken == self.written || end.saturating_sub(self.written) <= window_bytes)
        {
            self.taken = end;
            self.told = false;
            self.idle_ticks = 0;
            return Taken::Write;
        }
        if offset < self.taken || std::mem::replace(&mut self.told, true) {
            return Taken::Drop;
        }
        Taken::Tell(self.taken)
    }

    /// So much is written.
    pub(in super::super) fn on_written(&mut self, written: u64) {
        self.written = written.min(self.taken);
        self.idle_ticks = 0;
    }

    /// Time has passed; for how long nothing has come.
    pub(in super::super) fn tick(&mut self, elapsed_ticks: u32) -> u32 {
        self.idle_ticks = self.idle_ticks.saturating_add(elapsed_ticks);
        self.idle_ticks
    }
}
