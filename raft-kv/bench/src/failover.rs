//! The leader is killed under load: how long no write is acknowledged.
//!
//! The load is a closed loop of a few clients, spread over all nodes, and besides a put every few milliseconds that waits for no other:
//! so a client that waits for the dead leader does not hide that the next one answers already. Both sides have the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::backend::Backend;
use crate::cells::{close, filled};
use crate::cluster::Cluster;
use crate::load::Ledger;
use crate::results::Results;
use crate::run::Run;

const NODES: usize = 3;
const KEYS: u32 = 1000;
const CLIENTS: usize = 16;
/// Between two puts that wait for no other.
const EVERY: Duration = Duration::from_millis(5);
/// How long each of them may take. Shorter than an election, so that a put into the void does not last long.
const REQUEST_WITHIN: Duration = Duration::from_secs(1);
/// Load before each kill.
const BEFORE: Duration = Duration::from_secs(1);
/// Load after writing has begun again, so that a gap that comes in two parts is seen whole.
const AFTER: Duration = Duration::from_secs(2);
const GIVE_UP: Duration = Duration::from_secs(60);

/// Kills each side's leader as often as is asked for, in turns.
pub(crate) async fn measure(run: &Run, results: &mut Results) -> Result<()> {
    for side in run.programs.sides() {
        let fields = |kill: u32| json!({"part": "failover", "side": side.name(), "kill": kill});
        let missing: Vec<u32> = (1..=run.kills)
            .filter(|kill| !results.has(&fields(*kill)))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let (mut cluster, ledger) = filled(run, side, NODES, 256, KEYS).await?;
        for kill in missing {
            let gap = kill_leader(&mut cluster, &ledger).await?;
            run.say(&format!(
                "{}: kill {kill}: no write for {gap:?}",
                side.name()
            ));
            let mut sample = fields(kill);
            sample["gap_ms"] = json!(gap.as_secs_f64() * 1000.0);
            results.append(sample)?;
        }
        drop(cluster);
        run.clear()?;
    }
    Ok(())
}

/// When writes were acknowledged.
struct Gaps {
    last: Instant,
    longest: Duration,
}

/// What the writers share.
struct Writers {
    ledger: Arc<Ledger>,
    gaps: Mutex<Gaps>,
    stop: AtomicBool,
}

impl Writers {
    fn acknowledged(&self) {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        gaps.longest = gaps.longest.max(now - gaps.last);
        gaps.last = now;
    }

    fn begin(&self) {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.longest = Duration::ZERO;
    }

    fn seen(&self) -> (Instant, Duration) {
        let gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        (gaps.last, gaps.longest)
    }
}

/// Under load, kills the leader; waits for writes to be acknowledged again, and starts it anew. The longest time without one.
async fn kill_leader(cluster: &mut Cluster, ledger: &Arc<Ledger>) -> Result<Duration> {
    let leader = cluster.leader_within(GIVE_UP).await?;
    let mut backends = Vec::new();
    for node in 0..cluster.len() {
        backends.push(cluster.connect_to(node, REQUEST_WITHIN).await?);
    }
    let writers = Arc::new(Writers {
        ledger: ledger.clone(),
        gaps: Mutex::new(Gaps {
            last: Instant::now(),
            longest: Duration::ZERO,
        }),
        stop: AtomicBool::new(false),
    });
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(closed_loop(backends.clone(), writers.clone(), number));
    }
    // The open loop knows the survivors only: a put to the dead one tells nothing.
    let survivors = backends.iter().enumerate();
    let survivors = survivors.filter(|(node, _)| *node != leader);
    let survivors: Vec<Backend> = survivors.map(|(_, backend)| backend.clone()).collect();
    tasks.spawn(open_loop(survivors, writers.clone()));

    sleep(BEFORE).await;
    writers.begin();
    let killed = Instant::now();
    cluster.kill(leader);
    // What was acknowledged on the wire already may yet arrive; so the end of the gap is known only a while after it.
    sleep(AFTER).await;
    loop {
        let (last, longest) = writers.seen();
        let in_gap = last.elapsed() > Duration::from_millis(200);
        if !in_gap && longest > Duration::ZERO && killed.elapsed() > longest + AFTER {
            break;
        }
        ensure!(
            killed.elapsed() < GIVE_UP,
            "no write within {} s of the leader's death",
            GIVE_UP.as_secs()
        );
        sleep(Duration::from_millis(20)).await;
    }
    writers.stop.store(true, Ordering::Relaxed);
    while let Some(finished) = tasks.join_next().await {
        finished.context("a writer ended")?;
    }
    let (_, longest) = writers.seen();
    close(&backends).await;
    cluster.start_node(leader)?;
    caught_up(cluster, leader).await?;
    Ok(longest)
}

/// Waits until a node has applied what the leader has now.
async fn caught_up(cluster: &mut Cluster, node: usize) -> Result<()> {
    let leader = cluster.leader_within(GIVE_UP).await?;
    let target = cluster.applied(leader).await?;
    let begun = Instant::now();
    while cluster.applied(node).await.unwrap_or(0) < target {
        ensure!(
            begun.elapsed() < GIVE_UP,
            "a restarted node does not catch up"
        );
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Puts, one after the other; after a failure by way of the next node.
async fn closed_loop(mut backends: Vec<Backend>, writers: Arc<Writers>, number: usize) {
    let mut at = number % backends.len();
    let mut key = number as u64;
    while !writers.stop.load(Ordering::Relaxed) {
        key = (key + CLIENTS as u64) % writers.ledger.keys();
        match writers.ledger.put(&mut backends[at], key).await {
            Ok(_) => writers.acknowledged(),
            Err(_) => {
                at = (at + 1) % backends.len();
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// A put every few milliseconds, by way of each survivor in turn.
async fn open_loop(backends: Vec<Backend>, writers: Arc<Writers>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut puts = JoinSet::new();
    for (backend, key) in backends
        .iter()
        .cycle()
        .zip((0..writers.ledger.keys()).cycle())
    {
        ticks.tick().await;
        if writers.stop.load(Ordering::Relaxed) {
            break;
        }
        let (mut backend, writers) = (backend.clone(), writers.clone());
        puts.spawn(async move {
            if writers.ledger.put(&mut backend, key).await.is_ok() {
                writers.acknowledged();
            }
        });
        while puts.try_join_next().is_some() {}
    }
    while puts.join_next().await.is_some() {}
}

/// For the head of the table.
pub(crate) const METHOD: &str = "16 clients in a closed loop over all nodes, and a put every 5 ms that waits for no other; the longest time \
without an acknowledged write around the SIGKILL of the leader; election timeout 1 s and heartbeat 100 ms on both sides, their defaults";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_kept_until_it_is_begun_anew() {
        let writers = Writers {
            ledger: Arc::new(Ledger::new(1, 16)),
            gaps: Mutex::new(Gaps {
                last: Instant::now() - Duration::from_secs(5),
                longest: Duration::ZERO,
            }),
            stop: AtomicBool::new(false),
        };
        writers.acknowledged();
        writers.acknowledged();
        assert!(writers.seen().1 >= Duration::from_secs(5));
        writers.begin();
        assert_eq!(writers.seen().1, Duration::ZERO);
    }
}
