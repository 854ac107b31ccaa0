//! `raft-cli` as a child process: one command a process, or many through its shell.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::wait_for;

/// A key that nobody has. Deleting it is a write that a leader has to commit and acknowledge, and changes nothing: not
/// even the revision.
const ABSENT_KEY: &str = "xtask:a-key-that-nobody-has";

/// How long after its own time-out `raft-cli` may take to end before that counts as hanging.
const GRACE: Duration = Duration::from_secs(10);

/// A way to run `raft-cli` against some endpoints.
#[derive(Clone, Debug)]
pub struct Client {
    binary: PathBuf,
    endpoints: Vec<String>,
    timeout: Duration,
}

/// What a finished `raft-cli` said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Answer {
    /// The last line of standard output as JSON.
    ///
    /// # Errors
    /// When it is not JSON; the message holds all that was said.
    pub fn json(&self) -> Result<Value> {
        let line = self
            .stdout
            .trim_end()
            .lines()
            .next_back()
            .unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("not a line of JSON: {self:?}"))
    }

    /// Standard output, if the command succeeded.
    ///
    /// # Errors
    /// When the status is not 0; the message holds the status and standard error.
    pub fn success(self) -> Result<String> {
        let said = self.stderr.trim_end();
        match self.status {
            Some(0) => Ok(self.stdout),
            Some(status) => bail!("raft-cli ended with status {status}: {said}"),
            None => bail!("a signal ended raft-cli: {said}"),
        }
    }
}

impl Client {
    /// A client that gives up after 5 s.
    #[must_use]
    pub fn new(binary: &Path, endpoints: Vec<String>) -> Client {
        Client {
            binary: binary.to_path_buf(),
            endpoints,
            timeout: Duration::from_secs(5),
        }
    }

    /// The same with another time-out for each command.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client {
            timeout,
            ..self.clone()
        }
    }

    /// The same with other endpoints.
    #[must_use]
    pub fn with_endpoints(&self, endpoints: Vec<String>) -> Client {
        Client {
            endpoints,
            ..self.clone()
        }
    }

    /// The command line up to the verb, for whoever wants to run it otherwise.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--endpoints").arg(self.endpoints.join(","));
        command
            .arg("--timeout")
            .arg(format!("{}ms", self.timeout.as_millis()));
        command
            .env_remove("RAFT_ENDPOINTS")
            .env_remove("RAFT_TIMEOUT");
        command
    }

    /// Runs one command to its end, with nothing on its standard input.
    ///
    /// # Errors
    /// When it cannot be started, or does not end long after its own time-out.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Answer> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null());
        run_to_end(&mut command, self.timeout + GRACE)
    }

    /// Runs one command with `-o json`, and returns what it answered, be that a result or an error.
    ///
    /// # Errors
    /// As [`Client::run`], and when the answer is not JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        self.run(&[&["-o", "json"], arguments].concat())?.json()
    }

    /// Has a leader commit and acknowledge a write that changes nothing.
    ///
    /// # Errors
    /// When none does within the time-out.
    pub fn acknowledged_write(&self) -> Result<()> {
        self.run(&["delete", ABSENT_KEY])?.success().map(drop)
    }

    /// The members as `raft-cli status` sees them.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn members(&self) -> Result<Vec<Value>> {
        let status = self.json(&["status"])?;
        let members = status.get("members").and_then(Value::as_array);
        Ok(members
            .with_context(|| format!("no members in {status}"))?
            .clone())
    }

    /// The node that says it leads, in the highest term of those that do: an older one that was cut off may not know
    /// yet.
    ///
    /// # Errors
    /// When none does.
    pub fn leader(&self) -> Result<u8> {
        let members = self.members()?;
        let leaders = members
            .iter()
            .filter(|member| member.get("role").and_then(Value::as_str) == Some("leader"));
        let leader = leaders.max_by_key(|member| member.get("term").and_then(Value::as_u64));
        let id = leader
            .and_then(|member| member.get("id"))
            .and_then(Value::as_u64);
        id.and_then(|id| u8::try_from(id).ok())
            .ok_or_else(|| anyhow!("nobody leads: {}", roles(&members)))
    }

    /// Opens a shell.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn shell(&self) -> Result<Shell> {
        let mut command = self.command();
        command.args(["-o", "json", "shell"]);
        Shell::start(&mut command, self.timeout + GRACE)
    }
}

/// What each member is, in a few words.
fn roles(members: &[Value]) -> String {
    let role = |member: &Value| {
        let id = member.get("id").and_then(Value::as_u64);
        let role = member.get("role").and_then(Value::as_str).unwrap_or("?");
        format!(
            "n{} {role}",
            id.map_or_else(|| "?".to_owned(), |id| id.to_string())
        )
    };
    members.iter().map(role).collect::<Vec<_>>().join(", ")
}

/// A `raft-cli shell` with JSON answers, fed through a pipe. Dropping it kills it.
pub struct Shell {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    patience: Duration,
}

impl Shell {
    fn start(command: &mut Command, patience: Duration) -> Result<Shell> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let input = child.stdin.take();
        let output = child
            .stdout
            .take()
            .context("the shell has no standard output")?;
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Shell {
            child,
            input,
            answers,
            patience,
        })
    }

    /// Sends one command and waits for its answer, be that a result or `{"error": …}`.
    ///
    /// # Errors
    /// When the shell has ended, does not answer long after its time-out, or answers with something that is not JSON.
    pub fn ask(&mut self, line: &str) -> Result<Value> {
        let input = self.input.as_mut().context("the shell was closed")?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .context("the shell has ended")?;
        match self.answers.recv_timeout(self.patience) {
            Ok(answer) => serde_json::from_str(&answer)
                .with_context(|| format!("`{line}` was answered with {answer:?}")),
            Err(RecvTimeoutError::Timeout) => {
                bail!("`{line}` got no answer within {:?}", self.patience)
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the shell ended at `{line}`"),
        }
    }

    /// Closes the pipe and waits for the shell to end.
    ///
    /// # Errors
    /// When it does not.
    pub fn finish(mut self) -> Result<ExitStatus> {
        self.input = None;
        wait_for("the shell to end", self.patience, || {
            self.child.try_wait()?.context("it still runs")
        })
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and collects what it wrote; kills it when that takes longer than `within`.
fn run_to_end(command: &mut Command, within: Duration) -> Result<Answer> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let collect = |source: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = source.map(|mut source| source.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = collect(child.stdout.take().map(|stdout| Box::new(stdout) as _));
    let stderr = collect(child.stderr.take().map(|stderr| Box::new(stderr) as _));
    let ended = wait_for("raft-cli to end", within, || {
        child.try_wait()?.context("it still runs")
    });
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (
        stdout.join().unwrap_or_default(),
        stderr.join().unwrap_or_default(),
    );
    let status = ended.with_context(|| format!("{command:?} wrote {stdout:?} and {stderr:?}"))?;
    Ok(Answer {
        status: status.code(),
        stdout,
        stderr,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_with_its_status_and_words() {
        let answer = |status| Answer {
            status,
            stdout: "out".to_owned(),
            stderr: "error: no\n".to_owned(),
        };
        let said = |status| answer(status).success().unwrap_err().to_string();
        assert_eq!(answer(Some(0)).success().unwrap(), "out");
        assert_eq!(said(Some(6)), "raft-cli ended with status 6: error: no");
        assert_eq!(said(None), "a signal ended raft-cli: error: no");
    }
}
