//! The command-line client of raft-kv.
//!
//! `args` says what may be typed; each group of commands has a file (`write`, `read`, `status`, `member`, `snapshot`, `bench`, `shell`); `context`
//! is what they work with, `output` prints, `failure` knows the exit statuses.

mod args;
mod bench;
mod context;
mod failure;
mod interrupt;
mod member;
mod output;
mod read;
mod shell;
mod snapshot;
mod status;
mod table;
mod write;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command, DataCommand, Format};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
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
    if matches!(
        command,
        Command::Shell | Command::Data(DataCommand::Bench(_) | DataCommand::Snapshot(_))
    ) && let Err(error) = context.interrupt.watch()
    {
        let failure = Failure::new(Exit::Other, format!("cannot watch for Ctrl-C: {error}"));
        return finish(Err(failure), &mut context.output);
    }
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

/// Ends as the parser would, and where JSON is asked for, says so as JSON too.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // --help and --version; nobody is left to tell when they cannot be written.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let _ = error.print();
    if wants_json(std::env::args_os().skip(1)) {
        let mut output = Output::new(Format::Json);
        let told = output
            .json(&shell::usage(error).json())
            .and_then(|()| output.flush());
        if told.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
            return ExitCode::from(Exit::Other as u8);
        }
    }
    ExitCode::from(Exit::Usage as u8)
}

/// Whether a command line that could not be parsed asks for JSON.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut format = false;
    for argument in arguments.take_while(|argument| argument != "--") {
        let Some(argument) = argument.to_str() else {
            format = false;
            continue;
        };
        if format && argument == "json"
            || ["--output=json", "-ojson", "-o=json"].contains(&argument)
        {
            return true;
        }
        format = argument == "-o" || argument == "--output";
    }
    false
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
        Err(error) => {
            let lost = Failure::from(error).message;
            if lost != failure.message {
                let _ = writeln!(std::io::stderr(), "error: {lost}");
            }
            ExitCode::from(Exit::Other as u8)
        }
    }
}
