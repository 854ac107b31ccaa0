//! The server: `raft-kv serve` and `raft-kv check-config`.

mod flags;
mod serve;
mod settings;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use flags::{Cli, Verb};
use settings::Settings;

/// Wrong flags or configuration.
const EXIT_USAGE: u8 = 2;

/// What went wrong, in one line, and the exit status that says which kind of thing.
#[derive(Debug)]
struct Failure {
    status: u8,
    message: String,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { status, message }) => {
            // One line, whatever is in it.
            let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(std::io::stderr(), "error: {line}");
            ExitCode::from(status)
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
        Settings::gather(flags, given).map_err(|message| Failure {
            status: EXIT_USAGE,
            message,
        })
    };
    match cli.verb {
        Verb::Serve(flags) => serve::serve(settings(flags)?),
        Verb::CheckConfig(flags) => {
            let settings = settings(flags)?;
            let _ = write!(std::io::stdout(), "{settings}");
            Ok(())
        }
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
        "a command is missing: serve or check-config"
    } else {
        what
    };
    Err(Failure {
        status: EXIT_USAGE,
        message: format!("{what}; see raft-kv --help"),
    })
}
