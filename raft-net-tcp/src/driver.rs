//! The task of one connection: moves bytes between socket and machine, and frames between machine and queues.
//!
//! One task does both directions, so the machine needs no lock. A wake-up drains the whole send queue into one
//! vectored write, and delivers all frames of a read as one batch.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::{debug, warn};

use crate::client::Requests;
use crate::connection::{Connection, Event};
use crate::error::CloseReason;
use crate::frame::Frame;
use crate::handshake::Hello;
use crate::inbox::Inbox;
use crate::queue::{Outgoing, Queue};

/// With so many bytes waiting for the socket, more frames stay in the queue, where they can still be dropped.
const TRANSMIT_BYTES_MAX: usize = 256 * 1024;

/// Slices in one vectored write.
const SLICES_MAX: usize = 64;

/// How long the other side may take nothing of what was sent before a close, or not close itself afterwards.
const LINGER: Duration = Duration::from_secs(1);

/// How long it may take in all.
const LINGER_MAX: Duration = Duration::from_secs(30);

/// Where received frames go.
pub(crate) enum Delivery {
    Inbox(Arc<Inbox>),
    /// Answers are matched to requests here and now, without a task in between.
    Requests(Arc<Requests>),
    /// The connection is for sending only.
    Discard,
}

pub(crate) struct Driver<S> {
    stream: S,
    connection: Connection,
    start: Instant,
    timer: Pin<Box<Sleep>>,
    drained: Vec<Outgoing>,
    received: Vec<Frame>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// `start` is the machine's time zero.
    pub(crate) fn new(stream: S, connection: Connection, start: Instant) -> Driver<S> {
        Driver {
            stream,
            connection,
            start,
            timer: Box::pin(sleep_until(start)),
            drained: Vec::new(),
            received: Vec::new(),
        }
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits for the other side's hello.
    pub(crate) async fn hello(&mut self) -> Result<Hello, CloseReason> {
        poll_fn(|cx| {
            loop {
                match self.connection.next_event() {
                    Some(Event::Hello(hello)) => return Poll::Ready(Ok(hello)),
                    Some(Event::Closed(reason)) => return Poll::Ready(Err(reason)),
                    Some(Event::Frame(_)) => {
                        unreachable!("the machine delivers no frame before a hello")
                    }
                    None => ready!(self.poll_io(cx, true)),
                }
            }
        })
        .await
    }

    /// Moves frames both ways until the connection is over. [`Driver::linger`] is left to do.
    pub(crate) async fn run(&mut self, queue: &Queue, delivery: &Delivery) -> CloseReason {
        poll_fn(|cx| self.poll_run(cx, queue, delivery)).await
    }

    fn poll_run(
        &mut self,
        cx: &mut Context<'_>,
        queue: &Queue,
        delivery: &Delivery,
    ) -> Poll<CloseReason> {
        loop {
            // Events first: bytes behind the hello may already have been decoded.
            if let Some(reason) = self.deliver(delivery) {
                return Poll::Ready(reason);
            }
            self.take_queued(cx, queue);
            let reading = match delivery {
                Delivery::Inbox(inbox) => inbox.poll_room(cx).is_ready(),
                Delivery::Requests(_) | Delivery::Discard => true,
            };
            self.connection.set_reading(reading, self.start.elapsed());
            if self.connection.close_reason().is_none() {
                ready!(self.poll_io(cx, reading));
            }
        }
    }

    fn take_queued(&mut self, cx: &Context<'_>, queue: &Queue) {
        let budget = TRANSMIT_BYTES_MAX.saturating_sub(self.connection.transmit_bytes());
        let closed = queue.drain(cx, &mut self.drained, budget);
        for frame in self.drained.drain(..) {
            if let Err(error) = self
                .connection
                .send(frame.kind, frame.request_id, &frame.body)
            {
                // The queue of a peer outlives its connections, and the next may have a lower limit.
                warn!(kind = frame.kind, %error, "a frame was dropped");
            }
        }
        if closed {
            self.connection.close();
        }
    }

    fn deliver(&mut self, delivery: &Delivery) -> Option<CloseReason> {
        let mut over = None;
        while let Some(event) = self.connection.next_event() {
            match event {
                Event::Frame(frame) => self.received.push(frame),
                Event::Closed(reason) => over = Some(reason),
                Event::Hello(_) => {}
            }
        }
        if !self.received.is_empty() {
            match delivery {
                Delivery::Inbox(inbox) => inbox.deliver(&mut self.received),
                Delivery::Requests(requests) => requests.deliver(&mut self.received),
                Delivery::Discard => self.received.clear(),
            }
        }
        over
    }

    /// Ready when anything has moved.
    fn poll_io(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<()> {
        let wrote = self.poll_write(cx).is_ready();
        let read = reading && self.poll_read(cx).is_ready();
        if wrote || read {
            return Poll::Ready(());
        }
        // Only now: what has arrived counts before the time that has passed.
        self.poll_timer(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.transmit_bytes() == 0 {
            return Poll::Pending;
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = self.connection.transmit_slices(&mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        match ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices)) {
            Ok(0) => self.connection.handle_error(io::ErrorKind::WriteZero),
            Ok(bytes) => self.connection.handle_written(bytes, self.start.elapsed()),
            Err(error) => self.connection.handle_error(error.kind()),
        }
        Poll::Ready(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let read = {
            let mut buffer = self.connection.read_buffer();
            // The future holds no state of its own, so that making it anew for each poll loses nothing.
            ready!(pin!(self.stream.read_buf(&mut buffer)).poll(cx))
        };
        match read {
            Ok(0) => self.connection.handle_end(),
            Ok(bytes) => self.connection.handle_read(bytes, self.start.elapsed()),
            Err(error) => self.connection.handle_error(error.kind()),
        }
        Poll::Ready(())
    }

    /// Ready when the machine was told of a deadline.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.connection.deadline() else {
                return Poll::Pending;
            };
            let deadline = self.start + deadline;
            // Deadlines mostly move back with each frame. The timer is left as it is until it fires.
            if self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if deadline <= now {
                self.connection.handle_timeout(self.start.elapsed());
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Lets the other side take the last frames. Without reading on, unread bytes would make the kernel reset the
    /// connection, and the farewell would be lost.
    pub(crate) async fn linger(mut self) {
        let worthwhile = self
            .connection
            .close_reason()
            .is_some_and(CloseReason::other_side_listens);
        if !worthwhile {
            return;
        }
        if !matches!(timeout(LINGER_MAX, self.say_goodbye()).await, Ok(Ok(()))) {
            debug!("the other side did not take the last bytes");
        }
    }
    async fn say_goodbye(&mut self) -> io::Result<()> {
        for mut run in self.connection.take_transmit(self.start.elapsed()) {
            // What was queued before a close may be much; only who takes nothing is given up.
            while !run.is_empty() {
                let taken = timeout(LINGER, self.stream.write(&run)).await??;
                run.advance(taken);
            }
        }
        self.stream.shutdown().await?;
        let mut scratch = [0; 1024];
        timeout(LINGER, async {
            while self.stream.read(&mut scratch).await? > 0 {}
            io::Result::Ok(())
        })
        .await?
    }
}
