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
use crate::node::snapshot::work::Written;
use crate::node::snapshot::worker::{Answer, Lane, Task, Worker};
use crate::wire;

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
                let line = if message.is_bulk() {
                    self.open_bulk(host, to);
                    Line::bulk(to)
                } else {
                    Line::ordinary(to)
                };
                let body = wire::encode_transfer(&message, wire::PROTOCOL_MAX);
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
        process.inbox.own.extend(answer.map(Own::Snapshot));
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

    /// What a thread has answered comes to the loop.
    pub(super) fn feed_snapshots(&mut self, host: usize, answer: Answer<Machine<A>>) -> Checked {
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        let mut restored = None;
        match &answer {
            Answer::Taken {
                finished: Ok(_), ..
            } => self.marks.hit(Mark::SnapshotTaken),
            Answer::Restored { last, machine } => restored = Some((*last, machine.state_hash())),
            _ => {}
        }
        if let Err(why) = answer.reach(&mut process.replica, &mut process.snapshots.shelf) {
            return self.fails(host, &why);
        }
        if let Some((last, hash)) = restored {
            self.hit(Mark::SnapshotInstalled);
            self.note(Some(host), Happening::Installed { last });
            self.checks.on_restored(host, last, hash)?;
        }
        Ok(())
    }
}

/// Why a thread could not do what it was to do, as long as the node goes on without it.
fn failure<S>(answer: &Answer<S>) -> Option<&str> {
    match answer {
        Answer::Taken {
            finished: Err(why), ..
        }
        | Answer::Read {
            bytes: Err(why), ..
        }
        | Answer::Written {
            written: Written::Failed(why),
            ..
        } => Some(why),
        _ => None,
    }
}
