//! What becomes of the snapshot files at an opening.

use std::path::Path;

use super::error::SnapshotReadError;
use super::read::SnapshotReader;
use super::verify::{identify, open_glancing};
use super::{SnapshotId, is_temporary, parse_name, snapshot_name};
use crate::error::{Failure, OpenError};
use crate::files::Files;
use crate::index::Index;

/// What an opening does about the snapshot files it found.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Not marked, but whole, and the log holds the record it ends with: it is marked now.
    pub(crate) adopt: Option<SnapshotId>,
    /// Files that were being written.
    pub(crate) temporaries: Vec<String>,
    /// Those older than the newest mark, and those that never were marked. They may go only when the recovered end of the log
    /// is durable: until then, an older mark may come back with a crash.
    pub(crate) stale: Vec<String>,
}

/// Looks at all snapshot files; changes nothing. The marked one must be there, with the right length, header and footer.
/// Without an index there is no log yet, and no snapshot that counts.
pub(crate) fn examine<F: Files>(
    files: &F,
    dir: &Path,
    names: &[String],
    index: Option<&Index>,
) -> Result<Plan, OpenError> {
    let marked = index.and_then(|index| index.snapshot);
    if let Some(id) = marked {
        open_glancing(files, &dir.join(snapshot_name(id.index, id.term)), &id)?;
    }
    let mut found: Vec<_> = names.iter().filter_map(|name| parse_name(name)).collect();
    // The newest first: it makes all others stale.
    found.sort_unstable_by(|one, other| other.cmp(one));
    let mut plan = Plan {
        temporaries: names
            .iter()
            .filter(|name| is_temporary(name))
            .cloned()
            .collect(),
        ..Plan::default()
    };
    for (at, term) in found {
        if marked.is_some_and(|id| (id.index, id.term) == (at, term)) {
            continue;
        }
        let newer = marked.is_none_or(|id| at > id.index) && plan.adopt.is_none();
        let holds = index.is_some_and(|index| index.term(at) == Some(term));
        if newer && holds {
            plan.adopt = adoptable(files, &dir.join(snapshot_name(at, term)), (at, term))?;
            if plan.adopt.is_some() {
                continue;
            }
        }
        plan.stale.push(snapshot_name(at, term));
    }
    Ok(plan)
}

/// Reads and verifies all of a snapshot.
pub(crate) fn verify<F: Files>(
    files: &F,
    dir: &Path,
    id: &SnapshotId,
) -> Result<(), SnapshotReadError> {
    open(files, dir, id)?.verify()
}

/// Opens a snapshot for reading.
pub(crate) fn open<F: Files>(
    files: &F,
    dir: &Path,
    id: &SnapshotId,
) -> Result<SnapshotReader<F>, SnapshotReadError> {
    let path = dir.join(snapshot_name(id.index, id.term));
    SnapshotReader::open(files, path, id)
}

/// Which snapshot a file is, if all of it verifies.
pub(crate) fn verify_file<F: Files>(
    files: &F,
    path: &Path,
) -> Result<SnapshotId, SnapshotReadError> {
    let id = identify(files, path)?;
    SnapshotReader::open(files, path.to_path_buf(), &id)?.verify()?;
    Ok(id)
}

/// The snapshot in an unmarked file, if all of it verifies.
fn adoptable<F: Files>(
    files: &F,
    path: &Path,
    named: (u64, u64),
) -> Result<Option<SnapshotId>, Failure> {
    match verify_file(files, path) {
        Ok(id) => Ok(((id.index, id.term) == named).then_some(id)),
        Err(SnapshotReadError::Io(failure)) => Err(failure),
        Err(error) => {
            tracing::warn!(%error, "a snapshot that never was marked is discarded");
            Ok(None)
        }
    }
}

/// Removes files by name; one that is gone already is no error.
pub(crate) fn remove<F: Files>(files: &F, dir: &Path, names: &[String]) -> Result<(), Failure> {
    for name in names {
        let path = dir.join(name);
        match files.remove(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(()) => {}
            Err(source) => return Err(Failure::new("remove the snapshot", &path, source)),
        }
    }
    Ok(())
}
