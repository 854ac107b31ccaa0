//! What happens when: the queue of events that a simulation is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Virtual time since the run began.
pub type Time = Duration;

/// Events by their time; those of one time in the order in which they were planned.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    now: Time,
    planned: u64,
    heap: BinaryHeap<Reverse<Planned<E>>>,
}

#[derive(Debug)]
struct Planned<E> {
    at: Time,
    number: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<E> Planned<E> {
    fn key(&self) -> (Time, u64) {
        (self.at, self.number)
    }
}

impl<E> Agenda<E> {
    pub(super) fn new() -> Self {
        Self {
            now: Time::ZERO,
            planned: 0,
            heap: BinaryHeap::new(),
        }
    }

    pub(super) fn now(&self) -> Time {
        self.now
    }

    /// Plans an event; one of the past happens now.
    pub(super) fn plan(&mut self, at: Time, event: E) {
        let number = self.planned;
        self.planned += 1;
        let at = at.max(self.now);
        self.heap.push(Reverse(Planned { at, number, event }));
    }

    pub(super) fn plan_in(&mut self, delay: Duration, event: E) {
        self.plan(self.now + delay, event);
    }

    /// The next event, if one comes before `end`; the time moves on to it, or to `end`.
    pub(super) fn next(&mut self, end: Time) -> Option<E> {
        match self.heap.peek() {
            Some(Reverse(next)) if next.at < end => {}
            _ => {
                self.now = self.now.max(end);
                return None;
            }
        }
        let Reverse(next) = self.heap.pop()?;
        self.now = next.at;
        Some(next.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_planned() {
        let at = Duration::from_secs;
        let mut agenda = Agenda::new();
        for (time, event) in [(3, "d"), (1, "a"), (2, "b"), (2, "c"), (9, "late")] {
            agenda.plan(at(time), event);
        }
        let seen: Vec<_> = std::iter::from_fn(|| agenda.next(at(5))).collect();
        assert_eq!(seen, ["a", "b", "c", "d"]);
        assert_eq!(agenda.now(), at(5));
        agenda.plan(at(1), "past");
        assert_eq!(agenda.next(at(6)), Some("past"));
        assert_eq!(agenda.now(), at(5));
    }
}
