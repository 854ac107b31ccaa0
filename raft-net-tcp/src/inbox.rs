//! Frames that one connection's task has received, on their way to the consumer: bounded by bytes, handed over in
//! batches.
//!
//! Guards: when the consumer lags, the task stops reading, and the other side feels it through TCP.

use std::sync::Mutex;
use std::task::{Context, Poll};

use crate::error::CloseReason;
use crate::frame::{Frame, HEADER_BYTES};
use crate::sync::{Sleeper, lock};

#[derive(Debug)]
pub(crate) struct Inbox {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    frames: Vec<Frame>,
    bytes: usize,
    closed: Option<CloseReason>,
    consumer: Sleeper,
    driver: Sleeper,
}

impl Inbox {
    pub(crate) fn new(bytes_max: usize) -> Inbox {
        Inbox {
            inner: Mutex::default(),
            bytes_max,
        }
    }

    /// Moves all `frames` in.
    pub(crate) fn deliver(&self, frames: &mut Vec<Frame>) {
        let mut inner = lock(&self.inner);
        inner.bytes += frames
            .iter()
            .map(|frame| HEADER_BYTES + frame.body.len())
            .sum::<usize>();
        if inner.frames.is_empty() {
            std::mem::swap(&mut inner.frames, frames);
        } else {
            inner.frames.append(frames);
        }
        let wake = inner.consumer.take();
        drop(inner);
        wake.wake();
    }

    /// Ready when there is room; otherwise the driver is woken once there is.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.inner);
        if inner.bytes < self.bytes_max {
            return Poll::Ready(());
        }
        inner.driver.sleep(cx);
        Poll::Pending
    }

    pub(crate) fn close(&self, reason: CloseReason) {
        let mut inner = lock(&self.inner);
        inner.closed.get_or_insert(reason);
        let wake = inner.consumer.take();
        drop(inner);
        wake.wake();
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        lock(&self.inner).closed.clone()
    }

    /// All that is there, at least one; the close reason only after the last frame.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Poll<Result<Vec<Frame>, CloseReason>> {
        let mut inner = lock(&self.inner);
        if inner.frames.is_empty() {
            if let Some(reason) = &inner.closed {
                return Poll::Ready(Err(reason.clone()));
            }
            inner.consumer.sleep(cx);
            return Poll::Pending;
        }
        let frames = std::mem::take(&mut inner.frames);
        inner.bytes = 0;
        let wake = inner.driver.take();
        drop(inner);
        wake.wake();
        Poll::Ready(Ok(frames))
    }
}
