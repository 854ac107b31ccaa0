//! `cargo xtask cluster` as a user meets it: what it prints, what it takes, and that nothing survives it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use xtask::local::{free_ports, wait_for};

use crate::harness::{PATIENCE, alone};

/// A running `cargo xtask cluster`. Dropping it kills it.
pub(crate) struct ClusterCommand {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    /// All that it wrote to standard error so far.
    errors: Receiver<String>,
}

/// The binary that `cargo xtask` runs.
fn xtask() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env("NO_COLOR", "1");
    command
}

/// The first of three ports in a row that are free.
fn base_port() -> u16 {
    loop {
        let ports = free_ports(3).unwrap();
        if ports[2] == ports[0] + 2 {
            return ports[0];
        }
    }
}

fn lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl ClusterCommand {
    pub(crate) fn spawn(mut command: Command) -> ClusterCommand {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = lines(child.stdout.take().unwrap());
        let errors = lines(child.stderr.take().unwrap());
        let input = child.stdin.take();
        ClusterCommand {
            child,
            input,
            output,
            errors,
        }
    }

    fn start(folder: &TempDir, base_port: u16, more: &[&str]) -> ClusterCommand {
        let mut command = xtask();
        command.args(["cluster", "--base-port", &base_port.to_string()]);
        command
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(more);
        ClusterCommand::spawn(command)
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self) -> String {
        // A build may come first.
        match self.output.recv_timeout(PATIENCE * 5) {
            Ok(line) => line,
            Err(_) => panic!("no more output; standard error:\n{}", self.said()),
        }
    }

    /// Reads standard output up to a line that begins like this.
    pub(crate) fn line_that_begins(&mut self, beginning: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(beginning) {
                return line;
            }
        }
    }

    /// What was written to standard error since the last call.
    fn said(&self) -> String {
        self.errors.try_iter().map(|line| line + "\n").collect()
    }

    /// Reads standard error up to a line that holds this.
    fn error_with(&self, text: &str) -> String {
        loop {
            let line = self
                .errors
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("nobody said {text}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn type_in(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The process ids of the nodes.
    fn nodes(&mut self) -> Vec<u32> {
        self.type_in("status");
        (1..=3)
            .map(|id| {
                let line = self.line_that_begins(&format!("n{id}  "));
                line.split("process ")
                    .nth(1)
                    .and_then(|pid| pid.parse().ok())
                    .unwrap_or_else(|| panic!("{line}"))
            })
            .collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("cargo xtask cluster to end", PATIENCE, || {
            self.child
                .try_wait()?
                .ok_or_else(|| anyhow::anyhow!("it runs"))
        })
        .unwrap_or_else(|error| panic!("{error}; standard error:\n{}", self.said()))
    }
}

impl Drop for ClusterCommand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

/// Whether a process is there and not merely waiting to be forgotten by its parent.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|state| state != "Z")
}

fn wait_until_gone(nodes: &[u32]) {
    wait_for("all nodes to be gone", PATIENCE, || {
        let left: Vec<_> = nodes.iter().filter(|pid| is_alive(**pid)).collect();
        anyhow::ensure!(left.is_empty(), "{left:?} are there");
        Ok(())
    })
    .unwrap();
}

#[test]
fn ready_commands_and_ctrl_c() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let port = base_port();
    let mut cluster = ClusterCommand::start(&folder, port, &[]);
    let endpoints = format!(
        "127.0.0.1:{port},127.0.0.1:{},127.0.0.1:{}",
        port + 1,
        port + 2
    );
    assert_eq!(
        cluster.line(),
        format!("ready: {endpoints}"),
        "the first line of standard output"
    );
    let next = cluster.line_that_begins("  cargo run");
    assert_eq!(
        next,
        format!("  cargo run -q -p raft-cli -- --endpoints {endpoints} put hello world")
    );

    cluster.type_in("help");
    cluster.line_that_begins("quit ");
    cluster.type_in("cli put hello world");
    cluster.line_that_begins("OK");
    cluster.type_in("cli get hello");
    assert_eq!(cluster.line(), "world");
    cluster.type_in("no such thing");
    assert_eq!(
        cluster.error_with("no such"),
        "error: unknown command `no such thing`; `help` lists them"
    );

    let nodes = cluster.nodes();
    cluster.type_in("kill leader");
    assert!(cluster.line_that_begins("killed").starts_with("killed n"));
    cluster.type_in("wait leader");
    assert!(cluster.line().ends_with(" leads"));
    cluster.type_in("start all");
    assert!(cluster.line().starts_with("started n"));
    cluster.type_in("isolate 2");
    cluster.type_in("heal");
    assert_eq!(cluster.line(), "isolated n2");
    assert_eq!(cluster.line(), "healed");
    cluster.type_in("cli get hello");
    assert_eq!(cluster.line(), "world");

    // The end of input ends nothing where it is no terminal: the nodes go on until they are stopped.
    let now = cluster.nodes();
    assert_ne!(nodes, now);
    cluster.input = None;
    thread::sleep(std::time::Duration::from_millis(500));
    assert!(now.iter().all(|pid| is_alive(*pid)));
    cluster.interrupt();
    assert_eq!(cluster.wait().code(), Some(0));
    assert!(
        now.iter().chain(&nodes).all(|pid| !is_alive(*pid)),
        "a node outlived Ctrl-C"
    );

    // The data is still there.
    let mut again = ClusterCommand::start(&folder, port, &[]);
    again.line_that_begins("ready:");
    again.type_in("cli get hello");
    assert_eq!(again.line_that_begins("w"), "world");
    again.type_in("quit");
    assert_eq!(again.wait().code(), Some(0));
}

#[test]
fn nothing_survives_a_kill_of_the_command_itself() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = ClusterCommand::start(&folder, base_port(), &[]);
    cluster.line_that_begins("ready:");
    let nodes = cluster.nodes();
    assert!(nodes.iter().all(|pid| is_alive(*pid)));
    // A process that stands still cannot see that its standard input was closed.
    cluster.type_in("pause 2");
    cluster.line_that_begins("paused n2");
    cluster.signal(Signal::KILL);
    cluster.wait();
    wait_until_gone(&nodes);
}

#[test]
fn scripts() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("scenario");
    let port = base_port();
    let run = |text: &str| {
        fs::write(&script, text).unwrap();
        let mut cluster = ClusterCommand::start(
            &folder,
            port,
            &["--fresh", "--script", script.to_str().unwrap()],
        );
        let status = cluster.wait();
        let output: Vec<String> = cluster.output.iter().collect();
        (status.code(), output.join("\n"), cluster.said())
    };
    let (status, output, said) = run("\
# a leader is lost and comes back
cli put a 1
kill leader
wait leader
cli get a
cli=3 get absent
start all
status
");
    assert_eq!(status, Some(0), "{said}");
    assert!(output.contains("leads\n1\n"), "{output}");

    let (status, _, said) = run("cli put a 1\n\nkill 7\ncli put b 2\n");
    assert_eq!(status, Some(1));
    let error = said
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap();
    let expected = format!(
        "error: {}:3: `kill 7`: n7: there is no node 7; there are n1, n2, n3",
        script.display()
    );
    assert_eq!(error, expected);
}

/// Runs `cargo xtask cluster` where something is in its way.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = xtask()
        .arg("cluster")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.stdout.is_empty(), "{output:?}");
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn what_is_in_the_way_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let port = base_port().to_string();
    for arguments in [
        &["--nodes", "0"][..],
        &["--nodes", "10"],
        &["--base-port", "65534"],
        &["--base-port", "x"],
        &["--no"],
    ] {
        assert_eq!(refused(arguments).0, Some(2), "{arguments:?}");
    }

    let taken = TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap() + 1)).unwrap();
    let (status, said) = refused(&["--base-port", &port, "--data-dir", &path("busy")]);
    assert_eq!(status, Some(1));
    let busy = taken.local_addr().unwrap().port();
    assert!(
        said.starts_with(&format!("error: port {busy} is in use")),
        "{said}"
    );
    assert!(!Path::new(&path("busy")).exists());
    drop(taken);

    fs::create_dir(path("foreign")).unwrap();
    fs::write(path("foreign/precious"), "x").unwrap();
    let (status, said) = refused(&[
        "--base-port",
        &port,
        "--data-dir",
        &path("foreign"),
        "--fresh",
    ]);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("was not made by `cargo xtask cluster`"),
        "{said}"
    );
    assert!(Path::new(&path("foreign/precious")).exists());

    let (status, said) = refused(&[
        "--base-port",
        &port,
        "--data-dir",
        &path("s"),
        "--script",
        &path("absent"),
    ]);
    assert_eq!(status, Some(1));
    assert!(said.starts_with("error: cannot read the script"), "{said}");
}
