//! A state machine of one's own, in the simulator: an account that must never be overdrawn, and a bug that only a restart shows.
//!
//! `cargo run --release -p raft-kv --features sim --example simulate` runs a hundred clusters under faults in some seconds, finds the
//! bug in the second version, and looks for the smallest run that shows it.

use std::io::{self, Read};

use bytes::Bytes;
use fastrand::Rng;
use raft_core::LogId;
use raft_kv::node::{Halt, Image, StateMachine};
use raft_kv::sim::linearizability::Model;
use raft_kv::sim::{Setup, Workload, run_own, shrink};

/// An account: a command is an amount, signed, in eight bytes.
#[derive(Default)]
struct Account {
    balance: i64,
    /// Only in the version with the bug: how many commands *this process* has applied.
    applied_here: Option<u64>,
}

impl StateMachine for Account {
    /// The balance, or none when it would have been overdrawn.
    type Output = Option<i64>;

    fn apply(&mut self, at: LogId, command: &Bytes) -> Result<Option<i64>, Halt> {
        let amount = command.as_ref().try_into().map(i64::from_le_bytes);
        let amount = amount.map_err(|_| Halt(format!("{at} is no amount")))?;
        if let Some(applied) = &mut self.applied_here {
            *applied += 1;
        }
        // The bug: it decides by something that is not part of the state.
        let generous = self
            .applied_here
            .is_some_and(|applied| at.index.0 - applied > 12);
        if self.balance + amount < 0 && !generous {
            return Ok(None);
        }
        self.balance += amount;
        Ok(Some(self.balance))
    }

    fn image(&self) -> Image {
        let state = self.balance;
        Image::new(move |out| out.write_all(&state.to_le_bytes()))
    }

    fn empty(&self) -> Self {
        Self {
            balance: 0,
            applied_here: self.applied_here.map(|_| 0),
        }
    }

    fn restore(&mut self, _at: LogId, from: &mut dyn Read) -> io::Result<()> {
        let mut state = [0; 8];
        from.read_exact(&mut state)?;
        self.balance = i64::from_le_bytes(state);
        Ok(())
    }
}

/// What an account should be like.
struct Book;

impl Model for Book {
    /// What is paid in or taken out; 0 asks for the balance.
    type Input = i64;
    type Output = Option<i64>;
    type State = i64;
    type Next = Option<i64>;

    fn initial(&self) -> i64 {
        0
    }

    fn step(&self, balance: &i64, amount: &i64, output: Option<&Option<i64>>) -> Option<i64> {
        let sum = balance + amount;
        let (next, answer) = if sum < 0 {
            (*balance, None)
        } else {
            (sum, Some(sum))
        };
        output
            .is_none_or(|output| *output == answer)
            .then_some(next)
    }
}

/// The customers.
#[derive(Clone, Copy)]
struct Customers {
    with_bug: bool,
}

impl Workload for Customers {
    type Machine = Account;
    type Model = Book;

    fn machine(&self) -> Account {
        Account {
            balance: 0,
            applied_here: self.with_bug.then_some(0),
        }
    }

    fn model(&self) -> Book {
        Book
    }

    fn state_hash(account: &Account) -> u64 {
        account.balance.cast_unsigned()
    }

    fn ask(&self, rng: &mut Rng) -> i64 {
        if rng.u8(0..4) == 0 {
            0
        } else {
            rng.i64(-10..=10)
        }
    }

    fn command(&self, amount: &i64) -> Option<Bytes> {
        (*amount != 0).then(|| Bytes::copy_from_slice(&amount.to_le_bytes()))
    }

    fn written(&self, _amount: &i64, output: Option<i64>) -> Option<i64> {
        output
    }

    fn read(&self, account: &Account, _amount: &i64) -> Option<i64> {
        Some(account.balance)
    }
}

fn main() {
    // A run that fails by a panic is reported, and so not printed where it happens.
    let right = Customers { with_bug: false };
    let acknowledged: u64 = (1..=100)
        .map(|seed| {
            let report = run_own(&Setup::draw(seed), right);
            assert!(
                report.violation.is_none(),
                "seed {seed}: {:?}",
                report.violation
            );
            report.acknowledged
        })
        .sum();
    println!("100 clusters under faults, {acknowledged} operations: all is well");

    let wrong = Customers { with_bug: true };
    let found = (1..=100)
        .map(|seed| run_own(&Setup::draw(seed), wrong))
        .find(|report| report.violation.is_some())
        .expect("the bug shows");
    let smaller = shrink(found, 200, |setup| run_own(setup, wrong));
    let (setup, violation) = (
        &smaller.setup,
        smaller.violation.as_ref().expect("it still fails"),
    );
    println!(
        "the bug shows with seed {}: {} nodes, {} clients, {:.1} s, {} faults",
        setup.seed,
        setup.nodes,
        setup.clients,
        setup.horizon.as_secs_f64(),
        smaller.occurrences.len()
    );
    println!("{violation}");
}
