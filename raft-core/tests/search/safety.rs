//! What must hold in every state, seen from outside: the safety properties of Raft (paper fig. 3), over all nodes, lives and disks.
//!
//! Some of them speak of the past as well: who led a term, what was committed. That is the *history*. It belongs to the state, or two
//! states with different pasts would be taken for one. One vote a term, over all lives, needs none: a vote that is said is on the disk,
//! and what a disk says of a term's vote never changes (`node.rs`).

use raft_core::{Entry, Exchange, MemberId, Membership, Payload, RoleName, Status};

use crate::node::Node;
use crate::tables::hash_of;

/// An entry, told by its term and a hash of its content; its index is its place.
pub type Mark = (u64, u64);

pub fn marks(log: &[Entry]) -> Vec<Mark> {
    log.iter()
        .map(|entry| (entry.id.term.0, hash_of(&entry.payload)))
        .collect()
}

/// What must never change once it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Who led each term.
    pub leaders: Vec<(u64, MemberId)>,
    /// What was committed, and in which term: that of the leader which did it, and not of the entry.
    pub committed: Vec<(Mark, u64)>,
    /// The read under way: where, and how much was committed when it came in.
    pub read: Option<(usize, usize)>,
    /// What was done as often as it may be: crashes, messages repeated, heartbeats, reads, changes of the membership, a disk
    /// wiped.
    pub crashes: u8,
    pub repeats: u8,
    pub heartbeats: u8,
    pub reads: u8,
    pub changes: u8,
    pub wiped: bool,
}

/// What is to be known of a node.
#[derive(Clone, Debug)]
pub struct Facts {
    pub status: Status,
    /// The log with what is on its way to the disk, and the disk alone.
    pub log: Vec<Mark>,
    pub disk: Vec<Mark>,
    pub disk_term: u64,
    /// The campaign for votes under way.
    pub campaign: Option<u64>,
    /// The memberships in that log, the newest last.
    pub memberships: Vec<Membership>,
    pub jobs: usize,
    /// Whether the leader's voice keeps it from voting.
    pub sticks: bool,
}

impl Facts {
    pub fn of(node: &Node) -> Self {
        let log = node.log();
        let memberships = log.iter().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some(membership.clone()),
            _ => None,
        });
        Self {
            status: node.raft.status(),
            disk: marks(&node.disk.log),
            disk_term: node.disk.hard_state.term.0,
            campaign: node.raft.campaign(),
            memberships: memberships.collect(),
            jobs: node.jobs.len(),
            sticks: node.raft.hears_a_leader(),
            log: marks(&log),
        }
    }

    pub fn leads(&self) -> bool {
        self.status.role == RoleName::Leader
    }

    fn committed(&self) -> &[Mark] {
        &self.log[..self.status.commit.0 as usize]
    }
}

type Checked = Result<(), String>;

fn check(holds: bool, why: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(why()) }
}

impl History {
    /// Whether they differ in nothing, but that no more was done here of what may be done only so often.
    pub fn is_at_most(&self, other: &Self) -> bool {
        let same = Self {
            crashes: other.crashes,
            repeats: other.repeats,
            ..self.clone()
        };
        self.crashes <= other.crashes && self.repeats <= other.repeats && same == *other
    }

    /// The same, but for how often something was done.
    pub fn without_uses(self) -> Self {
        Self {
            leaders: self.leaders,
            committed: self.committed,
            ..Self::default()
        }
    }

    /// What it is when nodes are exchanged.
    pub fn exchanged(&self, exchange: &Exchange, places: &[usize]) -> Self {
        let mut history = self.clone();
        for (_, leader) in &mut history.leaders {
            *leader = exchange.member(*leader);
        }
        history.leaders.sort_unstable();
        if let Some((at, _)) = &mut history.read {
            *at = places[*at];
        }
        history
    }

    /// After a step of node `at`: election safety, leader completeness, and that what is committed stays so and is on a quorum of
    /// the disks.
    pub fn note_node(&mut self, at: usize, nodes: &[&Facts], base: &Membership) -> Checked {
        let node = nodes[at];
        let (me, term) = (node.status.identity.member, node.status.term.0);
        if node.leads() {
            match self.leaders.iter().find(|(led, _)| *led == term) {
                Some(&(_, leader)) => check(leader == me, || {
                    format!("{leader} and {me} both lead term {term}")
                })?,
                None => {
                    self.leaders.push((term, me));
                    self.leaders.sort_unstable();
                }
            }
        }
        // Terms of disks never fall; so nobody can lead one again that all disks have left behind.
        let oldest = nodes.iter().map(|node| node.disk_term).min().unwrap_or(0);
        self.leaders.retain(|&(term, _)| term >= oldest);
        let committed = node.committed();
        let common = committed.len().min(self.committed.len());
        let same = |(mine, (mark, _)): (&Mark, &(Mark, u64))| mine == mark;
        check(committed.iter().zip(&self.committed).all(same), || {
            format!("{me} takes something else for committed than what was committed")
        })?;
        for (index, &mark) in committed.iter().enumerate().skip(common) {
            // What was acknowledged and then lost with its disk is no fault of the protocol.
            if !self.wiped {
                check_on_quorum(index, mark, node, nodes, base)?;
            }
            self.committed.push((mark, term));
        }
        Ok(())
    }

    /// In every state: leader completeness, log matching, and, while the membership stands still, that what is committed is on a
    /// quorum of the disks.
    pub fn check_all(&self, nodes: &[&Facts], base: &Membership) -> Checked {
        for node in nodes.iter().filter(|node| node.leads()) {
            let (me, term) = (node.status.identity.member, node.status.term.0);
            let all = self.committed.iter().enumerate();
            let mut before = all.filter(|(_, (_, committed_in))| *committed_in < term);
            if let Some((at, _)) = before.find(|&(at, (mark, _))| node.log.get(at) != Some(mark)) {
                return Err(format!(
                    "{me} leads term {term} without entry {}, which is committed",
                    at + 1
                ));
            }
        }
        for (position, a) in nodes.iter().enumerate() {
            for b in &nodes[..position] {
                check_log_matching(a, b)?;
            }
        }
        let still = nodes.iter().all(|node| node.memberships.is_empty());
        if still && !self.wiped {
            for (index, &(mark, _)) in self.committed.iter().enumerate() {
                check_on_quorum(index, mark, nodes[0], nodes, base)?;
            }
        }
        Ok(())
    }
}

/// Equal terms at an index mean equal logs up to there.
fn check_log_matching(a: &Facts, b: &Facts) -> Checked {
    let both = || a.log.iter().zip(&b.log);
    let agree = both().filter(|(a, b)| a.0 == b.0).count();
    let last = (0..a.log.len().min(b.log.len())).rfind(|&at| a.log[at].0 == b.log[at].0);
    let Some(last) = last else { return Ok(()) };
    check(agree > last && a.log[..=last] == b.log[..=last], || {
        format!(
            "{} and {} agree at {} and differ before",
            a.status.identity.member,
            b.status.identity.member,
            last + 1
        )
    })
}

/// An entry that `node` takes for committed is on the disks of a quorum: of the membership in force there, or of the one before, under
/// which it may have been committed in the same step.
fn check_on_quorum(
    index: usize,
    mark: Mark,
    node: &Facts,
    nodes: &[&Facts],
    base: &Membership,
) -> Checked {
    let has = |voter: MemberId| {
        let holder = nodes.iter().find(|n| n.status.identity.member == voter);
        holder.is_some_and(|holder| holder.disk.get(index) == Some(&mark))
    };
    let newest = node.memberships.iter().rev().chain([base]).take(2);
    let mut deciding = newest.filter(|membership| is_quorum(membership, has));
    check(deciding.next().is_some(), || {
        format!(
            "entry {} is committed, and on no quorum of the disks",
            index + 1
        )
    })
}

fn is_quorum(membership: &Membership, has: impl Fn(MemberId) -> bool) -> bool {
    let half = |voters: &[raft_core::NodeId]| {
        let holding = voters.iter().filter(|&&node| {
            let incarnation = membership.member(node).unwrap().incarnation;
            has(MemberId { node, incarnation })
        });
        voters.is_empty() || 2 * holding.count() > voters.len()
    };
    half(membership.voters()) && half(membership.outgoing())
}
