//! One server process: started so that it never outlives this one, paused, ended and killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to the end of the file `log`.
    ///
    /// The kernel kills it when the thread that started it ends, however it ends: call this in the main thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Process> {
        let unwritable = || format!("cannot write {}", log.display());
        let output = File::options()
            .append(true)
            .create(true)
            .open(log)
            .with_context(unwritable)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().with_context(unwritable)?)
            .stderr(output)
            .spawn()
            .context("cannot run setpriv, which ends the servers with this program (Debian: apt-get install util-linux)")?;
        Ok(Process {
            child,
            log: log.to_path_buf(),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended by itself, with the last lines that it wrote.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(5)..].join("\n");
            bail!("a server ended by itself ({status}); it wrote last:\n{last}");
        }
        Ok(())
    }

    /// Stops it until [`resume`](Process::resume): it does nothing at all in between.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM, and its end awaited.
    ///
    /// # Errors
    /// When it does not end within `grace`.
    pub(crate) fn stop(mut self, grace: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > grace {
                bail!("a server has not ended {} s after SIGTERM", grace.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("no process id")?;
        kill_process(pid, signal).context("cannot signal a server")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; what matters is that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
