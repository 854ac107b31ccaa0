//! Where a search begins, and what may happen in it.

use bytes::Bytes;
use raft_core::{
    Change, Entry, Envelope, HardState, Index, Member, MemberId, Membership, MembershipParts,
    Message, NodeId, Seat, Step, Term,
};

use crate::node::{Disk, Node, member};
use crate::world::{Action, Bounds, Reduced, State, World};

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
        let state = match self.elected {
            Some((leader, by)) => elect(&mut world, state, leader, by),
            None => state,
        };
        let state = world.reduce(Reduced::Yes, &state);
        (world, state)
    }
}

/// Has a node elected by others. Its first appends are on their way then, and nothing else.
fn elect(world: &mut World, state: State, leader: usize, by: &[usize]) -> State {
    let mask = by.iter().fold(0, |mask, node| mask | 1 << node);
    let act = |world: &mut World, state: &State, action| {
        let outcome = world.act(state, action);
        let outcome = outcome.unwrap_or_else(|| panic!("{action:?} cannot happen"));
        outcome.unwrap()[0]
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

/// Nothing but elections, replication and slow disks.
pub fn calm(terms: u64) -> Bounds {
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
pub fn few(terms: u64, entries: usize) -> Bounds {
    Bounds {
        entries,
        ..calm(terms)
    }
}

/// Three voters that know of nothing.
pub fn empty(nodes: usize) -> Start {
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
    vec![joint(2, 2, 1), cluster(3, 3, 0, 0), cluster(2, 3, 1, 1)]
}

/// Everything at once: 110,714,398 states.
pub fn combined() -> Scenario {
    cluster(3, 3, 1, 1)
}

/// The bounds that take seconds.
pub fn ci() -> Vec<Scenario> {
    vec![cluster(1, 3, 1, 1), cluster(2, 2, 0, 0), joint(1, 2, 1)]
}

/// The bounds at which the search is compared with that of every state.
pub fn small() -> Vec<Scenario> {
    vec![
        cluster(1, 1, 1, 1),
        cluster(1, 2, 1, 0),
        cluster(2, 1, 0, 0),
    ]
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
