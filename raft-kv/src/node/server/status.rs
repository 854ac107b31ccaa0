//! What a node says of itself to a client.

use std::path::PathBuf;
use std::time::Duration;

use raft_core::{PeerStatus, RoleName, Status};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::{Header, LeaderHint, MemberStatus, NodeStatus};
use crate::glue;
use crate::node::StateMachine;
use crate::node::config::TICK;
use crate::node::disk;
use crate::node::inbox::Inspection;
use crate::store::Store;

/// How long a measurement of the data directory is good for. Clients find the leader by asking for the status, all of them
/// at once when it changes; that must not look at every file each time.
const DISK_USE_FRESH: Duration = Duration::from_secs(1);

/// How many bytes the data directory takes, as measured a moment ago.
#[derive(Debug)]
pub(super) struct DiskUse {
    dir: PathBuf,
    measured: Mutex<Option<(Instant, u64)>>,
}

impl DiskUse {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            measured: Mutex::new(None),
        }
    }

    /// Measures, on a thread that may wait for the disk, when it was not done for a second. Whoever asks meanwhile waits for
    /// that one.
    pub(super) async fn bytes(&self) -> u64 {
        let mut measured = self.measured.lock().await;
        if let Some((at, bytes)) = *measured
            && at.elapsed() < DISK_USE_FRESH
        {
            return bytes;
        }
        let dir = self.dir.clone();
        let bytes = tokio::task::spawn_blocking(move || disk::disk_bytes(&dir))
            .await
            .unwrap_or(0);
        *measured = Some((Instant::now(), bytes));
        bytes
    }
}

/// The node as it is now; `store` is its state machine, or in it.
pub(crate) fn status<S: StateMachine, W, R>(
    inspection: &Inspection<'_, S, W, R>,
    store: &Store,
    disk_bytes: u64,
) -> (Header, NodeStatus) {
    let replica = inspection.replica;
    let view = replica.view();
    let identity = replica.identity();
    let header = Header {
        cluster: view.cluster.0,
        node: view.node.0,
        revision: store.revision(),
        applied: view.applied.0,
        term: view.term.0,
    };
    let mut node = NodeStatus {
        id: identity.member.node.0,
        incarnation: identity.member.incarnation.0,
        boot: identity.boot.0,
        leader: replica.leader().map(|(node, address)| LeaderHint {
            node: node.0,
            address,
        }),
        term: view.term.0,
        applied: view.applied.0,
        disk_bytes,
        keys: store.key_count() as u64,
        hashes: store.hashes().map(|(at, hash)| (at.0, hash)).collect(),
        syncs: inspection.counters.syncs,
        version: replica.release().name.clone(),
        cluster_version: store.cluster_version(),
        follows: replica.release().follows,
        held_back: replica.holds_version_back().unwrap_or_default(),
        ..NodeStatus::default()
    };
    let troubles = inspection.troubles.join("; ");
    match replica.status() {
        Some(status) => {
            node.role = role(status.role).into();
            node.commit = status.commit.0;
            node.first = status.first.0;
            node.last = status.last.index.0;
            node.members = members(&status);
            node.error = troubles;
        }
        None => {
            node.role = "forming".into();
            let waits_for = replica.waits_for().unwrap_or_default();
            node.error = if troubles.is_empty() {
                waits_for
            } else {
                format!("{waits_for} ({troubles})")
            };
        }
    }
    (header, node)
}

fn role(role: RoleName) -> &'static str {
    match role {
        // What an operator wants to know is that it looks for votes.
        RoleName::PreCandidate => RoleName::Candidate.as_str(),
        role => role.as_str(),
    }
}

pub(super) fn members(status: &Status) -> Vec<MemberStatus> {
    let me = status.identity.member;
    let tick_ms = u64::try_from(TICK.as_millis()).unwrap_or(u64::MAX);
    status
        .membership
        .members()
        .map(|(member, context)| {
            let peer: Option<&PeerStatus> = status.peers.iter().find(|peer| peer.member == member);
            let (matched, silent_ms) = match peer {
                Some(peer) => (
                    peer.matched.0,
                    peer.silent_ticks.map(|ticks| ticks.saturating_mul(tick_ms)),
                ),
                None if member == me && status.role == RoleName::Leader => {
                    (status.durable.0, Some(0))
                }
                None => (0, None),
            };
            MemberStatus {
                id: member.node.0,
                incarnation: member.incarnation.0,
                address: glue::address(context).unwrap_or_default(),
                voter: status.membership.is_voter(member),
                promotes: status
                    .membership
                    .member(member.node)
                    .is_some_and(|member| member.promote),
                matched,
                silent_ms,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_directory_is_measured_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let disk_use = DiskUse::new(dir.path().into());
        std::fs::write(dir.path().join("a"), [0; 100]).unwrap();
        assert_eq!(disk_use.bytes().await, 100);
        std::fs::write(dir.path().join("b"), [0; 11]).unwrap();
        assert_eq!(disk_use.bytes().await, 100);
        tokio::time::advance(DISK_USE_FRESH).await;
        assert_eq!(disk_use.bytes().await, 111);
    }
}
