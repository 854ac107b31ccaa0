//! A state machine of one's own, through the handle.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use raft_core::LogId;
use raft_kv::node::replica::NotDone;
use raft_kv::node::{
    COMMAND_BYTES_MAX, Exit, Halt, Image, Node, NodeConfig, NodeHandle, ProposeError, StartError,
    StateMachine,
};

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Output = u64;

    fn apply(&mut self, _at: LogId, command: &Bytes) -> Result<u64, Halt> {
        if command.is_empty() {
            return Err(Halt("nothing to add".into()));
        }
        self.0 += command.len() as u64;
        Ok(self.0)
    }

    fn image(&self) -> Image {
        let state = self.0;
        Image::new(move |out| out.write_all(&state.to_le_bytes()))
    }

    fn empty(&self) -> Self {
        Self::default()
    }

    fn restore(&mut self, _at: LogId, from: &mut dyn Read) -> io::Result<()> {
        let mut state = [0; 8];
        from.read_exact(&mut state)?;
        self.0 = u64::from_le_bytes(state);
        Ok(())
    }
}

fn configs(home: &std::path::Path, count: u64) -> Vec<NodeConfig> {
    let sockets: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let cluster: BTreeMap<u64, String> = (1..)
        .zip(
            sockets
                .iter()
                .map(|socket| socket.local_addr().unwrap().to_string()),
        )
        .collect();
    (1..=count)
        .map(|id| NodeConfig {
            election_timeout: Duration::from_millis(300),
            heartbeat: Duration::from_millis(50),
            segment_bytes: 1 << 20,
            ..NodeConfig::new(id, home.join(id.to_string()), cluster.clone())
        })
        .collect()
}

/// Waits until this node leads, or follows one that does.
async fn leader_of(nodes: &[NodeHandle<Counter>]) -> usize {
    loop {
        for (i, node) in nodes.iter().enumerate() {
            if node.read(|_| ()).await.is_ok() {
                return i;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_replicated_and_survive_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let configs = configs(home.path(), 3);
    for round in 0..2_u64 {
        let mut nodes = Vec::new();
        for config in &configs {
            nodes.push(
                Node::start(config.clone(), Counter::default())
                    .await
                    .unwrap(),
            );
        }
        let leader = leader_of(&nodes).await;
        let before = nodes[leader].read(|counter| counter.0).await.unwrap();
        assert_eq!(before, round * 3);
        assert_eq!(
            nodes[leader]
                .propose(Bytes::from_static(b"+++"))
                .await
                .unwrap(),
            before + 3
        );

        let follower = (leader + 1) % 3;
        let refused = nodes[follower]
            .propose(Bytes::from_static(b"+"))
            .await
            .unwrap_err();
        let ProposeError::NotApplied(NotDone::NotLeader {
            leader: Some((node, address)),
        }) = refused
        else {
            panic!("{refused}");
        };
        assert_eq!(
            (node.0, &address),
            (leader as u64 + 1, &configs[leader].listen)
        );
        let too_large = Bytes::from(vec![1; COMMAND_BYTES_MAX + 1]);
        assert_eq!(
            nodes[leader].propose(too_large).await.unwrap_err(),
            ProposeError::NotApplied(NotDone::TooLarge)
        );
        let largest = nodes[leader].report().await.unwrap();
        assert_eq!(largest.leader.unwrap().0.0, leader as u64 + 1);
        for node in nodes {
            assert_eq!(node.stop().await, Exit::Stopped);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_command_goes_through() {
    let home = tempfile::tempdir().unwrap();
    let configs = configs(home.path(), 3);
    let mut nodes = Vec::new();
    for config in &configs {
        nodes.push(
            Node::start(config.clone(), Counter::default())
                .await
                .unwrap(),
        );
    }
    let leader = leader_of(&nodes).await;
    let largest = Bytes::from(vec![1; COMMAND_BYTES_MAX]);
    let count = nodes[leader].propose(largest).await.unwrap();
    assert_eq!(count, COMMAND_BYTES_MAX as u64);
    for node in nodes {
        assert_eq!(node.stop().await, Exit::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_cannot_be_applied_ends_the_node_and_is_not_said_to_be_refused() {
    let home = tempfile::tempdir().unwrap();
    let config = configs(home.path(), 1).remove(0);
    let nodes = vec![Node::start(config, Counter::default()).await.unwrap()];
    leader_of(&nodes).await;
    let node = nodes.into_iter().next().unwrap();
    assert_eq!(
        node.propose(Bytes::new()).await.unwrap_err(),
        ProposeError::Unknown
    );
    let exit = node.ended().await;
    assert!(exit.to_string().contains("nothing to add"), "{exit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_directory_needs_a_list_and_is_not_made_without() {
    let home = tempfile::tempdir().unwrap();
    let config = NodeConfig {
        cluster: BTreeMap::new(),
        ..configs(home.path(), 1).remove(0)
    };
    let refused = Node::start(config.clone(), Counter::default())
        .await
        .unwrap_err();
    assert!(matches!(refused, StartError::Config(_)), "{refused}");
    assert!(!config.data_dir.exists());
}
