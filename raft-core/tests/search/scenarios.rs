//! Where a search begins, and what may happen in it.

use bytes::Bytes;
use raft_core::{
    Change, Entry, HardState, Index, LogId, Member, MemberId, Membership, MembershipParts, Message,
    NodeId, Payload, Seat, Step, Term,
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
        let state = world.begin(nodes.collect(), start.commit);
        match self.elected {
            Some((leader, by)) => {
                let state = elect(&mut world, state, leader, by);
                (world, state)
            }
            None => (world, state),
        }
    }
}

/// Has a node elected by others; what it sends as a leader is lost.
fn elect(world: &mut World, state: State, leader: usize, by: &[usize]) -> State {
    let mask = by.iter().fold(0, |mask, node| mask | 1 << node);
    let act = |world: &mut World, state: &State, action| {
        let outcome = world.act(state, action);
        let outcome = outcome.unwrap_or_else(|| panic!("{action:?} cannot happen"));
        outcome.unwrap()
    };
    let mut state = act(world, &state, Action::Campaign(leader, mask));
    state = act(world, &state, Action::Persist(leader));
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
    loop {
        let on_its_way = world.messages(&state).map(|(message, _)| message).next();
        let Some(message) = on_its_way else {
            return state;
        };
        state = act(world, &state, Action::Lose { message });
    }
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
        entries: usize::MAX,
        proposals: false,
        messages: 3,
        crashes: 0,
        repeats: 0,
        heartbeats: false,
        prevotes: false,
        supporters: &[1],
        reads: false,
        changes: Vec::new(),
        changes_max: 0,
        wipes: None,
    }
}

fn empty(nodes: usize) -> Start {
    Start {
        voters: &[1, 2, 3],
        learners: &[],
        logs: vec![Vec::new(); nodes],
        term: 0,
        commit: 0,
    }
}

/// From nothing: every fault, up to these bounds.
pub fn all_faults(terms: u64, entries: usize, messages: usize) -> Scenario {
    Scenario {
        name: "cluster",
        about: "three nodes from empty logs",
        start: empty(3),
        bounds: Bounds {
            entries,
            proposals: true,
            messages,
            crashes: 1,
            repeats: 1,
            ..calm(terms)
        },
        elected: None,
    }
}

/// Two voters and a learner, which becomes a voter through a joint configuration.
pub fn joint(terms: u64, messages: usize, crashes: u8) -> Scenario {
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
            repeats: 1,
            changes: vec![(0, vote.clone()), (1, vote)],
            changes_max: 1,
            ..calm(terms)
        },
        elected: None,
    }
}
