//! Running cargo from inside cargo: where the workspace is, and commands with a clean environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The root of the workspace this xtask was compiled in.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// A cargo command that runs in the workspace's root.
///
/// What `cargo run` told xtask about xtask itself is taken out of the environment: build scripts that watch such
/// variables would otherwise run again for every other way of calling cargo.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.args(arguments).current_dir(workspace_root());
    command
}

/// Has a cargo command of the profile `search` compile the known bugs into our own crates (`raft-core/src/mutants.rs`). Cargo keeps
/// what such a wrapper has compiled apart, and shares what is not ours; and nothing that is shipped lies in the folder of that profile.
pub(crate) fn with_mutants(command: &mut Command) {
    let wrapper = workspace_root().join("xtask/rustc-with-mutants");
    command.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
}

/// Runs cargo and returns what it wrote to standard output.
///
/// # Errors
/// When cargo cannot be started or ends with another status than 0; the message holds its standard error.
pub fn output(arguments: &[&str]) -> Result<String> {
    let shown = format!("cargo {}", arguments.join(" "));
    let output = command(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` failed ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{shown}` printed something that is not UTF-8"))
}

/// The workspace as `cargo metadata` describes it, without what it depends on.
///
/// # Errors
/// When cargo fails, which it also does where `Cargo.lock` does not fit the manifests.
pub fn metadata() -> Result<Value> {
    let text = output(&["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    serde_json::from_str(&text).context("cargo metadata printed something that is not JSON")
}

/// The programs that make a cluster.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `raft-kv`.
    pub server: PathBuf,
    /// `raft-cli`.
    pub client: PathBuf,
}

impl Binaries {
    /// Builds both, with cargo's progress on standard error.
    ///
    /// Both at once, so that dependencies get the same features as in `cargo run -p raft-cli`, which then has nothing
    /// left to build.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build(release: bool) -> Result<Binaries> {
        let profile: &[&str] = if release { &["--release"] } else { &[] };
        built(&mut command(&[&BUILD, profile].concat()))
    }

    /// Builds both as the next release would be, for a test that upgrades a cluster (`raft-kv/src/release.rs`), and leaves them in
    /// `target/next`. Only the crates of the workspace are compiled anew.
    ///
    /// # Errors
    /// When the build fails, or the programs cannot be copied.
    pub fn build_next() -> Result<Binaries> {
        let root = workspace_root();
        let built = built(command(&BUILD).env(
            "RUSTC_WORKSPACE_WRAPPER",
            root.join("xtask/rustc-of-next-release"),
        ))?;
        let folder = root.join("target/next");
        std::fs::create_dir_all(&folder)?;
        for (from, name) in [(&built.server, "raft-kv"), (&built.client, "raft-cli")] {
            // A copy: the next ordinary build puts its own programs where these are.
            let to = folder.join(name);
            std::fs::copy(from, &to)
                .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        }
        Binaries::in_folder(&folder)
    }

    /// The programs that lie in `folder`.
    ///
    /// # Errors
    /// When one is missing; says how to build them.
    pub fn in_folder(folder: &Path) -> Result<Binaries> {
        let binaries = Binaries {
            server: folder.join("raft-kv"),
            client: folder.join("raft-cli"),
        };
        for program in [&binaries.server, &binaries.client] {
            ensure!(
                program.is_file(),
                "{} is missing; build it with `cargo build -p raft-kv -p raft-cli`",
                program.display()
            );
        }
        Ok(binaries)
    }
}

const BUILD: [&str; 6] = [
    "build",
    "--package",
    "raft-kv",
    "--package",
    "raft-cli",
    "--bins",
];

/// Runs a build of both programs, and finds them.
fn built(command: &mut Command) -> Result<Binaries> {
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the build failed; see above");
    let messages = String::from_utf8_lossy(&output.stdout);
    let found = |name: &str| {
        let artifacts = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let executable = artifacts
            .filter(|artifact| {
                artifact.pointer("/target/name").and_then(Value::as_str) == Some(name)
            })
            .find_map(|artifact| {
                artifact
                    .get("executable")
                    .and_then(Value::as_str)
                    .map(PathBuf::from)
            });
        executable.with_context(|| format!("cargo built no program named {name}"))
    };
    Ok(Binaries {
        server: found("raft-kv")?,
        client: found("raft-cli")?,
    })
}
