//! Runs the binary against a fake cluster, or against nothing.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use raft_kv::client::fake::FakeCluster;
use serde_json::Value;
use tokio::runtime::Runtime;

/// A fake cluster, and the runtime that it lives in.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) cluster: FakeCluster,
}

impl World {
    pub(crate) fn new(nodes: u64) -> World {
        let runtime = Runtime::new().unwrap();
        let cluster = runtime.block_on(FakeCluster::start(nodes));
        World { runtime, cluster }
    }

    /// raft-cli with the cluster's endpoints in the environment.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Ran {
        self.run(command().args(arguments), "")
    }

    pub(crate) fn run(&self, command: &mut Command, input: &str) -> Ran {
        run(
            command.env("RAFT_ENDPOINTS", self.cluster.endpoints().join(",")),
            input,
        )
    }

    pub(crate) fn shell(&self, arguments: &[&str], input: &str) -> Ran {
        self.run(command().args(arguments).arg("shell"), input)
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) raw: Vec<u8>,
}

impl Ran {
    /// Each line of the output as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    pub(crate) fn ok(self, out: &str) -> Ran {
        assert_eq!(
            (self.status, self.out.as_str(), self.err.as_str()),
            (0, out, "")
        );
        self
    }
}

/// raft-cli without anything of this machine's environment that concerns it.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-cli"));
    command
        .env_remove("RAFT_ENDPOINTS")
        .env_remove("RAFT_TIMEOUT");
    command
}

pub(crate) fn run(command: &mut Command, input: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    Ran {
        status: status.code().expect("ended by a signal"),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8(stderr).unwrap(),
        raw: stdout,
    }
}
