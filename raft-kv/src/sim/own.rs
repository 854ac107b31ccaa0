//! A state machine of one's own, simulated: in a program that has the node in itself, as [`crate::node::Node`] is used.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use raft_core::{Index, LogId};
use raft_net_tcp::Frame;

use super::agenda::Time;
use super::app::{App, Asked, Call, Desk, Judgement, Order, concurrent};
use super::linearizability::{History, Model, OperationId, Verdict, check};
use super::net::LinkId;
use super::observed::Observed;
use super::random::until_next;
use super::run::{Report, run};
use super::setup::Setup;
use crate::node::StateMachine;
use crate::node::inbox::{Context, Inspection};
use crate::node::replica::{Freshness, NotDone, ReadFailure, ReadRequest, WriteFailure};

/// How long a caller waits for an answer before it gives up, not knowing.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many steps the search for an order may take.
const BUDGET: u64 = 2_000_000;

/// A state machine of one's own, and those who use it.
pub trait Workload {
    /// The state machine.
    type Machine: StateMachine;
    /// What it should be like: a model of it, by which the answers are judged.
    type Model: Model<Input: Clone>;

    /// A new state machine.
    fn machine(&self) -> Self::Machine;

    /// The model.
    fn model(&self) -> Self::Model;

    /// A hash of all of a state: the same for equal states, and another for others. Nodes are compared by it after every entry.
    fn state_hash(machine: &Self::Machine) -> u64;

    /// Something to ask for, by chance.
    fn ask(&self, rng: &mut Rng) -> <Self::Model as Model>::Input;

    /// The command that asks for it; none when it is a question, which is put to the state by [`Workload::read`].
    fn command(&self, ask: &<Self::Model as Model>::Input) -> Option<Bytes>;

    /// What the state machine's output says to whoever asked.
    fn written(
        &self,
        ask: &<Self::Model as Model>::Input,
        output: <Self::Machine as StateMachine>::Output,
    ) -> <Self::Model as Model>::Output;

    /// The answer to a question.
    fn read(
        &self,
        machine: &Self::Machine,
        ask: &<Self::Model as Model>::Input,
    ) -> <Self::Model as Model>::Output;
}

/// Runs a state machine of one's own.
///
/// ```
/// # use std::io::{self, Read};
/// # use bytes::Bytes;
/// # use raft_core::LogId;
/// # use raft_kv::node::{Halt, Image, StateMachine};
/// use raft_kv::sim::linearizability::Model;
/// use raft_kv::sim::{Setup, Workload, run_own};
///
/// /// What is replicated.
/// #[derive(Default)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     type Output = u64;
///
///     fn apply(&mut self, _at: LogId, command: &Bytes) -> Result<u64, Halt> {
///         self.0 += command.len() as u64;
///         Ok(self.0)
///     }
///
///     fn image(&self) -> Image {
///         let state = self.0;
///         Image::new(move |out| out.write_all(&state.to_le_bytes()))
///     }
///
///     fn empty(&self) -> Self {
///         Self::default()
///     }
///
///     fn restore(&mut self, _at: LogId, from: &mut dyn Read) -> io::Result<()> {
///         let mut state = [0; 8];
///         from.read_exact(&mut state)?;
///         self.0 = u64::from_le_bytes(state);
///         Ok(())
///     }
/// }
///
/// /// What it should be like: adding so much answers the sum; adding nothing is a question.
/// struct Sum;
///
/// impl Model for Sum {
///     type Input = u64;
///     type Output = u64;
///     type State = u64;
///     type Next = Option<u64>;
///
///     fn initial(&self) -> u64 {
///         0
///     }
///
///     fn step(&self, state: &u64, input: &u64, output: Option<&u64>) -> Option<u64> {
///         let sum = state + input;
///         output.is_none_or(|output| *output == sum).then_some(sum)
///     }
/// }
///
/// /// Who uses it.
/// struct Callers;
///
/// impl Workload for Callers {
///     type Machine = Counter;
///     type Model = Sum;
///
///     fn machine(&self) -> Counter {
///         Counter::default()
///     }
///
///     fn model(&self) -> Sum {
///         Sum
///     }
///
///     fn state_hash(machine: &Counter) -> u64 {
///         machine.0
///     }
///
///     fn ask(&self, rng: &mut fastrand::Rng) -> u64 {
///         rng.u64(0..3)
///     }
///
///     fn command(&self, ask: &u64) -> Option<Bytes> {
///         (*ask > 0).then(|| Bytes::from(vec![b'+'; *ask as usize]))
///     }
///
///     fn written(&self, _ask: &u64, output: u64) -> u64 {
///         output
///     }
///
///     fn read(&self, machine: &Counter, _ask: &u64) -> u64 {
///         machine.0
///     }
/// }
///
/// let report = run_own(&Setup::draw(7), Callers);
/// assert!(report.violation.is_none(), "{:?}", report.violation);
/// assert!(report.acknowledged > 100);
/// ```
pub fn run_own<W: Workload>(setup: &Setup, workload: W) -> Report {
    run(setup, Own::new(setup, workload), false)
}

/// Something asked for, and not answered.
struct Open<I> {
    client: usize,
    ask: I,
    id: OperationId,
    deadline: Time,
}

struct Own<W: Workload> {
    workload: W,
    hosts: usize,
    /// Where each client goes next.
    goes_to: Vec<usize>,
    /// Where each goes when it knows no better: to all in turn, for nodes that were removed may send it from one to the other for ever.
    turns: Vec<usize>,
    pause: Duration,
    open: BTreeMap<u64, Open<<W::Model as Model>::Input>>,
    last: u64,
    history: History<<W::Model as Model>::Input, <W::Model as Model>::Output>,
    acknowledged: u64,
    resting: bool,
}

impl<W: Workload> Own<W> {
    fn new(setup: &Setup, workload: W) -> Self {
        Self {
            workload,
            hosts: setup.hosts(),
            goes_to: (0..setup.clients)
                .map(|client| client % setup.nodes)
                .collect(),
            turns: (0..setup.clients).collect(),
            pause: Duration::from_millis(150),
            open: BTreeMap::new(),
            last: 0,
            history: History::new(),
            acknowledged: 0,
            resting: false,
        }
    }

    fn ask(&mut self, client: usize, desk: &mut Desk<'_, Self>) {
        let ask = self.workload.ask(desk.rng);
        self.last += 1;
        let ticket = self.last;
        let id = self
            .history
            .invoke(client as u64, ask.clone(), nanos(desk.now));
        let call = match self.workload.command(&ask) {
            Some(command) => Call::Write(command, ticket),
            None => Call::Read(ReadRequest {
                freshness: Freshness::Linearizable,
                min_applied: Index::ZERO,
                ticket,
            }),
        };
        let deadline = desk.now + PATIENCE;
        self.open.insert(
            ticket,
            Open {
                client,
                ask,
                id,
                deadline,
            },
        );
        let host = self.goes_to[client];
        desk.order(Order::Call { host, call });
    }

    /// Nobody knows what becomes of what was asked for long ago.
    fn give_up(&mut self, now: Time) {
        let late: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| open.deadline <= now)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in late {
            if let Some(open) = self.open.remove(&ticket) {
                self.goes_to[open.client] = (self.goes_to[open.client] + 1) % self.hosts;
            }
        }
    }

    fn refused(&mut self, ticket: u64, why: &NotDone) {
        let Some(open) = self.open.remove(&ticket) else {
            return;
        };
        self.history.never_applied(open.id);
        let elsewhere = match why {
            NotDone::NotLeader {
                leader: Some((node, _)),
            } => (node.0 - 1) as usize,
            NotDone::Busy => return,
            _ => {
                self.turns[open.client] += 1;
                self.turns[open.client]
            }
        };
        self.goes_to[open.client] = elsewhere % self.hosts;
    }

    fn answer(
        &mut self,
        ticket: u64,
        now: Time,
        make: impl FnOnce(&W, &<W::Model as Model>::Input) -> <W::Model as Model>::Output,
    ) {
        if let Some(open) = self.open.remove(&ticket) {
            let output = make(&self.workload, &open.ask);
            self.history.complete(open.id, output, nanos(now));
            self.acknowledged += 1;
        }
    }
}

fn nanos(time: Time) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<W: Workload> App for Own<W> {
    type Machine = W::Machine;
    type Write = u64;
    type Read = u64;
    type Status = ();

    // What it follows is its own.
    fn machine(&self, _follows: u16) -> W::Machine {
        self.workload.machine()
    }

    fn state_hash(machine: &W::Machine) -> u64 {
        W::state_hash(machine)
    }

    fn wake(&mut self, client: usize, desk: &mut Desk<'_, Self>) {
        self.give_up(desk.now);
        if !self.resting {
            self.ask(client, desk);
        }
        if !self.resting || !self.open.is_empty() {
            let pause = until_next(desk.rng, self.pause);
            desk.wake_in(client, pause);
        }
    }

    fn call_failed(&mut self, call: Call<Self>) {
        let (Call::Write(_, ticket) | Call::Read(ReadRequest { ticket, .. })) = call;
        self.refused(ticket, &NotDone::Stopping);
    }

    fn written(
        &mut self,
        _context: &Context<'_, W::Machine>,
        ticket: u64,
        result: Result<(LogId, <W::Machine as StateMachine>::Output), WriteFailure>,
        desk: &mut Desk<'_, Self>,
    ) {
        match result {
            Ok((_, output)) => self.answer(ticket, desk.now, |workload, ask| {
                workload.written(ask, output)
            }),
            Err(WriteFailure::Not(why)) => self.refused(ticket, &why),
            Err(WriteFailure::Unknown) => drop(self.open.remove(&ticket)),
        }
    }

    fn read(
        &mut self,
        context: &mut Context<'_, W::Machine>,
        ticket: u64,
        result: Result<(), ReadFailure>,
        desk: &mut Desk<'_, Self>,
    ) {
        match result {
            Ok(()) => self.answer(ticket, desk.now, |workload, ask| {
                workload.read(context.machine, ask)
            }),
            Err(ReadFailure(why)) => self.refused(ticket, &why),
        }
    }

    // Nobody connects.

    fn connected(&mut self, _: usize, _: LinkId, _: [u8; 16], _: &mut Desk<'_, Self>) {}

    fn disconnected(&mut self, _: usize, _: LinkId, _: &str, _: &mut Desk<'_, Self>) {}

    fn answered(&mut self, _: usize, _: LinkId, _: Frame, _: &mut Desk<'_, Self>) {}

    fn asked(&self, _: &Context<'_, W::Machine>, _: LinkId, _: Frame) -> Asked<Self> {
        Asked::HangUp
    }

    fn inspected(
        &mut self,
        _: &Inspection<'_, Observed<W::Machine>, u64, u64>,
        (): (),
        _: &mut Desk<'_, Self>,
    ) {
    }

    fn rest(&mut self, rest: bool) {
        self.resting = rest;
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// All of them are about one state.
    fn concurrent(&self) -> u64 {
        concurrent(self.history.operations().map(|operation| {
            let end = operation.returned().unwrap_or(u64::MAX);
            (operation.invoked, end)
        }))
    }

    fn open(&self) -> usize {
        self.open.len()
    }

    fn judge(&mut self, _marks: &mut super::marks::Marks) -> Judgement {
        match check(&self.workload.model(), &self.history, BUDGET) {
            Verdict::Linearizable => Judgement::Good,
            Verdict::NotLinearizable(violation) => Judgement::Bad(violation.to_string()),
            other => Judgement::Inconclusive(format!("{other:?}")),
        }
    }
}
