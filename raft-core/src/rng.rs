//! Chance, from a seed: SplitMix64. Good enough to spread timeouts, small enough to clone, the same everywhere.

/// A stream of numbers that looks random and repeats exactly for the same seed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    /// A stream for these parts together: a change in any of them changes all of it.
    pub(crate) fn new(parts: &[u64]) -> Self {
        let mut rng = Self { state: 0 };
        for &part in parts {
            rng.state ^= part;
            rng.state = rng.next();
        }
        rng
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1. The bias, under bound / 2^32, is nothing to a timeout.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        debug_assert!(bound > 0, "nothing is below 0");
        let scaled = (self.next() >> 32) * u64::from(bound);
        (scaled >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_and_reaches_every_value() {
        let mut rng = Rng::new(&[1, 2, 3]);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[rng.below(10) as usize] = true;
        }
        assert!(seen.iter().all(|&hit| hit), "some value never came");
    }

    #[test]
    fn any_part_changes_the_stream() {
        let draw = |parts: &[u64]| Rng::new(parts).next();
        assert_eq!(draw(&[1, 2, 3]), draw(&[1, 2, 3]));
        assert_ne!(draw(&[1, 2, 3]), draw(&[1, 2, 4]));
        assert_ne!(draw(&[1, 2, 3]), draw(&[2, 1, 3]));
    }
}
