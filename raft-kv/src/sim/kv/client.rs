//! A client: the real request machine, and someone who asks it for things.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use raft_net_tcp::Frame;

use super::{Kv, Operation, told};
use crate::api::{self, Condition, KeyRange, Query};
use crate::client::machine::{Ask, Config, ConnectionId, End, Machine, Output, RequestKey};
use crate::sim::agenda::Time;
use crate::sim::app::{Desk, Letter, Order};
use crate::sim::faults::Fault;
use crate::sim::host::address;
use crate::sim::net::LinkId;
use crate::sim::random::{Purpose, stream, until_next};
use crate::sim::setup::Setup;
use crate::wire::{self, kind};

/// How many keys there are; the first is asked for most.
const KEYS: u64 = 4;
/// How long an operation may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where a request that writes says which cluster version its command needs: in every version of either.
const NEEDS_AT: usize = 6;

/// See the [module](self).
pub(super) struct Client {
    machine: Machine,
    /// Connections by their names here and there.
    links: BTreeMap<ConnectionId, LinkId>,
    names: BTreeMap<LinkId, ConnectionId>,
    /// Which operation of the history each request is.
    open: BTreeMap<RequestKey, usize>,
    /// How many it has under way at most.
    open_max: usize,
    /// How long it thinks between two, on average.
    pause: Duration,
    next_at: Time,
    asked: u64,
    /// What it has seen last of each key: its revision and value.
    seen: BTreeMap<Bytes, (u64, Bytes)>,
    woken_at: Option<Time>,
    /// Writes that were sent, by session and number.
    sent: BTreeSet<(u64, u64)>,
    retries: u64,
    /// Whether some of its commands are such as only the newer version has.
    mixes: bool,
    newer_open: BTreeSet<RequestKey>,
    newer: u64,
}

impl Client {
    pub(super) fn new(setup: &Setup, number: usize) -> Self {
        let mut rng = stream(setup.seed, Purpose::Clients, 100 + number as u64);
        let endpoints: Vec<String> = (0..setup.hosts()).map(address).collect();
        Self {
            machine: Machine::new(Config::default(), endpoints, rng.u64(..)),
            links: BTreeMap::new(),
            names: BTreeMap::new(),
            open: BTreeMap::new(),
            open_max: rng.usize(1..=4),
            pause: Duration::from_millis(rng.u64(100..600)),
            next_at: Time::ZERO,
            asked: 0,
            seen: BTreeMap::new(),
            woken_at: None,
            sent: BTreeSet::new(),
            retries: 0,
            mixes: setup.faults.has(Fault::Upgrade),
            newer_open: BTreeSet::new(),
            newer: 0,
        }
    }

    pub(super) fn connected(&mut self, now: Time, link: LinkId, cluster: [u8; 16]) {
        if let Some(&connection) = self.names.get(&link) {
            self.machine.connected(now, connection, cluster);
        }
    }

    pub(super) fn disconnected(&mut self, now: Time, link: LinkId, reason: &str) {
        if let Some(connection) = self.names.remove(&link) {
            self.links.remove(&connection);
            self.machine.disconnected(now, connection, reason);
        }
    }

    pub(super) fn answered(&mut self, now: Time, link: LinkId, frame: Frame) {
        let Some(&connection) = self.names.get(&link) else {
            return;
        };
        if frame.kind == kind::RESPONSE
            && let Ok(response) = wire::decode_response(frame.body)
        {
            self.machine
                .received(now, connection, frame.request_id, response);
        }
    }

    /// How often a write was sent again.
    pub(super) fn retries(&self) -> u64 {
        self.retries
    }

    /// How many commands were carried out that only the newer version has.
    pub(super) fn newer(&self) -> u64 {
        self.newer
    }

    /// Lets one of three commands say that it needs the newer version: each try of it says the same.
    fn age(&mut self, request_id: u64, request: &api::Request, body: &mut [Bytes]) {
        let api::Request::Write(command) = request else {
            return;
        };
        let keys = matches!(
            command.operation,
            api::Operation::Put { .. } | api::Operation::Delete { .. }
        );
        if !self.mixes || !keys || !command.sequence.is_multiple_of(3) {
            return;
        }
        self.newer_open.extend(self.machine.request_of(request_id));
        if let Some(first) = body.first_mut() {
            let mut bytes = first.to_vec();
            bytes[NEEDS_AT] = 2;
            *first = bytes.into();
        }
    }

    /// Something to ask for.
    fn draw(&mut self, number: usize, rng: &mut fastrand::Rng) -> Ask {
        self.asked += 1;
        let which = if rng.bool() { 0 } else { rng.u64(0..KEYS) };
        let key = Bytes::from(format!("key{which}"));
        let value = Bytes::from(format!("{number}.{}", self.asked));
        let seen = self.seen.get(&key).cloned();
        let conditions = match (rng.u8(0..6), seen) {
            (0, _) => vec![Condition::Absent { key: key.clone() }],
            (1, Some((revision, _))) => vec![Condition::ModRevision {
                key: key.clone(),
                revision,
            }],
            (2, Some((_, value))) => vec![Condition::Value {
                key: key.clone(),
                value,
            }],
            _ => Vec::new(),
        };
        let operation = match rng.u8(0..10) {
            0..=4 => api::Operation::Put {
                key,
                value,
                lease: 0,
                want_previous: rng.bool(),
                conditions,
            },
            5 => api::Operation::Delete {
                keys: KeyRange::Key(key),
                want_previous: rng.bool(),
                conditions,
            },
            _ => {
                return Ask::Read {
                    query: Query {
                        keys: KeyRange::Key(key),
                        limit: 0,
                        keys_only: false,
                        count_only: false,
                        reverse: false,
                        revision: 0,
                    },
                    stale: false,
                };
            }
        };
        Ask::Write(operation)
    }

    /// Plans when it is woken next.
    fn plan(&mut self, now: Time, number: usize, resting: bool, desk: &mut Desk<'_, Kv>) {
        let next = self.machine.next_deadline(now);
        let own = (!resting).then_some(self.next_at);
        let Some(at) = next.into_iter().chain(own).min() else {
            return;
        };
        let at = at.max(now + Duration::from_micros(1));
        if self.woken_at.is_none_or(|planned| at < planned) {
            self.woken_at = Some(at);
            desk.order(Order::Wake { client: number, at });
        }
    }

    /// Has it written down that a request is sent.
    fn tell(
        &self,
        number: usize,
        link: LinkId,
        request_id: u64,
        request: &api::Request,
        desk: &mut Desk<'_, Kv>,
    ) {
        let of = self.machine.request_of(request_id);
        desk.order(Order::Tried {
            client: number,
            operation: of.and_then(|key| self.open.get(&key)).copied(),
            link,
            write: told::write_id(request),
        });
    }

    /// Remembers what an answer says of a key.
    fn learn(&mut self, end: &End) {
        if let End::Answered {
            reply: api::Reply::Query(reply),
            ..
        } = end
        {
            for kv in &reply.kvs {
                self.seen
                    .insert(kv.key.clone(), (kv.mod_revision, kv.value.clone()));
            }
        }
    }
}

impl Kv {
    /// A client's time has come: it may ask for something, and its machine may have to do something.
    pub(super) fn on_time(&mut self, number: usize, desk: &mut Desk<'_, Self>) {
        let now = desk.now;
        let resting = self.resting;
        let Some(client) = self.clients.get_mut(number) else {
            return;
        };
        if client.woken_at.is_some_and(|at| at <= now) {
            client.woken_at = None;
        }
        if !resting && now >= client.next_at {
            client.next_at = now + until_next(desk.rng, client.pause);
            // All that it may have open at once, so that much of it is concurrent.
            while client.open.len() < client.open_max {
                let ask = client.draw(number, desk.rng);
                desk.order(Order::Tell(told::asked(number, self.history.len(), &ask)));
                let key = client.machine.submit(now, ask.clone(), now + PATIENCE);
                client.open.insert(key, self.history.len());
                self.history.push(Operation {
                    client: number,
                    ask,
                    invoked: now,
                    ended: None,
                });
                self.open += 1;
            }
        }
        client.machine.tick(now);
        self.act(number, desk);
    }

    /// Carries out what a client's machine wants.
    pub(super) fn act(&mut self, number: usize, desk: &mut Desk<'_, Self>) {
        let now = desk.now;
        let resting = self.resting;
        let Some(client) = self.clients.get_mut(number) else {
            return;
        };
        let mut ended = Vec::new();
        while let Some(output) = client.machine.next_output() {
            match output {
                Output::Connect {
                    connection,
                    address,
                    cluster,
                } => {
                    let link = desk.fresh_link();
                    client.links.insert(connection, link);
                    client.names.insert(link, connection);
                    desk.order(Order::Dial {
                        client: number,
                        link,
                        address,
                        cluster,
                    });
                }
                Output::Disconnect { connection } => {
                    if let Some(link) = client.links.remove(&connection) {
                        client.names.remove(&link);
                        desk.order(Order::HangUp { link });
                    }
                }
                Output::Send {
                    connection,
                    request_id,
                    request,
                } => {
                    if let api::Request::Write(command) = &request
                        && command.session > 0
                        && !client.sent.insert((command.session, command.sequence))
                    {
                        client.retries += 1;
                    }
                    if let Some(&link) = client.links.get(&connection) {
                        client.tell(number, link, request_id, &request, desk);
                        let mut body = wire::encode_request(&request, wire::PROTOCOL_MAX);
                        client.age(request_id, &request, &mut body);
                        desk.order(Order::Ask {
                            link,
                            letter: Letter {
                                kind: kind::REQUEST,
                                request_id,
                                body,
                            },
                        });
                    }
                }
                Output::Complete { key, end } => {
                    if let Some(operation) = client.open.remove(&key) {
                        client.learn(&end);
                        let newer = client.newer_open.remove(&key);
                        client.newer += u64::from(newer && matches!(end, End::Answered { .. }));
                        ended.push((operation, end));
                    }
                }
            }
        }
        client.plan(now, number, resting, desk);
        for (operation, end) in ended {
            self.end(operation, end, desk);
        }
    }

    /// An operation has ended.
    fn end(&mut self, operation: usize, end: End, desk: &mut Desk<'_, Self>) {
        self.open -= 1;
        self.acknowledged += u64::from(matches!(end, End::Answered { .. }));
        self.unknown += u64::from(matches!(end, End::Unknown(_)));
        let number = operation;
        let operation = &mut self.history[number];
        let client = operation.client;
        desk.order(Order::Tell(told::ended(
            client,
            number,
            &operation.ask,
            &end,
        )));
        operation.ended = Some((desk.now, end));
    }
}
