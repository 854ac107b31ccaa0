//! The tables of what is no load: memory, failover, restart, a follower that catches up.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{SIDES, figures, header, median, row, short, with_spread};
use crate::failover;
use crate::results::Results;

/// The mean of the nodes, of each sample.
pub(super) fn mib_a_node(samples: &[&Value]) -> Vec<f64> {
    let of = |sample: &&Value| {
        let nodes = sample["resident_bytes"].as_array()?;
        let sum: f64 = nodes.iter().filter_map(Value::as_f64).sum();
        Some(sum / nodes.len().max(1) as f64 / f64::from(1 << 20))
    };
    samples.iter().filter_map(of).collect()
}

pub(super) fn memory(out: &mut String, results: &Results) {
    let lines: Vec<&Value> = results.of(json!({"kind": "memory"})).collect();
    let mut shapes: Vec<Value> = Vec::new();
    for line in &lines {
        let shape =
            json!({"nodes": line["nodes"], "value_size": line["value_size"], "keys": line["keys"]});
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    if shapes.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## Memory, right after every key was written once\n");
    header(
        out,
        &[
            "nodes",
            "value",
            "keys",
            "raft-kv MiB a node",
            "etcd MiB a node",
            "ratio",
        ],
    );
    for shape in shapes {
        let fits = |line: &Value| {
            ["nodes", "value_size", "keys"]
                .iter()
                .all(|name| line[*name] == shape[*name])
        };
        let of = |side: &str| {
            let mine: Vec<&Value> = lines
                .iter()
                .copied()
                .filter(|l| l["side"] == side && fits(l))
                .collect();
            mib_a_node(&mine)
        };
        let (ours, theirs) = (of(SIDES[0]), of(SIDES[1]));
        row(
            out,
            &[
                shape["nodes"].to_string(),
                shape["value_size"].to_string(),
                shape["keys"].to_string(),
                with_spread(&ours),
                with_spread(&theirs),
                medians_ratio(&ours, &theirs),
            ],
        );
    }
}

fn medians_ratio(ours: &[f64], theirs: &[f64]) -> String {
    match (median(ours), median(theirs)) {
        (Some(ours), Some(theirs)) => format!("**{}×**", short(ours / theirs)),
        _ => "–".to_owned(),
    }
}

pub(super) fn failover(out: &mut String, results: &Results) {
    let of = |side: &str| {
        figures(
            &results
                .of(json!({"part": "failover", "side": side}))
                .collect::<Vec<_>>(),
            "gap_ms",
        )
    };
    let sides = SIDES.map(of);
    if sides.iter().all(Vec::is_empty) {
        return;
    }
    let _ = writeln!(out, "\n## When the leader dies\n\n{}.\n", failover::METHOD);
    header(out, &["who", "kills", "gap in ms"]);
    for (name, gaps) in SIDES.iter().zip(&sides) {
        row(
            out,
            &[
                (*name).to_owned(),
                gaps.len().to_string(),
                with_spread(gaps),
            ],
        );
    }
    let _ = writeln!(
        out,
        "\nRatio of the medians: {}.",
        medians_ratio(&sides[0], &sides[1])
    );
}

pub(super) fn restart(out: &mut String, results: &Results) {
    if results.of(json!({"part": "restart"})).next().is_none() {
        return;
    }
    let _ = writeln!(
        out,
        "\n## Restart of all nodes, to the first linearizable read, in seconds\n"
    );
    header(out, &["ended by", "keys", "raft-kv", "etcd", "ratio"]);
    for signal in ["SIGTERM", "SIGKILL"] {
        let lines = |side: &str| {
            results
                .of(json!({"part": "restart", "side": side, "signal": signal}))
                .collect::<Vec<_>>()
        };
        let [ours, theirs] = SIDES.map(|side| figures(&lines(side), "seconds"));
        let keys = lines(SIDES[0])
            .first()
            .map_or(Value::Null, |line| line["keys"].clone());
        row(
            out,
            &[
                signal.to_owned(),
                keys.to_string(),
                with_spread(&ours),
                with_spread(&theirs),
                medians_ratio(&ours, &theirs),
            ],
        );
    }
}

pub(super) fn catch_up(out: &mut String, results: &Results) {
    if results.of(json!({"part": "catch-up"})).next().is_none() {
        return;
    }
    let _ = writeln!(out, "\n## A follower catches up, 64 clients that put\n");
    header(
        out,
        &[
            "who",
            "puts/s with all",
            "without it",
            "while it catches up",
            "entries behind",
            "seconds to catch up",
        ],
    );
    for side in SIDES {
        let lines: Vec<&Value> = results
            .of(json!({"part": "catch-up", "side": side}))
            .collect();
        let of = |name: &str| with_spread(&figures(&lines, name));
        row(
            out,
            &[
                side.to_owned(),
                of("all_per_second"),
                of("without_per_second"),
                of("catching_up_per_second"),
                of("behind_entries"),
                of("seconds"),
            ],
        );
    }
}
