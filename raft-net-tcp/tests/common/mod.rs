//! What the tests of the shell share.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, a panic is the report"
)]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::future::Future;
use std::time::Duration;

use raft_net_tcp::{
    AdmitAll, Client, Config, Dial, Identity, Link, Listener, Local, Peer, PeerStatus, Policy,
    Role, Versions,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it took too long")
}

pub(crate) fn local(node: u64) -> impl Fn() -> Local + Send + Sync + Clone + 'static {
    move || {
        Local::new(
            Versions::only(1),
            Identity {
                node,
                ..Identity::default()
            },
        )
    }
}

pub(crate) async fn listen(node: u64, config: Config) -> Listener {
    listen_on("127.0.0.1:0", node, config, AdmitAll).await
}

pub(crate) async fn listen_on(
    address: &str,
    node: u64,
    config: Config,
    policy: impl Policy,
) -> Listener {
    Listener::bind(address, config, local(node), policy)
        .await
        .expect("it works")
}

pub(crate) fn address(listener: &Listener) -> String {
    listener.local_addr().to_string()
}

pub(crate) fn dial(role: Role) -> Dial {
    let config = Config {
        connect_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    Dial::new(config, role, local(9))
}

pub(crate) fn dial_node(role: Role, node: u64) -> Dial {
    dial(role).expect_node(node)
}

/// Both ends of a connection.
pub(crate) async fn pair(listener: &mut Listener, role: Role) -> (Link, Link) {
    let address = address(listener);
    let (near, far) = soon(async {
        tokio::join!(
            async { dial(role).connect(&address).await.expect("it works") },
            listener.accept()
        )
    })
    .await;
    (near, far)
}

/// Answers every frame with itself.
pub(crate) fn echo(mut listener: Listener) {
    tokio::spawn(async move {
        loop {
            let mut link = listener.accept().await;
            tokio::spawn(async move {
                while let Ok(frames) = link.receiver.recv_many().await {
                    for frame in frames {
                        if link
                            .sender
                            .send(frame.kind, frame.request_id, frame.body)
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                }
            });
        }
    });
}

pub(crate) async fn echo_client(config: Config) -> Client {
    let listener = listen(1, config.clone()).await;
    let address = address(&listener);
    echo(listener);
    Client::connect(&address, &Dial::new(config, Role::Client, local(9)))
        .await
        .expect("it works")
}

/// Until the status of a peer is as wanted.
pub(crate) async fn status(peer: &Peer, wanted: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
    let mut watch = peer.status();
    soon(watch.wait_for(|status| wanted(status)))
        .await
        .expect("it works")
        .clone()
}

/// Everything until the other side closes; how it closes does not matter.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    bytes
}
