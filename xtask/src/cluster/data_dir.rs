//! The folder that holds the nodes' data: made and emptied by this command only.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Lies in every folder that this command made, and says for which cluster.
const MARKER: &str = ".cargo-xtask-cluster";

/// Makes the folder ready for a cluster of `nodes` nodes on the ports from `base_port`.
///
/// # Errors
/// When the folder is there but not made by this command, holds a cluster of another shape, or cannot be written.
pub(super) fn prepare(folder: &Path, nodes: u8, base_port: u16, fresh: bool) -> Result<()> {
    let shape = format!("nodes = {nodes}\nbase-port = {base_port}\n");
    let shown = folder.display();
    match fs::read_to_string(folder.join(MARKER)) {
        Ok(_) if fresh => {
            fs::remove_dir_all(folder).with_context(|| format!("cannot empty {shown}"))?;
        }
        // The addresses stand in the membership that the nodes made durable when the cluster was formed.
        Ok(found) => {
            ensure!(
                found == shape,
                "{shown} holds a cluster with {}; give the same again, another --data-dir, or --fresh to delete it",
                found.trim_end().replace('\n', ", ")
            );
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => refuse_foreign(folder)?,
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}/{MARKER}")),
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {shown}"))?;
    fs::write(folder.join(MARKER), shape).with_context(|| format!("cannot write into {shown}"))
}

/// Without a marker, a folder may be used only where there is nothing in it.
fn refuse_foreign(folder: &Path) -> Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => ensure!(
            entries.next().is_none(),
            "{} is not empty and was not made by `cargo xtask cluster`; choose another --data-dir",
            folder.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot use {}", folder.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_until_fresh_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        prepare(&folder, 3, 7101, false).unwrap();
        fs::write(folder.join("data"), "x").unwrap();
        prepare(&folder, 3, 7101, false).unwrap();
        assert!(folder.join("data").exists());
        let error = prepare(&folder, 5, 7101, false).unwrap_err().to_string();
        assert!(
            error.contains("holds a cluster with nodes = 3, base-port = 7101;"),
            "{error}"
        );
        prepare(&folder, 5, 7101, true).unwrap();
        assert!(!folder.join("data").exists());
        prepare(&folder, 5, 7101, false).unwrap();
    }

    #[test]
    fn a_foreign_folder_is_never_touched() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("precious"), "x").unwrap();
        for fresh in [false, true] {
            let error = prepare(root.path(), 3, 7101, fresh)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("was not made by `cargo xtask cluster`"),
                "{error}"
            );
            assert!(root.path().join("precious").exists());
        }
        let file = root.path().join("precious");
        assert!(prepare(&file, 3, 7101, true).is_err());
    }
}
