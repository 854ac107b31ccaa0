//! A cluster of either side on this machine: started with its defaults, asked who leads, paused, killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use raft_kv::client::{Client, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::backend::{Backend, etcd_options};
use crate::process::Process;
use crate::system::{self, Usage};

const ASK_WITHIN: Duration = Duration::from_secs(2);
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a request of the generator may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Above this size of values etcd is allowed more than its default of 2 GiB: it keeps every version.
const LARGE_VALUE_BYTES: usize = 4096;

/// Whose servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    RaftKv,
    Etcd,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::RaftKv => "raft-kv",
            Side::Etcd => "etcd",
        }
    }
}

/// The programs that are compared.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) raft_kv: PathBuf,
    pub(crate) etcd: Option<PathBuf>,
}

impl Programs {
    pub(crate) fn sides(&self) -> Vec<Side> {
        let etcd = self.etcd.as_ref().map(|_| Side::Etcd);
        std::iter::once(Side::RaftKv).chain(etcd).collect()
    }
}

/// How many syncs servers have done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Syncs {
    /// Of logs.
    pub(crate) log: f64,
    /// Of what the state is kept in besides: commits of etcd's backend, two syncs each.
    pub(crate) backend: f64,
}

/// What a node says of itself.
struct View {
    leads: bool,
    applied: u64,
    syncs: Syncs,
}

struct Node {
    client_port: u16,
    peer_port: u16,
    process: Option<Process>,
}

/// The servers. Dropping it kills them.
pub(crate) struct Cluster {
    pub(crate) side: Side,
    programs: Programs,
    dir: PathBuf,
    nodes: Vec<Node>,
    large_values: bool,
    /// Asks our nodes for their status.
    asker: Option<Client>,
}

impl Cluster {
    /// Starts so many nodes with empty directories under `dir`, and waits for a leader.
    pub(crate) async fn start(
        side: Side,
        programs: &Programs,
        dir: &Path,
        nodes: usize,
        value_size: usize,
    ) -> Result<Cluster> {
        let dir = dir.join(side.name());
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let ports = free_ports(nodes * 2)?;
        let nodes = ports.chunks_exact(2).map(|ports| Node {
            client_port: ports[0],
            peer_port: ports[1],
            process: None,
        });
        let mut cluster = Cluster {
            side,
            programs: programs.clone(),
            dir,
            nodes: nodes.collect(),
            large_values: value_size > LARGE_VALUE_BYTES,
            asker: None,
        };
        if side == Side::RaftKv {
            cluster.asker = Some(Client::connect(cluster.endpoints(), Options::default())?);
        }
        cluster.start_all()?;
        cluster.leader_within(READY_WITHIN).await?;
        Ok(cluster)
    }

    pub(crate) fn start_all(&mut self) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|node| self.start_node(node))
    }

    /// Starts one that does not run.
    pub(crate) fn start_node(&mut self, node: usize) -> Result<()> {
        let arguments = match self.side {
            Side::RaftKv => self.raft_kv_arguments(node),
            Side::Etcd => self.etcd_arguments(node),
        };
        let program = match self.side {
            Side::RaftKv => Some(&self.programs.raft_kv),
            Side::Etcd => self.programs.etcd.as_ref(),
        };
        let program = program.context("there is no etcd to start")?;
        let log = self.dir.join(format!("n{}.log", node + 1));
        let process = Process::start(program, &arguments, &log)?;
        self.nodes[node].process = Some(process);
        Ok(())
    }

    fn raft_kv_arguments(&self, node: usize) -> Vec<String> {
        let members: Vec<String> = (1..)
            .zip(&self.nodes)
            .map(|(id, node)| format!("{id}=127.0.0.1:{}", node.client_port))
            .collect();
        [
            "serve",
            "--id",
            &(node + 1).to_string(),
            "--listen",
            &self.endpoint(node),
            "--data-dir",
            &self.data_dir(node),
            "--cluster",
            &members.join(","),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn etcd_arguments(&self, node: usize) -> Vec<String> {
        let peers: Vec<String> = (1..)
            .zip(&self.nodes)
            .map(|(id, node)| format!("n{id}=http://127.0.0.1:{}", node.peer_port))
            .collect();
        let client_url = format!("http://{}", self.endpoint(node));
        let peer_url = format!("http://127.0.0.1:{}", self.nodes[node].peer_port);
        let mut arguments = [
            "--name",
            &format!("n{}", node + 1),
            "--data-dir",
            &self.data_dir(node),
            "--listen-client-urls",
            &client_url,
            "--advertise-client-urls",
            &client_url,
            "--listen-peer-urls",
            &peer_url,
            "--initial-advertise-peer-urls",
            &peer_url,
            "--initial-cluster",
            &peers.join(","),
            "--initial-cluster-state",
            "new",
        ]
        .map(str::to_owned)
        .to_vec();
        if self.large_values {
            arguments.push(format!("--quota-backend-bytes={}", 8_u64 << 30));
        }
        arguments
    }

    fn data_dir(&self, node: usize) -> String {
        self.dir
            .join(format!("n{}", node + 1))
            .display()
            .to_string()
    }

    fn endpoint(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[node].client_port)
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        (0..self.nodes.len())
            .map(|node| self.endpoint(node))
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        let running = self.nodes.iter().filter_map(|node| node.process.as_ref());
        running.map(Process::pid).collect()
    }

    /// So many connections to the leader.
    pub(crate) async fn connect(&mut self, connections: u32) -> Result<Vec<Backend>> {
        let leader = self.leader_within(READY_WITHIN).await?;
        let mut backends = Vec::new();
        for _ in 0..connections {
            backends.push(self.connect_to(leader, REQUEST_WITHIN).await?);
        }
        Ok(backends)
    }

    /// A connection: ours finds the leader by itself, etcd's is to this node.
    pub(crate) async fn connect_to(&self, node: usize, timeout: Duration) -> Result<Backend> {
        match self.side {
            Side::RaftKv => Backend::raft_kv(&self.endpoints(), timeout),
            Side::Etcd => Backend::etcd(&self.endpoint(node), timeout).await,
        }
    }

    /// Which node leads, once one does.
    ///
    /// # Errors
    /// When that takes too long, or a server has ended.
    pub(crate) async fn leader_within(&mut self, within: Duration) -> Result<usize> {
        let begun = Instant::now();
        loop {
            for node in &mut self.nodes {
                node.process.as_mut().map_or(Ok(()), Process::check)?;
            }
            for node in 0..self.nodes.len() {
                if self.nodes[node].process.is_some()
                    && self.view(node).await.is_ok_and(|view| view.leads)
                {
                    return Ok(node);
                }
            }
            ensure!(
                begun.elapsed() < within,
                "no node of {} leads after {} s",
                self.side.name(),
                within.as_secs()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Up to which index a node has applied the log.
    pub(crate) async fn applied(&self, node: usize) -> Result<u64> {
        Ok(self.view(node).await?.applied)
    }

    /// The syncs of all nodes together.
    pub(crate) async fn syncs(&self) -> Result<Syncs> {
        let mut all = Syncs::default();
        for node in 0..self.nodes.len() {
            let syncs = match self.side {
                Side::RaftKv => self.view(node).await?.syncs,
                Side::Etcd => etcd_syncs(&self.endpoint(node)).await?,
            };
            all.log += syncs.log;
            all.backend += syncs.backend;
        }
        Ok(all)
    }

    async fn view(&self, node: usize) -> Result<View> {
        let endpoint = self.endpoint(node);
        if let Some(asker) = &self.asker {
            let status = asker.timeout(ASK_WITHIN).status(&endpoint).await;
            let status = status.map_err(|answer| anyhow!("{endpoint}: {answer:?}"))?;
            return Ok(View {
                leads: status.role == "leader",
                applied: status.applied,
                syncs: Syncs {
                    log: status.syncs as f64,
                    backend: 0.0,
                },
            });
        }
        let options = etcd_options(ASK_WITHIN);
        let mut client = etcd_client::Client::connect([&endpoint], Some(options)).await?;
        let status = client.status().await?;
        let me = status.header().map_or(0, |header| header.member_id());
        Ok(View {
            leads: me != 0 && status.leader() == me,
            applied: status.raft_applied_index(),
            syncs: Syncs::default(),
        })
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(&self.pids())
    }

    pub(crate) fn resident(&self) -> Result<Vec<f64>> {
        system::resident(&self.pids())
    }

    /// Stops every process until it is resumed.
    pub(crate) fn pause(&self) -> Result<()> {
        self.processes().try_for_each(Process::pause)
    }

    /// Lets the processes go on, and waits until the cluster writes again, under one leader.
    pub(crate) async fn resume(&mut self) -> Result<()> {
        self.processes().try_for_each(Process::resume)?;
        let begun = Instant::now();
        loop {
            let leader = self.leader_within(READY_WITHIN).await?;
            let mut backend = self.connect_to(leader, ASK_WITHIN).await?;
            // Beyond every key that is measured.
            let written = backend.put(u64::from(u32::MAX), b"settled".to_vec()).await;
            backend.close().await;
            match written {
                Ok(_) => return Ok(()),
                Err(failed) => ensure!(
                    begun.elapsed() < READY_WITHIN,
                    "no write was acknowledged after a pause: {}",
                    failed.message
                ),
            }
        }
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.nodes.iter().filter_map(|node| node.process.as_ref())
    }

    /// SIGKILL, and its end awaited.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].process = None;
    }

    /// SIGTERM to every node in turn, and their ends awaited.
    pub(crate) fn stop_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(process) = node.process.take() {
                process.stop(Duration::from_secs(30))?;
            }
        }
        Ok(())
    }

    pub(crate) fn kill_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
    }
}

/// From etcd's own counters, by a plain request.
async fn etcd_syncs(endpoint: &str) -> Result<Syncs> {
    let ask = async {
        let mut stream = TcpStream::connect(endpoint).await?;
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {endpoint}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<String, std::io::Error>(text)
    };
    let text = timeout(ASK_WITHIN * 5, ask)
        .await
        .context("etcd does not answer for its metrics")??;
    let counter = |name: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.and_then(|value| value.parse::<f64>().ok());
        value.with_context(|| format!("etcd's metrics have no {name}"))
    };
    Ok(Syncs {
        log: counter("etcd_disk_wal_fsync_duration_seconds_count")?,
        backend: counter("etcd_disk_backend_commit_duration_seconds_count")?,
    })
}

/// Ports of 127.0.0.1 that nobody listens on now.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .context("cannot find free ports")?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    listeners.iter().map(port).collect()
}
