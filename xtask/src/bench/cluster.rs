//! `cargo xtask bench cluster`: builds our server and `raft-kv/bench`, a package of its own, so that what it measures our clusters
//! against is in no lock file of ours, and runs it.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cargo::{self, Binaries};

/// Where cargo puts what it builds, and where the servers write unless another directory is named.
const FOLDER: &str = "target/bench-cluster";
/// Everything that can be measured, in the order in which it is.
const PARTS: [&str; 8] = [
    "limits", "load", "failover", "restart", "catch-up", "nodes", "values", "keys",
];
/// What is measured of it in a few minutes.
const QUICK_PARTS: [&str; 3] = ["limits", "load", "failover"];

#[derive(Args)]
pub(super) struct ClusterArguments {
    /// What else is measured, in turns with ours: `etcd` as it is installed, or the path of an etcd; without it only ours
    #[arg(long, value_name = "etcd|PATH")]
    against: Option<PathBuf>,
    /// Only these parts, a list: limits (what the machine can do), load (3 nodes, each op with each number of clients), failover
    /// (leader killed under load), restart (300,000 keys), catch-up (a follower comes back), nodes (3, 5, 7), values (16 B to
    /// 1 MiB), keys (10 k to 1 M) [default: all of them]
    #[arg(long, value_delimiter = ',', value_parser = PARTS, hide_possible_values = true)]
    only: Vec<String>,
    /// How often everything is measured, in turns; the median is printed, and the spread
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each cell is measured, in seconds
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    seconds: f64,
    /// How long each cell runs before it is measured, in seconds
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    warm_up: f64,
    /// How many clients, a list
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1000], value_parser = clap::value_parser!(u32).range(1..))]
    clients: Vec<u32>,
    /// What the clients do, a list; a get is linearizable, a mix is nine gets to a put
    #[arg(long, value_delimiter = ',', default_values = ["put", "get", "mix"], value_parser = ["put", "get", "mix"])]
    ops: Vec<String>,
    /// How many keys there are
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// How often each side's leader is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// How many keys stand in the cluster that is restarted
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(1..))]
    restart_keys: u32,
    /// The directory on whose disk the servers write; must not be a tmpfs [default: target/bench-cluster]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The file to which each measurement is appended as a line of JSON; what stands in it is not measured again
    /// [default: target/bench-cluster/results.jsonl, results-quick.jsonl with --quick]
    #[arg(long)]
    results: Option<PathBuf>,
    /// Begin the results file anew; the old one is kept beside it as FILE.old
    #[arg(long)]
    fresh: bool,
    /// Short measurements of limits, load and failover, all within 8 minutes: figures of a second each
    #[arg(long)]
    quick: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("takes a number of seconds, above 0 and up to 3600".to_owned()),
    }
}

/// Builds everything with optimization and runs the bench.
pub(super) fn run(arguments: &ClusterArguments) -> Result<()> {
    let etcd = arguments.against.as_deref().map(program).transpose()?;
    ensure_protoc()?;
    let folder = cargo::workspace_root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let results = results_file(arguments, &folder)?;
    let server = Binaries::build(true)?.server;
    let mut command = cargo::command(&["run", "--release", "--locked", "--manifest-path"]);
    command
        .arg("raft-kv/bench/Cargo.toml")
        .arg("--target-dir")
        .arg(folder.join("build"))
        .args(["--", "run", "--build"])
        .arg(build_of(&server)?)
        .arg("--raft-kv")
        .arg(&server)
        .arg("--dir")
        .arg(match &arguments.dir {
            Some(dir) => std::path::absolute(dir)?,
            None => folder.clone(),
        })
        .arg("--plot")
        .arg(results.with_extension("svg"))
        .arg("--results")
        .arg(&results);
    if let Some(etcd) = etcd {
        command.arg("--etcd").arg(etcd);
    }
    command.args(measures(arguments));
    let status = command.status().context("cannot run cargo")?;
    ensure!(
        status.success(),
        "the bench ended with {status}; see above. What was measured is kept: begun again, it goes on with the rest"
    );
    Ok(())
}

/// What is measured and how long, as the bench takes it.
fn measures(arguments: &ClusterArguments) -> Vec<String> {
    let (rounds, seconds, warm_up, kills) = if arguments.quick {
        (3, 1.0, 0.3, 3)
    } else {
        (
            arguments.rounds,
            arguments.seconds,
            arguments.warm_up,
            arguments.kills,
        )
    };
    let parts: Vec<&str> = match (arguments.only.as_slice(), arguments.quick) {
        ([], false) => PARTS.to_vec(),
        ([], true) => QUICK_PARTS.to_vec(),
        (only, _) => PARTS
            .into_iter()
            .filter(|part| only.iter().any(|name| name == part))
            .collect(),
    };
    let clients: Vec<String> = arguments.clients.iter().map(u32::to_string).collect();
    [
        ("--rounds", rounds.to_string()),
        ("--seconds", seconds.to_string()),
        ("--warm-up", warm_up.to_string()),
        ("--clients", clients.join(",")),
        ("--ops", arguments.ops.join(",")),
        ("--keys", arguments.keys.to_string()),
        ("--kills", kills.to_string()),
        ("--restart-keys", arguments.restart_keys.to_string()),
        ("--parts", parts.join(",")),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect()
}

fn results_file(arguments: &ClusterArguments, folder: &Path) -> Result<PathBuf> {
    let results = match (&arguments.results, arguments.quick) {
        // Cargo runs in the workspace's root, and whoever typed the path perhaps elsewhere.
        (Some(path), _) => std::path::absolute(path)?,
        (None, true) => folder.join("results-quick.jsonl"),
        (None, false) => folder.join("results.jsonl"),
    };
    if arguments.fresh && results.exists() {
        let mut old = results.clone().into_os_string();
        old.push(".old");
        fs::rename(&results, &old)
            .with_context(|| format!("cannot put {} aside", results.display()))?;
    }
    Ok(results)
}

/// A program by its path, or by its name in the search path.
fn program(given: &Path) -> Result<PathBuf> {
    if given.components().count() > 1 || given.is_file() {
        let path = std::path::absolute(given)?;
        ensure!(path.is_file(), "there is no program {}", path.display());
        return Ok(path);
    }
    match in_search_path(given.as_os_str()) {
        Some(path) => Ok(path),
        None if given == Path::new("etcd") => bail!(
            "etcd is not installed\nhint: `apt-get install etcd-server` (Debian, Ubuntu), or --against PATH with the path of an etcd binary"
        ),
        None => bail!(
            "there is no program {0} in the search path\nhint: --against etcd, or --against PATH with the path of an etcd binary",
            given.display()
        ),
    }
}

fn in_search_path(name: &OsStr) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The client of etcd compiles its message formats by protoc.
fn ensure_protoc() -> Result<()> {
    let named = std::env::var_os("PROTOC");
    let found = Command::new(named.as_deref().unwrap_or(OsStr::new("protoc")))
        .arg("--version")
        .output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!(
            "protoc is not installed, by which the bench's client of etcd is compiled\nhint: `apt-get install protobuf-compiler` (Debian, \
             Ubuntu), or PROTOC=PATH with the path of a protoc; nothing else in this repository needs it"
        ),
    }
}

/// Which build it is: of which commit, and what is in the file, since a working copy may have changed.
fn build_of(server: &Path) -> Result<String> {
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(cargo::workspace_root())
        .output();
    let commit = match commit {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "of no commit".to_owned(),
    };
    let bytes = fs::read(server).with_context(|| format!("cannot read {}", server.display()))?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(format!("{commit} ({:08x})", hasher.finish() as u32))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ClusterArguments,
    }

    fn measured(line: &[&str]) -> String {
        let line = std::iter::once("bench").chain(line.iter().copied());
        measures(&Line::try_parse_from(line).unwrap().arguments).join(" ")
    }

    #[test]
    fn everything_is_measured_unless_something_is_named() {
        let all = measured(&[]);
        assert!(all.ends_with("--parts limits,load,failover,restart,catch-up,nodes,values,keys"));
        assert!(all.contains("--clients 1,16,64,256,1000 --ops put,get,mix --keys 100000"));
        assert!(measured(&["--only", "keys,load"]).ends_with("--parts load,keys"));
        assert!(measured(&["--quick"]).contains("--rounds 3 --seconds 1 --warm-up 0.3"));
        assert!(measured(&["--quick"]).ends_with("--parts limits,load,failover"));
    }

    #[test]
    fn a_missing_etcd_is_told_with_what_to_type() {
        let text = program(Path::new("no-such-etcd")).unwrap_err().to_string();
        assert!(text.contains("hint: --against etcd"), "{text}");
        let text = program(Path::new("./no/such/etcd"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("there is no program"), "{text}");
    }
}
