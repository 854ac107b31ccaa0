//! Medians with their spread, and one JSON line a measurement.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The value in the middle, the least and the most.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Spread {
            median: at(values.len() / 2),
            least: at(0),
            most: at(values.len().wrapping_sub(1)),
        }
    }

    /// `median (least–most)`, each with so many digits behind the point.
    pub fn show(self, digits: usize) -> String {
        let Spread {
            median,
            least,
            most,
        } = self;
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

/// Appends measurements to a file, a line each.
pub struct Lines {
    file: std::fs::File,
    run: u64,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Lines> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write to {}", path.display()))?;
        let run = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs();
        Ok(Lines { file, run })
    }

    /// `run` in each line is the second in which the run began.
    pub fn add(&mut self, measurement: &str, fields: Value) -> Result<()> {
        let mut line = json!({ "run": self.run, "measurement": measurement });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        Ok(writeln!(self.file, "{line}")?)
    }
}
