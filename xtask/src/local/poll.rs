//! Waiting for a condition instead of for a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

const PAUSE: Duration = Duration::from_millis(25);

/// Asks again and again until `ask` succeeds, and returns what it gave.
///
/// # Errors
/// When `within` has passed: says what was waited for and what the last answer was.
pub fn wait_for<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(value) => return Ok(value),
            Err(error) if begun.elapsed() >= within => {
                return Err(anyhow!(
                    "waited {:.1} s in vain for {what}; last seen: {error:#}",
                    within.as_secs_f64()
                ));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_first_success_or_the_last_failure() {
        let mut asked = 0;
        let mut ask = || {
            asked += 1;
            if asked == 3 {
                Ok(asked)
            } else {
                Err(anyhow!("only {asked}"))
            }
        };
        assert_eq!(
            wait_for("three", Duration::from_secs(10), &mut ask).unwrap(),
            3
        );
        let error = wait_for("three", Duration::ZERO, &mut ask)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "waited 0.0 s in vain for three; last seen: only 4");
    }
}
