//! `cargo xtask ci`: every check a change has to pass, in the order in which they fail fastest.
//!
//! All parts share one target folder, so that what one has compiled the next can use. The parts run one after the
//! other and stop at the first failure; a table of their times stands at the end in either case.

mod bare;
mod graph;
mod programs;
mod references;
mod tidy;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::cargo;

/// Runs the checks: format, order in the tree, dependency graph, lints, documentation, tests, the fuzz targets' compilation,
/// and the process tests on the built binaries. Stops at the first that fails.
#[derive(Args)]
#[command(
    after_help = "The process tests start real clusters on 127.0.0.1 and need `strace`. Where it is missing they \
                        skip what needs it, except when the variable CI is set: then they fail."
)]
pub struct Arguments {
    /// Run only this part; may be given more than once
    #[arg(long, value_name = "PART", value_parser = clap::builder::PossibleValuesParser::new(PARTS.map(|part| part.name)))]
    only: Vec<String>,
    /// Print the parts in their order, and run none
    #[arg(long)]
    list: bool,
}

/// One step of the checks.
struct Part {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<()>,
    /// Whether it runs unless parts are named. What takes minutes for what changes seldom does not.
    by_default: bool,
}

const PARTS: [Part; 13] = [
    Part {
        name: "fmt",
        what: "every file is as rustfmt writes it",
        run: fmt,
        by_default: true,
    },
    Part {
        name: "tidy",
        what: "documents, licences, purity of the core, nothing left behind",
        run: tidy::check,
        by_default: true,
    },
    Part {
        name: "graph",
        what: "who depends on whom; no `sim` in what is shipped",
        run: graph::check,
        by_default: true,
    },
    Part {
        name: "clippy",
        what: "no warning, neither as shipped nor with every feature and target",
        run: clippy,
        by_default: true,
    },
    Part {
        name: "bare",
        what: "the core compiles where there is no standard library",
        run: bare::check,
        by_default: true,
    },
    Part {
        name: "doc",
        what: "the documentation builds without a warning",
        run: doc,
        by_default: true,
    },
    Part {
        name: "test",
        what: "unit, golden, property and documentation tests",
        run: test,
        by_default: true,
    },
    Part {
        name: "fuzz",
        what: "the fuzz targets compile",
        run: fuzz,
        by_default: true,
    },
    Part {
        name: "search",
        what: "every state of a small cluster; known bugs, each of which that has to find",
        run: crate::search::ci,
        by_default: true,
    },
    Part {
        name: "sim",
        what: "whole clusters under faults, in a simulator; known bugs, each of which that has to find",
        run: crate::sim::ci,
        by_default: true,
    },
    Part {
        name: "build",
        what: "the binaries as they are shipped",
        run: build,
        by_default: true,
    },
    Part {
        name: "process",
        what: "real clusters of the built binaries under faults",
        run: process,
        by_default: true,
    },
    Part {
        name: "bench",
        what: "the benchmarks beside their peers compile; only when asked for, since the peers take minutes, and etcd's client needs protoc",
        run: bench,
        by_default: false,
    },
];

/// Runs the chosen parts.
///
/// # Errors
/// When a part fails; the message names it and the command to run it alone.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for part in &PARTS {
            println!("{:<8}  {}", part.name, part.what);
        }
        return Ok(());
    }
    let chosen = PARTS.iter().filter(|part| {
        let named = arguments.only.iter().any(|name| name == part.name);
        named || (arguments.only.is_empty() && part.by_default)
    });
    let mut times = Vec::new();
    let mut failure = None;
    for part in chosen {
        println!("── {}: {}", part.name, part.what);
        let begun = Instant::now();
        let outcome = (part.run)();
        times.push((part.name, begun.elapsed(), outcome.is_ok()));
        if let Err(error) = outcome {
            failure = Some((part.name, error));
            break;
        }
    }
    print_table(&times);
    match failure {
        None => Ok(()),
        Some((name, error)) => Err(anyhow!(
            "part `{name}` failed: {error:#}\nhint: `cargo xtask ci --only {name}` runs it alone"
        )),
    }
}

/// One line a part that ran, and their sum.
fn print_table(times: &[(&str, Duration, bool)]) {
    println!();
    for (name, time, passed) in times {
        println!(
            "{name:<8}  {:>7.1} s  {}",
            time.as_secs_f64(),
            if *passed { "ok" } else { "FAILED" }
        );
    }
    let total: Duration = times.iter().map(|(_, time, _)| *time).sum();
    println!("{:<8}  {:>7.1} s", "total", total.as_secs_f64());
}

/// Runs cargo with its output passed through.
fn cargo_passes(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    println!("   {shown}");
    let status = cargo::command(arguments)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

fn fmt() -> Result<()> {
    cargo_passes(&["fmt", "--all", "--check"], &[])
}

fn clippy() -> Result<()> {
    // The first run sees the code as it is shipped: without test code and without the simulated disk, where something
    // may be unused that only they use.
    cargo_passes(&["clippy", "--workspace", "--", "-D", "warnings"], &[])?;
    cargo_passes(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )?;
    // No test like the others, and so not among all targets. With the whole workspace's features, so that nothing is compiled again.
    let search = [
        "clippy",
        "--workspace",
        "--all-features",
        "--test",
        "search",
        "--",
        "-D",
        "warnings",
    ];
    cargo_passes(&search, &[])
}

fn doc() -> Result<()> {
    cargo_passes(
        &["doc", "--workspace", "--no-deps", "--all-features"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

/// A program of tests that ends never is ended, and named: its output before says which of its tests were still running. Ten times
/// what the slowest takes on a slow machine. Only where coreutils are sure to be there.
fn ended_when_stuck(arguments: &[&str]) -> Result<()> {
    let runner = r#"target.'cfg(target_os = "linux")'.runner = ["timeout", "--foreground", "900"]"#;
    let mut all = vec!["--config", runner, "test"];
    all.extend_from_slice(arguments);
    cargo_passes(&all, &[]).context(
        "a status of 124 above is a program of tests that was still running after 15 minutes",
    )
}

fn test() -> Result<()> {
    ended_when_stuck(&["--workspace", "--exclude", "xtask"])?;
    ended_when_stuck(&["--package", "xtask", "--lib", "--bins"])
}

/// A package outside the workspace compiles, with the versions of its own lock file.
fn package_compiles(manifest: &str, environment: &[(&str, &str)]) -> Result<()> {
    let arguments = [
        "check",
        "--locked",
        "--all-targets",
        "--target-dir",
        "target",
        "--manifest-path",
        manifest,
    ];
    cargo_passes(&arguments, environment)
}

fn fuzz() -> Result<()> {
    // Nothing is linked, so the fuzzer's own C++ code, which would take most of the time, need not be compiled: a library
    // that is named is not built.
    let library = [("CUSTOM_LIBFUZZER_PATH", "/not/linked/libfuzzer.a")];
    package_compiles("raft-core/fuzz/Cargo.toml", &library)?;
    package_compiles("raft-log/fuzz/Cargo.toml", &library)
}

fn bench() -> Result<()> {
    package_compiles("raft-log/bench/Cargo.toml", &[])?;
    package_compiles("raft-core/bench/Cargo.toml", &[])?;
    package_compiles("raft-kv/bench/Cargo.toml", &[])
}

/// The tests before this left binaries that were built together with test-only features; these are the shipped ones. Before them those that
/// play the next release are built, for the test of an upgrade: in the same place, where the shipped ones must be in the end.
fn build() -> Result<()> {
    let begun = Instant::now();
    println!("   the programs of the next release, to target/next");
    cargo::Binaries::build_next()?;
    println!("   built in {:.1} s", begun.elapsed().as_secs_f64());
    cargo_passes(
        &["build", "--package", "raft-kv", "--package", "raft-cli"],
        &[],
    )
}

fn process() -> Result<()> {
    // One test at a time: each starts several processes and has deadlines of its own.
    ended_when_stuck(&[
        "--package",
        "xtask",
        "--test",
        "*",
        "--",
        "--test-threads",
        "1",
    ])
}
