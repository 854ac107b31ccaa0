//! Nodes of two releases: some begin with the older one, are started with the newer one while all else goes wrong, and now and then go
//! back. The cluster version must not be raised while a member cannot follow it, must be in the end, and a node that went back must
//! stop rather than differ.
//!
//! All nodes are of this one build, so the older release is one that follows no version beyond the first, and what only the newer one has
//! are commands that say so of themselves.

use super::app::App;
use super::check::Violation;
use super::faults::Fault;
use super::marks::Mark;
use super::random::{Purpose, stream};
use super::setup::Setup;
use super::world::{Checked, World};
use crate::node::StateMachine;
use crate::store::CLUSTER_VERSION_MAX;
use std::time::Duration;

/// What the older release follows.
const OLDER: u16 = 1;
/// What the newer one does.
const NEWER: u16 = 2;

/// With which release the nodes begin, by what it follows. Without upgrades, they are what they are.
pub(super) fn first_releases(setup: &Setup) -> Vec<u16> {
    let mut rng = stream(setup.seed, Purpose::Setup, 5);
    let draw = |_| match setup.faults.has(Fault::Upgrade) {
        false => CLUSTER_VERSION_MAX,
        true if rng.u8(0..4) == 0 => NEWER,
        true => OLDER,
    };
    (0..setup.hosts()).map(draw).collect()
}

impl<A: App> World<A> {
    /// A node is stopped, and started with another release: mostly a newer one.
    pub(super) fn upgrade(&mut self, host: usize, amount: u64, time: Duration) {
        let back = self.hosts[host].follows == NEWER;
        if back && amount >= 300 {
            return;
        }
        self.hosts[host].follows = if back { OLDER } else { NEWER };
        self.hosts[host].went_back |= back;
        let which = if back { "older" } else { "newer" };
        self.end_process(host, "stopped, for another release");
        self.fault_note(format!("node {} gets the {which} release", host + 1));
        self.start_in(host, time / 4);
    }

    /// All are upgraded in the end.
    pub(super) fn upgrade_all(&mut self) {
        if !self.setup.faults.has(Fault::Upgrade) {
            return;
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].follows != NEWER {
                self.hosts[host].follows = NEWER;
                self.end_process(host, "stopped, for the newer release");
            }
        }
    }

    /// A node stops at what its release does not follow. One that was heard with the newer one may, and so may one that may be no member:
    /// it is started with the newer one.
    pub(super) fn too_old(&mut self, host: usize, why: &str) -> Checked {
        let member = self.hosts[host].member;
        let counts = member.is_some_and(|member| {
            let mut all = self.checks.possible_memberships();
            all.all(|membership| membership.contains(member))
        });
        let machine = &mut self.hosts[host];
        if machine.follows == OLDER && (machine.went_back || !counts) {
            machine.follows = NEWER;
            self.hit(Mark::TooOldStopped);
            self.start_in(host, Duration::from_millis(500));
            return Ok(());
        }
        Err(Violation {
            invariant: "a node goes on",
            what: format!("node {} stops: {why}", host + 1),
        })
    }

    /// Whether the version in force is the newest that all follow; or some members are gone, and nothing is to be expected.
    pub(super) fn is_raised(&self, hosts: &[usize]) -> bool {
        let leader = hosts.iter().find_map(|&host| {
            let process = self.hosts[host].process.as_ref()?;
            process.leads().then_some(process)
        });
        let Some(raft) = leader.and_then(|leader| leader.replica.raft()) else {
            return false;
        };
        let running = |member| {
            let mut all = hosts.iter();
            all.any(|&host| self.hosts[host].member == Some(member))
        };
        let mut members = raft.membership().members();
        if !members.all(|(member, _)| running(member)) {
            return true;
        }
        hosts.iter().all(|&host| {
            let belongs = |member| raft.membership().contains(member);
            let process = self.hosts[host].process.as_ref();
            !self.hosts[host].member.is_some_and(belongs)
                || process.is_some_and(|process| {
                    process.replica.machine().version() >= process.replica.release().follows
                })
        })
    }
}
