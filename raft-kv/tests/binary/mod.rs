//! The built binary, run to its end or as a node.
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RAFT_KV_")) {
        command.env_remove(name);
    }
    command
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end; fails when it does not end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let child = command().args(arguments).spawn().unwrap();
    finish(child)
}

pub(crate) fn finish(child: Child) -> Output {
    let id = child.id();
    let (done, over) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if over.recv_timeout(PATIENCE).is_err() {
            let _ = Command::new("kill")
                .args(["-KILL", &id.to_string()])
                .status();
        }
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    watchdog.join().unwrap();
    output
}

/// The last line on standard error that is no hint, which must be the only one that begins `error:`.
pub(crate) fn error_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text
        .lines()
        .rfind(|line| !line.starts_with("hint: "))
        .unwrap_or_default()
        .to_owned();
    assert!(last.starts_with("error: "), "{text}");
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("error"))
            .count(),
        1,
        "{text}"
    );
    last
}

pub(crate) fn refused(arguments: &[&str], status: i32, says: &[&str]) {
    let output = run(arguments);
    let said = error_of(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    for word in says {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

/// A port that was free a moment ago.
pub(crate) fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A node that runs, with its log.
pub(crate) struct Node {
    pub(crate) child: Option<Child>,
    lines: mpsc::Receiver<String>,
}

impl Node {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = command()
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self {
            child: Some(child),
            lines,
        }
    }

    /// Waits for a line of its log.
    pub(crate) fn says(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = String::new();
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if line.contains(what) {
                return line;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        panic!("it never said {what:?}:\n{seen}");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn finish(mut self) -> (Output, Duration) {
        let started = Instant::now();
        (finish(self.child.take().unwrap()), started.elapsed())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The arguments of a one-node cluster.
pub(crate) fn alone(dir: &Path, port: u16) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    [
        "serve",
        "--id",
        "1",
        "--data-dir",
        dir,
        "--cluster",
        &format!("1=127.0.0.1:{port}"),
        "--election-timeout",
        "300ms",
    ]
    .into_iter()
    .map(String::from)
    .collect()
}

pub(crate) fn start(arguments: &[String]) -> Node {
    Node::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(crate) fn refused_with(arguments: &[String], status: i32, says: &[&str]) {
    refused(
        &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        status,
        says,
    );
}
