//! Known bugs, one at a time: the simulator has to find each, and nothing when there is none.

use std::collections::BTreeSet;
use std::time::Instant;

use raft_kv::sim::mutants::{KNOWN_BUGS, KnownBug, deactivate};
use raft_kv::sim::{Violation, run_kv};

use crate::arguments::Arguments;
use crate::campaign::{all, jobs};
use crate::show;

/// How many seeds a bug may take.
const SEEDS_MAX: u64 = 1000;
/// How many seeds the control runs besides those that found something.
const CONTROL_SEEDS: u64 = 20;

/// What found a bug.
struct Found {
    /// How many seeds were tried for it, the one that is known to find it first.
    tries: u64,
    seed: u64,
    violation: Violation,
}

/// Looks for the known bugs of these names, or for all; whether each was found, and nothing without them.
pub(crate) fn run(arguments: &Arguments, names: &[String]) -> Result<bool, String> {
    let known: Vec<String> = KNOWN_BUGS.iter().map(KnownBug::name).collect();
    if known.iter().collect::<BTreeSet<_>>().len() < known.len() {
        return Err("two known bugs have the same name".into());
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "{unknown} is no known bug; there are: {}",
            known.join(", ")
        ));
    }
    if let Some(seed) = arguments.seed {
        let named = KNOWN_BUGS.iter().find(|bug| names.contains(&bug.name()));
        let bug = named.ok_or("which known bug is the seed to be run with?")?;
        bug.activate();
        return show::one(arguments, seed);
    }
    let mut seeds: BTreeSet<u64> = (1..=CONTROL_SEEDS).collect();
    let mut missed = Vec::new();
    let mut count = 0;
    println!("the core's own assertions are off");
    println!(
        "{}",
        line("known bug", "in", "tries", "seed", "s", "found by")
    );
    let chosen = |bug: &&KnownBug| names.is_empty() || names.contains(&bug.name());
    for bug in KNOWN_BUGS.iter().filter(chosen) {
        let name = bug.name();
        count += 1;
        let begun = Instant::now();
        bug.activate();
        let found = find(arguments, bug);
        let seconds = format!("{:.1}", begun.elapsed().as_secs_f64());
        let (tries, seed, by) = match &found {
            Some(found) => (found.tries, found.seed.to_string(), said(&found.violation)),
            None => (SEEDS_MAX, "-".into(), "NOTHING".into()),
        };
        let tries = tries.to_string();
        println!("{}", line(&name, bug.part, &tries, &seed, &seconds, &by));
        match found {
            Some(found) => drop(seeds.insert(found.seed)),
            None => missed.push(name),
        }
    }
    deactivate();
    let begun = Instant::now();
    let wrong = control(arguments, &seeds);
    println!(
        "control: {} seeds without any bug, {} of them found something; {:.1} s",
        seeds.len(),
        wrong.len(),
        begun.elapsed().as_secs_f64()
    );
    for (seed, violation) in &wrong {
        println!("  seed {seed} violates {violation}");
    }
    println!("{} of {count} known bugs were found", count - missed.len());
    if !missed.is_empty() {
        println!("not found: {}", missed.join(", "));
    }
    Ok(missed.is_empty() && wrong.is_empty())
}

/// A line of the table.
fn line(name: &str, part: &str, tries: &str, seed: &str, seconds: &str, by: &str) -> String {
    format!("{name:<26} {part:<12} {tries:>5} {seed:>5} {seconds:>5}  {by}")
}

/// Runs seeds until one finds the bug: first the one that did so before, then all from 1 on.
fn find(arguments: &Arguments, bug: &KnownBug) -> Option<Found> {
    let seed_of = |nth| if nth == 0 { bug.hint } else { nth };
    let mut found: Option<Found> = None;
    let run = |nth| (nth, run_kv(&arguments.setup(seed_of(nth)), false));
    all(0, SEEDS_MAX, None, jobs(arguments), run, |(nth, report)| {
        if let Some(violation) = report.violation
            && found.as_ref().is_none_or(|found| nth < found.tries)
        {
            found = Some(Found {
                tries: nth + 1,
                seed: report.setup.seed,
                violation,
            });
        }
        found.is_none()
    });
    found
}

/// Runs these seeds without a bug; those that find something all the same.
fn control(arguments: &Arguments, seeds: &BTreeSet<u64>) -> Vec<(u64, Violation)> {
    let seeds: Vec<u64> = seeds.iter().copied().collect();
    let mut wrong = Vec::new();
    let run = |nth: u64| {
        let seed = usize::try_from(nth).ok().and_then(|nth| seeds.get(nth))?;
        let report = run_kv(&arguments.setup(*seed), false);
        report.violation.map(|violation| (*seed, violation))
    };
    all(0, seeds.len() as u64, None, jobs(arguments), run, |found| {
        wrong.extend(found);
        true
    });
    wrong
}

/// Which invariant; of a panic its first words.
fn said(violation: &Violation) -> String {
    if violation.invariant == "nothing panics" {
        let words: String = violation.what.chars().take(60).collect();
        return format!("nothing panics: {words}");
    }
    violation.invariant.to_owned()
}
