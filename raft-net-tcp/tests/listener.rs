//! Who gets in, and who does not keep others out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, a panic is the report"
)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{address, dial, dial_node, listen, listen_on, local, pair, read_to_end, soon};
use raft_net_tcp::{
    AdmitAll, CloseReason, Config, ConnectError, Dial, Hello, Identity, Listener, Local, Refusal,
    Role, Versions,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn refused(result: Result<raft_net_tcp::Link, ConnectError>) -> CloseReason {
    match result {
        Err(ConnectError::Handshake { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn frames_go_both_ways_in_order() {
    let mut listener = listen(1, Config::default()).await;
    let (mut near, mut far) = pair(&mut listener, Role::Peer).await;
    assert_eq!((near.hello.identity.node, far.hello.identity.node), (1, 9));
    assert_eq!((near.version, far.version), (1, 1));
    for id in 0..1000 {
        near.sender.try_send(3, id, format!("near {id}")).unwrap();
        far.sender.try_send(4, id, format!("far {id}")).unwrap();
    }
    for id in 0..1000 {
        let (at_far, at_near) = (
            soon(far.receiver.recv()).await.unwrap(),
            soon(near.receiver.recv()).await.unwrap(),
        );
        assert_eq!(
            (at_far.kind, at_far.request_id, at_far.body),
            (3, id, format!("near {id}").into())
        );
        assert_eq!(
            (at_near.kind, at_near.request_id, at_near.body),
            (4, id, format!("far {id}").into())
        );
    }
}

#[tokio::test]
async fn what_was_sent_before_a_close_arrives() {
    let mut listener = listen(1, Config::default()).await;
    let (near, mut far) = pair(&mut listener, Role::Client).await;
    for id in 0..100 {
        near.sender.try_send(1, id, vec![id as u8; 10_000]).unwrap();
    }
    drop(near);
    let mut got = 0;
    let reason = loop {
        match soon(far.receiver.recv_many()).await {
            Ok(frames) => got += frames.len(),
            Err(reason) => break reason,
        }
    };
    assert_eq!((got, reason), (100, CloseReason::Remote(Refusal::Finished)));
    assert!(far.sender.is_closed());
}

/// A consumer that lags makes the sender wait, and costs bounded memory; nothing is lost.
#[tokio::test]
async fn backpressure_reaches_the_sender() {
    let mut config = Config::default();
    config.client.receive_queue_bytes = 64 * 1024;
    let mut listener = listen(1, config).await;
    let (near, mut far) = pair(&mut listener, Role::Client).await;
    let sent = Arc::new(AtomicU64::new(0));
    let sending = tokio::spawn({
        let (sender, sent) = (near.sender.clone(), sent.clone());
        async move {
            for id in 0..2000u64 {
                sender.send(1, id, vec![0; 50_000]).await.unwrap();
                sent.store(id + 1, Ordering::Relaxed);
            }
        }
    });
    // 100 MB do not fit into all buffers together: it comes to a stop.
    soon(async {
        let mut before = u64::MAX;
        while before != sent.load(Ordering::Relaxed) {
            before = sent.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let stopped_at = sent.load(Ordering::Relaxed);
    assert!((1..1000).contains(&stopped_at), "{stopped_at} frames");
    let full = near.sender.try_send(2, 0, vec![0; 500_000]);
    assert_eq!(full, Err(raft_net_tcp::SendError::Full));
    let mut next = 0;
    while next < 2000 {
        for frame in soon(far.receiver.recv_many()).await.unwrap() {
            assert_eq!(frame.request_id, next);
            next += 1;
        }
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn many_frames_are_received_as_few_batches() {
    let mut listener = listen(1, Config::default()).await;
    let (near, mut far) = pair(&mut listener, Role::Client).await;
    for id in 0..10_000 {
        near.sender.try_send(1, id, vec![1; 300]).unwrap();
    }
    let (mut frames, mut batches) = (0, 0);
    while frames < 10_000 {
        frames += soon(far.receiver.recv_many()).await.unwrap().len();
        batches += 1;
    }
    assert!(batches < 500, "{batches} batches");
}

#[tokio::test]
async fn versions_without_a_common_one_are_refused() {
    let new = || Local::new(Versions { min: 5, max: 7 }, Identity::default());
    let listener = Listener::bind("127.0.0.1:0", Config::default(), new, AdmitAll)
        .await
        .unwrap();
    let reason = refused(soon(dial(Role::Client).connect(&address(&listener))).await);
    assert_eq!(
        reason,
        CloseReason::Remote(Refusal::Version {
            ours: Versions { min: 5, max: 7 }
        })
    );
    soon(async {
        while listener.stats().refused == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// F-N3: another node listens at the address of the one that is wanted.
#[tokio::test]
async fn the_wrong_node_is_refused() {
    let listener = listen(3, Config::default()).await;
    let error = soon(dial_node(Role::Peer, 2).connect(&address(&listener)))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: the other side ended it: node 2 was expected, but node 3 is there; correct the address of node 2",
            listener.local_addr()
        )
    );
}

/// F-N3: a policy keeps the state that it needs; here, the highest boot number of each node.
#[tokio::test]
async fn a_lower_boot_number_is_refused() {
    let boots: Mutex<HashMap<u64, u64>> = Mutex::default();
    let policy = move |hello: &Hello| {
        let mut boots = boots.lock().unwrap();
        let seen = boots.entry(hello.identity.node).or_default();
        if hello.identity.boot < *seen {
            return Err(Refusal::StaleBoot { seen: *seen });
        }
        *seen = hello.identity.boot;
        Ok(())
    };
    let listener = listen_on("127.0.0.1:0", 1, Config::default(), policy).await;
    let with_boot = |boot| {
        let local = move || {
            Local::new(
                Versions::only(1),
                Identity {
                    node: 2,
                    boot,
                    ..Identity::default()
                },
            )
        };
        Dial::new(Config::default(), Role::Peer, local)
    };
    soon(with_boot(5).connect(&address(&listener)))
        .await
        .unwrap();
    let reason = refused(soon(with_boot(4).connect(&address(&listener))).await);
    assert_eq!(reason, CloseReason::Remote(Refusal::StaleBoot { seen: 5 }));
    soon(with_boot(5).connect(&address(&listener)))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_dialers_policy_counts_too() {
    let mut listener = listen(1, Config::default()).await;
    let refusal = Refusal::Application {
        code: 12,
        message: "not with me".into(),
    };
    let told = refusal.clone();
    let picky = dial(Role::Client).policy(move |_: &Hello| Err(told.clone()));
    let reason = refused(soon(picky.connect(&address(&listener))).await);
    assert_eq!(reason, CloseReason::Refused(refusal.clone()));
    // To the acceptor it was open for a moment.
    let mut link = soon(listener.accept()).await;
    assert_eq!(
        soon(link.receiver.recv()).await,
        Err(CloseReason::Remote(refusal))
    );
}

/// The identity is asked for each connection: a node learns its cluster while it runs.
#[tokio::test]
async fn the_identity_may_change() {
    let boot = Arc::new(AtomicU64::new(1));
    let current = boot.clone();
    let local = move || {
        let identity = Identity {
            boot: current.load(Ordering::Relaxed),
            ..Identity::default()
        };
        Local::new(Versions::only(1), identity)
    };
    let listener = Listener::bind("127.0.0.1:0", Config::default(), local, AdmitAll)
        .await
        .unwrap();
    let seen = async || {
        soon(dial(Role::Client).connect(&address(&listener)))
            .await
            .unwrap()
            .hello
            .identity
            .boot
    };
    assert_eq!(seen().await, 1);
    boot.store(2, Ordering::Relaxed);
    assert_eq!(seen().await, 2);
}

/// F-N5: each role has its own share, so clients never use up the peers'.
#[tokio::test]
async fn quotas_are_by_role_and_given_back() {
    let mut config = Config::default();
    config.client.connections_max = 2;
    config.peer.connections_max = 1;
    let mut listener = listen(1, config).await;
    let first = pair(&mut listener, Role::Client).await;
    let second = pair(&mut listener, Role::Client).await;
    let reason = refused(soon(dial(Role::Client).connect(&address(&listener))).await);
    assert_eq!(
        reason,
        CloseReason::Remote(Refusal::TooManyConnections { role: Role::Client })
    );
    let _peer = pair(&mut listener, Role::Peer).await;

    drop(first);
    soon(async {
        while dial(Role::Client)
            .connect(&address(&listener))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(second);
}

/// F-N5: a thousand connections that say nothing, with room for 64 handshakes, do not keep a peer out.
#[tokio::test]
async fn a_thousand_idle_connections_do_not_keep_a_peer_out() {
    let config = Config {
        pending_handshakes_max: 64,
        handshake_timeout: Duration::from_secs(60),
        ..Config::default()
    };
    let mut listener = listen(1, config).await;
    let mut idle = Vec::new();
    for _ in 0..idle_connections() {
        idle.push(
            soon(TcpStream::connect(listener.local_addr()))
                .await
                .unwrap(),
        );
    }
    let (_near, far) = pair(&mut listener, Role::Peer).await;
    assert_eq!(far.hello.role, Role::Peer);
    let stats = listener.stats();
    assert!(stats.displaced as usize >= idle.len() - 64, "{stats:?}");
}

/// A thousand, or what the limit of open files leaves to one process with both ends.
fn idle_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = open_files
        .and_then(|line| line.split_whitespace().nth(3))
        .and_then(|soft| soft.parse().ok());
    soft.unwrap_or(1024usize).saturating_sub(264).min(1000)
}

/// F-N5: one byte now and then does not move the deadline of the handshake.
#[tokio::test]
async fn slow_loris() {
    let config = Config {
        handshake_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let listener = listen(1, config).await;
    let (mut read, mut write) = TcpStream::connect(listener.local_addr())
        .await
        .unwrap()
        .into_split();
    let start = Instant::now();
    let dripping = tokio::spawn(async move {
        for byte in raft_net_tcp::PREAMBLE.iter().cycle().take(5) {
            write.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        write
    });
    let mut rest = Vec::new();
    let _ = soon(tokio::io::AsyncReadExt::read_to_end(&mut read, &mut rest)).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(listener.stats().refused, 1);
    let _ = dripping.await;
}

#[tokio::test]
async fn strangers_are_let_go_and_the_listener_goes_on() {
    let mut listener = listen(1, Config::default()).await;
    for hello in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01",
        &[0xFF; 4096],
        b"raft",
    ] {
        let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
        stream.write_all(hello).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(read_to_end(&mut stream).await.is_empty());
    }
    soon(async {
        while listener.stats().refused < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    pair(&mut listener, Role::Client).await;
}

/// Whoever dials something else gets told what it looks like.
#[tokio::test]
async fn dialling_an_http_server() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        read_to_end(&mut stream).await;
    });
    let error = soon(dial(Role::Client).connect(&address))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{address}: the other side does not speak this protocol: it looks like HTTP; check address and port"
        )
    );
}

/// F-N6: the other side is gone without a word, after the handshake.
#[tokio::test]
async fn a_half_open_connection_is_closed() {
    let mut config = Config::default();
    config.peer.silence_timeout = Duration::from_millis(200);
    config.peer.ping_interval = Duration::from_millis(50);
    let mut listener = listen(1, config.clone()).await;
    let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
    let mut machine = raft_net_tcp::Connection::dial(
        Arc::new(config),
        Role::Peer,
        &local(9)(),
        None,
        Duration::ZERO,
    );
    for bytes in machine.take_transmit(Duration::ZERO) {
        stream.write_all(&bytes).await.unwrap();
    }
    let mut link = soon(listener.accept()).await;
    let reason = soon(link.receiver.recv()).await.unwrap_err();
    assert_eq!(
        reason,
        CloseReason::Silence {
            after: Duration::from_millis(200)
        }
    );
}

/// An idle connection with both ends alive stays open for many times its silence timeout.
#[tokio::test]
async fn an_idle_connection_stays_open() {
    let mut config = Config::default();
    config.peer.silence_timeout = Duration::from_millis(300);
    config.peer.ping_interval = Duration::from_millis(100);
    let mut listener = listen(1, config).await;
    let (near, far) = pair(&mut listener, Role::Peer).await;
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(
        (near.receiver.close_reason(), far.receiver.close_reason()),
        (None, None)
    );
}

#[tokio::test]
async fn an_invalid_configuration_is_named() {
    let config = Config {
        in_flight_max: 0,
        ..Config::default()
    };
    let error = Listener::bind("127.0.0.1:0", config, local(1), AdmitAll)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid configuration: in_flight_max must be more than zero"
    );
}
