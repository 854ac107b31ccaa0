//! What a peer that stays away leaves in the log.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, a panic is the report"
)]

mod common;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{dial_node, listen_on, soon, status};
use raft_net_tcp::{AdmitAll, Config, Overflow, Peer, Role};
use tokio::io::AsyncReadExt;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that was logged, for the test to read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

impl Log {
    fn count(&self, level: &str, text: &str) -> usize {
        let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        all.lines()
            .filter(|line| line.contains(level) && line.contains(text))
            .count()
    }
}

/// A proxy whose node is down takes the connection and closes it, now with a reset and now without: that is one outage,
/// and each attempt counts for the pause before the next.
#[tokio::test]
async fn a_proxy_without_a_node_behind_it_is_said_once() {
    const ATTEMPTS: u32 = 14;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    // The runtime of the test has one thread, so this covers the tasks of the peer too.
    let _guard = tracing::subscriber::set_default(subscriber);

    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap().to_string();
    let peer = Peer::spawn(
        address.clone(),
        dial_node(Role::Peer, 1),
        Overflow::DropOldest,
        1,
    )
    .unwrap();
    let begun = Instant::now();
    for attempt in 0..ATTEMPTS {
        let (mut stream, _) = soon(proxy.accept()).await.unwrap();
        if attempt % 2 == 0 {
            // Bytes that were not read make the close a reset.
            soon(stream.readable()).await.unwrap();
        } else {
            let mut hello = [0; 1024];
            assert!(soon(stream.read(&mut hello)).await.unwrap() > 0);
        }
    }
    // Halves of 10, 20, 40 and 80 ms, and then of 100 ms.
    let least = Duration::from_millis(75 + 50 * u64::from(ATTEMPTS - 5));
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    status(&peer, |status| status.failures >= u64::from(ATTEMPTS) - 1).await;
    assert_eq!(log.count("WARN", "peer not connected"), 1);
    assert_eq!(log.count("", "peer"), 1);

    drop(proxy);
    let mut listener = listen_on(&address, 1, Config::default(), AdmitAll).await;
    let _link = soon(listener.accept()).await;
    status(&peer, |status| status.connected.is_some()).await;
    assert_eq!(log.count("INFO", "peer connected"), 1);
    assert_eq!(log.count("WARN", ""), 1);
}
