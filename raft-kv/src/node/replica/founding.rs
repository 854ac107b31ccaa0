//! From the agreement of all founders to a node of their cluster; and the state as a backup has it, from which another cluster is founded.
//!
//! Guards: nothing is said in the new cluster's name before its first membership, and the state that it begins with, are durable here.

use raft_core::{LogId, Membership, Raft, Snapshot, StartError};

use super::{Action, Fatal, Member, Phase, Replica, SnapshotJob, start};
use crate::node::formation::{FormationMessage, Verdict};
use crate::node::{Image, StateMachine};
use crate::wire::{Seed, SnapshotHead};

impl<S: StateMachine, W, R> Replica<S, W, R> {
    /// Moves the formation of the cluster on.
    pub(super) fn form(&mut self) {
        let Phase::Forming(formation) = &mut self.phase else {
            return;
        };
        if let Some(hello) = formation.next_hello() {
            let me = self.identity.member.node;
            for &to in formation.founders().keys().filter(|node| **node != me) {
                let message = FormationMessage::Hello(hello.clone());
                self.actions
                    .push_back(Action::SendFormation { to, message });
            }
        }
        // Only after the hello: it holds this node's own promise, which the others need to found with us.
        if let Verdict::Found(founding) = formation.verdict() {
            self.found(founding);
        }
    }

    /// Starts the core with the first membership. Nothing is said in its name before that is durable: the core withholds. Where the cluster
    /// begins with a state, that is made its first snapshot before.
    pub(super) fn found(&mut self, founding: Membership) {
        let seed = match &self.phase {
            Phase::Forming(formation) => formation.seed(),
            _ => None,
        };
        self.identity.cluster = crate::wire::cluster_id(&founding);
        if let Some(seed) = seed {
            return self.found_from(&seed, founding);
        }
        let core = Raft::bootstrap(self.config.core.clone(), self.identity, founding.clone());
        self.begin(core, founding);
    }

    fn begin(&mut self, core: Result<Raft, StartError>, founding: Membership) {
        match core {
            Ok(core) => {
                self.standing = start::standing(&core);
                self.phase = Phase::Formed(Box::new(Member {
                    core,
                    founding: Some(founding),
                    durable: false,
                }));
                self.refresh_addresses();
            }
            Err(error) => self.halt(Fatal::Bootstrap(error)),
        }
    }

    /// All founders agree. The state that the cluster begins with, which the state machine holds, is written as its first snapshot, with the
    /// first membership: the same bytes on every founder.
    fn found_from(&mut self, seed: &Seed, founding: Membership) {
        let last = seed.file.last;
        let head = SnapshotHead {
            cluster: self.identity.cluster,
            founding: founding.clone(),
            snapshot: Snapshot {
                last,
                membership: founding,
                membership_at: last,
            },
        };
        self.phase = Phase::Founding(Box::new(head.clone()));
        let image = self.machine.image();
        self.employ(SnapshotJob::Take {
            head: Box::new(head),
            image,
        });
    }

    /// Whether the next snapshot to become durable is that which the cluster begins with: the log holds nothing yet, so it is marked like one
    /// that takes the log's place.
    pub(crate) fn is_founding(&self) -> bool {
        matches!(self.phase, Phase::Founding(_))
    }

    pub(super) fn founding_written(&mut self, last: LogId, written: bool) {
        let Phase::Founding(head) = &self.phase else {
            return;
        };
        let SnapshotHead {
            founding, snapshot, ..
        } = (**head).clone();
        if !written || snapshot.last != last {
            return self.halt(Fatal::NoFoundingSnapshot(snapshot.last));
        }
        let core = Raft::bootstrap_from(self.config.core.clone(), self.identity, snapshot);
        self.begin(core, founding);
    }

    /// The state as it is now, for a backup, and what stands in front of it; none while there is none that a cluster stands for.
    #[must_use]
    pub fn backup(&self) -> Option<(SnapshotHead, Image)> {
        let Phase::Formed(member) = &self.phase else {
            return None;
        };
        let head = SnapshotHead {
            cluster: self.identity.cluster,
            founding: member.founding.clone()?,
            snapshot: member.core.snapshot_at(self.applied)?,
        };
        Some((head, self.machine.image()))
    }
}
