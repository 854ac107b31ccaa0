//! What clients are let do, and connections that must not linger.

use std::collections::BTreeMap;
use std::net::TcpListener;

use raft_net_tcp::{Config, Dial, Local, Role};

use super::answer::REPLY_BYTES_MAX;
use super::door::{Admitted, admit};
use super::*;
use crate::api::{Command, KeyRange, Operation, Query, Request, RequestError};
use crate::client::{Client, Options};
use crate::glue;
use crate::wire::{self, kind};

fn query(keys: KeyRange) -> Query {
    Query {
        keys,
        limit: 0,
        reverse: false,
        revision: 0,
        keys_only: false,
        count_only: false,
    }
}

fn read(query: Query) -> Request {
    Request::Read {
        query,
        stale: true,
        min_applied: 0,
    }
}

fn front() -> KvFront {
    let version = Store::new(Settings::default()).cluster_version();
    let (_closing, closing) = watch::channel(false);
    KvFront::new(
        PathBuf::new(),
        Duration::from_secs(1),
        version,
        closing,
        mpsc::channel(1).0,
    )
}

fn admit_at(front: &KvFront, body: Bytes) -> Result<Admitted, RequestError> {
    admit(&front.limits, front.observed().cluster_version, body)
}

fn body(request: &Request) -> Bytes {
    let chunks: Vec<u8> = wire::encode_request(request, wire::PROTOCOL_MAX).concat();
    chunks.into()
}

#[test]
fn a_range_counts_what_its_reply_may_take_and_nothing_else_does() {
    let front = front();
    let reply_bytes = |query| {
        let admitted = admit_at(&front, body(&read(query))).unwrap_or_else(|e| panic!("{e:?}"));
        assert!(matches!(admitted, Admitted::Read { .. }));
        admitted.reply_bytes()
    };
    let all = query(KeyRange::Prefix(Bytes::new()));
    assert!(reply_bytes(all.clone()) >= REPLY_BYTES_MAX);
    assert!(reply_bytes(query(KeyRange::Range("a".into(), None))) >= REPLY_BYTES_MAX);
    assert_eq!(reply_bytes(query(KeyRange::Key("a".into()))), 0);
    let counted = Query {
        count_only: true,
        ..all
    };
    assert_eq!(reply_bytes(counted), 0);
}

#[test]
fn commands_are_taken_before_the_loop_has_looked_around() {
    let register = Request::Write(Command {
        session: 0,
        sequence: 0,
        first_outstanding: 0,
        principal: Bytes::new(),
        operation: Operation::RegisterSession,
    });
    let admitted = admit_at(&front(), body(&register));
    assert!(matches!(admitted, Ok(Admitted::Write(_))));
}

/// A connection of a client that takes no larger frames than this.
async fn connect(address: &str, frame_bytes_max: u32) -> Link {
    let mut config = Config::default();
    config.client.frame_bytes_max = frame_bytes_max;
    let identity = raft_net_tcp::Identity::default();
    let local = move || Local::new(glue::PROTOCOL, identity);
    let dial = Dial::new(config, Role::Client, local);
    dial.connect(address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_answer_cannot_be_sent_is_closed() {
    let home = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let config = NodeConfig {
        segment_bytes: 1 << 20,
        ..NodeConfig::new(1, home.path(), BTreeMap::from([(1, address.clone())]))
    };
    let mut server = Server::start(config).await.unwrap();
    let client = Client::connect([address.clone()], Options::default()).unwrap();
    client.put("large", vec![0; 100_000]).await.unwrap();

    let mut link = connect(&address, 10_000).await;
    let ask = |number, key: &'static str| {
        let request =
            wire::encode_request(&read(query(KeyRange::Key(key.into()))), wire::PROTOCOL_MAX);
        link.sender.try_send(kind::REQUEST, number, request)
    };
    ask(1, "small").unwrap();
    assert_eq!(link.receiver.recv().await.unwrap().request_id, 1);
    ask(2, "large").unwrap();
    // By now it may be closed.
    let _ = ask(3, "small");
    let end = timeout(Duration::from_secs(20), link.receiver.recv()).await;
    assert!(end.expect("it stays open, half-dead").is_err());
    server.stop();
    assert_eq!(server.ended().await, Exit::Stopped);
}
