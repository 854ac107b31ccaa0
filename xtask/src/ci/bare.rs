//! The core needs no standard library: it is compiled where there is none.
//!
//! On any machine: for this machine's own target, with a sysroot that holds `core` and `alloc` and nothing else. And for a bare target, where
//! one is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// What a crate without the standard library may be linked with.
const KEPT: [&str; 3] = ["libcore-", "liballoc-", "libcompiler_builtins-"];

/// Targets without an operating system; the first that is installed is built for.
const BARE: [&str; 4] = [
    "thumbv7em-none-eabi",
    "thumbv7em-none-eabihf",
    "riscv32imac-unknown-none-elf",
    "x86_64-unknown-none",
];

pub(super) fn check() -> Result<()> {
    let host = host()?;
    let sysroot = cargo::workspace_root().join("target/sysroot-without-std");
    let kept = keep_without_std(&libraries(&host)?, &sysroot, &host)?;
    ensure!(kept >= KEPT.len(), "the sysroot holds no core or no alloc");
    ensure!(
        !compiles_std(&sysroot)?,
        "a crate that names std compiles in {}: the check would see nothing",
        sysroot.display()
    );
    let flags = format!("--sysroot\x1f{}", sysroot.display());
    super::cargo_passes(
        &[
            "check",
            "--package",
            "raft-core",
            "--lib",
            "--locked",
            "--target",
            &host,
        ],
        &[("CARGO_ENCODED_RUSTFLAGS", &flags)],
    )?;
    let installed = |target: &&&str| libraries(target).is_ok_and(|folder| folder.is_dir());
    match BARE.iter().find(installed) {
        Some(target) => super::cargo_passes(
            &[
                "build",
                "--package",
                "raft-core",
                "--lib",
                "--locked",
                "--target",
                target,
            ],
            &[],
        ),
        None => {
            println!(
                "   no bare target is installed; `rustup target add {}` has the core built for it too",
                BARE[0]
            );
            Ok(())
        }
    }
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc")
        .args(arguments)
        .current_dir(cargo::workspace_root())
        .output()
        .context("cannot run rustc")?;
    ensure!(
        output.status.success(),
        "`rustc {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// This machine's target.
fn host() -> Result<String> {
    let version = rustc(&["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// Where the libraries of a target are, or would be.
fn libraries(target: &str) -> Result<PathBuf> {
    let folder = rustc(&["--print", "target-libdir", "--target", target])?;
    Ok(PathBuf::from(folder.trim()))
}

/// Makes a sysroot of the few libraries that are not `std`. How many files.
fn keep_without_std(from: &Path, sysroot: &Path, host: &str) -> Result<usize> {
    let into = sysroot.join("lib/rustlib").join(host).join("lib");
    // Those of another compiler would be in the way.
    if into.exists() {
        fs::remove_dir_all(&into).with_context(|| format!("cannot empty {}", into.display()))?;
    }
    fs::create_dir_all(&into).with_context(|| format!("cannot make {}", into.display()))?;
    let mut kept = 0;
    for file in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if KEPT.iter().any(|prefix| name.starts_with(prefix)) {
            fs::copy(file.path(), into.join(&name))
                .with_context(|| format!("cannot copy {name}"))?;
            kept += 1;
        }
    }
    Ok(kept)
}

/// Whether a crate that uses the standard library compiles with this sysroot.
fn compiles_std(sysroot: &Path) -> Result<bool> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let source = folder.path().join("uses_std.rs");
    fs::write(
        &source,
        "pub fn now() -> std::time::Instant { std::time::Instant::now() }",
    )?;
    let output = Command::new("rustc")
        .args(["--crate-type", "lib", "--emit", "metadata", "--sysroot"])
        .arg(sysroot)
        .arg("--out-dir")
        .arg(folder.path())
        .arg(&source)
        .output()
        .context("cannot run rustc")?;
    Ok(output.status.success())
}
