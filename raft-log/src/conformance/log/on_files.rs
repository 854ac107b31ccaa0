//! The log of this crate, for the suite.

use std::path::{Path, PathBuf};

use super::{DurableLog, Entry, State, Unit};
use crate::batch::{Batch, Record};
use crate::conformance::Power;
use crate::log::Log;
use crate::options::Options;

/// A [`Log`] with small segments on files that can lose their power.
#[derive(Debug)]
pub struct OnFiles<F: Power> {
    files: F,
    dir: PathBuf,
    log: Option<Log<F>>,
}

impl<F: Power> OnFiles<F> {
    /// A log that will be made in this directory.
    pub fn new(files: F, dir: &Path) -> Self {
        OnFiles {
            files,
            dir: dir.to_path_buf(),
            log: None,
        }
    }

    fn log(&mut self) -> Result<&mut Log<F>, String> {
        self.log
            .as_mut()
            .ok_or_else(|| "the log is not open".to_owned())
    }
}

impl<F: Power> DurableLog for OnFiles<F> {
    fn open(&mut self) -> Result<State, String> {
        self.log = None;
        let options = Options {
            segment_bytes: 4096,
            background: false,
            ..Options::new("conformance")
        };
        let opened = Log::open_with(self.files.clone(), &self.dir, options);
        let (log, recovery) = opened.map_err(|error| error.to_string())?;
        self.log = Some(log);
        Ok(State {
            hard_state: recovery.metadata,
            last: recovery.last_index,
        })
    }

    fn persist(&mut self, unit: &Unit) -> Result<(), String> {
        let mut batch = Batch::new();
        if let Some(hard_state) = &unit.hard_state {
            batch.metadata(hard_state);
        }
        if let Some(index) = unit.truncate_from {
            batch.truncate_from(index);
        }
        for Entry {
            index,
            term,
            payload,
        } in &unit.entries
        {
            batch.append(Record {
                index: *index,
                term: *term,
                kind: 0,
                payload,
            });
        }
        self.log()?
            .commit(&batch)
            .map_err(|error| error.to_string())
    }

    fn read(&mut self, index: u64) -> Result<Entry, String> {
        let read = self.log()?.reader().read(index, 0);
        let records = read.map_err(|error| error.to_string())?;
        let record = records.into_iter().next().ok_or("nothing was read")?;
        Ok(Entry {
            index: record.index,
            term: record.term,
            payload: record.payload.to_vec(),
        })
    }

    fn end_process(&mut self) {
        self.files.end_process();
        self.log = None;
    }

    fn lose_power(&mut self, seed: u64) {
        self.files.lose_power(seed);
        self.log = None;
    }

    fn interrupt(&mut self, operation: u64) {
        self.files.interrupt(operation);
    }
}
