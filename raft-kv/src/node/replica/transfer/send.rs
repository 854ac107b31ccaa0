//! The leader's side of one transfer.

use bytes::Bytes;
use raft_core::Envelope;

use crate::wire::{SnapshotFile, Transfer};

/// An offer of which nothing comes is repeated twice as late each time, up to so many times the first wait: on a slow line the answer is
/// behind a window of pieces.
const WAIT_MAX: u32 = 32;

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
    /// Whether a piece is being read. The first is read at once, so that the file is open.
    reading: bool,
    /// How many bytes of pieces are ahead of the pace.
    ahead_of_pace: u64,
    /// Whether the follower has said where to begin.
    answered: bool,
    /// It has said once that it has less than it had.
    behind: Option<u64>,
    offer_in_ticks: u32,
    /// How long the next offer waits.
    wait_ticks: u32,
    /// Since the first offer: for how long nothing was heard, and for how long nothing has come forward.
    silent_ticks: u32,
    stuck_ticks: u32,
    offered: bool,
}

impl Sending {
    /// It is offered after `delay_ticks`.
    pub(in super::super) fn new(
        envelope: Envelope,
        file: SnapshotFile,
        delay_ticks: u32,
        every_ticks: u32,
    ) -> Self {
        Self {
            envelope,
            file,
            acknowledged: 0,
            next: 0,
            reading: true,
            ahead_of_pace: 0,
            answered: false,
            behind: None,
            offer_in_ticks: delay_ticks,
            wait_ticks: every_ticks,
            silent_ticks: 0,
            stuck_ticks: 0,
            offered: false,
        }
    }

    /// Time has passed, in which so many bytes a tick may be sent: what a follower misses must not take all of the disks and of the network
    /// from those who write.
    pub(in super::super) fn tick(&mut self, elapsed_ticks: u32, pace: u64) {
        let may = pace.saturating_mul(elapsed_ticks.into());
        self.ahead_of_pace = self.ahead_of_pace.saturating_sub(may);
        self.offer_in_ticks = self.offer_in_ticks.saturating_sub(elapsed_ticks);
        if self.offered {
            self.silent_ticks = self.silent_ticks.saturating_add(elapsed_ticks);
            self.stuck_ticks = self.stuck_ticks.saturating_add(elapsed_ticks);
        }
    }

    /// For how long the follower has said nothing.
    pub(in super::super) fn silent_ticks(&self) -> u32 {
        self.silent_ticks
    }

    /// For how long nothing has come forward, though the follower may say that it lives.
    pub(in super::super) fn stuck_ticks(&self) -> u32 {
        self.stuck_ticks
    }

    /// Ticks until there is something to do: an offer, or a piece that the pace lets go.
    pub(in super::super) fn ticks_until_deadline(&self, pace: u64) -> u32 {
        match self.answered && self.ahead_of_pace >= pace {
            true => self.offer_in_ticks.min(1),
            false => self.offer_in_ticks,
        }
    }

    /// The offer, when it is due: at first, and whenever nothing has come forward for a while.
    pub(in super::super) fn offer(&mut self, every_ticks: u32) -> Option<Transfer> {
        if self.offer_in_ticks > 0 {
            return None;
        }
        self.offered = true;
        self.offer_in_ticks = self.wait_ticks;
        self.wait_ticks = (self.wait_ticks * 2).min(every_ticks * WAIT_MAX);
        Some(Transfer::Offer {
            file: self.file,
            term: self.envelope.term,
            sent: self.next,
        })
    }

    /// The follower answers an offer: it has everything before `from`. The offer came behind all pieces before `sent`, so what it lacks
    /// of them is lost; of those behind, nothing is known yet.
    pub(in super::super) fn on_ready(&mut self, from: u64, sent: u64, every_ticks: u32) {
        self.silent_ticks = 0;
        if !self.answered {
            self.answered = true;
            (self.acknowledged, self.next) = (from, from);
            return self.come_forward(every_ticks);
        }
        if from > self.acknowledged {
            self.acknowledged = from;
            self.next = self.next.max(from);
            self.come_forward(every_ticks);
        } else if from < self.acknowledged {
            // Late, or it has lost what it had: then it says so again.
            if self.behind.replace(from) == Some(from) {
                (self.acknowledged, self.next) = (from, from);
                self.behind = None;
            }
            return;
        }
        if from < sent {
            self.next = from;
        }
    }

    /// A piece is missing: the follower wants the file from here on.
    pub(in super::super) fn on_want(&mut self, from: u64) {
        self.silent_ticks = 0;
        if self.answered && (self.acknowledged..self.next).contains(&from) {
            self.next = from;
        }
    }

    /// The follower has so much of it; whether that is all.
    pub(in super::super) fn on_have(&mut self, received: u64, every_ticks: u32) -> bool {
        self.silent_ticks = 0;
        // What it has of a transfer that another leader began says nothing of where to go on.
        if self.answered && received > self.acknowledged {
            self.acknowledged = received;
            self.next = self.next.max(received);
            self.come_forward(every_ticks);
        }
        received == self.file.bytes
    }

    fn come_forward(&mut self, every_ticks: u32) {
        self.stuck_ticks = 0;
        self.behind = None;
        self.wait_ticks = every_ticks;
        self.offer_in_ticks = every_ticks;
    }

    /// Where the piece begins that is to be read next, if the window has room for it, and the pace lets it go.
    pub(in super::super) fn wants_piece(
        &mut self,
        piece_bytes: usize,
        window_bytes: u64,
        pace: u64,
    ) -> Option<u64> {
        let under_way = self.next - self.acknowledged;
        let room = under_way == 0 || under_way + piece_bytes as u64 <= window_bytes;
        let paced = self.ahead_of_pace < pace;
        let wanted = self.answered && !self.reading && self.next < self.file.bytes && room && paced;
        wanted.then(|| {
            self.reading = true;
            self.ahead_of_pace += piece_bytes as u64;
            self.next
        })
    }

    /// A piece was read. It goes out, unless the follower wants another by now, or has not said yet what it wants.
    pub(in super::super) fn on_piece(&mut self, offset: u64, bytes: Bytes) -> Option<Transfer> {
        self.reading = false;
        if !self.answered || offset != self.next || bytes.is_empty() {
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
