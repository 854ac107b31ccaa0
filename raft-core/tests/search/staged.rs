//! Searches that begin where a guard matters.

use raft_core::{Change, Entry, LogId, Payload, Step};

use crate::node::member;
use crate::scenarios::{Scenario, Start, empty, few, membership};
use crate::world::Bounds;

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
