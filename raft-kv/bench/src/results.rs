//! The results file: a line of JSON for each measurement, appended as it is made, so that a run that was interrupted goes on.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The file, and what is in it.
pub(crate) struct Results {
    path: PathBuf,
    file: File,
    lines: Vec<Value>,
}

impl Results {
    /// Opens the file, or begins it with `settings`.
    ///
    /// # Errors
    /// When it cannot be read or written, or was begun with other settings: its figures and new ones would not be of one run.
    pub(crate) fn open(path: &Path, settings: &Value) -> Result<Results> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let lines = parse(&text).with_context(|| format!("{} is damaged", path.display()))?;
        let unwritable = || format!("cannot write {}", path.display());
        let file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .with_context(unwritable)?;
        let mut results = Results {
            path: path.to_path_buf(),
            file,
            lines,
        };
        match results.lines.first() {
            None => results.append(settings.clone())?,
            Some(begun) if begun == settings => {}
            Some(begun) => bail!(
                "{} was begun with other settings\n  then: {begun}\n  now:  {settings}\n\
                 hint: --fresh begins it anew, --results FILE writes to another",
                path.display()
            ),
        }
        Ok(results)
    }

    pub(crate) fn append(&mut self, line: Value) -> Result<()> {
        writeln!(self.file, "{line}")
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.lines.push(line);
        Ok(())
    }

    /// Whether something was measured that has all these fields.
    pub(crate) fn has(&self, fields: &Value) -> bool {
        self.lines.iter().any(|line| contains(line, fields))
    }

    /// All measurements that have these fields, in the order in which they were made.
    pub(crate) fn of(&self, fields: Value) -> impl Iterator<Item = &Value> {
        self.lines
            .iter()
            .filter(move |line| contains(line, &fields))
    }

    /// The settings that it was begun with.
    pub(crate) fn settings(&self) -> &Value {
        self.lines.first().unwrap_or(&Value::Null)
    }
}

/// A last line without its end was being written when the run was interrupted: it is no line.
fn parse(text: &str) -> Result<Vec<Value>> {
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let lines = text[..whole].lines();
    Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn contains(line: &Value, fields: &Value) -> bool {
    let Some(fields) = fields.as_object() else {
        return false;
    };
    fields
        .iter()
        .all(|(name, value)| line.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_found_by_its_fields() {
        let line = json!({"part": "load", "round": 1, "ops": 7});
        assert!(contains(&line, &json!({"part": "load", "round": 1})));
        assert!(!contains(&line, &json!({"part": "load", "round": 2})));
        assert!(!contains(&line, &json!({"part": "load", "side": "etcd"})));
    }

    #[test]
    fn a_line_that_was_cut_short_is_dropped() {
        assert_eq!(parse("{\"a\":1}\n{\"b\":").unwrap(), [json!({"a": 1})]);
        assert!(parse("{\"a\":\n").is_err());
    }
}
