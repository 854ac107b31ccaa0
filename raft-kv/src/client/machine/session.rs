//! The numbers that make a write happen once (thesis §6.3).
//!
//! A write gets a number when it is sent for the first time, and keeps it for every further try. The lowest number
//! whose answer is still missing goes along with each write: all below it may be forgotten by the store, and are
//! never asked again. So a write that was given up can no longer be applied once a later one is.

use std::collections::BTreeSet;

use crate::api::SessionId;

/// Where a write stands in a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Number {
    pub(super) session: SessionId,
    pub(super) sequence: u64,
}

/// What is known of the session.
#[derive(Debug)]
pub(super) enum Session {
    /// None is open.
    None,
    /// It was asked for.
    Registering,
    /// It is open.
    Open(OpenSession),
}

#[derive(Debug)]
pub(super) struct OpenSession {
    id: SessionId,
    next: u64,
    outstanding: BTreeSet<u64>,
    window: u64,
}

impl OpenSession {
    /// `window`: how far the newest number may be ahead of the oldest unanswered one.
    pub(super) fn new(id: SessionId, window: u64) -> OpenSession {
        OpenSession {
            id,
            next: 1,
            outstanding: BTreeSet::new(),
            window: window.max(1),
        }
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn first_outstanding(&self) -> u64 {
        self.outstanding.first().copied().unwrap_or(self.next)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Whether one more write may be under way. It is the span that counts, not how many are unanswered: the store
    /// keeps every answer from the first missing one on.
    pub(super) fn has_room(&self) -> bool {
        self.next - self.first_outstanding() < self.window
    }

    /// The number of a new write.
    pub(super) fn assign(&mut self) -> Number {
        let sequence = self.next;
        self.next += 1;
        self.outstanding.insert(sequence);
        Number {
            session: self.id,
            sequence,
        }
    }

    /// The write has its answer, or was given up.
    pub(super) fn finish(&mut self, number: Number) {
        if number.session == self.id {
            self.outstanding.remove(&number.sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_outstanding_number_waits_for_the_slowest_and_the_window_for_both() {
        let mut session = OpenSession::new(9, 3);
        assert_eq!(session.first_outstanding(), 1);
        let numbers = [session.assign(), session.assign(), session.assign()];
        assert_eq!(numbers.map(|n| n.sequence), [1, 2, 3]);
        assert!(!session.has_room());

        session.finish(numbers[1]);
        session.finish(numbers[2]);
        assert_eq!(session.first_outstanding(), 1);
        assert!(
            !session.has_room(),
            "only one is unanswered, but the span is full"
        );

        session.finish(Number {
            session: 8,
            sequence: 1,
        });
        assert_eq!(session.first_outstanding(), 1, "another session's number");
        session.finish(numbers[0]);
        assert_eq!(session.first_outstanding(), 4);
        assert!(session.has_room() && session.is_idle());
    }
}
