//! The server: `raft-kv serve` and `raft-kv check-config`; `raft-kv log`, which looks into a stopped node's log; and `raft-kv restore` and
//! `raft-kv recover`, which make a new cluster of a backup, and a backup of what is left.

mod disaster;
mod flags;
mod log;
mod serve;
mod settings;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use flags::{Cli, LogVerb, Verb};
use settings::Settings;

/// Wrong flags or configuration.
const EXIT_USAGE: u8 = 2;
/// The data directory is damaged, locked, another's, or could not be synced.
const EXIT_DATA: u8 = 3;
/// Anything else.
const EXIT_OTHER: u8 = 1;

/// What went wrong, in one line, and the exit status that says which kind of thing.
#[derive(Debug)]
struct Failure {
    status: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn new(status: u8, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            hint: None,
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // One line each, whatever is in it.
            let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "error: {}", line(&failure.message));
            if let Some(hint) = &failure.hint {
                let _ = writeln!(err, "hint: {}", line(hint));
            }
            ExitCode::from(failure.status)
        }
    }
}

fn run() -> Result<(), Failure> {
    let command = Cli::command();
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let given = matches.subcommand().map(|(_, given)| given);
    let settings = |flags: flags::Flags| {
        Settings::gather(flags, given).map_err(|message| Failure::new(EXIT_USAGE, message))
    };
    match cli.verb {
        Verb::Serve(flags) => serve::serve(settings(flags)?),
        Verb::CheckConfig(flags) => {
            let settings = settings(flags)?;
            let _ = write!(std::io::stdout(), "{settings}");
            Ok(())
        }
        Verb::Log(LogVerb::Dump(flags)) => log::dump(&flags),
        Verb::Log(LogVerb::Verify(flags)) => log::verify(&flags),
        Verb::Restore(flags) => disaster::run_restore(flags),
        Verb::Recover(flags) => disaster::run_recover(&flags),
    }
}

/// Help and version go to standard output, as asked for; what is wrong with the flags becomes one line.
fn usage(error: &clap::Error) -> Result<(), Failure> {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return Ok(());
    }
    let text = error.to_string();
    let mut parts = text.split("\n\n");
    let what = parts.next().unwrap_or_default();
    let what = what.trim_start_matches("error: ");
    let (command, verbs) = command_given();
    let what = match (error.kind(), command.as_str()) {
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, "raft-kv") => {
            "a command is missing: serve or check-config, log dump or log verify, restore or recover".to_owned()
        }
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
            let name = command.trim_start_matches("raft-kv ");
            format!("`{name}` wants {}", verbs.join(" or "))
        }
        _ => what.to_owned(),
    };
    // A misspelling, say.
    let tips = parts.next().into_iter().flat_map(str::lines);
    let hint = tips
        .filter_map(|line| line.trim().strip_prefix("tip: "))
        .collect::<Vec<_>>()
        .join("; ");
    Err(Failure {
        hint: (!hint.is_empty()).then_some(hint),
        ..Failure::new(EXIT_USAGE, format!("{what}; see `{command} --help`"))
    })
}

/// The command that was given, as far as its words are known, and those that may follow.
fn command_given() -> (String, Vec<String>) {
    let root = Cli::command();
    let (mut path, mut command) = (root.get_name().to_owned(), &root);
    for word in std::env::args_os().skip(1) {
        let Some(next) = command.find_subcommand(&word) else {
            break;
        };
        command = next;
        path = format!("{path} {}", command.get_name());
    }
    let verbs = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned());
    (path, verbs.collect())
}
