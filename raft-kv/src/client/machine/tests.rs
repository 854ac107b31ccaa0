//! The machine against scripted events: a test plays the network and the nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::api::{
    Command, KeyRange, LeaderHint, MemberStatus, NodeStatus, QueryReply, Refusal, Response,
};

const CLUSTER: [u8; 16] = [7; 16];

fn ms(millis: u64) -> Time {
    Duration::from_millis(millis)
}

/// One machine, and what it did.
struct Script {
    machine: Machine,
    now: Time,
    connects: Vec<(ConnectionId, String)>,
    disconnects: Vec<ConnectionId>,
    sent: Vec<(ConnectionId, u64, Request)>,
    ends: BTreeMap<RequestKey, (Time, End)>,
}

impl Script {
    fn new(endpoints: &[&str]) -> Script {
        Script::with(Config::default(), endpoints)
    }

    fn with(config: Config, endpoints: &[&str]) -> Script {
        Script {
            machine: Machine::new(config, endpoints.iter().map(|&e| e.to_owned()), 42),
            now: ms(1000),
            connects: Vec::new(),
            disconnects: Vec::new(),
            sent: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.next_output() {
            match output {
                Output::Connect {
                    connection,
                    address,
                    ..
                } => self.connects.push((connection, address)),
                Output::Disconnect { connection } => self.disconnects.push(connection),
                Output::Send {
                    connection,
                    request_id,
                    request,
                } => self.sent.push((connection, request_id, request)),
                Output::Complete { key, end } => {
                    assert!(
                        self.ends.insert(key, (self.now, end)).is_none(),
                        "{key:?} ended twice"
                    );
                }
            }
        }
    }

    fn submit(&mut self, ask: Ask, within: u64) -> RequestKey {
        let key = self.machine.submit(self.now, ask, self.now + ms(within));
        self.drain();
        key
    }

    fn put(&mut self, within: u64) -> RequestKey {
        self.submit(Ask::Write(put_operation()), within)
    }

    fn get(&mut self, within: u64) -> RequestKey {
        self.submit(
            Ask::Read {
                query: query(),
                stale: false,
            },
            within,
        )
    }

    /// Lets the attempt to connect to `address` succeed.
    fn up(&mut self, address: &str) -> ConnectionId {
        let index = self
            .connects
            .iter()
            .position(|(_, a)| a == address)
            .expect("no attempt to connect");
        let (connection, _) = self.connects.remove(index);
        self.machine.connected(self.now, connection, CLUSTER);
        self.drain();
        connection
    }

    fn down(&mut self, connection: ConnectionId) {
        self.machine.disconnected(self.now, connection, "reset");
        self.drain();
    }

    fn take(
        &mut self,
        connection: ConnectionId,
        wanted: impl Fn(&Request) -> bool,
    ) -> Option<(u64, Request)> {
        let index = self
            .sent
            .iter()
            .position(|(c, _, request)| *c == connection && wanted(request))?;
        let (_, id, request) = self.sent.remove(index);
        Some((id, request))
    }

    fn answer(&mut self, connection: ConnectionId, id: u64, body: Result<Reply, RequestError>) {
        let header = Header {
            cluster: CLUSTER,
            node: 1,
            revision: 1,
            applied: 50,
            term: 1,
        };
        self.machine
            .received(self.now, connection, id, Response { header, body });
        self.drain();
    }

    /// Answers the question who leads.
    fn say(&mut self, connection: ConnectionId, role: &str, term: u64, leader: Option<&str>) {
        let (id, _) = self
            .take(connection, |r| matches!(r, Request::Status))
            .expect("it was not asked who leads");
        let leader = leader.map(|address| LeaderHint {
            node: 9,
            address: address.to_owned(),
        });
        let status = NodeStatus {
            role: role.to_owned(),
            term,
            leader,
            ..NodeStatus::default()
        };
        self.answer(connection, id, Ok(Reply::Status(status)));
    }

    fn take_write(&mut self, connection: ConnectionId) -> (u64, Command) {
        match self.take(connection, |r| matches!(r, Request::Write(_))) {
            Some((id, Request::Write(command))) => (id, command),
            _ => panic!("no write was sent"),
        }
    }

    /// Answers the registration of a session.
    fn register(&mut self, connection: ConnectionId, session: u64) {
        let (id, command) = self.take_write(connection);
        assert!(matches!(command.operation, Operation::RegisterSession));
        self.answer(
            connection,
            id,
            Ok(Reply::Command(CommandReply::Registered { session })),
        );
    }

    /// One endpoint that leads, and a session.
    fn led(endpoints: &[&str]) -> (Script, ConnectionId) {
        let mut script = Script::new(endpoints);
        let key = script.put(10_000);
        let connection = script.up(endpoints[0]);
        script.say(connection, "leader", 1, None);
        script.register(connection, 77);
        let (id, command) = script.take_write(connection);
        assert_eq!(
            (command.session, command.sequence, command.first_outstanding),
            (77, 1, 1)
        );
        script.answer(connection, id, applied(1));
        assert!(matches!(script.end(key), End::Answered { .. }));
        (script, connection)
    }

    fn advance(&mut self, millis: u64) {
        let until = self.now + ms(millis);
        let mut steps = 0;
        while let Some(deadline) = self.machine.next_deadline(self.now)
            && deadline <= until
        {
            steps += 1;
            assert!(steps < 10_000, "busy loop");
            self.now = self.now.max(deadline);
            self.machine.tick(self.now);
            self.drain();
        }
        self.now = until;
        self.machine.tick(self.now);
        self.drain();
    }

    fn end(&self, key: RequestKey) -> &End {
        &self.ends.get(&key).expect("it has not ended").1
    }

    fn unknown(&self, key: RequestKey) -> &Failure {
        match self.end(key) {
            End::Unknown(failure) => failure,
            End::NotApplied(failure) => panic!("not applied: {failure}"),
            End::Answered { .. } => panic!("answered"),
        }
    }

    fn not_applied(&self, key: RequestKey) -> &Failure {
        match self.end(key) {
            End::NotApplied(failure) => failure,
            End::Unknown(failure) => panic!("unknown: {failure}"),
            End::Answered { .. } => panic!("answered"),
        }
    }
}

fn put_operation() -> Operation {
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    Operation::Put {
        key,
        value,
        lease: 0,
        want_previous: false,
        conditions: Vec::new(),
    }
}

fn query() -> Query {
    let keys = KeyRange::Key(Bytes::from_static(b"k"));
    Query {
        keys,
        limit: 0,
        keys_only: false,
        count_only: false,
        reverse: false,
        revision: 0,
    }
}

fn applied(revision: u64) -> Result<Reply, RequestError> {
    Ok(Reply::Command(CommandReply::Put {
        revision,
        previous: None,
    }))
}

fn not_leader(hint: Option<&str>) -> Result<Reply, RequestError> {
    let leader = hint.map(|address| LeaderHint {
        node: 9,
        address: address.to_owned(),
    });
    Err(RequestError::NotLeader { leader })
}

fn expired() -> Result<Reply, RequestError> {
    Ok(Reply::Command(CommandReply::SessionExpired))
}

#[test]
fn a_follower_is_asked_nothing_but_who_leads_and_its_hint_is_followed_beyond_the_list() {
    let mut script = Script::new(&["a:1"]);
    let key = script.put(5000);
    let a = script.up("a:1");
    script.say(a, "follower", 3, Some("c:3"));
    assert!(
        script.sent.is_empty(),
        "a node that does not lead got the write"
    );

    let c = script.up("c:3");
    script.say(c, "leader", 3, None);
    script.register(c, 5);
    let (id, _) = script.take_write(c);
    script.answer(c, id, applied(9));
    assert!(matches!(
        script.end(key),
        End::Answered {
            reply: Reply::Command(CommandReply::Put { revision: 9, .. }),
            ..
        }
    ));
}

#[test]
fn members_that_a_node_tells_of_become_endpoints() {
    let mut script = Script::new(&["a:1"]);
    script.get(5000);
    let a = script.up("a:1");
    let (id, _) = script.take(a, |r| matches!(r, Request::Status)).unwrap();
    let member = |address: &str| MemberStatus {
        address: address.to_owned(),
        ..MemberStatus::default()
    };
    let members = vec![member("a:1"), member("b:1"), member("")];
    let status = NodeStatus {
        role: "follower".into(),
        members,
        ..NodeStatus::default()
    };
    script.answer(a, id, Ok(Reply::Status(status)));
    assert_eq!(
        script
            .connects
            .iter()
            .map(|(_, address)| address.as_str())
            .collect::<Vec<_>>(),
        ["b:1"]
    );
}

#[test]
fn the_new_leader_gets_the_unanswered_writes_under_their_old_numbers() {
    let (mut script, a) = Script::led(&["a:1", "b:1"]);
    let b = script.up("b:1");
    let keys = [script.put(5000), script.put(5000)];
    let (first, _) = script.take_write(a);
    script.take_write(a);
    script.answer(a, first, not_leader(Some("b:1")));
    // All are asked again, and only the new leader gets anything.
    script.say(b, "leader", 2, None);
    let commands = [script.take_write(b), script.take_write(b)];
    assert_eq!(
        commands.each_ref().map(|(_, c)| (c.session, c.sequence)),
        [(77, 2), (77, 3)]
    );
    for (id, _) in commands {
        script.answer(b, id, applied(4));
    }
    assert!(
        keys.iter()
            .all(|key| matches!(script.end(*key), End::Answered { .. }))
    );
}

#[test]
fn a_write_on_a_broken_connection_is_tried_again_with_its_number_and_applied_at_most_once() {
    let (mut script, a) = Script::led(&["a:1", "b:1"]);
    let key = script.put(5000);
    let (_, before) = script.take_write(a);
    script.down(a);
    let b = script.up("b:1");
    script.say(b, "leader", 2, None);
    let (id, after) = script.take_write(b);
    assert_eq!(
        (before.session, before.sequence),
        (after.session, after.sequence)
    );
    script.answer(b, id, applied(3));
    assert!(matches!(script.end(key), End::Answered { .. }));
}

#[test]
fn at_the_deadline_a_sent_write_is_unknown_and_an_unsent_one_not_applied() {
    let (mut script, a) = Script::led(&["a:1"]);
    let sent = script.put(1000);
    script.take_write(a);
    script.down(a);
    let waiting = script.put(1000);
    let read = script.get(1000);
    script.advance(1000);
    assert_eq!(script.unknown(sent).cause, Cause::Deadline);
    let failure = script.not_applied(waiting);
    assert_eq!(failure.cause, Cause::Deadline);
    assert_eq!(
        failure.to_string(),
        "no answer in time (a:1: connection lost: reset)"
    );
    assert_eq!(script.not_applied(read).cause, Cause::Deadline);
}

#[test]
fn a_write_that_every_node_turned_away_is_surely_not_applied() {
    let (mut script, a) = Script::led(&["a:1"]);
    let key = script.put(300);
    let (id, _) = script.take_write(a);
    script.answer(a, id, not_leader(None));
    script.advance(300);
    let failure = script.not_applied(key);
    assert_eq!(failure.endpoints[0].answer, EndpointAnswer::Follows(None));
}

#[test]
fn a_write_whose_leader_stepped_down_is_tried_again_and_stays_doubtful() {
    let (mut script, a) = Script::led(&["a:1"]);
    let key = script.put(1000);
    let (id, first) = script.take_write(a);
    script.answer(a, id, Err(RequestError::Unknown));
    script.say(a, "leader", 2, None);
    let (id, second) = script.take_write(a);
    assert_eq!(first.sequence, second.sequence);
    script.answer(a, id, not_leader(None));
    script.advance(1000);
    assert_eq!(
        script.unknown(key).cause,
        Cause::Deadline,
        "its first try may have been applied"
    );
}

#[test]
fn an_expired_session_is_replaced_when_the_write_was_never_applied() {
    let (mut script, a) = Script::led(&["a:1"]);
    let key = script.put(5000);
    let (id, command) = script.take_write(a);
    assert_eq!(command.session, 77);
    script.answer(a, id, expired());
    assert!(script.sent.is_empty(), "not without a wait");
    script.advance(50);
    script.register(a, 80);
    let (id, command) = script.take_write(a);
    assert_eq!(
        (command.session, command.sequence, command.first_outstanding),
        (80, 1, 1)
    );
    script.answer(a, id, applied(2));
    assert!(matches!(script.end(key), End::Answered { .. }));
}

#[test]
fn a_session_that_expired_between_two_tries_leaves_the_write_unknown() {
    let (mut script, a) = Script::led(&["a:1", "b:1"]);
    let key = script.put(5000);
    script.take_write(a);
    script.down(a);
    let b = script.up("b:1");
    script.say(b, "leader", 2, None);
    let (id, _) = script.take_write(b);
    script.answer(b, id, expired());
    assert_eq!(script.unknown(key).cause, Cause::SessionExpired);
    assert!(script.sent.is_empty(), "it was sent anew");
}

#[test]
fn the_first_outstanding_number_trails_the_slowest_write() {
    let (mut script, a) = Script::led(&["a:1"]);
    script.put(5000);
    script.put(5000);
    let (slow, command) = script.take_write(a);
    assert_eq!((command.sequence, command.first_outstanding), (2, 2));
    let (fast, command) = script.take_write(a);
    assert_eq!((command.sequence, command.first_outstanding), (3, 2));
    script.answer(a, fast, applied(2));
    script.put(5000);
    let (_, command) = script.take_write(a);
    assert_eq!(
        (command.sequence, command.first_outstanding),
        (4, 2),
        "2 is unanswered yet"
    );
    script.answer(a, slow, applied(3));
    script.put(5000);
    let (_, command) = script.take_write(a);
    assert_eq!((command.sequence, command.first_outstanding), (5, 4));
}

#[test]
fn writes_keep_within_the_sessions_window_and_reads_pass_them() {
    let config = Config {
        session_window: 2,
        ..Config::default()
    };
    let mut script = Script::with(config, &["a:1"]);
    for _ in 0..4 {
        script.put(5000);
    }
    let a = script.up("a:1");
    script.say(a, "leader", 1, None);
    script.register(a, 1);
    let (first, _) = script.take_write(a);
    let (second, _) = script.take_write(a);
    assert!(script.sent.is_empty(), "a third write was sent");
    script.get(5000);
    assert!(
        script
            .take(a, |r| matches!(r, Request::Read { .. }))
            .is_some(),
        "the read waits for the writes"
    );
    script.answer(a, second, applied(1));
    assert!(
        script.sent.is_empty(),
        "the oldest is unanswered: the span is still full"
    );
    script.answer(a, first, applied(2));
    assert_eq!(script.take_write(a).1.sequence, 3);
    assert_eq!(script.take_write(a).1.sequence, 4);
}

#[test]
fn what_is_in_flight_is_bounded_in_number_and_bytes() {
    let config = Config {
        in_flight_max: 3,
        in_flight_bytes_max: 1,
        ..Config::default()
    };
    let mut script = Script::with(config, &["a:1"]);
    for _ in 0..5 {
        script.get(5000);
    }
    let a = script.up("a:1");
    script.say(a, "leader", 1, None);
    assert_eq!(script.sent.len(), 1, "the bytes of one fill it");

    script.machine.config.in_flight_bytes_max = 1 << 20;
    script.advance(1);
    assert_eq!(script.sent.len(), 3);
}

#[test]
fn one_request_too_many_is_busy_at_once() {
    let config = Config {
        requests_max: 2,
        ..Config::default()
    };
    let mut script = Script::with(config, &["a:1"]);
    script.get(5000);
    script.get(5000);
    let third = script.put(5000);
    assert_eq!(script.not_applied(third).cause, Cause::Busy);
}

#[test]
fn while_all_are_down_there_are_few_attempts_and_each_request_ends_in_time() {
    let mut script = Script::new(&["a:1", "b:1", "c:1"]);
    let key = script.put(10_000);
    let mut attempts = 0;
    for _ in 0..1000 {
        for (connection, _) in std::mem::take(&mut script.connects) {
            attempts += 1;
            script.down(connection);
        }
        script.advance(10);
    }
    assert_eq!(script.ends[&key].0, ms(11_000));
    assert!(
        (90..=300).contains(&attempts),
        "{attempts} attempts at three endpoints in ten seconds"
    );
    let failure = script.not_applied(key);
    assert_eq!(
        failure.to_string(),
        "no answer in time (a:1: reset; b:1: reset; c:1: reset)",
        "every endpoint is named"
    );
    script.connects.clear();
    script.advance(60_000);
    assert!(script.connects.is_empty(), "attempts without a request");
}

#[test]
fn a_node_that_claims_to_lead_and_turns_all_away_is_not_hammered() {
    let mut script = Script::new(&["a:1"]);
    script.get(10_000);
    let a = script.up("a:1");
    let mut rounds = 0;
    while script.ends.is_empty() {
        if let Some((id, _)) = script.take(a, |r| matches!(r, Request::Read { .. })) {
            rounds += 1;
            script.answer(a, id, not_leader(Some("a:1")));
        } else if script
            .sent
            .iter()
            .any(|(_, _, r)| matches!(r, Request::Status))
        {
            script.say(a, "leader", 1, None);
        } else {
            script.advance(1);
        }
    }
    assert!((20..100).contains(&rounds), "{rounds} tries in ten seconds");
}

#[test]
fn a_busy_leader_is_given_time() {
    let (mut script, a) = Script::led(&["a:1"]);
    let key = script.put(5000);
    let (id, _) = script.take_write(a);
    script.answer(a, id, Err(RequestError::Busy));
    assert!(script.sent.is_empty());
    script.advance(5);
    let (id, command) = script.take_write(a);
    assert_eq!(command.sequence, 2);
    script.answer(
        a,
        id,
        Ok(Reply::Command(CommandReply::Refused(
            Refusal::TooManyOutstanding,
        ))),
    );
    assert!(script.sent.is_empty());
    script.advance(20);
    let (id, command) = script.take_write(a);
    assert_eq!(
        (command.sequence, command.first_outstanding),
        (3, 3),
        "the refused number is used again"
    );
    script.answer(a, id, applied(3));
    assert!(matches!(script.end(key), End::Answered { .. }));
}

#[test]
fn an_answer_that_the_cluster_no_longer_keeps_is_an_unknown_outcome() {
    let (mut script, a) = Script::led(&["a:1"]);
    let key = script.put(5000);
    let (id, _) = script.take_write(a);
    script.answer(a, id, Ok(Reply::Command(CommandReply::Forgotten)));
    assert_eq!(script.unknown(key).cause, Cause::Forgotten);
}

#[test]
fn a_silent_leader_is_passed_over_as_soon_as_another_leads_a_later_term() {
    let (mut script, a) = Script::led(&["a:1", "b:1"]);
    let b = script.up("b:1");
    let key = script.put(5000);
    let (_, first) = script.take_write(a);
    script.advance(400);
    assert!(script.sent.is_empty(), "suspected too soon");
    script.advance(200);
    script.say(b, "leader", 0, None);
    assert!(
        script.take(b, |r| matches!(r, Request::Write(_))).is_none(),
        "a leader of an earlier term was believed"
    );
    script.advance(250);
    script.say(b, "leader", 2, None);
    let (id, second) = script.take_write(b);
    assert_eq!(first.sequence, second.sequence);
    script.answer(b, id, applied(3));
    assert!(matches!(script.end(key), End::Answered { .. }));
}

#[test]
fn stale_reads_ask_any_node_never_go_back_and_move_on_from_a_silent_one() {
    let (mut script, a) = Script::led(&["a:1", "b:1"]);
    let b = script.up("b:1");
    let key = script.submit(
        Ask::Read {
            query: query(),
            stale: true,
        },
        5000,
    );
    let is_read = |r: &Request| {
        matches!(
            r,
            Request::Read {
                stale: true,
                min_applied: 50,
                ..
            }
        )
    };
    let asked = if script.take(b, is_read).is_some() {
        b
    } else {
        a
    };
    script.sent.clear();
    script.advance(500);
    let other = if asked == b { a } else { b };
    let (id, _) = script
        .take(other, is_read)
        .expect("the other node was not asked");
    script.answer(other, id, Ok(Reply::Query(QueryReply::default())));
    assert!(matches!(script.end(key), End::Answered { .. }));
}

#[test]
fn a_status_is_asked_once_of_one_endpoint_and_fails_with_its_connection() {
    let mut script = Script::new(&["a:1"]);
    let unreachable = script.submit(
        Ask::Status {
            address: "a:1".into(),
        },
        5000,
    );
    let (connection, _) = script.connects.remove(0);
    script.down(connection);
    let failure = script.not_applied(unreachable);
    assert_eq!(
        failure.cause,
        Cause::Endpoint(EndpointAnswer::Unreachable("reset".into()))
    );

    let silent = script.submit(
        Ask::Status {
            address: "a:1".into(),
        },
        1000,
    );
    script.up("a:1");
    script.advance(1000);
    assert_eq!(
        script.not_applied(silent).cause,
        Cause::Endpoint(EndpointAnswer::Silent)
    );
}

#[test]
fn a_node_of_another_cluster_is_left_alone() {
    let (mut script, _) = Script::led(&["a:1", "b:1"]);
    let (stranger, _) = script.connects.remove(0);
    script.machine.connected(script.now, stranger, [8; 16]);
    script.drain();
    assert_eq!(script.disconnects, [stranger]);
    assert!(script.sent.is_empty());
    assert_eq!(
        script.machine.endpoints()[1].answer,
        EndpointAnswer::OtherCluster
    );
}

#[test]
fn an_answer_that_does_not_fit_ends_the_connection() {
    let (mut script, a) = Script::led(&["a:1"]);
    let key = script.put(5000);
    let (id, _) = script.take_write(a);
    script.answer(a, id, Ok(Reply::Query(QueryReply::default())));
    assert_eq!(script.unknown(key).cause, Cause::Protocol);
    assert_eq!(script.disconnects, [a]);
}

#[test]
fn a_refused_write_ends_at_once() {
    let (mut script, a) = Script::led(&["a:1"]);
    let key = script.put(5000);
    let (id, _) = script.take_write(a);
    let error = RequestError::TooLarge {
        what: "the key".into(),
        bytes: 5000,
        max: 4096,
    };
    script.answer(a, id, Err(error.clone()));
    assert_eq!(script.not_applied(key).cause, Cause::Refused(error));
    assert_eq!(
        script.not_applied(key).to_string(),
        "the key is 5000 bytes; at most 4096 are allowed"
    );
}

#[test]
fn a_frame_that_never_left_is_surely_not_applied() {
    let (mut script, a) = Script::led(&["a:1"]);
    let key = script.put(1000);
    let (id, _) = script.take_write(a);
    script.machine.not_sent(script.now, id, NotSent::Later);
    script.down(a);
    script.advance(1000);
    assert_eq!(script.not_applied(key).cause, Cause::Deadline);
}

#[test]
fn the_session_is_ended_only_when_nothing_is_under_way_in_it() {
    let (mut script, a) = Script::led(&["a:1"]);
    let write = script.put(5000);
    let early = script.submit(Ask::Write(Operation::EndSession), 5000);
    assert!(matches!(script.end(early), End::Answered { .. }));
    let (id, _) = script.take_write(a);
    script.answer(a, id, applied(2));
    assert!(matches!(script.end(write), End::Answered { .. }));

    let end = script.submit(Ask::Write(Operation::EndSession), 5000);
    let (id, command) = script.take_write(a);
    assert_eq!((command.session, command.sequence), (77, 3));
    script.answer(a, id, Ok(Reply::Command(CommandReply::Ended)));
    assert!(matches!(script.end(end), End::Answered { .. }));
    script.put(5000);
    assert!(matches!(
        script.take_write(a).1.operation,
        Operation::RegisterSession
    ));
}

#[test]
fn unused_connections_to_followers_are_closed_and_the_leaders_is_kept() {
    let (mut script, _) = Script::led(&["a:1", "b:1"]);
    let b = script.up("b:1");
    script.advance(20_000);
    assert_eq!(script.disconnects, [b]);
    assert_eq!(
        script.machine.next_deadline(script.now),
        None,
        "an idle client needs no waking"
    );
}

#[test]
fn closing_ends_everything_and_says_what_may_have_been_applied() {
    let (mut script, a) = Script::led(&["a:1"]);
    let sent = script.put(5000);
    script.take_write(a);
    script.down(a);
    let waiting = script.put(5000);
    script.machine.close();
    script.drain();
    assert_eq!(script.unknown(sent).cause, Cause::Closed);
    assert_eq!(script.not_applied(waiting).cause, Cause::Closed);
    assert_eq!(script.machine.open_requests(), 0);
}
