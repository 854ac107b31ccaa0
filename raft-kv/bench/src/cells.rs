//! The loads: what is asked, of how many nodes, with how many clients, keys and bytes; both sides in turns.
//!
//! Each round begins with empty directories and writes every key once. Within it the sides take turns at every cell, and who begins
//! changes. While one side is measured, the other's processes are stopped (SIGSTOP): they do nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::cluster::{Cluster, Side, Syncs};
use crate::load::{Counts, Ledger, Load, Op, preload, read_back};
use crate::results::Results;
use crate::run::Run;
use crate::system::{self, Usage};

/// How many keys are written at once before a load, and over how many connections.
const PRELOAD_AT_ONCE: usize = 256;
const PRELOAD_CONNECTIONS: u32 = 4;
/// How many clients share a connection, and how many connections that makes at most.
const CLIENTS_A_CONNECTION: u32 = 64;
const CONNECTIONS_MAX: u32 = 8;
/// All values of a cluster together are at most so large, or there are fewer keys.
const STATE_BYTES_MAX: usize = 64 << 20;

/// Cells that are measured on one pair of clusters.
pub(crate) struct Group {
    pub(crate) part: &'static str,
    pub(crate) nodes: usize,
    pub(crate) value_size: usize,
    pub(crate) keys: u32,
    pub(crate) cells: Vec<(Op, u32)>,
}

impl Group {
    /// The issue of the whole: each op with each number of clients.
    pub(crate) fn load(run: &Run) -> Vec<Group> {
        let clients = || run.clients.iter();
        let cells = run
            .ops
            .iter()
            .flat_map(|op| clients().map(move |clients| (*op, *clients)));
        vec![Group {
            part: "load",
            nodes: 3,
            value_size: 256,
            keys: run.keys,
            cells: cells.collect(),
        }]
    }

    /// How figures change with the number of nodes.
    pub(crate) fn nodes(run: &Run) -> Vec<Group> {
        let group = |nodes| Group {
            part: "nodes",
            nodes,
            value_size: 256,
            keys: run.keys,
            cells: vec![(Op::Put, 64), (Op::Get, 64)],
        };
        [3, 5, 7].map(group).into()
    }

    /// How figures change with the size of the values.
    pub(crate) fn values(run: &Run) -> Vec<Group> {
        let group = |value_size: usize| Group {
            part: "values",
            nodes: 3,
            value_size,
            keys: run
                .keys
                .min(u32::try_from(STATE_BYTES_MAX / value_size).unwrap_or(u32::MAX)),
            cells: vec![(Op::Put, 16), (Op::Get, 16)],
        };
        [16, 256, 4 << 10, 64 << 10, 1 << 20].map(group).into()
    }

    /// How figures change with the number of keys.
    pub(crate) fn keys(_: &Run) -> Vec<Group> {
        let group = |keys| Group {
            part: "keys",
            nodes: 3,
            value_size: 256,
            keys,
            cells: vec![(Op::Put, 64), (Op::Get, 64)],
        };
        [10_000, 100_000, 1_000_000].map(group).into()
    }

    fn fields(&self, side: Side, round: u32) -> Value {
        json!({
            "part": self.part, "nodes": self.nodes, "value_size": self.value_size, "keys": self.keys,
            "side": side.name(), "round": round,
        })
    }

    fn cell_fields(&self, side: Side, round: u32, (op, clients): (Op, u32)) -> Value {
        let mut fields = self.fields(side, round);
        fields["op"] = json!(op.name());
        fields["clients"] = json!(clients);
        fields
    }

    fn missing(&self, results: &Results, side: Side, round: u32) -> bool {
        let cell = |cell| !results.has(&self.cell_fields(side, round, cell));
        self.cells.iter().copied().any(cell)
    }

    /// Measures what is not in the results yet.
    pub(crate) async fn measure(&self, run: &Run, results: &mut Results) -> Result<()> {
        for round in 1..=run.rounds {
            self.round(run, results, round).await?;
            run.clear()?;
        }
        Ok(())
    }

    async fn round(&self, run: &Run, results: &mut Results, round: u32) -> Result<()> {
        let mut contenders = Vec::new();
        for side in run.programs.sides() {
            if self.missing(results, side, round) {
                run.say(&format!(
                    "{}: round {round}: {} writes {} keys",
                    self.part,
                    side.name(),
                    self.keys
                ));
                contenders.push(Contender::start(self, run, side, round, results).await?);
            }
        }
        for (number, cell) in (0_u32..).zip(&self.cells) {
            // Who begins changes from cell to cell and from round to round.
            let odd = (number + round) % 2 == 1;
            let order: Vec<usize> = match odd {
                true => (0..contenders.len()).collect(),
                false => (0..contenders.len()).rev().collect(),
            };
            for contender in order {
                let contender = &mut contenders[contender];
                let fields = self.cell_fields(contender.cluster.side, round, *cell);
                if !results.has(&fields) {
                    let sample = contender.measure(run, *cell, fields).await?;
                    run.say(&line(&sample));
                    results.append(sample.clone())?;
                    if let Some(wrong) = sample.get("first_wrong").and_then(Value::as_str) {
                        bail!("a wrong answer: {wrong}");
                    }
                }
            }
        }
        Ok(())
    }
}

/// A cluster that was written to, and is paused between its turns.
struct Contender {
    cluster: Cluster,
    ledger: Arc<Ledger>,
}

impl Contender {
    async fn start(
        group: &Group,
        run: &Run,
        side: Side,
        round: u32,
        results: &mut Results,
    ) -> Result<Contender> {
        let (cluster, ledger) =
            filled(run, side, group.nodes, group.value_size, group.keys).await?;
        let mut fields = group.fields(side, round);
        fields["kind"] = json!("memory");
        if !results.has(&fields) {
            fields["resident_bytes"] = json!(cluster.resident()?);
            results.append(fields)?;
        }
        cluster.pause()?;
        Ok(Contender { cluster, ledger })
    }

    async fn measure(&mut self, run: &Run, cell: (Op, u32), mut sample: Value) -> Result<Value> {
        let (op, clients) = cell;
        self.cluster.resume().await?;
        let backends = self.cluster.connect(connections(clients)).await?;
        let before = Costs::now(run, &self.cluster).await?;
        let load = Load::begin(&backends, &self.ledger, op, clients);
        let (counts, latencies, measured) = load.measure(run.warm_up, run.time).await?;
        let costs = Costs::now(run, &self.cluster).await?.since(before);
        let read_back = match op {
            Op::Get => 0,
            Op::Put | Op::Mix => read_back(&backends, &self.ledger).await?,
        };
        for backend in &backends {
            backend.close().await;
        }
        let resident = self.cluster.resident()?;
        self.cluster.pause()?;
        sample["kind"] = json!("cell");
        sample["connections"] = json!(backends.len());
        sample["read_back"] = json!(read_back);
        sample["resident_bytes"] = json!(resident);
        sample["load_average"] = json!(system::load_average());
        figures(&mut sample, &counts, &latencies, measured);
        costs.write(&mut sample, &counts);
        Ok(sample)
    }
}

/// A new cluster in which every key was written once.
pub(crate) async fn filled(
    run: &Run,
    side: Side,
    nodes: usize,
    value_size: usize,
    keys: u32,
) -> Result<(Cluster, Arc<Ledger>)> {
    let mut cluster = Cluster::start(side, &run.programs, &run.dir, nodes, value_size).await?;
    let ledger = Arc::new(Ledger::new(keys, value_size));
    let backends = cluster.connect(PRELOAD_CONNECTIONS).await?;
    preload(&backends, &ledger, PRELOAD_AT_ONCE).await?;
    close(&backends).await;
    Ok((cluster, ledger))
}

pub(crate) async fn close(backends: &[Backend]) {
    for backend in backends {
        backend.close().await;
    }
}

/// How many connections so many clients share; the same on both sides.
pub(crate) fn connections(clients: u32) -> u32 {
    clients
        .div_ceil(CLIENTS_A_CONNECTION)
        .clamp(1, CONNECTIONS_MAX)
}

/// What both servers and generator have used.
struct Costs {
    servers: Usage,
    generator: Usage,
    syncs: Syncs,
    /// Of the whole machine.
    disk_bytes: Option<f64>,
}

impl Costs {
    async fn now(run: &Run, cluster: &Cluster) -> Result<Costs> {
        Ok(Costs {
            syncs: cluster.syncs().await?,
            servers: cluster.usage()?,
            generator: Usage::of(&[std::process::id()])?,
            disk_bytes: system::disk_bytes_written(&run.dir),
        })
    }

    fn since(self, before: Costs) -> Costs {
        Costs {
            servers: self.servers.since(before.servers),
            generator: self.generator.since(before.generator),
            disk_bytes: self
                .disk_bytes
                .zip(before.disk_bytes)
                .map(|(now, before)| now - before),
            syncs: Syncs {
                log: self.syncs.log - before.syncs.log,
                backend: self.syncs.backend - before.syncs.backend,
            },
        }
    }

    /// Everything that was answered has a part in it, the warm-up too.
    fn write(&self, sample: &mut Value, counts: &Counts) {
        let ops = counts.all_ops.max(1) as f64;
        sample["servers_cpu_us_per_op"] = json!(self.servers.cpu_seconds * 1e6 / ops);
        sample["generator_cpu_us_per_op"] = json!(self.generator.cpu_seconds * 1e6 / ops);
        if counts.all_puts > 0 {
            let puts = counts.all_puts as f64;
            sample["log_syncs_per_put"] = json!(self.syncs.log / puts);
            sample["backend_commits_per_put"] = json!(self.syncs.backend / puts);
            sample["disk_bytes_per_put"] = json!(self.disk_bytes.map(|bytes| bytes / puts));
            sample["accounted_bytes_per_put"] = json!(self.servers.bytes_accounted / puts);
        }
    }
}

fn figures(sample: &mut Value, counts: &Counts, latencies: &Histogram<u64>, measured: Duration) {
    sample["seconds"] = json!(measured.as_secs_f64());
    sample["ops"] = json!(counts.ops);
    sample["ops_per_second"] = json!(counts.ops as f64 / measured.as_secs_f64());
    for (name, quantile) in [
        ("p50_us", 0.5),
        ("p99_us", 0.99),
        ("p999_us", 0.999),
        ("max_us", 1.0),
    ] {
        sample[name] = json!(latencies.value_at_quantile(quantile));
    }
    sample["errors"] = json!(counts.errors);
    sample["unknown"] = json!(counts.unknown);
    sample["wrong"] = json!(counts.wrong);
    if let Some(error) = &counts.first_error {
        sample["first_error"] = json!(error);
    }
    if let Some(wrong) = &counts.first_wrong {
        sample["first_wrong"] = json!(wrong);
    }
}

/// A sample in a line, to be watched.
fn line(sample: &Value) -> String {
    let text = |name: &str| match sample.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let number = |name: &str| sample.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let mut line = format!(
        "round {}: {} {}, {} clients, {} nodes, {} keys of {} bytes: {:.0}/s, p50 {} µs, p99 {} µs, servers' CPU {:.1} µs/op",
        text("round"),
        text("side"),
        text("op"),
        text("clients"),
        text("nodes"),
        text("keys"),
        text("value_size"),
        number("ops_per_second"),
        text("p50_us"),
        text("p99_us"),
        number("servers_cpu_us_per_op"),
    );
    let failed = number("errors") + number("unknown");
    if failed > 0.0 {
        line += &format!(", {failed} errors, the first: {}", text("first_error"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_for_many_clients() {
        let made: Vec<u32> = [1, 16, 64, 65, 256, 1000].map(connections).into();
        assert_eq!(made, [1, 1, 1, 2, 4, 8]);
    }
}
