//! `cargo xtask`: the development commands. Dispatch only; each verb has a file of its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{bench, chaos, ci, cluster, search, sim};

/// Development commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Cluster(cluster::Arguments),
    Chaos(chaos::Arguments),
    Bench(bench::Arguments),
    Search(search::Arguments),
    Sim(sim::Arguments),
    Ci(ci::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Cluster(arguments) => cluster::run(&arguments),
        Verb::Chaos(arguments) => chaos::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Search(arguments) => search::run(&arguments),
        Verb::Sim(arguments) => sim::run(&arguments),
        Verb::Ci(arguments) => ci::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
