//! shell: commands one a line, from a prompt or a pipe, with one client and one session for all.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, Helper};
use tokio::runtime::Runtime;

use crate::args::{DataCommand, ShellLine};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

const PROMPT: &str = "raft> ";
/// A line may hold a value of the largest size that servers take by default, quoted in any way.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Whether there is more to come.
enum Next {
    Line,
    Leave,
}

pub(crate) fn run(runtime: &Runtime, context: &mut Context) -> Outcome {
    context.owns_stdin = true;
    if io::stdin().is_terminal() {
        prompt(runtime, context)
    } else {
        pipe(runtime, context)
    }
}

fn pipe(runtime: &Runtime, context: &mut Context) -> Outcome {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let unreadable =
            |error| Failure::new(Exit::Other, format!("cannot read standard input: {error}"));
        let mut limited = io::Read::take(&mut input, LINE_BYTES_MAX as u64);
        if limited.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            return Ok(());
        }
        if line.len() >= LINE_BYTES_MAX {
            return Err(Failure::new(
                Exit::Other,
                format!("a line is longer than {LINE_BYTES_MAX} bytes"),
            ));
        }
        let outcome = match std::str::from_utf8(&line) {
            Ok(line) => run_line(runtime, context, line),
            Err(_) => Err(Failure::usage(
                "a line is not UTF-8; use @FILE for values that are not",
            )),
        };
        if let Next::Leave = report(context, outcome)? {
            return Ok(());
        }
    }
}

fn prompt(runtime: &Runtime, context: &mut Context) -> Outcome {
    let broken = |error: ReadlineError| {
        Failure::new(
            Exit::Other,
            format!("cannot read from the terminal: {error}"),
        )
    };
    let mut editor = Editor::<Commands, FileHistory>::new().map_err(broken)?;
    editor.set_helper(Some(Commands));
    let history = history_file();
    if let Some(history) = &history {
        // There is none before the first time.
        let _ = editor.load_history(history);
    }
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => {
                // A history that cannot be kept is no reason not to go on.
                let _ = editor.add_history_entry(&line);
                let outcome = run_line(runtime, context, &line);
                if let Next::Leave = report(context, outcome)? {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(broken(error)),
        }
    }
    if let Some(history) = &history {
        let _ = editor.save_history(history);
    }
    Ok(())
}

/// Prints what became of a line. An error of the command is no end; a closed standard output is.
fn report(context: &mut Context, outcome: Result<Next, Failure>) -> Result<Next, Failure> {
    let next = match outcome {
        Ok(next) => next,
        Err(failure) if failure.is_broken_pipe() => return Err(failure),
        Err(failure) => {
            context.output.failure(&failure)?;
            Next::Line
        }
    };
    context.output.flush()?;
    Ok(next)
}

fn run_line(runtime: &Runtime, context: &mut Context, line: &str) -> Result<Next, Failure> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Next::Line);
    }
    let words =
        shlex::split(line).ok_or_else(|| Failure::usage("a quotation mark is not closed"))?;
    match words.first().map(String::as_str) {
        None => return Ok(Next::Line),
        Some("exit" | "quit") if words.len() == 1 => return Ok(Next::Leave),
        Some(_) => {}
    }
    match ShellLine::try_parse_from(&words) {
        Ok(ShellLine { command }) => {
            context.start();
            runtime.block_on(run_command(context, command))?;
        }
        Err(error) if !error.use_stderr() => {
            context.output.raw(error.render().to_string().as_bytes())?;
        }
        Err(error) => return Err(usage(&error)),
    }
    Ok(Next::Line)
}

/// At a prompt, Ctrl-C ends the command and not the shell.
async fn run_command(context: &mut Context, command: DataCommand) -> Outcome {
    let own_way = matches!(command, DataCommand::Bench(_));
    if own_way || !io::stdin().is_terminal() {
        return context.run(command).await;
    }
    let exit = match command {
        DataCommand::Put(_) | DataCommand::Delete(_) | DataCommand::Cas(_) => Exit::Unknown,
        #[cfg(raft_kv_next)]
        DataCommand::Append { .. } => Exit::Unknown,
        _ => Exit::Other,
    };
    let endless = matches!(&command, DataCommand::Status(args) if args.watch);
    let caught = context.interrupt.catch();
    tokio::select! {
        outcome = context.run(command) => outcome,
        // It has no other end.
        () = caught.typed(), if endless => Ok(()),
        () = caught.typed(), if !endless => Err(Failure::new(exit, match exit {
            Exit::Unknown => "interrupted; it may have been applied, or may yet be",
            _ => "interrupted",
        })),
    }
}

/// The parser's words, without its own `error:` and without what does not fit one line.
pub(crate) fn usage(error: &clap::Error) -> Failure {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("a command is missing");
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let message = first
        .trim()
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    Failure::usage(message).hint("`help` lists the commands, `help COMMAND` explains one")
}

fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state =
        state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    std::fs::create_dir_all(&state).ok()?;
    Some(state.join("raft-cli-history"))
}

/// Completes command names and their options.
struct Commands;

impl Completer for Commands {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line.get(..position).unwrap_or_default()))
    }
}

impl Hinter for Commands {
    type Hint = String;
}

impl Highlighter for Commands {}

impl Validator for Commands {}

impl Helper for Commands {}

/// Where the word begins that the line ends with, and what it may become.
fn complete(line: &str) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |space| space + 1);
    let word = line.get(start..).unwrap_or_default();
    let shell = ShellLine::command();
    let before = line
        .get(..start)
        .unwrap_or_default()
        .split_whitespace()
        .next();
    let candidates: Vec<String> = match before {
        None => {
            let names = shell
                .get_subcommands()
                .map(|command| command.get_name().to_owned());
            names
                .chain(["help".to_owned(), "exit".to_owned()])
                .collect()
        }
        Some("help") => shell
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .collect(),
        Some(name) => {
            let options = shell.find_subcommand(name).map(|command| {
                command
                    .get_arguments()
                    .filter_map(|a| a.get_long())
                    .map(|long| format!("--{long}"))
                    .collect()
            });
            // Options are offered once a dash is typed: anything else is a key or a value.
            if word.starts_with('-') {
                options.unwrap_or_default()
            } else {
                Vec::new()
            }
        }
    };
    (
        start,
        candidates
            .into_iter()
            .filter(|candidate| candidate.starts_with(word))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_options_are_completed() {
        assert_eq!(complete("pu"), (0, vec!["put".to_owned()]));
        assert_eq!(complete("help ra"), (5, vec!["range".to_owned()]));
        let (start, options) = complete("put key value --if-");
        assert_eq!(start, 14);
        assert_eq!(options, ["--if-absent", "--if-rev", "--if-value"]);
        assert_eq!(complete("get k").1, Vec::<String>::new());
        assert!(complete("").1.contains(&"exit".to_owned()));
    }

    #[test]
    fn a_wrong_line_is_explained_in_one_line() {
        let error = ShellLine::try_parse_from(["put", "k"]).unwrap_err();
        let failure = usage(&error);
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            !failure.message.contains('\n') && !failure.message.starts_with("error"),
            "{}",
            failure.message
        );
        assert!(failure.message.contains("<VALUE>"), "{}", failure.message);
    }
}
