//! What a node says of itself in the log of the process.

use raft_core::{Event, MemberId, NodeId};
use tracing::{debug, info, warn};

use crate::node::replica::Notice;

/// One line for a notice.
pub(super) fn notice(notice: &Notice) {
    match notice {
        Notice::Core(event) => core_event(event),
        Notice::Rejected { from, why } => debug!(%from, %why, "an envelope was not used"),
        Notice::Formed { cluster } => info!(%cluster, "the cluster is formed"),
        Notice::VersionRaised { version } => info!(version, "another cluster version is in force"),
        Notice::Wiped { member, now } => lost(*member, *now),
        Notice::SnapshotNotSent { to, why } => {
            warn!(%to, "a snapshot could not be sent: {why}; it is tried again");
        }
        // A notice of a later version of the replica.
        #[allow(unreachable_patterns)]
        other => info!(?other, "notice"),
    }
}

fn core_event(event: &Event) {
    match event {
        Event::RoleChanged { term, role, leader } => {
            let leader = leader.map_or_else(|| "unknown".into(), |NodeId(node)| format!("n{node}"));
            info!(%term, role = role.as_str(), leader, "role");
        }
        Event::QuorumLost { term } => {
            warn!(%term, "no majority answers; this node leads no longer");
        }
        Event::DiskStalled { job } => warn!(%job, "a write to the log takes too long"),
        Event::PeerLostLog { member, now } => lost(*member, *now),
        Event::PeerBroken { member, why } => {
            warn!(%member, %why, "a peer contradicts the protocol");
        }
        Event::Paused { elapsed_ticks } => {
            let paused_ms = u64::from(*elapsed_ticks) * 10;
            debug!(paused_ms, "this process stood still");
        }
        Event::MembershipCommitted { at } => info!(%at, "membership committed"),
        Event::Removed { at } => warn!(%at, "this node was removed from the cluster"),
        Event::TransferStarted { to } => info!(%to, "handing over the lead"),
        Event::TransferAborted { to, why } => warn!(%to, ?why, "the lead was not handed over"),
        other => info!(?other, "event"),
    }
}

fn lost(member: MemberId, now: MemberId) {
    warn!(%member, %now, "a node came with another data directory than the one that the cluster knows; it does not count");
}
