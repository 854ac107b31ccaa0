//! A log that writes all it has into a new file for every unit, and may forget something.

use std::path::Path;

use raft_log::conformance::Power;
use raft_log::conformance::log::{DurableLog, Entry, State, Unit};
use raft_log::sim_disk::SimDisk;
use raft_log::{FileHandle, Files};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ToyFlaw {
    NoSync,
    NoSyncDir,
    KeepsATruncatedSuffix,
    LosesTheVote,
    /// Trusts names that a former process may not have synced.
    ShowsWhatIsNotSynced,
    LosesTheLastEntry,
    InventsAnEntry,
    WritesUnitsInTwoParts,
    ReadsTheWrongEntry,
    RefusesUnits,
}

pub(crate) struct ToyLog {
    disk: SimDisk,
    flaw: Option<ToyFlaw>,
    hard_state: Option<Vec<u8>>,
    entries: Vec<Entry>,
}

const DIR: &str = "/toy";
const FILE: &str = "/toy/log";
const NEW: &str = "/toy/new";

impl ToyLog {
    pub(crate) fn new(disk: SimDisk, flaw: Option<ToyFlaw>) -> ToyLog {
        ToyLog {
            disk,
            flaw,
            hard_state: None,
            entries: Vec::new(),
        }
    }

    fn has(&self, flaw: ToyFlaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Numbers and byte strings in a row; what was lost of them reads as zeros, that is as nothing.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut string = |string: &[u8]| {
            bytes.extend((string.len() as u64 + 1).to_le_bytes());
            bytes.extend(string);
        };
        string(self.hard_state.as_deref().unwrap_or_default());
        for entry in &self.entries {
            string(&entry.term.to_le_bytes());
            string(&entry.payload);
        }
        bytes
    }

    fn parse(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        let mut strings = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = u64::from_le_bytes(*length) as usize;
            if length == 0 || length > behind.len() + 1 {
                break;
            }
            strings.push(behind[..length - 1].to_vec());
            rest = &behind[length - 1..];
        }
        let mut strings = strings.into_iter();
        self.hard_state = strings.next().filter(|state| !state.is_empty());
        self.entries.clear();
        while let (Some(term), Some(payload)) = (strings.next(), strings.next()) {
            let term = u64::from_le_bytes(term.try_into().unwrap());
            let index = self.entries.len() as u64 + 1;
            let entry = Entry {
                index,
                term,
                payload,
            };
            self.entries.push(entry);
        }
    }

    fn save(&self) -> std::io::Result<()> {
        let [dir, file, new] = [DIR, FILE, NEW].map(Path::new);
        let handle = self.disk.create(new)?;
        handle.write_all_at(&self.bytes(), 0)?;
        if !self.has(ToyFlaw::NoSync) {
            handle.sync_all()?;
        }
        self.disk.rename(new, file)?;
        if !self.has(ToyFlaw::NoSyncDir) {
            self.disk.sync_dir(dir)?;
        }
        Ok(())
    }
}

impl DurableLog for ToyLog {
    fn open(&mut self) -> Result<State, String> {
        let load = || -> std::io::Result<Vec<u8>> {
            self.disk.create_dir(Path::new(DIR))?;
            if ![
                Some(ToyFlaw::ShowsWhatIsNotSynced),
                Some(ToyFlaw::NoSyncDir),
            ]
            .contains(&self.flaw)
            {
                self.disk.sync_dir(Path::new(DIR))?;
            }
            let file = match self.disk.open(Path::new(FILE)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                file => file?,
            };
            let mut bytes = vec![0; file.len()? as usize];
            file.read_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        let bytes = load().map_err(|error| error.to_string())?;
        self.parse(&bytes);
        if self.has(ToyFlaw::LosesTheLastEntry) {
            self.entries.pop();
        }
        if self.has(ToyFlaw::InventsAnEntry) && !self.entries.is_empty() {
            let index = self.entries.len() as u64 + 1;
            let payload = b"never written".to_vec();
            self.entries.push(Entry {
                index,
                term: 99,
                payload,
            });
        }
        Ok(State {
            hard_state: self.hard_state.clone(),
            last: self.entries.len() as u64,
        })
    }

    fn persist(&mut self, unit: &Unit) -> Result<(), String> {
        if self.has(ToyFlaw::RefusesUnits) {
            return Err("not today".to_owned());
        }
        if let Some(hard_state) = &unit.hard_state {
            self.hard_state = Some(hard_state.clone());
        }
        if self.has(ToyFlaw::WritesUnitsInTwoParts) {
            self.save().map_err(|error| error.to_string())?;
        }
        let whole = self.entries.clone();
        if let Some(index) = unit.truncate_from {
            self.entries.truncate(index as usize - 1);
        }
        self.entries.extend(unit.entries.iter().cloned());
        let vote = self.hard_state.clone();
        let kept = self.entries.clone();
        if self.has(ToyFlaw::LosesTheVote) {
            self.hard_state = None;
        }
        if self.has(ToyFlaw::KeepsATruncatedSuffix) && unit.entries.is_empty() {
            self.entries = whole;
        }
        let saved = self.save();
        (self.hard_state, self.entries) = (vote, kept);
        saved.map_err(|error| error.to_string())
    }

    fn read(&mut self, index: u64) -> Result<Entry, String> {
        let at = if self.has(ToyFlaw::ReadsTheWrongEntry) {
            0
        } else {
            index as usize - 1
        };
        self.entries
            .get(at)
            .cloned()
            .ok_or_else(|| "beyond the end".to_owned())
    }

    fn end_process(&mut self) {
        self.disk.end_process();
    }

    fn lose_power(&mut self, seed: u64) {
        self.disk.lose_power(seed);
    }

    fn interrupt(&mut self, operation: u64) {
        self.disk.interrupt(operation);
    }
}
