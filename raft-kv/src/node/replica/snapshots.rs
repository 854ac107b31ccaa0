//! Snapshots, as the core orders them and as they come from others: who is sent which file, what of one that came is used, and when one
//! takes the place of the state.
//!
//! Guards: the core hears of a snapshot that was sent here only once its file is whole, durable, and says of itself just what the
//! leader says of it; tickets whose entries a snapshot covers are answered; nothing is applied between the order to install one and
//! the state that it brings.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::{Envelope, Index, LogId, MemberId, Message, NodeId, RoleName, Snapshot};

use super::transfer::{Receiving, Sending, Taken};
use super::{Action, Fatal, Notice, Phase, Replica, SnapshotAction, SnapshotJob, WriteFailure};
use crate::mutants::{Mutant, mutant};
use crate::node::StateMachine;
use crate::wire::{SnapshotFile, SnapshotHead, Transfer};

/// How many snapshots are remembered: the newest that is marked, the next one, and one that is being taken beside a received one.
const FILES_MAX: usize = 3;

/// How many times as long as a follower may be silent it may say that it lives and get no further: it syncs all of a large file, say.
const STUCK_MAX: u32 = 15;

/// How long a follower that a snapshot was sent to in vain is left alone at most, in election timeouts.
const IN_VAIN_MAX: u32 = 8;

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The follower has all of it.
    Whole,
    /// It came to nothing, and would again.
    InVain(&'static str),
    /// The follower is away, or hangs.
    Unheard(&'static str),
    /// It is not wanted any more.
    Replaced,
}

/// What this node has of snapshots, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Those that the log has marked, or will, by their ends.
    files: BTreeMap<Index, SnapshotFile>,
    /// The last one that was received whole.
    held: Option<(SnapshotFile, SnapshotHead)>,
    sending: BTreeMap<NodeId, Sending>,
    /// How long a follower is left alone that was sent one in vain, in ticks; twice as long each time.
    in_vain: BTreeMap<NodeId, u32>,
    receiving: Option<Receiving>,
    /// The last one that was read whole after it had been sent in vain.
    verified: Option<SnapshotFile>,
    /// How many files were begun to be received.
    runs: u64,
}

impl Snapshots {
    /// With the one that the log has marked.
    pub(super) fn new(found: Option<SnapshotFile>) -> Self {
        Self {
            files: found
                .into_iter()
                .map(|file| (file.last.index, file))
                .collect(),
            ..Self::default()
        }
    }

    fn file(&self, last: LogId) -> Option<SnapshotFile> {
        let file = self.files.get(&last.index).copied();
        file.filter(|file| file.last == last)
    }

    /// It is here, and the log marks it, or may.
    fn remember(&mut self, file: SnapshotFile) {
        self.files.insert(file.last.index, file);
        // The one before is sent until the newest one's mark is durable.
        while self.files.len() > FILES_MAX {
            self.files.pop_first();
        }
    }

    /// Whether this very file is here.
    fn has(&self, file: SnapshotFile) -> bool {
        let held = self.held.as_ref().map(|(held, _)| *held);
        self.files.get(&file.last.index) == Some(&file) || held == Some(file)
    }
}

impl<S: StateMachine, W, R> Replica<S, W, R> {
    // ---- taking ----

    /// The core wants a snapshot of the state as it is now.
    pub(super) fn on_take_snapshot(&mut self, snapshot: Snapshot) {
        assert!(
            snapshot.last.index == self.applied,
            "a snapshot of {} was asked for when {} was applied",
            snapshot.last,
            self.applied
        );
        let Phase::Formed(member) = &mut self.phase else {
            return;
        };
        let Some(founding) = member.founding.clone() else {
            let answer = member.core.snapshot_taken(snapshot.last, false);
            return self.must(answer);
        };
        let head = SnapshotHead {
            cluster: self.identity.cluster,
            founding,
            snapshot,
        };
        let image = self.machine.image();
        self.employ(SnapshotJob::Take {
            head: Box::new(head),
            image,
        });
    }

    /// The snapshot that ends here is durable, in this file; or could not be made.
    pub fn snapshot_taken(&mut self, last: LogId, file: Option<SnapshotFile>) {
        if let Some(file) = file {
            if self.snapshots.has(file) {
                // It takes the place of one that is damaged, which may still be open.
                self.snapshots.verified = None;
                self.employ(SnapshotJob::Close { file });
            }
            self.snapshots.remember(file);
        }
        if self.is_founding() {
            return self.founding_written(last, file.is_some());
        }
        if let Some(core) = self.core() {
            let answer = core.snapshot_taken(last, file.is_some());
            self.must(answer);
        }
    }

    /// A snapshot's file was read whole: it is sound, or it is not what it was any more.
    pub fn snapshot_verified(&mut self, file: SnapshotFile, sound: bool) {
        if !sound && let Some(core) = self.core() {
            core.snapshot_damaged(file.last);
        }
    }

    // ---- installing ----

    /// Whether the core may hear of this snapshot: its file is here, or nothing of it is needed. What was received is taken over then, and
    /// tells a node that joined of its cluster's beginning.
    pub(super) fn takes_in(&mut self, snapshot: &Snapshot) -> bool {
        let commit = self.raft().map(raft_core::Raft::commit);
        if commit.is_some_and(|commit| snapshot.last.index <= commit)
            || mutant(Mutant::TrustsSnapshotRequests)
        {
            return true;
        }
        let held = self.snapshots.held.as_ref();
        let Some((file, head)) = held.filter(|(_, head)| head.snapshot == *snapshot) else {
            return false;
        };
        let file = *file;
        if let Phase::Formed(member) = &mut self.phase {
            member.founding.get_or_insert_with(|| head.founding.clone());
        }
        self.snapshots.remember(file);
        true
    }

    /// The state gives way to a snapshot's.
    pub(super) fn on_install_snapshot(&mut self, snapshot: &Snapshot) {
        match self.snapshots.file(snapshot.last) {
            Some(file) => self.order(SnapshotAction::Restore { file }),
            None => self.halt(Fatal::NoFile(snapshot.last)),
        }
    }

    /// `machine` holds the state of this snapshot. It takes the place of the one before, which is given back: to be dropped where that may
    /// take its time.
    #[must_use = "a large state takes long to be dropped"]
    pub fn snapshot_restored(&mut self, last: LogId, machine: S) -> S {
        if self.core().is_none() {
            return machine;
        }
        let before = if mutant(Mutant::KeepsStateOnInstall) {
            machine
        } else {
            std::mem::replace(&mut self.machine, machine)
        };
        (self.applied, self.applied_term) = (last.index, last.term);
        for ticket in self.writes.covered(last.index) {
            let why = WriteFailure::Unknown;
            self.actions.push_back(Action::WriteFailed { ticket, why });
        }
        for ticket in self.reads.applied(self.applied) {
            self.actions.push_back(Action::ReadReady(ticket));
        }
        if let Some(core) = self.core() {
            let answer = core.snapshot_installed(last);
            self.must(answer);
        }
        before
    }

    // ---- sending ----

    /// The core wants a follower to have the newest snapshot, and then this envelope.
    pub(super) fn on_send_snapshot(&mut self, envelope: Envelope) {
        let to = envelope.to.node;
        let Message::SnapshotRequest { id, snapshot } = &envelope.message else {
            return;
        };
        let (id, last) = (*id, snapshot.last);
        let Some(file) = self.snapshots.file(last) else {
            if let Some(core) = self.core() {
                core.snapshot_sent(id, false);
            }
            return;
        };
        self.end_sending(to, Ended::Replaced);
        if mutant(Mutant::TrustsSnapshotRequests) {
            self.actions.push_back(Action::Send(envelope.clone()));
        }
        let delay = self.snapshots.in_vain.get(&to).copied().unwrap_or(0);
        let sending = Sending::new(envelope, file, delay, self.offer_ticks());
        self.snapshots.sending.insert(to, sending);
        // So that it is open before a newer one takes its place; and it is wanted from the beginning, most often.
        self.employ(SnapshotJob::Read {
            to,
            file,
            offset: 0,
            bytes_max: self.config.snapshot_piece_bytes,
        });
        self.send_on(to);
    }

    /// Offers what is to be offered, and reads what there is room for.
    fn send_on(&mut self, to: NodeId) {
        let every = self.offer_ticks();
        let (piece, window, pace) = (
            self.config.snapshot_piece_bytes,
            self.config.snapshot_window_bytes,
            self.config.snapshot_bytes_per_tick,
        );
        let Some(sending) = self.snapshots.sending.get_mut(&to) else {
            return;
        };
        let file = sending.file;
        let offer = sending.offer(every);
        let wanted = sending.wants_piece(piece, window, pace);
        if let Some(message) = offer {
            self.order(SnapshotAction::Send { to, message });
        }
        if let Some(offset) = wanted {
            self.employ(SnapshotJob::Read {
                to,
                file,
                offset,
                bytes_max: piece,
            });
        }
    }

    /// A piece of a file for this follower was read; none: it cannot be.
    pub fn snapshot_read(
        &mut self,
        to: NodeId,
        file: SnapshotFile,
        offset: u64,
        bytes: Option<Bytes>,
    ) {
        let Some(sending) = self.snapshots.sending.get_mut(&to) else {
            return;
        };
        if sending.file != file {
            return;
        }
        let Some(bytes) = bytes else {
            return self.end_sending(to, Ended::InVain("the file cannot be read here"));
        };
        if let Some(message) = sending.on_piece(offset, bytes) {
            self.order(SnapshotAction::Send { to, message });
        }
        self.send_on(to);
    }

    /// A transfer is over; the core's request follows the file.
    fn end_sending(&mut self, to: NodeId, how: Ended) {
        let Some(sending) = self.snapshots.sending.remove(&to) else {
            return;
        };
        let (file, member) = (sending.file, sending.envelope.to);
        let mut others = self.snapshots.sending.values();
        let unused = others.all(|other| other.file != file);
        self.order(SnapshotAction::Sent { to });
        if unused {
            self.employ(SnapshotJob::Close { file });
        }
        let Message::SnapshotRequest { id, .. } = sending.envelope.message else {
            return;
        };
        match how {
            Ended::Whole => {
                self.snapshots.in_vain.remove(&to);
                self.actions.push_back(Action::Send(sending.envelope));
            }
            // Lest it be sent all of it again and again, for nothing.
            Ended::InVain(why) => {
                let timeout = self.config.core.election_timeout_ticks;
                let wait = self.snapshots.in_vain.entry(to).or_insert(timeout / 4);
                *wait = wait
                    .saturating_mul(2)
                    .min(timeout.saturating_mul(IN_VAIN_MAX));
                let notice = Notice::SnapshotNotSent { to: member, why };
                self.actions.push_back(Action::Notice(notice));
                // The follower verifies what it is sent: what it refuses may have come to harm here. Looked into once, for it may just as
                // well have no room.
                if self.snapshots.verified.replace(file) != Some(file) {
                    self.employ(SnapshotJob::Verify { file });
                }
            }
            Ended::Unheard(why) => {
                let notice = Notice::SnapshotNotSent { to: member, why };
                self.actions.push_back(Action::Notice(notice));
            }
            Ended::Replaced => {}
        }
        if let Some(core) = self.core() {
            core.snapshot_sent(id, how == Ended::Whole);
        }
    }

    /// How often an offer is repeated of which nothing comes.
    fn offer_ticks(&self) -> u32 {
        2 * self.config.core.heartbeat_ticks
    }

    // ---- receiving ----

    /// Another node's word about a snapshot's file. `from` is who the connection's handshake named.
    pub fn receive_transfer(&mut self, from: MemberId, message: Transfer) {
        let Some(core) = self.core() else { return };
        let (commit, term) = (core.commit(), core.term());
        let to = from.node;
        match message {
            Transfer::Offer {
                file,
                term: theirs,
                sent,
            } if theirs >= term => {
                let answer = if file.last.index <= commit || self.snapshots.has(file) {
                    let received = file.bytes;
                    Some(Transfer::Have { file, received })
                } else {
                    self.offered(to, file, theirs, sent)
                };
                if let Some(message) = answer {
                    self.order(SnapshotAction::Send { to, message });
                }
            }
            // A deposed leader's.
            Transfer::Offer { .. } => {}
            Transfer::Chunk {
                file,
                offset,
                bytes,
            } => self.on_piece(to, file, offset, bytes),
            Transfer::Ready { file, from, sent } => {
                let every = self.offer_ticks();
                if let Some(sending) = self.sending(to, file) {
                    sending.on_ready(from, sent, every);
                    self.send_on(to);
                }
            }
            Transfer::Want { file, from } => {
                if let Some(sending) = self.sending(to, file) {
                    sending.on_want(from);
                    self.send_on(to);
                }
            }
            Transfer::Have { file, received } => {
                let every = self.offer_ticks();
                if let Some(sending) = self.sending(to, file) {
                    if sending.on_have(received, every) {
                        self.end_sending(to, Ended::Whole);
                    } else {
                        self.send_on(to);
                    }
                }
            }
            Transfer::Refused { file } => {
                if self.sending(to, file).is_some() {
                    self.end_sending(to, Ended::InVain("the follower could not take it"));
                }
            }
        }
    }

    fn sending(&mut self, to: NodeId, file: SnapshotFile) -> Option<&mut Sending> {
        let sending = self.snapshots.sending.get_mut(&to)?;
        (sending.file == file).then_some(sending)
    }

    /// A file is offered that this node needs; what to answer.
    fn offered(
        &mut self,
        from: NodeId,
        file: SnapshotFile,
        term: raft_core::Term,
        sent: u64,
    ) -> Option<Transfer> {
        if let Some(receiving) = &mut self.snapshots.receiving {
            if receiving.file == file {
                return Some(receiving.on_offer(from, term, sent));
            }
            if !receiving.yields_to(term) {
                return None;
            }
        }
        self.end_receiving();
        self.snapshots.runs += 1;
        let mut receiving = Receiving::new(file, self.snapshots.runs, from, term);
        let answer = receiving.on_offer(from, term, sent);
        self.snapshots.receiving = Some(receiving);
        Some(answer)
    }

    fn on_piece(&mut self, from: NodeId, file: SnapshotFile, offset: u64, bytes: Bytes) {
        let window = self.config.snapshot_window_bytes;
        let Some(receiving) = &mut self.snapshots.receiving else {
            return;
        };
        if receiving.file != file {
            return;
        }
        let (run, cluster) = (receiving.run, self.identity.cluster);
        match receiving.on_piece(from, offset, bytes.len(), window) {
            Taken::Write => self.employ(SnapshotJob::Write {
                cluster,
                file,
                run,
                offset,
                bytes,
            }),
            Taken::Tell(wanted) => {
                let message = Transfer::Want { file, from: wanted };
                self.order(SnapshotAction::Send { to: from, message });
            }
            Taken::Drop => {}
        }
    }

    /// So much of the file is written, as the order with this number had it.
    pub fn snapshot_written(&mut self, run: u64, received: u64) {
        let Some(receiving) = &mut self.snapshots.receiving else {
            return;
        };
        if receiving.run != run {
            return;
        }
        let file = receiving.file;
        receiving.on_written(received);
        let to = receiving.from;
        let message = Transfer::Have { file, received };
        self.order(SnapshotAction::Send { to, message });
    }

    /// All of the file is here, durable, and says this of itself, which is of this cluster. None: it could not be written, or is not what was
    /// announced; nothing is left of it.
    pub fn snapshot_received(&mut self, run: u64, head: Option<SnapshotHead>) {
        let Some(receiving) = self
            .snapshots
            .receiving
            .take_if(|receiving| receiving.run == run)
        else {
            return;
        };
        let (to, file) = (receiving.from, receiving.file);
        let message = match head {
            Some(head) => {
                self.snapshots.held = Some((file, head));
                let received = file.bytes;
                Transfer::Have { file, received }
            }
            None => Transfer::Refused { file },
        };
        self.order(SnapshotAction::Send { to, message });
    }

    fn end_receiving(&mut self) {
        if let Some(receiving) = self.snapshots.receiving.take() {
            let file = receiving.file;
            self.employ(SnapshotJob::Discard { file });
        }
    }

    // ---- time ----

    /// Time has passed: offers are repeated, and what nobody goes on with ends.
    pub(super) fn tick_transfers(&mut self, elapsed_ticks: u32) {
        let patience = 4 * self.config.core.election_timeout_ticks;
        let leads = self.standing.role == RoleName::Leader;
        let peers: Vec<NodeId> = self.snapshots.sending.keys().copied().collect();
        for to in peers {
            let Some(sending) = self.snapshots.sending.get_mut(&to) else {
                continue;
            };
            sending.tick(elapsed_ticks, self.config.snapshot_bytes_per_tick);
            if !leads || sending.envelope.term < self.standing.term {
                self.end_sending(to, Ended::Replaced);
            } else if sending.silent_ticks() >= patience {
                self.end_sending(to, Ended::Unheard("the follower does not answer"));
            } else if sending.stuck_ticks() >= STUCK_MAX * patience {
                self.end_sending(
                    to,
                    Ended::Unheard("the follower lives, and gets no further"),
                );
            } else {
                self.send_on(to);
            }
        }
        let commit = self.raft().map_or(Index::ZERO, raft_core::Raft::commit);
        if let Some(receiving) = &mut self.snapshots.receiving {
            let idle = receiving.tick(elapsed_ticks);
            if idle >= 2 * patience || receiving.file.last.index <= commit {
                self.end_receiving();
            }
        }
    }

    /// Ticks until a transfer has something to do.
    pub(super) fn ticks_until_transfer(&self) -> u32 {
        let pace = self.config.snapshot_bytes_per_tick;
        let sending = self.snapshots.sending.values();
        let deadlines = sending.map(|sending| sending.ticks_until_deadline(pace));
        deadlines.min().unwrap_or(u32::MAX)
    }

    pub(super) fn employ(&mut self, job: SnapshotJob) {
        self.order(SnapshotAction::Do(job));
    }

    fn order(&mut self, action: SnapshotAction) {
        self.actions.push_back(Action::Snapshot(action));
    }

    /// The driver has answered what the core had asked, or it is broken.
    pub(super) fn must(&mut self, answer: Result<(), raft_core::AnswerError>) {
        if let Err(error) = answer {
            self.halt(Fatal::Answer(error));
        }
    }
}
