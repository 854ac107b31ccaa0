//! Requests and answers over one connection, many at a time.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, oneshot};
use tracing::{debug, trace};

use crate::dial::Dial;
use crate::driver::Delivery;
use crate::error::{CloseReason, ConnectError, NotSent, RequestError, SendError};
use crate::frame::{Body, Frame};
use crate::handshake::Hello;
use crate::queue::{Overflow, Queue};
use crate::sync::lock;

/// A connection for requests: each is answered by one frame with its request id, in any order. Cheap to clone; the
/// connection closes with the last clone.
///
/// It does not reconnect: whether a request may be repeated is the caller's to know, and the error says what is
/// known. Answers that come in several frames need [`Dial::connect`] and its frames instead.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hello: Hello,
    version: u16,
    remote: SocketAddr,
    queue: Arc<Queue>,
    requests: Arc<Requests>,
    next_id: AtomicU64,
    in_flight: Semaphore,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Client {
    /// Connects to `address`, which is `host:port`.
    pub async fn connect(address: &str, dial: &Dial) -> Result<Client, ConnectError> {
        dial.config.validate()?;
        let (mut driver, hello, remote) = dial.attempt(address).await?;
        let queue = Arc::new(Queue::new(dial.config.role(dial.role), Overflow::Reject));
        queue.set_body_bytes_max(driver.connection().send_bytes_max().unwrap_or(0));
        let requests = Arc::new(Requests::default());
        let shared = Shared {
            version: driver.connection().version().unwrap_or(0),
            hello,
            remote,
            queue: queue.clone(),
            requests: requests.clone(),
            next_id: AtomicU64::new(1),
            in_flight: Semaphore::new(dial.config.in_flight_max.min(Semaphore::MAX_PERMITS)),
        };
        debug!(%remote, who = %shared.hello.identity, "connected");
        tokio::spawn(async move {
            let reason = driver
                .run(&queue, &Delivery::Requests(requests.clone()))
                .await;
            debug!(%remote, %reason, "disconnected");
            queue.close();
            requests.close(&reason, &queue.unsent());
            driver.linger().await;
        });
        Ok(Client {
            shared: Arc::new(shared),
        })
    }

    /// Sends a request, and waits for its answer; while `in_flight_max` others wait, for its turn. A queue that has
    /// no room for its bytes turns it away with [`SendError::Full`].
    ///
    /// There is no timeout: put one around it. Dropping the future forgets the answer; the request may have been
    /// sent all the same.
    pub async fn request(&self, kind: u8, body: impl Into<Body>) -> Result<Frame, RequestError> {
        let Shared {
            queue,
            requests,
            in_flight,
            next_id,
            ..
        } = &*self.shared;
        let _turn = in_flight
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let id = next_id.fetch_add(1, Ordering::Relaxed);
        let answer = requests.open(id)?;
        // From here on the entry goes when this future does, however that happens.
        let _open = OpenRequest { requests, id };
        queue.push(kind, id, body.into()).map_err(|error| {
            match (error, requests.close_reason()) {
                (SendError::Closed, Some(reason)) => RequestError::NotSent(NotSent::Closed(reason)),
                (error, _) => RequestError::NotSent(error.into()),
            }
        })?;
        answer
            .await
            .unwrap_or(Err(RequestError::MaybeSent(CloseReason::Local)))
    }

    /// What the other side said of itself.
    pub fn hello(&self) -> &Hello {
        &self.shared.hello
    }

    /// The newest version of the caller's protocol that both sides speak.
    pub fn version(&self) -> u16 {
        self.shared.version
    }

    /// Where the other side is.
    pub fn remote(&self) -> SocketAddr {
        self.shared.remote
    }

    /// Why the connection is over, if it is: then every request fails, and another connection is needed.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.requests.close_reason()
    }

    /// Closes the connection once what is queued has been sent. Open requests end with an error.
    pub fn close(&self) {
        self.shared.queue.close();
    }
}

/// The requests of one connection that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<u64, oneshot::Sender<Result<Frame, RequestError>>>,
    closed: Option<CloseReason>,
}

impl Requests {
    fn open(
        &self,
        id: u64,
    ) -> Result<oneshot::Receiver<Result<Frame, RequestError>>, RequestError> {
        let mut inner = lock(&self.inner);
        if let Some(reason) = &inner.closed {
            return Err(RequestError::NotSent(NotSent::Closed(reason.clone())));
        }
        let (answer, receiver) = oneshot::channel();
        inner.open.insert(id, answer);
        Ok(receiver)
    }

    fn close_reason(&self) -> Option<CloseReason> {
        lock(&self.inner).closed.clone()
    }

    /// Hands each frame to the request that it answers.
    pub(crate) fn deliver(&self, frames: &mut Vec<Frame>) {
        let mut inner = lock(&self.inner);
        for frame in frames.drain(..) {
            match inner.open.remove(&frame.request_id) {
                // Nobody waits for it any more: not an error.
                Some(answer) => drop(answer.send(Ok(frame))),
                None => trace!(
                    id = frame.request_id,
                    kind = frame.kind,
                    "an answer that nobody waits for"
                ),
            }
        }
    }

    /// Every open request ends; those in `unsent` never left.
    fn close(&self, reason: &CloseReason, unsent: &[u64]) {
        let unsent: HashSet<u64> = unsent.iter().copied().collect();
        let mut inner = lock(&self.inner);
        inner.closed = Some(reason.clone());
        for (id, answer) in inner.open.drain() {
            let error = if unsent.contains(&id) {
                RequestError::NotSent(NotSent::Closed(reason.clone()))
            } else {
                RequestError::MaybeSent(reason.clone())
            };
            drop(answer.send(Err(error)));
        }
    }
}

struct OpenRequest<'a> {
    requests: &'a Requests,
    id: u64,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        lock(&self.requests.inner).open.remove(&self.id);
    }
}
