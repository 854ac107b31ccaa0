//! An open connection in a caller's hands: [`Link`], its [`Sender`] and its [`Receiver`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use crate::config::RoleConfig;
use crate::driver::{Delivery, Driver};
use crate::error::{CloseReason, SendError};
use crate::frame::{Body, Frame};
use crate::handshake::Hello;
use crate::inbox::Inbox;
use crate::queue::{Overflow, Queue};

/// An open connection, either side.
#[derive(Debug)]
pub struct Link {
    /// What the other side said of itself.
    pub hello: Hello,
    /// The newest version of the caller's protocol that both sides speak.
    pub version: u16,
    /// Where the other side is.
    pub remote: SocketAddr,
    /// Sends frames.
    pub sender: Sender,
    /// Receives frames; the connection lives as long as this.
    pub receiver: Receiver,
}

/// Sends frames on one connection. Cheap to clone. It does not keep the connection open: [`Receiver`] does.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: Arc<Queue>,
}

impl Sender {
    pub(crate) fn new(queue: Arc<Queue>) -> Sender {
        Sender { queue }
    }

    /// Queues a frame, or says at once why not. The connection's task sends everything queued in one write.
    pub fn try_send(
        &self,
        kind: u8,
        request_id: u64,
        body: impl Into<Body>,
    ) -> Result<(), SendError> {
        self.queue.push(kind, request_id, body.into())
    }

    /// Like [`try_send`](Sender::try_send), but waits while the queue is full. Dropping the future queues nothing.
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

    /// Closes the connection once what is queued has been sent.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Whether it is closed, by either side.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Once the connection is closed: the request ids of the frames that certainly never left this process, oldest
    /// first. Any other frame may have been sent.
    pub fn unsent(&self) -> Vec<u64> {
        self.queue.unsent()
    }
}

/// Receives frames from one connection. Dropping it closes the connection, once what is queued has been sent.
#[derive(Debug)]
pub struct Receiver {
    inbox: Arc<Inbox>,
    queue: Arc<Queue>,
    /// Taken from the inbox and not yet given out by [`Receiver::recv`].
    batch: VecDeque<Frame>,
}

impl Receiver {
    /// All frames that have arrived, in order: at least one, mostly all of one read. The error comes after the last
    /// frame, and again on each further call.
    ///
    /// Dropping the future loses nothing.
    pub async fn recv_many(&mut self) -> Result<Vec<Frame>, CloseReason> {
        if !self.batch.is_empty() {
            return Ok(std::mem::take(&mut self.batch).into());
        }
        poll_fn(|cx| self.inbox.poll_take(cx)).await
    }

    /// The next frame. For more than a few a second, [`recv_many`](Receiver::recv_many) is cheaper.
    pub async fn recv(&mut self) -> Result<Frame, CloseReason> {
        loop {
            if let Some(frame) = self.batch.pop_front() {
                return Ok(frame);
            }
            self.batch = self.recv_many().await?.into();
        }
    }

    /// Why the connection is over, if it is; frames may still wait to be received.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inbox.close_reason()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Starts the task of a connection whose handshake is over, and makes the caller's ends of it. `held` is released
/// when the socket is closed.
pub(crate) fn spawn<S, H>(
    mut driver: Driver<S>,
    limits: &RoleConfig,
    hello: Hello,
    remote: SocketAddr,
    held: H,
) -> Link
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Send + 'static,
{
    let queue = Arc::new(Queue::new(limits, Overflow::Reject));
    let inbox = Arc::new(Inbox::new(limits.receive_queue_bytes));
    let version = driver.connection().version().unwrap_or(0);
    queue.set_body_bytes_max(driver.connection().send_bytes_max().unwrap_or(0));
    let link = Link {
        version,
        remote,
        sender: Sender::new(queue.clone()),
        receiver: Receiver {
            inbox: inbox.clone(),
            queue: queue.clone(),
            batch: VecDeque::new(),
        },
        hello,
    };
    let (who, role) = (link.hello.identity, link.hello.role);
    debug!(%remote, %role, %who, version, "connected");
    tokio::spawn(async move {
        let reason = driver.run(&queue, &Delivery::Inbox(inbox.clone())).await;
        debug!(%remote, %role, %who, %reason, "disconnected");
        queue.close();
        inbox.close(reason);
        driver.linger().await;
        drop(held);
    });
    link
}
