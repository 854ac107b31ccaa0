//! The tables, as Markdown, from what is in the results file.

mod parts;

use std::fmt::Write;

use serde_json::{Value, json};

use self::parts::{catch_up, failover, memory, mib_a_node, restart};
use crate::results::Results;

/// Our side first.
const SIDES: [&str; 2] = ["raft-kv", "etcd"];

/// Everything that was measured.
pub(crate) fn text(results: &Results) -> String {
    let mut out = String::new();
    head(&mut out, results);
    limits(&mut out, results);
    for (part, title) in [
        ("load", "Loads"),
        ("nodes", "By the number of nodes"),
        ("values", "By the size of the values"),
        ("keys", "By the number of keys"),
    ] {
        cells(&mut out, results, part, title);
    }
    memory(&mut out, results);
    failover(&mut out, results);
    restart(&mut out, results);
    catch_up(&mut out, results);
    out
}

/// The same cell of both sides, all rounds.
pub(crate) struct Pair<'a> {
    /// What the cell is: its fields without side and round.
    pub(crate) cell: Value,
    /// By round, as they were measured; ours first.
    pub(crate) samples: [Vec<&'a Value>; 2],
}

impl Pair<'_> {
    /// The values of a figure of one side.
    pub(crate) fn figures(&self, side: usize, name: &str) -> Vec<f64> {
        figures(&self.samples[side], name)
    }

    /// The ratio of the medians, and the least and the most that it was in one round.
    fn ratio(&self, name: &str) -> Option<(f64, f64, f64)> {
        ratio(&self.samples[0], &self.samples[1], name)
    }
}

/// The cells of a part, in the order in which they were first measured.
pub(crate) fn pairs<'a>(results: &'a Results, part: &str) -> Vec<Pair<'a>> {
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    for line in results.of(json!({"kind": "cell", "part": part})) {
        let mut cell = json!({});
        for name in ["op", "clients", "nodes", "value_size", "keys"] {
            cell[name] = line[name].clone();
        }
        let Some(side) = SIDES.iter().position(|side| line["side"] == *side) else {
            continue;
        };
        match pairs.iter_mut().find(|pair| pair.cell == cell) {
            Some(pair) => pair.samples[side].push(line),
            None => {
                let mut samples = [Vec::new(), Vec::new()];
                samples[side].push(line);
                pairs.push(Pair { cell, samples });
            }
        }
    }
    pairs
}

fn figures(samples: &[&Value], name: &str) -> Vec<f64> {
    samples
        .iter()
        .filter_map(|sample| sample[name].as_f64())
        .collect()
}

fn ratio(ours: &[&Value], theirs: &[&Value], name: &str) -> Option<(f64, f64, f64)> {
    let their_median = median(&figures(theirs, name)).filter(|median| *median > 0.0)?;
    let median = median(&figures(ours, name))? / their_median;
    let of_rounds: Vec<f64> = ours
        .iter()
        .filter_map(|our| {
            let their = theirs.iter().find(|their| their["round"] == our["round"])?;
            Some(our[name].as_f64()? / their[name].as_f64()?)
        })
        .collect();
    let (least, most) = spread(&of_rounds)?;
    Some((median, least, most))
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some((upper + lower) / 2.0)
}

pub(crate) fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.iter().copied().reduce(f64::max)?;
    Some((least, most))
}

fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn with_spread(values: &[f64]) -> String {
    match (median(values), spread(values)) {
        (Some(median), Some((least, most))) => {
            format!("{} ({}–{})", short(median), short(least), short(most))
        }
        _ => "–".to_owned(),
    }
}

fn plain(values: &[f64]) -> String {
    median(values).map_or_else(|| "–".to_owned(), short)
}

fn ratio_text(ratio: Option<(f64, f64, f64)>) -> String {
    ratio.map_or_else(
        || "–".to_owned(),
        |(median, least, most)| {
            format!("**{}×** ({}–{})", short(median), short(least), short(most))
        },
    )
}

fn row(out: &mut String, cells: &[String]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn header(out: &mut String, columns: &[&str]) {
    row(
        out,
        &columns.iter().map(|&c| c.to_owned()).collect::<Vec<_>>(),
    );
    row(
        out,
        &columns.iter().map(|_| "---".to_owned()).collect::<Vec<_>>(),
    );
}

fn head(out: &mut String, results: &Results) {
    let settings = results.settings();
    let machine = &settings["machine"];
    let _ = writeln!(
        out,
        "raft-kv {} beside etcd {}; {} s after {} s of warm-up, in turns; {} cores of {}, {} MiB, Linux {}. \
         Medians of the rounds, in brackets the least and the most; a ratio is ours to etcd's.",
        settings["build"].as_str().unwrap_or("?"),
        settings["etcd"].as_str().unwrap_or("(not measured)"),
        settings["seconds"],
        settings["warm_up"],
        machine["cores"],
        machine["processor"]
            .as_str()
            .unwrap_or("an unknown processor"),
        machine["memory_mib"],
        machine["kernel"].as_str().unwrap_or("?"),
    );
    let loads = results.of(json!({"kind": "cell"}));
    let loads: Vec<f64> = loads
        .filter_map(|line| line["load_average"].as_f64())
        .collect();
    if !loads.is_empty() {
        let _ = writeln!(
            out,
            "\nLoad average while it was measured, the bench included: {}.",
            with_spread(&loads)
        );
    }
}

fn limits(out: &mut String, results: &Results) {
    let samples: Vec<&Value> = results.of(json!({"part": "limits"})).collect();
    if samples.is_empty() {
        return;
    }
    let median_of = |name: &str| median(&figures(&samples, name)).unwrap_or(f64::NAN);
    let (three, trip) = (median_of("sync_of_three_us"), median_of("round_trip_us"));
    let least = three + 2.0 * trip;
    let _ = writeln!(
        out,
        "\n## Limits of the machine\n\nfdatasync of a written block: {} µs alone, {} µs when three processes do it at once; a round trip \
         over the loopback, whose ends sleep until the other has written: {} µs, {} µs when the processor had a millisecond to \
         fall asleep. So one put from one client takes {} µs at least.",
        short(median_of("sync_alone_us")),
        short(three),
        short(trip),
        short(median_of("rested_round_trip_us")),
        short(least),
    );
    for pair in pairs(results, "load") {
        if pair.cell["op"] == "put" && pair.cell["clients"] == 1 {
            for (side, name) in SIDES.iter().enumerate() {
                if let Some(p50) = median(&pair.figures(side, "p50_us")) {
                    let _ = writeln!(
                        out,
                        "{name}'s takes {} µs, {} times that.",
                        short(p50),
                        short(p50 / least)
                    );
                }
            }
        }
    }
}

fn cells(out: &mut String, results: &Results, part: &str, title: &str) {
    let pairs = pairs(results, part);
    if pairs.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## {title}\n");
    header(
        out,
        &[
            "op",
            "clients",
            "nodes",
            "value",
            "keys",
            "raft-kv ops/s",
            "etcd ops/s",
            "ratio",
            "p50 µs, ours / etcd",
            "p99 µs, ours / etcd",
            "p99 ratio",
            "p99.9 µs, ours / etcd",
            "errors",
        ],
    );
    for pair in &pairs {
        let both = |name: &str| {
            format!(
                "{} / {}",
                plain(&pair.figures(0, name)),
                plain(&pair.figures(1, name))
            )
        };
        let failed = |side| {
            ["errors", "unknown"]
                .iter()
                .flat_map(|n| pair.figures(side, n))
                .sum::<f64>()
        };
        let mut line = place(&pair.cell);
        line.extend([
            with_spread(&pair.figures(0, "ops_per_second")),
            with_spread(&pair.figures(1, "ops_per_second")),
            ratio_text(pair.ratio("ops_per_second")),
            both("p50_us"),
            both("p99_us"),
            ratio_text(pair.ratio("p99_us")),
            both("p999_us"),
            format!("{} / {}", failed(0), failed(1)),
        ]);
        row(out, &line);
    }
    let _ = writeln!(out, "\nWhat it costs; servers are all nodes together:\n");
    header(
        out,
        &[
            "op",
            "clients",
            "nodes",
            "value",
            "keys",
            "servers' CPU µs/op, ours / etcd",
            "ratio",
            "generator's CPU µs/op",
            "syncs of logs a put",
            "commits of etcd's backend a put",
            "bytes to the disk a put, of the whole machine",
            "resident MiB a node",
        ],
    );
    for pair in &pairs {
        let both = |name: &str| {
            format!(
                "{} / {}",
                plain(&pair.figures(0, name)),
                plain(&pair.figures(1, name))
            )
        };
        let resident = |side: usize| plain(&mib_a_node(&pair.samples[side]));
        let mut line = place(&pair.cell);
        line.extend([
            both("servers_cpu_us_per_op"),
            ratio_text(pair.ratio("servers_cpu_us_per_op")),
            both("generator_cpu_us_per_op"),
            both("log_syncs_per_put"),
            plain(&pair.figures(1, "backend_commits_per_put")),
            both("disk_bytes_per_put"),
            format!("{} / {}", resident(0), resident(1)),
        ]);
        row(out, &line);
    }
}

fn place(cell: &Value) -> Vec<String> {
    let text = |name: &str| match &cell[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    ["op", "clients", "nodes", "value_size", "keys"]
        .map(text)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 3.0)));
    }

    #[test]
    fn a_ratio_is_of_medians_and_its_spread_of_rounds() {
        let sample = |round: u32, figure: f64| json!({"round": round, "x": figure});
        let ours = [sample(1, 10.0), sample(2, 30.0), sample(3, 20.0)];
        let theirs = [sample(3, 10.0), sample(1, 10.0), sample(2, 5.0)];
        let (ours, theirs): (Vec<_>, Vec<_>) = (ours.iter().collect(), theirs.iter().collect());
        assert_eq!(ratio(&ours, &theirs, "x"), Some((2.0, 1.0, 6.0)));
    }
}
