//! Simulates whole clusters of the key-value store; `cargo xtask sim` builds and calls it.

mod arguments;
mod campaign;
#[cfg(raft_mutants)]
mod mutants;
mod show;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    raft_kv::sim::keep_panics_quiet();
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well.
fn run(arguments: &Arguments) -> Result<bool, String> {
    if let Some(names) = &arguments.mutants {
        #[cfg(raft_mutants)]
        return mutants::run(arguments, names);
        #[cfg(not(raft_mutants))]
        return Err(format!(
            "this build has no known bugs ({names:?}); `cargo xtask sim --mutants` makes one that does"
        ));
    }
    match arguments.seed {
        Some(seed) => show::one(arguments, seed),
        None => campaign::run(arguments),
    }
}
