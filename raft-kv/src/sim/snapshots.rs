//! A node's snapshots at work: written, read for others, taken in and read back beside the loop, as the node's threads do it. Each of the
//! three has its own queue and takes its time; what they do is the node's own code.

use std::collections::VecDeque;
use std::time::Duration;

use raft_log::Log;
use raft_log::sim_disk::SimDisk;

use super::app::{App, Machine};
use super::marks::Mark;
use super::net::Line;
use super::storage::lost_power;
use super::trace::Happening;
use super::world::{Checked, Event, World};
use crate::node::StateMachine;
use crate::node::inbox::Own;
use crate::node::replica::SnapshotAction;
use crate::node::snapshot::shelf::Shelf;
use crate::node::snapshot::work::{self, Written};
use crate::node::snapshot::worker::{Lane, Task, Worker};
use crate::wire::{self, Transfer};

/// A process's snapshots.
pub(super) struct Snapshots<S> {
    pub(super) shelf: Shelf,
    worker: Worker<SimDisk>,
    lanes: [VecDeque<Task<S>>; 3],
}

impl<S> Snapshots<S> {
    pub(super) fn new(log: &Log<SimDisk>) -> Self {
        Self {
            shelf: Shelf::default(),
            worker: Worker::new(log.snapshots()),
            lanes: [VecDeque::new(), VecDeque::new(), VecDeque::new()],
        }
    }
}

impl<A: App> World<A> {
    pub(super) fn on_snapshot_action(&mut self, host: usize, action: SnapshotAction) {
        match action {
            SnapshotAction::Do(job) => self.employ(host, Task::Do(job)),
            SnapshotAction::Restore { file } => {
                if let Some(process) = &self.hosts[host].process {
                    let machine = process.replica.machine().empty();
                    self.employ(host, Task::Restore { file, machine });
                }
            }
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
            SnapshotAction::Sent { to } => self.close_bulk(host, to),
        }
    }

    /// Gives a node's thread something to do.
    fn employ(&mut self, host: usize, task: Task<Machine<A>>) {
        let lane = task.lane();
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let queue = &mut process.snapshots.lanes[lane as usize];
        queue.push_back(task);
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
        let Some(task) = snapshots.lanes[lane as usize].pop_front() else {
            return Ok(());
        };
        let more = !snapshots.lanes[lane as usize].is_empty();
        let answer = snapshots.worker.run(task, &|| false);
        let power_lost = answer.as_ref().and_then(failure).is_some_and(lost_power);
        process.inbox.own.extend(answer);
        self.plan_round(host);
        if more {
            self.plan_work(host, lane);
        }
        // The power went while the thread was at it.
        if power_lost {
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
                let file = file.ok();
                if let Ok(finished) = finished {
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
            } => process.replica.snapshot_read(to, file, offset, bytes.ok()),
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

/// Why a thread could not do what it was to do, as long as the node goes on without it.
fn failure<S>(answer: &Own<S>) -> Option<&str> {
    match answer {
        Own::SnapshotTaken {
            finished: Err(why), ..
        }
        | Own::SnapshotRead {
            bytes: Err(why), ..
        }
        | Own::SnapshotWritten {
            written: Written::Failed(why),
            ..
        } => Some(why),
        _ => None,
    }
}
