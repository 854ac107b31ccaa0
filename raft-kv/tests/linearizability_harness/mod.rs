//! Histories as text, histories that are linearizable because they were made by one machine, and a checker that is too simple to
//! be wrong.

#![allow(dead_code, reason = "each test binary needs a part of it")]

pub(crate) mod models;
pub(crate) mod store;

use raft_kv::sim::linearizability::{History, Model, Operation, Outcome};

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below another.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Reads a history of lines such as `A  write 1 -> ok  [0..3]`; `[0..?]` says that the outcome is unknown. `#` begins a comment.
pub(crate) fn parse<I, O>(
    text: &str,
    operation: impl Fn(&str) -> I,
    answer: impl Fn(&I, &str) -> O,
) -> History<I, O> {
    let mut history = History::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (what, when) = line
            .rsplit_once('[')
            .unwrap_or_else(|| panic!("no times: {line}"));
        let (client, what) = what
            .trim()
            .split_once(' ')
            .unwrap_or_else(|| panic!("{line}"));
        let (from, to) = when.trim_end_matches(']').split_once("..").unwrap();
        let (input, output) = match what.split_once("->") {
            Some((input, output)) => (input.trim(), Some(output.trim())),
            None => (what.trim(), None),
        };
        let input = operation(input);
        let output = output.map(|text| answer(&input, text));
        let client = client
            .bytes()
            .fold(0, |number, byte| number * 256 + u64::from(byte));
        let id = history.invoke(client, input, from.trim().parse().unwrap());
        match (to.trim(), output) {
            ("?", None) => {}
            ("?", Some(_)) => panic!("an answer at no time: {line}"),
            (at, Some(output)) => history.complete(id, output, at.parse().unwrap()),
            (_, None) => panic!("a time without an answer: {line}"),
        }
    }
    history
}

/// The history of these operations.
pub(crate) fn history<I: Clone, O: Clone>(operations: &[Operation<I, O>]) -> History<I, O> {
    let mut history = History::new();
    for operation in operations {
        let id = history.invoke(operation.client, operation.input.clone(), operation.invoked);
        if let Outcome::Returned { output, at } = &operation.outcome {
            history.complete(id, output.clone(), *at);
        }
    }
    history
}

/// Tries every order of every choice of the unanswered operations.
pub(crate) fn brute_force<M: Model>(model: &M, history: &History<M::Input, M::Output>) -> bool {
    let operations: Vec<_> = history.operations().collect();
    goes_on(model, &operations, 0, &model.initial())
}

fn goes_on<M: Model>(
    model: &M,
    operations: &[&Operation<M::Input, M::Output>],
    placed: u64,
    state: &M::State,
) -> bool {
    let left = || (0..operations.len()).filter(|at| placed & (1 << at) == 0);
    if left().all(|at| operations[at].returned().is_none()) {
        return true;
    }
    left().any(|at| {
        let operation = operations[at];
        let in_time = left().all(|other| {
            operations[other]
                .returned()
                .is_none_or(|returned| returned >= operation.invoked)
        });
        in_time
            && model
                .step(state, &operation.input, operation.output())
                .into_iter()
                .any(|state| goes_on(model, operations, placed | (1 << at), &state))
    })
}

/// How clients behave.
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) operations: usize,
    /// Of so many operations the outcome is not known to anyone.
    pub(crate) unknown_percent: u64,
}

/// What a client's operation has come to.
enum Stage<I, O> {
    Idle,
    Asked(raft_kv::sim::linearizability::OperationId, I),
    Applied(raft_kv::sim::linearizability::OperationId, O),
}

/// Clients ask one machine, each one thing at a time, and overlap. Of the operations with an unknown outcome, some are never applied
/// and some long after. `apply` is told whether the answer will be heard. The history is linearizable.
pub(crate) fn run_clients<I: Clone, O>(
    random: &mut Random,
    plan: &Plan,
    mut ask: impl FnMut(&mut Random) -> I,
    mut apply: impl FnMut(&I, bool) -> O,
) -> History<I, O> {
    let mut history = History::new();
    let mut clients: Vec<Stage<I, O>> = (0..plan.clients).map(|_| Stage::Idle).collect();
    let mut wandering: Vec<I> = Vec::new();
    let mut now = 0;
    let mut asked = 0;
    while asked < plan.operations || clients.iter().any(|client| !matches!(client, Stage::Idle)) {
        now += 1;
        if !wandering.is_empty() && random.percent(5) {
            let late = wandering.swap_remove(random.below(wandering.len() as u64) as usize);
            apply(&late, false);
        }
        let at = random.below(plan.clients as u64) as usize;
        clients[at] = match std::mem::replace(&mut clients[at], Stage::Idle) {
            Stage::Idle if asked == plan.operations => Stage::Idle,
            Stage::Idle => {
                asked += 1;
                let input = ask(random);
                let id = history.invoke(at as u64, input.clone(), now);
                Stage::Asked(id, input)
            }
            Stage::Asked(_, input) if random.percent(plan.unknown_percent) => {
                match random.below(3) {
                    0 => drop(apply(&input, false)),
                    1 => wandering.push(input),
                    _ => {}
                }
                Stage::Idle
            }
            Stage::Asked(id, input) => Stage::Applied(id, apply(&input, true)),
            Stage::Applied(id, output) => {
                history.complete(id, output, now);
                Stage::Idle
            }
        };
    }
    history
}

/// The history with something changed that may no longer be explained: an answer taken from elsewhere, two answers swapped, an answer
/// that came earlier, or a question that was asked later.
pub(crate) fn mutated<I: Clone + PartialEq, O: Clone>(
    random: &mut Random,
    original: &History<I, O>,
    same_kind: impl Fn(&I, &I) -> bool,
) -> History<I, O> {
    let mut operations: Vec<_> = original.operations().cloned().collect();
    let answered: Vec<usize> = (0..operations.len())
        .filter(|&at| operations[at].output().is_some())
        .collect();
    if answered.is_empty() {
        return original.clone();
    }
    let pick = |random: &mut Random| answered[random.below(answered.len() as u64) as usize];
    let (one, other) = (pick(random), pick(random));
    let (output, other_output) = (
        operations[one].output().cloned(),
        operations[other].output().cloned(),
    );
    let (Some(output), Some(other_output)) = (output, other_output) else {
        return original.clone();
    };
    let fits = same_kind(&operations[one].input, &operations[other].input);
    let (invoked, returned) = (operations[one].invoked, operations[one].returned().unwrap());
    match random.below(4) {
        0 if fits => set_output(&mut operations[one], other_output),
        1 if fits => {
            set_output(&mut operations[one], other_output);
            set_output(&mut operations[other], output);
        }
        2 => {
            let at = invoked + random.below(returned - invoked + 1);
            operations[one].outcome = Outcome::Returned { output, at };
        }
        _ => operations[one].invoked = invoked + random.below(returned - invoked + 1),
    }
    history(&operations)
}

fn set_output<I, O>(operation: &mut Operation<I, O>, output: O) {
    let at = operation.returned().unwrap();
    operation.outcome = Outcome::Returned { output, at };
}
