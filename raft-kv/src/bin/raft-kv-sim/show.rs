//! One seed, shown.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use raft_kv::sim::{Mark, Record, Report, html, replay, run_kv, shrink, trace_json};

use crate::arguments::Arguments;

/// How many other runs shrinking may try.
const SHRINK_RUNS: usize = 400;

/// Runs one seed; whether it went well.
pub(crate) fn one(arguments: &Arguments, seed: u64) -> Result<bool, String> {
    let setup = arguments.setup(seed);
    let whole = arguments.trace.is_some() || arguments.html.is_some();
    let mut report = run_kv(&setup, whole);
    println!(
        "seed {seed}: {} nodes, {} clients, faults: {}",
        setup.nodes, setup.clients, setup.faults
    );
    println!(
        "{:.1} s of virtual time, {} operations acknowledged, {} entries committed, {} elections",
        report.ended.as_secs_f64(),
        report.acknowledged,
        report.committed,
        report.elections
    );
    println!("{} records, hash {:016x}", report.steps, report.hash);
    let marks: Vec<String> = Mark::ALL
        .into_iter()
        .filter(|mark| report.marks.count(*mark) > 0)
        .map(|mark| format!("{mark:?} {}", report.marks.count(mark)))
        .collect();
    println!("marks: {}", marks.join(", "));
    if let Some(what) = &report.inconclusive {
        println!("inconclusive: {what}");
    }
    let good = report.violation.is_none();
    if !good && arguments.shrink {
        println!("\nlooking for a smaller run…");
        report = shrink(report, SHRINK_RUNS, |setup| run_kv(setup, false));
        if whole {
            report = run_kv(&report.setup, true);
        }
        let setup = &report.setup;
        println!(
            "{} nodes, {} clients, {:.3} s, faults: {}, {} of them at moments",
            setup.nodes,
            setup.clients,
            setup.horizon.as_secs_f64(),
            setup.faults,
            report.occurrences.len()
        );
    }
    failure(&report, arguments.last);
    if let Some(file) = &arguments.trace {
        write_to(file, |out| trace_json::write(&report.records, out))?;
    }
    if let Some(file) = &arguments.html {
        write_to(file, |out| out.write_all(html::page(&report).as_bytes()))?;
    }
    Ok(good)
}

/// Says what a run has violated, if it has.
pub(crate) fn failure(report: &Report, last: usize) {
    let Some(violation) = &report.violation else {
        return;
    };
    let seed = report.setup.seed;
    if last > 0 {
        println!("\nthe last events:");
        let skipped = report.records.len().saturating_sub(last);
        for record in report.records.iter().skip(skipped) {
            println!("{}", line(record));
        }
    }
    println!("\nseed {seed} violates {violation}");
    println!("replay: {}", replay(&report.setup));
}

/// A record in a line.
fn line(record: &Record) -> String {
    let node = record
        .node
        .map_or_else(|| "  -".into(), |node| format!("n{node:2}"));
    let what = format!("{:?}", record.what);
    let short: String = what.chars().take(200).collect();
    format!("{:>11.6} {node} {short}", record.at.as_secs_f64())
}

fn write_to(
    file: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", file.display());
    let mut out = BufWriter::new(File::create(file).map_err(failed)?);
    write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    println!("wrote {}", file.display());
    Ok(())
}
