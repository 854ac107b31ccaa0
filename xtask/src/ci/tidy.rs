//! Order in the tree: what no compiler checks and a reader would trip over.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cargo;

/// Files that have to be there and say something.
const DOCUMENTS: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "raft-core/README.md",
    "raft-log/README.md",
    "raft-net-tcp/README.md",
    "raft-kv/README.md",
    "raft-cli/README.md",
];

/// The packages of the workspace.
const PACKAGES: [&str; 6] = [
    "raft-core",
    "raft-log",
    "raft-net-tcp",
    "raft-kv",
    "raft-cli",
    "xtask",
];

/// A longer file is reported, not refused: it may have its reasons.
const LINES_BEFORE_A_WARNING: usize = 700;

/// What marks unfinished work. Written in halves so that this file does not find itself.
const LEFT_BEHIND: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
];

/// Stands right before a line of the core that is compiled only where known bugs are, for tests (`raft-core/src/mutants.rs`).
const MUTANTS_ONLY: &str = "#[cfg(raft_mutants)]";

/// What makes the core impure: the standard library, threads and what they share, clocks, hash order, ambient randomness and floats.
const IMPURE: [&str; 19] = [
    "std::",
    "extern crate std",
    "thread",
    "thread_local",
    "Mutex",
    "OnceCell",
    "AtomicBool",
    "AtomicU32",
    "AtomicU64",
    "AtomicUsize",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
    "getrandom",
    "rand",
    "f32",
    "f64",
];

pub(super) fn check() -> Result<()> {
    let root = cargo::workspace_root();
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        if !fs::metadata(root.join(document)).is_ok_and(|file| file.len() > 200) {
            wrong.push(format!("{document}: missing, or all but empty"));
        }
    }
    wrong.extend(super::references::dangling(&root)?);
    wrong.extend(super::references::unnamed(&root)?);
    wrong.extend(super::programs::forgotten(&root, &PACKAGES)?);
    let mut files = Vec::new();
    rust_files(&root, &mut files)?;
    for path in files {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path
            .strip_prefix(&root)
            .unwrap_or(&path)
            .display()
            .to_string();
        wrong.extend(file_faults(&name, &text));
        let lines = text.lines().count();
        if lines > LINES_BEFORE_A_WARNING {
            println!(
                "   warning: {name} has {lines} lines; would a newcomer find their room in it?"
            );
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// All Rust files of the tree, build output left out.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files(&path, found)?;
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// What is wrong with one file, a line a fault.
fn file_faults(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    // A crate's front page may be its README.
    let says_what_it_is = ["//!", "#![doc = include_str!"]
        .iter()
        .any(|opening| text.starts_with(opening));
    if name.contains("/src/") && !says_what_it_is {
        wrong.push(format!(
            "{name}:1: does not open with `//!` and what the file is for"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        for mark in LEFT_BEHIND.into_iter().filter(|mark| line.contains(mark)) {
            wrong.push(format!("{name}:{}: left behind: `{mark}`", number + 1));
        }
    }
    if name.starts_with("raft-core/src/") && !is_test_file(name) {
        let mut before = "";
        for (number, line) in shipped_lines(text) {
            // An item that only a build for the search of known bugs has is in nothing that is shipped.
            let shipped = before.trim() != MUTANTS_ONLY;
            before = line;
            if !shipped {
                continue;
            }
            for word in IMPURE.into_iter().filter(|word| has_word(line, word)) {
                wrong.push(format!(
                    "{name}:{number}: the core is pure, and `{word}` is not"
                ));
            }
        }
    }
    wrong
}

/// Whether a whole file is test code.
fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// The lines outside comments and before the unit tests, numbered from 1.
fn shipped_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line));
    numbered
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// Whether `word` stands in `line` other than as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line
            .get(at + word.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(part_of_name)
            && (word.ends_with(':') || !after.is_some_and(part_of_name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_file_has_no_fault() {
        let text = "//! A file.\n\n/// Uses no std::time.\nlet threads = instant; // not std::thread\n#[cfg(test)]\nuse std::fs;\n";
        assert_eq!(
            file_faults("raft-core/src/a.rs", text),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_fault_is_named_with_its_line() {
        let text = concat!("use std::fs;\n\n// TO", "DO: more\nlet x: f64 = 1.0;\n");
        assert_eq!(
            file_faults("raft-core/src/a.rs", text),
            [
                "raft-core/src/a.rs:1: does not open with `//!` and what the file is for",
                concat!("raft-core/src/a.rs:3: left behind: `TO", "DO`"),
                "raft-core/src/a.rs:1: the core is pure, and `std::` is not",
                "raft-core/src/a.rs:4: the core is pure, and `f64` is not",
            ]
        );
    }

    #[test]
    fn only_the_very_line_behind_the_flag_of_the_mutants_may_be_impure() {
        let text =
            "//! x\n#[cfg(raft_mutants)]\nstatic A: AtomicU32 = x;\nstatic B: AtomicU32 = x;\n";
        assert_eq!(
            file_faults("raft-core/src/a.rs", text),
            ["raft-core/src/a.rs:4: the core is pure, and `AtomicU32` is not"]
        );
    }

    #[test]
    fn only_the_core_has_to_be_pure() {
        assert_eq!(
            file_faults("raft-log/src/a.rs", "//! x\nuse std::fs;\n"),
            Vec::<String>::new()
        );
        assert_eq!(
            file_faults("raft-core/src/step/tests.rs", "//! x\nuse std::fs;\n"),
            Vec::<String>::new()
        );
        assert_eq!(
            file_faults("raft-core/tests/a.rs", "use std::fs;\n"),
            Vec::<String>::new()
        );
    }
}
