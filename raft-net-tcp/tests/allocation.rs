//! What a claimed length may cost: nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, a panic is the report"
)]

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use raft_net_tcp::{
    CloseReason, Config, Connection, Event, Identity, Local, PREAMBLE, Role, Versions,
};

const NOW: Duration = Duration::ZERO;

fn local() -> Local {
    Local::new(Versions::only(1), Identity::default())
}

fn header(kind: u8, body_bytes: u32) -> Vec<u8> {
    let mut header = [&body_bytes.to_le_bytes()[..], &[kind, 0, 0, 0], &[0; 12]].concat();
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    header
}

fn open_acceptor() -> Connection {
    let mut dialer = Connection::dial(Arc::default(), Role::Peer, &local(), None, NOW);
    let mut acceptor = Connection::accept(Arc::default(), NOW);
    acceptor.receive(&dialer.take_transmit(NOW).concat(), NOW);
    acceptor.admit(&local(), |_| Ok(()), NOW);
    while acceptor.next_event().is_some() {}
    acceptor
}

/// F-N4: a length prefix of 0xFFFFFFFF allocates less than 64 KiB, before the handshake and after.
#[test]
fn four_gibibytes_claimed() {
    let before = [&PREAMBLE[..], &header(0xF0, u32::MAX)].concat();
    let after = header(1, u32::MAX);
    let spent = measure(|| {
        let mut connection = Connection::accept(Arc::default(), NOW);
        connection.receive(&before, NOW);
        assert!(matches!(
            connection.close_reason(),
            Some(CloseReason::FrameTooLarge {
                body_bytes: u32::MAX,
                ..
            })
        ));

        let mut connection = open_acceptor();
        connection.receive(&after, NOW);
        let reason = connection.close_reason().unwrap();
        assert_eq!(
            reason.to_string(),
            "a frame of kind 0x01 claims 4294967295 bytes, and at most 8388608 are taken"
        );
    });
    assert!(spent.bytes_max < 64 * 1024, "{spent:?}");
}

/// F-N4: a length within the limit costs what arrives, not what is claimed.
#[test]
fn eight_mebibytes_claimed_and_little_sent() {
    let claimed = header(1, 8 << 20);
    let spent = measure(|| {
        let mut connection = open_acceptor();
        connection.receive(&claimed, NOW);
        connection.receive(&[0; 1000], NOW);
    });
    assert!(spent.bytes_max < 100 * 1024, "{spent:?}");

    let spent = measure(|| {
        let mut connection = open_acceptor();
        connection.receive(&claimed, NOW);
        for _ in 0..1024 {
            connection.receive(&[0; 1024], NOW);
        }
    });
    // The old allocation and the grown one, for a moment.
    assert!(spent.bytes_max < (3 << 20) + 200 * 1024, "{spent:?}");
}

/// An idle connection is cheap: 10 000 of them fit into 100 MiB.
#[test]
fn an_idle_connection() {
    let spent = measure(|| {
        let connection = open_acceptor();
        std::mem::forget(connection);
    });
    assert!(spent.bytes_current < 10 * 1024, "{spent:?}");
}

/// Small frames share the buffer they were read into: far fewer allocations than frames.
#[test]
fn small_frames_are_not_copied_one_by_one() {
    let mut dialer = Connection::dial(Arc::new(Config::default()), Role::Peer, &local(), None, NOW);
    let mut acceptor = Connection::accept(Arc::default(), NOW);
    acceptor.receive(&dialer.take_transmit(NOW).concat(), NOW);
    acceptor.admit(&local(), |_| Ok(()), NOW);
    dialer.receive(&acceptor.take_transmit(NOW).concat(), NOW);
    let body = Bytes::from(vec![1; 300]).into();
    let mut stream = BytesMut::new();
    for id in 0..10_000 {
        dialer.send(1, id, &body).unwrap();
    }
    stream.extend(dialer.take_transmit(NOW));
    while acceptor.next_event().is_some() {}

    let spent = measure(|| {
        let mut frames = 0;
        for chunk in stream.chunks(48 * 1024) {
            acceptor.receive(chunk, NOW);
            while let Some(event) = acceptor.next_event() {
                frames += usize::from(matches!(event, Event::Frame(_)));
            }
        }
        assert_eq!(frames, 10_000);
    });
    assert!(spent.count_total < 1000, "{spent:?}");
}
