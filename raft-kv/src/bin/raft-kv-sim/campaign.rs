//! Many seeds, on all cores.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use raft_kv::sim::{Mark, Marks, Report, run_kv};
use serde_json::json;

use crate::arguments::Arguments;
use crate::show;

/// After how many seeds it is written down where to go on.
const CHUNK: u64 = 500;
/// How many failures are shown whole; more are only counted.
const FAILURES_SHOWN: usize = 10;

/// What came of the runs so far.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) seeds: u64,
    pub(crate) failed: Vec<u64>,
    pub(crate) inconclusive: Vec<u64>,
    pub(crate) vacuous: Vec<u64>,
    pub(crate) acknowledged: u64,
    pub(crate) concurrent: u64,
    pub(crate) virtual_time: Duration,
    pub(crate) marks: Marks,
}

impl Totals {
    pub(crate) fn add(&mut self, report: &Report) {
        let seed = report.setup.seed;
        self.seeds += 1;
        if report.violation.is_some() {
            self.failed.push(seed);
        }
        if report.inconclusive.is_some() {
            self.inconclusive.push(seed);
        }
        if report.violation.is_none() && report.is_vacuous() {
            self.vacuous.push(seed);
        }
        self.acknowledged += report.acknowledged;
        self.concurrent += report.concurrent;
        self.virtual_time += report.ended;
        self.marks.add(&report.marks);
    }
}

/// Runs seeds from `first` on, `count` of them, until `until`; what came of each is handed to `take`, in no order, until that wants no
/// more.
pub(crate) fn all<T: Send>(
    first: u64,
    count: u64,
    until: Option<Instant>,
    jobs: usize,
    run: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(T) -> bool,
) {
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let end = first.saturating_add(count);
    std::thread::scope(|scope| {
        let (reports, inbox) = mpsc::channel();
        for _ in 0..jobs {
            let (reports, next, stop, run) = (reports.clone(), &next, &stop, &run);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && until.is_none_or(|until| Instant::now() < until)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || reports.send(run(seed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(reports);
        for report in inbox {
            if !take(report) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
}

/// How many runs go at the same time.
pub(crate) fn jobs(arguments: &Arguments) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.jobs.unwrap_or(cores).max(1)
}

/// Prints the hash of each seed's trace.
fn hashes(arguments: &Arguments) -> bool {
    let mut lines = Vec::new();
    let mut good = true;
    let count = arguments.seeds.unwrap_or(4);
    let run = |seed| run_kv(&arguments.setup(seed), false);
    all(
        arguments.first,
        count,
        None,
        jobs(arguments),
        run,
        |report| {
            good &= report.violation.is_none();
            lines.push((report.setup.seed, report.hash));
            true
        },
    );
    lines.sort_unstable();
    for (seed, hash) in lines {
        println!("{seed} {hash:016x}");
    }
    good
}

/// Runs the seeds that were asked for; whether all went well.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    if arguments.hashes {
        return Ok(hashes(arguments));
    }
    let begun = Instant::now();
    let until = arguments.minutes.map(|minutes| {
        begun + Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::ZERO)
    });
    let default = if until.is_some() { u64::MAX / 2 } else { 100 };
    let count = arguments.seeds.unwrap_or(default);
    let mut totals = Totals::default();
    let mut first = arguments.first;
    let end = first.saturating_add(count);
    if let Some(file) = &arguments.resume {
        (first, totals.failed) = resumed(file, first)?;
    }
    let bar = bar(
        end.saturating_sub(first),
        until.is_some() && arguments.seeds.is_none(),
    );
    let jobs = jobs(arguments);
    while first < end && until.is_none_or(|until| Instant::now() < until) {
        // In chunks, each whole, so that there is always a seed to go on from.
        let count = (end - first).min(CHUNK);
        let mut chunk = Totals::default();
        all(
            first,
            count,
            until,
            jobs,
            |seed| run_kv(&arguments.setup(seed), false),
            |report| {
                totals.add(&report);
                chunk.add(&report);
                if report.violation.is_some() && totals.failed.len() <= FAILURES_SHOWN {
                    let first = totals.failed.len() == 1;
                    let last = if first { arguments.last } else { 0 };
                    bar.suspend(|| show::failure(&report, last));
                }
                bar.inc(1);
                bar.set_message(message(&totals, begun));
                true
            },
        );
        if chunk.seeds < count {
            break;
        }
        if let Some(file) = &arguments.resume {
            write_down(file, first, &chunk)?;
        }
        first += count;
    }
    bar.finish_and_clear();
    summary(&totals, begun);
    let missing: Vec<Mark> = totals.marks.missing().collect();
    let unreached = arguments.marks && !missing.is_empty();
    if !missing.is_empty() {
        println!("marks that were never hit: {missing:?}");
    }
    let inconclusive = totals.inconclusive.len() as u64 * 1000 > totals.seeds.max(1000);
    if inconclusive {
        println!("more than one seed in a thousand could not be judged");
    }
    // A fifth at least, or the histories are too easy.
    let sparse = totals.concurrent * 5 < totals.acknowledged;
    if sparse {
        println!("too few operations were concurrent");
    }
    Ok(!sparse
        && totals.failed.is_empty()
        && totals.vacuous.is_empty()
        && !inconclusive
        && !unreached)
}

fn bar(count: u64, endless: bool) -> ProgressBar {
    let bar = if endless {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::new(count)
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn message(totals: &Totals, begun: Instant) -> String {
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    let missing = totals.marks.missing().count();
    format!(
        "{:.1} seeds/s, {:.0} times life, {} of {} marks, {} failed",
        totals.seeds as f64 / seconds,
        totals.virtual_time.as_secs_f64() / seconds,
        Mark::ALL.len() - missing,
        Mark::ALL.len(),
        totals.failed.len()
    )
}

fn summary(totals: &Totals, begun: Instant) {
    println!(
        "{} seeds in {:.1} s: {}; {:.1} h of virtual time, {} operations acknowledged, {} % of all concurrent on a key",
        totals.seeds,
        begun.elapsed().as_secs_f64(),
        message(totals, begun),
        totals.virtual_time.as_secs_f64() / 3600.0,
        totals.acknowledged,
        totals.concurrent * 100 / totals.acknowledged.max(1)
    );
    for mark in Mark::ALL {
        println!("  {:18} {}", format!("{mark:?}"), totals.marks.count(mark));
    }
    for (what, seeds) in [
        ("failed", &totals.failed),
        ("inconclusive", &totals.inconclusive),
        ("did too little to prove anything", &totals.vacuous),
    ] {
        if !seeds.is_empty() {
            println!("{what}: {seeds:?}");
        }
    }
}

/// The first seed that is not written down as done, and those that failed before it.
fn resumed(file: &Path, first: u64) -> Result<(u64, Vec<u64>), String> {
    let failed = |error| format!("{}: {error}", file.display());
    let lines = match File::open(file) {
        Ok(open) => BufReader::new(open).lines(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((first, Vec::new()));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut next = first;
    let mut failed_before = Vec::new();
    for line in lines {
        let line = line.map_err(failed)?;
        let chunk: serde_json::Value = serde_json::from_str(&line)
            .map_err(|error| format!("{}: {error}; give another file", file.display()))?;
        if let Some(end) = chunk.get("end").and_then(serde_json::Value::as_u64) {
            next = next.max(end);
        }
        let failed = chunk.get("failed").and_then(serde_json::Value::as_array);
        failed_before.extend(
            failed
                .into_iter()
                .flatten()
                .filter_map(serde_json::Value::as_u64),
        );
    }
    if next > first {
        println!(
            "going on from seed {next}; {} failed before",
            failed_before.len()
        );
    }
    Ok((next, failed_before))
}

fn write_down(file: &Path, first: u64, chunk: &Totals) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", file.display());
    let mut out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .map_err(failed)?;
    let line = json!({
        "first": first,
        "end": first + chunk.seeds,
        "commit": std::env::var("RAFT_COMMIT").unwrap_or_else(|_| "unknown".into()),
        "failed": chunk.failed,
        "inconclusive": chunk.inconclusive,
        "acknowledged": chunk.acknowledged,
        "virtual_seconds": chunk.virtual_time.as_secs(),
    });
    writeln!(out, "{line}").map_err(failed)
}
