//! Servers on real files and sockets, in one process, asked through the client.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_kv::client::{Client, Options};
use raft_kv::node::formation::FormationError;
use raft_kv::node::replica::Fatal;
use raft_kv::node::server::Server;
use raft_kv::node::{Exit, NodeConfig};

/// Addresses that were free a moment ago.
fn addresses(count: u64) -> BTreeMap<u64, String> {
    let sockets: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    (1..)
        .zip(
            sockets
                .iter()
                .map(|socket| socket.local_addr().unwrap().to_string()),
        )
        .collect()
}

fn config(home: &Path, id: u64, cluster: &BTreeMap<u64, String>) -> NodeConfig {
    NodeConfig {
        election_timeout: Duration::from_millis(500),
        heartbeat: Duration::from_millis(50),
        segment_bytes: 1 << 20,
        ..NodeConfig::new(id, dir(home, id), cluster.clone())
    }
}

fn dir(home: &Path, id: u64) -> PathBuf {
    home.join(format!("n{id}"))
}

async fn start(home: &Path, id: u64, cluster: &BTreeMap<u64, String>) -> Server {
    Server::start(config(home, id, cluster)).await.unwrap()
}

async fn stop(mut server: Server) {
    server.stop();
    assert_eq!(server.ended().await, Exit::Stopped);
}

fn client(cluster: &BTreeMap<u64, String>) -> Client {
    let options = Options {
        timeout: Duration::from_secs(30),
        ..Options::default()
    };
    Client::connect(cluster.values().cloned(), options).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_a_cluster() {
    let home = tempfile::tempdir().unwrap();
    let cluster = addresses(1);
    let server = start(home.path(), 1, &cluster).await;
    let client = client(&cluster);
    let written = client.put("hello", "world").await.unwrap();
    let found = client.get("hello").await.unwrap();
    assert_eq!(found.kv.unwrap().value, "world");
    assert_eq!(found.header.revision, written.revision);
    assert!(found.header.applied >= written.header.applied);
    let status = client.status(&cluster[&1]).await.unwrap();
    assert_eq!(
        (status.role.as_str(), status.keys, status.error.as_str()),
        ("leader", 1, "")
    );
    assert_eq!((status.members.len(), status.first, status.boot), (1, 1, 1));
    // One segment is there from the start; the next one is made ready meanwhile.
    assert!(
        status.syncs > 0 && status.disk_bytes >= 1 << 20,
        "{status:?}"
    );
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_serve_many_requests_at_once_and_keep_all_of_it() {
    let home = tempfile::tempdir().unwrap();
    let cluster = addresses(3);
    let mut servers = Vec::new();
    for id in 1..=3 {
        servers.push(start(home.path(), id, &cluster).await);
    }
    let client = client(&cluster);
    let syncs_before = syncs(&client, &cluster).await;
    let mut writes = tokio::task::JoinSet::new();
    for i in 0..500 {
        let client = client.clone();
        writes.spawn(async move {
            client
                .put(format!("key {i:03}"), format!("value {i}"))
                .await
        });
    }
    let mut revisions: Vec<u64> = writes
        .join_all()
        .await
        .into_iter()
        .map(|written| written.unwrap().revision)
        .collect();
    revisions.sort_unstable();
    assert_eq!(
        revisions,
        (1..=500).collect::<Vec<u64>>(),
        "each was applied once, and they were in some order"
    );
    // Group commit: writes that wait together are synced together.
    let syncs = syncs(&client, &cluster).await - syncs_before;
    println!("{syncs} syncs on three nodes for 500 writes");
    assert!(syncs < 500, "{syncs} syncs for 500 writes on three nodes");

    let overview = client.overview().await;
    let leader = overview.leader().unwrap().clone();
    assert_eq!(leader.members.len(), 3);
    assert!(
        leader
            .members
            .iter()
            .all(|member| member.voter && member.matched > 500),
        "{leader:?}"
    );
    client.close().await;

    for server in servers {
        stop(server).await;
    }
    let mut servers = Vec::new();
    for id in 1..=3 {
        // The list of the first members is of no use any more.
        let listen = cluster[&id].clone();
        let config = NodeConfig {
            cluster: BTreeMap::new(),
            listen,
            ..config(home.path(), id, &cluster)
        };
        servers.push(Server::start(config).await.unwrap());
    }
    let client = self::client(&cluster);
    for i in [0, 250, 499] {
        let found = client.get(format!("key {i:03}")).await.unwrap();
        assert_eq!(found.kv.unwrap().value, format!("value {i}"));
    }
    let written = client.put("one", "more").await.unwrap();
    assert_eq!(written.revision, 501);
    for server in servers {
        stop(server).await;
    }
}

async fn syncs(client: &Client, cluster: &BTreeMap<u64, String>) -> u64 {
    let mut sum = 0;
    for address in cluster.values() {
        sum += client.status(address).await.unwrap().syncs;
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_answers_what_is_open_and_another_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let cluster = addresses(3);
    let mut servers = BTreeMap::new();
    for id in 1..=3 {
        servers.insert(id, start(home.path(), id, &cluster).await);
    }
    let client = client(&cluster);
    client.put("warm", "up").await.unwrap();
    let leader = client.overview().await.leader().unwrap().id;
    let mut writes = tokio::task::JoinSet::new();
    for i in 0..200 {
        let client = client.clone();
        writes.spawn(async move { client.put(format!("key {i}"), "x").await });
    }
    stop(servers.remove(&leader).unwrap()).await;
    let results = writes.join_all().await;
    let failed: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert!(
        failed.is_empty(),
        "the client had time to find the next leader: {failed:?}"
    );
    let range = raft_kv::api::KeyRange::Prefix("key ".into());
    assert_eq!(client.range(range).count_only().await.unwrap().count, 200);
    for (_, server) in servers {
        stop(server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_formed_says_whom_it_waits_for() {
    let home = tempfile::tempdir().unwrap();
    let cluster = addresses(3);
    let server = start(home.path(), 1, &cluster).await;
    let client = client(&cluster);
    let status = client.status(&cluster[&1]).await.unwrap();
    assert_eq!(status.role, "forming");
    assert!(
        status.error.contains("waiting for nodes 2, 3"),
        "{}",
        status.error
    );
    let failed = client
        .timeout(Duration::from_millis(600))
        .put("k", "v")
        .await
        .unwrap_err();
    assert!(!failed.maybe_applied(), "{failed}");
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_refuses_to_start_while_the_others_go_on() {
    let home = tempfile::tempdir().unwrap();
    let cluster = addresses(3);
    let mut servers = BTreeMap::new();
    for id in 1..=3 {
        servers.insert(id, start(home.path(), id, &cluster).await);
    }
    let client = client(&cluster);
    client.put("k", "v").await.unwrap();
    stop(servers.remove(&2).unwrap()).await;
    std::fs::remove_dir_all(dir(home.path(), 2)).unwrap();
    let mut wiped = start(home.path(), 2, &cluster).await;
    let exit = tokio::time::timeout(Duration::from_secs(20), wiped.ended())
        .await
        .unwrap();
    let Exit::Fatal(Fatal::Formation(FormationError::OtherIncarnation { member, .. })) = exit
    else {
        panic!("{exit}");
    };
    assert_eq!(member.node.0, 2);
    client.put("k", "w").await.unwrap();
    for (_, server) in servers {
        stop(server).await;
    }
}
