//! What raft-log does a second, beside raft-engine and a bare loop of write and `fdatasync`.
//!
//! All contenders run in turns in one process on one disk; who begins changes from round to round. Nothing is judged: the
//! tables are for a person. Run it by `cargo xtask bench log`.

mod contender;
mod entry;
mod read;
mod report;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

/// Measures the log, beside raft-engine and a bare loop.
#[derive(Parser)]
struct Arguments {
    /// Where the logs are written: a directory that is made, and emptied at the end
    #[arg(long)]
    dir: PathBuf,
    /// The file to which each measurement is appended as a line of JSON
    #[arg(long)]
    json: PathBuf,
    /// How often everything is measured
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long each contender writes in a round, in milliseconds
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// How many entries become durable at once, a list
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024])]
    entries: Vec<usize>,
    /// The size of the log that is opened and read, in MiB
    #[arg(long, default_value_t = 1024)]
    open_mib: u64,
    /// Only this: `write` or `read`
    #[arg(long, value_parser = ["write", "read"])]
    only: Option<String>,
}

impl Arguments {
    fn time(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments
        .entries
        .iter()
        .any(|entries| !(1..=entry::ENTRIES_MAX).contains(entries))
    {
        bail!("--entries takes numbers from 1 to {}", entry::ENTRIES_MAX);
    }
    std::fs::create_dir_all(&arguments.dir)
        .with_context(|| format!("cannot make {}", arguments.dir.display()))?;
    check_disk(&arguments.dir)?;
    let dir = arguments
        .dir
        .join(format!("bench-log-{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let outcome = measure(&arguments, &dir);
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    outcome
}

fn measure(arguments: &Arguments, dir: &Path) -> Result<()> {
    let mut lines = report::Lines::open(&arguments.json)?;
    println!("{}.\n", contender::PEER_CONFIGURATION);
    println!(
        "{} rounds of {} ms, in turns.\n",
        arguments.rounds, arguments.millis
    );
    let wanted = |part| arguments.only.as_deref().is_none_or(|only| only == part);
    if wanted("write") {
        write::run(arguments, dir, &mut lines)?;
    }
    if wanted("read") {
        read::run(arguments, dir, &mut lines)?;
    }
    Ok(())
}

/// A sync on a file system in memory costs nothing: what is measured there is of no use.
fn check_disk(dir: &Path) -> Result<()> {
    const TMPFS: i64 = 0x0102_1994;
    let kind = rustix::fs::statfs(dir)
        .with_context(|| format!("cannot ask about {}", dir.display()))?
        .f_type;
    if kind as i64 == TMPFS {
        bail!(
            "{} is a tmpfs, where a sync costs nothing; choose a directory on a disk with --dir",
            dir.display()
        );
    }
    Ok(())
}
