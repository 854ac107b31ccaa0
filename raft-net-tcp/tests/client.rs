//! Requests and answers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, a panic is the report"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{address, dial, echo_client, listen, soon};
use raft_net_tcp::{Client, CloseReason, Config, NotSent, Refusal, RequestError, Role, SendError};

/// Thousands of requests at once on one connection; each gets its own answer.
#[tokio::test]
async fn pipelining() {
    let client = echo_client(Config::default()).await;
    let requests: Vec<_> = (0..5000u32)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                (
                    number,
                    client.request(1, number.to_le_bytes().to_vec()).await,
                )
            })
        })
        .collect();
    for request in requests {
        let (number, answer) = soon(request).await.unwrap();
        assert_eq!(answer.unwrap().body[..], number.to_le_bytes());
    }
}

/// More requests than may be in flight wait for their turn.
#[tokio::test]
async fn the_limit_of_requests_in_flight() {
    let client = echo_client(Config {
        in_flight_max: 3,
        ..Config::default()
    })
    .await;
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.request(1, "x").await })
        })
        .collect();
    for request in requests {
        soon(request).await.unwrap().unwrap();
    }
}

/// Answers may come in another order than requests.
#[tokio::test]
async fn answers_out_of_order() {
    let mut listener = listen(1, Config::default()).await;
    let client = Client::connect(&address(&listener), &dial(Role::Client))
        .await
        .unwrap();
    let mut link = soon(listener.accept()).await;
    tokio::spawn(async move {
        let (first, second) = (
            link.receiver.recv().await.unwrap(),
            link.receiver.recv().await.unwrap(),
        );
        for frame in [second, first] {
            link.sender
                .try_send(2, frame.request_id, frame.body)
                .unwrap();
        }
        link.sender.try_send(2, 999, "to nobody").unwrap();
        let _ = link.receiver.recv().await;
    });
    let (a, b) = soon(async { tokio::join!(client.request(1, "a"), client.request(1, "b")) }).await;
    assert_eq!(
        (&a.unwrap().body[..], &b.unwrap().body[..]),
        (&b"a"[..], &b"b"[..])
    );
}

/// A request that is given up is forgotten; its answer disturbs nobody.
#[tokio::test]
async fn a_dropped_request() {
    let client = echo_client(Config {
        in_flight_max: 1,
        ..Config::default()
    })
    .await;
    let given_up = tokio::time::timeout(Duration::ZERO, client.request(1, "never mind")).await;
    drop(given_up);
    assert_eq!(
        &soon(client.request(1, "next")).await.unwrap().body[..],
        b"next"
    );
}

/// When the connection ends, every open request ends, and says whether it may have been sent.
#[tokio::test]
async fn not_sent_and_maybe_sent() {
    let mut config = Config::default();
    config.client.receive_queue_bytes = 1;
    let mut listener = listen(1, config).await;
    let client = Arc::new(
        Client::connect(&address(&listener), &dial(Role::Client))
            .await
            .unwrap(),
    );
    let mut link = soon(listener.accept()).await;
    // 60 MiB fit neither into the socket's buffers, nor, with the server not reading, into the server's.
    let requests: Vec<_> = (0..60)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.request(1, vec![0; 1 << 17]).await })
        })
        .collect();
    let _first = soon(link.receiver.recv()).await.unwrap();
    drop(link);
    let mut sent = (0, 0);
    for request in requests {
        match soon(request).await.unwrap().unwrap_err() {
            RequestError::MaybeSent(_) => sent.0 += 1,
            RequestError::NotSent(_) => sent.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(sent.0 >= 1 && sent.1 >= 1, "{sent:?}");

    let after = soon(client.request(1, "too late")).await.unwrap_err();
    assert!(
        matches!(after, RequestError::NotSent(NotSent::Closed(_))),
        "{after:?}"
    );
    assert!(client.close_reason().is_some());
}

#[tokio::test]
async fn an_open_request_learns_why_the_server_closed() {
    let mut listener = listen(1, Config::default()).await;
    let client = Client::connect(&address(&listener), &dial(Role::Client))
        .await
        .unwrap();
    let mut link = soon(listener.accept()).await;
    let request = tokio::spawn({
        let client = client.clone();
        async move { client.request(1, "shut down").await }
    });
    soon(link.receiver.recv()).await.unwrap();
    link.sender.close();
    let error = soon(request).await.unwrap().unwrap_err();
    assert_eq!(
        error,
        RequestError::MaybeSent(CloseReason::Remote(Refusal::Finished))
    );
}

/// A frame that is too large harms nothing but itself.
#[tokio::test]
async fn a_request_above_the_limit() {
    let client = echo_client(Config::default()).await;
    let error = soon(client.request(1, vec![0; (2 << 20) + 1]))
        .await
        .unwrap_err();
    let too_large = SendError::TooLarge {
        body_bytes: (2 << 20) + 1,
        max: 2 << 20,
    };
    assert_eq!(error, RequestError::NotSent(NotSent::Send(too_large)));
    assert_eq!(
        soon(client.request(1, vec![7; 2 << 20]))
            .await
            .unwrap()
            .body
            .len(),
        2 << 20
    );
}

/// The server learns that the last clone of a client is gone.
#[tokio::test]
async fn dropping_the_client_closes() {
    let mut listener = listen(1, Config::default()).await;
    let client = Client::connect(&address(&listener), &dial(Role::Client))
        .await
        .unwrap();
    let mut link = soon(listener.accept()).await;
    let clone = client.clone();
    drop(client);
    assert_eq!(clone.close_reason(), None);
    drop(clone);
    assert_eq!(
        soon(link.receiver.recv()).await,
        Err(CloseReason::Remote(Refusal::Finished))
    );
}
