//! How much clients may have under way. A connection that reaches its own limit is not read until answers have left, so that
//! a client that asks and does not read waits for itself. What all connections share is never waited for: beyond it a
//! request is answered as busy at once.
//!
//! Guards: every answer that is made, a refusal too, holds a part of its connection's limit until it is queued for sending;
//! so neither requests nor answers pile up. What a reply may take is counted before it is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes all connections' unanswered requests may count.
const BYTES_MAX: usize = 256 << 20;
/// How many bytes of one connection's.
const CONNECTION_BYTES_MAX: u32 = 32 << 20;
/// What a request counts beyond its bytes: about what it and its answer take in memory.
const OVERHEAD_BYTES: usize = 512;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Quota {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl Quota {
    const fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// A request's share, if there is room.
    fn take(self: &Arc<Self>, bytes: usize) -> Option<CommonShare> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Made first, so that it gives back what was taken too much.
        let share = CommonShare {
            of: self.clone(),
            bytes,
        };
        (before + bytes <= self.bytes_max).then_some(share)
    }
}

/// Given back when dropped.
#[derive(Debug)]
struct CommonShare {
    of: Arc<Quota>,
    bytes: usize,
}

impl Drop for CommonShare {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// One connection's limit.
#[derive(Clone, Debug)]
pub(super) struct ConnectionQuota {
    room: Arc<Semaphore>,
    common: Arc<Quota>,
}

impl ConnectionQuota {
    /// That of a new connection.
    pub(super) fn new(common: Arc<Quota>) -> Self {
        Self {
            room: Arc::new(Semaphore::new(CONNECTION_BYTES_MAX as usize)),
            common,
        }
    }

    /// A request's share, which is its bytes and what its reply may take beyond what every reply does; none while this connection is at its limit.
    pub(super) fn try_take(&self, request_bytes: usize) -> Option<Share> {
        let (bytes, counted) = cost(request_bytes);
        let own = self.room.clone().try_acquire_many_owned(counted).ok()?;
        Some(Share {
            _own: own,
            common: self.common.take(bytes),
        })
    }

    /// Waits until answers have left. What was read before must be on its way, or it waits for itself.
    pub(super) async fn take(&self, request_bytes: usize) -> Option<Share> {
        let (bytes, counted) = cost(request_bytes);
        let own = self.room.clone().acquire_many_owned(counted).await.ok()?;
        Some(Share {
            _own: own,
            common: self.common.take(bytes),
        })
    }
}

/// What a request counts, and what of it the connection's limit can hold: one larger than all of it takes all.
fn cost(request_bytes: usize) -> (usize, u32) {
    let bytes = request_bytes.saturating_add(OVERHEAD_BYTES);
    let counted = u32::try_from(bytes).unwrap_or(u32::MAX);
    (bytes, counted.min(CONNECTION_BYTES_MAX))
}

/// A request's share of both; given back when its answer is queued, or nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Share {
    _own: OwnedSemaphorePermit,
    common: Option<CommonShare>,
}

impl Share {
    /// Whether all connections together have too much under way: then the answer is that, and nothing else happens.
    pub(super) fn is_busy(&self) -> bool {
        self.common.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_common_limit_is_busy_and_all_of_it_comes_back() {
        let common = Arc::new(Quota::new(2000));
        let one = ConnectionQuota::new(common.clone());
        let other = ConnectionQuota::new(common.clone());
        let first = one.try_take(488).unwrap();
        let second = other.try_take(488).unwrap();
        assert!(!first.is_busy() && !second.is_busy());
        let refused = one.try_take(0).unwrap();
        assert!(refused.is_busy());
        drop((first, refused));
        assert!(!other.try_take(488).unwrap().is_busy());
        drop(second);
        assert_eq!(common.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_connection_waits_for_its_own_answers() {
        let quota = ConnectionQuota::new(Arc::new(Quota::default()));
        // Larger than all there is: it takes all, and is not stuck.
        let first = quota.try_take(1 << 30).unwrap();
        assert!(
            first.is_busy(),
            "too much for all connections together, too"
        );
        assert!(quota.try_take(0).is_none());
        let waiting = tokio::spawn({
            let quota = quota.clone();
            async move { quota.take(0).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(!waiting.await.unwrap().unwrap().is_busy());
    }
}
