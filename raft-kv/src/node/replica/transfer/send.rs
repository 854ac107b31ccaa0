//! The leader's side of one transfer.

use bytes::Bytes;
use raft_core::Envelope;

use crate::wire::{SnapshotFile, Transfer};

/// A file on its way to one follower.
#[derive(Clone, Debug)]
pub(in super::super) struct Sending {
    /// The core's request, for when the file is there.
    pub(in super::super) envelope: Envelope,
    pub(in super::super) file: SnapshotFile,
    /// What the follower has said that it has.
    acknowledged: u64,
    /// The next piece begins here.
    next: u64,
    /// Whether a piece is being read.
    reading: bool,
    /// Whether the follower has said where to begin.
    answered: bool,
    offer_in_ticks: u32,
    silent_ticks: u32,
}

impl Sending {
    pub(in super::super) fn new(envelope: Envelope, file: SnapshotFile) -> Self {
        Self {
            envelope,
            file,
            acknowledged: 0,
            next: 0,
            reading: false,
            answered: false,
            offer_in_ticks: 0,
            silent_ticks: 0,
        }
    }

    pub(in super::super) fn tick(&mut self, elapsed_ticks: u32) {
        self.offer_in_ticks = self.offer_in_ticks.saturating_sub(elapsed_ticks);
        self.silent_ticks = self.silent_ticks.saturating_add(elapsed_ticks);
    }

    /// For how long the follower has said nothing.
    pub(in super::super) fn silent_ticks(&self) -> u32 {
        self.silent_ticks
    }

    pub(in super::super) fn ticks_until_offer(&self) -> u32 {
        self.offer_in_ticks
    }

    /// The offer, when it is due: at first, and whenever nothing has come forward for a while.
    pub(in super::super) fn offer(&mut self, every_ticks: u32) -> Option<Transfer> {
        if self.offer_in_ticks > 0 {
            return None;
        }
        self.offer_in_ticks = every_ticks;
        Some(Transfer::Offer {
            file: self.file,
            term: self.envelope.term,
        })
    }

    /// The follower wants the file from here on.
    pub(in super::super) fn on_want(&mut self, from: u64, every_ticks: u32) {
        (self.acknowledged, self.next) = (from, from);
        self.answered = true;
        self.silent_ticks = 0;
        self.offer_in_ticks = every_ticks;
    }

    /// The follower has so much of it; whether that is all.
    pub(in super::super) fn on_have(&mut self, received: u64, every_ticks: u32) -> bool {
        self.silent_ticks = 0;
        // What it has of a transfer that another leader began says nothing of where to go on.
        if self.answered && received > self.acknowledged && received <= self.next {
            self.acknowledged = received;
            self.offer_in_ticks = every_ticks;
        }
        received == self.file.bytes
    }

    /// Where the piece begins that is to be read next, if the window has room for it.
    pub(in super::super) fn wants_piece(
        &mut self,
        piece_bytes: usize,
        window_bytes: u64,
    ) -> Option<u64> {
        let under_way = self.next - self.acknowledged;
        let room = under_way == 0 || under_way + piece_bytes as u64 <= window_bytes;
        let wanted = self.answered && !self.reading && self.next < self.file.bytes && room;
        wanted.then(|| {
            self.reading = true;
            self.next
        })
    }

    /// A piece was read. It goes out, unless the follower wants another by now.
    pub(in super::super) fn on_piece(&mut self, offset: u64, bytes: Bytes) -> Option<Transfer> {
        self.reading = false;
        if offset != self.next || bytes.is_empty() {
            return None;
        }
        self.next += bytes.len() as u64;
        Some(Transfer::Chunk {
            file: self.file,
            offset,
            bytes,
        })
    }
}
