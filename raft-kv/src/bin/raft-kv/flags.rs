//! The command line and the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

/// A replicated key-value store for coordination.
#[derive(Debug, Parser)]
#[command(name = "raft-kv", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a node until it is told to stop (SIGTERM, SIGINT).
    ///
    /// Every option may also stand in the environment or in a TOML file (--config); a flag wins over the environment, and
    /// the environment over the file.
    ///
    /// Exit status: 0 stopped; 2 wrong flags or configuration; 3 the data directory is damaged, locked, another node's, or
    /// could not be synced, or the cluster knows this node by another directory; 1 anything else.
    Serve(Flags),
    /// Say what `serve` would use, and where each value comes from.
    CheckConfig(Flags),
    /// Look into the log of a node that does not run. Changes nothing, and needs no permission to write.
    #[command(subcommand)]
    Log(LogVerb),
    /// Make a node's data directory of a backup: once for each node of a new cluster, from the same file and with the same --cluster.
    ///
    /// The nodes found the new cluster when all of them are started; it has a new id, so none of the old cluster can speak to it. The
    /// revision is raised, so that nobody who remembers one of the old cluster takes it for another state; the sessions of the old
    /// cluster have ended, so that a command that is sent again is answered as one whose outcome is unknown.
    ///
    /// Exit status: 0 done, and durable; 1 there is no such file; 2 wrong usage, or the directory is not empty; 3 the backup is damaged, or the
    /// directory could not be written.
    Restore(RestoreFlags),
    /// Make a backup of what is left of a cluster that has lost its majority: of stopped nodes' directories, which stay as they are.
    ///
    /// Of several directories the one with the newest log is taken. All of its entries are kept, though one node cannot know which of the
    /// last ones were committed; writes that only lost nodes had are gone. It says how much that may be. `raft-kv restore` makes a new
    /// cluster of the file.
    ///
    /// Exit status: 0 done; 1 the file could not be written; 2 wrong usage, or nothing there; 3 a directory is damaged, in use, or another program's.
    Recover(RecoverFlags),
}

#[derive(Debug, Args)]
pub(crate) struct RestoreFlags {
    /// The backup, as `raft-cli snapshot save` or `raft-kv recover` wrote it.
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshot: PathBuf,
    /// The directory to make; it must not be there yet, or be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// The node whose directory it is.
    #[arg(long)]
    pub(crate) id: u64,
    /// All first members of the new cluster, this node included.
    #[arg(long, value_name = "ID=HOST:PORT,…")]
    pub(crate) cluster: Addresses,
    /// By how much to raise the revision, and the log's indexes with it: more than the old cluster can have gone on by after the backup. The
    /// same for every node.
    #[arg(long, value_name = "N", default_value_t = raft_kv::backup::REVISION_JUMP)]
    pub(crate) revision_jump: u64,
}

#[derive(Debug, Args)]
pub(crate) struct RecoverFlags {
    /// The data directories of stopped nodes of one cluster.
    #[arg(value_name = "DIR", required = true)]
    pub(crate) dirs: Vec<PathBuf>,
    /// The backup to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Take the place of a file of that name.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogVerb {
    /// List all that stands in the log, in the order of its places, damaged or not.
    ///
    /// Listed are both copies of the superblock, every segment, every record with its place, and what stands between and
    /// behind the records. A value is never shown. What an entry says is what was once written: later truncations stand
    /// in the list as well.
    ///
    /// Each record says how it stands: `complete`, in a batch that is whole; `unfinished`, in one without an end; `stray`,
    /// not behind the record before it.
    ///
    /// With a range, what cut, purged or replaced any of its entries is listed as well, and what does not verify, wherever it is; and at the end stands, list or range, whether
    /// the log is sound, as `verify` judges it.
    ///
    /// Exit status: 0 listed and sound; 2 wrong usage, or nothing there; 3 damaged, in use, or another program's.
    Dump(DumpFlags),
    /// Say whether the log is sound: reads everything, and judges as the next start of the node will.
    ///
    /// Exit status: 0 sound (a torn tail that the next start will cut is no damage: nobody was told of it); 2 wrong usage,
    /// or nothing there; 3 damaged, in use, or another program's.
    Verify(VerifyFlags),
}

#[derive(Debug, Args)]
pub(crate) struct DumpFlags {
    /// The node's data directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Text for people, or one JSON object a line.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: LogFormat,
    /// Only entries with this index or a higher one, truncations, purges and snapshots that touch them, and what does not
    /// verify, wherever it is.
    #[arg(long, value_name = "INDEX")]
    pub(crate) from: Option<u64>,
    /// Only entries with this index or a lower one, truncations, purges and snapshots that touch them, and what does not
    /// verify, wherever it is.
    #[arg(long, value_name = "INDEX")]
    pub(crate) to: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyFlags {
    /// The node's data directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Text for people, or one JSON object.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: LogFormat,
}

/// How log lines and listings look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// This node's number, at least 1.
    #[arg(long, env = "RAFT_KV_ID")]
    pub(crate) id: Option<u64>,
    /// Where to listen [default: this node's address in --cluster].
    #[arg(long, value_name = "HOST:PORT", env = "RAFT_KV_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Where this node keeps its log; made when it is not there.
    #[arg(long, value_name = "DIR", env = "RAFT_KV_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The first members, this node included; used only while the data directory is new.
    #[arg(long, value_name = "ID=HOST:PORT,…", env = "RAFT_KV_CLUSTER")]
    pub(crate) cluster: Option<Addresses>,
    /// Instead of --cluster: wait until a cluster takes this node in; used only while the data directory is new.
    #[arg(long, env = "RAFT_KV_JOIN", action = ArgAction::SetTrue)]
    pub(crate) join: bool,
    /// Where others reach this node [default: its address in --cluster, which it must equal].
    #[arg(long, value_name = "HOST:PORT", env = "RAFT_KV_ADVERTISE")]
    pub(crate) advertise: Option<String>,
    /// How long a follower waits for a leader before it campaigns, at least [default: 1000ms].
    #[arg(long, value_name = "TIME", env = "RAFT_KV_ELECTION_TIMEOUT")]
    pub(crate) election_timeout: Option<Time>,
    /// How often a leader speaks, at least; at most a third of --election-timeout [default: 100ms].
    #[arg(long, value_name = "TIME", env = "RAFT_KV_HEARTBEAT")]
    pub(crate) heartbeat: Option<Time>,
    /// Write the state to a snapshot after so many entries, and let go of the log in front of it; earlier if they are large
    /// [default: 100000].
    #[arg(long, value_name = "ENTRIES", env = "RAFT_KV_SNAPSHOT_EVERY")]
    pub(crate) snapshot_every: Option<u64>,
    /// Write a snapshot already after entries of so many bytes; a quarter of that at most stays in front of it for followers that are a
    /// little behind [default: 64MiB].
    #[arg(long, value_name = "SIZE", env = "RAFT_KV_SNAPSHOT_BYTES")]
    pub(crate) snapshot_bytes: Option<Size>,
    /// How large each of the log's files is; two stand on the disk from the start [default: 16MiB].
    #[arg(long, value_name = "SIZE", env = "RAFT_KV_SEGMENT_BYTES")]
    pub(crate) segment_bytes: Option<Size>,
    /// How log lines on standard error look [default: text]. What is logged, RUST_LOG says.
    #[arg(long, value_name = "FORMAT", env = "RAFT_KV_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Dial a node there instead of where the membership says; may be given several times. For tests.
    #[arg(long, value_name = "ID=HOST:PORT", env = "RAFT_KV_DIAL_OVERRIDE", action = ArgAction::Append)]
    pub(crate) dial_override: Vec<Addresses>,
    /// Stop when standard input ends, so that a node does not outlive who started it.
    #[arg(long, env = "RAFT_KV_EXIT_WITH_STDIN", action = ArgAction::SetTrue)]
    pub(crate) exit_with_stdin: bool,
    /// A TOML file with any of these options, named as here with _ for -.
    #[arg(long, value_name = "FILE", env = "RAFT_KV_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// Nodes and their addresses: `1=host:port,2=host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses(pub(crate) BTreeMap<u64, String>);

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut addresses = BTreeMap::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let wrong = || format!("{part:?} is not ID=HOST:PORT");
            let (id, address) = part.split_once('=').ok_or_else(wrong)?;
            let id: u64 = id.trim().parse().map_err(|_| wrong())?;
            if addresses.insert(id, address.trim().to_owned()).is_some() {
                return Err(format!("node {id} stands in the list twice"));
            }
        }
        if addresses.is_empty() {
            return Err("the list is empty; write ID=HOST:PORT,…".into());
        }
        Ok(Self(addresses))
    }
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (id, address)) in self.0.iter().enumerate() {
            write!(f, "{}{id}={address}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A number of bytes: `4096`, `512KiB`, `64MiB` or `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// What a unit stands for, the largest first.
const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size; write 4096, 512KiB, 64MiB or 1GiB");
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let known = UNITS.iter().find(|(name, _)| *name == unit.trim());
        let bytes = known.and_then(|(_, each)| number.checked_mul(*each));
        bytes.map(Self).ok_or_else(wrong)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fits = |(_, each): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*each);
        let (name, each) = UNITS.iter().find(fits).unwrap_or(&("", 1));
        write!(f, "{}{name}", self.0 / each)
    }
}

/// A duration: `250ms` or `2s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time; write 250ms or 2s");
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit.trim() {
            "ms" => number,
            "s" => number.checked_mul(1000).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}
