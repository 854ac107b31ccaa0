//! What is simulated beside the nodes: the state machine, and those who use it.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use raft_core::LogId;
use raft_net_tcp::Frame;

use super::agenda::Time;
use super::marks::Marks;
use super::net::LinkId;
use super::observed::Observed;
use super::trace::Happening;
use crate::node::StateMachine;
use crate::node::inbox::{Context, Inspection};
use crate::node::replica::{ReadFailure, ReadRequest, WriteFailure};

/// The output of an application's state machine.
pub(crate) type Output<A> = <<A as App>::Machine as StateMachine>::Output;

/// A state machine as the nodes have it: with what it applied written down.
pub(crate) type Machine<A> = Observed<<A as App>::Machine>;

/// A state machine, its clients, and what serves them at the nodes.
pub(crate) trait App: Sized {
    type Machine: StateMachine;
    /// Who waits for a write, for a read, and for a node's word on itself.
    type Write;
    type Read;
    type Status;

    /// A new state machine, of a release that follows this version.
    fn machine(&self, follows: u16) -> Self::Machine;

    /// A hash of all of its state: equal states, equal hashes.
    fn state_hash(machine: &Self::Machine) -> u64;

    /// A client's time has come; each begins with one.
    fn wake(&mut self, client: usize, desk: &mut Desk<'_, Self>);

    /// A client's connection is open, to a node of this cluster.
    fn connected(
        &mut self,
        client: usize,
        link: LinkId,
        cluster: [u8; 16],
        desk: &mut Desk<'_, Self>,
    );

    /// A client's connection is over, or could not be made.
    fn disconnected(
        &mut self,
        client: usize,
        link: LinkId,
        reason: &str,
        desk: &mut Desk<'_, Self>,
    );

    /// A node has answered a client.
    fn answered(&mut self, client: usize, link: LinkId, frame: Frame, desk: &mut Desk<'_, Self>);

    /// A client has asked a node.
    fn asked(
        &self,
        context: &Context<'_, Self::Machine>,
        link: LinkId,
        frame: Frame,
    ) -> Asked<Self>;

    /// A write has ended, at a node.
    fn written(
        &mut self,
        context: &Context<'_, Self::Machine>,
        ticket: Self::Write,
        result: Result<(LogId, Output<Self>), WriteFailure>,
        desk: &mut Desk<'_, Self>,
    );

    /// A read may be answered now, at a node, or never.
    fn read(
        &mut self,
        context: &mut Context<'_, Self::Machine>,
        ticket: Self::Read,
        result: Result<(), ReadFailure>,
        desk: &mut Desk<'_, Self>,
    );

    /// A node is to say how it is.
    fn inspected(
        &mut self,
        inspection: &Inspection<'_, Machine<Self>, Self::Write, Self::Read>,
        ticket: Self::Status,
        desk: &mut Desk<'_, Self>,
    );

    /// Clients end what is under way, and begin nothing more.
    fn rest(&mut self, rest: bool);

    /// How many operations were acknowledged so far.
    fn acknowledged(&self) -> u64;

    /// How many operations ran at the same time as another on the same key, if there are keys.
    fn concurrent(&self) -> u64;

    /// How many operations have not ended.
    fn open(&self) -> usize;

    /// A call went to a node that does not run: it was surely not taken.
    fn call_failed(&mut self, call: Call<Self>) {
        let _ = call;
    }

    /// Judges all that clients saw, at the end of a run, and says what they reached.
    fn judge(&mut self, marks: &mut Marks) -> Judgement;
}

/// How many of these spans overlap with another.
pub(super) fn concurrent(spans: impl Iterator<Item = (u64, u64)>) -> u64 {
    let mut spans: Vec<(u64, u64)> = spans.collect();
    spans.sort_unstable();
    let mut overlaps = vec![false; spans.len()];
    let mut longest = 0;
    for next in 1..spans.len() {
        if spans[next].0 <= spans[longest].1 {
            overlaps[next] = true;
            overlaps[longest] = true;
        }
        if spans[next].1 >= spans[longest].1 {
            longest = next;
        }
    }
    overlaps.into_iter().filter(|overlaps| *overlaps).count() as u64
}

/// What clients saw, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It can be explained.
    Good,
    /// It could not be judged within the budget.
    Inconclusive(String),
    /// It cannot be explained.
    Bad(String),
}

/// What a client's frame asks a node for.
pub(crate) enum Asked<A: App> {
    Write(Bytes, A::Write),
    Read(ReadRequest<A::Read>),
    Status(A::Status),
    /// The answer is made at the door.
    Answer(Letter),
    /// It is no request: the connection ends.
    HangUp,
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) kind: u8,
    pub(crate) request_id: u64,
    pub(crate) body: Vec<Bytes>,
}

/// What a client, or a node's door, wants done.
pub(crate) enum Order<A: App> {
    /// Wake this client up.
    Wake { client: usize, at: Time },
    /// Connect a client to a node's address.
    Dial {
        client: usize,
        link: LinkId,
        address: String,
        cluster: [u8; 16],
    },
    /// End a client's connection.
    HangUp { link: LinkId },
    /// Send, from a client.
    Ask { link: LinkId, letter: Letter },
    /// Send, from a node.
    Answer { link: LinkId, letter: Letter },
    /// Ask a node without a connection, as a program does that has the node in itself.
    Call { host: usize, call: Call<A> },
    /// Write down that a client sends a request on this connection.
    Tried {
        client: usize,
        operation: Option<usize>,
        link: LinkId,
        write: Option<(u64, u64)>,
    },
    /// Write down what a client does.
    Tell(Happening),
}

/// What is asked of a node in the own process.
pub(crate) enum Call<A: App> {
    Write(Bytes, A::Write),
    Read(ReadRequest<A::Read>),
}

/// Where orders are left, and what may be known while they are given.
pub(crate) struct Desk<'a, A: App> {
    pub(crate) now: Time,
    pub(crate) rng: &'a mut Rng,
    pub(super) last_link: &'a mut u64,
    pub(super) orders: &'a mut Vec<Order<A>>,
}

impl<A: App> Desk<'_, A> {
    pub(crate) fn order(&mut self, order: Order<A>) {
        self.orders.push(order);
    }

    pub(crate) fn wake_in(&mut self, client: usize, delay: Duration) {
        let at = self.now + delay;
        self.order(Order::Wake { client, at });
    }

    /// A name for a new connection.
    pub(crate) fn fresh_link(&mut self) -> LinkId {
        *self.last_link += 1;
        LinkId(*self.last_link)
    }
}
