//! Replicates a state machine of one's own: three nodes of a counter in one process.
//!
//! `cargo run -p raft-kv --example counter`

use std::io::{self, Read};

use bytes::Bytes;
use raft_core::LogId;
use raft_kv::node::{Halt, Image, Node, NodeConfig, ProposeError, StateMachine};

/// Adds up what it is told to add.
#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Output = u64;

    fn apply(&mut self, _at: LogId, command: &Bytes) -> Result<u64, Halt> {
        self.0 += command.iter().map(|&byte| u64::from(byte)).sum::<u64>();
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = tempfile::tempdir()?;
    let cluster: std::collections::BTreeMap<u64, String> = (1..=3)
        .map(|id| (id, format!("127.0.0.1:{}", 7400 + id)))
        .collect();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let config = NodeConfig::new(id, home.path().join(id.to_string()), cluster.clone());
        nodes.push(Node::start(config, Counter::default()).await?);
    }

    // Only the leader takes a command; the others say that nothing happened, and so it is safe to ask the next one.
    let mut turn = nodes.iter().cycle();
    for command in [1, 2, 3] {
        let (count, node) = loop {
            let Some(node) = turn.next() else {
                return Err("there are no nodes".into());
            };
            match node.propose(Bytes::from(vec![command])).await {
                Ok(count) => break (count, node),
                Err(ProposeError::NotApplied(_)) => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                Err(unknown) => return Err(unknown.into()),
            }
        };
        println!(
            "+{command} makes {count}; read back: {}",
            node.read(|counter| counter.0).await?
        );
    }
    for node in nodes {
        println!("{}", node.stop().await);
    }
    Ok(())
}
