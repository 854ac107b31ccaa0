//! How much clients may have under way: per connection and in all. Beyond it a request is answered as busy at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests of all connections may be unanswered.
const REQUESTS_MAX: usize = 65_536;
/// How many bytes they may have.
const BYTES_MAX: usize = 256 << 20;
/// How many requests of one connection may be unanswered.
const CONNECTION_REQUESTS_MAX: usize = 16_384;
/// How many bytes they may have.
const CONNECTION_BYTES_MAX: usize = 32 << 20;
/// What a request counts beyond its bytes: about what it takes in memory.
const OVERHEAD_BYTES: usize = 512;

/// A count with limits.
#[derive(Debug)]
pub(super) struct Quota {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    requests_max: usize,
    bytes_max: usize,
}

impl Default for Quota {
    /// That of all connections.
    fn default() -> Self {
        Self::new(REQUESTS_MAX, BYTES_MAX)
    }
}

impl Quota {
    const fn new(requests_max: usize, bytes_max: usize) -> Self {
        let (requests, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self {
            requests,
            bytes,
            requests_max,
            bytes_max,
        }
    }

    /// That of one connection.
    pub(super) const fn of_connection() -> Self {
        Self::new(CONNECTION_REQUESTS_MAX, CONNECTION_BYTES_MAX)
    }

    fn take(&self, bytes: usize) -> bool {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let good = requests < self.requests_max && before + bytes <= self.bytes_max;
        if !good {
            self.give_back(bytes);
        }
        good
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request's share; given back when its answer is on its way, or nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Share {
    of: [Arc<Quota>; 2],
    bytes: usize,
}

impl Share {
    /// A share of each, if both have room.
    pub(super) fn take(of: [&Arc<Quota>; 2], bytes: usize) -> Option<Self> {
        let bytes = bytes + OVERHEAD_BYTES;
        let [first, second] = of;
        if !first.take(bytes) {
            return None;
        }
        if !second.take(bytes) {
            first.give_back(bytes);
            return None;
        }
        Some(Self {
            of: of.map(Arc::clone),
            bytes,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.iter().for_each(|quota| quota.give_back(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_refused_beyond_either_limit_and_comes_back_on_drop() {
        let all = Arc::new(Quota::new(3, 10_000));
        let one = Arc::new(Quota::new(2, 10_000));
        let first = Share::take([&one, &all], 0).unwrap();
        let second = Share::take([&one, &all], 0).unwrap();
        assert!(
            Share::take([&one, &all], 0).is_none(),
            "the connection's requests are used up"
        );
        let other = Arc::new(Quota::new(2, 10_000));
        let third = Share::take([&other, &all], 0).unwrap();
        assert!(
            Share::take([&other, &all], 0).is_none(),
            "all requests are used up"
        );
        drop((first, second, third));
        assert!(Share::take([&one, &all], 9_489).is_none(), "too many bytes");
        let large = Share::take([&one, &all], 9_488).unwrap();
        assert_eq!(one.bytes.load(Ordering::Relaxed), 10_000);
        drop(large);
        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(all.requests.load(Ordering::Relaxed), 0);
    }
}
