//! The loop between long reads.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{Index, LogId};
use raft_net_tcp::Link;

use super::*;
use crate::node::inbox::Inbox;
use crate::node::launch::launch;
use crate::node::replica::{Freshness, ReadRequest};
use crate::node::{Halt, Image, NodeConfig};

struct Nothing;

impl StateMachine for Nothing {
    type Output = ();

    fn apply(&mut self, _: LogId, _: &Bytes) -> Result<(), Halt> {
        Ok(())
    }

    fn image(&self) -> Image {
        Image::new(|_| Ok(()))
    }

    fn empty(&self) -> Self {
        Self
    }

    fn restore(&mut self, _: LogId, _: &mut dyn std::io::Read) -> std::io::Result<()> {
        Ok(())
    }
}

struct NoWrite;

impl WriteTicket<Nothing> for NoWrite {
    fn done(self, _: &Context<'_, Nothing>, _: Result<(LogId, ()), WriteFailure>) {}
}

type Answers = tokio::sync::mpsc::UnboundedSender<(u32, bool)>;

struct Read {
    number: u32,
    long: bool,
    answers: Answers,
    /// Asked for while this one is answered.
    next: Option<(Inbox<Nothing, NoWrite, Read>, Box<Read>)>,
}

impl ReadTicket<Nothing> for Read {
    fn is_long(&self) -> bool {
        self.long
    }

    fn done(self, _: &mut Context<'_, Nothing>, result: Result<(), ReadFailure>) {
        if self.long {
            std::thread::sleep(LONG_READS_TIME);
        }
        if let Some((inbox, next)) = self.next {
            assert!(inbox.requests.try_send(batch(vec![*next])).is_ok());
        }
        let _ = self.answers.send((self.number, result.is_ok()));
    }
}

struct Nobody;

impl Front<Nothing> for Nobody {
    type Write = NoWrite;
    type Read = Read;
    const SERVES_CLIENTS: bool = false;

    async fn serve(self: Arc<Self>, _: Link, _: Inbox<Nothing, NoWrite, Read>) {}
}

fn batch(reads: Vec<Read>) -> Request<Nothing, NoWrite, Read> {
    let reads = reads.into_iter().map(|ticket| ReadRequest {
        freshness: Freshness::Stale,
        min_applied: Index::ZERO,
        ticket,
    });
    Request::Batch {
        writes: Vec::new(),
        reads: reads.collect(),
    }
}

#[tokio::test]
async fn what_arrives_between_long_reads_does_not_wait_for_all_of_them() {
    const LONG: u32 = 40;
    const SHORT: u32 = 1000;
    let home = tempfile::tempdir().unwrap();
    let config = NodeConfig {
        segment_bytes: 1 << 20,
        listen: "127.0.0.1:0".into(),
        ..NodeConfig::new(
            1,
            home.path(),
            BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        )
    };
    let node = launch(config, Nothing, Arc::new(Nobody)).await.unwrap();
    let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel();
    let read = |number, long| Read {
        number,
        long,
        answers: answers.clone(),
        next: None,
    };
    // Until the cluster is formed.
    loop {
        let one = batch(vec![read(0, false)]);
        node.inbox.requests.send(one).await.ok().unwrap();
        if answered.recv().await.unwrap().1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut all: Vec<Read> = (0..LONG).map(|number| read(number, true)).collect();
    all[0].next = Some((node.inbox.clone(), Box::new(read(SHORT, false))));
    node.inbox.requests.send(batch(all)).await.ok().unwrap();
    let mut order = Vec::new();
    while order.len() <= LONG as usize {
        let (number, answered) = answered.recv().await.unwrap();
        assert!(answered);
        order.push(number);
    }
    assert_eq!(order[..3], [0, SHORT, 1]);
    let long: Vec<u32> = order.into_iter().filter(|&n| n != SHORT).collect();
    assert_eq!(long, (0..LONG).collect::<Vec<_>>(), "in their order, once");

    // A node that stops answers those that it has.
    let all = (0..LONG).map(|number| read(number, true)).collect();
    node.inbox.requests.send(batch(all)).await.ok().unwrap();
    let first = answered.recv().await.unwrap();
    node.inbox.own.send(Own::Stop).unwrap();
    let mut answers = vec![first];
    while answers.len() < LONG as usize {
        answers.push(answered.recv().await.unwrap());
    }
    assert_eq!(node.exit.await.unwrap(), Exit::Stopped);
}
