//! The connection machine, without any socket: bytes and time in, events and bytes out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, a panic is the report"
)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use raft_net_tcp::{
    AdmitAll, BadHello, Body, CloseReason, ClusterId, Config, Connection, Event, Frame, Identity,
    Local, Policy, Refusal, Role, SendError, Stranger, Versions,
};

const START: Duration = Duration::from_secs(100);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn local(node: u64) -> Local {
    let cluster = ClusterId(std::array::from_fn(|i| i as u8));
    let identity = Identity {
        cluster,
        node,
        incarnation: 0xA0 + node,
        boot: 7,
    };
    Local {
        versions: Versions { min: 1, max: 3 },
        identity,
        application: "addr".into(),
    }
}

fn dialer() -> Connection {
    Connection::dial(
        Arc::new(Config::default()),
        Role::Peer,
        &local(1),
        Some(2),
        START,
    )
}

fn acceptor() -> Connection {
    Connection::accept(Arc::new(Config::default()), START)
}

fn out(connection: &mut Connection, now: Duration) -> Vec<u8> {
    connection.take_transmit(now).concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.next_event()).collect()
}

fn closed(connection: &mut Connection) -> CloseReason {
    match events(connection).pop() {
        Some(Event::Closed(reason)) => reason,
        other => panic!("not closed: {other:?}"),
    }
}

/// Both sides open, all events taken.
fn pair() -> (Connection, Connection) {
    let (mut dialer, mut acceptor) = (dialer(), acceptor());
    acceptor.receive(&out(&mut dialer, START), START);
    assert!(matches!(acceptor.next_event(), Some(Event::Hello(_))));
    acceptor.admit(&local(2), |hello| AdmitAll.admit(hello), START);
    dialer.receive(&out(&mut acceptor, START), START);
    assert!(matches!(dialer.next_event(), Some(Event::Hello(_))));
    assert_eq!((dialer.version(), acceptor.version()), (Some(3), Some(3)));
    (dialer, acceptor)
}

/// The bytes of each side up to the first frames, as `docs/wire-frames.md` has them. They were computed by an
/// independent implementation; a change here is a change of the protocol.
#[test]
fn golden_bytes() {
    let (mut dialer, mut acceptor) = (dialer(), acceptor());
    let hello = out(&mut dialer, START);
    assert_eq!(
        hex(&hello),
        concat!(
            "7261667474637001",
            "48000000f00000000000000000000000268d58e43c44d3df",
            "0100030001010400000102030405060708090a0b0c0d0e0f",
            "0100000000000000a10000000000000007000000000000000200000000000000",
            "00008000f40100000000000061646472",
        )
    );
    acceptor.receive(&hello, START);
    acceptor.admit(
        &Local {
            versions: Versions { min: 4, max: 5 },
            ..local(2)
        },
        |hello| AdmitAll.admit(hello),
        START,
    );
    assert_eq!(
        hex(&out(&mut acceptor, START)),
        "726166747463700106000000f10000000000000000000000cbdf109e81eab632010004000500"
    );

    let (mut dialer, _) = pair();
    dialer
        .send(7, 0x0102_0304_0506_0708, &"a body".into())
        .unwrap();
    assert_eq!(
        hex(&out(&mut dialer, START)),
        "06000000070000000807060504030201356d1a46824d6c016120626f6479"
    );
    dialer.handle_timeout(START + ms(150));
    assert_eq!(
        hex(&out(&mut dialer, START)),
        "00000000f2000000000000000000000000000000f6a5f28e"
    );
}

#[test]
fn each_side_learns_who_the_other_is() {
    let (mut dialer, mut acceptor) = (dialer(), acceptor());
    acceptor.receive(&out(&mut dialer, START), START);
    let Some(Event::Hello(hello)) = acceptor.next_event() else {
        panic!("no hello")
    };
    assert_eq!(hello.identity, local(1).identity);
    assert_eq!(
        (hello.role, hello.expected_node, &hello.application[..]),
        (Role::Peer, Some(2), &b"addr"[..])
    );

    acceptor.admit(&local(2), |_| Ok(()), START);
    dialer.receive(&out(&mut acceptor, START), START);
    let Some(Event::Hello(hello)) = dialer.next_event() else {
        panic!("no hello")
    };
    assert_eq!(hello.identity, local(2).identity);
}

#[test]
fn no_common_version_is_known_to_both_sides() {
    let (mut dialer, mut acceptor) = (dialer(), acceptor());
    acceptor.receive(&out(&mut dialer, START), START);
    let ours = Versions { min: 4, max: 9 };
    acceptor.admit(
        &Local {
            versions: ours,
            ..local(2)
        },
        |_| Ok(()),
        START,
    );
    dialer.receive(&out(&mut acceptor, START), START);
    assert_eq!(
        closed(&mut acceptor),
        CloseReason::Refused(Refusal::Version { ours })
    );
    let reason = closed(&mut dialer);
    assert_eq!(reason, CloseReason::Remote(Refusal::Version { ours }));
    assert_eq!(
        reason.to_string(),
        "the other side ended it: no common protocol version: the side that refuses speaks 4 to 9; upgrade the older side"
    );
}

/// F-N3: another node answers at a reused address; whichever side notices, both know.
#[test]
fn the_wrong_node_is_refused_by_either_side() {
    let wrong = Refusal::WrongNode {
        expected: 2,
        actual: 3,
    };
    let (mut one, mut three) = (dialer(), acceptor());
    three.receive(&out(&mut one, START), START);
    three.admit(
        &local(3),
        |_| panic!("the policy is asked after the built-in checks"),
        START,
    );
    one.receive(&out(&mut three, START), START);
    assert_eq!(closed(&mut three), CloseReason::Refused(wrong.clone()));
    assert_eq!(closed(&mut one), CloseReason::Remote(wrong.clone()));

    // A node that answers although it is not the one that was wanted: here, because it was not told.
    let (mut blind, mut three) = (dialer(), acceptor());
    three.receive(
        &out(
            &mut Connection::dial(Arc::default(), Role::Peer, &local(1), None, START),
            START,
        ),
        START,
    );
    three.admit(&local(3), |_| Ok(()), START);
    blind.receive(&out(&mut three, START), START);
    assert_eq!(closed(&mut blind), CloseReason::Refused(wrong.clone()));
    let farewell = out(&mut blind, START);
    // Its hello came first, and is of no interest here.
    three.receive(&farewell[8 + 24 + 72..], START);
    assert_eq!(closed(&mut three), CloseReason::Remote(wrong));
}

#[test]
fn the_policy_decides_and_its_reason_is_sent() {
    let (mut dialer, mut acceptor) = (dialer(), acceptor());
    acceptor.receive(&out(&mut dialer, START), START);
    acceptor.admit(
        &local(2),
        |hello| {
            Err(Refusal::StaleBoot {
                seen: hello.identity.boot + 1,
            })
        },
        START,
    );
    dialer.receive(&out(&mut acceptor, START), START);
    assert_eq!(
        closed(&mut dialer),
        CloseReason::Remote(Refusal::StaleBoot { seen: 8 })
    );
}

#[test]
fn strangers_are_named() {
    let cases: [(&[u8], Stranger); 6] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Stranger::Http),
        (b"HTTP/1.1 400 Bad Request\r\n", Stranger::Http),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            Stranger::Tls,
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Stranger::Ssh),
        (
            b"rafttcp\x02and more",
            Stranger::OtherFraming { version: 2 },
        ),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", Stranger::Unknown),
    ];
    for (bytes, stranger) in cases {
        let mut connection = acceptor();
        connection.receive(bytes, START);
        assert_eq!(
            closed(&mut connection),
            CloseReason::NotOurProtocol(stranger)
        );
        assert!(
            out(&mut connection, START).is_empty(),
            "nothing is said to who does not speak this"
        );
    }
}

#[test]
fn a_first_frame_that_is_no_hello() {
    let (mut sender, _) = pair();
    sender.send(5, 1, &"early".into()).unwrap();
    let mut connection = acceptor();
    connection.receive(
        &[&raft_net_tcp::PREAMBLE[..], &out(&mut sender, START)].concat(),
        START,
    );
    assert_eq!(closed(&mut connection), CloseReason::NoHello { kind: 5 });
}

#[test]
fn a_handshake_has_a_deadline() {
    let mut connection = acceptor();
    connection.receive(b"raft", START + ms(1999));
    assert_eq!(connection.deadline(), Some(START + ms(2000)));
    connection.handle_timeout(START + ms(1999));
    assert!(connection.close_reason().is_none());
    connection.handle_timeout(START + ms(2000));
    assert_eq!(
        closed(&mut connection),
        CloseReason::HandshakeTimeout { after: ms(2000) }
    );
}

/// F-N6: the other machine is gone without a word.
#[test]
fn silence_closes_and_pings_prevent_it() {
    let (mut dialer, mut acceptor) = pair();
    let mut now = START;
    // Idle, with a link that works: pings keep both open for as long as one likes.
    while now < START + ms(10_000) {
        now = dialer.deadline().unwrap().min(acceptor.deadline().unwrap());
        dialer.handle_timeout(now);
        acceptor.handle_timeout(now);
        acceptor.receive(&out(&mut dialer, now), now);
        dialer.receive(&out(&mut acceptor, now), now);
    }
    assert!(events(&mut dialer).is_empty() && events(&mut acceptor).is_empty());

    // Cut: both notice within the timeout.
    let cut = now;
    while acceptor.close_reason().is_none() {
        now = acceptor.deadline().unwrap();
        acceptor.handle_timeout(now);
        out(&mut acceptor, now);
    }
    assert_eq!(
        closed(&mut acceptor),
        CloseReason::Silence { after: ms(500) }
    );
    assert!(now <= cut + ms(500));
}

/// The one with the longer patience pings often enough for the one with the shorter.
#[test]
fn pings_follow_the_other_sides_patience() {
    let mut impatient = Config::default();
    impatient.peer.silence_timeout = ms(90);
    impatient.peer.ping_interval = ms(40);
    let (mut dialer, mut acceptor) = (dialer(), Connection::accept(Arc::new(impatient), START));
    acceptor.receive(&out(&mut dialer, START), START);
    acceptor.admit(&local(2), |_| Ok(()), START);
    dialer.receive(&out(&mut acceptor, START), START);
    assert_eq!(dialer.deadline(), Some(START + ms(30)));
}

#[test]
fn silence_does_not_count_while_this_side_does_not_read() {
    let (mut connection, _other) = pair();
    connection.set_reading(false, START);
    connection.handle_timeout(START + ms(5000));
    assert!(connection.close_reason().is_none());
    out(&mut connection, START + ms(5000));
    connection.set_reading(true, START + ms(5000));
    connection.handle_timeout(START + ms(5499));
    assert!(connection.close_reason().is_none());
    connection.handle_timeout(START + ms(5500));
    assert_eq!(
        closed(&mut connection),
        CloseReason::Silence { after: ms(500) }
    );
}

#[test]
fn who_never_reads_is_let_go() {
    let (mut connection, _other) = pair();
    connection.send(1, 1, &"stuck".into()).unwrap();
    for now in (0..).map(|tick| START + ms(tick * 100)) {
        connection.set_reading(false, now);
        connection.handle_timeout(now);
        if connection.close_reason().is_some() {
            assert_eq!(now, START + ms(5000));
            break;
        }
    }
    assert_eq!(
        closed(&mut connection),
        CloseReason::Stalled { after: ms(5000) }
    );
}

#[test]
fn a_stream_that_ends_within_a_frame() {
    let (mut sender, _) = pair();
    sender.send(1, 1, &vec![7; 1000].into()).unwrap();
    let bytes = out(&mut sender, START);
    for (cut, reason) in [
        (10, CloseReason::Truncated { have: 10, need: 24 }),
        (
            24,
            CloseReason::Truncated {
                have: 24,
                need: 1024,
            },
        ),
        (
            1023,
            CloseReason::Truncated {
                have: 1023,
                need: 1024,
            },
        ),
    ] {
        let (_, mut receiver) = pair();
        receiver.receive(&bytes[..cut], START);
        receiver.handle_end();
        assert_eq!(closed(&mut receiver), reason);
    }
    let (_, mut receiver) = pair();
    receiver.receive(&bytes, START);
    receiver.handle_end();
    assert_eq!(closed(&mut receiver), CloseReason::Ended);
}

#[test]
fn a_close_is_told_and_is_the_last_word() {
    let (mut dialer, mut acceptor) = pair();
    dialer.send(1, 1, &"before".into()).unwrap();
    dialer.close();
    assert_eq!(dialer.send(1, 2, &"after".into()), Err(SendError::Closed));
    acceptor.receive(&out(&mut dialer, START), START);
    let events = events(&mut acceptor);
    assert!(
        matches!(
            &events[..],
            [
                Event::Frame(_),
                Event::Closed(CloseReason::Remote(Refusal::Finished))
            ]
        ),
        "{events:?}"
    );
    assert_eq!(acceptor.deadline(), None);
}

/// F-N10: what is sent is within what the other side takes; the limit is known before.
#[test]
fn the_lower_limit_of_both_sides_holds() {
    let mut small = Config::default();
    small.peer.frame_bytes_max = 100;
    let (mut dialer, mut acceptor) = (dialer(), Connection::accept(Arc::new(small), START));
    acceptor.receive(&out(&mut dialer, START), START);
    acceptor.admit(&local(2), |_| Ok(()), START);
    dialer.receive(&out(&mut acceptor, START), START);
    assert_eq!(dialer.send_bytes_max(), Some(100));
    assert_eq!(
        dialer.send(1, 1, &vec![0; 101].into()),
        Err(SendError::TooLarge {
            body_bytes: 101,
            max: 100
        })
    );
    assert_eq!(
        dialer.send(0xF0, 1, &"".into()),
        Err(SendError::ReservedKind { kind: 0xF0 })
    );
}

/// A receiver with a limit of its own does not rely on the sender's manners.
#[test]
fn a_frame_above_the_limit_is_refused_at_its_header() {
    let (mut sender, _) = pair();
    sender.send(1, 1, &vec![0; 3000].into()).unwrap();
    let mut small = Config::default();
    small.peer.frame_bytes_max = 100;
    let mut receiver = Connection::accept(Arc::new(small), START);
    receiver.receive(&out(&mut dialer(), START), START);
    receiver.admit(&local(2), |_| Ok(()), START);
    receiver.receive(&out(&mut sender, START)[..24], START);
    assert_eq!(
        closed(&mut receiver),
        CloseReason::FrameTooLarge {
            kind: 1,
            body_bytes: 3000,
            max: 100
        }
    );
    let told = out(&mut receiver, START);
    assert!(
        told.ends_with(&[11, 0, 100, 0, 0, 0]),
        "the sender is told the limit"
    );
}

/// Bodies of all sizes that take different paths: empty, small, beyond a copy, beyond a read buffer, huge.
fn body_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..600usize, 2 => 4000..20_000usize, 1 => 60_000..300_000usize]
}

fn frames() -> impl Strategy<Value = Vec<(u8, u64, usize)>> {
    prop::collection::vec(
        (0..=raft_net_tcp::KIND_MAX, any::<u64>(), body_bytes()),
        1..12,
    )
}

fn body(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|i| (seed.wrapping_mul(31).wrapping_add(i * 7) >> 3) as u8)
        .collect()
}

fn received(connection: &mut Connection) -> Vec<Frame> {
    let frame = |event| match event {
        Event::Frame(frame) => frame,
        other => panic!("not a frame: {other:?}"),
    };
    events(connection).into_iter().map(frame).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However the stream is cut, the same frames come out; and a body in several chunks is the body in one.
    #[test]
    fn any_split_of_the_stream_gives_the_same_frames(
        frames in frames(),
        splits in prop::collection::vec(prop_oneof![1..40usize, 1..100_000usize], 1..40),
    ) {
        let (mut sender, mut receiver) = pair();
        for &(kind, id, bytes) in &frames {
            let whole = bytes::Bytes::from(body(id, bytes));
            let (a, b) = (whole.slice(..bytes / 3), whole.slice(bytes / 3..));
            sender.send(kind, id, &Body::from([a, b])).unwrap();
        }
        let stream = out(&mut sender, START);
        let mut rest = &stream[..];
        for size in splits.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*size));
            receiver.receive(now, START);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let received = received(&mut receiver);
        prop_assert_eq!(received.len(), frames.len());
        for (got, &(kind, id, bytes)) in received.iter().zip(&frames) {
            prop_assert_eq!((got.kind, got.request_id), (kind, id));
            prop_assert!(got.body == body(id, bytes));
        }
    }

    /// A partly written transmission goes on where it stopped.
    #[test]
    fn partial_writes_lose_nothing(frames in frames(), writes in prop::collection::vec(1..50_000usize, 1..20)) {
        let (mut sender, mut receiver) = pair();
        let mut writes = writes.iter().cycle();
        for &(kind, id, bytes) in &frames {
            sender.send(kind, id, &body(id, bytes).into()).unwrap();
            partial_write(&mut sender, &mut receiver, *writes.next().unwrap());
        }
        while sender.transmit_bytes() > 0 {
            partial_write(&mut sender, &mut receiver, *writes.next().unwrap());
        }
        let received = received(&mut receiver);
        prop_assert_eq!(received.len(), frames.len());
        for (got, &(_, id, bytes)) in received.iter().zip(&frames) {
            prop_assert!(got.body == body(id, bytes));
        }
    }

    /// F-N11: one flipped bit anywhere never yields a wrong frame: either a checksum notices, or the stream waits
    /// for more and the end of it is noticed.
    #[test]
    fn a_flipped_bit_never_yields_a_wrong_frame(frames in frames(), place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (mut sender, mut receiver) = pair();
        for &(kind, id, bytes) in &frames {
            sender.send(kind, id, &body(id, bytes).into()).unwrap();
        }
        let mut stream = out(&mut sender, START);
        let place = place.index(stream.len());
        stream[place] ^= 1 << bit;
        receiver.receive(&stream, START);
        receiver.handle_end();
        let mut events = events(&mut receiver);
        let last = events.pop();
        let noticed = matches!(
            last,
            Some(Event::Closed(CloseReason::HeaderChecksum | CloseReason::BodyChecksum { .. }))
        );
        prop_assert!(noticed, "{last:?}");
        prop_assert!(events.len() < frames.len());
        for (event, &(kind, id, bytes)) in events.iter().zip(&frames) {
            let Event::Frame(frame) = event else { panic!("not a frame: {event:?}") };
            prop_assert_eq!((frame.kind, frame.request_id), (kind, id));
            prop_assert!(frame.body == body(id, bytes));
        }
    }

    /// The same in the handshake: a damaged hello is never believed.
    #[test]
    fn a_flipped_bit_in_the_hello_is_noticed(place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut stream = out(&mut dialer(), START);
        let place = place.index(stream.len());
        stream[place] ^= 1 << bit;
        let mut connection = acceptor();
        connection.receive(&stream, START);
        connection.handle_end();
        prop_assert!(!matches!(connection.next_event(), Some(Event::Hello(_))));
    }

    /// Arbitrary bytes never panic, in any state.
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..5000), prefix in 0..3usize) {
        let (mut open_dialer, mut open_acceptor) = pair();
        open_dialer.receive(&bytes, START);
        open_acceptor.receive(&bytes, START);
        let hello = out(&mut dialer(), START);
        let start = [&[][..], &hello[..8], &hello[..]][prefix];
        for mut connection in [acceptor(), dialer(), open_dialer] {
            connection.receive(start, START);
            connection.receive(&bytes, START);
            connection.admit(&local(2), |_| Ok(()), START);
            connection.receive(&bytes, START);
            connection.handle_timeout(START + ms(100_000));
            connection.handle_end();
            while connection.next_event().is_some() {}
            prop_assert!(connection.close_reason().is_some());
        }
    }

    /// Well-formed frames with arbitrary contents of the crate's own kinds never panic either.
    #[test]
    fn arbitrary_control_frames_never_panic(
        kind in prop_oneof![Just(0xF0u8), Just(0xF1), 0xE0..=0xFFu8],
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let stream = [&raft_net_tcp::PREAMBLE[..], &frame(kind, &body)].concat();
        let (mut open, _) = pair();
        open.receive(&stream[8..], START);
        for mut connection in [acceptor(), dialer()] {
            connection.receive(&stream, START);
            connection.admit(&local(2), |_| Ok(()), START);
            while connection.next_event().is_some() {}
        }
    }
}

/// A frame with checksums that hold, built from the description and not from the code.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = [
        &(body.len() as u32).to_le_bytes()[..],
        &[kind, 0, 0, 0],
        &[0; 8],
    ]
    .concat();
    frame.extend(crc32c::crc32c(body).to_le_bytes());
    frame.extend(crc32c::crc32c(&frame).to_le_bytes());
    frame.extend(body);
    frame
}

/// However a hello is malformed, the reason is typed, and the other side is told.
#[test]
fn malformed_hellos() {
    let hello = out(&mut dialer(), START)[8 + 24..].to_vec();
    let with = |place: usize, bytes: &[u8]| {
        let mut hello = hello.clone();
        hello[place..place + bytes.len()].copy_from_slice(bytes);
        hello
    };
    let mut bad = vec![
        (
            with(0, &[9, 0, 8, 0]),
            BadHello::Versions(Versions { min: 9, max: 8 }),
        ),
        (with(4, &[77]), BadHello::Role { code: 77 }),
        (
            with(6, &[5, 0]),
            BadHello::Application {
                application_bytes: 5,
            },
        ),
        (
            with(6, &[0xFF, 0xFF]),
            BadHello::Application {
                application_bytes: 0xFFFF,
            },
        ),
    ];
    bad.extend((0..68).map(|len| (hello[..len].to_vec(), BadHello::Short { body_bytes: len })));
    for (body, reason) in bad {
        let mut connection = acceptor();
        connection.receive(
            &[&raft_net_tcp::PREAMBLE[..], &frame(0xF0, &body)].concat(),
            START,
        );
        assert_eq!(closed(&mut connection), CloseReason::BadHello(reason));
        assert_eq!(out(&mut connection, START)[8..], frame(0xF1, &[8, 0]));
    }

    let longer = [&hello[..], b"from a later version"].concat();
    let mut connection = acceptor();
    connection.receive(
        &[&raft_net_tcp::PREAMBLE[..], &frame(0xF0, &longer)].concat(),
        START,
    );
    assert!(
        matches!(connection.next_event(), Some(Event::Hello(_))),
        "what is appended later is ignored"
    );
}

/// The frames that only have a meaning in a handshake, or in a later version.
#[test]
fn control_frames_out_of_place() {
    for kind in [0xF0, 0xF3, 0xFF] {
        let (mut connection, _) = pair();
        connection.receive(&frame(kind, &[]), START);
        assert_eq!(
            closed(&mut connection),
            CloseReason::UnexpectedKind { kind }
        );
    }
    let (mut connection, _) = pair();
    connection.receive(&frame(0xF1, &[0x34, 0x12, 1, 2, 3]), START);
    assert_eq!(
        closed(&mut connection),
        CloseReason::Remote(Refusal::Unknown { code: 0x1234 })
    );
}

/// The smallest writes that there are.
#[test]
fn one_byte_at_a_time() {
    let (mut sender, mut receiver) = pair();
    let chunks = [5000, 3, 0, 4097].map(|bytes| bytes::Bytes::from(vec![bytes as u8; bytes]));
    sender.send(1, 1, &Body::from(chunks)).unwrap();
    while sender.transmit_bytes() > 0 {
        partial_write(&mut sender, &mut receiver, 1);
    }
    let received = received(&mut receiver);
    assert_eq!((received.len(), received[0].body.len()), (1, 9100));
}

fn partial_write(sender: &mut Connection, receiver: &mut Connection, bytes: usize) {
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let count = sender.transmit_slices(&mut slices);
    let front: Vec<u8> = slices
        .iter()
        .take(count)
        .flat_map(|slice| slice.iter().copied())
        .take(bytes)
        .collect();
    receiver.receive(&front, START);
    sender.handle_written(front.len(), START);
}
