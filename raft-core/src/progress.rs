//! What a leader knows of one peer, and what it may send it next.
//!
//! Guards: `matched < next`; `matched` never falls; what is under way is bounded by count and by bytes.

use alloc::collections::VecDeque;

use crate::config::Config;
use crate::mutants::{Mutant, asserts, mutant};
use crate::types::{Index, LogId, MemberId};

/// One append under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    number: u64,
    last: Index,
    bytes: usize,
    sent_at: u64,
}

/// A probe under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProbeSent {
    number: u64,
    sent_at: u64,
}

/// How the leader sends to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Looking for where the logs agree: one append at a time.
    Probe(Option<ProbeSent>),
    /// They agree up to `next`: appends follow each other without waiting.
    Stream,
    /// It is sent a snapshot, and heartbeats, until that has ended.
    Snapshot {
        /// The transfer.
        number: u64,
        /// Where the snapshot ends.
        last: Index,
    },
}

/// One peer's progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    pub(crate) member: MemberId,
    pub(crate) matched: Index,
    pub(crate) next: Index,
    pub(crate) mode: Mode,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// When it last answered; at first, when the leader began to count.
    pub(crate) heard_at: u64,
    /// Whether it has answered at all in this term.
    pub(crate) heard: bool,
    /// The newest heartbeat round that it has answered.
    pub(crate) round: u64,
    /// Whether it said last that its disk has no room for commands.
    pub(crate) full: bool,
    /// Whether a fetch from the log is under way for it, or when the next may be tried.
    pub(crate) fetching: bool,
    pub(crate) fetch_not_before: u64,
}

impl Progress {
    /// A peer of which nothing is known but that it may have what the leader has (paper fig. 2, nextIndex).
    pub(crate) fn new(member: MemberId, last: Index, now: u64) -> Self {
        Self {
            member,
            matched: Index::ZERO,
            next: last.next(),
            mode: Mode::Probe(None),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            heard_at: now,
            heard: false,
            round: 0,
            full: false,
            fetching: false,
            fetch_not_before: 0,
        }
    }

    /// It spoke, in this term.
    pub(crate) fn note_heard(&mut self, now: u64) {
        self.heard_at = now;
        self.heard = true;
    }

    /// Every number of a request that an answer may repeat, or is compared with.
    pub(crate) fn each_number(&mut self, visit: &mut dyn FnMut(&mut u64)) {
        for append in &mut self.in_flight {
            visit(&mut append.number);
        }
        match &mut self.mode {
            Mode::Probe(Some(probe)) => visit(&mut probe.number),
            Mode::Snapshot { number, .. } => visit(number),
            Mode::Probe(None) | Mode::Stream => {}
        }
        visit(&mut self.round);
    }

    /// Every time: what was, and what is to come.
    pub(crate) fn each_time(&mut self, past: &dyn Fn(&mut u64), future: &dyn Fn(&mut u64)) {
        for append in &mut self.in_flight {
            past(&mut append.sent_at);
        }
        if let Mode::Probe(Some(probe)) = &mut self.mode {
            past(&mut probe.sent_at);
        }
        past(&mut self.heard_at);
        future(&mut self.fetch_not_before);
    }

    /// Holds what it says against a log that ends at `last`. What changes `matched` or `next` is in this file, and checks it.
    pub(crate) fn check(&self, last: Index) {
        if !asserts() {
            return;
        }
        self.check_next();
        assert!(
            self.matched <= last,
            "{} is said to have {} of a log that ends at {last}",
            self.member,
            self.matched
        );
    }

    fn check_next(&self) {
        assert!(
            self.matched < self.next,
            "{}: matched {} and next {}",
            self.member,
            self.matched,
            self.next
        );
    }

    /// What is on its way, in appends and in bytes.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        (self.in_flight.len(), self.in_flight_bytes)
    }

    /// Whether it was sent all of a log that ends at `last`, and nothing says that it was lost.
    #[inline]
    pub(crate) fn has_all(&self, last: Index) -> bool {
        self.mode == Mode::Stream && self.next > last
    }

    /// Whether an append may be sent now that would begin at `next`.
    pub(crate) fn may_send(&self, config: &Config) -> bool {
        match self.mode {
            Mode::Snapshot { .. } => false,
            Mode::Probe(under_way) => under_way.is_none(),
            Mode::Stream => {
                self.in_flight.len() < config.inflight_appends_max
                    && self.in_flight_bytes < config.inflight_bytes_max
            }
        }
    }

    /// An append with this number was sent; it ends at `last`.
    pub(crate) fn note_sent(&mut self, number: u64, last: Index, bytes: usize, now: u64) {
        if mutant(Mutant::CountsWhatWasSent) {
            self.matched = self.matched.max(last);
        }
        match &mut self.mode {
            Mode::Probe(under_way) => {
                *under_way = Some(ProbeSent {
                    number,
                    sent_at: now,
                });
            }
            Mode::Stream => {
                assert!(
                    last >= self.next,
                    "a stream goes on at {}, not at {last}",
                    self.next
                );
                self.in_flight.push_back(InFlight {
                    number,
                    last,
                    bytes,
                    sent_at: now,
                });
                self.in_flight_bytes += bytes;
                self.next = last.next();
                self.check_next();
            }
            Mode::Snapshot { .. } => {}
        }
    }

    /// The peer's log is known to be the leader's up to `index`; that one ends at `last`. Whether that is news.
    pub(crate) fn note_matched(&mut self, index: Index, last: Index) -> bool {
        while self
            .in_flight
            .front()
            .is_some_and(|oldest| oldest.last <= index)
        {
            self.in_flight_bytes -= self.in_flight.pop_front().map_or(0, |oldest| oldest.bytes);
        }
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched.next());
        self.check(last);
        news
    }

    /// Whether its disk is full, as the answer to the append `number` says. What it turned away is not under way any more: it is sent
    /// again when there is room.
    pub(crate) fn note_full(&mut self, full: bool, number: u64) {
        self.full = full;
        let turned_away = self.in_flight.iter().any(|append| append.number == number);
        if full && turned_away {
            self.become_probing(self.matched.next());
            self.become_streaming();
        }
    }

    /// The logs agree: entries may follow each other from now on.
    pub(crate) fn become_streaming(&mut self) {
        if self.mode != Mode::Stream {
            self.mode = Mode::Stream;
            self.next = self.matched.next();
            self.check_next();
        }
    }

    /// Something was lost, or the logs differ: look again, from `next`, which is never put at or below what matched.
    pub(crate) fn become_probing(&mut self, next: Index) {
        self.mode = Mode::Probe(None);
        self.next = next.max(self.matched.next());
        self.check_next();
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    /// It is sent a snapshot that ends at `last`.
    pub(crate) fn become_snapshot(&mut self, number: u64, last: Index) {
        self.become_probing(last.next());
        self.mode = Mode::Snapshot { number, last };
    }

    /// The transfer has ended, well or badly. Either way the next append waits for a heartbeat round (`newest` is the newest
    /// number given): the answer may be on its way, and a peer that cannot take a snapshot must not be sent one after the other.
    pub(crate) fn end_snapshot(&mut self, sent: bool, newest: u64, now: u64) {
        if let Mode::Snapshot { last, .. } = self.mode {
            self.become_probing(if sent { last.next() } else { Index::ZERO });
            self.mode = Mode::Probe(Some(ProbeSent {
                number: newest,
                sent_at: now,
            }));
        }
    }

    /// What an acknowledgement up to `index` says about the mode: the logs agree, and entries may follow, the first of which stands
    /// behind `base` at the earliest.
    pub(crate) fn note_agreement(&mut self, index: Index, base: Index) {
        let agreed = match self.mode {
            Mode::Stream => false,
            Mode::Probe(_) => index >= self.next.previous(),
            // By whatever means it came to have enough (S-G8).
            Mode::Snapshot { .. } => index >= base,
        };
        if agreed {
            self.become_streaming();
        }
    }

    /// Whether an answer to the append `number` still says something: it is under way, and was not overtaken.
    pub(crate) fn is_under_way(&self, number: u64) -> bool {
        match self.mode {
            Mode::Probe(under_way) => under_way.is_some_and(|probe| probe.number == number),
            Mode::Stream => self.in_flight.iter().any(|append| append.number == number),
            Mode::Snapshot { .. } => false,
        }
    }

    /// Where to look next when the peer refused `prev` and named `hint`, given the leader's own last entry that may agree with
    /// the hint.
    pub(crate) fn next_after_conflict(&self, refused: Index, agreed: LogId) -> Index {
        // An honest peer's hint lies below what it refused; another's must not send the leader forwards.
        agreed
            .index
            .min(refused.previous())
            .next()
            .max(self.matched.next())
    }

    /// Whether an answer about `index` is one to the question that a probe asks now, whichever copy of it was answered: with a slow
    /// link there may be several under way.
    pub(crate) fn is_asked(&self, index: Index) -> bool {
        matches!(self.mode, Mode::Probe(_)) && index == self.next.previous()
    }

    /// The heartbeat `number` was answered at `now`, by a peer that says to match up to `matched`. Three things show in it that
    /// nothing else would while no entries flow: a probe that was lost, an append that was lost, and a peer that was restarted and
    /// does not know any more how much of its log is the leader's.
    ///
    /// What was sent after the heartbeat, or not long enough before, is not taken for lost: its answer may be on the way, or wait for
    /// the peer's disk.
    pub(crate) fn note_heartbeat_answered(
        &mut self,
        number: u64,
        matched: Index,
        now: u64,
        config: &Config,
    ) {
        let lost = |sent: u64, sent_at: u64, patience: u32| {
            number > sent && now.saturating_sub(sent_at) >= u64::from(patience)
        };
        match self.mode {
            Mode::Probe(Some(probe))
                if lost(probe.number, probe.sent_at, config.heartbeat_ticks) =>
            {
                self.mode = Mode::Probe(None);
            }
            Mode::Probe(_) | Mode::Snapshot { .. } => {}
            Mode::Stream => {
                let patience = config.election_timeout_ticks / 2;
                let oldest = self.in_flight.front();
                let lost =
                    oldest.is_some_and(|oldest| lost(oldest.number, oldest.sent_at, patience));
                let forgot = self.in_flight.is_empty() && matched < self.matched;
                if lost || forgot {
                    self.become_probing(self.matched.next());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};

    fn progress() -> Progress {
        let mut progress = Progress::new(
            MemberId {
                node: NodeId(2),
                incarnation: Incarnation(2),
            },
            Index(2),
            0,
        );
        progress.become_streaming();
        progress
    }

    /// S-C26, S-C27, F-P9: match and next never fall, whatever comes in whatever order.
    #[test]
    fn late_answers_move_nothing_back() {
        let mut p = progress();
        assert!(p.note_matched(Index(5), Index(9)));
        assert!(!p.note_matched(Index(3), Index(9)));
        assert_eq!((p.matched, p.next), (Index(5), Index(6)));
        p.become_probing(Index(2));
        assert_eq!(p.next, Index(6));
        assert_eq!(p.next_after_conflict(Index(4), LogId::new(3, 1)), Index(6));
        assert_eq!(
            p.next_after_conflict(Index(9), LogId::new(20, 1)),
            Index(9),
            "a hint never leads forwards"
        );
    }

    /// S-C46: windows by count and by bytes, freed by one answer that covers several.
    #[test]
    fn windows() {
        let mut config = Config::new(0);
        config.inflight_appends_max = 2;
        config.inflight_bytes_max = 100;
        let mut p = progress();
        p.note_sent(1, Index(2), 10, 0);
        assert!(p.may_send(&config));
        p.note_sent(2, Index(3), 10, 0);
        assert!(!p.may_send(&config), "two are under way");
        p.note_matched(Index(3), Index(3));
        assert!(p.may_send(&config));
        p.note_sent(3, Index(4), 100, 0);
        assert!(!p.may_send(&config), "100 bytes are under way");
        assert!(p.is_under_way(3) && !p.is_under_way(2));
    }
}
