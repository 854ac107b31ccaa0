//! Where the layers meet: the only file that turns the core's types into those of log, network and wire, and back.
//! raft-core, raft-log and raft-net-tcp do not know each other.
//!
//! What a simulated node needs of it is public.

use bytes::Bytes;
use raft_core::{
    ClusterId, Entry, Identity, Incarnation, Index, LogId, MemberId, Membership, NodeId,
    PersistJob, Term,
};
use raft_log::OwnedRecord;
use raft_log::writer::{Mark, OwnedBatch};
use raft_net_tcp::Versions;

use crate::node::FormedDisk;
use crate::node::formation::{FormationMessage, Formed, Founders, Hello};
use crate::node::snapshot::work;
use crate::release::Release;
use crate::wire::{self, DecodeError, Formation, Metadata, SnapshotFile, SnapshotHead};

/// The versions of the protocol that this release speaks, as the handshake says them.
pub(crate) const PROTOCOL: Versions = Versions {
    min: wire::PROTOCOL_MIN,
    max: wire::PROTOCOL_MAX,
};

/// What the other side of a connection runs, as its handshake says.
pub(crate) fn release(hello: &raft_net_tcp::Hello) -> Release {
    wire::decode_release(hello.application.clone()).unwrap_or_else(|_| Release::unknown())
}

/// The kind of a record that holds a membership, as [`wire::encode_payload`] gives it.
const MEMBERSHIP_KIND: u8 = 2;

/// A member's address: what this crate keeps as its context in the membership.
pub(crate) fn address(context: &Bytes) -> Option<String> {
    String::from_utf8(context.to_vec()).ok()
}

/// A job of the core as a batch of the log; `mark` is how the log marks the job's snapshot, if it has one. Payloads are shared, not
/// copied.
///
/// # Panics
/// When the job has a snapshot and there is no mark, or the other way round: a batch without it would lose what the core relies on.
#[must_use]
pub fn batch(cluster: ClusterId, job: PersistJob, mark: Option<Mark>) -> OwnedBatch {
    assert_eq!(
        job.snapshot.is_some(),
        mark.is_some(),
        "a snapshot that is to be marked was finished before"
    );
    let metadata = job.hard_state.map(|hard_state| {
        wire::encode_metadata(&Metadata {
            cluster,
            hard_state,
        })
    });
    let records = job.entries.iter().map(record).collect();
    OwnedBatch {
        job: job.id.0,
        metadata,
        snapshot: mark,
        truncate_from: job.truncate_from.map(|index| index.0),
        records,
        use_reserve: false,
    }
}

fn record(entry: &Entry) -> OwnedRecord {
    let (kind, payload) = wire::encode_payload(&entry.payload);
    OwnedRecord {
        index: entry.id.index.0,
        term: entry.id.term.0,
        kind,
        payload,
    }
}

/// Records of the log as entries of the core.
///
/// # Errors
/// A record that verifies and does not decode: written by a newer version, or by another program.
pub fn entries(records: Vec<OwnedRecord>) -> Result<Vec<Entry>, DecodeError> {
    records
        .into_iter()
        .map(|record| {
            let payload = wire::decode_payload(record.kind, record.payload)?;
            Ok(Entry {
                id: LogId::new(record.index, record.term),
                payload,
            })
        })
        .collect()
}

/// Why a log that opened is not one that a node of this software wrote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Something stored does not decode.
    #[error("{what} does not decode: {source}")]
    Decode {
        /// What it is.
        what: &'static str,
        /// Why not.
        source: DecodeError,
    },
    /// There are entries without metadata, or the other way round.
    #[error("the log holds {0}, which no node ever writes alone")]
    Partial(&'static str),
    /// A membership could not be read.
    #[error("a membership in the log cannot be read: {0}")]
    Read(#[from] raft_log::ReadError),
    /// The head of the snapshot could not be read.
    #[error("the snapshot cannot be read: {0}")]
    Snapshot(#[source] std::io::Error),
    /// The snapshot is another cluster's.
    #[error("the snapshot is of cluster {found}, and the data directory of {stored}")]
    SnapshotOfOtherCluster {
        /// As the metadata says.
        stored: ClusterId,
        /// As the snapshot says.
        found: ClusterId,
    },
}

/// What a replica starts from, of what a log held when it was opened; none when it belongs to no cluster yet. `head` reads what the
/// snapshot says of itself, if there is one.
///
/// # Errors
/// As [`DiskError`] lists them.
pub fn recovered<F: raft_log::Files>(
    recovery: &raft_log::Recovery,
    reader: &raft_log::Reader<F>,
    head: impl FnOnce(SnapshotFile) -> std::io::Result<SnapshotHead>,
) -> Result<Option<FormedDisk>, DiskError> {
    let empty = recovery.last_index == 0;
    let Some(metadata) = &recovery.metadata else {
        return if empty {
            Ok(None)
        } else {
            Err(DiskError::Partial("entries without a term or a vote"))
        };
    };
    let metadata = Bytes::copy_from_slice(metadata);
    let Metadata {
        cluster,
        hard_state,
    } = wire::decode_metadata(metadata).map_err(|source| DiskError::Decode {
        what: "the metadata",
        source,
    })?;
    let mut memberships = Vec::new();
    for &(index, _) in recovery
        .marked
        .iter()
        .filter(|(_, kind)| *kind == MEMBERSHIP_KIND)
    {
        let records = reader.read(index, 0)?.into_iter().take(1).collect();
        let entries = entries(records).map_err(|source| DiskError::Decode {
            what: "a membership",
            source,
        })?;
        memberships.extend(entries.into_iter().filter_map(membership));
    }
    let snapshot = match recovery.snapshot.map(work::file) {
        None => None,
        Some(file) => {
            let head = head(file).map_err(DiskError::Snapshot)?;
            if head.snapshot.last != file.last {
                return Err(DiskError::Partial("a snapshot under another one's name"));
            }
            if head.cluster != cluster {
                let (stored, found) = (cluster, head.cluster);
                return Err(DiskError::SnapshotOfOtherCluster { stored, found });
            }
            Some((file, head))
        }
    };
    let founding = match &snapshot {
        Some((_, head)) => Some(head.founding.clone()),
        None => memberships
            .first()
            .filter(|(at, _)| at.index == Index(1))
            .map(|(_, membership)| membership.clone()),
    };
    // Only a node that joined has a term before it has the first entry.
    if founding.is_none() && !empty {
        return Err(DiskError::Partial(
            "entries without the cluster's first membership",
        ));
    }
    Ok(Some(FormedDisk {
        cluster,
        founding,
        snapshot: snapshot.map(|(file, head)| (file, head.snapshot)),
        base: LogId::new(recovery.first_index.saturating_sub(1), recovery.term_before),
        hard_state,
        runs: recovery
            .runs
            .iter()
            .map(|&(index, term)| (Index(index), Term(term)))
            .collect(),
        last: Index(recovery.last_index),
        memberships,
    }))
}

fn membership(entry: Entry) -> Option<(LogId, Membership)> {
    match entry.payload {
        raft_core::Payload::Membership(membership) => Some((entry.id, membership)),
        _ => None,
    }
}

/// What a formation message is on the wire.
#[must_use]
pub fn formation_to_wire(message: FormationMessage) -> Formation {
    match message {
        FormationMessage::Hello(Hello {
            from,
            founders,
            seed,
            known,
        }) => Formation::Hello {
            seed,
            node: from.node,
            incarnation: from.incarnation,
            advertise: founders.get(&from.node).cloned().unwrap_or_default(),
            known: known
                .into_iter()
                .map(|(node, incarnation)| {
                    (
                        node,
                        incarnation,
                        founders.get(&node).cloned().unwrap_or_default(),
                    )
                })
                .collect(),
            founding: founders.into_iter().collect(),
        },
        FormationMessage::Formed(Formed {
            cluster,
            founding,
            current,
        }) => Formation::Formed {
            cluster,
            membership: founding,
            current,
        },
    }
}

/// What a formation message from the wire says. Whom the sender knows under another address than its own list gives is
/// left out: it has promised nothing about that one.
#[must_use]
pub fn formation_from_wire(message: Formation) -> FormationMessage {
    match message {
        Formation::Hello {
            node,
            incarnation,
            advertise: _,
            founding,
            known,
            seed,
        } => {
            let founders: Founders = founding.into_iter().collect();
            let known = known
                .into_iter()
                .filter(|(node, _, address)| founders.get(node) == Some(address))
                .map(|(node, incarnation, _)| (node, incarnation))
                .collect();
            FormationMessage::Hello(Hello {
                from: MemberId { node, incarnation },
                founders,
                seed,
                known,
            })
        }
        Formation::Formed {
            cluster,
            membership,
            current,
        } => FormationMessage::Formed(Formed {
            cluster,
            founding: membership,
            current,
        }),
    }
}

/// What a connection's handshake says of this node.
pub(crate) fn identity_to_net(identity: Identity) -> raft_net_tcp::Identity {
    raft_net_tcp::Identity {
        cluster: raft_net_tcp::ClusterId(identity.cluster.0),
        node: identity.member.node.0,
        incarnation: identity.member.incarnation.0,
        boot: identity.boot.0,
    }
}

/// Who a connection's handshake says is at the other end.
pub(crate) fn member_from_net(identity: &raft_net_tcp::Identity) -> MemberId {
    MemberId {
        node: NodeId(identity.node),
        incarnation: Incarnation(identity.incarnation),
    }
}
