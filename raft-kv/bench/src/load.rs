//! The closed loop: each client asks the next when the last is answered. The same code for both sides, and every answer is checked.
//!
//! What is checked: the revisions that a client's puts are answered with rise; a get finds a value that was written for that key,
//! whole, and by a write no older than the newest one that was acknowledged before the get began.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::backend::{Backend, Failed};
use crate::value;

/// Latencies up to ten minutes, to three digits.
const LATENCY_MAX_US: u64 = 600_000_000;
/// After an error, so that a refusal does not make a busy loop.
const PAUSE: Duration = Duration::from_millis(10);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Put,
    Get,
    /// Nine gets to a put.
    Mix,
}

impl Op {
    pub(crate) const ALL: [Op; 3] = [Op::Put, Op::Get, Op::Mix];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Put => "put",
            Op::Get => "get",
            Op::Mix => "mix",
        }
    }
}

/// What is known of the keys of one cluster: survives from load to load on it.
pub(crate) struct Ledger {
    value_size: usize,
    /// By key, the highest revision at which a put of it was acknowledged.
    acknowledged: Vec<AtomicU64>,
    /// Numbers the writes.
    writes: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(keys: u32, value_size: usize) -> Ledger {
        Ledger {
            value_size,
            acknowledged: (0..keys).map(|_| AtomicU64::new(0)).collect(),
            writes: AtomicU64::new(0),
        }
    }

    pub(crate) fn keys(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    fn acknowledged(&self, key: u64) -> u64 {
        self.of(key).map_or(0, |a| a.load(Ordering::SeqCst))
    }

    fn of(&self, key: u64) -> Option<&AtomicU64> {
        self.acknowledged.get(usize::try_from(key).ok()?)
    }

    /// Writes a key; the revision.
    pub(crate) async fn put(&self, backend: &mut Backend, key: u64) -> Result<u64, Failed> {
        let write = self.writes.fetch_add(1, Ordering::SeqCst);
        let value = value::encode(key, write, self.value_size);
        let revision = backend.put(key, value).await?;
        if let Some(acknowledged) = self.of(key) {
            acknowledged.fetch_max(revision, Ordering::SeqCst);
        }
        Ok(revision)
    }

    /// Reads a key; what is wrong with the answer, if anything.
    async fn get(&self, backend: &mut Backend, key: u64) -> Result<Option<String>, Failed> {
        let at_least = self.acknowledged(key);
        let found = backend.get(key).await?;
        Ok(match found {
            None if at_least == 0 => None,
            None => Some(format!(
                "key {key} was written at revision {at_least} and is not found"
            )),
            Some(found) if found.mod_revision < at_least => Some(format!(
                "key {key} was read as of revision {}, but a put of revision {at_least} was acknowledged before",
                found.mod_revision
            )),
            Some(found) => match found.write {
                Some(write) if write < self.writes.load(Ordering::SeqCst) => None,
                _ => Some(format!(
                    "key {key} has a value that was never written for it"
                )),
            },
        })
    }
}

/// What came of a load.
#[derive(Default)]
pub(crate) struct Counts {
    /// Answered in the measured time.
    pub(crate) ops: u64,
    /// Answered at all, warm-up included.
    pub(crate) all_ops: u64,
    /// How many of those were puts.
    pub(crate) all_puts: u64,
    pub(crate) errors: u64,
    pub(crate) unknown: u64,
    pub(crate) wrong: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) first_wrong: Option<String>,
}

impl Counts {
    fn failed(&mut self, failed: Failed) {
        if failed.unknown {
            self.unknown += 1;
        } else {
            self.errors += 1;
        }
        self.first_error.get_or_insert(failed.message);
    }

    fn wrong(&mut self, what: String) {
        self.wrong += 1;
        self.first_wrong.get_or_insert(what);
    }

    fn merge(&mut self, other: Counts) {
        self.ops += other.ops;
        self.all_ops += other.all_ops;
        self.all_puts += other.all_puts;
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.wrong += other.wrong;
        self.first_error = self.first_error.take().or(other.first_error);
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
    }
}

/// What the clients of a load share.
pub(crate) struct Shared {
    ledger: Arc<Ledger>,
    op: Op,
    measuring: AtomicBool,
    stop: AtomicBool,
    /// Requests that were answered.
    answered: AtomicU64,
    /// Microseconds, one for each connection, so that few clients meet at one.
    latencies: Vec<Mutex<Histogram<u64>>>,
}

impl Shared {
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// Clients at work.
pub(crate) struct Load {
    pub(crate) shared: Arc<Shared>,
    clients: JoinSet<Counts>,
}

impl Load {
    /// Sets so many clients to work, spread over the connections.
    pub(crate) fn begin(backends: &[Backend], ledger: &Arc<Ledger>, op: Op, clients: u32) -> Load {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("valid bounds");
        let shared = Arc::new(Shared {
            ledger: ledger.clone(),
            op,
            measuring: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            latencies: backends.iter().map(|_| Mutex::new(histogram())).collect(),
        });
        let mut set = JoinSet::new();
        let connections = backends.iter().enumerate().cycle();
        for (number, (connection, backend)) in (0..u64::from(clients)).zip(connections) {
            set.spawn(client(backend.clone(), shared.clone(), connection, number));
        }
        Load {
            shared,
            clients: set,
        }
    }

    /// Lets it warm up, measures, and ends it: counts, latencies, and how long was measured.
    pub(crate) async fn measure(
        self,
        warm_up: Duration,
        time: Duration,
    ) -> Result<(Counts, Histogram<u64>, Duration)> {
        sleep(warm_up).await;
        self.shared.measuring.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        sleep(time).await;
        self.shared.measuring.store(false, Ordering::Relaxed);
        let measured = begun.elapsed();
        let shared = self.shared.clone();
        let counts = self.end().await?;
        let mut latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?;
        for part in &shared.latencies {
            latencies.add(&*part.lock().unwrap_or_else(PoisonError::into_inner))?;
        }
        Ok((counts, latencies, measured))
    }

    /// Ends it, when everything that is under way is answered.
    pub(crate) async fn end(mut self) -> Result<Counts> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut counts = Counts::default();
        while let Some(finished) = self.clients.join_next().await {
            counts.merge(finished.context("a client of the generator ended")?);
        }
        Ok(counts)
    }
}

/// One client.
async fn client(
    mut backend: Backend,
    shared: Arc<Shared>,
    connection: usize,
    number: u64,
) -> Counts {
    let mut counts = Counts::default();
    // Each client goes through the keys in an order of its own, the same in every round and on both sides.
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut last_revision = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        random = random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let key = (random >> 32) % shared.ledger.keys();
        let puts = match shared.op {
            Op::Put => true,
            Op::Get => false,
            Op::Mix => (random >> 16) % 10 == 0,
        };
        let begun = Instant::now();
        let answer = if puts {
            let answer = shared.ledger.put(&mut backend, key).await;
            answer.map(|revision| rises(&mut last_revision, revision))
        } else {
            shared.ledger.get(&mut backend, key).await
        };
        match answer {
            Err(failed) => {
                counts.failed(failed);
                sleep(PAUSE).await;
                continue;
            }
            Ok(Some(wrong)) => counts.wrong(wrong),
            Ok(None) => {}
        }
        counts.all_ops += 1;
        counts.all_puts += u64::from(puts);
        shared.answered.fetch_add(1, Ordering::Relaxed);
        // Whatever is answered in the measured time counts, though it was asked before: else who answers late would lose the more.
        if shared.measuring.load(Ordering::Relaxed) {
            counts.ops += 1;
            record(&shared, connection, begun.elapsed());
        }
    }
    counts
}

/// What is wrong with the revision of a client's put, if anything.
fn rises(last: &mut u64, revision: u64) -> Option<String> {
    let before = std::mem::replace(last, revision);
    (revision <= before).then(|| {
        format!("a put was answered with revision {revision}, an earlier one with {before}")
    })
}

fn record(shared: &Shared, connection: usize, latency: Duration) {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if let Some(latencies) = shared.latencies.get(connection) {
        let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.saturating_record(micros.max(1));
    }
}

/// Writes every key once, so many at a time.
pub(crate) async fn preload(
    backends: &[Backend],
    ledger: &Arc<Ledger>,
    at_once: usize,
) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut set = JoinSet::new();
    for backend in backends.iter().cycle().take(at_once.max(1)) {
        let (mut backend, ledger, next) = (backend.clone(), ledger.clone(), next.clone());
        set.spawn(async move {
            loop {
                let key = next.fetch_add(1, Ordering::Relaxed);
                if key >= ledger.keys() {
                    return Ok(());
                }
                ledger.put(&mut backend, key).await?;
            }
        });
    }
    while let Some(finished) = set.join_next().await {
        let written: Result<(), Failed> = finished.context("a client of the generator ended")?;
        written.map_err(|failed| anyhow::anyhow!("cannot write the keys: {}", failed.message))?;
    }
    Ok(())
}

/// Reads back one key in a hundred, and at least one; how many.
///
/// # Errors
/// When one is not what was acknowledged, or cannot be read.
pub(crate) async fn read_back(backends: &[Backend], ledger: &Ledger) -> Result<u64> {
    let Some(backend) = backends.first() else {
        return Ok(0);
    };
    let mut read = 0;
    // Another hundredth each time.
    let first = ledger.writes.load(Ordering::SeqCst) % 100;
    for key in (first % ledger.keys()..ledger.keys()).step_by(100) {
        let answer = ledger.get(&mut backend.clone(), key).await;
        let wrong = answer.map_err(|f| anyhow::anyhow!("cannot read key {key}: {}", f.message))?;
        ensure!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        read += 1;
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_have_to_rise() {
        let mut last = 0;
        assert_eq!(rises(&mut last, 5), None);
        assert_eq!(rises(&mut last, 6), None);
        assert!(rises(&mut last, 6).unwrap().contains("revision 6"));
    }
}
