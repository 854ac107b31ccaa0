//! The memberships that a node writes to its log (I11).

use std::collections::BTreeSet;

use raft_core::{MemberId, Membership, NodeId, Payload, PersistJob, Raft, RoleName};

use super::{Checked, Checks, hold};

impl Checks {
    /// Memberships in a job (I11): each follows from the one before it in that log, so that their majorities meet; and a leader
    /// appends one only when the one before it is committed.
    pub(super) fn on_memberships(&mut self, host: usize, job: &PersistJob, raft: &Raft) -> Checked {
        const NAME: &str = "I11 one change of the membership at a time";
        let leads = raft.role() == RoleName::Leader;
        if let Some(from) = job.truncate_from {
            self.images[host].cut_memberships(from);
        }
        for entry in job.entries.iter() {
            let Payload::Membership(next) = &entry.payload else {
                continue;
            };
            let at = entry.id;
            if !self.memberships.iter().any(|(known, _)| *known == at) {
                self.memberships.push((at, next.clone()));
            }
            let before = self.images[host].membership_before(at.index);
            self.images[host].add_membership(at.index, next);
            let Some((index, before)) = before else {
                continue;
            };
            let committed = !leads || index <= raft.commit();
            hold(committed, NAME, || {
                format!(
                    "node {} appends {at} and {index} is not committed",
                    host + 1
                )
            })?;
            let follows = follows(&before, next);
            hold(follows, NAME, || {
                format!(
                    "node {} appends {next:?} at {at} after {before:?}",
                    host + 1
                )
            })?;
        }
        Ok(())
    }
}

/// Whether a membership may come right after another: the voters are the same, incarnations included; or it is joint, and the old half
/// is what was; or it leaves what was joint for the new half.
fn follows(before: &Membership, next: &Membership) -> bool {
    let voters = |of: &Membership, ids: &[NodeId]| -> Option<BTreeSet<MemberId>> {
        let member = |id: &NodeId| {
            let incarnation = of.member(*id)?.incarnation;
            Some(MemberId {
                node: *id,
                incarnation,
            })
        };
        ids.iter().map(member).collect()
    };
    let was = voters(before, before.voters());
    if !next.is_joint() {
        return voters(next, next.voters()) == was;
    }
    let old = voters(next, next.outgoing()).map(|mut old| {
        old.extend(next.replaced().iter().copied());
        old
    });
    !before.is_joint() && old == was
}
