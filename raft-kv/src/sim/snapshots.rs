//! A node's snapshots at work: written, read for others, taken in and read back beside the loop, as the node's threads do it. Each of the
//! three has its own queue and takes its time; what they do is the node's own code.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{ClusterId, NodeId};
use raft_log::Log;
use raft_log::sim_disk::SimDisk;

use super::app::{App, Machine};
use super::marks::Mark;
use super::net::Line;
use super::storage::lost_power;
use super::trace::Happening;
use super::world::{Checked, Event, World};
use crate::node::inbox::Own;
use crate::node::replica::SnapshotAction;
use crate::node::snapshot::shelf::Shelf;
use crate::node::snapshot::work::{self, Receiver, Sender, Written};
use crate::node::{Image, StateMachine};
use crate::wire::{self, SnapshotFile, SnapshotHead, Transfer};

/// One of the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Take,
    Send,
    Receive,
}

/// What one of them is to do.
pub(super) enum Work<S> {
    Take(Box<SnapshotHead>, Image),
    Read {
        to: NodeId,
        file: SnapshotFile,
        offset: u64,
        bytes_max: usize,
    },
    Close(SnapshotFile),
    Write {
        cluster: ClusterId,
        file: SnapshotFile,
        run: u64,
        offset: u64,
        bytes: Bytes,
    },
    Discard(SnapshotFile),
    Restore(SnapshotFile, S),
}

impl<S> Work<S> {
    fn lane(&self) -> Lane {
        match self {
            Self::Take(..) => Lane::Take,
            Self::Read { .. } | Self::Close(_) => Lane::Send,
            Self::Write { .. } | Self::Discard(_) | Self::Restore(..) => Lane::Receive,
        }
    }
}

/// A process's snapshots.
pub(super) struct Snapshots<S> {
    files: raft_log::Snapshots<SimDisk>,
    pub(super) shelf: Shelf,
    sender: Sender<SimDisk>,
    receiver: Receiver<SimDisk>,
    lanes: [VecDeque<Work<S>>; 3],
}

impl<S> Snapshots<S> {
    pub(super) fn new(log: &Log<SimDisk>) -> Self {
        Self {
            files: log.snapshots(),
            shelf: Shelf::default(),
            sender: Sender::new(log.snapshots()),
            receiver: Receiver::new(log.snapshots()),
            lanes: [VecDeque::new(), VecDeque::new(), VecDeque::new()],
        }
    }
}

impl<A: App> World<A> {
    pub(super) fn on_snapshot_action(&mut self, host: usize, action: SnapshotAction) {
        match action {
            SnapshotAction::Take { head, image } => {
                self.employ(host, Work::Take(Box::new(head), image));
            }
            SnapshotAction::Read {
                to,
                file,
                offset,
                bytes_max,
            } => self.employ(
                host,
                Work::Read {
                    to,
                    file,
                    offset,
                    bytes_max,
                },
            ),
            SnapshotAction::Send { to, message } => {
                let brings = matches!(message, Transfer::Offer { .. } | Transfer::Chunk { .. });
                let line = if brings {
                    self.open_bulk(host, to);
                    Line::bulk(to)
                } else {
                    Line::ordinary(to)
                };
                let body = wire::encode_transfer(&message);
                self.send_body(host, line, (wire::kind::TRANSFER, body));
            }
            SnapshotAction::Sent { to, file, close } => {
                self.close_bulk(host, to);
                if close {
                    self.employ(host, Work::Close(file));
                }
            }
            SnapshotAction::Write {
                cluster,
                file,
                run,
                offset,
                bytes,
            } => self.employ(
                host,
                Work::Write {
                    cluster,
                    file,
                    run,
                    offset,
                    bytes,
                },
            ),
            SnapshotAction::Discard { file } => self.employ(host, Work::Discard(file)),
            SnapshotAction::Restore { file } => {
                if let Some(process) = &self.hosts[host].process {
                    let machine = process.replica.machine().empty();
                    self.employ(host, Work::Restore(file, machine));
                }
            }
        }
    }

    /// Gives a node's thread something to do.
    fn employ(&mut self, host: usize, work: Work<Machine<A>>) {
        let lane = work.lane();
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let queue = &mut process.snapshots.lanes[lane as usize];
        queue.push_back(work);
        if queue.len() == 1 {
            self.plan_work(host, lane);
        }
    }

    fn plan_work(&mut self, host: usize, lane: Lane) {
        let life = self.hosts[host].life;
        let pace = match lane {
            // All of the state, and several syncs.
            Lane::Take => 4,
            Lane::Send | Lane::Receive => 1,
        };
        let delay: Duration = self.disk_time(host) * pace;
        self.agenda.plan_in(delay, Event::Work { host, life, lane });
    }

    /// A node's thread does what is next.
    pub(super) fn work(&mut self, host: usize, life: u64, lane: Lane) -> Checked {
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        let snapshots = &mut process.snapshots;
        let Some(work) = snapshots.lanes[lane as usize].pop_front() else {
            return Ok(());
        };
        let more = !snapshots.lanes[lane as usize].is_empty();
        let mut failed = None;
        let answer = match work {
            Work::Take(head, image) => {
                let last = head.snapshot.last;
                let taken = work::take(&snapshots.files, &head, image, &|| false);
                let finished = taken.map_err(|why| failed = Some(why)).ok();
                Some(Own::SnapshotTaken { last, finished })
            }
            Work::Read {
                to,
                file,
                offset,
                bytes_max,
            } => {
                let read = snapshots.sender.read(file, offset, bytes_max);
                let bytes = read.map_err(|why| failed = Some(why.to_string())).ok();
                Some(Own::SnapshotRead {
                    to,
                    file,
                    offset,
                    bytes,
                })
            }
            Work::Close(file) => {
                snapshots.sender.close(file);
                None
            }
            Work::Write {
                cluster,
                file,
                run,
                offset,
                bytes,
            } => {
                let written = snapshots.receiver.write(cluster, file, offset, &bytes);
                if let Written::Failed(why) = &written {
                    failed = Some(why.clone());
                }
                Some(Own::SnapshotWritten { file, run, written })
            }
            Work::Discard(file) => {
                snapshots.receiver.discard(file);
                None
            }
            Work::Restore(file, mut machine) => {
                let last = file.last;
                match work::restore(&snapshots.files, file, &mut machine, &|| false) {
                    Ok(()) => Some(Own::SnapshotRestored { last, machine }),
                    Err(why) => Some(Own::SnapshotFailed(why.to_string())),
                }
            }
        };
        process.inbox.own.extend(answer);
        self.plan_round(host);
        if more {
            self.plan_work(host, lane);
        }
        // The power went while the thread was at it.
        if failed.is_some_and(|why| lost_power(&why)) {
            self.hit(Mark::CrashInSnapshot);
            self.power_off(host);
        }
        Ok(())
    }

    /// What the threads have answered comes to the loop.
    pub(super) fn feed_snapshots(&mut self, host: usize, own: Own<Machine<A>>) -> Checked {
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        match own {
            Own::SnapshotTaken { last, finished } => {
                let file = finished.as_ref().map(|finished| work::file(finished.id()));
                if let Some(finished) = finished {
                    process.snapshots.shelf.taken(last, finished);
                    self.marks.hit(Mark::SnapshotTaken);
                }
                process.replica.snapshot_taken(last, file);
            }
            Own::SnapshotRead {
                to,
                file,
                offset,
                bytes,
            } => process.replica.snapshot_read(to, file, offset, bytes),
            Own::SnapshotWritten { file, run, written } => match written {
                Written::Part(received) => process.replica.snapshot_written(run, received),
                Written::Whole(head, finished) => {
                    process.snapshots.shelf.received(file.last, finished);
                    process.replica.snapshot_received(run, Some(*head));
                }
                Written::Failed(_) => process.replica.snapshot_received(run, None),
            },
            Own::SnapshotRestored { last, machine } => {
                let hash = machine.state_hash();
                drop(process.replica.snapshot_restored(last, machine));
                self.hit(Mark::SnapshotInstalled);
                self.note(Some(host), Happening::Installed { last });
                self.checks.on_restored(host, last, hash)?;
            }
            Own::SnapshotFailed(why) => return self.fails(host, &why),
            _ => {}
        }
        Ok(())
    }
}
