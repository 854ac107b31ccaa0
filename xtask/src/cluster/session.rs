//! A running cluster and the commands that are carried out on it.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::command::{self, Command, Which};
use super::{complain, say};
use crate::local::{Client, LocalCluster, NodeState, wait_for};

/// How often it is looked whether a node has ended by itself, or Ctrl-C was typed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long `wait leader` waits.
const LEADER_WITHIN: Duration = Duration::from_secs(60);
/// How long `raft-cli` may try what a command asks of it.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

pub(super) struct Session {
    pub(super) cluster: LocalCluster,
    /// Set by Ctrl-C and its like.
    interrupted: Arc<AtomicBool>,
    /// Whether `wait leader` leaves room for other commands.
    takes_commands_meanwhile: bool,
    /// What such a `wait leader` finds out.
    waiting: Option<Receiver<Result<u8>>>,
}

impl Session {
    pub(super) fn new(cluster: LocalCluster, interrupted: Arc<AtomicBool>) -> Session {
        Session {
            cluster,
            interrupted,
            takes_commands_meanwhile: false,
            waiting: None,
        }
    }

    /// Waits until a leader has acknowledged a write. False when told to stop before.
    pub(super) fn wait_ready(&mut self, within: Duration) -> Result<bool> {
        let begun = Instant::now();
        loop {
            if self.told_to_stop() {
                return Ok(false);
            }
            match self.cluster.wait_ready(Duration::ZERO) {
                Ok(()) => return Ok(true),
                Err(error) if begun.elapsed() > within => return Err(error),
                // A node that ended now will not come back by waiting.
                Err(error) if self.someone_is_down()? => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn someone_is_down(&mut self) -> Result<bool> {
        for id in self.cluster.ids() {
            if self.cluster.node(id)?.state() == NodeState::Down {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn told_to_stop(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Carries out commands as they come. Mistakes are said, and it goes on.
    pub(super) fn run_interactive(&mut self, lines: &Receiver<String>) -> Result<()> {
        self.takes_commands_meanwhile = io::stdin().is_terminal();
        while !self.told_to_stop() {
            self.report_ended()?;
            self.report_leader();
            match lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => match self.carry_out(&line) {
                    Ok(Next::Go) => {}
                    Ok(Next::Stop) => break,
                    Err(error) => complain(&format!("error: {error:#}")),
                },
                Err(RecvTimeoutError::Timeout) => {}
                // On a terminal this is Ctrl-D. Elsewhere it only means that no more commands come.
                Err(RecvTimeoutError::Disconnected) if io::stdin().is_terminal() => break,
                Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK_EVERY),
            }
        }
        Ok(())
    }

    /// Carries out the lines of a script; the first that fails ends it.
    pub(super) fn run_script(&mut self, name: &str, script: &str) -> Result<()> {
        for (number, line) in script.lines().enumerate() {
            if self.told_to_stop() {
                bail!("{name}:{}: interrupted before this line", number + 1);
            }
            self.report_ended()?;
            let outcome = self.carry_out(line);
            if outcome.with_context(|| format!("{name}:{}: `{}`", number + 1, line.trim()))?
                == Next::Stop
            {
                break;
            }
        }
        Ok(())
    }

    /// Ends all nodes in good order. A second Ctrl-C meanwhile ends them at once.
    pub(super) fn stop(&mut self, within: Duration) -> Result<()> {
        self.interrupted.store(false, Ordering::Relaxed);
        let hurry = Arc::clone(&self.interrupted);
        for id in self
            .cluster
            .stop_all(within, || hurry.load(Ordering::Relaxed))?
        {
            complain(&format!(
                "n{id} did not end within {} s and was killed",
                within.as_secs()
            ));
        }
        Ok(())
    }

    fn report_ended(&mut self) -> Result<()> {
        for (id, status) in self.cluster.ended()? {
            complain(&format!(
                "n{id} ended by itself ({status}); `start {id}` starts it again"
            ));
        }
        Ok(())
    }

    fn carry_out(&mut self, line: &str) -> Result<Next> {
        let Some(command) = command::parse(line)? else {
            return Ok(Next::Go);
        };
        let outcome = match command {
            Command::Status => self.status(),
            Command::Kill(which) => self.each(which, "killed", |all, id| all.node(id)?.kill()),
            Command::Start(which) => self.each(which, "started", LocalCluster::start),
            Command::Pause(which) => self.each(which, "paused", |all, id| all.node(id)?.pause()),
            Command::Resume(which) => self.each(which, "resumed", |all, id| all.node(id)?.resume()),
            Command::Isolate(which) => self.each(which, "isolated", LocalCluster::isolate),
            Command::Heal => {
                self.cluster.network().heal();
                say("healed");
                Ok(())
            }
            Command::Add => self.add(),
            Command::Remove(which) => self.remove(which),
            Command::Transfer(which) => {
                let id = self.one(which)?;
                self.client(0, &words(&["leader", "move", &id.to_string()]))
            }
            Command::WaitLeader => self.wait_leader(),
            Command::Cli {
                expected,
                arguments,
            } => self.client(expected, &arguments),
            Command::Help => {
                say(command::HELP);
                Ok(())
            }
            Command::Quit => return Ok(Next::Stop),
        };
        outcome.map(|()| Next::Go)
    }

    /// Starts a node and takes it in.
    fn add(&mut self) -> Result<()> {
        let id = self.cluster.add()?;
        let address = self.cluster.endpoint(id);
        complain(&format!("n{id} is started at {address}, and taken in"));
        // It listens a moment after it was started; until then the leader cannot ask it who it is.
        wait_for("the new node to listen", CLIENT_TIMEOUT, || {
            let port = address.parse::<std::net::SocketAddr>()?;
            Ok(std::net::TcpStream::connect_timeout(&port, CLIENT_TIMEOUT).map(drop)?)
        })?;
        self.client(
            0,
            &words(&["member", "add", &id.to_string(), &address, "--voter"]),
        )
    }

    /// Takes a node out, and ends it.
    fn remove(&mut self, which: Which) -> Result<()> {
        let id = self.one(which)?;
        self.cluster.node(id)?;
        self.client(0, &words(&["member", "remove", &id.to_string()]))?;
        self.cluster.remove(id)?;
        say(&format!("removed n{id}"));
        Ok(())
    }

    /// The one node that is meant.
    fn one(&self, which: Which) -> Result<u8> {
        match which {
            Which::Node(id) => Ok(id),
            Which::Leader => self.cluster.client().with_timeout(CLIENT_TIMEOUT).leader(),
            Which::All => bail!("one node at a time"),
        }
    }

    /// Does something to every node that is meant; with `all`, to those to which it can be done.
    fn each(
        &mut self,
        which: Which,
        done: &str,
        mut what: impl FnMut(&mut LocalCluster, u8) -> Result<()>,
    ) -> Result<()> {
        let ids = match which {
            Which::Node(id) => vec![id],
            Which::Leader => vec![
                self.cluster
                    .client()
                    .with_timeout(CLIENT_TIMEOUT)
                    .leader()?,
            ],
            Which::All => self.cluster.ids(),
        };
        let mut refused = None;
        let mut names = Vec::new();
        for id in ids {
            match what(&mut self.cluster, id) {
                Ok(()) => names.push(format!("n{id}")),
                Err(error) => refused = Some(error.context(format!("n{id}"))),
            }
        }
        match refused {
            Some(error) if names.is_empty() => Err(error),
            _ => {
                say(&format!("{done} {}", names.join(", ")));
                Ok(())
            }
        }
    }

    /// `wait leader`: on a terminal other commands go on meanwhile, since one of them may be what a leader needs. From a
    /// script or a pipe, what follows is meant for when there is a leader.
    fn wait_leader(&mut self) -> Result<()> {
        ensure!(self.waiting.is_none(), "it is being waited for already");
        let within = LEADER_WITHIN.as_secs();
        let outcome = seek_leader(self.cluster.client());
        if self.takes_commands_meanwhile {
            complain(&format!(
                "waiting for a leader, up to {within} s; commands are taken meanwhile"
            ));
            self.waiting = Some(outcome);
            return Ok(());
        }
        complain(&format!("waiting for a leader, up to {within} s"));
        loop {
            match outcome.recv_timeout(LOOK_EVERY) {
                Ok(outcome) => return say_leader(outcome),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the search for a leader ended"),
            }
            if self.told_to_stop() {
                bail!("interrupted");
            }
            self.report_ended()?;
        }
    }

    /// Says what became of a `wait leader`, once it is known.
    fn report_leader(&mut self) {
        let Some(waiting) = &self.waiting else {
            return;
        };
        let outcome = match waiting.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err(anyhow!("the search for a leader ended")),
        };
        self.waiting = None;
        if let Err(error) = say_leader(outcome) {
            complain(&format!("error: {error:#}"));
        }
    }

    fn client(&mut self, expected: i32, arguments: &[String]) -> Result<()> {
        let answer = self
            .cluster
            .client()
            .with_timeout(CLIENT_TIMEOUT)
            .run(arguments)?;
        for line in answer.stdout.lines() {
            say(line);
        }
        for line in answer.stderr.lines() {
            complain(line);
        }
        let status = answer
            .status
            .ok_or_else(|| anyhow!("a signal ended raft-cli"))?;
        ensure!(
            status == expected,
            "raft-cli ended with status {status}, not {expected}"
        );
        Ok(())
    }

    /// What the processes do, and what the members say of themselves.
    fn status(&mut self) -> Result<()> {
        let isolated = self.cluster.network().isolated();
        for id in self.cluster.ids() {
            let endpoint = self.cluster.endpoint(id);
            let node = self.cluster.node(id)?;
            let doing = match (node.state(), node.pid()) {
                (NodeState::Running, Some(pid)) => format!("running as process {pid}"),
                (NodeState::Paused, Some(pid)) => format!("paused, process {pid}"),
                _ => "down".to_owned(),
            };
            let cut = if isolated.contains(&id) {
                ", isolated"
            } else {
                ""
            };
            say(&format!("n{id}  {endpoint}  {doing}{cut}"));
        }
        let answer = self
            .cluster
            .client()
            .with_timeout(CLIENT_TIMEOUT)
            .run(&["status"])?;
        say(answer.stdout.trim_end());
        if !answer.stderr.is_empty() {
            complain(answer.stderr.trim_end());
        }
        Ok(())
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Looks for a leader that acknowledges a write, on a thread of its own, and tells once it has one or gives up.
fn seek_leader(client: Client) -> Receiver<Result<u8>> {
    let (sender, found) = mpsc::channel();
    let client = client.with_timeout(Duration::from_secs(2));
    thread::spawn(move || {
        let what = "a leader that acknowledges a write";
        let outcome = wait_for(what, LEADER_WITHIN, || {
            client.acknowledged_write()?;
            client.leader()
        });
        // Nobody waits any more where the command has ended meanwhile.
        let _ = sender.send(outcome);
    });
    found
}

fn say_leader(outcome: Result<u8>) -> Result<()> {
    say(&format!("n{} leads", outcome?));
    Ok(())
}
