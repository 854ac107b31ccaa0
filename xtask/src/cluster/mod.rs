//! `cargo xtask cluster`: a cluster on this machine to look at, and to do things to.
//!
//! Standard output holds the line `ready:` and the answers to commands; the nodes' logs go to standard error.

mod command;
mod data_dir;
mod session;

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, error::ErrorKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cargo::{self, Binaries};
use crate::local::{Echo, LocalCluster, Settings};
use session::Session;

/// How long a first leader may take before this gives up: long enough for a machine that is busy with a build.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long nodes may take to end when they are asked to.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Ids up to this one get a way through the forwarder, so that nodes may be added later.
const IDS: u16 = 9;

/// Starts a cluster of real processes on 127.0.0.1 and takes commands for it.
///
/// Builds the server and the client first. When a leader has acknowledged a write, prints a line that begins `ready:`
/// and holds the endpoints. Takes commands from standard input (`help` lists them) or from a script. Ctrl-C ends all
/// nodes in good order.
#[derive(Args)]
#[command(
    after_help = "Data stays in the data directory from run to run. The end of standard input ends nothing unless \
                        it is a terminal, so that this can run in the background with </dev/null."
)]
pub struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// The port of node 1; the others follow
    #[arg(long, default_value_t = 7101, value_parser = clap::value_parser!(u16).range(1..))]
    base_port: u16,
    /// Where the nodes keep their data [default: target/cluster in this repository]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Begin with empty data; refuses a folder that this command did not make
    #[arg(long)]
    fresh: bool,
    /// Take the commands from FILE, then end; the first that fails ends the run with status 1
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Build with optimisations: takes longer to build and is faster to use
    #[arg(long)]
    release: bool,
}

/// Builds, starts, and serves commands until told to stop.
///
/// # Errors
/// When something is in the way of the cluster, it does not come up, or a script's command fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let last_port = u32::from(arguments.base_port) + u32::from(arguments.nodes) - 1;
    if last_port > u32::from(u16::MAX) {
        let message = format!(
            "--base-port {} leaves no room for {} nodes",
            arguments.base_port, arguments.nodes
        );
        clap::Command::new("cargo xtask cluster")
            .error(ErrorKind::ValueValidation, message)
            .exit();
    }
    let script = arguments.script.as_ref().map(|path| {
        fs::read_to_string(path)
            .with_context(|| format!("cannot read the script {}", path.display()))
    });
    let script = script.transpose()?;
    let ports: Vec<u16> = (0..IDS)
        .map_while(|offset| arguments.base_port.checked_add(offset))
        .collect();
    let data_dir = match &arguments.data_dir {
        Some(folder) => std::path::absolute(folder)?,
        None => cargo::workspace_root().join("target/cluster"),
    };
    ports_are_free(ports.iter().take(arguments.nodes.into()))?;
    data_dir::prepare(
        &data_dir,
        arguments.nodes,
        arguments.base_port,
        arguments.fresh,
    )?;
    let binaries = Binaries::build(arguments.release)?;

    let mut cluster = LocalCluster::new(Settings {
        binaries,
        data_dir,
        nodes: arguments.nodes,
        ports,
        serve_arguments: Vec::new(),
        forwarded: true,
        echo: echo(),
    })?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&interrupted)).context("cannot watch for signals")?;
    }
    cluster.start_all()?;
    let mut session = Session::new(cluster, interrupted);
    let outcome = serve(&mut session, arguments, script.as_deref());
    session.stop(STOP_WITHIN)?;
    outcome
}

/// Everything between the start of the processes and their end.
fn serve(session: &mut Session, arguments: &Arguments, script: Option<&str>) -> Result<()> {
    if !session.wait_ready(READY_WITHIN)? {
        return Ok(());
    }
    say(&format!("ready: {}", session.cluster.endpoints().join(",")));
    match (&arguments.script, script) {
        (Some(path), Some(script)) => session.run_script(&path.display().to_string(), script),
        _ => {
            say(&next_steps(arguments, &session.cluster));
            session.run_interactive(&standard_input())
        }
    }
}

/// What to type next.
fn next_steps(arguments: &Arguments, cluster: &LocalCluster) -> String {
    let release = if arguments.release { "--release " } else { "" };
    let ours = [7101, 7102, 7103].map(|port| format!("127.0.0.1:{port}"));
    // Any subset of the endpoints will do, so only foreign ones have to be named.
    let endpoints = cluster.endpoints();
    let named = if endpoints.iter().any(|endpoint| ours.contains(endpoint)) {
        String::new()
    } else {
        format!("--endpoints {} ", endpoints.join(","))
    };
    format!(
        "In another terminal:\n  cargo run -q {release}-p raft-cli -- {named}put hello world\n  \
         cargo run -q {release}-p raft-cli -- {named}get hello\n\
         Here: `help` lists what can be done to the nodes; Ctrl-C ends them all."
    )
}

/// Whether and how the nodes' logs are shown: coloured on a terminal, unless NO_COLOR is set to something.
fn echo() -> Echo {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !unwanted {
        Echo::Coloured
    } else {
        Echo::Plain
    }
}

/// A busy port is found before the build, not after.
fn ports_are_free<'a>(ports: impl Iterator<Item = &'a u16>) -> Result<()> {
    for port in ports {
        TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => anyhow!(
                "port {port} is in use, perhaps by another cluster; end that one, or choose others with --base-port"
            ),
            _ => anyhow!("cannot listen on 127.0.0.1:{port}: {error}; choose other ports with --base-port"),
        })?;
    }
    Ok(())
}

/// The lines of standard input, read on a thread; the channel closes where they end.
fn standard_input() -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Writes a line to standard output. Whoever closed it wants none.
fn say(text: &str) {
    let _ = io::stdout()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

/// Writes a line to standard error, and likewise does not insist.
fn complain(text: &str) {
    let _ = io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}
