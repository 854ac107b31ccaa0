//! Frames on their way to one connection's task: bounded in frames and bytes, filled by many, drained by one.
//!
//! Guards: the lock is never held across a wait; what was drained counts as maybe sent, what is left as not sent.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::Context;

use tokio::sync::Notify;

use crate::config::RoleConfig;
use crate::error::SendError;
use crate::frame::{Body, HEADER_BYTES, KIND_MAX};
use crate::sync::{Sleeper, lock};

/// What a full queue does with one more frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Makes room by dropping the oldest: for who repairs losses, and needs the newest.
    DropOldest,
    /// Turns it away with [`SendError::Full`]: for who must know.
    Reject,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: u8,
    pub(crate) request_id: u64,
    pub(crate) body: Body,
    body_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    room: Notify,
    overflow: Overflow,
    frames_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Inner {
    frames: VecDeque<Outgoing>,
    bytes: usize,
    body_bytes_max: u32,
    closed: bool,
    dropped: u64,
    driver: Sleeper,
    waiting_for_room: usize,
}

impl Queue {
    pub(crate) fn new(limits: &RoleConfig, overflow: Overflow) -> Queue {
        Queue {
            inner: Mutex::new(Inner {
                frames: VecDeque::new(),
                bytes: 0,
                body_bytes_max: limits.frame_bytes_max,
                closed: false,
                dropped: 0,
                driver: Sleeper::default(),
                waiting_for_room: 0,
            }),
            room: Notify::new(),
            overflow,
            frames_max: limits.send_queue_frames,
            bytes_max: limits.send_queue_bytes,
        }
    }

    /// The other side's limit, once it is known.
    pub(crate) fn set_body_bytes_max(&self, max: u32) {
        lock(&self.inner).body_bytes_max = max;
    }

    pub(crate) fn push(&self, kind: u8, request_id: u64, body: Body) -> Result<(), SendError> {
        self.try_push(kind, request_id, body)
            .map_err(|(error, _)| error)
    }

    /// Waits while the queue is full.
    pub(crate) async fn push_when_room(
        &self,
        kind: u8,
        request_id: u64,
        mut body: Body,
    ) -> Result<(), SendError> {
        let waiting = Waiting::new(self);
        loop {
            // Before the attempt, so that room made after it is not missed.
            let room = self.room.notified();
            match self.try_push(kind, request_id, body) {
                Ok(()) => break,
                Err((SendError::Full, back)) => body = back,
                Err((error, _)) => return Err(error),
            }
            room.await;
        }
        drop(waiting);
        Ok(())
    }

    fn try_push(&self, kind: u8, request_id: u64, body: Body) -> Result<(), (SendError, Body)> {
        let body_bytes = body.len();
        let mut inner = lock(&self.inner);
        let max = inner.body_bytes_max;
        let refused = if inner.closed {
            Some(SendError::Closed)
        } else if kind > KIND_MAX {
            Some(SendError::ReservedKind { kind })
        } else if body_bytes > max as usize {
            Some(SendError::TooLarge { body_bytes, max })
        } else {
            None
        };
        if let Some(error) = refused {
            return Err((error, body));
        }
        let bytes = HEADER_BYTES + body_bytes;
        while inner.frames.len() >= self.frames_max || inner.bytes + bytes > self.bytes_max {
            if inner.frames.is_empty() {
                break;
            }
            match self.overflow {
                Overflow::DropOldest => inner.drop_oldest(),
                Overflow::Reject => return Err((SendError::Full, body)),
            }
        }
        inner.bytes += bytes;
        inner.frames.push_back(Outgoing {
            kind,
            request_id,
            body,
            body_bytes,
        });
        let wake = inner.driver.take();
        drop(inner);
        wake.wake();
        Ok(())
    }

    /// Hands frames to `sink` until the queue is empty or `sink` says enough. Whatever is left, the driver is woken
    /// by the next push. Returns whether the queue is closed.
    pub(crate) fn drain(
        &self,
        cx: &Context<'_>,
        batch: &mut Vec<Outgoing>,
        budget_bytes: usize,
    ) -> bool {
        let mut inner = lock(&self.inner);
        let mut taken = 0;
        while taken < budget_bytes || inner.closed {
            let Some(frame) = inner.frames.pop_front() else {
                break;
            };
            taken += HEADER_BYTES + frame.body_bytes;
            batch.push(frame);
        }
        inner.bytes -= taken;
        inner.driver.sleep(cx);
        let closed = inner.closed;
        let notify = taken > 0 && inner.waiting_for_room > 0;
        drop(inner);
        if notify {
            self.room.notify_waiters();
        }
        closed
    }

    /// No more is taken; what is in it may still be drained.
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        let wake = inner.driver.take();
        drop(inner);
        wake.wake();
        self.room.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.inner).closed
    }

    /// What waits is too old to be of use.
    pub(crate) fn clear(&self) {
        let mut inner = lock(&self.inner);
        inner.dropped += inner.frames.len() as u64;
        inner.frames.clear();
        inner.bytes = 0;
        drop(inner);
        self.room.notify_waiters();
    }

    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.inner).dropped
    }

    /// Ids of the frames that were never drained.
    pub(crate) fn unsent(&self) -> Vec<u64> {
        lock(&self.inner)
            .frames
            .iter()
            .map(|frame| frame.request_id)
            .collect()
    }
}

impl Inner {
    fn drop_oldest(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= HEADER_BYTES + frame.body_bytes;
            self.dropped += 1;
        }
    }
}

/// Counts who waits for room, so that draining need not notify when nobody does.
struct Waiting<'a>(&'a Queue);

impl<'a> Waiting<'a> {
    fn new(queue: &'a Queue) -> Self {
        lock(&queue.inner).waiting_for_room += 1;
        Waiting(queue)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner).waiting_for_room -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::config::Config;

    fn queue(overflow: Overflow) -> Queue {
        let limits = RoleConfig {
            send_queue_frames: 3,
            send_queue_bytes: 300,
            ..Config::default().peer
        };
        Queue::new(&limits, overflow)
    }

    fn drained(queue: &Queue) -> Vec<u64> {
        let mut batch = Vec::new();
        queue.drain(&Context::from_waker(Waker::noop()), &mut batch, usize::MAX);
        batch.iter().map(|frame| frame.request_id).collect()
    }

    /// F-N7: a queue that nobody drains stays bounded, and keeps the newest.
    #[test]
    fn drop_oldest_keeps_the_newest() {
        let queue = queue(Overflow::DropOldest);
        for id in 0..10 {
            queue.push(1, id, "x".into()).unwrap();
        }
        assert_eq!(queue.dropped(), 7);
        assert_eq!(drained(&queue), [7, 8, 9]);
    }

    #[test]
    fn bytes_are_bounded_too_but_one_frame_always_fits() {
        let queue = queue(Overflow::DropOldest);
        queue.push(1, 1, "small".into()).unwrap();
        queue.push(1, 2, vec![0; 1000].into()).unwrap();
        assert_eq!(drained(&queue), [2]);
    }

    #[test]
    fn reject_says_so() {
        let queue = queue(Overflow::Reject);
        for id in 0..3 {
            queue.push(1, id, "x".into()).unwrap();
        }
        assert_eq!(queue.push(1, 3, "x".into()), Err(SendError::Full));
        assert_eq!(queue.unsent(), [0, 1, 2]);
        queue.close();
        assert_eq!(queue.push(1, 4, "x".into()), Err(SendError::Closed));
        assert_eq!(drained(&queue), [0, 1, 2]);
    }

    #[test]
    fn limits_are_checked_before_anything_else() {
        let queue = queue(Overflow::Reject);
        queue.set_body_bytes_max(10);
        assert_eq!(
            queue.push(0xF0, 1, "x".into()),
            Err(SendError::ReservedKind { kind: 0xF0 })
        );
        assert_eq!(
            queue.push(1, 1, vec![0; 11].into()),
            Err(SendError::TooLarge {
                body_bytes: 11,
                max: 10
            })
        );
    }

    #[tokio::test]
    async fn waiting_for_room() {
        let queue = std::sync::Arc::new(queue(Overflow::Reject));
        for id in 0..3 {
            queue.push(1, id, "x".into()).unwrap();
        }
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move { queue.push_when_room(1, 3, "x".into()).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        assert_eq!(drained(&queue), [0, 1, 2]);
        waiter.await.unwrap().unwrap();
        assert_eq!(drained(&queue), [3]);
    }
}
