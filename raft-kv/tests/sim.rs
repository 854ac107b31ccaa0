//! The simulator itself: that it is the same run every time, that faults can be left out, that it finds what is wrong, and makes it
//! small. The many seeds are `cargo xtask sim`'s.

use std::io::{self, Read};

use bytes::Bytes;
use raft_core::LogId;
use raft_kv::node::{Halt, Image, StateMachine};
use raft_kv::sim::linearizability::Model;
use raft_kv::sim::{Fault, Faults, Occurrence, Report, Setup, Workload, run_kv, run_own, shrink};

fn good(report: &Report) {
    let seed = report.setup.seed;
    assert!(
        report.violation.is_none(),
        "seed {seed}: {:?}\nreplay: cargo xtask sim --seed {seed}",
        report.violation
    );
    assert!(!report.is_vacuous(), "seed {seed} did too little");
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let setup = Setup::draw(1);
    let (one, two) = (run_kv(&setup, false), run_kv(&setup, true));
    good(&one);
    assert_eq!((one.hash, one.steps), (two.hash, two.steps));
    assert_eq!(two.records.len() as u64, two.steps);
    assert!(two.records.iter().any(|record| record.state.is_some()));
    assert_ne!(one.hash, run_kv(&Setup::draw(2), false).hash);
}

#[test]
fn without_faults_nothing_goes_wrong() {
    for nodes in [1, 3, 5] {
        let setup = Setup {
            nodes,
            faults: Faults::NONE,
            ..Setup::draw(11)
        };
        let report = run_kv(&setup, false);
        good(&report);
        // The second when the one that leads is among those that the calm is without.
        assert!(report.elections <= 2, "{nodes} nodes");
        assert!(report.occurrences.is_empty());
    }
}

/// Streams of chance are split by purpose.
#[test]
fn a_class_of_faults_can_be_left_out_and_the_others_stay() {
    let all = Setup {
        faults: Faults::ALL,
        ..Setup::draw(3)
    };
    let some = Setup {
        faults: Faults::ALL.without(Fault::Kill),
        ..all.clone()
    };
    let came = |setup| {
        let report = run_kv(setup, false);
        good(&report);
        let mut occurrences = report.occurrences;
        occurrences.sort_unstable();
        occurrences
    };
    let with: Vec<Occurrence> = came(&all)
        .into_iter()
        .filter(|occurrence| occurrence.fault != Fault::Kill)
        .collect();
    assert_eq!(came(&some), with);
}

/// A state machine with faults that are known.
#[derive(Default)]
struct Sum {
    total: u64,
    bug: Bug,
    /// Where a process began to apply: no part of the state, though one of the bugs makes it one.
    lives: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Bug {
    #[default]
    None,
    /// What it comes to depends on the process.
    NotDeterministic,
    /// It answers with what was there before.
    OldAnswer,
}

static LIVES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl StateMachine for Sum {
    type Output = u64;

    fn apply(&mut self, _at: LogId, command: &Bytes) -> Result<u64, Halt> {
        let before = self.total;
        self.total += command.len() as u64;
        if self.bug == Bug::NotDeterministic && self.total.is_multiple_of(50) {
            self.total += self.lives % 2;
        }
        Ok(match self.bug {
            Bug::OldAnswer if self.total.is_multiple_of(10) => before,
            _ => self.total,
        })
    }

    fn image(&self) -> Image {
        let state = self.total;
        Image::new(move |out| out.write_all(&state.to_le_bytes()))
    }

    fn empty(&self) -> Self {
        Self {
            total: 0,
            bug: self.bug,
            lives: self.lives,
        }
    }

    fn restore(&mut self, _at: LogId, from: &mut dyn Read) -> io::Result<()> {
        let mut state = [0; 8];
        from.read_exact(&mut state)?;
        self.total = u64::from_le_bytes(state);
        Ok(())
    }
}

struct Adding;

impl Model for Adding {
    type Input = u64;
    type Output = u64;
    type State = u64;
    type Next = Option<u64>;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, input: &u64, output: Option<&u64>) -> Option<u64> {
        let sum = state + input;
        output.is_none_or(|output| *output == sum).then_some(sum)
    }
}

struct Adders(Bug);

impl Workload for Adders {
    type Machine = Sum;
    type Model = Adding;

    fn machine(&self) -> Sum {
        Sum {
            total: 0,
            bug: self.0,
            lives: LIVES.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        }
    }

    fn model(&self) -> Adding {
        Adding
    }

    fn state_hash(machine: &Sum) -> u64 {
        machine.total
    }

    fn ask(&self, rng: &mut fastrand::Rng) -> u64 {
        rng.u64(0..3)
    }

    fn command(&self, ask: &u64) -> Option<Bytes> {
        (*ask > 0).then(|| Bytes::from(vec![0; *ask as usize]))
    }

    fn written(&self, _ask: &u64, output: u64) -> u64 {
        output
    }

    fn read(&self, machine: &Sum, _ask: &u64) -> u64 {
        machine.total
    }
}

#[test]
fn a_state_machine_of_ones_own() {
    for seed in [1, 2] {
        good(&run_own(&Setup::draw(seed), Adders(Bug::None)));
    }
}

#[test]
fn one_that_is_not_deterministic_is_found() {
    let setup = Setup {
        nodes: 3,
        ..Setup::draw(1)
    };
    let violation = run_own(&setup, Adders(Bug::NotDeterministic))
        .violation
        .unwrap();
    assert!(violation.invariant.starts_with("I5"), "{violation}");
}

#[test]
fn a_wrong_answer_is_found_and_the_run_made_small() {
    let setup = Setup::draw(1);
    let run = |setup: &Setup| run_own(setup, Adders(Bug::OldAnswer));
    let report = run(&setup);
    let violation = report.violation.as_ref().unwrap();
    assert!(violation.invariant.starts_with("I14"), "{violation}");
    let small = shrink(report, 60, run);
    let violation = small.violation.as_ref().unwrap();
    assert!(violation.invariant.starts_with("I14"), "{violation}");
    assert!(small.setup.faults == Faults::NONE, "{:?}", small.setup);
    assert_eq!((small.setup.nodes, small.setup.clients), (1, 1));
    assert!(small.setup.horizon < setup.horizon / 2, "{:?}", small.setup);
    assert_eq!(run(&small.setup).hash, small.hash);
}
