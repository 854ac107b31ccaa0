//! Snapshots of real nodes in one process: taken, started from, sent to a node that was away, and to one whose disk is new.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{LogId, Status};
use raft_kv::node::{Exit, Halt, Image, Node, NodeConfig, NodeHandle, StateMachine};

/// Remembers the last commands, and how many there were.
#[derive(Default)]
struct Lines {
    count: u64,
    last: Vec<Bytes>,
}

/// So many are remembered: with lines of a KiB, a snapshot goes in several pieces.
const KEPT: usize = 2000;

impl StateMachine for Lines {
    type Output = u64;

    fn apply(&mut self, _at: LogId, command: &Bytes) -> Result<u64, Halt> {
        self.count += 1;
        self.last.push(command.clone());
        if self.last.len() > KEPT {
            self.last.remove(0);
        }
        Ok(self.count)
    }

    fn image(&self) -> Image {
        let (count, last) = (self.count, self.last.clone());
        Image::new(move |out| {
            out.write_all(&count.to_le_bytes())?;
            last.iter().try_for_each(|line| {
                out.write_all(&(line.len() as u64).to_le_bytes())?;
                out.write_all(line)
            })
        })
    }

    fn empty(&self) -> Self {
        Self::default()
    }

    fn restore(&mut self, _at: LogId, from: &mut dyn Read) -> io::Result<()> {
        let mut number = [0; 8];
        from.read_exact(&mut number)?;
        self.count = u64::from_le_bytes(number);
        for _ in 0..self.count.min(KEPT as u64) {
            from.read_exact(&mut number)?;
            let mut line = vec![0; usize::try_from(u64::from_le_bytes(number)).unwrap()];
            from.read_exact(&mut line)?;
            self.last.push(line.into());
        }
        Ok(())
    }
}

fn configs(home: &Path) -> Vec<NodeConfig> {
    let sockets: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap());
    let cluster: BTreeMap<u64, String> = (1..).zip(addresses.map(|a| a.to_string())).collect();
    (1..=3)
        .map(|id| NodeConfig {
            election_timeout: Duration::from_millis(300),
            heartbeat: Duration::from_millis(50),
            segment_bytes: 64 << 10,
            snapshot_every: 100,
            snapshot_tail: 10,
            ..NodeConfig::new(id, home.join(id.to_string()), cluster.clone())
        })
        .collect()
}

type Nodes = BTreeMap<u64, NodeHandle<Lines>>;

/// Writes so many lines of a KiB through whoever leads.
async fn write(nodes: &Nodes, lines: usize) {
    let mut done = 0;
    while done < lines {
        for node in nodes.values() {
            while done < lines && node.propose(Bytes::from(vec![7; 1024])).await.is_ok() {
                done += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn status(node: &NodeHandle<Lines>) -> Option<Status> {
    node.report().await.unwrap().status
}

/// Waits until a node stands like that, for at most a minute.
async fn until(node: &NodeHandle<Lines>, what: &str, stands: impl Fn(&Status) -> bool) -> Status {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Some(status) = status(node).await.filter(&stands) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    match waited.await {
        Ok(status) => status,
        Err(_) => panic!("{what}: {:?}", status(node).await),
    }
}

async fn start(config: &NodeConfig) -> NodeHandle<Lines> {
    Node::start(config.clone(), Lines::default()).await.unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    names
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_is_sent_a_snapshot_and_all_start_from_theirs() {
    let home = tempfile::tempdir().unwrap();
    let configs = configs(home.path());
    let mut nodes = Nodes::new();
    for config in &configs {
        nodes.insert(config.id, start(config).await);
    }
    write(&nodes, 50).await;
    let away = nodes.remove(&3).unwrap();
    let had = status(&away).await.unwrap().last.index;
    assert_eq!(away.stop().await, Exit::Stopped);

    // Far more than stays in the log.
    write(&nodes, 1000).await;
    for node in nodes.values() {
        until(node, "a snapshot is taken, and the log is cut", |status| {
            status.snapshot.index.0 > 900 && status.first.0 > 800
        })
        .await;
    }
    nodes.insert(3, start(&configs[2]).await);
    let back = until(&nodes[&3], "it is sent a snapshot", |status| {
        status.applied.0 > 1050
    })
    .await;
    assert!(back.first > had.next(), "{back:?}");

    // What a snapshot stands in for goes from the disk, and nothing unfinished stays.
    write(&nodes, 200).await;
    for config in &configs {
        let names = files(&config.data_dir);
        let segments = names.iter().filter(|name| name.ends_with(".seg")).count();
        assert!(segments < 12, "{names:?}");
        assert!(
            !names.iter().any(|name| name.ends_with(".tmp")),
            "{names:?}"
        );
    }

    for node in nodes.into_values() {
        assert_eq!(node.stop().await, Exit::Stopped);
    }
    let mut nodes = Nodes::new();
    for config in &configs {
        nodes.insert(config.id, start(config).await);
    }
    write(&nodes, 1).await;
    let mut counts = Vec::new();
    for node in nodes.values() {
        if let Ok(count) = node.read(|lines| (lines.count, lines.last.len())).await {
            counts.push(count);
        }
    }
    // Proposals whose outcome was unknown may have been applied besides those that were counted.
    let (count, kept) = counts[0];
    assert!(count >= 1251, "{count}");
    assert_eq!(kept as u64, count.min(KEPT as u64));
    for node in nodes.into_values() {
        assert_eq!(node.stop().await, Exit::Stopped);
    }
}

/// The leader's own file has rotted, and it notices only when a follower refuses it. It takes another of the same state, though nothing is
/// written any more, and the follower gets that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_snapshot_is_damaged_takes_another() {
    let home = tempfile::tempdir().unwrap();
    let configs = configs(home.path());
    let mut nodes = Nodes::new();
    for config in &configs {
        nodes.insert(config.id, start(config).await);
    }
    write(&nodes, 50).await;
    let away = nodes.remove(&3).unwrap();
    assert_eq!(away.stop().await, Exit::Stopped);
    write(&nodes, 500).await;
    for node in nodes.values() {
        until(node, "a snapshot is taken, and the log is cut", |status| {
            status.snapshot.index.0 > 400 && status.first.0 > 300 && status.taking.is_none()
        })
        .await;
    }
    // Whoever leads.
    for id in [1, 2] {
        let dir = &configs[id as usize - 1].data_dir;
        for name in files(dir) {
            if name.ends_with(".snap") {
                spoil(&dir.join(name));
            }
        }
    }
    nodes.insert(3, start(&configs[2]).await);
    until(
        &nodes[&3],
        "it is sent a snapshot that is sound",
        |status| status.applied.0 > 500,
    )
    .await;
    for node in nodes.into_values() {
        assert_eq!(node.stop().await, Exit::Stopped);
    }
}

/// Flips a bit in the middle of a file.
fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_not_started_from() {
    let home = tempfile::tempdir().unwrap();
    let configs = configs(home.path());
    let mut nodes = Nodes::new();
    for config in &configs {
        nodes.insert(config.id, start(config).await);
    }
    write(&nodes, 300).await;
    until(&nodes[&1], "a snapshot is taken", |status| {
        status.snapshot.index.0 > 0
    })
    .await;
    for node in nodes.into_values() {
        assert_eq!(node.stop().await, Exit::Stopped);
    }
    let dir = &configs[0].data_dir;
    let name = files(dir)
        .into_iter()
        .find(|name| name.ends_with(".snap"))
        .unwrap();
    spoil(&dir.join(name));
    let error = Node::start(configs[0].clone(), Lines::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(".snap") && error.contains("damaged at byte"),
        "{error}"
    );
}
