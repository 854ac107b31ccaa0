//! What is said in the log of one peer: each change for good, and no flood while it lasts.
//!
//! The rule: the first failure of an outage is said at once, whatever comes after it at most once a minute, and the end
//! of the outage once. A connection that breaks right after it was made is a part of the outage: from then on, only one
//! that holds for [`STEADY`] is said. So the last line never claims a connection that is long gone.

use std::time::Duration;

use tokio::time::Instant;

/// How often a peer that stays away is said to be away.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long a connection has to hold to end an outage in which another one broke at once.
pub(crate) const STEADY: Duration = Duration::from_secs(1);

/// What the log has said of one peer, and so what there is to say.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    said: Said,
    /// When the open connection was made.
    up: Option<Instant>,
    /// Whether a connection broke right after it was made, and none has held since.
    flapping: bool,
    /// Failures that nothing was said about.
    silent: u64,
}

#[derive(Debug, Default)]
enum Said {
    #[default]
    Nothing,
    Connected,
    Lost(Instant),
}

impl Outage {
    /// A connection was made. Whether to say so now.
    pub(crate) fn connected(&mut self, now: Instant) -> bool {
        self.up = Some(now);
        if !self.flapping {
            self.said = Said::Connected;
            self.silent = 0;
        }
        !self.flapping
    }

    /// The connection has held for [`STEADY`]. Whether to say now that it is there.
    pub(crate) fn steady(&mut self) -> bool {
        self.flapping = false;
        self.silent = 0;
        !matches!(
            std::mem::replace(&mut self.said, Said::Connected),
            Said::Connected
        )
    }

    /// A connection could not be made, or broke. If it is to be said: with how many failures before it of which nothing
    /// was.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<u64> {
        if let Some(up) = self.up.take() {
            self.flapping = now.duration_since(up) < STEADY;
        }
        match self.said {
            Said::Lost(at) if now.duration_since(at) < SAY_EVERY => {
                self.silent += 1;
                None
            }
            _ => {
                self.said = Said::Lost(now);
                Some(std::mem::take(&mut self.silent))
            }
        }
    }

    /// It is dialled under another address from now on, of which nothing is known.
    pub(crate) fn moved(&mut self) {
        *self = Outage::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn an_outage_is_said_once_then_once_a_minute_and_its_end_once() {
        let begun = Instant::now();
        let mut outage = Outage::default();
        assert!(outage.connected(begun));
        assert!(!outage.steady(), "it was said already");
        let lost = begun + seconds(10.0);
        let said: Vec<(u32, u64)> = (0..1800)
            .filter_map(|tenth| Some((tenth, outage.failed(lost + tenth * seconds(0.1))?)))
            .collect();
        assert_eq!(said, [(0, 0), (600, 599), (1200, 599)]);
        let back = lost + seconds(181.0);
        assert!(outage.connected(back));
        assert!(!outage.steady());
        assert_eq!(outage.failed(back + seconds(5.0)), Some(0));
    }

    #[test]
    fn a_link_that_breaks_at_once_is_said_again_only_when_it_holds() {
        let begun = Instant::now();
        let mut outage = Outage::default();
        assert_eq!(outage.failed(begun), Some(0));
        assert!(outage.connected(begun + seconds(1.0)));
        // What was said last has become wrong.
        assert_eq!(outage.failed(begun + seconds(1.1)), Some(0));
        for tenth in 12..600 {
            let now = begun + tenth * seconds(0.1);
            assert!(!outage.connected(now));
            assert_eq!(outage.failed(now + seconds(0.05)), None);
        }
        let now = begun + seconds(70.0);
        assert!(!outage.connected(now));
        assert!(outage.steady());
        assert_eq!(outage.failed(now + seconds(2.0)), Some(0));
        assert!(outage.connected(now + seconds(2.1)));
    }

    #[test]
    fn another_address_is_another_story() {
        let now = Instant::now();
        let mut outage = Outage::default();
        assert_eq!(outage.failed(now), Some(0));
        assert_eq!(outage.failed(now), None);
        outage.moved();
        assert_eq!(outage.failed(now), Some(0));
    }
}
