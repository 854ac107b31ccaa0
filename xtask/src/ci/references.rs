//! Documents name tests and files; this checks that those are there, and that the two that list behaviours leave none out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Where a path has to begin to be taken for one of this repository's.
const PLACES: [&str; 7] = [
    "raft-core/",
    "raft-log/",
    "raft-net-tcp/",
    "raft-kv/",
    "raft-cli/",
    "xtask/",
    "docs/",
];

/// What the documents name and the tree does not have, a line a fault.
pub(super) fn dangling(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut documents = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    let docs = root.join("docs");
    for entry in fs::read_dir(&docs).with_context(|| format!("cannot list {}", docs.display()))? {
        documents.push(entry?.path());
    }
    documents.sort();
    for document in documents
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
    {
        let text = fs::read_to_string(document)
            .with_context(|| format!("cannot read {}", document.display()))?;
        for reference in references(&text) {
            if let Some(why) = fault(root, reference) {
                let name = document.strip_prefix(root).unwrap_or(document).display();
                wrong.push(format!("{name}: `{reference}`: {why}"));
            }
        }
    }
    Ok(wrong)
}

/// The documents whose tables say which test shows what.
const TABLES: [&str; 2] = ["docs/scenarios.md", "docs/faults.md"];

/// Where the core's scripts are.
const SCRIPTS: &str = "raft-core/tests/golden";

/// Scripts that no table names, and rows that are not as a row should be, a line a fault.
pub(super) fn unnamed(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    for table in TABLES {
        let path = root.join(table);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        named.extend(references(&text).map(str::to_owned));
        wrong.extend(row_faults(&text).map(|fault| format!("{table}: {fault}")));
    }
    let scripts = root.join(SCRIPTS);
    for entry in
        fs::read_dir(&scripts).with_context(|| format!("cannot list {}", scripts.display()))?
    {
        let script = format!("{SCRIPTS}/{}", entry?.file_name().to_string_lossy());
        if script.ends_with(".txt") && !named.contains(&script) {
            wrong.push(format!(
                "{script}: neither {} nor {} names it",
                TABLES[0], TABLES[1]
            ));
        }
    }
    Ok(wrong)
}

/// What is wrong with the rows of a document: an id that stands twice under one heading, or a row without a test.
fn row_faults(text: &str) -> impl Iterator<Item = String> {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for line in text.lines() {
        if line.starts_with("## ") {
            seen.clear();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, id, _, test, ..] = cells.as_slice() else {
            continue;
        };
        let id = id.split_whitespace().next().unwrap_or_default();
        if !(id.starts_with("S-") || id.starts_with("F-")) {
            continue;
        }
        if !seen.insert(id.to_owned()) {
            wrong.push(format!("{id} stands twice under one heading"));
        }
        if test.is_empty() {
            wrong.push(format!("{id} has neither a test nor a reason"));
        }
    }
    wrong.into_iter()
}

/// Everything between backquotes that looks like a path of this repository, patterns left out.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.filter(|quoted| {
        PLACES.iter().any(|place| quoted.starts_with(place))
            && !quoted.contains(['*', ' ', '<', '{'])
    })
}

/// Why `path` or `path::function` is not there.
fn fault(root: &Path, reference: &str) -> Option<String> {
    let (path, function) = match reference.split_once("::") {
        Some((path, function)) => (path, Some(function)),
        None => (reference, None),
    };
    let path = root.join(path);
    if !path.exists() {
        return Some("there is no such file".into());
    }
    let function = function?;
    let text = fs::read_to_string(&path).unwrap_or_default();
    let found = text.contains(&format!("fn {function}("));
    (!found).then(|| "the file has no such function".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_path_is_looked_up() {
        let text = "see `raft-log/src/lib.rs` and `raft-log/tests/*.rs`\n`cargo xtask ci`, `xtask/a.rs::f`";
        assert_eq!(
            references(text).collect::<Vec<_>>(),
            ["raft-log/src/lib.rs", "xtask/a.rs::f"]
        );
    }

    #[test]
    fn rows_have_one_id_and_a_test() {
        let text = "## One\n| S-A1 | x | `t` |\n| S-A1 | y | `t` |\n## Two\n| S-A1 ✓ | z | `t` |\n| F-P1 | w | |";
        assert_eq!(
            row_faults(text).collect::<Vec<_>>(),
            [
                "S-A1 stands twice under one heading",
                "F-P1 has neither a test nor a reason"
            ]
        );
    }

    #[test]
    fn what_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.rs"), "fn here() {}").unwrap();
        assert_eq!(fault(folder.path(), "a.rs::here"), None);
        assert_eq!(fault(folder.path(), "a.rs"), None);
        assert!(fault(folder.path(), "a.rs::gone").is_some());
        assert!(fault(folder.path(), "b.rs").is_some());
    }
}
