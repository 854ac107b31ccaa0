//! A node's disk at work: what its loop orders is written in groups, synced and answered, as the log's writer thread does it.

use std::time::Duration;

use raft_core::{FetchJob, Index, JobId, MemberId};
use raft_log::writer::OwnedBatch;
use raft_log::{Batch, Space, WriteError};

use super::app::App;
use super::marks::Mark;
use super::random::between;
use super::trace::Happening;
use super::world::{Checked, Event, World};
use crate::node::disk;
use crate::node::inbox::Own;

/// How many jobs one write to the log covers at most.
const GROUP_MAX: usize = 64;
/// How long the log rests before its end is written down, as the writer's thread has it.
const REST: Duration = Duration::from_millis(50);
/// How often a full disk is tried again.
const RETRY_FULL: Duration = Duration::from_millis(500);

impl<A: App> World<A> {
    /// How long the disk takes for what it is given now.
    pub(super) fn disk_time(&mut self, host: usize) -> Duration {
        let (least, most) = self.setup.tuning.write;
        let machine = &self.hosts[host];
        let wait = machine.stalled_until.saturating_sub(self.agenda.now());
        wait + between(&mut self.chance.disk, least, most) * machine.slow
    }

    /// Gives the disk what waits, if it is free: all of it is one write.
    pub(super) fn begin_write(&mut self, host: usize) {
        let life = self.hosts[host].life;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        if process.writing > 0 || process.jobs.is_empty() || process.full {
            return;
        }
        process.writing = process.jobs.len().min(GROUP_MAX);
        let delay = self.disk_time(host);
        self.agenda.plan_in(delay, Event::Commit { host, life });
    }

    /// The disk writes and syncs. What it was given is on it now, or the power has gone, or it has failed.
    pub(super) fn commit(&mut self, host: usize, life: u64) -> Checked {
        let now = self.now();
        let stalled = self.hosts[host].stalled_until;
        if self.process(host, life).is_some() && stalled > now {
            self.agenda.plan(stalled, Event::Commit { host, life });
            return Ok(());
        }
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        let member = process.replica.identity().member;
        let units: Vec<OwnedBatch> = process.jobs.drain(..process.writing).collect();
        process.writing = 0;
        let Some(last) = units.last().map(|unit| unit.job) else {
            return Ok(());
        };
        if units.len() > 1 {
            self.hit(Mark::GroupCommit);
        }
        match self.write(host, &units) {
            Some(Ok(())) => self.written(host, member, last),
            Some(Err(WriteError::Full { .. })) => {
                self.no_room(host, units);
                Ok(())
            }
            Some(Err(error)) => self.write_failed(host, &error.to_string()),
            None => Ok(()),
        }
    }

    /// One write and one sync of all of these.
    fn write(&mut self, host: usize, units: &[OwnedBatch]) -> Option<Result<(), WriteError>> {
        let process = self.hosts[host].process.as_mut()?;
        let mut batch = Batch::new();
        for unit in units {
            unit.add_to(&mut batch);
        }
        if units.iter().all(|unit| unit.records.is_empty()) {
            batch.use_reserve();
        }
        Some(process.log.commit(&batch))
    }

    /// Jobs up to this one are on the disk.
    fn written(&mut self, host: usize, member: MemberId, job: u64) -> Checked {
        let life = self.hosts[host].life;
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        process.commits += 1;
        let commits = process.commits;
        let full = process.log.space() == Space::Full;
        let changed = full != process.full;
        process.full = false;
        let rotations = process.reader.counters().rotations;
        let turned = std::mem::replace(&mut process.rotations, rotations) != rotations;
        process.inbox.own.push(Own::Durable(JobId(job)));
        if changed {
            process.inbox.own.push(Own::Full(full));
        }
        if turned {
            self.hit(Mark::SegmentChanged);
        }
        self.checks.on_durable(host, member, job)?;
        self.note(Some(host), Happening::Durable { job });
        let rest = Event::Rest {
            host,
            life,
            commits,
        };
        self.agenda.plan_in(REST, rest);
        self.plan_round(host);
        self.begin_write(host);
        Ok(())
    }

    /// These wait until there is room.
    fn no_room(&mut self, host: usize, units: Vec<OwnedBatch>) {
        let life = self.hosts[host].life;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        for unit in units.into_iter().rev() {
            process.jobs.push_front(unit);
        }
        if !std::mem::replace(&mut process.full, true) {
            process.inbox.own.push(Own::Full(true));
        }
        let commits = process.commits;
        let retry = Event::Rest {
            host,
            life,
            commits,
        };
        self.agenda.plan_in(RETRY_FULL, retry);
        self.plan_round(host);
    }

    /// A write has failed: because the power went, or because the disk did.
    fn write_failed(&mut self, host: usize, why: &str) -> Checked {
        if lost_power(why) {
            self.hit(Mark::CrashInWrite);
            self.power_off(host);
            return Ok(());
        }
        self.fails(host, why)
    }

    /// The log lets go of what a snapshot stands in for.
    pub(super) fn purge(&mut self, host: usize, up_to: Index) -> Checked {
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        let before = process.log.first_index();
        if let Err(error) = process.log.purge(up_to.0) {
            return self.write_failed(host, &error.to_string());
        }
        if process.log.first_index() > before {
            self.hit(Mark::LogPurged);
        }
        Ok(())
    }

    pub(super) fn fetch(&mut self, host: usize, life: u64, job: FetchJob) -> Checked {
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        match disk::fetch(&process.reader, job) {
            Ok(entries) => {
                process.inbox.own.push(Own::Fetched {
                    id: job.id,
                    entries,
                });
                self.plan_round(host);
                Ok(())
            }
            Err(why) => self.write_failed(host, &why),
        }
    }

    /// The disk has rested: the log writes down where it ends; and a full disk is tried again.
    pub(super) fn rest(&mut self, host: usize, life: u64, commits: u64) -> Checked {
        let Some(process) = self.process(host, life) else {
            return Ok(());
        };
        if process.commits != commits || process.writing > 0 {
            return Ok(());
        }
        // Also what failed beside the commits is told here.
        if let Err(error) = process.log.settle() {
            let why = error.to_string();
            return self.write_failed(host, &why);
        }
        if process.log.space() == Space::Full || process.full {
            process.log.retry_space();
            if process.log.space() == Space::Ready {
                process.inbox.own.push(Own::Full(false));
            }
            // A vote, which the reserve has room for, is tried in any case.
            process.full = false;
            self.agenda.plan_in(
                RETRY_FULL,
                Event::Rest {
                    host,
                    life,
                    commits,
                },
            );
            self.plan_round(host);
            self.begin_write(host);
        }
        Ok(())
    }
}

/// Whether this is what a disk says without power: when that goes, or after it went in an operation of which nobody looked at the end.
pub(super) fn lost_power(why: &str) -> bool {
    why.contains("power loss") || why.contains("the machine is off")
}
