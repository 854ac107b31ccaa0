//! Small machines, each with its notation.

use std::fmt::Debug;

use raft_kv::sim::linearizability::{History, Model};

use super::{Random, parse};

/// A machine that carries out what it is asked, and says what that gives.
pub(crate) trait Machine: Sized + Default {
    type Input: Clone + PartialEq + Debug;
    type Output: Clone + PartialEq + Debug;
    type State: Clone + Eq + std::hash::Hash + Debug + Default;

    fn carry_out(state: &mut Self::State, input: &Self::Input) -> Self::Output;

    /// An operation out of few, so that many are alike.
    fn any(random: &mut Random) -> Self::Input;

    fn operation(text: &str) -> Self::Input;
    fn answer(text: &str) -> Self::Output;

    fn history(text: &str) -> History<Self::Input, Self::Output> {
        parse(text, Self::operation, |_, text| Self::answer(text))
    }
}

/// The model of a machine.
pub(crate) struct Of<M>(pub(crate) M);

impl<M: Machine> Model for Of<M> {
    type Input = M::Input;
    type Output = M::Output;
    type State = M::State;
    type Next = Option<M::State>;

    fn initial(&self) -> M::State {
        M::State::default()
    }

    fn step(
        &self,
        state: &M::State,
        input: &M::Input,
        output: Option<&M::Output>,
    ) -> Option<M::State> {
        let mut state = state.clone();
        let answer = M::carry_out(&mut state, input);
        output
            .is_none_or(|output| *output == answer)
            .then_some(state)
    }
}

/// `write 1 -> ok`, `read -> 1`; begins with 0.
#[derive(Default)]
pub(crate) struct Register;

impl Machine for Register {
    type Input = Option<u64>;
    type Output = Option<u64>;
    type State = u64;

    fn carry_out(state: &mut u64, input: &Option<u64>) -> Option<u64> {
        match input {
            None => Some(*state),
            Some(value) => {
                *state = *value;
                None
            }
        }
    }

    fn any(random: &mut Random) -> Option<u64> {
        random.percent(50).then(|| 1 + random.below(3))
    }

    fn operation(text: &str) -> Option<u64> {
        match words(text)[..] {
            ["read"] => None,
            ["write", value] => Some(number(value)),
            _ => panic!("{text}"),
        }
    }

    fn answer(text: &str) -> Option<u64> {
        (text != "ok").then(|| number(text))
    }
}

/// `cas 0 1 -> ok` or `-> no`, `read -> 1`; begins with 0.
#[derive(Default)]
pub(crate) struct Cas;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum CasInput {
    Read,
    Swap(u64, u64),
}

impl Machine for Cas {
    type Input = CasInput;
    type Output = Result<u64, bool>;
    type State = u64;

    fn carry_out(state: &mut u64, input: &CasInput) -> Result<u64, bool> {
        match *input {
            CasInput::Read => Ok(*state),
            CasInput::Swap(from, to) => {
                let swaps = *state == from;
                if swaps {
                    *state = to;
                }
                Err(swaps)
            }
        }
    }

    fn any(random: &mut Random) -> CasInput {
        if random.percent(40) {
            CasInput::Read
        } else {
            CasInput::Swap(random.below(3), random.below(3))
        }
    }

    fn operation(text: &str) -> CasInput {
        match words(text)[..] {
            ["read"] => CasInput::Read,
            ["cas", from, to] => CasInput::Swap(number(from), number(to)),
            _ => panic!("{text}"),
        }
    }

    fn answer(text: &str) -> Result<u64, bool> {
        match text {
            "ok" => Err(true),
            "no" => Err(false),
            value => Ok(number(value)),
        }
    }
}

/// `add 2 -> 5` says what it comes to, `add 0` reads; begins with 0.
#[derive(Default)]
pub(crate) struct Counter;

impl Machine for Counter {
    type Input = u64;
    type Output = u64;
    type State = u64;

    fn carry_out(state: &mut u64, input: &u64) -> u64 {
        *state += input;
        *state
    }

    fn any(random: &mut Random) -> u64 {
        random.below(3)
    }

    fn operation(text: &str) -> u64 {
        match words(text)[..] {
            ["add", more] => number(more),
            _ => panic!("{text}"),
        }
    }

    fn answer(text: &str) -> u64 {
        number(text)
    }
}

/// A lock with a fencing token: `take -> 1` or `-> held`, `free 1 -> ok` or `-> no`.
#[derive(Default)]
pub(crate) struct Lock;

impl Machine for Lock {
    type Input = Option<u64>;
    type Output = Result<u64, bool>;
    /// The last token, and whether it is held.
    type State = (u64, bool);

    fn carry_out(state: &mut (u64, bool), input: &Option<u64>) -> Result<u64, bool> {
        let (token, held) = state;
        match input {
            None if *held => Err(false),
            None => {
                *held = true;
                *token += 1;
                Ok(*token)
            }
            Some(freed) => {
                let holds = *held && freed == token;
                *held &= !holds;
                Err(holds)
            }
        }
    }

    fn any(random: &mut Random) -> Option<u64> {
        random.percent(50).then(|| 1 + random.below(3))
    }

    fn operation(text: &str) -> Option<u64> {
        match words(text)[..] {
            ["take"] => None,
            ["free", token] => Some(number(token)),
            _ => panic!("{text}"),
        }
    }

    fn answer(text: &str) -> Result<u64, bool> {
        match text {
            "ok" => Err(true),
            "held" | "no" => Err(false),
            token => Ok(number(token)),
        }
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}
