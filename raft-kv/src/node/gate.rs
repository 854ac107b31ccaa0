//! Who may connect, and what this node says of itself when it does.
//!
//! Guards: no frame is exchanged with a node of another cluster, nor with a life of a node that is older than one that
//! was heard already: a copied or rolled-back data directory is refused as soon as anyone can know.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft_core::{Identity, MemberId, NodeId};
use raft_net_tcp::{Hello, Local, Policy, Refusal, Role};

use super::formation::Founders;
use crate::glue;
use crate::mutants::{Mutant, mutant};
use crate::release::Release;
use crate::wire;

/// The code of a refusal that says: that node is no member.
const NOT_A_MEMBER: u16 = 1;

/// How many lives are remembered. Anyone who connects may claim to be anyone, so the memory must have an end.
const LIVES_MAX: usize = 1024;

/// Shared by the listener and all diallers of a node.
#[derive(Debug)]
pub(crate) struct Gate {
    serves_clients: bool,
    /// What this node runs.
    release: Release,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    identity: Identity,
    members: Founders,
    boots: BTreeMap<MemberId, u64>,
}

impl Gate {
    pub(crate) fn new(identity: Identity, serves_clients: bool, release: Release) -> Self {
        let state = State {
            identity,
            members: Founders::new(),
            boots: BTreeMap::new(),
        };
        Self {
            serves_clients,
            release,
            state: Mutex::new(state),
        }
    }

    /// What to say of this node.
    pub(crate) fn local(&self) -> Local {
        Local {
            application: wire::encode_release(&self.release),
            ..Local::new(glue::PROTOCOL, glue::identity_to_net(self.state().identity))
        }
    }

    /// The node has learnt its cluster, or who belongs to it.
    pub(crate) fn update(&self, identity: Identity, members: Option<Founders>) {
        let mut state = self.state();
        state.identity = identity;
        if let Some(members) = members {
            state.members = members;
        }
    }

    /// Nothing panics under the lock, and nothing is left half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As a [`Policy`] of several owners.
#[derive(Clone, Debug)]
pub(crate) struct SharedGate(pub(crate) std::sync::Arc<Gate>);

impl Policy for SharedGate {
    fn admit(&self, remote: &Hello) -> Result<(), Refusal> {
        let mut state = self.0.state();
        let ours = glue::identity_to_net(state.identity).cluster;
        if !ours.may_equal(&remote.identity.cluster) && !mutant(Mutant::AdmitsOtherClusters) {
            return Err(Refusal::WrongCluster { ours });
        }
        match remote.role {
            Role::Client if self.0.serves_clients => return Ok(()),
            Role::Peer | Role::PeerBulk => {}
            role => return Err(Refusal::RoleNotServed { role }),
        }
        let who = glue::member_from_net(&remote.identity);
        // Of this very cluster, anyone is heard: a node that lags may know none of those that lead it now (thesis §4.2.3).
        let same_cluster = ours.is_known() && ours == remote.identity.cluster;
        let known = state.members.is_empty() || state.members.contains_key(&who.node);
        if !same_cluster && !known {
            let NodeId(node) = who.node;
            let message = format!(
                "node {node} does not belong to this cluster; check --id and --cluster on both sides"
            );
            return Err(Refusal::Application {
                code: NOT_A_MEMBER,
                message,
            });
        }
        if who.node == state.identity.member.node {
            let message = format!(
                "node {} is here; two nodes were started with this id",
                who.node
            );
            return Err(Refusal::Application {
                code: NOT_A_MEMBER,
                message,
            });
        }
        let boot = remote.identity.boot;
        let room = state.boots.len() < LIVES_MAX;
        match state.boots.entry(who) {
            Entry::Occupied(seen) if boot < *seen.get() => {
                return Err(Refusal::StaleBoot { seen: *seen.get() });
            }
            Entry::Occupied(mut seen) => *seen.get_mut() = boot,
            Entry::Vacant(place) if room => drop(place.insert(boot)),
            Entry::Vacant(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use bytes::Bytes;
    use raft_core::{Boot, ClusterId, Incarnation};

    use super::*;

    const OURS: ClusterId = ClusterId([1; 16]);

    fn identity(cluster: ClusterId, node: u64, boot: u64) -> Identity {
        Identity {
            cluster,
            member: MemberId {
                node: NodeId(node),
                incarnation: Incarnation(node),
            },
            boot: Boot(boot),
        }
    }

    /// n1, whose members are n1 and n2.
    fn gate(cluster: ClusterId) -> SharedGate {
        let gate = Gate::new(identity(cluster, 1, 1), false, Release::default());
        let members = [1, 2].map(|node| (NodeId(node), format!("host{node}:1")));
        gate.update(identity(cluster, 1, 1), Some(members.into()));
        SharedGate(std::sync::Arc::new(gate))
    }

    fn admits(gate: &SharedGate, who: Identity) -> Result<(), Refusal> {
        gate.admit(&Hello {
            role: Role::Peer,
            versions: glue::PROTOCOL,
            identity: glue::identity_to_net(who),
            expected_node: None,
            frame_bytes_max: 1024,
            silence_timeout: Duration::from_secs(1),
            application: Bytes::new(),
        })
    }

    #[test]
    fn a_node_of_the_same_cluster_is_heard_though_it_is_no_member() {
        let gate = gate(OURS);
        assert_eq!(admits(&gate, identity(OURS, 2, 1)), Ok(()));
        assert_eq!(admits(&gate, identity(OURS, 9, 1)), Ok(()));
    }

    #[test]
    fn a_node_of_no_cluster_yet_has_to_be_a_member() {
        for ours in [OURS, ClusterId::UNKNOWN] {
            let gate = gate(ours);
            assert_eq!(admits(&gate, identity(ClusterId::UNKNOWN, 2, 1)), Ok(()));
            let refused = admits(&gate, identity(ClusterId::UNKNOWN, 9, 1));
            let code = NOT_A_MEMBER;
            assert!(
                matches!(refused, Err(Refusal::Application { code: given, .. }) if given == code)
            );
        }
    }

    #[test]
    fn a_node_that_knows_no_cluster_hears_only_those_that_it_knows() {
        let gate = gate(ClusterId::UNKNOWN);
        assert_eq!(admits(&gate, identity(OURS, 2, 1)), Ok(()));
        assert!(admits(&gate, identity(OURS, 9, 1)).is_err());
        // One that waits to be taken in knows nobody, and hears whoever comes.
        let joins = Gate::new(
            identity(ClusterId::UNKNOWN, 4, 1),
            false,
            Release::default(),
        );
        let joins = SharedGate(std::sync::Arc::new(joins));
        assert_eq!(admits(&joins, identity(OURS, 9, 1)), Ok(()));
    }

    #[test]
    fn another_cluster_a_namesake_and_a_former_life_are_refused() {
        let gate = gate(OURS);
        let other = admits(&gate, identity(ClusterId([2; 16]), 2, 1));
        assert!(matches!(other, Err(Refusal::WrongCluster { .. })));
        assert!(admits(&gate, identity(OURS, 1, 1)).is_err());
        assert_eq!(admits(&gate, identity(OURS, 2, 5)), Ok(()));
        let former = admits(&gate, identity(OURS, 2, 4));
        assert_eq!(former, Err(Refusal::StaleBoot { seen: 5 }));
    }
}
