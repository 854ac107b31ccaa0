//! What is done to a cluster under load. Each scenario ends with a check of the ledger.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Load, Verdict};
use crate::local::{LocalCluster, wait_for};
use crate::random::Random;

/// How long anything may take that has to happen sooner or later.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many writes, begun after a fault, show that the cluster works again.
const WRITES_THAT_SHOW: u64 = 20;

/// How long writes stood still at each kill.
#[derive(Clone, Debug, Default)]
pub struct Gaps(Vec<Duration>);

impl Gaps {
    /// The one in the middle; for an even number the longer of the two.
    #[must_use]
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// The longest.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }
}

/// Kills the leader with SIGKILL `kills` times while writers write, and starts it again once writes go on.
///
/// # Errors
/// When a promise was broken, or the cluster does not recover.
pub fn kill_leaders(
    cluster: &mut LocalCluster,
    kills: u32,
    writers: u8,
    random: &mut Random,
) -> Result<(Gaps, Verdict)> {
    let load = Load::start(&cluster.client(), "leader-", writers)?;
    let mut gaps = Gaps::default();
    for kill in 1..=kills {
        load.wait_acknowledged(random.within(20, 200), PATIENCE)?;
        cluster.all_well()?;
        let leader = wait_for("a leader", PATIENCE, || cluster.client().leader())?;
        let killed_at = Instant::now();
        cluster.node(leader)?.kill()?;
        load.wait_acknowledged(WRITES_THAT_SHOW, PATIENCE)
            .context("after a kill of the leader")?;
        let gap = load.longest_silence(killed_at);
        println!(
            "kill {kill}: n{leader}; writes stood still for {:.2} s",
            gap.as_secs_f64()
        );
        gaps.0.push(gap);
        cluster.start(leader)?;
        wait_caught_up(cluster, leader, PATIENCE)?;
    }
    Ok((gaps, finish(cluster, load)?))
}

/// Kills all nodes at once `rounds` times while writers write, and starts them again.
///
/// # Errors
/// When a promise was broken, or the cluster does not recover.
pub fn kill_all(
    cluster: &mut LocalCluster,
    rounds: u32,
    writers: u8,
    random: &mut Random,
) -> Result<Verdict> {
    let load = Load::start(&cluster.client(), "all-", writers)?;
    for round in 1..=rounds {
        load.wait_acknowledged(random.within(20, 200), PATIENCE)?;
        cluster.all_well()?;
        for id in cluster.ids() {
            cluster.node(id)?.kill()?;
        }
        let started_at = Instant::now();
        cluster.start_all()?;
        load.wait_acknowledged(WRITES_THAT_SHOW, PATIENCE)
            .context("after a kill of all nodes")?;
        let back = started_at.elapsed();
        println!(
            "kill {round}: all nodes; writes went on {:.2} s after their start",
            back.as_secs_f64()
        );
        for id in cluster.ids() {
            wait_caught_up(cluster, id, PATIENCE)?;
        }
    }
    finish(cluster, load)
}

/// Keeps one follower down for at least `entries` log entries, lets it catch up, and then has it carry on with one
/// other node only.
///
/// # Errors
/// When a promise was broken, or the node does not catch up.
pub fn lag_behind(cluster: &mut LocalCluster, entries: u64, writers: u8) -> Result<Verdict> {
    let load = Load::start(&cluster.client(), "lag-", writers)?;
    load.wait_acknowledged(WRITES_THAT_SHOW, PATIENCE)?;
    let leader = cluster.client().leader()?;
    let laggard = cluster
        .ids()
        .into_iter()
        .find(|id| *id != leader)
        .context("there is only one node")?;
    cluster.node(laggard)?.kill()?;
    let target = position(cluster, leader, "commit")? + entries;
    while position(cluster, cluster.client().leader()?, "commit")? < target {
        let bench = [
            "bench",
            "--op",
            "put",
            "--clients",
            "64",
            "--seconds",
            "2",
            "--value-size",
            "256",
        ];
        // Each run ends after its seconds, and only then need answer.
        cluster
            .client()
            .with_timeout(PATIENCE)
            .run(&bench)?
            .success()?;
    }
    let last = position(cluster, leader, "commit")?;
    cluster.start(laggard)?;
    let begun = Instant::now();
    wait_for(
        &format!("n{laggard} to have applied {last}"),
        PATIENCE * 3,
        || {
            let applied = position(cluster, laggard, "applied")?;
            ensure!(applied >= last, "n{laggard} has applied {applied}");
            Ok(())
        },
    )?;
    println!(
        "n{laggard} was down for {entries} entries and caught up in {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    // Now nothing can be acknowledged without it.
    let other = cluster.client().leader()?;
    let other = if other == laggard { leader } else { other };
    cluster.node(other)?.kill()?;
    load.wait_acknowledged(WRITES_THAT_SHOW, PATIENCE)
        .context("with the node that had lagged behind")?;
    finish(cluster, load)
}

/// From one node to three, to five, and back to three, while writers write: each node is taken in, and the last two leaders are taken out,
/// while another node is killed at some moment of it, and started again.
///
/// # Errors
/// When a promise was broken, a change does not come to its end, or the membership is not what it should be.
pub fn grow_and_shrink(
    cluster: &mut LocalCluster,
    writers: u8,
    random: &mut Random,
) -> Result<Verdict> {
    let load = Load::start(&cluster.client(), "grow-", writers)?;
    load.wait_acknowledged(WRITES_THAT_SHOW, PATIENCE)?;
    for _ in 0..4 {
        let id = cluster.add()?;
        let (name, address) = (id.to_string(), cluster.endpoint(id));
        let add = ["member", "add", &name, &address, "--voter"];
        change_while_one_is_killed(cluster, &add, id, random)?;
        load.wait_acknowledged(WRITES_THAT_SHOW, PATIENCE)
            .with_context(|| format!("after n{id} was taken in"))?;
        println!("n{id} votes");
    }
    for _ in 0..2 {
        let leader = wait_for("a leader", PATIENCE, || cluster.client().leader())?;
        let remove = ["member", "remove", &leader.to_string()];
        change_while_one_is_killed(cluster, &remove, leader, random)?;
        cluster.remove(leader)?;
        load.wait_acknowledged(WRITES_THAT_SHOW, PATIENCE)
            .with_context(|| format!("after n{leader} was taken out"))?;
        println!("n{leader}, which led, is out");
    }
    let mut voters = voters(cluster)?;
    voters.sort_unstable();
    ensure!(
        voters == cluster.ids(),
        "{voters:?} vote, and {:?} are there",
        cluster.ids()
    );
    finish(cluster, load)
}

/// Asks for a change again and again until it is so, while a node other than `id` is killed at some moment of the first try.
fn change_while_one_is_killed(
    cluster: &mut LocalCluster,
    change: &[&str],
    id: u8,
    random: &mut Random,
) -> Result<()> {
    let others: Vec<u8> = cluster
        .ids()
        .into_iter()
        .filter(|other| *other != id)
        .collect();
    let victim = usize::try_from(random.within(0, others.len() as u64 - 1))?;
    let victim = others
        .get(victim)
        .copied()
        .context("there is nobody else")?;
    let mut first_try = cluster
        .client()
        .with_timeout(Duration::from_secs(2))
        .command();
    first_try
        .args(change)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut first_try = first_try.spawn().context("cannot start raft-cli")?;
    std::thread::sleep(Duration::from_millis(random.within(0, 150)));
    cluster.node(victim)?.kill()?;
    cluster.start(victim)?;
    first_try.wait()?;
    let adds = change.contains(&"add");
    wait_for(&change.join(" "), PATIENCE, || {
        let answer = cluster
            .client()
            .with_timeout(Duration::from_secs(5))
            .run(change)?;
        let votes = voters(cluster)?.contains(&id);
        ensure!(votes == adds, "{}", answer.stderr.trim_end());
        Ok(())
    })
}

/// Who votes, as the leader has it.
fn voters(cluster: &LocalCluster) -> Result<Vec<u8>> {
    let listed = cluster.client().json(&["member", "list"])?;
    let members = listed.get("members").and_then(Value::as_array);
    let voter = |member: &Value| {
        let votes = member.get("voter")?.as_bool()?;
        let id = u8::try_from(member.get("id")?.as_u64()?).ok()?;
        votes.then_some(id)
    };
    Ok(members.into_iter().flatten().filter_map(voter).collect())
}

/// Ends the load and compares what its writers were told with what the store holds.
fn finish(cluster: &mut LocalCluster, load: Load) -> Result<Verdict> {
    let prefix = load.prefix().to_owned();
    let ledger = load.finish()?;
    cluster.all_well()?;
    ledger.check(&cluster.client().with_timeout(PATIENCE), &prefix)
}

/// Waits until a node that was started again has applied what was committed when this was called.
fn wait_caught_up(cluster: &LocalCluster, id: u8, within: Duration) -> Result<()> {
    let leader = wait_for("a leader", within, || cluster.client().leader())?;
    let last = wait_for("the leader's position", within, || {
        position(cluster, leader, "commit")
    })?;
    wait_for(&format!("n{id} to have applied {last}"), within, || {
        let applied = position(cluster, id, "applied")?;
        ensure!(applied >= last, "it has applied {applied}");
        Ok(())
    })
}

/// A number that a member's row in `raft-cli status` holds.
fn position(cluster: &LocalCluster, id: u8, field: &str) -> Result<u64> {
    let members = cluster.client().members()?;
    let member = members
        .iter()
        .find(|member| member.get("id").and_then(Value::as_u64) == Some(id.into()));
    let number = member
        .and_then(|member| member.get(field))
        .and_then(Value::as_u64);
    number.with_context(|| format!("n{id} says no `{field}`: {}", Value::from(members)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_the_mean() {
        let gaps = Gaps([1, 9, 2, 3].map(Duration::from_secs).to_vec());
        assert_eq!(gaps.median(), Duration::from_secs(3));
        assert_eq!(gaps.longest(), Duration::from_secs(9));
        assert_eq!(Gaps::default().median(), Duration::ZERO);
    }
}
