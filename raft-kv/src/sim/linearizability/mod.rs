//! Were the answers that clients got those of one machine that did one operation after the other, each at some moment between
//! its invocation and its answer (Herlihy and Wing 1990; paper §8)?
//!
//! A [`Model`] says what that machine does, a [`History`] what the clients saw, and [`check`] looks for an order that explains
//! it. An operation whose outcome nobody knows may have taken effect at any time after its invocation, or never.
//!
//! ```
//! use raft_kv::sim::linearizability::{History, Model, Verdict, check};
//!
//! /// A register that is read (`None`) and written.
//! struct Register;
//!
//! impl Model for Register {
//!     type Input = Option<u32>;
//!     type Output = u32;
//!     type State = u32;
//!     type Next = Option<u32>;
//!
//!     fn initial(&self) -> u32 {
//!         0
//!     }
//!
//!     fn step(&self, state: &u32, input: &Option<u32>, output: Option<&u32>) -> Option<u32> {
//!         match (input, output) {
//!             (Some(written), _) => Some(*written),
//!             (None, Some(read)) => (read == state).then_some(*state),
//!             (None, None) => Some(*state),
//!         }
//!     }
//! }
//!
//! let mut history = History::new();
//! let write = history.invoke(1, Some(7), 10);
//! let read = history.invoke(2, None, 12);
//! history.complete(read, 7, 14);
//! // The write is never answered, and was applied all the same: somebody has read it.
//! assert!(check(&Register, &history, 1000).is_linearizable());
//!
//! // Back to the old value is not possible.
//! let late = history.invoke(2, None, 20);
//! history.complete(late, 0, 22);
//! let Verdict::NotLinearizable(violation) = check(&Register, &history, 1000) else { panic!() };
//! println!("{violation}");
//! # let _ = write;
//! ```
//!
//! # How it searches
//!
//! Depth first through the orders, an operation at a time (Wing and Gong 1993), with a memory of what was visited: which answered
//! operations are placed, and in which state (Lowe 2017). To find whether an order exists takes exponential time in the worst
//! case, so the search has a budget; running out of it is [`Verdict::Inconclusive`], and never a pass. What keeps it short:
//!
//! - Only what was invoked before the first answer that is not placed yet can come next.
//! - Operations without an answer come last, never where they change nothing, and of those that are alike
//!   ([`Model::interchangeable`]) only the earliest. A state that was visited with fewer of them placed is not visited again.
//! - A model may say in which order to try ([`Model::hint`]), where answers tell it, as revisions do.
//! - Operations on different keys can be checked by themselves: [`check_by_key`] (linearizability is local).
//!
//! [`kv`] has the models of this crate's own store, and [`revisions`] a cheap check of its revisions alone.

mod bits;
mod history;
pub mod kv;
pub mod revisions;
mod search;
mod verdict;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

pub use history::{History, Operation, OperationId, Outcome};
pub use verdict::{Line, Verdict, Violation};

/// What a machine does that does one operation after the other.
pub trait Model {
    /// What is asked of it.
    type Input: PartialEq + Debug;
    /// What it answers.
    type Output: Debug;
    /// What it knows.
    type State: Clone + Eq + Hash + Debug;
    /// The states after an operation: an `Option` where there is one at most, a `Vec` or an array where there may be more.
    type Next: IntoIterator<Item = Self::State>;

    /// The state that every history begins with.
    fn initial(&self) -> Self::State;

    /// The states that `input` may lead to if it is answered with `output`; none if it cannot be answered so in this state.
    ///
    /// Without an output nobody knows what it would have been: all states that the operation may lead to, whatever it answers.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Self::Next;

    /// Whether it makes no difference to any answer *of the history* which of the two operations was carried out, both being
    /// without an answer. Equal inputs are alike; a model that knows more saves much time where many outcomes are unknown.
    ///
    /// Has to be an equivalence: alike are also two that are both like a third.
    fn interchangeable(&self, one: &Self::Input, other: &Self::Input) -> bool {
        one == other
    }

    /// Where in the order an answered operation probably stands: those with lower numbers are tried first, those without one
    /// last. It may be wrong; that only costs time.
    fn hint(&self, _input: &Self::Input, _output: &Self::Output) -> Option<u64> {
        None
    }

    /// The operation, for people.
    fn describe(&self, input: &Self::Input, output: Option<&Self::Output>) -> String {
        match output {
            Some(output) => format!("{input:?} -> {output:?}"),
            None => format!("{input:?} -> ?"),
        }
    }
}

/// Whether the history is linearizable, found out in at most `budget` steps of the model.
pub fn check<M: Model>(model: &M, history: &History<M::Input, M::Output>, budget: u64) -> Verdict {
    search::check(model, &history.operations().collect::<Vec<_>>(), budget).0
}

/// As [`check`], for a model of one key, each key by itself. A key for which there is no verdict within the budget, which is for all
/// of them, leaves the others to be checked: only when none is found bad is the whole inconclusive.
pub fn check_by_key<M: Model, K: Ord>(
    model: &M,
    history: &History<M::Input, M::Output>,
    key: impl Fn(&M::Input) -> K,
    budget: u64,
) -> Verdict {
    let mut parts: BTreeMap<K, Vec<_>> = BTreeMap::new();
    for operation in history.operations() {
        parts
            .entry(key(&operation.input))
            .or_default()
            .push(operation);
    }
    // The short ones first: a long one may take all the budget.
    let mut parts: Vec<_> = parts.into_values().collect();
    parts.sort_by_key(Vec::len);
    let mut whole = Verdict::Linearizable;
    let mut left = budget;
    for part in parts {
        let (verdict, steps) = search::check(model, &part, left);
        left -= steps;
        match verdict {
            Verdict::Linearizable => {}
            Verdict::NotLinearizable(_) => return verdict,
            Verdict::Inconclusive { .. } => whole = Verdict::Inconclusive { steps: budget },
        }
    }
    whole
}
