//! The key-value store and its clients, as they are simulated: the real store, door, wire and client machine.

mod client;
mod door;
mod judge;
mod told;

use std::collections::BTreeMap;

use raft_core::LogId;
use raft_net_tcp::Frame;

use super::agenda::Time;
use super::app::{App, Asked, Desk, Judgement, Letter, Order};
use super::marks::{Mark, Marks};
use super::net::LinkId;
use super::observed::Observed;
use super::run::{Report, run};
use super::setup::Setup;
use crate::api::{CommandReply, Response};
use crate::client::machine::{Ask, End};
use crate::node::inbox::{Context, Inspection};
use crate::node::replica::{ReadFailure, WriteFailure};
use crate::node::server::answer::Asking;
use crate::node::server::{answer, status};
use crate::store::{Limits, Settings, Store};
use crate::wire;
use client::Client;

/// Runs the key-value store.
#[must_use]
pub fn run_kv(setup: &Setup, whole_trace: bool) -> Report {
    run(setup, Kv::new(setup), whole_trace)
}

/// One operation of a client, from when it was asked to when it ended.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) ask: Ask,
    pub(crate) invoked: Time,
    pub(crate) ended: Option<(Time, End)>,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    link: LinkId,
    request_id: u64,
}

/// See the [module](self).
pub(crate) struct Kv {
    limits: Limits,
    clients: Vec<Client>,
    history: Vec<Operation>,
    /// Which client a connection is of.
    owners: BTreeMap<LinkId, usize>,
    acknowledged: u64,
    open: usize,
    resting: bool,
    unknown: u64,
}

impl Kv {
    fn new(setup: &Setup) -> Self {
        Self {
            limits: Limits::default(),
            clients: (0..setup.clients)
                .map(|number| Client::new(setup, number))
                .collect(),
            history: Vec::new(),
            owners: BTreeMap::new(),
            acknowledged: 0,
            open: 0,
            resting: false,
            unknown: 0,
        }
    }

    fn reply(desk: &mut Desk<'_, Self>, ticket: Ticket, response: &Response) {
        desk.order(Order::Answer {
            link: ticket.link,
            letter: Letter {
                kind: wire::kind::RESPONSE,
                request_id: ticket.request_id,
                body: wire::encode_response(response, wire::PROTOCOL_MAX),
            },
        });
    }

    /// Lets a client act, and carries on what its machine wants.
    fn drive(
        &mut self,
        number: usize,
        desk: &mut Desk<'_, Self>,
        act: impl FnOnce(&mut Client, Time),
    ) {
        let Some(client) = self.clients.get_mut(number) else {
            return;
        };
        act(client, desk.now);
        self.act(number, desk);
    }
}

impl App for Kv {
    type Machine = Store;
    type Write = Ticket;
    type Read = (Ticket, Asking);
    type Status = Ticket;

    fn machine(&self, follows: u16) -> Store {
        Store::following(Settings::default(), follows)
    }

    fn state_hash(store: &Store) -> u64 {
        store.state_hash()
    }

    fn wake(&mut self, client: usize, desk: &mut Desk<'_, Self>) {
        self.on_time(client, desk);
    }

    fn connected(
        &mut self,
        client: usize,
        link: LinkId,
        cluster: [u8; 16],
        desk: &mut Desk<'_, Self>,
    ) {
        self.drive(client, desk, |client, now| {
            client.connected(now, link, cluster);
        });
    }

    fn disconnected(
        &mut self,
        client: usize,
        link: LinkId,
        reason: &str,
        desk: &mut Desk<'_, Self>,
    ) {
        self.owners.remove(&link);
        self.drive(client, desk, |client, now| {
            client.disconnected(now, link, reason);
        });
    }

    fn answered(&mut self, client: usize, link: LinkId, frame: Frame, desk: &mut Desk<'_, Self>) {
        self.drive(client, desk, |client, now| {
            client.answered(now, link, frame);
        });
    }

    fn asked(&self, context: &Context<'_, Store>, link: LinkId, frame: Frame) -> Asked<Self> {
        door::asked(&self.limits, context, link, frame)
    }

    fn written(
        &mut self,
        context: &Context<'_, Store>,
        ticket: Ticket,
        result: Result<(LogId, CommandReply), WriteFailure>,
        desk: &mut Desk<'_, Self>,
    ) {
        let response = Response {
            header: answer::header(context),
            body: answer::written(result),
        };
        Self::reply(desk, ticket, &response);
    }

    fn read(
        &mut self,
        context: &mut Context<'_, Store>,
        (ticket, asking): (Ticket, Asking),
        result: Result<(), ReadFailure>,
        desk: &mut Desk<'_, Self>,
    ) {
        let body = answer::read(context, &asking, result);
        let response = Response {
            header: answer::header(context),
            body,
        };
        Self::reply(desk, ticket, &response);
    }

    fn inspected(
        &mut self,
        inspection: &Inspection<'_, Observed<Store>, Ticket, (Ticket, Asking)>,
        ticket: Ticket,
        desk: &mut Desk<'_, Self>,
    ) {
        let store = &inspection.replica.machine().inner;
        let (header, node) = status::status(inspection, store, 0);
        let body = Ok(crate::api::Reply::Status(node));
        Self::reply(desk, ticket, &Response { header, body });
    }

    fn rest(&mut self, rest: bool) {
        self.resting = rest;
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn concurrent(&self) -> u64 {
        judge::concurrent_on_a_key(&self.history)
    }

    fn open(&self) -> usize {
        self.open
    }

    fn judge(&mut self, marks: &mut Marks) -> Judgement {
        for _ in 0..self.unknown {
            marks.hit(Mark::Unknown);
        }
        let retries: u64 = self.clients.iter().map(Client::retries).sum();
        for _ in 0..retries {
            marks.hit(Mark::Retried);
        }
        let newer: u64 = self.clients.iter().map(Client::newer).sum();
        for _ in 0..newer {
            marks.hit(Mark::NewerCommand);
        }
        judge::judge(&self.history)
    }
}
