//! One server process: started, stopped, paused and killed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Journal, wait_for};

/// What a node's process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It runs.
    Running,
    /// It is stopped by SIGSTOP.
    Paused,
    /// There is no process: never started, stopped, killed, or ended by itself.
    Down,
}

/// A node: at most one process at a time, and what all its processes wrote.
///
/// Dropping it kills the process.
pub struct Node {
    /// What its processes wrote to standard output and standard error.
    pub journal: Journal,
    process: Option<Process>,
}

struct Process {
    child: Child,
    paused: bool,
    /// Held open: a node started with `--exit-with-stdin` ends when this closes, even if it closes because this process
    /// was killed.
    _stdin: Option<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
}

impl Node {
    /// A node without a process.
    #[must_use]
    pub fn new(journal: Journal) -> Node {
        Node {
            journal,
            process: None,
        }
    }

    /// Starts `binary` with these arguments.
    ///
    /// # Errors
    /// When a process of this node is there already, or the binary cannot be started.
    pub fn start(&mut self, binary: &Path, arguments: &[String]) -> Result<()> {
        let mut command = Command::new(binary);
        command.args(arguments);
        self.start_command(&mut command)
    }

    /// Starts any command that ends up being the node, for example one that traces it.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_command(&mut self, command: &mut Command) -> Result<()> {
        if self.state() != NodeState::Down {
            bail!("it runs already");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C goes to whoever started the cluster, who then stops the nodes in good order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut readers = Vec::new();
        readers.extend(
            child
                .stdout
                .take()
                .map(|stdout| self.journal.follow(stdout)),
        );
        readers.extend(
            child
                .stderr
                .take()
                .map(|stderr| self.journal.follow(stderr)),
        );
        let stdin = child.stdin.take();
        self.process = Some(Process {
            child,
            paused: false,
            _stdin: stdin,
            readers,
        });
        Ok(())
    }

    /// What the process is doing, as far as this knows; see [`Node::reap`].
    #[must_use]
    pub fn state(&self) -> NodeState {
        match &self.process {
            None => NodeState::Down,
            Some(process) if process.paused => NodeState::Paused,
            Some(_) => NodeState::Running,
        }
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// If the process has ended by itself: how, with all that it wrote now in the journal.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn reap(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        let status = process.child.try_wait()?;
        if status.is_some() {
            self.forget();
        }
        Ok(status)
    }

    /// Ends the process with SIGKILL.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self) -> Result<()> {
        let process = self.running()?;
        process.child.kill()?;
        process.child.wait()?;
        self.forget();
        Ok(())
    }

    /// Stops the process where it is, with SIGSTOP, and waits until it stands still.
    ///
    /// # Errors
    /// When there is none, or it is paused already.
    pub fn pause(&mut self) -> Result<()> {
        let process = self.running()?;
        if process.paused {
            bail!("it is paused already");
        }
        process.signal(Signal::STOP)?;
        process.paused = true;
        let stat = format!("/proc/{}/stat", process.child.id());
        wait_for("the process to stand still", Duration::from_secs(5), || {
            let text = fs::read_to_string(&stat)?;
            // "pid (name) state …"; the name may hold anything but is closed by the last parenthesis.
            let state = text
                .rsplit(')')
                .next()
                .and_then(|rest| rest.trim_start().chars().next());
            if state == Some('T') {
                Ok(())
            } else {
                Err(anyhow!("state {state:?}"))
            }
        })
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// When there is none, or it is not paused.
    pub fn resume(&mut self) -> Result<()> {
        let process = self.running()?;
        if !process.paused {
            bail!("it is not paused");
        }
        process.signal(Signal::CONT)?;
        process.paused = false;
        Ok(())
    }

    /// Asks the process to end, with SIGTERM. A paused one is woken first.
    ///
    /// # Errors
    /// When there is none.
    pub fn ask_to_stop(&mut self) -> Result<()> {
        let process = self.running()?;
        process.signal(Signal::TERM)?;
        if process.paused {
            process.signal(Signal::CONT)?;
            process.paused = false;
        }
        Ok(())
    }

    /// Waits for the process to end by itself or because it was asked to.
    ///
    /// # Errors
    /// When it still runs after `within`, or when there is none.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        self.running()?;
        let begun = Instant::now();
        wait_for("the process to end", within, || match self.reap() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(anyhow!(
                "it still runs after {:.1} s",
                begun.elapsed().as_secs_f64()
            )),
            Err(error) => Err(error),
        })
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("it does not run")
    }

    /// The process has ended: the last of what it wrote is read, and it is gone.
    fn forget(&mut self) {
        for reader in self
            .process
            .take()
            .into_iter()
            .flat_map(|process| process.readers)
        {
            let _ = reader.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Without a process there is nothing to kill.
        let _ = self.kill();
    }
}

impl Process {
    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("the process has no id")?;
        // The child has not been waited for, so the id is still its own.
        kill_process(pid, signal).with_context(|| format!("cannot send signal {}", signal.as_raw()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Echo;
    use super::*;

    fn shell(script: &str) -> Node {
        let mut node = Node::new(Journal::new(1, Echo::Off));
        node.start(Path::new("/bin/sh"), &["-c".to_owned(), script.to_owned()])
            .unwrap();
        node
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn what_a_process_wrote_last_is_there_when_it_has_ended() {
        let mut node = shell("echo out; echo the end >&2; exit 3");
        assert_eq!(node.wait(SOON).unwrap().code(), Some(3));
        assert_eq!(node.state(), NodeState::Down);
        let mut lines = node.journal.lines();
        lines.sort();
        assert_eq!(lines, ["out", "the end"]);
        assert_eq!(node.kill().unwrap_err().to_string(), "it does not run");
    }

    #[test]
    fn a_paused_process_can_be_resumed_and_stopped() {
        let mut node = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        let ready = |node: &Node| node.journal.last_line().context("no line yet");
        wait_for("the trap", SOON, || ready(&node)).unwrap();
        assert_eq!(
            node.start(Path::new("/bin/true"), &[])
                .unwrap_err()
                .to_string(),
            "it runs already"
        );
        assert_eq!(node.resume().unwrap_err().to_string(), "it is not paused");
        node.pause().unwrap();
        assert_eq!(node.state(), NodeState::Paused);
        node.resume().unwrap();
        node.pause().unwrap();
        node.ask_to_stop().unwrap();
        assert_eq!(node.wait(SOON).unwrap().code(), Some(7));
    }

    #[test]
    fn dropping_a_node_kills_its_process() {
        let mut node = shell("exec sleep 1000");
        let pid = node.pid().unwrap();
        node.pause().unwrap();
        drop(node);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
