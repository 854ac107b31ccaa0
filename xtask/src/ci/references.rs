//! Documents name tests and files; this checks that those are there.

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
    fn what_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.rs"), "fn here() {}").unwrap();
        assert_eq!(fault(folder.path(), "a.rs::here"), None);
        assert_eq!(fault(folder.path(), "a.rs"), None);
        assert!(fault(folder.path(), "a.rs::gone").is_some());
        assert!(fault(folder.path(), "b.rs").is_some());
    }
}
