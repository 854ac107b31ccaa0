//! Where a search begins, and what may happen in it.

use bytes::Bytes;
use raft_core::{
    Change, Entry, Envelope, HardState, Index, LogId, Member, MemberId, Membership,
    MembershipParts, Message, NodeId, Payload, Seat, Step, Term,
};

use crate::node::{Disk, Node, member};
use crate::world::{Action, Bounds, State, World};

/// The nodes' logs, and the membership in force before their first entries.
pub struct Start {
    pub voters: &'static [usize],
    pub learners: &'static [usize],
    /// A list of terms for each node, from index 1.
    pub logs: Vec<Vec<Entry>>,
    pub term: u64,
    /// Up to where all of them know the log to be committed.
    pub commit: usize,
    /// Up to where it is committed, whether they know or not.
    pub committed: usize,
}

/// A search.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub start: Start,
    pub bounds: Bounds,
    /// Who leads at the start, elected by whom.
    pub elected: Option<(usize, &'static [usize])>,
}

impl Scenario {
    pub fn world(&self) -> (World, State) {
        let start = &self.start;
        let base = membership(start.voters, start.learners);
        let mut world = World::new(self.bounds.clone(), base.clone());
        let nodes = (1..).zip(&start.logs).map(|(id, log)| {
            let disk = Disk {
                hard_state: HardState {
                    term: Term(start.term),
                    voted_for: None,
                    commit: Index(start.commit as u64),
                },
                log: log.clone(),
            };
            Node::start(member(id), 1, Some(&base), disk)
        });
        let state = world.begin(nodes.collect(), start.committed);
        match self.elected {
            Some((leader, by)) => {
                let state = elect(&mut world, state, leader, by);
                (world, state)
            }
            None => (world, state),
        }
    }
}

/// Has a node elected by others. Its first appends are on their way then, and nothing else.
fn elect(world: &mut World, state: State, leader: usize, by: &[usize]) -> State {
    let mask = by.iter().fold(0, |mask, node| mask | 1 << node);
    let act = |world: &mut World, state: &State, action| {
        let outcome = world.act(state, action);
        let outcome = outcome.unwrap_or_else(|| panic!("{action:?} cannot happen"));
        outcome.unwrap()
    };
    let mut state = act(world, &state, Action::Campaign(leader, mask));
    state = act(world, &state, Action::Persist(leader));
    loop {
        let asked = |envelope: &Envelope| by.contains(&(envelope.to.node.0 as usize - 1));
        let other = world
            .messages(&state)
            .find(|(_, envelope)| !asked(envelope));
        let Some((message, _)) = other else { break };
        state = act(world, &state, Action::Lose { message });
    }
    for &voter in by {
        for to in [voter, leader] {
            let wanted = world.messages(&state).find(|(_, envelope)| {
                let votes = matches!(
                    envelope.message,
                    Message::VoteRequest { .. } | Message::VoteResponse { .. }
                );
                votes && envelope.to.node.0 as usize == to + 1
            });
            let (message, _) = wanted.expect("a vote is on its way");
            state = act(
                world,
                &state,
                Action::Deliver {
                    message,
                    stays: false,
                },
            );
            if to == voter {
                state = act(world, &state, Action::Persist(voter));
            }
        }
    }
    assert!(world.facts(&state, leader).leads(), "it was not elected");
    state
}

pub fn membership(voters: &[usize], learners: &[usize]) -> Membership {
    let seat = |&id: &usize| {
        let MemberId { node, incarnation } = member(id);
        (node, Member::new(incarnation, Bytes::new()))
    };
    Membership::from_parts(MembershipParts {
        members: voters.iter().chain(learners).map(seat).collect(),
        voters: voters.iter().map(|&id| NodeId(id as u64)).collect(),
        ..MembershipParts::default()
    })
    .unwrap()
}

/// Entries of these terms. One of term t is the no-op of t, be it anywhere.
fn log(terms: &[u64]) -> Vec<Entry> {
    (1..)
        .zip(terms)
        .map(|(index, &term)| Entry {
            id: LogId::new(index, term),
            payload: Payload::Noop,
        })
        .collect()
}

/// Nothing but elections, replication and slow disks.
fn calm(terms: u64) -> Bounds {
    Bounds {
        terms,
        campaigners: &[0, 1, 2],
        entries: usize::MAX,
        proposals: false,
        messages: 3,
        crashes: 0,
        repeats: 0,
        heartbeats: 0,
        prevotes: false,
        supporters: &[1],
        reads: 0,
        changes: Vec::new(),
        changes_max: 0,
        wipes: None,
    }
}

/// The same, and nobody appends to a log with so many entries.
fn few(terms: u64, entries: usize) -> Bounds {
    Bounds {
        entries,
        ..calm(terms)
    }
}

/// Three voters that know of nothing.
fn empty(nodes: usize) -> Start {
    Start {
        voters: &[1, 2, 3],
        learners: &[],
        logs: vec![Vec::new(); nodes],
        term: 0,
        commit: 0,
        committed: 0,
    }
}

/// The bounds that take minutes.
pub fn full() -> Vec<Scenario> {
    vec![cluster(2, 3, 0, 0), joint(2, 2, 1), cluster(3, 2, 0, 0)]
}

/// The bounds that take seconds.
pub fn ci() -> Vec<Scenario> {
    vec![cluster(1, 3, 1, 1), cluster(2, 2, 0, 0), joint(1, 2, 1)]
}

/// From empty logs: every fault, up to these bounds.
fn cluster(terms: u64, messages: usize, crashes: u8, repeats: u8) -> Scenario {
    Scenario {
        name: "cluster",
        about: "three nodes, from empty logs",
        start: empty(3),
        bounds: Bounds {
            proposals: true,
            messages,
            crashes,
            repeats,
            ..few(terms, 2)
        },
        elected: None,
    }
}

/// Two voters and a learner, which becomes a voter through a joint configuration.
fn joint(terms: u64, messages: usize, crashes: u8) -> Scenario {
    let vote = Change::of(Step::Seat(member(3), Seat::Voter));
    Scenario {
        name: "joint",
        about: "from two voters to three, through a joint configuration",
        start: Start {
            voters: &[1, 2],
            learners: &[3],
            ..empty(3)
        },
        bounds: Bounds {
            messages,
            crashes,
            changes: vec![(0, vote.clone()), (1, vote)],
            changes_max: 1,
            ..calm(terms)
        },
        elected: None,
    }
}

/// A leader of term 2 has an entry that one of term 3 has not, and leads again (paper, fig. 8,
/// with three nodes). The fourth term and the fifth are searched.
pub fn figure_8() -> Scenario {
    Scenario {
        name: "figure 8",
        about: "an entry of an older term is on two disks of three, and a longer term is to come",
        start: Start {
            logs: vec![log(&[1, 2]), log(&[1]), log(&[1, 3])],
            term: 3,
            commit: 1,
            committed: 1,
            ..empty(3)
        },
        bounds: few(5, 3),
        elected: Some((0, &[1])),
    }
}

/// Elections from nothing, with crashes.
pub fn elections() -> Scenario {
    Scenario {
        name: "elections",
        about: "two campaigns in one term, and a crash",
        start: empty(3),
        bounds: Bounds {
            crashes: 1,
            messages: 2,
            ..few(1, 1)
        },
        elected: None,
    }
}

/// One leader has replicated nothing yet; another term is to come.
pub fn replication() -> Scenario {
    Scenario {
        name: "replication",
        about: "a leader with a proposal, slow disks, a crash, and a next leader",
        start: empty(3),
        bounds: Bounds {
            crashes: 1,
            messages: 2,
            proposals: true,
            ..few(2, 2)
        },
        elected: Some((0, &[1])),
    }
}

/// A leader whose appends may arrive late and again.
pub fn late_appends() -> Scenario {
    Scenario {
        name: "late appends",
        about: "an append arrives again behind a later one",
        start: empty(3),
        bounds: Bounds {
            repeats: 1,
            proposals: true,
            ..few(1, 2)
        },
        elected: Some((0, &[1])),
    }
}

/// Logs differ behind what is committed, and heartbeats carry commit indexes.
pub fn diverged() -> Scenario {
    Scenario {
        name: "diverged logs",
        about: "a follower's log is not the leader's, and heartbeats speak of what is committed",
        start: Start {
            logs: vec![log(&[1]), log(&[1]), log(&[1, 2])],
            term: 2,
            commit: 1,
            committed: 1,
            ..empty(3)
        },
        bounds: Bounds {
            heartbeats: 1,
            messages: 2,
            ..few(3, 2)
        },
        elected: Some((0, &[1])),
    }
}

/// Pre-votes as messages like any other.
pub fn pre_votes() -> Scenario {
    Scenario {
        name: "pre-votes",
        about: "pre-votes take their time",
        start: empty(3),
        bounds: Bounds {
            prevotes: true,
            ..few(1, 1)
        },
        elected: None,
    }
}

/// A new leader is asked for a read.
pub fn reads() -> Scenario {
    Scenario {
        name: "reads",
        about: "a new leader does not know what the last one has committed",
        start: Start {
            logs: vec![log(&[1, 1]), log(&[1, 1]), log(&[1])],
            term: 1,
            commit: 1,
            committed: 2,
            ..empty(3)
        },
        bounds: Bounds {
            reads: 1,
            ..few(2, 3)
        },
        elected: Some((0, &[2])),
    }
}

/// The bug of 2015: four voters, changed one at a time and without a joint configuration. One leader has left out n4 and told nobody;
/// the next, elected by n3 and n4, is to leave out the first.
pub fn changes() -> Scenario {
    let without = |id| Change::of(Step::Remove(member(id)));
    let mut first = log(&[1, 1]);
    first[1].payload = Payload::Membership(membership(&[1, 2, 3], &[]));
    Scenario {
        name: "changes",
        about: "two leaders each leave out one of four voters, one at a time",
        start: Start {
            voters: &[1, 2, 3, 4],
            learners: &[],
            logs: vec![first, log(&[1]), log(&[1]), log(&[1])],
            term: 1,
            commit: 1,
            committed: 1,
        },
        bounds: Bounds {
            campaigners: &[0],
            supporters: &[1],
            changes: vec![(1, without(1))],
            changes_max: 1,
            ..few(3, 4)
        },
        elected: Some((1, &[2, 3])),
    }
}

/// A node that has an entry which is committed loses its disk, and comes back.
pub fn wiped() -> Scenario {
    let founding = Entry {
        id: LogId::new(1, 1),
        payload: Payload::Membership(membership(&[1, 2, 3], &[])),
    };
    let with = |terms: &[u64]| {
        let mut log = log(terms);
        log[0] = founding.clone();
        log
    };
    Scenario {
        name: "wiped disk",
        about: "a node that holds what is committed comes back without it",
        start: Start {
            logs: vec![with(&[1, 1]), with(&[1, 1]), with(&[1])],
            term: 1,
            commit: 1,
            committed: 2,
            ..empty(3)
        },
        bounds: Bounds {
            wipes: Some(1),
            campaigners: &[2],
            messages: 2,
            ..few(3, 3)
        },
        elected: Some((0, &[1])),
    }
}
