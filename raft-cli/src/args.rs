//! The command line: what may be typed, and the help for it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const ABOUT: &str = "Reads and writes a raft-kv cluster, and shows how it is doing.";

const AFTER_HELP: &str = "\
Exit status:
  0  done                                   6  unavailable, surely not applied
  1  another error                          7  outcome unknown: it may have been applied
  2  wrong usage                            9  refused (limits, members)
  3  not found                             10  unhealthy
  4  the condition does not hold

Examples:
  raft-cli put greeting 'hello world'
  raft-cli get greeting
  raft-cli --endpoints 10.0.0.1:7101,10.0.0.2:7101 status
  RAFT_TIMEOUT=500ms raft-cli -o json range --prefix app/";

/// The whole command line.
#[derive(Parser, Debug)]
#[command(name = "raft-cli", version, about = ABOUT, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Args, Debug, Clone)]
pub(crate) struct Global {
    /// Some of the cluster's addresses, host:port each, separated by commas; the leader is found from any of them
    #[arg(
        long,
        global = true,
        env = "RAFT_ENDPOINTS",
        value_name = "A,B,C",
        value_delimiter = ',',
        default_value = "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103"
    )]
    pub(crate) endpoints: Vec<String>,

    /// How long the whole command may take, such as 5s, 500ms or 1m
    #[arg(long, global = true, env = "RAFT_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// How results are printed
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) output: Format,
}

/// How results are printed.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people and pipes.
    Text,
    /// One object a line.
    Json,
}

/// The commands of a command line.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    #[command(flatten)]
    Data(DataCommand),
    /// Takes commands from a prompt or a pipe, one a line, and goes on after an error
    ///
    /// The commands are those of raft-cli without the options that stand before them; quotes work as in a Unix shell, and a
    /// line that begins with # is skipped. All of them share one session. --timeout is for each line. At a prompt there is
    /// history and completion; Ctrl-C ends a command, `exit` or Ctrl-D leaves.
    #[command(after_help = "Example:\n  printf 'put a 1\\nget a\\n' | raft-cli shell")]
    Shell,
    /// Prints a script that makes your shell complete raft-cli's commands
    #[command(
        after_help = "Example:\n  raft-cli completions bash > ~/.local/share/bash-completion/completions/raft-cli"
    )]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// The commands that `shell` understands too.
#[derive(Subcommand, Debug)]
pub(crate) enum DataCommand {
    /// Sets a key; prints OK and the revision
    #[command(after_help = "\
Example:
  raft-cli put config @config.toml --if-rev 12
  printf '@not a file' | raft-cli put key -")]
    Put(PutArgs),
    /// Write a value behind the one that stands at a key
    #[cfg(raft_kv_next)]
    Append {
        /// The key
        key: OsString,
        /// What to add
        value: OsString,
    },
    /// Prints a key's value as it is, and a newline; exit status 3 when there is none
    #[command(after_help = "Example:\n  raft-cli get config > config.toml")]
    Get(GetArgs),
    /// Lists keys, in byte order: key, tab, value a line
    ///
    /// A long listing is fetched in parts, each of them consistent in itself.
    #[command(after_help = "\
Example:
  raft-cli range                      every key
  raft-cli range a c                  from a up to, but without, c
  raft-cli range --prefix app/ --keys-only --limit 10")]
    Range(RangeArgs),
    /// Deletes keys; prints how many
    #[command(after_help = "Example:\n  raft-cli delete --prefix tmp/")]
    Delete(DeleteArgs),
    /// Sets a key if it has the value OLD; prints OK and the revision, or else the value that stands (exit status 4)
    #[command(after_help = "Example:\n  raft-cli cas owner nobody alice")]
    Cas(CasArgs),
    /// Shows a row for each member, unreachable ones too
    ///
    /// LAG is how many entries of the leader a member has yet to apply, or, if it is unreachable, to store.
    #[command(after_help = "Example:\n  raft-cli status --watch")]
    Status(StatusArgs),
    /// Says whether the cluster works: a leader, a majority of the voters, and a read; exit status 10 if not
    #[command(after_help = "Example:\n  raft-cli health || echo 'call someone'")]
    Health,
    /// Compares the members' states by their hashes after one entry; exit status 10 if they differ
    #[command(after_help = "Example:\n  raft-cli check || echo 'call someone, now'")]
    Check,
    /// Prints id and address of the leader, or moves the lead
    #[command(after_help = "Example:\n  raft-cli leader\n  raft-cli leader move 2")]
    Leader {
        /// What about it; without it, who it is
        #[command(subcommand)]
        command: Option<LeaderCommand>,
    },
    /// Shows and changes who belongs to the cluster
    ///
    /// A change prints the members as they are then. One change at a time; what is so already is not changed, so asking again is safe.
    #[command(
        subcommand,
        after_help = "\
Example:
  raft-cli member add 4 10.0.0.4:7101 --voter    after: raft-kv serve --id 4 --join --listen 10.0.0.4:7101 --data-dir …
  raft-cli member remove 2"
    )]
    Member(MemberCommand),
    /// Saves the whole cluster's state to a file, or verifies such a file
    ///
    /// `raft-kv restore` makes a new cluster of it.
    #[command(
        subcommand,
        after_help = "Example:\n  raft-cli snapshot save backup.snap && raft-cli snapshot verify backup.snap"
    )]
    Snapshot(SnapshotCommand),
    /// Measures throughput and latency, and checks every answer
    ///
    /// Each client asks for the next thing when it has the answer to the last. Clients share a few connections. The keys are
    /// new ones under bench/, and are deleted at the end. Ctrl-C ends the measuring, and shows and cleans up all the same.
    #[command(
        after_help = "Example:\n  raft-cli bench --op put --clients 64 --seconds 10 --value-size 256"
    )]
    Bench(BenchArgs),
}

/// What can be done about the lead.
#[derive(Subcommand, Debug)]
pub(crate) enum LeaderCommand {
    /// Hands the lead over, and prints the new leader
    Move {
        /// To this member; without it, to the one that is best fit
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: Option<u64>,
    },
}

/// What can be done about backups.
#[derive(Subcommand, Debug)]
pub(crate) enum SnapshotCommand {
    /// Saves all keys, as they are now, to a file; it holds every write that was acknowledged before
    ///
    /// The file has its name once it is durable and was read back and verified; of one that fails nothing is left. It is readable by its
    /// owner alone. --timeout is how long the cluster may be silent, not how long the whole may take.
    Save {
        /// The file to make
        file: PathBuf,
        /// Take the place of a file of that name
        #[arg(long)]
        force: bool,
    },
    /// Reads a file of `snapshot save`, and checks all of it; exit status 1 if it is damaged, 3 if there is none
    ///
    /// No cluster is asked. The whole state is in memory meanwhile.
    Verify {
        /// The file
        file: PathBuf,
    },
}

/// What can be done about the members.
#[derive(Subcommand, Debug)]
pub(crate) enum MemberCommand {
    /// Lists the members
    List,
    /// Takes a node in that runs with --join; also one whose disk is gone, in place of what it was
    Add {
        /// Its id
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        /// Where the others reach it, HOST:PORT
        address: String,
        /// It is to vote: the leader makes it a voter once it has caught up
        #[arg(long)]
        voter: bool,
    },
    /// Makes a learner a voter, once it has caught up
    Promote {
        /// Its id
        id: u64,
    },
    /// Gives a member another address; its id and its data stay
    Update {
        /// Its id
        id: u64,
        /// Where the others reach it from now on, HOST:PORT
        address: String,
    },
    /// Takes a member out; its data directory stays as it is, and is of no use to the cluster any more
    Remove {
        /// Its id
        id: u64,
        /// Even if fewer than a majority of the voters that are left answer
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct PutArgs {
    /// The key
    pub(crate) key: OsString,
    /// The value; @FILE takes it from a file, and - from standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: OsString,
    /// Print what stood there before, too
    #[arg(long)]
    pub(crate) prev: bool,
    /// Only if the key does not exist
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Only if the key was last changed at this revision; 0: only if it does not exist
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_rev: Option<u64>,
    /// Only if the key has this value
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    pub(crate) if_value: Option<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// The key
    pub(crate) key: OsString,
    /// From whichever node answers, however old, even without a leader
    #[arg(long)]
    pub(crate) stale: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RangeArgs {
    /// The first key; without it, every key
    pub(crate) from: Option<OsString>,
    /// Up to, but without, this key
    pub(crate) to: Option<OsString>,
    /// Every key that begins so
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["from", "to"])]
    pub(crate) prefix: Option<OsString>,
    /// At most so many keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Without the values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Only how many there are
    #[arg(long, conflicts_with_all = ["limit", "keys_only", "reverse"])]
    pub(crate) count: bool,
    /// From the last key to the first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// From whichever node answers, however old, even without a leader
    #[arg(long)]
    pub(crate) stale: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// The key
    #[arg(required_unless_present = "all")]
    pub(crate) key: Option<OsString>,
    /// Every key that begins so; an empty KEY is refused without --all
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Every key there is; no KEY, or an empty one, is needed
    #[arg(long)]
    pub(crate) all: bool,
    /// Only if the key was last changed at this revision
    #[arg(long, value_name = "REVISION", conflicts_with_all = ["prefix", "all"])]
    pub(crate) if_rev: Option<u64>,
    /// Print what stood there before, too
    #[arg(long)]
    pub(crate) prev: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CasArgs {
    /// The key
    pub(crate) key: OsString,
    /// The value it must have
    #[arg(allow_negative_numbers = true)]
    pub(crate) old: OsString,
    /// The value it gets; @FILE takes it from a file, and - from standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) new: OsString,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Show it again every second, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct BenchArgs {
    /// What the clients do
    #[arg(long, default_value = "put")]
    pub(crate) op: BenchOp,
    /// How many clients, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) clients: u32,
    /// Over how many connections; one for every 64 clients, 4 at most, if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) connections: Option<u32>,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// How long to run before it counts, in seconds
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(crate) warm_up: u64,
    /// Bytes of each value; 32 of them are for the check
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(32..=1_048_576))]
    pub(crate) value_size: u32,
    /// How many keys
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys: u32,
    /// How long to wait for each request, such as 500ms or 1m; 5s, or RAFT_TIMEOUT, if not given
    // Under the name of the global one, in whose place it stands here.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BenchOp {
    /// Writes
    Put,
    /// Linearizable reads
    Get,
    /// Half and half
    Mix,
}

impl BenchOp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            BenchOp::Put => "put",
            BenchOp::Get => "get",
            BenchOp::Mix => "mix",
        }
    }
}

/// One line of the shell.
#[derive(Parser, Debug)]
#[command(
    name = "",
    no_binary_name = true,
    disable_version_flag = true,
    about = "One command a line; exit leaves."
)]
pub(crate) struct ShellLine {
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

/// A number and a unit: ms, s, m or h.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "expected a number and a unit, such as 500ms, 5s, 1m or 1h";
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| FORM.to_owned())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(FORM.to_owned()),
    };
    match millis {
        Some(0) => Err("it must be more than nothing".to_owned()),
        Some(millis) if millis <= 365 * 86_400_000 => Ok(Duration::from_millis(millis)),
        _ => Err("it must not be longer than a year".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        ShellLine::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 s",
            "0s",
            "99999999999h",
            "18446744073709551616ms",
            "9000h5",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Example:"), "{}", command.get_name());
        }
    }
}
