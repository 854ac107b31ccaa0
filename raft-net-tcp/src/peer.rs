//! A connection to one peer that is kept alive: dialled, watched, made again.
//!
//! Guards: each peer has a task and a queue of its own, so one that does not answer delays nobody else (F-N7); no
//! error ends the attempts (F-N8).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::config::{Backoff, ConfigError};
use crate::dial::Dial;
use crate::driver::{Delivery, Driver};
use crate::error::{CloseReason, ConnectError, SendError};
use crate::frame::Body;
use crate::handshake::Hello;
use crate::outage::{Outage, STEADY};
use crate::queue::{Overflow, Queue};

/// Keeps a connection to one peer, and sends frames on it, one way; answers come on a connection that the peer makes.
///
/// Frames may be lost at any time: when the connection breaks, or when the queue overflows. What waited during a
/// failed attempt is dropped, so that a peer that comes back is not greeted by old news. Dropping the `Peer` closes
/// the connection.
#[derive(Debug)]
pub struct Peer {
    queue: Arc<Queue>,
    address: watch::Sender<String>,
    status: watch::Receiver<PeerStatus>,
}

/// How it stands with one peer.
#[derive(Clone, Debug, Default)]
pub struct PeerStatus {
    /// Who answered, while connected.
    pub connected: Option<Arc<PeerInfo>>,
    /// Why the last attempt failed, or the last connection ended; stays while connected again.
    pub last_error: Option<PeerError>,
    /// Attempts that failed since the last success.
    pub failures: u64,
    /// Connections made so far.
    pub connections: u64,
}

/// A peer that is connected.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// What it said of itself.
    pub hello: Hello,
    /// The newest version of the caller's protocol that both sides speak.
    pub version: u16,
    /// Where it is.
    pub remote: SocketAddr,
}

/// Why a peer is not connected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It could not be reached, or it refused, or another node was there.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection was open, and ended.
    #[error("{remote}: {reason}")]
    Closed {
        /// Where the peer was.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
}

impl Peer {
    /// Starts connecting to `address`, which is `host:port`, and never stops trying. `seed` decides the jitter.
    ///
    /// `overflow` is mostly [`Overflow::DropOldest`]; a connection for bulk data wants [`Overflow::Reject`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(
        address: impl Into<String>,
        dial: Dial,
        overflow: Overflow,
        seed: u64,
    ) -> Result<Peer, ConfigError> {
        dial.config.validate()?;
        let queue = Arc::new(Queue::new(dial.config.role(dial.role), overflow));
        let (address, addresses) = watch::channel(address.into());
        let (statuses, status) = watch::channel(PeerStatus::default());
        let task = Task {
            pause: Pause::new(dial.config.backoff.clone(), seed),
            dial,
            queue: queue.clone(),
            addresses,
            statuses,
            outage: Outage::default(),
        };
        tokio::spawn(task.run());
        Ok(Peer {
            queue,
            address,
            status,
        })
    }

    /// Queues a frame; it goes out with all others that wait. Taken also while there is no connection.
    pub fn try_send(
        &self,
        kind: u8,
        request_id: u64,
        body: impl Into<Body>,
    ) -> Result<(), SendError> {
        self.queue.push(kind, request_id, body.into())
    }

    /// Like [`try_send`](Peer::try_send), but waits while the queue is full; of use with [`Overflow::Reject`].
    pub async fn send(
        &self,
        kind: u8,
        request_id: u64,
        body: impl Into<Body>,
    ) -> Result<(), SendError> {
        self.queue
            .push_when_room(kind, request_id, body.into())
            .await
    }

    /// Goes to another address from now on, at once. The same address changes nothing.
    pub fn set_address(&self, address: impl Into<String>) {
        let address = address.into();
        self.address.send_if_modified(|current| {
            let changed = *current != address;
            *current = address;
            changed
        });
    }

    /// The address that is dialled.
    pub fn address(&self) -> String {
        self.address.borrow().clone()
    }

    /// How it stands, and notice of each change.
    pub fn status(&self) -> watch::Receiver<PeerStatus> {
        self.status.clone()
    }

    /// The newest version of the caller's protocol that both sides speak; none while there is no connection.
    ///
    /// A frame that is queued as a connection ends may still go out on the next, to a process that speaks less: it must be one that
    /// can be refused, and repeated.
    pub fn version(&self) -> Option<u16> {
        let status = self.status.borrow();
        status.connected.as_ref().map(|peer| peer.version)
    }

    /// Frames that were taken and never sent, since the queue overflowed or there was no connection.
    pub fn dropped_frames(&self) -> u64 {
        self.queue.dropped()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

struct Task {
    dial: Dial,
    queue: Arc<Queue>,
    addresses: watch::Receiver<String>,
    statuses: watch::Sender<PeerStatus>,
    pause: Pause,
    outage: Outage,
}

impl Task {
    async fn run(mut self) {
        loop {
            let address = self.addresses.borrow_and_update().clone();
            let attempt = tokio::select! {
                attempt = self.dial.attempt(&address) => attempt,
                gone = self.addresses.changed() => match gone {
                    Ok(()) => {
                        self.outage.moved();
                        continue;
                    }
                    Err(_) => return,
                },
            };
            let error = match attempt {
                Ok((driver, hello, remote)) => {
                    let since = Instant::now();
                    let reason = self.connected(driver, hello, remote).await;
                    if since.elapsed() >= self.dial.config.backoff.max {
                        self.pause.reset();
                    }
                    PeerError::Closed { remote, reason }
                }
                Err(error) => error.into(),
            };
            self.failed(&address, error);
            if self.wait().await.is_err() {
                return;
            }
        }
    }

    /// Until the connection is over, or the address another.
    async fn connected(
        &mut self,
        mut driver: Driver<TcpStream>,
        hello: Hello,
        remote: SocketAddr,
    ) -> CloseReason {
        let version = driver.connection().version().unwrap_or(0);
        let info = Arc::new(PeerInfo {
            hello,
            version,
            remote,
        });
        let role = self.dial.role;
        let who = info.hello.identity;
        if self.outage.connected(Instant::now()) {
            info!(%remote, %role, %who, version, "peer connected");
        } else {
            debug!(%remote, %role, %who, version, "peer connected, perhaps not for long");
        }
        self.queue
            .set_body_bytes_max(driver.connection().send_bytes_max().unwrap_or(0));
        self.statuses.send_modify(|status| {
            status.connected = Some(info);
            status.failures = 0;
            status.connections += 1;
        });
        let moved = {
            let mut run = std::pin::pin!(driver.run(&self.queue, &Delivery::Discard));
            let mut holds = std::pin::pin!(sleep(STEADY));
            let mut held = false;
            loop {
                tokio::select! {
                    reason = &mut run => break Err(reason),
                    changed = self.addresses.changed() => break Ok(changed),
                    () = &mut holds, if !held => {
                        held = true;
                        if self.outage.steady() {
                            info!(%remote, %role, %who, version, "peer connected");
                        }
                    }
                }
            }
        };
        let reason = match moved {
            Err(reason) => reason,
            Ok(Ok(())) => {
                driver.connection().close();
                CloseReason::Local
            }
            // The peer was dropped, and with it the queue is closed: the driver sends the rest, and ends.
            Ok(Err(_)) => driver.run(&self.queue, &Delivery::Discard).await,
        };
        tokio::spawn(driver.linger());
        reason
    }

    fn failed(&mut self, address: &str, error: PeerError) {
        self.queue.clear();
        let (role, expected) = (self.dial.role, self.dial.expected_node);
        if self.queue.is_closed() || is_local(&error) {
            debug!(address, %role, expected, %error, "peer left by intent");
            self.outage.moved();
        } else {
            match self.outage.failed(Instant::now()) {
                Some(0) => warn!(address, %role, expected, %error, "peer not connected"),
                Some(silent) => {
                    let failures = silent + 1;
                    warn!(address, %role, expected, %error, failures, "peer still not connected");
                }
                None => debug!(address, %role, expected, %error, "peer still not connected"),
            }
        }
        self.statuses.send_modify(|status| {
            status.connected = None;
            status.failures += 1;
            status.last_error = Some(error);
        });
    }

    /// An error when the peer was dropped.
    async fn wait(&mut self) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            () = sleep(self.pause.next()) => self.addresses.has_changed().map(drop),
            changed = self.addresses.changed() => {
                // A pause says nothing about the new address. Marked as changed again for the loop to see.
                self.pause.reset();
                self.outage.moved();
                changed
            }
        }
    }
}

fn is_local(error: &PeerError) -> bool {
    matches!(
        error,
        PeerError::Closed {
            reason: CloseReason::Local,
            ..
        }
    )
}

/// The pauses between attempts: doubled each time, drawn from the upper half so that peers do not fall into step.
struct Pause {
    backoff: Backoff,
    next: Duration,
    random: u64,
}

impl Pause {
    fn new(backoff: Backoff, seed: u64) -> Pause {
        Pause {
            next: backoff.min,
            backoff,
            random: seed,
        }
    }

    fn reset(&mut self) {
        self.next = self.backoff.min;
    }

    fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.backoff.max);
        // SplitMix64; the upper 16 bits are a fraction.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        full / 2 + full / 2 * (mixed >> 48) as u32 / (1 << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_depend_on_the_seed() {
        let backoff = Backoff {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
        };
        let draw = |seed| {
            let mut pause = Pause::new(backoff.clone(), seed);
            (0..20).map(|_| pause.next()).collect::<Vec<_>>()
        };
        let one = draw(1);
        assert!(one[0] >= Duration::from_millis(5) && one[0] <= Duration::from_millis(10));
        assert!(one[4..].iter().all(|p| (50..=100).contains(&p.as_millis())));
        assert_eq!(one, draw(1));
        assert_ne!(one, draw(2));
    }
}
