//! How long to wait before the next try: doubled each time, drawn at random, from a seed.

use std::time::Duration;

/// SplitMix64: small, seeded, and good enough to keep clients apart.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A wait that doubles from `min` to `max` until it is reset.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    current: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Backoff {
        let min = min.max(Duration::from_millis(1));
        Backoff {
            min,
            max: max.max(min),
            current: min,
        }
    }

    /// The next wait: drawn from the upper half of the current one, so that it is never zero.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Duration {
        let whole = u64::try_from(self.current.as_micros())
            .unwrap_or(u64::MAX)
            .max(2);
        let half = whole / 2;
        let wait = Duration::from_micros(half + rng.next() % (whole - half + 1));
        self.current = (self.current * 2).min(self.max);
        wait
    }

    pub(super) fn reset(&mut self) {
        self.current = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_are_never_zero() {
        let mut rng = Rng::new(7);
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(80));
        for whole in [10, 20, 40, 80, 80, 80] {
            let wait = backoff.next(&mut rng);
            assert!(
                wait >= Duration::from_millis(whole / 2),
                "{wait:?} of {whole}"
            );
            assert!(wait <= Duration::from_millis(whole), "{wait:?} of {whole}");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_millis(10));
    }

    #[test]
    fn two_seeds_wait_differently_and_one_seed_alike() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
            [backoff.next(&mut rng), backoff.next(&mut rng)]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
