//! A cluster of server processes on this machine, with a network of its own between them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{Client, Echo, Forwarder, Journal, Node, NodeState, wait_for};
use crate::cargo::Binaries;

/// The ids that a node may have.
const IDS: std::ops::RangeInclusive<u8> = 1..=9;

/// How a cluster is made.
pub struct Settings {
    /// The programs to run.
    pub binaries: Binaries,
    /// Holds a folder `n1`, `n2`, … for each node; made where missing.
    pub data_dir: PathBuf,
    /// How many nodes there are: 1 to 9.
    pub nodes: u8,
    /// Where node 1, 2, … listens on 127.0.0.1. For more ids than there are nodes where nodes may be added later: the
    /// way to those leads through the forwarder from the start.
    pub ports: Vec<u16>,
    /// More arguments for every `raft-kv serve`.
    pub serve_arguments: Vec<String>,
    /// Whether the nodes reach each other through the forwarder, which can cut links but costs time on the way.
    pub forwarded: bool,
    /// Whether the nodes' logs are shown as they come.
    pub echo: Echo,
}

/// The nodes of a cluster and the network between them. Dropping it kills every process.
pub struct LocalCluster {
    settings: Settings,
    nodes: BTreeMap<u8, Node>,
    /// Those that found the cluster; the others join it.
    founders: BTreeMap<u8, String>,
    /// By (from, to): the address that `from` is told to dial for `to`.
    links: BTreeMap<(u8, u8), SocketAddr>,
    forwarder: Forwarder,
}

impl LocalCluster {
    /// Prepares the nodes and the network; starts no process.
    ///
    /// # Errors
    /// When there are not one to nine nodes with a port each, or the forwarder cannot listen.
    pub fn new(settings: Settings) -> Result<LocalCluster> {
        ensure!(
            IDS.contains(&settings.nodes),
            "a cluster has one to {} nodes",
            IDS.end()
        );
        ensure!(
            settings.ports.len() >= usize::from(settings.nodes),
            "there are fewer ports than nodes"
        );
        let mut cluster = LocalCluster {
            nodes: BTreeMap::new(),
            founders: BTreeMap::new(),
            links: BTreeMap::new(),
            forwarder: Forwarder::new(),
            settings,
        };
        for id in 1..=cluster.settings.nodes {
            let address = cluster.endpoint(id);
            cluster.founders.insert(id, address);
        }
        // Nodes that were added in an earlier run are there again, and those that were removed are not.
        for id in IDS.take(cluster.settings.ports.len()) {
            let founds = cluster.founders.contains_key(&id);
            let (there, removed) = (cluster.data_dir(id), cluster.removed_dir(id));
            if there.exists() || (founds && !removed.exists()) {
                cluster.insert(id)?;
            }
        }
        Ok(cluster)
    }

    /// Makes room for a node, and its ways to the others.
    fn insert(&mut self, id: u8) -> Result<()> {
        let others = IDS.zip(self.settings.ports.clone());
        for (to, port) in others.filter(|(to, _)| *to != id && self.settings.forwarded) {
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let address = self
                .forwarder
                .open(id, to, target)
                .context("the forwarder cannot listen")?;
            self.links.insert((id, to), address);
        }
        let node = Node::new(Journal::new(id, self.settings.echo));
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Starts a new node, with the lowest id that is free and an empty folder, that waits to be taken in; its id.
    ///
    /// # Errors
    /// When there is no id or port left, or it cannot be started.
    pub fn add(&mut self) -> Result<u8> {
        let id = IDS
            .take(self.settings.ports.len())
            .find(|id| !self.nodes.contains_key(id))
            .context("there are as many nodes as there can be")?;
        self.insert(id)?;
        self.start(id)?;
        Ok(id)
    }

    /// Ends a node for good, and puts its folder aside.
    ///
    /// # Errors
    /// When there is no such node, or its folder cannot be moved.
    pub fn remove(&mut self, id: u8) -> Result<()> {
        let node = self.node(id)?;
        if node.state() != NodeState::Down {
            node.ask_to_stop()?;
            if node.wait(Duration::from_secs(5)).is_err() {
                node.kill()?;
            }
        }
        let (there, aside) = (self.data_dir(id), self.removed_dir(id));
        let _ = fs::remove_dir_all(&aside);
        fs::rename(&there, &aside)
            .with_context(|| format!("cannot move {} aside", there.display()))?;
        self.nodes.remove(&id);
        self.links.retain(|(from, _), _| *from != id);
        Ok(())
    }

    fn removed_dir(&self, id: u8) -> PathBuf {
        self.settings.data_dir.join(format!("n{id}.removed"))
    }

    /// The ids of the nodes.
    #[must_use]
    pub fn ids(&self) -> Vec<u8> {
        self.nodes.keys().copied().collect()
    }

    /// Where a node listens.
    #[must_use]
    pub fn endpoint(&self, id: u8) -> String {
        let port = self
            .settings
            .ports
            .get(usize::from(id).wrapping_sub(1))
            .copied()
            .unwrap_or(0);
        format!("127.0.0.1:{port}")
    }

    /// Where all nodes listen.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.keys().map(|id| self.endpoint(*id)).collect()
    }

    /// A client of all nodes.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.settings.binaries.client, self.endpoints())
    }

    /// A client that knows one node only.
    #[must_use]
    pub fn client_of(&self, id: u8) -> Client {
        self.client().with_endpoints(vec![self.endpoint(id)])
    }

    /// The network between the nodes.
    #[must_use]
    pub fn network(&self) -> &Forwarder {
        &self.forwarder
    }

    /// The folder of a node.
    #[must_use]
    pub fn data_dir(&self, id: u8) -> PathBuf {
        self.settings.data_dir.join(format!("n{id}"))
    }

    /// A node.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn node(&mut self, id: u8) -> Result<&mut Node> {
        let known = self
            .nodes
            .keys()
            .map(|id| format!("n{id}"))
            .collect::<Vec<_>>()
            .join(", ");
        self.nodes
            .get_mut(&id)
            .with_context(|| format!("there is no node {id}; there are {known}"))
    }

    /// The command line of a node, without the program.
    #[must_use]
    pub fn serve_arguments(&self, id: u8) -> Vec<String> {
        let founders: Vec<String> = self
            .founders
            .iter()
            .map(|(id, address)| format!("{id}={address}"))
            .collect();
        // A founder that was removed comes back as a new node.
        let founds = self.founders.contains_key(&id) && !self.removed_dir(id).exists();
        let mut arguments: Vec<String> = ["serve", "--exit-with-stdin", "--id"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(id.to_string());
        arguments.extend(["--listen".to_owned(), self.endpoint(id)]);
        arguments.extend([
            "--data-dir".to_owned(),
            self.data_dir(id).display().to_string(),
        ]);
        match founds {
            true => arguments.extend(["--cluster".to_owned(), founders.join(",")]),
            false => arguments.push("--join".to_owned()),
        }
        for ((_, to), address) in self.links.iter().filter(|((from, _), _)| *from == id) {
            arguments.extend(["--dial-override".to_owned(), format!("{to}={address}")]);
        }
        arguments.extend(self.settings.serve_arguments.iter().cloned());
        arguments
    }

    /// Starts a node that is down.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn start(&mut self, id: u8) -> Result<()> {
        let arguments = self.serve_arguments(id);
        let binary = self.settings.binaries.server.clone();
        let folder = self.settings.data_dir.clone();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        self.node(id)?.start(&binary, &arguments)
    }

    /// Starts a node that is down, to be taken in, whatever it was: its folder is gone.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn start_to_join(&mut self, id: u8) -> Result<()> {
        let mut arguments = self.serve_arguments(id);
        if let Some(at) = arguments
            .iter()
            .position(|argument| argument == "--cluster")
        {
            arguments.splice(at..at + 2, ["--join".to_owned()]);
        }
        let binary = self.settings.binaries.server.clone();
        self.node(id)?.start(&binary, &arguments)
    }

    /// From now on, nodes are started and clients made of these programs.
    pub fn set_binaries(&mut self, binaries: Binaries) {
        self.settings.binaries = binaries;
    }

    /// Starts every node that is down.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_all(&mut self) -> Result<()> {
        for id in self.ids() {
            if self.node(id)?.state() == NodeState::Down {
                self.start(id)?;
            }
        }
        Ok(())
    }

    /// Cuts a node off from all others; its clients still reach it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn isolate(&mut self, id: u8) -> Result<()> {
        self.node(id)?;
        self.forwarder.isolate(id);
        Ok(())
    }

    /// Which processes have ended by themselves since the last call, and how.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&mut self) -> Result<Vec<(u8, ExitStatus)>> {
        let mut ended = Vec::new();
        for (id, node) in &mut self.nodes {
            ended.extend(node.reap()?.map(|status| (*id, status)));
        }
        Ok(ended)
    }

    /// Fails when a process has ended by itself, with the last line that it wrote.
    ///
    /// # Errors
    /// As said.
    pub fn all_well(&mut self) -> Result<()> {
        if let Some((id, status)) = self.ended()?.first() {
            let said = self
                .node(*id)?
                .journal
                .last_line()
                .unwrap_or_else(|| "it said nothing".to_owned());
            bail!("n{id} ended by itself ({status}): {said}");
        }
        Ok(())
    }

    /// Waits until a leader has acknowledged a write.
    ///
    /// # Errors
    /// When that takes longer than `within`, or as soon as a node ends by itself.
    pub fn wait_ready(&mut self, within: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            // Short, so that a node that has died is noticed soon.
            let attempt = self
                .client()
                .with_timeout(Duration::from_secs(2))
                .acknowledged_write();
            self.all_well()?;
            match attempt {
                Ok(()) => return Ok(()),
                Err(error) if begun.elapsed() >= within => {
                    return Err(error.context(format!(
                        "no write was acknowledged within {} s",
                        within.as_secs()
                    )));
                }
                Err(_) => {}
            }
        }
    }

    /// Ends every process in good order: SIGTERM, and SIGKILL for those that are still there after `grace`, or once
    /// `hurry` says so. Returns those that had to be killed.
    ///
    /// # Errors
    /// When the kernel refuses a signal.
    pub fn stop_all(&mut self, grace: Duration, hurry: impl Fn() -> bool) -> Result<Vec<u8>> {
        for node in self
            .nodes
            .values_mut()
            .filter(|node| node.state() != NodeState::Down)
        {
            node.ask_to_stop()?;
        }
        // The error is that some are still there: which, is seen below.
        let _ = wait_for("the nodes to end", grace, || {
            self.ended()?;
            let left = self
                .nodes
                .values()
                .filter(|node| node.state() != NodeState::Down)
                .count();
            if left == 0 || hurry() {
                Ok(())
            } else {
                Err(anyhow!("{left} still run"))
            }
        });
        let mut stubborn = Vec::new();
        for (id, node) in &mut self.nodes {
            if node.state() != NodeState::Down {
                node.kill()?;
                stubborn.push(*id);
            }
        }
        Ok(stubborn)
    }

    /// What every node wrote last, for a report of a failure.
    #[must_use]
    pub fn journals(&self, lines: usize) -> String {
        let mut text = String::new();
        for (id, node) in &self.nodes {
            let kept = node.journal.lines();
            for line in kept.iter().skip(kept.len().saturating_sub(lines)) {
                text.push_str(&format!("n{id} | {line}\n"));
            }
        }
        text
    }
}
