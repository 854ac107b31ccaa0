//! What a run is made of: programs, directory, times.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock, statfs};

use crate::cluster::Programs;
use crate::load::Op;

/// What is measured how.
pub(crate) struct Run {
    pub(crate) programs: Programs,
    /// Holds the servers' directories; ours alone.
    pub(crate) dir: PathBuf,
    pub(crate) rounds: u32,
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
    pub(crate) clients: Vec<u32>,
    pub(crate) ops: Vec<Op>,
    pub(crate) keys: u32,
    /// How often a leader is killed.
    pub(crate) kills: u32,
    /// How many keys stand in a cluster that is restarted.
    pub(crate) restart_keys: u32,
}

impl Run {
    /// Progress, beside the tables.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Removes what the servers wrote.
    pub(crate) fn clear(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Makes a directory that this run has for itself: one of an earlier run that was interrupted is emptied.
///
/// # Errors
/// When it is on no disk, or another run is using it.
pub(crate) fn prepare(parent: &Path) -> Result<(PathBuf, File)> {
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    check_disk(parent)?;
    let path = parent.join("bench-cluster.lock");
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another benchmark is using {}; two at once would measure each other. Wait for it, or choose another --dir",
            parent.display()
        );
    }
    Ok((parent.join("bench-cluster-data"), lock))
}

/// A sync on a file system in memory costs nothing: what is measured there is of no use.
fn check_disk(dir: &Path) -> Result<()> {
    const TMPFS: i64 = 0x0102_1994;
    let kind = statfs(dir)
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
