//! A follower comes back to a cluster under load: what is written a second meanwhile, and how long it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::sleep;

use crate::cells::{close, connections, filled};
use crate::cluster::{Cluster, Side};
use crate::load::{Ledger, Load, Op, Shared};
use crate::results::Results;
use crate::run::Run;

const NODES: usize = 3;
const CLIENTS: u32 = 64;
const GIVE_UP: Duration = Duration::from_secs(120);
/// So near to the leader, in entries, counts as caught up under load.
const NEAR: u64 = 2000;

/// Once a round and side.
pub(crate) async fn measure(run: &Run, results: &mut Results) -> Result<()> {
    for round in 1..=run.rounds {
        for side in run.programs.sides() {
            let mut sample = json!({"part": "catch-up", "side": side.name(), "round": round});
            if results.has(&sample) {
                continue;
            }
            let (mut cluster, ledger) = filled(run, side, NODES, 256, run.keys).await?;
            let rates = rates(run, &mut cluster, &ledger).await?;
            drop(cluster);
            run.clear()?;
            run.say(&said(round, side, &rates));
            sample["all_per_second"] = json!(rates.all);
            sample["without_per_second"] = json!(rates.without);
            sample["catching_up_per_second"] = json!(rates.catching_up);
            sample["seconds"] = json!(rates.took.as_secs_f64());
            sample["behind_entries"] = json!(rates.behind);
            results.append(sample)?;
        }
    }
    Ok(())
}

/// Puts a second.
struct Rates {
    /// With all nodes there.
    all: f64,
    /// While the follower is away.
    without: f64,
    /// From its start until it has caught up.
    catching_up: f64,
    took: Duration,
    /// How far behind it was when it was started.
    behind: u64,
}

async fn rates(run: &Run, cluster: &mut Cluster, ledger: &Arc<Ledger>) -> Result<Rates> {
    let leader = cluster.leader_within(GIVE_UP).await?;
    let follower = (leader + 1) % cluster.len();
    let backends = cluster.connect(connections(CLIENTS)).await?;
    let load = Load::begin(&backends, ledger, Op::Put, CLIENTS);
    sleep(run.warm_up).await;
    let all = rate(&load.shared, run.time).await;
    let before = cluster.applied(follower).await?;
    cluster.kill(follower);
    sleep(run.warm_up).await;
    let without = rate(&load.shared, run.time).await;
    let behind = cluster.applied(leader).await?.saturating_sub(before);
    cluster.start_node(follower)?;
    let (begun, answered) = (Instant::now(), load.shared.answered());
    loop {
        ensure!(begun.elapsed() < GIVE_UP, "the follower does not catch up");
        sleep(Duration::from_millis(20)).await;
        if let Ok(there) = cluster.applied(follower).await {
            let target = cluster
                .applied(leader)
                .await
                .context("the leader is gone")?;
            if there + NEAR >= target {
                break;
            }
        }
    }
    let took = begun.elapsed();
    let catching_up = (load.shared.answered() - answered) as f64 / took.as_secs_f64();
    let counts = load.end().await?;
    ensure!(
        counts.wrong == 0,
        "a wrong answer: {:?}",
        counts.first_wrong
    );
    close(&backends).await;
    Ok(Rates {
        all,
        without,
        catching_up,
        took,
        behind,
    })
}

async fn rate(shared: &Shared, time: Duration) -> f64 {
    let (begun, answered) = (Instant::now(), shared.answered());
    sleep(time).await;
    (shared.answered() - answered) as f64 / begun.elapsed().as_secs_f64()
}

fn said(round: u32, side: Side, rates: &Rates) -> String {
    format!(
        "catch-up: round {round}: {}: {:.0} puts/s with all, {:.0} without a follower, {:.0} while it catches up on {} entries in {:?}",
        side.name(),
        rates.all,
        rates.without,
        rates.catching_up,
        rates.behind,
        rates.took
    )
}
