//! An operator who changes who belongs to the cluster, and who leads, while everything else goes wrong.

use fastrand::Rng;
use raft_core::{Boot, Change, MemberId, Membership, NodeId, Outcome, Seat, Step};

use super::app::App;
use super::host::address;
use super::marks::Mark;
use super::world::World;
use crate::release::Release;

impl<A: App> World<A> {
    /// Asks whoever leads for something.
    pub(super) fn operate(&mut self, amount: u64, rng: &mut Rng) {
        let leads = |host: &usize| {
            let process = self.hosts[*host].process.as_ref();
            !self.hosts[*host].paused && process.is_some_and(super::process::Process::leads)
        };
        let Some(leader) = (0..self.hosts.len()).find(leads) else {
            return;
        };
        let Some(process) = &mut self.hosts[leader].process else {
            return;
        };
        let Some(status) = process.replica.status() else {
            return;
        };
        if amount.is_multiple_of(4) {
            let voters = status.membership.voters();
            let to = rng.bool().then(|| voters[rng.usize(0..voters.len())]);
            if process.replica.transfer_leadership(to).is_ok() {
                self.hit(Mark::Transfer);
            }
        } else if let Some((what, change)) = self.draw_change(&status.membership, amount, rng) {
            let heard = self.newcomers(&change);
            let Some(process) = &mut self.hosts[leader].process else {
                return;
            };
            // As a leader connects to a node before it takes it in.
            for (member, boot, release) in heard {
                process.replica.hear_release(member, boot, release);
            }
            let taken = process
                .replica
                .change_membership(change, status.membership_at);
            let outcome = match taken {
                Ok(_) => "taken".to_owned(),
                Err(why) => format!("{why:?}"),
            };
            self.fault_note(format!(
                "the operator asks node {} to {what}: {outcome}",
                leader + 1
            ));
        }
        self.plan_round(leader);
    }

    /// What those run that a change adds.
    fn newcomers(&self, change: &Change) -> Vec<(MemberId, Boot, Release)> {
        let added = change.steps.iter().filter_map(|step| match step {
            Step::Add { member, .. } => Some((member.node.0 - 1) as usize),
            _ => None,
        });
        let says = |host: usize| {
            let replica = &self.hosts[host].process.as_ref()?.replica;
            let identity = replica.identity();
            Some((identity.member, identity.boot, replica.release().clone()))
        };
        added.filter_map(says).collect()
    }

    /// A change that leaves a majority of the voters with their data.
    fn draw_change(
        &self,
        now: &Membership,
        amount: u64,
        rng: &mut Rng,
    ) -> Option<(String, Change)> {
        let hosts = self.hosts.len();
        let picked = rng.usize(0..hosts);
        let damaged = self.hosts[picked].damaged;
        let node = NodeId(picked as u64 + 1);
        // As the operator reads it from the node's directory.
        let here = self.hosts[picked]
            .process
            .as_ref()?
            .replica
            .identity()
            .member;
        let add = |seat| Step::add(here, address(picked).into(), seat);
        let seat = if rng.u8(0..4) == 0 {
            Seat::Learner
        } else {
            Seat::Promotable
        };
        let Some(known) = now.member(node) else {
            if damaged {
                return None;
            }
            return Some((format!("add {here}"), Change::of(add(seat))));
        };
        let member = MemberId {
            node,
            incarnation: known.incarnation,
        };
        if member != here {
            // Its directory is gone: it is replaced by itself.
            let steps = vec![Step::Remove(member), add(Seat::Promotable)];
            return Some((format!("replace {member} by {here}"), Change { steps }));
        }
        let may_go = !now.is_voter(member) || self.may_leave(now, node);
        match amount % 3 {
            0 if !now.is_voter(member) && !damaged => Some((
                format!("promote {member}"),
                Change::of(Step::Seat(member, Seat::Promotable)),
            )),
            1 if may_go && now.is_voter(member) => Some((
                format!("demote {member}"),
                Change::of(Step::Seat(member, Seat::Learner)),
            )),
            _ if may_go => Some((format!("remove {member}"), Change::of(Step::Remove(member)))),
            _ => None,
        }
    }

    /// Whether the other voters are enough.
    fn may_leave(&self, now: &Membership, node: NodeId) -> bool {
        let voters: Vec<NodeId> = now
            .voters()
            .iter()
            .copied()
            .filter(|id| *id != node)
            .collect();
        let intact = voters.iter().filter(|id| {
            let host = &self.hosts[(id.0 - 1) as usize];
            let known = now.member(**id).zip(host.member);
            known.is_some_and(|(known, here)| {
                known.incarnation == here.incarnation && host.is_intact(here)
            })
        });
        intact.count() * 2 > voters.len()
    }

    /// A change has ended.
    pub(super) fn changed(&mut self, outcome: Outcome) {
        if matches!(outcome, Outcome::Committed(_)) {
            self.hit(Mark::MembershipChanged);
        }
    }
}
