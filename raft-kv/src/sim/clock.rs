//! A machine's own clock: it runs at its own pace, and may jump forward. It never goes back.

use std::time::Duration;

use super::agenda::Time;

/// Turns virtual time into a machine's own, and back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Since when it runs as it does now, by virtual time and by its own.
    since: Time,
    then: Duration,
    /// Thousandths: 1000 is true to life.
    rate: u32,
}

impl Clock {
    pub(super) fn new(then: Duration) -> Self {
        Self {
            since: Time::ZERO,
            then,
            rate: 1000,
        }
    }

    /// What it shows at a virtual time.
    pub(super) fn local(&self, now: Time) -> Duration {
        let passed = now.saturating_sub(self.since).as_nanos() * u128::from(self.rate) / 1000;
        self.then + nanos(passed)
    }

    /// At which virtual time it shows at least this.
    pub(super) fn virtual_time(&self, local: Duration) -> Time {
        let left = local.saturating_sub(self.then).as_nanos() * 1000;
        self.since + nanos(left.div_ceil(u128::from(self.rate)))
    }

    pub(super) fn set_rate(&mut self, now: Time, rate: u32) {
        *self = Self {
            since: now,
            then: self.local(now),
            rate: rate.max(1),
        };
    }

    pub(super) fn jump(&mut self, by: Duration) {
        self.then += by;
    }
}

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let ms = Duration::from_millis;
        let mut clock = Clock::new(ms(500));
        assert_eq!(clock.local(ms(10)), ms(510));
        clock.set_rate(ms(10), 2000);
        assert_eq!(clock.local(ms(20)), ms(530));
        assert_eq!(clock.virtual_time(ms(530)), ms(20));
        clock.set_rate(ms(20), 700);
        for micros in [0, 1, 999, 12_345] {
            let local = ms(530) + Duration::from_micros(micros);
            assert!(clock.local(clock.virtual_time(local)) >= local);
        }
        clock.jump(ms(1000));
        assert_eq!(clock.local(ms(20)), ms(1530));
    }
}
