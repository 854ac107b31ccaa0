//! What writers were told, and whether the store agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::local::{Client, Shell};

/// How many keys are read in one go when the ledger is checked.
const PAGE: usize = 500;

/// What a writer was told about one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, at this revision.
    Acknowledged(u64),
    /// Perhaps applied, perhaps not.
    Unknown,
    /// Surely not applied.
    Refused,
}

/// One write as its writer saw it.
#[derive(Clone, Debug)]
pub struct Write {
    /// The key it went to.
    pub key: String,
    /// The value it carried.
    pub value: String,
    /// What came of it.
    pub outcome: Outcome,
}

impl Outcome {
    /// Reads an answer of `raft-cli -o json` to a put.
    ///
    /// # Errors
    /// When it is neither an acknowledgement nor an error that says whether the write may have been applied.
    pub fn of_put(answer: &Value) -> Result<Outcome> {
        if let Some(revision) = answer.get("revision").and_then(Value::as_u64) {
            return Ok(Outcome::Acknowledged(revision));
        }
        match answer
            .pointer("/error/maybe_applied")
            .and_then(Value::as_bool)
        {
            Some(true) => Ok(Outcome::Unknown),
            Some(false) => Ok(Outcome::Refused),
            None => bail!("neither a result nor an error with `maybe_applied`: {answer}"),
        }
    }
}

/// All writes of a run, by writer and in the order in which each made them. No two writers share a key.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    writers: Vec<Vec<Write>>,
}

/// What a check of a ledger found in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Writes that were acknowledged, and are there once.
    pub acknowledged: usize,
    /// Writes whose outcome was unknown to their writer.
    pub unknown: usize,
    /// Of those, the ones that were applied.
    pub unknown_applied: usize,
    /// Writes that were refused, and are not there.
    pub refused: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} acknowledged writes, each there and applied once; {} of unknown outcome ({} applied, once each); \
             {} refused and not there",
            self.acknowledged, self.unknown, self.unknown_applied, self.refused
        )
    }
}

/// A key as the store has it.
struct Found {
    value: String,
    version: u64,
}

impl Ledger {
    /// A ledger of these writers' writes.
    #[must_use]
    pub fn new(writers: Vec<Vec<Write>>) -> Ledger {
        Ledger { writers }
    }

    /// Compares the ledger with all keys of the store that begin with `prefix`.
    ///
    /// # Errors
    /// When an acknowledged write is missing, a refused one is there, one was applied twice, or the store holds a key
    /// that nobody wrote; and when the store cannot be read.
    pub fn check(&self, client: &Client, prefix: &str) -> Result<Verdict> {
        self.compare(&read_all(&mut client.shell()?, prefix)?)
    }

    fn compare(&self, store: &BTreeMap<String, Found>) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        let mut written = BTreeSet::new();
        for writes in &self.writers {
            let mut by_key: BTreeMap<&str, Vec<&Write>> = BTreeMap::new();
            let mut newest = 0;
            for write in writes {
                by_key.entry(&write.key).or_default().push(write);
                if let Outcome::Acknowledged(revision) = write.outcome {
                    ensure!(
                        revision > newest,
                        "{write:?} came after a write at revision {newest}"
                    );
                    newest = revision;
                }
            }
            for (key, writes) in by_key {
                verdict.add(check_key(key, &writes, store.get(key))?);
                written.insert(key);
            }
        }
        if let Some(key) = store.keys().find(|key| !written.contains(key.as_str())) {
            bail!("the store holds {key}, which nobody wrote");
        }
        Ok(verdict)
    }
}

impl Verdict {
    fn add(&mut self, other: Verdict) {
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.unknown_applied += other.unknown_applied;
        self.refused += other.refused;
    }
}

/// Compares one key with the writes to it: the version counts how many were applied, the value is one of the last.
fn check_key(key: &str, writes: &[&Write], found: Option<&Found>) -> Result<Verdict> {
    let count =
        |wanted: fn(&Outcome) -> bool| writes.iter().filter(|write| wanted(&write.outcome)).count();
    let acknowledged = count(|outcome| matches!(outcome, Outcome::Acknowledged(_)));
    let unknown = count(|outcome| *outcome == Outcome::Unknown);
    let refused = count(|outcome| *outcome == Outcome::Refused);
    let applied = found.map_or(0, |found| {
        usize::try_from(found.version).unwrap_or(usize::MAX)
    });
    ensure!(
        applied >= acknowledged,
        "{key}: {acknowledged} writes were acknowledged, {applied} are there"
    );
    ensure!(
        applied <= acknowledged + unknown,
        "{key}: {applied} writes were applied, but only {acknowledged} acknowledged and {unknown} of unknown outcome"
    );
    if let Some(found) = found {
        // The writer waited for each answer before it made the next write: only what it knows nothing of can have come
        // after the last that it knows to be applied.
        let last = writes
            .iter()
            .rposition(|write| matches!(write.outcome, Outcome::Acknowledged(_)))
            .unwrap_or(0);
        let candidates = writes
            .iter()
            .skip(last)
            .filter(|write| write.outcome != Outcome::Refused);
        ensure!(
            candidates
                .into_iter()
                .any(|write| write.value == found.value),
            "{key}: holds {}, which is neither the last acknowledged write nor one of unknown outcome after it",
            found.value
        );
    }
    Ok(Verdict {
        acknowledged,
        unknown,
        unknown_applied: applied - acknowledged,
        refused,
    })
}

/// Reads all keys that begin with `prefix`, page by page.
fn read_all(shell: &mut Shell, prefix: &str) -> Result<BTreeMap<String, Found>> {
    let mut found = BTreeMap::new();
    // After the prefix, no key of a writer has a character beyond `~`.
    let end = format!("{prefix}~");
    let mut from = prefix.to_owned();
    loop {
        let answer = shell.ask(&format!("range {from} {end} --limit {PAGE}"))?;
        let items = answer
            .get("kvs")
            .and_then(Value::as_array)
            .with_context(|| format!("no keys in {answer}"))?;
        for item in items {
            let text = |field: &str| item.get(field).and_then(Value::as_str).map(str::to_owned);
            let (Some(key), Some(value), Some(version)) = (
                text("key"),
                text("value"),
                item.get("version").and_then(Value::as_u64),
            ) else {
                bail!("not a key with a value and a version: {item}");
            };
            from.clone_from(&key);
            found.insert(key, Found { value, version });
        }
        // The next page begins with the last key of this one: there is none between it and itself.
        if items.len() < PAGE {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(key: &str, value: &str, outcome: Outcome) -> Write {
        Write {
            key: key.into(),
            value: value.into(),
            outcome,
        }
    }

    fn store(keys: &[(&str, &str, u64)]) -> BTreeMap<String, Found> {
        let found = |value: &str, version| Found {
            value: value.into(),
            version,
        };
        keys.iter()
            .map(|(key, value, version)| ((*key).to_owned(), found(value, *version)))
            .collect()
    }

    fn ledger() -> Ledger {
        Ledger::new(vec![vec![
            write("chain", "1", Outcome::Acknowledged(1)),
            write("chain", "2", Outcome::Unknown),
            write("chain", "3", Outcome::Acknowledged(4)),
            write("chain", "4", Outcome::Unknown),
            write("once", "x", Outcome::Acknowledged(9)),
            write("not", "x", Outcome::Refused),
        ]])
    }

    #[test]
    fn what_fits_is_counted() {
        for (value, version, unknown_applied) in
            [("3", 2, 0), ("3", 3, 1), ("4", 3, 1), ("4", 4, 2)]
        {
            let verdict = ledger()
                .compare(&store(&[("chain", value, version), ("once", "x", 1)]))
                .unwrap();
            assert_eq!(
                verdict,
                Verdict {
                    acknowledged: 3,
                    unknown: 2,
                    unknown_applied,
                    refused: 1
                }
            );
        }
    }

    #[test]
    fn every_broken_promise_is_found() {
        for (keys, said) in [
            (
                vec![("chain", "3", 1), ("once", "x", 1)],
                "2 writes were acknowledged, 1 are there",
            ),
            (
                vec![("chain", "4", 5), ("once", "x", 1)],
                "5 writes were applied, but only 2 acknowledged and 2",
            ),
            (
                vec![("chain", "2", 2), ("once", "x", 1)],
                "holds 2, which is neither",
            ),
            (
                vec![("chain", "3", 2)],
                "1 writes were acknowledged, 0 are there",
            ),
            (
                vec![("chain", "3", 2), ("once", "x", 2)],
                "2 writes were applied",
            ),
            (
                vec![("chain", "3", 2), ("once", "x", 1), ("not", "x", 1)],
                "1 writes were applied, but only 0",
            ),
            (
                vec![("chain", "3", 2), ("once", "x", 1), ("other", "x", 1)],
                "nobody wrote",
            ),
        ] {
            let error = ledger().compare(&store(&keys)).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let back = Ledger::new(vec![vec![
            write("a", "1", Outcome::Acknowledged(5)),
            write("b", "1", Outcome::Acknowledged(5)),
        ]]);
        assert!(
            back.compare(&store(&[("a", "1", 1), ("b", "1", 1)]))
                .is_err()
        );
    }

    #[test]
    fn answers_are_read() {
        let error = |maybe: bool| json!({ "error": { "code": "c", "message": "m", "maybe_applied": maybe } });
        assert_eq!(
            Outcome::of_put(&json!({ "revision": 7 })).unwrap(),
            Outcome::Acknowledged(7)
        );
        assert_eq!(Outcome::of_put(&error(true)).unwrap(), Outcome::Unknown);
        assert_eq!(Outcome::of_put(&error(false)).unwrap(), Outcome::Refused);
        assert!(Outcome::of_put(&json!({})).is_err());
    }
}
