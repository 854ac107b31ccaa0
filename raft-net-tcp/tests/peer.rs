//! Peers that come, go, move and hang.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, a panic is the report"
)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{address, dial, dial_node, listen, listen_on, local, soon, status};
use raft_net_tcp::{
    AdmitAll, CloseReason, Config, ConnectError, Dial, Link, Listener, Overflow, Peer, PeerError,
    PeerStatus, Refusal, Role,
};

fn spawn(address: impl Into<String>, node: u64) -> Peer {
    Peer::spawn(
        address,
        dial_node(Role::Peer, node),
        Overflow::DropOldest,
        1,
    )
    .unwrap()
}

/// An address where nobody listens, and where one can listen later.
async fn free_address() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

fn connected(status: &PeerStatus) -> bool {
    status.connected.is_some()
}

async fn frame_with(link: &mut Link, id: u64) {
    while soon(link.receiver.recv()).await.unwrap().request_id != id {}
}

/// F-N8, F-N12: in whatever order both sides start, they find each other; the first errors end nothing.
#[tokio::test]
async fn the_peer_may_start_before_the_listener() {
    let address = free_address().await;
    let peer = spawn(address.to_string(), 1);
    let before = status(&peer, |status| status.failures >= 3).await;
    assert!(matches!(
        before.last_error,
        Some(PeerError::Connect(ConnectError::Tcp {
            kind: std::io::ErrorKind::ConnectionRefused,
            ..
        }))
    ));
    let mut listener = listen_on(&address.to_string(), 1, Config::default(), AdmitAll).await;
    let mut link = soon(listener.accept()).await;
    status(&peer, connected).await;
    peer.try_send(1, 7, "hello").unwrap();
    frame_with(&mut link, 7).await;
}

/// F-N6, F-N8: a peer that restarts is found again at once, each time.
#[tokio::test]
async fn a_restarted_peer_is_found_again() {
    let address = free_address().await.to_string();
    let peer = spawn(&address, 1);
    for round in 1..=5 {
        let mut listener = listen_on(&address, 1, Config::default(), AdmitAll).await;
        let start = Instant::now();
        let mut link = soon(listener.accept()).await;
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        status(&peer, |status| {
            connected(status) && status.connections == round
        })
        .await;
        peer.try_send(1, round, "again").unwrap();
        frame_with(&mut link, round).await;
        drop((listener, link));
        status(&peer, |status| !connected(status)).await;
    }
}

/// F-N3: while another node has the address, nothing is sent to it; the right one gets what comes after.
#[tokio::test]
async fn another_node_at_the_address() {
    let wrong = listen(3, Config::default()).await;
    let peer = spawn(address(&wrong), 2);
    let seen = status(&peer, |status| status.failures >= 2).await;
    let refusal = Refusal::WrongNode {
        expected: 2,
        actual: 3,
    };
    assert_eq!(
        seen.last_error,
        Some(PeerError::Connect(ConnectError::Handshake {
            address: address(&wrong),
            reason: CloseReason::Remote(refusal)
        }))
    );
    assert_eq!(wrong.stats().accepted, 0);

    let mut right = listen(2, Config::default()).await;
    peer.set_address(address(&right));
    let mut link = soon(right.accept()).await;
    status(&peer, connected).await;
    peer.try_send(1, 5, "to node 2").unwrap();
    frame_with(&mut link, 5).await;
}

#[tokio::test]
async fn a_peer_that_moves_is_followed() {
    let (mut old, mut new) = (
        listen(1, Config::default()).await,
        listen(1, Config::default()).await,
    );
    let peer = spawn(address(&old), 1);
    let mut before = soon(old.accept()).await;
    status(&peer, connected).await;
    peer.set_address(address(&new));
    assert_eq!(
        soon(before.receiver.recv()).await,
        Err(CloseReason::Remote(Refusal::Finished))
    );
    let mut after = soon(new.accept()).await;
    status(&peer, |status| status.connections == 2 && connected(status)).await;
    peer.try_send(1, 1, "here").unwrap();
    frame_with(&mut after, 1).await;
}

/// F-N7: one peer accepts connections and never answers, another takes no connection; frames for them do not delay
/// those for the third.
#[tokio::test]
async fn a_black_hole_delays_nobody_else() {
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let black_holed = {
        let config = Config {
            connect_timeout: Duration::from_millis(300),
            ..Config::default()
        };
        let dial = Dial::new(config, Role::Peer, local(9)).expect_node(1);
        Peer::spawn(
            hole.local_addr().unwrap().to_string(),
            dial,
            Overflow::DropOldest,
            1,
        )
        .unwrap()
    };
    let absent = spawn(free_address().await.to_string(), 2);
    let mut listener = listen(3, Config::default()).await;
    let healthy = spawn(address(&listener), 3);
    let mut link = soon(listener.accept()).await;
    status(&healthy, connected).await;

    let start = Instant::now();
    for id in 0..20_000 {
        black_holed.try_send(1, id, vec![0; 10_000]).unwrap();
        absent.try_send(1, id, vec![0; 10_000]).unwrap();
        if id % 100 == 0 {
            healthy.try_send(1, id, "heartbeat").unwrap();
        }
    }
    frame_with(&mut link, 19_900).await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert!(black_holed.dropped_frames() > 15_000);
    let seen = status(&black_holed, |status| status.last_error.is_some()).await;
    assert!(
        matches!(
            seen.last_error,
            Some(PeerError::Connect(ConnectError::Silent { .. }))
        ),
        "{seen:?}"
    );
}

/// F-N6: an acceptor that falls silent after the handshake is left within the silence timeout, and dialled again.
#[tokio::test]
async fn a_silent_peer_is_dialled_again() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::default();
    config.peer.silence_timeout = Duration::from_millis(200);
    config.peer.ping_interval = Duration::from_millis(50);
    let dial = Dial::new(config, Role::Peer, local(9));
    let peer = Peer::spawn(
        server.local_addr().unwrap().to_string(),
        dial,
        Overflow::DropOldest,
        1,
    )
    .unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        let (mut stream, _) = soon(server.accept()).await.unwrap();
        answer_once(&mut stream).await;
        held.push(stream);
    }
    let seen = status(&peer, |status| status.connections == 2).await;
    let silent = CloseReason::Silence {
        after: Duration::from_millis(200),
    };
    assert!(matches!(seen.last_error, Some(PeerError::Closed { reason, .. }) if reason == silent));
}

/// Does the handshake, and then nothing.
async fn answer_once(stream: &mut tokio::net::TcpStream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let now = Duration::ZERO;
    let mut machine = raft_net_tcp::Connection::accept(Config::default().into(), now);
    while machine.next_event().is_none() {
        let mut bytes = [0; 1024];
        let count = soon(stream.read(&mut bytes)).await.unwrap();
        machine.receive(&bytes[..count], now);
    }
    machine.admit(&local(1)(), |_| Ok(()), now);
    for bytes in machine.take_transmit(now) {
        stream.write_all(&bytes).await.unwrap();
    }
}

/// What waits too long is old news: it is dropped with each failed attempt, not delivered on reconnection.
#[tokio::test]
async fn old_frames_are_not_delivered_late() {
    let address = free_address().await.to_string();
    let peer = spawn(&address, 1);
    peer.try_send(1, 1, "old").unwrap();
    status(&peer, |status| status.failures >= 2).await;
    assert!(peer.dropped_frames() >= 1);
    let mut listener = listen_on(&address, 1, Config::default(), AdmitAll).await;
    let mut link = soon(listener.accept()).await;
    status(&peer, connected).await;
    peer.try_send(1, 2, "new").unwrap();
    assert_eq!(soon(link.receiver.recv()).await.unwrap().request_id, 2);
}

/// F-N9: a bulk connection of its own, with a queue that makes the sender wait, next to one for urgent frames.
#[tokio::test]
async fn bulk_does_not_delay_heartbeats() {
    let mut listener = listen(1, Config::default()).await;
    let urgent = spawn(address(&listener), 1);
    let mut urgent_link = soon(listener.accept()).await;
    let bulk = Peer::spawn(
        address(&listener),
        dial(Role::PeerBulk),
        Overflow::Reject,
        2,
    )
    .unwrap();
    let mut bulk_link = soon(listener.accept()).await;
    assert_eq!(bulk_link.hello.role, Role::PeerBulk);
    status(&urgent, connected).await;
    status(&bulk, connected).await;

    let sending = tokio::spawn(async move {
        for id in 0..100 {
            bulk.send(1, id, vec![0; 1 << 20]).await.unwrap();
        }
        bulk
    });
    // Nobody reads the bulk connection yet, and the urgent one does not care.
    for id in 0..50 {
        urgent.try_send(1, id, "heartbeat").unwrap();
        frame_with(&mut urgent_link, id).await;
    }
    for id in 0..100 {
        let frame = soon(bulk_link.receiver.recv()).await.unwrap();
        assert_eq!((frame.request_id, frame.body.len()), (id, 1 << 20));
    }
    drop(sending.await.unwrap());
    assert_eq!(
        soon(bulk_link.receiver.recv()).await,
        Err(CloseReason::Remote(Refusal::Finished))
    );
}

#[tokio::test]
async fn dropping_a_peer_closes_its_connection() {
    let mut listener: Listener = listen(1, Config::default()).await;
    let peer = spawn(address(&listener), 1);
    let mut link = soon(listener.accept()).await;
    status(&peer, connected).await;
    peer.try_send(1, 1, "last").unwrap();
    drop(peer);
    assert_eq!(soon(link.receiver.recv()).await.unwrap().request_id, 1);
    assert_eq!(
        soon(link.receiver.recv()).await,
        Err(CloseReason::Remote(Refusal::Finished))
    );
}
