//! Who may depend on whom, and what a shipped binary may contain.
//!
//! The three leaves know none of our other crates; the store composes them; xtask links none of them. The simulated
//! disk is behind a feature that no shipped binary has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cargo;

/// Every package of the workspace, and which of the others it has to depend on: these and no others.
const EXPECTED: [(&str, &[&str]); 6] = [
    ("raft-core", &[]),
    ("raft-log", &[]),
    ("raft-net-tcp", &[]),
    ("raft-kv", &["raft-core", "raft-log", "raft-net-tcp"]),
    ("raft-cli", &["raft-kv"]),
    ("xtask", &[]),
];

pub(super) fn check() -> Result<()> {
    let metadata = cargo::metadata()?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .context("cargo metadata lists no packages")?;
    let expected: BTreeMap<&str, &[&str]> = EXPECTED.into_iter().collect();
    let names: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    ensure!(
        names == expected.keys().copied().collect(),
        "the workspace holds {names:?}; xtask/src/ci/graph.rs knows {:?}",
        expected.keys()
    );
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        wrong.extend(package_faults(
            package,
            &names,
            expected.get(name).copied().unwrap_or(&[]),
        ));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    no_stranger_of_our_name(&names)?;
    shipped_without_sim()
}

/// What is wrong with one package's manifest.
fn package_faults(package: &Value, ours: &BTreeSet<&str>, expected: &[&str]) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let mut wrong = Vec::new();
    if package["publish"]
        .as_array()
        .is_none_or(|registries| !registries.is_empty())
    {
        wrong.push(format!("{name}: has no `publish = false`"));
    }
    for field in ["license", "description"] {
        if package[field].as_str().is_none_or(str::is_empty) {
            wrong.push(format!("{name}: has no `{field}`"));
        }
    }
    let mut found = BTreeSet::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let on = dependency["name"].as_str().unwrap_or_default();
        if !ours.contains(on) {
            continue;
        }
        // By path and without a version: with one, a packaging step would fetch a stranger's crate of that name.
        if dependency["path"].as_str().is_none() || dependency["req"].as_str() != Some("*") {
            wrong.push(format!(
                "{name}: depends on {on} other than by path without a version"
            ));
        }
        // A package's tests may switch on features of the package itself.
        if on != name {
            found.insert(on);
        }
    }
    for on in found.iter().filter(|on| !expected.contains(on)) {
        wrong.push(format!("{name}: must not depend on {on}"));
    }
    for on in expected.iter().filter(|on| !found.contains(*on)) {
        wrong.push(format!(
            "{name}: does not depend on {on}, which it is there to use"
        ));
    }
    wrong
}

/// Some of our names belong to others on the registry: none of those may ever be in the lock file.
fn no_stranger_of_our_name(names: &BTreeSet<&str>) -> Result<()> {
    let lock = std::fs::read_to_string(cargo::workspace_root().join("Cargo.lock"))
        .context("cannot read Cargo.lock")?;
    for block in lock.split("[[package]]") {
        let field = |key: &str| block.lines().find_map(|line| line.strip_prefix(key));
        let Some(name) = field("name = ") else {
            continue;
        };
        let name = name.trim_matches('"');
        ensure!(
            !names.contains(name) || field("source = ").is_none(),
            "Cargo.lock takes `{name}` from a registry; it has to be the one in this workspace"
        );
    }
    Ok(())
}

/// Shows that the binaries are built without the simulated disk, and that the check would notice it.
fn shipped_without_sim() -> Result<()> {
    const SIMULATED: &str = "raft-log feature \"sim\"";
    let tree = [
        "tree",
        "--locked",
        "--edges",
        "normal,build,features",
        "--invert",
        "raft-log",
    ];
    for package in ["raft-kv", "raft-cli"] {
        let shipped = cargo::output(&[&tree[..], &["--package", package]].concat())?;
        ensure!(
            !shipped.contains(SIMULATED),
            "{package} is built with the feature `sim` of raft-log"
        );
    }
    let simulated =
        cargo::output(&[&tree[..], &["--package", "raft-kv", "--features", "sim"]].concat())?;
    ensure!(
        simulated.contains(SIMULATED),
        "`cargo tree` no longer shows features as this check expects them; adapt xtask/src/ci/graph.rs"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &Value) -> Value {
        json!({ "name": name, "publish": [], "license": "MIT", "description": "d", "dependencies": dependencies })
    }

    fn faults(package: &Value, expected: &[&str]) -> Vec<String> {
        package_faults(
            package,
            &BTreeSet::from(["raft-core", "raft-log", "raft-kv"]),
            expected,
        )
    }

    #[test]
    fn a_package_as_it_should_be_has_no_fault() {
        let dependencies = json!([
            { "name": "raft-core", "req": "*", "path": "/w/raft-core" },
            { "name": "bytes", "req": "^1", "path": null },
            { "name": "raft-kv", "req": "*", "path": "/w/raft-kv" },
        ]);
        assert_eq!(
            faults(&package("raft-kv", &dependencies), &["raft-core"]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_fault_is_named() {
        let strange = json!([{ "name": "raft-core", "req": "^0.7", "path": null }]);
        assert_eq!(
            faults(&package("raft-log", &strange), &[]),
            [
                "raft-log: depends on raft-core other than by path without a version",
                "raft-log: must not depend on raft-core"
            ]
        );
        assert_eq!(
            faults(&package("raft-kv", &json!([])), &["raft-log"]),
            ["raft-kv: does not depend on raft-log, which it is there to use"]
        );
        let mut published = package("raft-core", &json!([]));
        published["publish"] = Value::Null;
        published["license"] = Value::Null;
        assert_eq!(
            faults(&published, &[]),
            [
                "raft-core: has no `publish = false`",
                "raft-core: has no `license`"
            ]
        );
    }
}
