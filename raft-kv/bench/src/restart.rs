//! All nodes are stopped and started again: how long until the first linearizable read.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cells::filled;
use crate::cluster::Cluster;
use crate::results::Results;
use crate::run::Run;

const NODES: usize = 3;
const VALUE_SIZE: usize = 256;
const GIVE_UP: Duration = Duration::from_secs(120);
/// How long one attempt to read may take, connection included, and how long until the next one.
const ATTEMPT: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(20);

/// Restarts each side's cluster, after SIGTERM and after SIGKILL, in each round.
pub(crate) async fn measure(run: &Run, results: &mut Results) -> Result<()> {
    for side in run.programs.sides() {
        let fields = |round: u32, signal: &str| {
            json!({"part": "restart", "side": side.name(), "keys": run.restart_keys,
                   "round": round, "signal": signal})
        };
        let runs = || (1..=run.rounds).flat_map(|round| [(round, "SIGTERM"), (round, "SIGKILL")]);
        if runs().all(|(round, signal)| results.has(&fields(round, signal))) {
            continue;
        }
        run.say(&format!(
            "restart: {} writes {} keys",
            side.name(),
            run.restart_keys
        ));
        let (mut cluster, _ledger) = filled(run, side, NODES, VALUE_SIZE, run.restart_keys).await?;
        for (round, signal) in runs() {
            if results.has(&fields(round, signal)) {
                continue;
            }
            match signal {
                "SIGTERM" => cluster.stop_all()?,
                _ => cluster.kill_all(),
            }
            let took = started(&mut cluster).await?;
            run.say(&format!(
                "{}: first read {took:?} after a start that followed a {signal}",
                side.name()
            ));
            let mut sample = fields(round, signal);
            sample["seconds"] = json!(took.as_secs_f64());
            sample["resident_bytes"] = json!(cluster.resident()?);
            results.append(sample)?;
        }
        drop(cluster);
        run.clear()?;
    }
    Ok(())
}

/// Starts every node, and tries to read by way of each of them, each attempt on a connection of its own.
async fn started(cluster: &mut Cluster) -> Result<Duration> {
    let begun = Instant::now();
    cluster.start_all()?;
    let cluster = &*cluster;
    loop {
        ensure!(
            begun.elapsed() < GIVE_UP,
            "no read within {} s of a start",
            GIVE_UP.as_secs()
        );
        let mut attempts = JoinSet::new();
        for node in 0..cluster.len() {
            if let Ok(mut backend) = cluster.connect_to(node, ATTEMPT).await {
                attempts.spawn(async move {
                    let read = timeout(ATTEMPT, backend.get(7)).await;
                    matches!(read, Ok(Ok(Some(found))) if found.write.is_some())
                });
            }
        }
        while let Some(read) = attempts.join_next().await {
            if read.unwrap_or(false) {
                return Ok(begun.elapsed());
            }
        }
        sleep(AGAIN).await;
    }
}
