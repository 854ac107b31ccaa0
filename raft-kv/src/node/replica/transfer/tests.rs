//! Both sides of a transfer against each other, with a network in between that loses, repeats and mixes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use fastrand::Rng;
use raft_core::{
    Boot, ClusterId, Envelope, Incarnation, LogId, MemberId, Membership, Message, NodeId,
    RequestId, Sender, Snapshot, Term,
};

use super::{Receiving, Sending, Taken};
use crate::wire::{SnapshotFile, Transfer};

/// Nothing holds back; but where it is what is tested.
const PACE: u64 = u64::MAX;
const PIECE: usize = 10;
const WINDOW: u64 = 35;
const EVERY: u32 = 3;

fn file(bytes: u64) -> SnapshotFile {
    SnapshotFile {
        last: LogId::new(7, 2),
        bytes,
        checksum: 1,
    }
}

fn member(node: u64) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation(node),
    }
}

fn sending(file: SnapshotFile, term: u64) -> Sending {
    let membership = Membership::of_voters([(member(1), Bytes::new())]).unwrap();
    let envelope = Envelope {
        cluster: ClusterId([1; 16]),
        from: Sender {
            member: member(1),
            boot: Boot(1),
        },
        to: member(2),
        term: Term(term),
        message: Message::SnapshotRequest {
            id: RequestId {
                boot: Boot(1),
                number: 1,
            },
            snapshot: Snapshot {
                last: file.last,
                membership,
                membership_at: LogId::new(1, 1),
            },
        },
    };
    Sending::new(envelope, file, 0, EVERY)
}

/// Both sides, and what is between them.
struct Pair {
    content: Vec<u8>,
    sending: Sending,
    receiving: Option<Receiving>,
    term: u64,
    written: Vec<u8>,
    /// Pieces that were taken, to be written.
    disk: Vec<Bytes>,
    to_follower: Vec<Transfer>,
    to_leader: Vec<Transfer>,
    read: Option<u64>,
    /// How many bytes a tick may be sent.
    pace: u64,
    done: bool,
}

impl Pair {
    fn new(bytes: u64) -> Self {
        Self {
            content: (0..bytes).map(|at| at as u8).collect(),
            sending: sending(file(bytes), 2),
            receiving: None,
            term: 2,
            written: Vec::new(),
            disk: Vec::new(),
            to_follower: Vec::new(),
            to_leader: Vec::new(),
            read: Some(0),
            pace: PACE,
            done: false,
        }
    }

    fn file(&self) -> SnapshotFile {
        file(self.content.len() as u64)
    }

    /// The leader offers what is due and reads what has room.
    fn lead(&mut self) {
        self.to_follower.extend(self.sending.offer(EVERY));
        if let Some(offset) = self.sending.wants_piece(PIECE, WINDOW, self.pace) {
            assert!(self.read.replace(offset).is_none(), "one read at a time");
        }
    }

    fn piece_read(&mut self) {
        let Some(offset) = self.read.take() else {
            return;
        };
        let end = (offset as usize + PIECE).min(self.content.len());
        let bytes = Bytes::copy_from_slice(&self.content[offset as usize..end]);
        self.to_follower
            .extend(self.sending.on_piece(offset, bytes));
        self.lead();
    }

    fn hear(&mut self, message: Transfer) {
        let (from, file) = (NodeId(1), self.file());
        match message {
            Transfer::Offer { term, sent, .. } => {
                if self.written.len() == self.content.len() {
                    let received = file.bytes;
                    return self.to_leader.push(Transfer::Have { file, received });
                }
                let receiving = self
                    .receiving
                    .get_or_insert_with(|| Receiving::new(file, 1, from, term));
                assert!(receiving.yields_to(term));
                let answer = receiving.on_offer(from, term, sent);
                self.to_leader.push(answer);
            }
            Transfer::Chunk { offset, bytes, .. } => {
                let Some(receiving) = &mut self.receiving else {
                    return;
                };
                match receiving.on_piece(from, offset, bytes.len(), WINDOW) {
                    Taken::Write => self.disk.push(bytes),
                    Taken::Tell(from) => self.to_leader.push(Transfer::Want { file, from }),
                    Taken::Drop => {}
                }
                let waiting: usize = self.disk.iter().map(Bytes::len).sum();
                assert!(waiting as u64 <= WINDOW, "no more than a window waits");
            }
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self) {
        if self.disk.is_empty() {
            return;
        }
        let bytes = self.disk.remove(0);
        self.written.extend_from_slice(&bytes);
        assert!(self.content.starts_with(&self.written), "in order");
        let (file, received) = (self.file(), self.written.len() as u64);
        if let Some(receiving) = &mut self.receiving {
            receiving.on_written(received);
        }
        self.to_leader.push(Transfer::Have { file, received });
    }

    fn answer(&mut self, message: &Transfer) {
        match message {
            Transfer::Ready { from, sent, .. } => self.sending.on_ready(*from, *sent, EVERY),
            Transfer::Want { from, .. } => self.sending.on_want(*from),
            Transfer::Have { received, .. } => {
                self.done |= self.sending.on_have(*received, EVERY);
            }
            other => panic!("{other:?}"),
        }
        self.lead();
    }

    /// Another leader begins, with the same file.
    fn next_leader(&mut self) {
        self.term += 1;
        self.sending = sending(self.file(), self.term);
        self.read = Some(0);
        self.to_follower.clear();
        self.lead();
    }
}

#[test]
fn without_faults_every_byte_goes_once() {
    let mut pair = Pair::new(1234);
    pair.lead();
    let mut sent = 0;
    while !pair.done {
        pair.piece_read();
        for message in std::mem::take(&mut pair.to_follower) {
            if let Transfer::Chunk { bytes, .. } = &message {
                sent += bytes.len();
            }
            pair.hear(message);
        }
        pair.write();
        for message in std::mem::take(&mut pair.to_leader) {
            pair.answer(&message);
        }
    }
    assert_eq!(pair.written, pair.content);
    assert_eq!(sent, pair.content.len());
}

#[test]
fn whatever_the_network_does_it_ends_and_goes_on_where_it_stopped() {
    for seed in 0..500 {
        let mut rng = Rng::with_seed(seed);
        let mut pair = Pair::new(rng.u64(1..600));
        pair.lead();
        let mut steps = 0;
        while !pair.done {
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: it does not end");
            match rng.u8(0..12) {
                0 => {
                    pair.sending.tick(1, PACE);
                    pair.lead();
                }
                1..=3 => pair.piece_read(),
                4..=6 if !pair.to_follower.is_empty() => {
                    let at = rng.usize(0..pair.to_follower.len().min(3));
                    let message = pair.to_follower.remove(at);
                    if rng.u8(0..8) == 0 {
                        pair.to_follower.push(message.clone());
                    }
                    if rng.u8(0..6) > 0 {
                        pair.hear(message);
                    }
                }
                7..=8 => pair.write(),
                9..=10 if !pair.to_leader.is_empty() => {
                    let at = rng.usize(0..pair.to_leader.len().min(3));
                    let message = pair.to_leader.remove(at);
                    if rng.u8(0..6) > 0 {
                        pair.answer(&message);
                    }
                }
                11 if rng.u8(0..40) == 0 => pair.next_leader(),
                _ => {}
            }
        }
        assert_eq!(pair.written, pair.content, "seed {seed}");
    }
}

#[test]
fn a_sender_that_is_not_the_present_one_is_not_heard() {
    let mut receiving = Receiving::new(file(100), 1, NodeId(1), Term(2));
    assert_eq!(receiving.on_piece(NodeId(3), 0, 10, WINDOW), Taken::Drop);
    assert!(!receiving.yields_to(Term(1)));
    assert_eq!(receiving.on_piece(NodeId(1), 0, 10, WINDOW), Taken::Write);
    // The gap is told once, and again when the leader asks.
    assert_eq!(
        receiving.on_piece(NodeId(1), 20, 10, WINDOW),
        Taken::Tell(10)
    );
    assert_eq!(receiving.on_piece(NodeId(1), 30, 10, WINDOW), Taken::Drop);
    // While the disk has some of it, nothing is known yet of where to go on.
    let file = file(100);
    let busy = Transfer::Have { file, received: 0 };
    assert_eq!(receiving.on_offer(NodeId(1), Term(2), 40), busy);
    receiving.on_written(10);
    let go_on = Transfer::Ready {
        file,
        from: 10,
        sent: 0,
    };
    assert_eq!(receiving.on_offer(NodeId(3), Term(3), 0), go_on);
    assert_eq!(receiving.on_piece(NodeId(1), 10, 10, WINDOW), Taken::Drop);
}

#[test]
fn no_more_than_a_window_is_taken_before_it_is_written() {
    let mut receiving = Receiving::new(file(1000), 1, NodeId(1), Term(2));
    for piece in 0..3 {
        assert_eq!(
            receiving.on_piece(NodeId(1), piece * 10, 10, WINDOW),
            Taken::Write
        );
    }
    assert_eq!(
        receiving.on_piece(NodeId(1), 30, 10, WINDOW),
        Taken::Tell(30)
    );
}

/// On a line so slow that a piece takes longer than the leader waits, and its offers stand behind a window of pieces, nothing is sent twice.
#[test]
fn a_slow_line_makes_no_piece_go_twice() {
    let mut pair = Pair::new(3000);
    pair.lead();
    let (mut sent, mut ticks) = (0, 0);
    // What is on the line, and when it is through: a byte a tick.
    let mut line: std::collections::VecDeque<(u32, Transfer)> = std::collections::VecDeque::new();
    while !pair.done {
        ticks += 1;
        assert!(ticks < 10_000, "it does not end");
        pair.piece_read();
        for message in std::mem::take(&mut pair.to_follower) {
            let takes = match &message {
                Transfer::Chunk { bytes, .. } => bytes.len() as u32,
                _ => 1,
            };
            if takes > 1 {
                sent += takes as usize;
            }
            let free = line.back().map_or(ticks, |(at, _)| (*at).max(ticks));
            line.push_back((free + takes, message));
        }
        while let Some((_, message)) = line.pop_front_if(|(at, _)| *at <= ticks) {
            pair.hear(message);
        }
        pair.write();
        for message in std::mem::take(&mut pair.to_leader) {
            pair.answer(&message);
        }
        pair.sending.tick(1, PACE);
        pair.lead();
    }
    assert_eq!(pair.written, pair.content);
    assert_eq!(sent, pair.content.len(), "each byte once");
}

/// A follower that has lost what it had says so twice, and is sent all of it.
#[test]
fn a_follower_that_begins_anew_is_sent_all_of_it() {
    let mut sending = sending(file(100), 2);
    assert!(sending.offer(EVERY).is_some());
    sending.on_ready(0, 0, EVERY);
    assert!(sending.on_piece(0, Bytes::from(vec![0; 10])).is_some());
    assert!(!sending.on_have(10, EVERY));
    assert_eq!(sending.wants_piece(PIECE, WINDOW, PACE), Some(10));
    // Once may be late.
    sending.on_ready(0, 10, EVERY);
    assert!(sending.on_piece(10, Bytes::from(vec![0; 10])).is_some());
    sending.on_ready(0, 20, EVERY);
    assert_eq!(sending.wants_piece(PIECE, WINDOW, PACE), Some(0));
}

/// Offers of which nothing comes become rarer.
#[test]
fn offers_without_an_answer_become_rarer() {
    let mut sending = sending(file(100), 2);
    let mut offers = Vec::new();
    for tick in 0..1000 {
        if sending.offer(EVERY).is_some() {
            offers.push(tick);
        }
        sending.tick(1, PACE);
    }
    assert_eq!(offers[..5], [0, 3, 9, 21, 45]);
    assert!(offers.len() < 16, "{offers:?}");
    assert!(sending.stuck_ticks() == 1000 && sending.silent_ticks() == 1000);
}

/// However fast the network and the disks are, no more is sent than the pace lets go, and not much less.
#[test]
fn the_pace_is_kept() {
    let mut pair = Pair::new(100 * PIECE as u64);
    pair.pace = 3 * PIECE as u64;
    let mut ticks = 0_u64;
    while !pair.done {
        // All that can be done without waiting.
        loop {
            pair.lead();
            pair.piece_read();
            let before = pair.to_follower.len() + pair.to_leader.len() + pair.disk.len();
            for message in std::mem::take(&mut pair.to_follower) {
                pair.hear(message);
            }
            while !pair.disk.is_empty() {
                pair.write();
            }
            for message in std::mem::take(&mut pair.to_leader) {
                pair.answer(&message);
            }
            if before == 0 && pair.read.is_none() {
                break;
            }
        }
        let sent = pair.written.len() as u64;
        assert!(
            sent <= (ticks + 1) * pair.pace + PIECE as u64,
            "{sent} in {ticks} ticks"
        );
        if !pair.done {
            assert_eq!(pair.sending.ticks_until_deadline(pair.pace), 1);
            pair.sending.tick(1, pair.pace);
            ticks += 1;
        }
    }
    assert!((30..=34).contains(&ticks), "{ticks}");
}
