//! Running cargo from inside cargo: where the workspace is, and commands with a clean environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
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
