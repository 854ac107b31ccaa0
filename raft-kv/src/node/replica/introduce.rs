//! How a node learns where its cluster is when its own log cannot tell: a node that joins was started with no address of anyone, and
//! one that was away for long may know none of those that are there now. A node answers on connections that it makes itself, so the
//! leader tells the membership, addresses and all, to every member that it hears nothing of, again and again.
//!
//! Guards: a node that joins belongs to the first cluster whose leader introduces it as a member, in this very incarnation, and to no
//! other ever after; that is durable with the first job of its core, before which its core says nothing. What it is told here are addresses
//! and no more: who votes, only the log says.

use raft_core::{Index, MemberId, Membership, PeerStatus, Raft, RoleName};

use super::{Action, Fatal, Member, Phase, Replica, start};
use crate::glue;
use crate::node::StateMachine;
use crate::node::formation::{FormationMessage, Formed, Founders};
use crate::wire;

/// How many nodes that are members no more are still reached.
const FORMER_MAX: usize = 8;

impl<S: StateMachine, W, R> Replica<S, W, R> {
    /// Ticks until a leader introduces its cluster again.
    pub(super) fn ticks_until_introduction(&self) -> u32 {
        if self.standing.role == RoleName::Leader {
            self.introduce_in_ticks
        } else {
            u32::MAX
        }
    }

    /// Introduces the cluster to the members that this leader hears nothing of.
    pub(super) fn introduce(&mut self) {
        if self.standing.role != RoleName::Leader || self.introduce_in_ticks > 0 {
            return;
        }
        let every = self.config.core.heartbeat_ticks;
        self.introduce_in_ticks = every;
        let Phase::Formed(member) = &self.phase else {
            return;
        };
        let Some(founding) = &member.founding else {
            return;
        };
        let status = member.core.status();
        let unheard = |peer: &&PeerStatus| {
            peer.matched == Index::ZERO
                || peer
                    .silent_ticks
                    .is_none_or(|ticks| ticks > 2 * u64::from(every))
        };
        for peer in status.peers.iter().filter(unheard) {
            if !status.membership.contains(peer.member) {
                continue;
            }
            let message = FormationMessage::Formed(Formed {
                cluster: self.identity.cluster,
                founding: founding.clone(),
                current: status.membership.clone(),
            });
            let to = peer.member.node;
            self.actions
                .push_back(Action::SendFormation { to, message });
        }
    }

    /// A leader has introduced its cluster to this node.
    pub(super) fn introduced(&mut self, formed: &Formed) {
        let MemberId { node, incarnation } = self.identity.member;
        let known = formed.current.member(node);
        let meant = known.is_some_and(|member| member.incarnation == incarnation);
        if !meant || wire::cluster_id(&formed.founding) != formed.cluster {
            return;
        }
        if matches!(self.phase, Phase::Joining) {
            self.identity.cluster = formed.cluster;
            match Raft::join(self.config.core.clone(), self.identity) {
                Ok(core) => {
                    self.standing = start::standing(&core);
                    self.phase = Phase::Formed(Box::new(Member {
                        core,
                        founding: Some(formed.founding.clone()),
                        durable: false,
                    }));
                }
                Err(error) => return self.halt(Fatal::Bootstrap(error)),
            }
        }
        if self.identity.cluster == formed.cluster {
            self.introduced = addresses(&formed.current);
            self.introduced_for_ticks = 2 * self.config.core.election_timeout_ticks;
            self.refresh_addresses();
        }
    }

    /// Time has passed. What a leader has said is good for a while: it may have been deposed since, or what it said was cut from its log.
    /// Whoever still needs it is told again.
    pub(super) fn forget_introductions(&mut self, elapsed_ticks: u32) {
        self.introduced_for_ticks = self.introduced_for_ticks.saturating_sub(elapsed_ticks);
        if self.introduced_for_ticks == 0 && !self.introduced.is_empty() {
            self.introduced.clear();
            self.refresh_addresses();
        }
    }

    /// The membership in this node's log has changed: it knows better now where those are who stand in it.
    pub(super) fn membership_moved(&mut self) {
        if let Phase::Formed(member) = &self.phase {
            let membership = member.core.membership();
            self.introduced
                .retain(|node, _| membership.member(*node).is_none());
        }
        self.refresh_addresses();
    }

    /// Says where the other nodes are, if that has changed.
    pub(super) fn refresh_addresses(&mut self) {
        let Phase::Formed(member) = &self.phase else {
            return;
        };
        let mut all = addresses(member.core.membership());
        // One that has joined and knows no membership keeps what it was told last.
        if all.is_empty() && self.introduced.is_empty() {
            return;
        }
        all.extend(self.introduced.clone());
        // A node that was removed has to be told so, and gets an answer when it asks. Whoever replaces others mostly counts on, so
        // the lowest numbers are those that left first.
        let left = self.addresses.iter().rev();
        let left = left.filter(|(node, _)| !all.contains_key(node));
        let left: Founders = left
            .take(FORMER_MAX)
            .map(|(node, address)| (*node, address.clone()))
            .collect();
        all.extend(left);
        if all != self.addresses {
            self.addresses = all.clone();
            self.actions.push_back(Action::Peers(all));
        }
    }
}

/// Where each member is.
pub(super) fn addresses(membership: &Membership) -> Founders {
    membership
        .members()
        .filter_map(|(member, context)| Some((member.node, glue::address(context)?)))
        .collect()
}
