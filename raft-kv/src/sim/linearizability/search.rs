//! The search for an order: depth first, with a memory of what was visited.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::bits::Bits;
use super::verdict::{Line, Verdict, Violation};
use super::{Model, Operation};

/// The verdict, and how many steps of the model it took.
pub(super) fn check<M: Model>(
    model: &M,
    operations: &[&Operation<M::Input, M::Output>],
    budget: u64,
) -> (Verdict, u64) {
    let mut search = Search::new(model, operations, budget);
    let found = search.run();
    let verdict = match found {
        Some(true) => Verdict::Linearizable,
        Some(false) => Verdict::NotLinearizable(Box::new(search.violation())),
        None => Verdict::Inconclusive {
            steps: search.steps,
        },
    };
    (verdict, search.steps)
}

/// An operation that may come next.
#[derive(Clone, Copy)]
enum Choice {
    /// One with an answer, by its place among those.
    Answered(usize),
    /// One without.
    Open(usize),
}

/// An operation without an answer.
struct Open<'a, I, O> {
    operation: &'a Operation<I, O>,
    /// The one like it that was invoked before it, and has to be placed before it.
    before: Option<usize>,
}

/// A point on the way: a state, and what has not been tried yet from there.
struct Frame<S> {
    /// What was placed to come here.
    placed: Option<Choice>,
    state: S,
    /// The first answer that is not placed yet: what was invoked later cannot come next.
    deadline: u64,
    /// The answered operations that may come next, the last first.
    answered: Vec<usize>,
    /// The first of the open ones that was not tried yet.
    open: usize,
    /// The states that the choice made last may lead to, besides those tried.
    next: Vec<(Choice, S)>,
}

/// The point at which most was placed and nothing went on.
struct Stuck<S> {
    placed: Vec<Choice>,
    answered: usize,
    state: S,
    refused: Vec<usize>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    /// In the order of their invocations.
    answered: Vec<&'a Operation<M::Input, M::Output>>,
    open: Vec<Open<'a, M::Input, M::Output>>,
    /// Which of the answered ones are placed, and how many they are.
    placed: Bits,
    placed_count: usize,
    /// Which of the open ones are placed.
    used: Bits,
    /// What was visited: for the same answered operations and the same state, with which open ones.
    visited: HashMap<(Bits, M::State), Vec<Bits>>,
    stuck: Option<Stuck<M::State>>,
    steps: u64,
    budget: u64,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &[&'a Operation<M::Input, M::Output>], budget: u64) -> Self {
        let mut operations = operations.to_vec();
        operations.sort_by_key(|operation| operation.invoked);
        let (answered, unknown): (Vec<_>, Vec<_>) = operations
            .into_iter()
            .partition(|operation| operation.output().is_some());
        let mut open: Vec<Open<'a, M::Input, M::Output>> = Vec::new();
        for operation in unknown {
            let alike = |other: &Open<'_, M::Input, M::Output>| {
                model.interchangeable(&other.operation.input, &operation.input)
            };
            let before = open.iter().rposition(alike);
            open.push(Open { operation, before });
        }
        Self {
            model,
            answered,
            open,
            placed: Bits::default(),
            placed_count: 0,
            used: Bits::default(),
            visited: HashMap::new(),
            stuck: None,
            steps: 0,
            budget,
        }
    }

    /// Whether there is an order; none when the budget was used up.
    fn run(&mut self) -> Option<bool> {
        let mut path = vec![self.frame(self.model.initial(), None)];
        while self.placed_count < self.answered.len() {
            let Some(top) = path.last_mut() else {
                return Some(false);
            };
            if let Some((choice, state)) = self.next(top)? {
                self.place(choice);
                if self.is_new(&state) {
                    path.push(self.frame(state, Some(choice)));
                } else {
                    self.take_back(choice);
                }
            } else {
                self.note_stuck(&path);
                if let Some(choice) = path.pop().and_then(|frame| frame.placed) {
                    self.take_back(choice);
                }
            }
        }
        Some(true)
    }

    fn frame(&self, state: M::State, placed: Option<Choice>) -> Frame<M::State> {
        let (mut answered, deadline) = self.candidates();
        // Tried from the end: by the model's hint, and what was answered first before what was answered later.
        answered.sort_by_cached_key(|&at| {
            let operation = self.answered.get(at).copied();
            let output = operation.and_then(Operation::output);
            let hint = operation
                .zip(output)
                .and_then(|(operation, output)| self.model.hint(&operation.input, output));
            std::cmp::Reverse((
                hint.unwrap_or(u64::MAX),
                operation.and_then(Operation::returned),
            ))
        });
        Frame {
            placed,
            state,
            deadline,
            answered,
            open: 0,
            next: Vec::new(),
        }
    }

    /// The answered operations that may come next, and the first answer that is not placed.
    fn candidates(&self) -> (Vec<usize>, u64) {
        let mut deadline = u64::MAX;
        let mut candidates = Vec::new();
        let mut at = self.placed.next_absent(0);
        while let Some(operation) = self.answered.get(at)
            && operation.invoked <= deadline
        {
            deadline = deadline.min(operation.returned().unwrap_or(u64::MAX));
            candidates.push(at);
            at = self.placed.next_absent(at + 1);
        }
        (candidates, deadline)
    }

    /// The next step from a point that was not tried, and where it leads; the outer none when the budget is used up.
    fn next(&mut self, frame: &mut Frame<M::State>) -> Option<Option<(Choice, M::State)>> {
        loop {
            if let Some(next) = frame.next.pop() {
                return Some(Some(next));
            }
            let Some(choice) = self.choose(frame) else {
                return Some(None);
            };
            self.steps += 1;
            if self.steps > self.budget {
                self.steps = self.budget;
                return None;
            }
            let operation = self.operation(choice)?;
            let states = self
                .model
                .step(&frame.state, &operation.input, operation.output())
                .into_iter()
                // An open operation that changes nothing explains nothing.
                .filter(|state| matches!(choice, Choice::Answered(_)) || *state != frame.state);
            frame.next = states.map(|state| (choice, state)).collect();
            frame.next.reverse();
        }
    }

    /// The next operation to try: the answered ones before the open ones.
    fn choose(&self, frame: &mut Frame<M::State>) -> Option<Choice> {
        if let Some(at) = frame.answered.pop() {
            return Some(Choice::Answered(at));
        }
        loop {
            let at = frame.open;
            let open = self.open.get(at)?;
            if open.operation.invoked > frame.deadline {
                return None;
            }
            frame.open += 1;
            let in_turn = open.before.is_none_or(|before| self.used.contains(before));
            if in_turn && !self.used.contains(at) {
                return Some(Choice::Open(at));
            }
        }
    }

    fn operation(&self, choice: Choice) -> Option<&'a Operation<M::Input, M::Output>> {
        match choice {
            Choice::Answered(at) => self.answered.get(at).copied(),
            Choice::Open(at) => self.open.get(at).map(|open| open.operation),
        }
    }

    fn place(&mut self, choice: Choice) {
        match choice {
            Choice::Answered(at) => {
                self.placed.insert(at);
                self.placed_count += 1;
            }
            Choice::Open(at) => self.used.insert(at),
        }
    }

    fn take_back(&mut self, choice: Choice) {
        match choice {
            Choice::Answered(at) => {
                self.placed.remove(at);
                self.placed_count -= 1;
            }
            Choice::Open(at) => self.used.remove(at),
        }
    }

    /// Notes the point that was come to. Whether it is new: with the same answered operations placed, and in the same state, what can
    /// be done with more open operations left can be done with fewer placed, too.
    fn is_new(&mut self, state: &M::State) -> bool {
        match self.visited.entry((self.placed.clone(), state.clone())) {
            Entry::Vacant(entry) => {
                entry.insert(vec![self.used.clone()]);
                true
            }
            Entry::Occupied(mut entry) => {
                let with = entry.get_mut();
                if with.iter().any(|used| used.is_subset(&self.used)) {
                    return false;
                }
                with.retain(|used| !self.used.is_subset(used));
                with.push(self.used.clone());
                true
            }
        }
    }

    fn note_stuck(&mut self, path: &[Frame<M::State>]) {
        let further = |stuck: &Stuck<M::State>| self.placed_count > stuck.answered;
        if !self.stuck.as_ref().is_none_or(further) {
            return;
        }
        if let Some(top) = path.last() {
            self.stuck = Some(Stuck {
                placed: path.iter().filter_map(|frame| frame.placed).collect(),
                answered: self.placed_count,
                state: top.state.clone(),
                refused: self.candidates().0,
            });
        }
    }

    fn violation(&self) -> Violation {
        let line = |choice| {
            let operation = self.operation(choice)?;
            Some(Line::of(self.model, operation))
        };
        let mut refused: Vec<Line> = self
            .stuck
            .iter()
            .flat_map(|stuck| &stuck.refused)
            .filter_map(|&at| line(Choice::Answered(at)))
            .collect();
        refused.sort_by_key(|line| line.returned);
        let all = self.answered.len();
        let reason = self.stuck.as_ref().map_or_else(String::new, |stuck| {
            format!(
                "at most {} of {all} answered operations can be put in order; then nothing that could come next fits {:?}",
                stuck.answered, stuck.state
            )
        });
        Violation {
            reason,
            placed: self
                .stuck
                .iter()
                .flat_map(|stuck| &stuck.placed)
                .filter_map(|&choice| line(choice))
                .collect(),
            refused,
        }
    }
}
