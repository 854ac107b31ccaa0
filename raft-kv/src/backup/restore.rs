//! A backup as the directory of a founder of a new cluster.

use std::path::{Path, PathBuf};

use raft_core::{Incarnation, Index, NodeId};
use raft_log::{Files, OsFiles};

use super::{Backup, BackupError};
use crate::node::formation::{Founders, FoundersError, check_founders};
use crate::node::{DirectoryError, Image, NodeConfig, NodeConfigError, disk, seed};
use crate::store::JumpTooFar;
use crate::wire::{Seed, SeedHead};

/// By how much the revision is raised, and the log's indexes with it, unless someone says otherwise: 2⁴⁰, more than a cluster applies in
/// thirty years at a thousand commands a second. Numbers end at 2⁶³, so it costs nothing. Fencing tokens and leases are such numbers, too.
pub const REVISION_JUMP: u64 = 1 << 40;

/// What is restored, and for whom.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The backup.
    pub backup: PathBuf,
    /// The directory to make; it must not be there, or be empty.
    pub data_dir: PathBuf,
    /// The node whose directory it is.
    pub id: u64,
    /// All founders of the new cluster, this node among them: the same for each of them.
    pub cluster: std::collections::BTreeMap<u64, String>,
    /// By how much the revision is raised; the same for each of them.
    pub revision_jump: u64,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup.
    pub backup: super::Summary,
    /// What the new cluster begins with.
    pub seed: Seed,
    /// The revision that it begins with.
    pub revision: u64,
    /// The node's new incarnation.
    pub incarnation: Incarnation,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The list cannot work.
    #[error(transparent)]
    Founders(#[from] FoundersError),
    /// An address or an id in it cannot work.
    #[error(transparent)]
    Config(#[from] NodeConfigError),
    /// The jump cannot be.
    #[error(transparent)]
    Jump(#[from] JumpTooFar),
    /// The directory cannot be made.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Makes a founder's directory of a backup. It is whole and durable when this returns; one that is left by a crash is refused by the
/// node.
///
/// # Errors
/// As [`RestoreError`] lists them.
pub fn restore(options: &RestoreOptions) -> Result<Restored, RestoreError> {
    let config = NodeConfig::new(
        options.id,
        options.data_dir.clone(),
        options.cluster.clone(),
    );
    let founders = config.founders();
    // Before the node's own address is looked at, which is none where the list has none.
    check_founders(&founders, NodeId(options.id))?;
    config.validate()?;
    let backup = Backup::read(&options.backup)?;
    restore_with(
        &OsFiles,
        &options.data_dir,
        (options.id, disk::draw_incarnation()),
        disk::options(config.segment_bytes),
        backup,
        &founders,
        options.revision_jump,
    )
}

/// [`restore`] on any files, of a backup that was read.
pub(crate) fn restore_with<F: Files>(
    files: &F,
    dir: &Path,
    (id, incarnation): (u64, Incarnation),
    log: raft_log::Options,
    backup: Backup,
    founders: &Founders,
    jump: u64,
) -> Result<Restored, RestoreError> {
    let summary = backup.summary();
    let Backup {
        head,
        file,
        mut store,
    } = backup;
    let at = file.last.index.0.checked_add(jump);
    let at = Index(at.ok_or(JumpTooFar { jump })?);
    store.begin_anew(at, jump)?;
    let revision = store.revision();
    let head = SeedHead {
        source_cluster: head.cluster,
        source: file,
        founders: (founders.iter())
            .map(|(node, address)| (*node, address.clone()))
            .collect(),
    };
    let image = Image::new(move |out| store.write_to(out));
    let seed = seed::plant(files, dir, (id, incarnation), log, (&head, at.0), image)?;
    Ok(Restored {
        backup: summary,
        seed,
        revision,
        incarnation,
    })
}
