//! Which programs the tests are. A package whose manifest says `autotests = false` lists them; its other files of tests are modules of
//! `tests/all.rs`. A file that is neither is never compiled, and its tests would pass unseen.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The files of tests that belong to no program, a line a fault.
pub(super) fn forgotten(root: &Path, packages: &[&str]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in packages {
        let folder = root.join(package);
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let manifest = read(&folder.join("Cargo.toml"))?;
        if !manifest.lines().any(|line| line == "autotests = false") {
            continue;
        }
        let tests = folder.join("tests");
        let all = read(&tests.join("all.rs"))?;
        for entry in
            fs::read_dir(&tests).with_context(|| format!("cannot list {}", tests.display()))?
        {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".rs")
                && !belongs(name, &manifest, &all)
            {
                wrong.push(format!(
                    "{package}/tests/{name}.rs: is compiled by nothing; add `mod {name};` to {package}/tests/all.rs"
                ));
            }
        }
    }
    wrong.sort();
    Ok(wrong)
}

/// Whether a file of this name is a program of its own, or a module of the one that has nearly all.
fn belongs(name: &str, manifest: &str, all: &str) -> bool {
    let program = format!("name = \"{name}\"");
    let module = format!("mod {name};");
    manifest
        .split("[[")
        .any(|table| table.starts_with("test]]") && table.lines().any(|line| line == program))
        || all.lines().any(|line| line == module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_no_program_has_is_told() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "a/Cargo.toml",
            "name = \"c\"\nautotests = false\n[[test]]\nname = \"all\"\n[[test]]\nname = \"b\"\n[[bin]]\nname = \"d\"\n",
        );
        write("a/tests/all.rs", "mod c;\n// mod e;\n");
        for name in ["b", "c", "d", "e"] {
            write(&format!("a/tests/{name}.rs"), "");
        }
        write("by-itself/Cargo.toml", "name = \"x\"\n");
        write("by-itself/tests/y.rs", "");
        let told = forgotten(root.path(), &["a", "by-itself"]).unwrap();
        let named: Vec<&str> = told
            .iter()
            .filter_map(|line| Some(line.split_once(':')?.0))
            .collect();
        assert_eq!(named, ["a/tests/d.rs", "a/tests/e.rs"], "{told:?}");
    }
}
