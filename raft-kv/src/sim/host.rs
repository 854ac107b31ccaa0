//! A machine, and the process of a node on it: how it starts, and how it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raft_core::{Config, Incarnation, LogId, MemberId, NodeId, SnapshotPolicy};
use raft_log::sim_disk::{Keep, SimDisk};
use raft_log::{Log, OpenError, Options};

use super::agenda::Time;
use super::app::{App, Machine};
use super::check::Held;
use super::clock::Clock;
use super::marks::Mark;
use super::net::Place;
use super::observed::Observed;
use super::process::Process;
use super::random::between;
use super::storage::lost_power;
use super::trace::Happening;
use super::world::{Checked, Event, World};
use crate::node::disk::{self, Directory, DirectoryError};
use crate::node::formation::Founders;
use crate::node::gate::{Gate, SharedGate};
use crate::node::replica::{Origin, Replica, ReplicaConfig, Start};
use crate::node::snapshot::work;
use crate::wire::SnapshotFile;

/// The data directory of every node, each on a disk of its own.
pub(super) fn dir() -> &'static Path {
    Path::new("/data")
}

/// Where a node is reached.
pub(super) fn address(host: usize) -> String {
    format!("node{}:1", host + 1)
}

/// Which node an address is of.
pub(super) fn host_at(address: &str) -> Option<usize> {
    let number = address.strip_prefix("node")?.strip_suffix(":1")?;
    number.parse::<usize>().ok()?.checked_sub(1)
}

/// A machine.
pub(super) struct Host<A: App> {
    pub(super) disk: SimDisk,
    pub(super) clock: Clock,
    /// Whether it has power.
    pub(super) on: bool,
    pub(super) process: Option<Process<A>>,
    /// How many processes it has had.
    pub(super) life: u64,
    pub(super) paused: bool,
    /// What waits for the process to go on.
    pub(super) deferred: Vec<Event>,
    /// What its release follows, from its next start on.
    pub(super) follows: u16,
    /// It was started with an older release than before.
    pub(super) went_back: bool,
    /// It is started to be taken in, not to found.
    pub(super) joins: bool,
    /// Nobody starts it any more: it was damaged, or wiped, and must not come back as it is.
    pub(super) given_up: bool,
    /// Whether its disk was damaged behind its back, so that it must refuse to start, or has lost nothing.
    pub(super) damaged: bool,
    /// Who its directory is.
    pub(super) member: Option<MemberId>,
    /// Its disk was wiped: it must be kept out, or taken in as new.
    pub(super) wiped: bool,
    /// Writes take so many times as long.
    pub(super) slow: u32,
    /// Nothing is written before this.
    pub(super) stalled_until: Time,
}

impl<A: App> Host<A> {
    pub(super) fn new(joins: bool, follows: u16) -> Self {
        Self {
            disk: SimDisk::new(),
            clock: Clock::new(Duration::ZERO),
            on: true,
            process: None,
            life: 0,
            paused: false,
            deferred: Vec::new(),
            follows,
            went_back: false,
            joins,
            given_up: false,
            damaged: false,
            member: None,
            wiped: false,
            slow: 1,
            stalled_until: Time::ZERO,
        }
    }
}

impl<A: App> Host<A> {
    /// Whether it is this member, with all that it ever acknowledged.
    pub(super) fn is_intact(&self, member: MemberId) -> bool {
        !self.damaged && self.member == Some(member)
    }
}

impl<A: App> World<A> {
    pub(super) fn founders(&self) -> Founders {
        (0..self.setup.nodes)
            .map(|host| (NodeId(host as u64 + 1), address(host)))
            .collect()
    }

    /// The process of this life, if it is the present one.
    pub(super) fn process(&mut self, host: usize, life: u64) -> Option<&mut Process<A>> {
        let host = self.hosts.get_mut(host)?;
        host.process.as_mut().filter(|_| host.life == life)
    }

    /// Starts a node's process from what its disk holds.
    pub(super) fn start(&mut self, host: usize) -> Checked {
        let machine = &mut self.hosts[host];
        if machine.process.is_some() || machine.given_up {
            return Ok(());
        }
        machine.on = true;
        machine.life += 1;
        let options = Options {
            segment_bytes: self.setup.tuning.segment_bytes,
            record_bytes_max: 4096,
            background: false,
            ..Options::default()
        };
        let id = host as u64 + 1;
        let fresh = Incarnation(self.chance.nodes.u64(1..));
        match disk::open_with(machine.disk.clone(), dir(), id, options, || fresh) {
            Ok(directory) => self.boot(host, directory),
            Err(error) => self.refused(host, &error),
        }
    }

    /// A directory that does not open. A damaged one must not; any other is tried again.
    fn refused(&mut self, host: usize, error: &DirectoryError) -> Checked {
        let io = matches!(
            error,
            DirectoryError::Open {
                source: OpenError::Io(_),
                ..
            }
        );
        let why = error.to_string();
        self.note(Some(host), Happening::Refused { why: why.clone() });
        if io {
            // The disk failed, was full, or lost its power, while it was opened.
            if lost_power(&why) {
                self.power_cycle(host);
            } else {
                self.hosts[host].disk.kill();
            }
            self.start_in(host, Duration::from_millis(500));
            return Ok(());
        }
        if self.hosts[host].damaged {
            self.hit(Mark::DamageRefused);
            self.hosts[host].given_up = true;
            return Ok(());
        }
        Err(super::check::Violation {
            invariant: "a crash is survived",
            what: format!("node {} does not start: {why}", host + 1),
        })
    }

    fn boot(&mut self, host: usize, directory: Directory<SimDisk>) -> Checked {
        if directory.cut.is_some() {
            self.hit(Mark::TornTail);
        }
        let Directory {
            log,
            reader,
            member,
            boot,
            disk,
            ..
        } = directory;
        let held = match self.read_image(host, &reader, disk.as_ref()) {
            Ok(held) => held,
            Err(why) => return self.fails(host, &why),
        };
        if self.hosts[host].damaged {
            // What was damaged may be nothing that matters; then all must be there.
            self.checks
                .on_start(host, member, boot, &held)
                .map_err(|violation| super::check::Violation {
                    invariant: "I20 damage is never served",
                    what: violation.what,
                })?;
        } else {
            self.checks.on_start(host, member, boot, &held)?;
        }
        self.hosts[host].member = Some(member);
        if disk.is_some() {
            self.taken_in(host);
        }
        let snapshot = disk.as_ref().and_then(|disk| disk.snapshot.clone());
        let held_log = disk.as_ref().map_or_else(Vec::new, starts_of_terms);
        let start = Start {
            member,
            boot,
            origin: if self.hosts[host].joins {
                Origin::Join
            } else {
                Origin::Found(self.founders())
            },
            disk,
        };
        let seed = self.chance.nodes.u64(..);
        let config = ReplicaConfig {
            writes_max: self.setup.tuning.writes_max,
            snapshot_piece_bytes: self.setup.tuning.pieces.0,
            snapshot_window_bytes: self.setup.tuning.pieces.0 as u64 * self.setup.tuning.pieces.1,
            ..ReplicaConfig::new(self.core_config(seed))
        };
        let file = snapshot.map(|(file, _)| file);
        let Some(machine) = self.machine(host, &log, file)? else {
            return Ok(());
        };
        let replica = match Replica::start(config, start, machine) {
            Ok(replica) => replica,
            Err(error) => {
                return Err(super::check::Violation {
                    invariant: "a crash is survived",
                    what: format!("node {} does not start: {error}", host + 1),
                });
            }
        };
        if let Some(status) = replica.status() {
            self.checks.on_started(host, &status)?;
        }
        let gate = SharedGate(Arc::new(Gate::new(
            replica.identity(),
            true,
            replica.release().clone(),
        )));
        let now = self.now();
        let started = self.hosts[host].clock.local(now);
        self.hosts[host].process = Some(Process::new(replica, log, reader, gate, started));
        self.note(
            Some(host),
            Happening::Started {
                boot: boot.0,
                log: held_log,
            },
        );
        self.act(host)
    }

    /// A state machine with the state of a snapshot, if there is one; none when that cannot be read.
    fn machine(
        &mut self,
        host: usize,
        log: &Log<SimDisk>,
        snapshot: Option<SnapshotFile>,
    ) -> Checked<Option<Machine<A>>> {
        let mut machine: Machine<A> =
            Observed::new(self.app.machine(self.hosts[host].follows), A::state_hash);
        let Some(file) = snapshot else {
            return Ok(Some(machine));
        };
        if let Err(why) = work::restore(&log.snapshots(), file, &mut machine, &|| false) {
            let why = why.to_string();
            if why.contains("follows up to") {
                self.note(Some(host), Happening::Refused { why: why.clone() });
                self.hosts[host].disk.kill();
                self.too_old(host, &why)?;
            } else if self.hosts[host].damaged {
                self.note(Some(host), Happening::Refused { why });
                self.hit(Mark::DamageRefused);
                self.hosts[host].given_up = true;
                self.hosts[host].disk.kill();
            } else {
                self.fails_to_start(host, why);
            }
            return Ok(None);
        }
        let hash = machine.state_hash();
        self.checks.on_restored(host, file.last, hash)?;
        self.hit(Mark::SnapshotRestored);
        Ok(Some(machine))
    }

    /// A node that was wiped belongs to the cluster again, as another member.
    pub(super) fn taken_in(&mut self, host: usize) {
        if std::mem::take(&mut self.hosts[host].wiped) {
            self.hit(Mark::Replaced);
        }
    }

    /// A disk that opened and then could not be read; it is tried again.
    fn fails_to_start(&mut self, host: usize, why: String) {
        let power = lost_power(&why);
        self.note(Some(host), Happening::Refused { why });
        if power {
            self.power_cycle(host);
        } else {
            self.hit(Mark::DiskFailed);
            self.hosts[host].disk.kill();
        }
        self.start_in(host, Duration::from_millis(500));
    }

    /// What the disk of a node that starts holds, read whole.
    fn read_image(
        &mut self,
        host: usize,
        reader: &raft_log::Reader<SimDisk>,
        disk: Option<&crate::node::FormedDisk>,
    ) -> Result<Held, String> {
        let Some(disk) = disk else {
            return Ok(Held::default());
        };
        let mut entries = Vec::new();
        while disk.base.index.0 + (entries.len() as u64) < disk.last.0 {
            let from = disk.base.index.0 + entries.len() as u64 + 1;
            let records = reader
                .read(from, 1 << 20)
                .map_err(|error| format!("node {}: {error}", host + 1))?;
            entries.extend(crate::glue::entries(records).map_err(|error| error.to_string())?);
        }
        Ok(Held {
            hard_state: Some(disk.hard_state),
            base: disk.base,
            snapshot: disk.snapshot.as_ref().map(|(_, snapshot)| snapshot.clone()),
            entries,
        })
    }

    fn core_config(&self, seed: u64) -> Config {
        let tuning = &self.setup.tuning;
        let ticks =
            |time: Duration| (time.as_millis() / crate::node::config::TICK.as_millis()) as u32;
        Config {
            election_timeout_ticks: ticks(tuning.election_timeout),
            heartbeat_ticks: ticks(tuning.heartbeat),
            batch_bytes_max: tuning.batch_bytes_max,
            inflight_appends_max: tuning.inflight_appends_max,
            tail_bytes_max: tuning.tail_bytes_max,
            command_bytes_max: 4000,
            snapshots: Some(SnapshotPolicy {
                entries_max: tuning.snapshot.0,
                tail_entries: tuning.snapshot.1,
                ..SnapshotPolicy::new()
            }),
            ..Config::new(seed)
        }
    }

    pub(super) fn start_in(&mut self, host: usize, delay: Duration) {
        self.agenda.plan_in(delay, Event::Start { host });
    }

    /// The process ends; whoever was connected to it learns that, unless the machine has no power.
    pub(super) fn end_process(&mut self, host: usize, how: &str) {
        let machine = &mut self.hosts[host];
        let Some(process) = machine.process.take() else {
            return;
        };
        machine.paused = false;
        machine.deferred.clear();
        // First, so that nothing tidies up behind it.
        machine.disk.kill();
        drop(process);
        self.note(Some(host), Happening::Ended { how: how.into() });
        self.drop_links(Place::Host(host));
    }

    /// The power goes and comes back, and with it any part of what was not synced.
    pub(super) fn power_cycle(&mut self, host: usize) {
        let keep = match self.chance.disk.u8(0..4) {
            0 => Keep::Nothing,
            1 => Keep::All,
            _ => Keep::Some(self.chance.disk.u64(..)),
        };
        self.hosts[host].disk.restart(keep);
    }

    /// The machine loses its power, and gets it back some time later.
    pub(super) fn power_off(&mut self, host: usize) {
        self.hosts[host].on = false;
        self.end_process(host, "power loss");
        self.power_cycle(host);
        let most = Duration::from_secs(4);
        let delay = between(&mut self.chance.disk, Duration::from_millis(50), most);
        self.start_in(host, delay);
    }

    /// A node's disk has failed it: the process ends, and is started again.
    pub(super) fn fails(&mut self, host: usize, why: &str) -> Checked {
        self.hit(Mark::DiskFailed);
        self.end_process(host, why);
        self.start_in(host, Duration::from_millis(200));
        Ok(())
    }
}

/// The first entry of each term in a log, and its last one.
fn starts_of_terms(disk: &crate::node::FormedDisk) -> Vec<LogId> {
    let starts = disk.runs.iter().map(|&(index, term)| LogId { index, term });
    let last = disk.runs.last().map(|&(_, term)| LogId {
        index: disk.last,
        term,
    });
    let mut log: Vec<LogId> = starts.chain(last).collect();
    log.dedup();
    log
}
