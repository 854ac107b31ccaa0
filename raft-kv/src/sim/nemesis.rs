//! The faults: when they come, whom they meet, and how they end. Each class draws from a stream of its own.

use std::time::Duration;

use fastrand::Rng;
use raft_core::{MemberId, Membership, NodeId};
use raft_log::sim_disk::Fault as DiskFault;

use super::agenda::Time;
use super::app::App;
use super::faults::{Fault, Occurrence};
use super::marks::Mark;
use super::net::{LinkId, Place};
use super::process::Process;
use super::random::{Purpose, between, stream, until_next};
use super::world::{Checked, Ease, Event, World};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// How often a class comes on average; none: it is not a matter of moments.
fn mean(fault: Fault) -> Option<Duration> {
    Some(match fault {
        Fault::Loss | Fault::Duplicate | Fault::Reorder => return None,
        Fault::Replay => ms(2000),
        Fault::Partition => ms(7000),
        Fault::Reset => ms(3000),
        Fault::BlackHole => ms(5000),
        Fault::Stranger => ms(4000),
        Fault::Garble => ms(3000),
        Fault::Kill => ms(8000),
        Fault::Power => ms(7000),
        Fault::Pause => ms(8000),
        Fault::Clock => ms(10_000),
        Fault::SlowDisk => ms(9000),
        Fault::StalledDisk => ms(12_000),
        Fault::DiskError => ms(12_000),
        Fault::FullDisk => ms(15_000),
        Fault::Rot | Fault::Wipe => ms(30_000),
        Fault::Membership => ms(3000),
        Fault::Upgrade => ms(7000),
    })
}

impl<A: App> World<A> {
    /// Plans the first of each class.
    pub(super) fn plan_faults(&mut self) {
        for fault in self.setup.faults.iter() {
            match fault {
                Fault::Loss => self.loss = self.fault_rng(fault).u32(1..300_000),
                Fault::Duplicate => self.duplicate = self.fault_rng(fault).u32(1..500_000),
                Fault::Reorder => self.reorder = self.fault_rng(fault).u32(1..300_000),
                _ => self.plan_next(fault),
            }
        }
    }

    fn fault_rng(&mut self, fault: Fault) -> &mut Rng {
        &mut self.chance.faults[fault as usize]
    }

    fn plan_next(&mut self, fault: Fault) {
        if let Some(mean) = mean(fault) {
            let delay = until_next(self.fault_rng(fault), mean);
            self.agenda.plan_in(delay, Event::Fault(fault));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Checked {
        if !self.troubled {
            return Ok(());
        }
        self.plan_next(fault);
        let number = self.counted[fault as usize];
        self.counted[fault as usize] += 1;
        let occurrence = Occurrence { fault, number };
        if let Some(only) = &self.setup.only
            && !only.contains(&occurrence)
        {
            return Ok(());
        }
        self.occurrences.push(occurrence);
        let part = (fault as u64) << 32 | u64::from(number);
        let mut rng = stream(self.setup.seed, Purpose::Fault, part);
        let host = rng.usize(0..self.hosts.len());
        let amount = rng.u64(0..1000);
        let time = between(&mut rng, ms(100), ms(4000));
        let running = self.hosts[host].process.is_some();
        match fault {
            Fault::Loss | Fault::Duplicate | Fault::Reorder => {}
            Fault::Replay => self.replay(amount),
            Fault::Partition => self.partition(time, &mut rng),
            Fault::Reset => self.reset(amount)?,
            Fault::BlackHole => self.black_hole(amount),
            Fault::Stranger if running => self.stranger(host, amount),
            Fault::Garble => self.garble(amount),
            Fault::Kill if running => {
                self.end_process(host, "killed");
                self.start_in(host, time / 2);
            }
            Fault::Power if running => self.cut_power(host, amount),
            Fault::Pause if running && !self.hosts[host].paused => {
                self.fault_note(format!("node {} stands still for {time:?}", host + 1));
                self.hosts[host].paused = true;
                let life = self.hosts[host].life;
                self.agenda
                    .plan_in(time, Event::Ease(Ease::Resume { host, life }));
            }
            Fault::Clock => self.skew(host, amount, time),
            Fault::SlowDisk => {
                self.fault_note(format!("node {}: slow disk for {time:?}", host + 1));
                self.hosts[host].slow = 10 + amount as u32 % 100;
                self.agenda.plan_in(time, Event::Ease(Ease::Disk { host }));
            }
            Fault::StalledDisk => {
                self.fault_note(format!("node {}: the disk hangs for {time:?}", host + 1));
                self.hosts[host].stalled_until = self.now() + time;
            }
            Fault::DiskError if running => {
                let disk = &self.hosts[host].disk;
                disk.fail(disk.operations() + 1 + amount % 12, DiskFault::Io);
            }
            Fault::FullDisk => self.fill_disk(host, amount, time),
            Fault::Rot if running => self.rot(host, amount, time, &mut rng),
            Fault::Wipe if running => self.wipe(host, time),
            Fault::Membership => self.operate(amount, &mut rng),
            Fault::Upgrade if running => self.upgrade(host, amount, time),
            _ => {}
        }
        Ok(())
    }

    /// Now, or in the middle of one of the next writes.
    fn cut_power(&mut self, host: usize, amount: u64) {
        if amount < 600 {
            let disk = &self.hosts[host].disk;
            disk.fail(disk.operations() + 1 + amount % 7, DiskFault::PowerLoss);
            return;
        }
        if !self.hosts[host]
            .process
            .as_ref()
            .is_some_and(Process::is_writing)
        {
            self.hit(Mark::CrashAtRest);
        }
        self.power_off(host);
    }

    fn fill_disk(&mut self, host: usize, room: u64, time: Duration) {
        self.fault_note(format!("node {}: full disk for {time:?}", host + 1));
        let disk = &self.hosts[host].disk;
        let contents = disk
            .files()
            .into_iter()
            .filter_map(|file| disk.content(&file));
        let used: usize = contents.map(|content| content.len()).sum();
        disk.set_capacity(Some(used as u64 + room));
        self.agenda
            .plan_in(time * 2, Event::Ease(Ease::Disk { host }));
    }

    pub(super) fn ease(&mut self, ease: Ease) -> Checked {
        match ease {
            Ease::Links => {
                self.fault_note("links heal");
                self.net.cut.clear();
                self.unstick();
            }
            Ease::Resume { host, life } => {
                if self.hosts[host].life == life && self.hosts[host].paused {
                    self.resume(host);
                }
            }
            Ease::Disk { host } => {
                self.hosts[host].slow = 1;
                self.hosts[host].disk.set_capacity(None);
            }
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, host: usize) {
        self.fault_note(format!("node {} goes on", host + 1));
        self.hosts[host].paused = false;
        let now = self.now();
        for event in std::mem::take(&mut self.hosts[host].deferred) {
            self.agenda.plan(now, event);
        }
    }

    /// Frames of long ago are sent again, by those who sent them.
    fn replay(&mut self, amount: u64) {
        let count = (amount as usize % 8).min(self.recorded.len());
        let frames: Vec<_> = self.recorded.drain(..count).collect();
        for (host, to, frame) in frames {
            self.send_frame(host, to, frame);
        }
    }

    fn partition(&mut self, time: Duration, rng: &mut Rng) {
        let nodes = self.hosts.len();
        let clients = self.setup.clients;
        let sides: Vec<bool> = (0..nodes).map(|_| rng.bool()).collect();
        let client_sides: Vec<bool> = (0..clients).map(|_| rng.bool()).collect();
        let one = rng.usize(0..nodes);
        let kind = rng.u8(0..6);
        let mut cut = |from: Place, to: Place| {
            self.net.cut.insert((from, to));
        };
        let pairs = |a: usize, b: usize| (Place::Host(a), Place::Host(b));
        let what = match kind {
            0 => "in halves",
            1 => "around one node",
            2 => "one way, from one node",
            3 => "one way, to one node",
            4 => "but for a bridge",
            _ => "into a chain",
        };
        for a in 0..nodes {
            for b in (0..nodes).filter(|b| *b != a) {
                let parted = match kind {
                    0 => sides[a] != sides[b],
                    1 => a == one || b == one,
                    2 => a == one,
                    3 => b == one,
                    4 => a != one && b != one && sides[a] != sides[b],
                    _ => a.abs_diff(b) > 1,
                };
                if parted {
                    let (from, to) = pairs(a, b);
                    cut(from, to);
                }
            }
            for (client, side) in client_sides.iter().enumerate() {
                if kind <= 1 && *side != sides[a] {
                    cut(Place::Client(client), Place::Host(a));
                    cut(Place::Host(a), Place::Client(client));
                }
            }
        }
        self.fault_note(format!("links are cut {what} for {time:?}"));
        self.agenda.plan_in(time, Event::Ease(Ease::Links));
    }

    fn some_link(&self, amount: u64) -> Option<LinkId> {
        let count = self.net.links.len();
        self.net
            .links
            .keys()
            .nth(amount as usize % count.max(1))
            .copied()
    }

    fn reset(&mut self, amount: u64) -> Checked {
        let Some(link) = self.some_link(amount) else {
            return Ok(());
        };
        self.fault_note("a connection is reset");
        self.break_link(link)
    }

    fn black_hole(&mut self, amount: u64) {
        let Some(link) = self
            .some_link(amount)
            .and_then(|link| self.net.links.get_mut(&link))
        else {
            return;
        };
        link.forth.black_hole = !amount.is_multiple_of(3);
        link.back.black_hole = amount % 3 != 1;
        self.fault_note("a connection swallows everything");
    }

    fn garble(&mut self, amount: u64) {
        let Some(link) = self
            .some_link(amount)
            .and_then(|link| self.net.links.get_mut(&link))
        else {
            return;
        };
        let pipe = if amount < 500 {
            &mut link.forth
        } else {
            &mut link.back
        };
        pipe.garbles = true;
        self.fault_note("a connection changes a byte");
    }

    fn stranger(&mut self, host: usize, amount: u64) {
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let own = process.replica.identity();
        let mut identity = crate::glue::identity_to_net(own);
        identity.incarnation = amount + 1;
        // One that has just joined, and knows no membership yet, hears anyone of its cluster.
        let knows = |raft: &raft_core::Raft| !raft.membership().voters().is_empty();
        let formed = process.replica.raft().is_some_and(knows);
        match amount % 4 {
            0 if formed => {
                identity.cluster.0[0] ^= 1;
                identity.node = identity.node % self.hosts.len() as u64 + 1;
            }
            1 if formed => {
                identity.cluster = raft_net_tcp::ClusterId::UNKNOWN;
                identity.node = 99;
            }
            2 => {}
            _ => return self.dial_stranger(host, None),
        }
        self.dial_stranger(host, Some(identity));
    }

    fn skew(&mut self, host: usize, amount: u64, time: Duration) {
        let now = self.now();
        if amount < 300 {
            self.fault_note(format!("node {}: the clock jumps by {time:?}", host + 1));
            self.hosts[host].clock.jump(time);
        } else {
            let rate = 500 + ((amount as u32 - 300) * 1500 / 700);
            self.fault_note(format!(
                "node {}: the clock runs at {rate} thousandths",
                host + 1
            ));
            self.hosts[host].clock.set_rate(now, rate);
        }
        // Timers were planned by the old time.
        self.retime(host);
    }

    /// As many machines as the cluster can do without may lose their data, whichever of its memberships should come to be in force.
    fn may_lose(&self, host: usize) -> bool {
        let node = NodeId(host as u64 + 1);
        let Some(member) = self.hosts[host].member else {
            return false;
        };
        self.hosts[host].is_intact(member)
            && self.checks.committed() > 0
            && self.checks.possible_memberships().all(|membership| {
                // One that learns may be about to count.
                let learns = membership.learners().any(|learner| learner == node);
                !learns && self.is_bearable(membership, Some(host))
            })
    }

    /// Whether a majority of the voters has its data, in both halves of a joint membership, even without one more.
    pub(super) fn is_bearable(&self, membership: &Membership, without: Option<usize>) -> bool {
        let intact = |node: &&NodeId| {
            let host = (node.0 - 1) as usize;
            let incarnation = membership.member(**node).map(|known| known.incarnation);
            let member = incarnation.map(|incarnation| MemberId {
                node: **node,
                incarnation,
            });
            let here = self.hosts.get(host).zip(member);
            without != Some(host) && here.is_some_and(|(host, member)| host.is_intact(member))
        };
        let half = |voters: &[NodeId], silent: usize| {
            let all = voters.len() + silent;
            all == 0 || voters.iter().filter(intact).count() * 2 > all
        };
        half(membership.voters(), 0) && half(membership.outgoing(), membership.replaced().len())
    }

    fn rot(&mut self, host: usize, amount: u64, time: Duration, rng: &mut Rng) {
        let settled = self.hosts[host]
            .process
            .as_ref()
            .is_some_and(Process::is_settled);
        if !self.may_lose(host) || !settled {
            return;
        }
        self.end_process(host, "killed, to be damaged");
        self.hosts[host].damaged = true;
        let disk = self.hosts[host].disk.clone();
        let files = disk.files();
        let Some(file) = files.get(amount as usize % files.len().max(1)) else {
            return;
        };
        let place = rng.u64(..);
        let length = [1_usize, 8, 512, 4096][rng.usize(0..4)];
        disk.rot(file, |bytes| {
            // Where something is, most of the time: files are written with zeros ahead.
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(1, |last| last + 1);
            let at = (place % used as u64) as usize;
            for byte in bytes.iter_mut().skip(at).take(length) {
                *byte ^= 0x55;
            }
        });
        self.fault_note(format!("node {}: {} rots", host + 1, file.display()));
        self.start_in(host, time / 2);
    }

    fn wipe(&mut self, host: usize, time: Duration) {
        if !self.may_lose(host) {
            return;
        }
        self.end_process(host, "killed, to be wiped");
        self.fault_note(format!("node {}: its disk is wiped", host + 1));
        self.hosts[host].wiped = true;
        self.hosts[host].member = None;
        self.hosts[host].disk = raft_log::sim_disk::SimDisk::new();
        // An operator who can take it in as new starts it for that; else it comes with its old flags, and must be kept out.
        self.hosts[host].joins |= self.setup.faults.has(Fault::Membership);
        self.checks.on_wipe(host);
        self.start_in(host, time / 2);
    }

    /// Ends all faults: what is broken is mended, and only what is lost stays lost.
    pub(super) fn mend(&mut self) {
        self.troubled = false;
        self.loss = 0;
        self.duplicate = 0;
        self.reorder = 0;
        self.net.cut.clear();
        let now = self.now();
        for host in 0..self.hosts.len() {
            self.hosts[host].slow = 1;
            self.hosts[host].stalled_until = Time::ZERO;
            self.hosts[host].disk.set_capacity(None);
            self.hosts[host].disk.forgive();
            self.hosts[host].clock.set_rate(now, 1000);
            self.retime(host);
            if self.hosts[host].paused {
                self.resume(host);
            }
            // A disk that hung answers now.
            let life = self.hosts[host].life;
            self.agenda.plan(now, Event::Commit { host, life });
        }
        self.unstick();
        self.fault_note("all is mended");
    }
}
