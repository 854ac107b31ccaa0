//! One connection to a cluster of either side, and the two requests that are measured. All else of the generator is the same code.

use std::time::Duration;

use anyhow::{Context, Result};
use etcd_client::KvClient;
use raft_kv::client::{Client, Options};

use crate::value;

/// One connection, shared by whoever clones it; requests of many clients are under way on it at once, on both sides.
#[derive(Clone)]
pub(crate) enum Backend {
    /// The client library: one TCP connection to the leader; writes are numbered in a session, and retried.
    RaftKv(Client),
    /// The etcd-client crate: one HTTP/2 connection; nothing is retried.
    Etcd(KvClient),
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) struct Failed {
    /// In words.
    pub(crate) message: String,
    /// Whether a write may have been applied all the same.
    pub(crate) unknown: bool,
}

/// A key that was read.
pub(crate) struct Found {
    /// The revision at which it was written.
    pub(crate) mod_revision: u64,
    /// The number of the write that wrote it; none: nobody wrote that value for this key.
    pub(crate) write: Option<u64>,
}

impl Backend {
    /// A connection of our client library to the cluster at these endpoints.
    pub(crate) fn raft_kv(endpoints: &[String], timeout: Duration) -> Result<Backend> {
        let options = Options {
            timeout,
            ..Options::default()
        };
        let client = Client::connect(endpoints.iter().cloned(), options)?;
        Ok(Backend::RaftKv(client))
    }

    /// A connection of the etcd-client crate to the one node at this endpoint.
    pub(crate) async fn etcd(endpoint: &str, timeout: Duration) -> Result<Backend> {
        let client = etcd_client::Client::connect([endpoint], Some(etcd_options(timeout)))
            .await
            .with_context(|| format!("cannot connect to etcd at {endpoint}"))?;
        let largest = 64 << 20;
        let kv = client.kv_client();
        Ok(Backend::Etcd(
            kv.max_decoding_message_size(largest)
                .max_encoding_message_size(largest),
        ))
    }

    /// Writes a key; the revision of the write.
    pub(crate) async fn put(&mut self, key: u64, value: Vec<u8>) -> Result<u64, Failed> {
        match self {
            Backend::RaftKv(client) => match client.put(value::key(key), value).send().await {
                Ok(written) => Ok(written.revision),
                Err(error) => Err(Failed {
                    unknown: error.maybe_applied(),
                    message: error.to_string(),
                }),
            },
            Backend::Etcd(client) => match client.put(value::key(key), value, None).await {
                Ok(response) => Ok(revision(response.header().map_or(0, |h| h.revision()))),
                Err(error) => Err(Failed {
                    message: error.to_string(),
                    unknown: true,
                }),
            },
        }
    }

    /// Reads a key, linearizably.
    pub(crate) async fn get(&mut self, key: u64) -> Result<Option<Found>, Failed> {
        let failed = |message| Failed {
            message,
            unknown: false,
        };
        match self {
            Backend::RaftKv(client) => {
                let found = client.get(value::key(key)).send().await;
                let found = found.map_err(|error| failed(error.to_string()))?;
                Ok(found.kv.map(|kv| Found {
                    mod_revision: kv.mod_revision,
                    write: value::decode(key, &kv.value),
                }))
            }
            Backend::Etcd(client) => {
                let response = client.get(value::key(key), None).await;
                let response = response.map_err(|error| failed(error.to_string()))?;
                Ok(response.kvs().first().map(|kv| Found {
                    mod_revision: revision(kv.mod_revision()),
                    write: value::decode(key, kv.value()),
                }))
            }
        }
    }

    /// Ends what it has open in the cluster: our client's session.
    pub(crate) async fn close(&self) {
        if let Backend::RaftKv(client) = self {
            client.timeout(Duration::from_millis(250)).close().await;
        }
    }
}

/// The same time for a request as ours has.
pub(crate) fn etcd_options(timeout: Duration) -> etcd_client::ConnectOptions {
    etcd_client::ConnectOptions::default()
        .with_timeout(timeout)
        .with_connect_timeout(Duration::from_secs(1))
}

fn revision(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}
