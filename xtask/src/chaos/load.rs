//! Writers that go on whatever happens to the cluster, and keep a ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::{Ledger, Outcome, Write};
use crate::local::{Client, wait_for};

/// How long a writer lets `raft-cli` try one write: long enough that most survive a failover, and are then retried
/// there, which is where one could be applied twice.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writers at work, each on a thread with a `raft-cli shell` of its own, one write after the other.
pub struct Load {
    prefix: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    writers: Vec<JoinHandle<Result<Vec<Write>>>>,
}

/// When an acknowledged write was begun and when its acknowledgement came.
#[derive(Clone, Copy)]
struct Acknowledged {
    begun: Instant,
    at: Instant,
}

impl Load {
    /// Starts this many writers, whose keys all begin with `prefix`.
    ///
    /// # Errors
    /// When a shell cannot be started.
    pub fn start(client: &Client, prefix: &str, writers: u8) -> Result<Load> {
        let mut load = Load {
            prefix: prefix.to_owned(),
            stop: Arc::default(),
            acknowledged: Arc::default(),
            writers: Vec::new(),
        };
        for number in 1..=writers {
            let mut shell = client.with_timeout(WRITE_TIMEOUT).shell()?;
            let (stop, acknowledged) = (Arc::clone(&load.stop), Arc::clone(&load.acknowledged));
            let prefix = format!("{prefix}{number:02}-");
            load.writers.push(thread::spawn(move || {
                let mut writes = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let (key, value) = next_write(&prefix, writes.len());
                    let begun = Instant::now();
                    let outcome = Outcome::of_put(&shell.ask(&format!("put {key} {value}"))?)?;
                    if matches!(outcome, Outcome::Acknowledged(_)) {
                        let at = Instant::now();
                        lock(&acknowledged).push(Acknowledged { begun, at });
                    }
                    writes.push(Write {
                        key,
                        value,
                        outcome,
                    });
                }
                Ok(writes)
            }));
        }
        Ok(load)
    }

    /// What all keys of this load begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Waits until `count` writes have been acknowledged that were begun from now on.
    ///
    /// # Errors
    /// When that takes longer than `within`, or a writer has failed.
    pub fn wait_acknowledged(&self, count: u64, within: Duration) -> Result<()> {
        let from = Instant::now();
        wait_for(&format!("{count} acknowledged writes"), within, || {
            let writes = lock(&self.acknowledged);
            let newest = writes.iter().rev().take_while(|write| write.at >= from);
            let seen = newest.filter(|write| write.begun >= from).count();
            ensure!(
                u64::try_from(seen).is_ok_and(|seen| seen >= count),
                "{seen} were acknowledged"
            );
            Ok(())
        })
    }

    /// The longest time without any acknowledgement since `from`, up to the newest one.
    #[must_use]
    pub fn longest_silence(&self, from: Instant) -> Duration {
        let mut times: Vec<Instant> = lock(&self.acknowledged)
            .iter()
            .map(|write| write.at)
            .collect();
        times.retain(|at| *at >= from);
        times.sort_unstable();
        let before = std::iter::once(from).chain(times.iter().copied());
        before
            .zip(&times)
            .map(|(before, after)| after.duration_since(before))
            .max()
            .unwrap_or_default()
    }

    /// Lets every writer finish its write, and returns what they were told.
    ///
    /// # Errors
    /// When a writer failed: its shell ended, or answered with something that is no answer.
    pub fn finish(self) -> Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ledgers = Vec::new();
        for writer in self.writers {
            ledgers.push(writer.join().map_err(|_| anyhow!("a writer panicked"))??);
        }
        Ok(Ledger::new(ledgers))
    }
}

/// In turn a key of its own for this write only, and one that all of the writer's writes go to.
fn next_write(prefix: &str, number: usize) -> (String, String) {
    let key = if number.is_multiple_of(2) {
        format!("{prefix}{number:08}")
    } else {
        format!("{prefix}chain")
    };
    (key, number.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
