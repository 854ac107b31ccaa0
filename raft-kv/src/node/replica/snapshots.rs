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
use super::{Action, Fatal, Phase, Replica, SnapshotAction, WriteFailure};
use crate::mutants::{Mutant, mutant};
use crate::node::StateMachine;
use crate::wire::{SnapshotFile, SnapshotHead, Transfer};

/// How many snapshots are remembered: the newest that is marked, the next one, and one that is being taken beside a received one.
const FILES_MAX: usize = 3;

/// What this node has of snapshots, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Those that the log has marked, or will, by their ends.
    files: BTreeMap<Index, SnapshotFile>,
    /// One that was received whole, until the core asks for it to be marked.
    held: Option<(SnapshotFile, SnapshotHead)>,
    sending: BTreeMap<NodeId, Sending>,
    receiving: Option<Receiving>,
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
        self.order(SnapshotAction::Take { head, image });
    }

    /// The snapshot that ends here is durable, in this file; or could not be made.
    pub fn snapshot_taken(&mut self, last: LogId, file: Option<SnapshotFile>) {
        if let Some(file) = file {
            self.snapshots.files.insert(last.index, file);
        }
        if let Some(core) = self.core() {
            let answer = core.snapshot_taken(last, file.is_some());
            self.must(answer);
        }
    }

    // ---- installing ----

    /// A snapshot is marked in the log from now on. One that came from elsewhere tells a node that joined of its cluster's beginning.
    pub(super) fn on_mark(&mut self, snapshot: &Snapshot) {
        if let Some((file, head)) = self
            .snapshots
            .held
            .take_if(|(_, head)| head.snapshot == *snapshot)
        {
            self.snapshots.files.insert(file.last.index, file);
            if let Phase::Formed(member) = &mut self.phase {
                member.founding.get_or_insert(head.founding);
            }
        }
        // The one before is sent until the newest one's mark is durable.
        while self.snapshots.files.len() > FILES_MAX {
            self.snapshots.files.pop_first();
        }
    }

    /// The state gives way to a snapshot's.
    pub(super) fn on_install_snapshot(&mut self, snapshot: &Snapshot) {
        match self.snapshots.file(snapshot.last) {
            Some(file) => self.order(SnapshotAction::Restore { file }),
            None => self.halt(Fatal::NoFile(snapshot.last)),
        }
    }

    /// `machine` holds the state of this snapshot. It takes the place of the one before.
    pub fn snapshot_restored(&mut self, last: LogId, machine: S) {
        if self.core().is_none() {
            return;
        }
        if !mutant(Mutant::KeepsStateOnInstall) {
            self.machine = machine;
        }
        self.applied = last.index;
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
        self.end_sending(to, false);
        if mutant(Mutant::TrustsSnapshotRequests) {
            self.actions.push_back(Action::Send(envelope.clone()));
        }
        self.snapshots
            .sending
            .insert(to, Sending::new(envelope, file));
        // So that it is open before a newer one takes its place; and it is wanted from the beginning, most often.
        self.order(SnapshotAction::Read {
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
        let (piece, window) = (
            self.config.snapshot_piece_bytes,
            self.config.snapshot_window_bytes,
        );
        let Some(sending) = self.snapshots.sending.get_mut(&to) else {
            return;
        };
        let file = sending.file;
        let offer = sending.offer(every);
        let wanted = sending.wants_piece(piece, window);
        if let Some(message) = offer {
            self.order(SnapshotAction::Send { to, message });
        }
        if let Some(offset) = wanted {
            self.order(SnapshotAction::Read {
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
            return self.end_sending(to, false);
        };
        if let Some(message) = sending.on_piece(offset, bytes) {
            self.order(SnapshotAction::Send { to, message });
        }
        self.send_on(to);
    }

    /// A transfer is over; the core's request follows the file.
    fn end_sending(&mut self, to: NodeId, sent: bool) {
        let Some(sending) = self.snapshots.sending.remove(&to) else {
            return;
        };
        let file = sending.file;
        let mut others = self.snapshots.sending.values();
        let close = others.all(|other| other.file != file);
        self.order(SnapshotAction::Sent { to, file, close });
        let Message::SnapshotRequest { id, .. } = sending.envelope.message else {
            return;
        };
        if sent {
            self.actions.push_back(Action::Send(sending.envelope));
        }
        if let Some(core) = self.core() {
            core.snapshot_sent(id, sent);
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
            Transfer::Offer { file, term: theirs } if theirs >= term => {
                let answer = if file.last.index <= commit || self.snapshots.has(file) {
                    let received = file.bytes;
                    Some(Transfer::Have { file, received })
                } else {
                    self.offered(to, file, theirs)
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
            Transfer::Want { file, from } => {
                let every = self.offer_ticks();
                if let Some(sending) = self.sending(to, file) {
                    sending.on_want(from, every);
                    self.send_on(to);
                }
            }
            Transfer::Have { file, received } => {
                let every = self.offer_ticks();
                if let Some(sending) = self.sending(to, file) {
                    if sending.on_have(received, every) {
                        self.end_sending(to, true);
                    } else {
                        self.send_on(to);
                    }
                }
            }
            Transfer::Refused { file } => {
                if self.sending(to, file).is_some() {
                    self.end_sending(to, false);
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
    ) -> Option<Transfer> {
        if let Some(receiving) = &mut self.snapshots.receiving {
            if receiving.file == file {
                return Some(receiving.on_offer(from, term));
            }
            if !receiving.yields_to(term) {
                return None;
            }
        }
        self.end_receiving();
        let receiving = Receiving::new(file, from, term);
        self.snapshots.receiving = Some(receiving);
        Some(Transfer::Want { file, from: 0 })
    }

    fn on_piece(&mut self, from: NodeId, file: SnapshotFile, offset: u64, bytes: Bytes) {
        let window = self.config.snapshot_window_bytes;
        let Some(receiving) = &mut self.snapshots.receiving else {
            return;
        };
        if receiving.file != file {
            return;
        }
        match receiving.on_piece(from, offset, bytes.len(), window) {
            Taken::Write => self.order(SnapshotAction::Write {
                file,
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

    /// So much of the file is written.
    pub fn snapshot_written(&mut self, file: SnapshotFile, received: u64) {
        let Some(receiving) = &mut self.snapshots.receiving else {
            return;
        };
        if receiving.file != file {
            return;
        }
        receiving.on_written(received);
        let to = receiving.from;
        let message = Transfer::Have { file, received };
        self.order(SnapshotAction::Send { to, message });
    }

    /// All of the file is here, durable, and says this of itself. None: it could not be written, or is not what was announced; nothing is
    /// left of it.
    pub fn snapshot_received(&mut self, file: SnapshotFile, head: Option<SnapshotHead>) {
        let Some(receiving) = self
            .snapshots
            .receiving
            .take_if(|receiving| receiving.file == file)
        else {
            return;
        };
        let to = receiving.from;
        let ours = head.filter(|head| head.cluster == self.identity.cluster);
        let message = match ours {
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
            self.order(SnapshotAction::Discard { file });
        }
    }

    /// Whether the core may hear of this snapshot: its file is here, or nothing of it is needed.
    pub(super) fn may_install(&self, snapshot: &Snapshot) -> bool {
        let commit = self.raft().map(raft_core::Raft::commit);
        let held = self.snapshots.held.as_ref();
        mutant(Mutant::TrustsSnapshotRequests)
            || commit.is_some_and(|commit| snapshot.last.index <= commit)
            || held.is_some_and(|(_, head)| head.snapshot == *snapshot)
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
            sending.tick(elapsed_ticks);
            let over = !leads || sending.envelope.term < self.standing.term;
            if over || sending.silent_ticks() >= patience {
                self.end_sending(to, false);
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
        let offers = self
            .snapshots
            .sending
            .values()
            .map(Sending::ticks_until_offer);
        offers.min().unwrap_or(u32::MAX)
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
