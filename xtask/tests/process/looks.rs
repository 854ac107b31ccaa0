//! What tests look at from outside: a member's row of the status, memory, files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use xtask::local::{Shell, wait_for};

use crate::harness::{PATIENCE, TestCluster};

impl TestCluster {
    /// A member's row of the status.
    pub(crate) fn row(&self, id: u8) -> Result<Value> {
        let members = self.client().members()?;
        let mut rows = members.into_iter();
        let row = rows.find(|row| row["id"] == id);
        row.with_context(|| format!("the status has no row for n{id}"))
    }

    /// The highest term that any member knows.
    pub(crate) fn term(&self) -> u64 {
        let members = self.client().members().unwrap();
        let terms = members.iter().filter_map(|row| row["term"].as_u64());
        terms.max().unwrap()
    }

    /// Any node that does not lead.
    pub(crate) fn follower(&self) -> u8 {
        let leader = self.leader();
        self.ids().into_iter().find(|id| *id != leader).unwrap()
    }

    /// Waits until a member's row is so; the row. `wrong` says why it is not.
    pub(crate) fn wait_for_row(&self, id: u8, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, PATIENCE, || {
            let row = self.row(id)?;
            anyhow::ensure!(is(&row), "{row}");
            Ok(row)
        })
        .unwrap()
    }

    /// Waits until all members have applied what the leader has, and compares their states.
    pub(crate) fn assert_equal(&self) {
        for id in self.ids() {
            self.wait_for_row(id, "it to have all", |row| row["lag"] == 0);
        }
        let client = self.client().with_timeout(PATIENCE);
        let check = client.json(&["check"]).unwrap();
        let compared = check["members"].as_array().map_or(0, Vec::len);
        assert_eq!(check["equal"], true, "{check}");
        assert_eq!(compared, self.ids().len(), "{check}");
    }

    /// How much memory a node's process has, in bytes.
    pub(crate) fn memory_bytes(&mut self, id: u8) -> u64 {
        let pid = self.node(id).unwrap().pid().unwrap();
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1024
    }

    /// The names of a node's files.
    pub(crate) fn files(&self, id: u8) -> Vec<String> {
        names(&self.data_dir(id))
    }

    /// How large a node's files are together: those of the log, and its snapshots, unfinished ones too. One may go while they are counted.
    pub(crate) fn directory_bytes(&self, id: u8) -> (u64, u64) {
        let dir = self.data_dir(id);
        let (mut log, mut snapshots) = (0, 0);
        for name in names(&dir) {
            let bytes = fs::metadata(dir.join(&name)).map_or(0, |metadata| metadata.len());
            match name.contains(".snap") {
                true => snapshots += bytes,
                false => log += bytes,
            }
        }
        (log, snapshots)
    }

    /// Waits until nothing unfinished is left in any data directory.
    pub(crate) fn assert_nothing_unfinished(&self) {
        for id in self.ids() {
            wait_for("no temporary file to be left", PATIENCE, || {
                let files = self.files(id);
                let unfinished = files.iter().any(|name| name.ends_with(".tmp"));
                anyhow::ensure!(!unfinished, "n{id}: {files:?}");
                Ok(())
            })
            .unwrap();
        }
    }

    /// A shell that waits long for each of its answers.
    pub(crate) fn patient_shell(&self) -> Shell {
        self.client().with_timeout(PATIENCE).shell().unwrap()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A write that is acknowledged.
pub(crate) fn put(shell: &mut Shell, key: &str, value: &str) {
    let answer = shell.ask(&format!("put {key} {value}")).unwrap();
    assert!(answer["revision"].is_u64(), "{key}: {answer}");
}
