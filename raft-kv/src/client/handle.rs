//! [`Client`]: what callers hold. Cheap to clone; all clones share one task, its connections and its session.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::driver::{Driver, Submission};
use super::failure::{Cause, Failure};
use super::machine::{self, Ask, End};
use super::read::{Get, Range};
use super::write::{Delete, Put};
use crate::api::{KeyRange, Operation};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a request may take, all tries together, unless [`Client::timeout`] or [`Client::until`] says
    /// otherwise. 5 s.
    pub timeout: Duration,
    /// How long one attempt to connect may take, handshake included. 1 s: a node that is switched off should be
    /// given up well before a request's timeout.
    pub connect_timeout: Duration,
    /// Bounds and waits of the request machine.
    pub machine: machine::Config,
    /// Sets clients apart, so that many do not try again at the same moment. None: drawn at random.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            machine: machine::Config::default(),
            seed: None,
        }
    }
}

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No endpoint was given.
    #[error("no endpoint was given; give at least one, such as 127.0.0.1:7101")]
    NoEndpoints,
    /// An endpoint is not of the form `host:port`.
    #[error(
        "{endpoint:?} is no endpoint; one looks like 127.0.0.1:7101 or [::1]:7101 or host:7101"
    )]
    BadEndpoint {
        /// As given.
        endpoint: String,
    },
}

/// A client of a raft-kv cluster.
///
/// It finds the leader by itself and follows it; any subset of the cluster's addresses will do to begin with. Many
/// requests at once travel on one connection. Writes are applied once, however often they had to be sent.
///
/// ```no_run
/// use raft_kv::client::{Client, Options, WriteError};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect(["127.0.0.1:7101", "127.0.0.1:7102"], Options::default())?;
/// let revision = client.put("colour", "red").await?.revision;
/// match client.put("colour", "blue").if_revision(revision).await {
///     Ok(written) => println!("changed at revision {}", written.revision),
///     Err(WriteError::ConditionFailed { current, .. }) => println!("someone was faster: {current:?}"),
///     Err(WriteError::NotApplied(why)) => println!("surely not changed: {why}"),
///     Err(WriteError::Unknown(why)) => println!("changed or not, look again: {why}"),
///     Err(other) => return Err(other.into()),
/// }
/// let found = client.get("colour").await?;
/// assert!(found.kv.is_some());
/// client.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    limit: Limit,
}

struct Shared {
    submissions: mpsc::UnboundedSender<Submission>,
    /// One permit for each request that the machine holds: bounds the unbounded queue before it.
    permits: Semaphore,
    endpoints: Vec<String>,
}

#[derive(Clone, Copy)]
enum Limit {
    After(Duration),
    At(Instant),
}

impl Client {
    /// A client of the cluster at these endpoints, `host:port` each. Nothing is sent before the first request.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// # Panics
    /// Outside a tokio runtime with timers and IO.
    pub fn connect<E>(
        endpoints: impl IntoIterator<Item = E>,
        options: Options,
    ) -> Result<Client, ConnectError>
    where
        E: Into<String>,
    {
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        if endpoints.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        if let Some(endpoint) = endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
            return Err(ConnectError::BadEndpoint {
                endpoint: endpoint.clone(),
            });
        }
        let seed = options
            .seed
            .unwrap_or_else(|| RandomState::new().hash_one(0_u8));
        let permits = options
            .machine
            .requests_max
            .clamp(1, Semaphore::MAX_PERMITS);
        let machine = machine::Machine::new(options.machine, endpoints.iter().cloned(), seed);
        let (submissions, receiver) = mpsc::unbounded_channel();
        tokio::spawn(Driver::new(machine, receiver, options.connect_timeout).run());
        let shared = Shared {
            submissions,
            permits: Semaphore::new(permits),
            endpoints,
        };
        Ok(Client {
            shared: Arc::new(shared),
            limit: Limit::After(options.timeout),
        })
    }

    /// The same client, whose requests may take so long each.
    #[must_use]
    pub fn timeout(&self, timeout: Duration) -> Client {
        Client {
            shared: self.shared.clone(),
            limit: Limit::After(timeout),
        }
    }

    /// The same client, whose requests end by this moment.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Client {
        Client {
            shared: self.shared.clone(),
            limit: Limit::At(deadline),
        }
    }

    /// The endpoints as given.
    pub fn endpoints(&self) -> &[String] {
        &self.shared.endpoints
    }

    /// Sets a key.
    pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        Put::new(self.clone(), key.into(), value.into())
    }

    /// Sets a key that has the value `old`; anything else is
    /// [`WriteError::ConditionFailed`](super::WriteError::ConditionFailed).
    pub fn compare_and_swap(
        &self,
        key: impl Into<Bytes>,
        old: impl Into<Bytes>,
        new: impl Into<Bytes>,
    ) -> Put {
        self.put(key, new).if_value(old)
    }

    /// Deletes keys.
    pub fn delete(&self, keys: KeyRange) -> Delete {
        Delete::new(self.clone(), keys)
    }

    /// Looks up a key.
    pub fn get(&self, key: impl Into<Bytes>) -> Get {
        Get::new(self.clone(), key.into())
    }

    /// Lists keys.
    pub fn range(&self, keys: KeyRange) -> Range {
        Range::new(self.clone(), keys)
    }

    /// Ends the session, if one is open and nothing is under way in it, so that the cluster need not keep it. Not
    /// needed: the cluster drops what is unused. Waits for at most the client's timeout.
    pub async fn close(&self) {
        // Whatever became of it, nothing can be done about it.
        let _ = self.ask(Ask::Write(Operation::EndSession)).await;
    }

    /// Hands a request to the machine and waits for its end.
    pub(super) async fn ask(&self, ask: Ask) -> End {
        let deadline = self.deadline();
        let not_sent = |cause| {
            End::NotApplied(Failure {
                cause,
                endpoints: Vec::new(),
            })
        };
        let permit = match self.shared.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => match timeout_at(deadline, self.shared.permits.acquire()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => return not_sent(Cause::Busy),
            },
        };
        let (reply, end) = oneshot::channel();
        if self
            .shared
            .submissions
            .send(Submission {
                ask,
                deadline,
                reply,
            })
            .is_err()
        {
            return not_sent(Cause::Closed);
        }
        // The driver answers each submission, unless its runtime is being shut down.
        let end = end.await;
        drop(permit);
        end.unwrap_or_else(|_| {
            End::Unknown(Failure {
                cause: Cause::Closed,
                endpoints: Vec::new(),
            })
        })
    }

    pub(super) fn deadline_from(&self, now: Instant) -> Instant {
        match self.limit {
            // Longer than any process lives, and not too far for the clock.
            Limit::After(timeout) => now + timeout.min(Duration::from_secs(30 * 365 * 86_400)),
            Limit::At(deadline) => deadline,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.shared.endpoints)
            .finish_non_exhaustive()
    }
}

/// `host:port`, as far as can be said without looking the name up.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_fits = !host.is_empty()
        && (bracketed || !host.contains([':', '/', '[', ']']))
        && !host.contains(' ');
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port() {
        for good in ["127.0.0.1:7101", "[::1]:7101", "node-1.example:65535"] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            ":7101",
            "a:0",
            "a:65536",
            "a:x",
            "http://a:1",
            "::1:7101",
            "a b:1",
        ] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn without_a_good_endpoint_there_is_no_client() {
        let none = Client::connect(Vec::<String>::new(), Options::default()).unwrap_err();
        assert_eq!(none, ConnectError::NoEndpoints);
        let bad = Client::connect(["a:1", "b"], Options::default()).unwrap_err();
        assert_eq!(
            bad,
            ConnectError::BadEndpoint {
                endpoint: "b".to_owned()
            }
        );
    }
}
