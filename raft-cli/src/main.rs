//! The command-line client of raft-kv.
//!
//! `args` says what may be typed; each group of commands has a file (`write`, `read`, `status`, `bench`, `shell`); `context`
//! is what they work with, `output` prints, `failure` knows the exit statuses.

mod args;
mod bench;
mod context;
mod failure;
mod output;
mod read;
mod shell;
mod status;
mod table;
mod write;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let mut output = Output::new(global.output);
    let command = match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "raft-cli", &mut script);
            let written = output.raw(&script).and_then(|()| output.flush());
            return finish(written.map_err(Failure::from), &mut output);
        }
        command => command,
    };
    // Two threads: one waits for a prompt or a pipe while the other keeps the connections alive; a bench uses both.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::new(Exit::Other, format!("cannot start: {error}"));
            return finish(Err(failure), &mut output);
        }
    };
    let guard = runtime.enter();
    let mut context = match Context::new(&global, output) {
        Ok(context) => context,
        Err((error, mut output)) => return finish(Err(Failure::from(error)), &mut output),
    };
    drop(guard);
    let outcome = match command {
        Command::Data(command) => {
            let outcome = runtime.block_on(context.run(command));
            // What was printed is seen before the session is given back, which may take a moment.
            let outcome = outcome.and_then(|()| Ok(context.output.flush()?));
            runtime.block_on(context.close());
            outcome
        }
        Command::Shell => {
            let outcome = shell::run(&runtime, &mut context);
            runtime.block_on(context.close());
            outcome
        }
        Command::Completions { .. } => Ok(()),
    };
    let code = finish(outcome, &mut context.output);
    runtime.shutdown_background();
    code
}

fn finish(outcome: Result<(), Failure>, output: &mut Output) -> ExitCode {
    let failure = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    if failure.is_broken_pipe() {
        return ExitCode::SUCCESS;
    }
    match output.failure(&failure) {
        Ok(()) => ExitCode::from(failure.exit as u8),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::from(failure.exit as u8)
        }
        Err(_) => ExitCode::from(Exit::Other as u8),
    }
}
