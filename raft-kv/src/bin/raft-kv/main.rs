//! The server: `raft-kv serve` and `raft-kv check-config`; and `raft-kv log`, which looks into a stopped node's log.

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
    let what = text.split("\n\n").next().unwrap_or_default();
    let what = what.trim_start_matches("error: ");
    let what = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing: serve or check-config, log dump or log verify"
    } else {
        what
    };
    Err(Failure::new(
        EXIT_USAGE,
        format!("{what}; see raft-kv --help"),
    ))
}
