//! Starting a node: directory, replica, threads, listener, loop; in this order.

use std::sync::Arc;
use std::time::Duration;

use raft_log::OsFiles;
use raft_net_tcp::{Backoff, Listener};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::warn;

use super::StateMachine;
use super::accept::{Front, accept};
use super::config::{NodeConfig, NodeConfigError};
use super::disk::{self, Directory, DirectoryError};
use super::driver::{Driver, Parts};
use super::exit::{Exit, StartError};
use super::formation::Founders;
use super::gate::{Gate, SharedGate};
use super::inbox::{Inbox, inbox};
use super::peers::Peers;
use super::replica::{Origin, Replica, ReplicaConfig, Start};
use super::seed::Planted;
use super::snapshot::threads::SnapshotThreads;

/// A node that runs.
pub(crate) struct Running<S: StateMachine, F: Front<S>> {
    pub(crate) inbox: Inbox<S, F::Write, F::Read>,
    pub(crate) member: raft_core::MemberId,
    pub(crate) local_addr: std::net::SocketAddr,
    pub(crate) exit: JoinHandle<Exit>,
}

/// Starts a node. Must be called within a tokio runtime.
pub(crate) async fn launch<S, F>(
    config: NodeConfig,
    machine: S,
    front: Arc<F>,
) -> Result<Running<S, F>, StartError>
where
    S: StateMachine,
    F: Front<S>,
{
    config.validate()?;
    let core = config.core(disk::random())?;
    let (directory, planted, machine) = open_directory(&config, machine).await?;
    let Directory {
        log,
        reader,
        member,
        boot,
        restored: _,
        disk,
        cut: _,
    } = directory;
    let sleep_max_ticks = (core.heartbeat_ticks / 2).max(1);
    let seed_in = planted.as_ref().map(|_| config.data_dir.clone());
    let origin = match planted {
        Some(Planted { seed, founders }) => Origin::Restore { founders, seed },
        None if config.join => Origin::Join,
        None => Origin::Found(config.founders()),
    };
    let start = Start {
        member,
        boot,
        origin,
        disk,
    };
    let replica = Replica::start(ReplicaConfig::new(core), start, machine)?;
    let gate = Arc::new(Gate::new(
        replica.identity(),
        F::SERVES_CLIENTS,
        replica.release().clone(),
    ));
    let net = network(config.election_timeout, config.heartbeat);
    let listener = listen(&config, &net, &gate).await?;
    let local_addr = listener.local_addr();
    let (inbox, arrivals) = inbox();
    let snapshots =
        SnapshotThreads::spawn(&log.snapshots(), &inbox.own).map_err(StartError::Thread)?;
    let writer = disk::writer(log, inbox.own.clone()).map_err(StartError::Thread)?;
    let fetches = disk::fetcher(reader.clone(), inbox.own.clone()).map_err(StartError::Thread)?;
    let overrides = config.dial_override.clone();
    let peers = Peers::new(
        member.node,
        net,
        gate.clone(),
        overrides,
        member.incarnation.0 ^ boot.0,
    );
    let acceptor = tokio::spawn(accept(listener, inbox.clone(), front.clone()));
    let parts = Parts {
        sleep_max_ticks,
        handover_max: config.election_timeout,
        replica,
        arrivals,
        front,
        peers,
        gate,
        writer,
        reader,
        fetches,
        snapshots,
        seed_in,
        acceptor,
    };
    let exit = tokio::spawn(Driver::new(parts).run());
    Ok(Running {
        inbox,
        member,
        local_addr,
        exit,
    })
}

/// Opens the data directory, or makes it when the settings say for which cluster; the state machine has the state of the snapshot then, or of
/// the seed.
async fn open_directory<S: StateMachine>(
    config: &NodeConfig,
    mut machine: S,
) -> Result<(Directory, Option<Planted>, S), StartError> {
    // Looked at before anything is made on the disk.
    let nowhere = config.cluster.is_empty() && !config.join;
    if nowhere && disk::is_new(&config.data_dir)? {
        return Err(NodeConfigError::NoCluster.into());
    }
    let (dir, id, segment_bytes) = (config.data_dir.clone(), config.id, config.segment_bytes);
    let opened = tokio::task::spawn_blocking(move || {
        let directory = disk::open(&dir, id, segment_bytes)?;
        let planted = disk::restore(&OsFiles, &directory, &dir, &mut machine)?;
        Ok::<_, DirectoryError>((directory, planted, machine))
    });
    let opened = opened.await;
    let (directory, planted, machine) =
        opened.map_err(|error| StartError::Thread(std::io::Error::other(error)))??;
    match &planted {
        Some(planted) => check_founders(config, &planted.founders)?,
        None if directory.disk.is_none() && nowhere => {
            return Err(NodeConfigError::NoCluster.into());
        }
        None => {}
    }
    Ok((directory, planted, machine))
}

/// A restored directory says itself who founds its cluster; whoever is told otherwise was meant for another one.
fn check_founders(config: &NodeConfig, founders: &Founders) -> Result<(), DirectoryError> {
    let given = match config.join {
        true => "--join".to_owned(),
        false if config.cluster.is_empty() || config.founders() == *founders => return Ok(()),
        false => format!("--cluster {}", list(&config.founders())),
    };
    Err(DirectoryError::OtherFounders {
        dir: config.data_dir.clone(),
        founders: list(founders),
        given,
    })
}

/// Founders as `--cluster` has them.
fn list(founders: &Founders) -> String {
    let each = founders
        .iter()
        .map(|(node, address)| format!("{}={address}", node.0));
    each.collect::<Vec<_>>().join(",")
}

async fn listen(
    config: &NodeConfig,
    net: &raft_net_tcp::Config,
    gate: &Arc<Gate>,
) -> Result<Listener, StartError> {
    let failed = |source| raft_net_tcp::BindError::Io {
        address: config.listen.clone(),
        source,
    };
    let socket = TcpListener::bind(&config.listen).await.map_err(failed)?;
    let local = gate.clone();
    let listener = Listener::from_tcp(
        socket,
        net.clone(),
        move || local.local(),
        SharedGate(gate.clone()),
    )?;
    warn!(
        listen = %listener.local_addr(),
        "the network is trusted: connections are neither encrypted nor authenticated; let nobody else reach this port"
    );
    Ok(listener)
}

/// The network's settings that go with the node's: silence of half an election timeout ends a connection, and a peer
/// that comes back is found within two heartbeats.
pub(crate) fn network(election_timeout: Duration, heartbeat: Duration) -> raft_net_tcp::Config {
    let mut net = raft_net_tcp::Config::default();
    let silence = (election_timeout / 2).max(Duration::from_millis(30));
    for role in [&mut net.peer, &mut net.bulk] {
        role.silence_timeout = silence;
        role.ping_interval = silence / 3;
    }
    let soon = (heartbeat * 2).max(Duration::from_millis(20));
    net.connect_timeout = soon.max(Duration::from_millis(200));
    net.backoff = Backoff {
        min: Duration::from_millis(10).min(soon),
        max: soon,
    };
    net
}
