//! The client's request machine in a small world of its own, from a seed: nodes that share one real store, frames that
//! are late, lost or out of order (but never doubled: TCP does not), leaders that change, sessions that are pushed out.
//!
//! Whatever happens: every request ends exactly once and by its deadline; what was answered was applied once, what is
//! said to be not applied never is, not even by a frame that arrives after the end; and nothing is sent in a frenzy.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::{Index, LogId, Term};
use raft_kv::api::{
    Command, CommandReply, Header, KeyRange, LeaderHint, NodeStatus, Operation, Query, Reply,
    Request, RequestError, Response,
};
use raft_kv::client::machine::{
    Ask, Config, ConnectionId, End, Machine, NotSent, Output, RequestKey, Time,
};
use raft_kv::store::{Settings, Store, validate_command};

const CLUSTER: [u8; 16] = [3; 16];
const NODES: u64 = 3;
const RUN: Time = Duration::from_secs(20);
/// By then every frame has arrived.
const END: Time = Duration::from_secs(60);

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

enum Event {
    Submit,
    Up(ConnectionId),
    Down(ConnectionId),
    AtNode(ConnectionId, u64, u64, Request),
    AtClient(ConnectionId, u64, Response),
    Chaos,
}

/// How rough a run is, in percent.
struct Weather {
    lose: u64,
    late: u64,
    refuse_connection: u64,
    unknown: u64,
    busy: u64,
    other_sessions: u64,
}

struct Asked {
    deadline: Time,
    /// The key that it writes, if it does.
    key: Option<Bytes>,
    end: Option<End>,
}

struct World {
    rng: Rng,
    weather: Weather,
    now: Time,
    events: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    machine: Machine,
    /// Connections that the machine may believe in, and their nodes.
    connections: BTreeMap<ConnectionId, u64>,
    store: Store,
    leader: Option<u64>,
    term: u64,
    asked: BTreeMap<RequestKey, Asked>,
    /// Ended within `submit` itself, before their key was known.
    early: BTreeMap<RequestKey, End>,
    outputs: u64,
    answered: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng(seed);
        let mut chance = |bound| if rng.percent(50) { 0 } else { rng.below(bound) };
        let weather = Weather {
            lose: chance(15),
            late: chance(10),
            refuse_connection: chance(60),
            unknown: chance(30),
            busy: chance(20),
            other_sessions: chance(40),
        };
        let config = Config {
            session_window: 1 + rng.below(40),
            in_flight_max: 1 + rng.below(30) as usize,
            ..Config::default()
        };
        let settings = Settings {
            sessions_max: 1 + rng.below(3) as usize,
            outstanding_max: 20,
            ..Settings::default()
        };
        let endpoints = (1..=1 + rng.below(NODES)).map(|node| format!("n{node}:1"));
        World {
            machine: Machine::new(config, endpoints, seed),
            rng,
            weather,
            now: Time::ZERO,
            events: BTreeMap::new(),
            sequence: 0,
            connections: BTreeMap::new(),
            store: Store::new(settings),
            leader: Some(1),
            term: 1,
            asked: BTreeMap::new(),
            early: BTreeMap::new(),
            outputs: 0,
            answered: 0,
        }
    }

    fn at(&mut self, delay: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    fn delay(&mut self) -> Duration {
        let millis = if self.rng.percent(self.weather.late) {
            self.rng.below(8_000)
        } else {
            self.rng.below(20)
        };
        Duration::from_millis(millis)
    }

    fn run(&mut self) {
        for _ in 0..60 {
            let when = Duration::from_millis(self.rng.below(RUN.as_millis() as u64));
            self.at(when, Event::Submit);
        }
        for _ in 0..10 {
            let when = Duration::from_millis(self.rng.below(RUN.as_millis() as u64));
            self.at(when, Event::Chaos);
        }
        let mut steps = 0;
        while self.now < END {
            let deadline = self
                .machine
                .next_deadline(self.now)
                .map(|time| time.max(self.now));
            let event = self.events.first_key_value().map(|((time, _), _)| *time);
            let Some(next) = [deadline, event].into_iter().flatten().min() else {
                break;
            };
            steps += 1;
            assert!(steps < 200_000, "busy loop at {next:?}");
            self.now = next;
            if event == Some(next) {
                let (_, event) = self.events.pop_first().expect("just seen");
                self.handle(event);
            } else {
                self.machine.tick(self.now);
                let after = self.machine.next_deadline(self.now);
                assert!(
                    after.is_none_or(|after| after > self.now),
                    "a tick at its deadline changed nothing"
                );
            }
            self.drain();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Submit => self.submit(),
            Event::Up(connection) => self.machine.connected(self.now, connection, CLUSTER),
            Event::Down(connection) => self.lose_connection(connection),
            Event::AtNode(connection, node, id, request) => {
                self.at_node(connection, node, id, request);
            }
            Event::AtClient(connection, id, response) => {
                if self.connections.contains_key(&connection) {
                    self.machine.received(self.now, connection, id, response);
                }
            }
            Event::Chaos => self.chaos(),
        }
    }

    fn submit(&mut self) {
        for _ in 0..1 + self.rng.below(30) {
            let deadline = self.now + Duration::from_millis(self.rng.below(6_000));
            let key = Bytes::from(format!("k{}", self.asked.len()));
            let (ask, key) = match self.rng.below(10) {
                0 => (
                    Ask::Status {
                        address: format!("n{}:1", 1 + self.rng.below(NODES + 1)),
                    },
                    None,
                ),
                1 | 2 => (
                    Ask::Read {
                        query: query(),
                        stale: self.rng.percent(50),
                    },
                    None,
                ),
                _ => (Ask::Write(put(&key)), Some(key)),
            };
            let request = self.machine.submit(self.now, ask, deadline);
            self.asked.insert(
                request,
                Asked {
                    deadline,
                    key,
                    end: None,
                },
            );
            self.drain();
        }
    }

    fn chaos(&mut self) {
        self.term += 1;
        self.leader = if self.rng.percent(30) {
            None
        } else {
            Some(1 + self.rng.below(NODES))
        };
        if self.rng.percent(50)
            && let Some((&connection, _)) = self.connections.iter().nth(self.rng.below(3) as usize)
        {
            self.lose_connection(connection);
        }
        let when = Duration::from_millis(self.rng.below(2_000));
        if self.now < RUN {
            self.at(when, Event::Chaos);
        } else {
            self.leader = Some(1);
        }
    }

    fn lose_connection(&mut self, connection: ConnectionId) {
        if self.connections.remove(&connection).is_some() {
            self.machine.disconnected(self.now, connection, "lost");
        }
    }

    fn at_node(&mut self, connection: ConnectionId, node: u64, id: u64, request: Request) {
        let body = match request {
            Request::Status => Ok(Reply::Status(self.status(node))),
            Request::Read { stale, .. } if !stale && self.leader != Some(node) => {
                Err(self.not_leader())
            }
            Request::Read { query, .. } => {
                Ok(Reply::Query(self.store.query(&query, 1 << 20).unwrap()))
            }
            Request::Write(_) if self.leader != Some(node) => Err(self.not_leader()),
            Request::Write(_) if self.rng.percent(self.weather.busy) => Err(RequestError::Busy),
            Request::Write(command) => {
                validate_command(&command, &raft_kv::store::Limits::default())
                    .expect("a valid command");
                if self.rng.percent(self.weather.other_sessions) {
                    let operation = Operation::RegisterSession;
                    self.apply(&Command {
                        session: 0,
                        sequence: 0,
                        operation,
                        ..command.clone()
                    });
                }
                let unknown = self.rng.percent(self.weather.unknown);
                let applies = !unknown || self.rng.percent(50);
                let reply = applies.then(|| self.apply(&command));
                match reply {
                    Some(reply) if !unknown => Ok(Reply::Command(reply)),
                    _ => Err(RequestError::Unknown),
                }
            }
            _ => Err(RequestError::Invalid("what is that?".into())),
        };
        let header = Header {
            cluster: CLUSTER,
            node,
            revision: self.store.revision(),
            applied: self.store.applied().0,
            term: self.term,
        };
        if !self.rng.percent(self.weather.lose) {
            let delay = self.delay();
            self.at(
                delay,
                Event::AtClient(connection, id, Response { header, body }),
            );
        }
    }

    fn apply(&mut self, command: &Command) -> CommandReply {
        let at = LogId {
            index: Index(self.store.applied().0 + 1),
            term: Term(self.term),
        };
        self.store
            .apply(at, command)
            .expect("a command of this version")
    }

    fn not_leader(&self) -> RequestError {
        RequestError::NotLeader {
            leader: self.hint(),
        }
    }

    fn hint(&self) -> Option<LeaderHint> {
        self.leader.map(|node| LeaderHint {
            node,
            address: format!("n{node}:1"),
        })
    }

    fn status(&self, node: u64) -> NodeStatus {
        let role = if self.leader == Some(node) {
            "leader"
        } else {
            "follower"
        };
        NodeStatus {
            id: node,
            role: role.into(),
            term: self.term,
            leader: self.hint(),
            ..NodeStatus::default()
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.next_output() {
            self.outputs += 1;
            match output {
                Output::Connect {
                    connection,
                    address,
                    ..
                } => {
                    let node = address
                        .trim_start_matches('n')
                        .trim_end_matches(":1")
                        .parse()
                        .expect("a number");
                    self.connections.insert(connection, node);
                    let fails = node > NODES || self.rng.percent(self.weather.refuse_connection);
                    let delay = self.delay().min(Duration::from_secs(1));
                    self.at(
                        delay,
                        if fails {
                            Event::Down(connection)
                        } else {
                            Event::Up(connection)
                        },
                    );
                }
                Output::Disconnect { connection } => {
                    self.connections.remove(&connection);
                }
                Output::Send {
                    connection,
                    request_id,
                    request,
                } => self.carry(connection, request_id, request),
                Output::Complete { key, end } => self.ended(key, end),
            }
        }
    }

    fn carry(&mut self, connection: ConnectionId, request_id: u64, request: Request) {
        let Some(&node) = self.connections.get(&connection) else {
            return self.machine.not_sent(self.now, request_id, NotSent::Later);
        };
        if self.rng.percent(self.weather.lose) {
            // Frames are lost only with their connection.
            let delay = self.delay();
            return self.at(delay, Event::Down(connection));
        }
        let delay = self.delay();
        self.at(delay, Event::AtNode(connection, node, request_id, request));
    }

    fn ended(&mut self, key: RequestKey, end: End) {
        let Some(asked) = self.asked.get_mut(&key) else {
            assert!(self.early.insert(key, end).is_none(), "ended twice");
            return;
        };
        assert!(asked.end.is_none(), "ended twice");
        assert!(
            self.now <= asked.deadline,
            "ended at {:?}, its deadline was {:?}",
            self.now,
            asked.deadline
        );
        asked.end = Some(end);
    }

    fn check(&mut self) {
        assert_eq!(self.machine.open_requests(), 0);
        for (request, end) in std::mem::take(&mut self.early) {
            let asked = self.asked.get_mut(&request).expect("asked for");
            assert!(asked.end.replace(end).is_none(), "ended twice");
        }
        for asked in self.asked.values() {
            let end = asked.end.as_ref().expect("it never ended");
            self.answered += u64::from(matches!(end, End::Answered { .. }));
            let Some(key) = &asked.key else { continue };
            let found = self.store.query(
                &Query {
                    keys: KeyRange::Key(key.clone()),
                    ..query()
                },
                1 << 20,
            );
            let times = found.unwrap().kvs.first().map_or(0, |kv| kv.version);
            match end {
                End::Answered { .. } => assert_eq!(times, 1, "answered {key:?}"),
                End::NotApplied(failure) => {
                    assert_eq!(times, 0, "not applied, it was said, {key:?}: {failure}");
                }
                End::Unknown(_) => assert!(times <= 1, "applied {times} times: {key:?}"),
            }
        }
        // Some rounds of questions a second, and a few tries each; not thousands.
        let fair = 4_000 + 60 * self.asked.len() as u64;
        assert!(
            self.outputs < fair,
            "{} outputs for {} requests",
            self.outputs,
            self.asked.len()
        );
    }
}

fn put(key: &Bytes) -> Operation {
    let value = Bytes::from_static(b"v");
    Operation::Put {
        key: key.clone(),
        value,
        lease: 0,
        want_previous: false,
        conditions: Vec::new(),
    }
}

fn query() -> Query {
    let keys = KeyRange::Key(Bytes::from_static(b"k0"));
    Query {
        keys,
        limit: 1,
        keys_only: false,
        count_only: false,
        reverse: false,
        revision: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_in_time_and_truthfully(seed in any::<u64>()) {
        let mut world = World::new(seed);
        world.run();
        world.check();
    }
}

#[test]
fn in_fair_weather_nearly_everything_is_answered() {
    let mut world = World::new(1);
    world.weather = Weather {
        lose: 0,
        late: 0,
        refuse_connection: 0,
        unknown: 0,
        busy: 0,
        other_sessions: 0,
    };
    world.run();
    world.check();
    let all = world.asked.len() as u64;
    assert!(world.answered * 2 > all, "{} of {all}", world.answered);
}
