//! The invariants, checked from outside after every step: against what the disks hold, not against what the nodes say of it.
//!
//! The names are those of `docs/testing.md`: I1 to I20.

mod image;
mod memberships;

use std::collections::{BTreeMap, HashMap};

use raft_core::{
    AppendResult, Boot, Envelope, HardState, Index, LogId, MemberId, Membership, Message, NodeId,
    PersistJob, Raft, RoleName, Status, Term,
};

use super::observed::AppliedEntry;
pub(super) use image::Held;
use image::{Image, Stamp};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number in `docs/testing.md`, or what else it is called.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

type Checked = Result<(), Violation>;

/// Nothing, or a violation.
fn hold(holds: bool, invariant: &'static str, what: impl FnOnce() -> String) -> Checked {
    if holds {
        return Ok(());
    }
    let what = what();
    Err(Violation { invariant, what })
}

/// An entry that some node has called committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    stamp: Stamp,
    /// The term of whoever called it so first.
    by: Term,
}

/// What a node was seen at last, in this life.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// In force after the step before: in one step, an entry may be committed by it, and the next one appended because of that.
    membership: Option<Membership>,
    term: Term,
    commit: Index,
    applied: Index,
    leads: bool,
    /// Where its log ended when it came to lead.
    led_from: Index,
}

/// What is known of the whole cluster.
#[derive(Debug)]
pub(super) struct Checks {
    images: Vec<Image>,
    seen: Vec<Seen>,
    leaders: BTreeMap<Term, MemberId>,
    /// What stands before, and including, each entry that was ever written.
    prefixes: HashMap<LogId, u64>,
    committed: Vec<Committed>,
    /// The hash of the state after each entry.
    states: Vec<Option<u64>>,
    votes: BTreeMap<(MemberId, Term), MemberId>,
    /// What disks held that were wiped since. What they acknowledged before may be counted after.
    wiped: Vec<(MemberId, Image)>,
    /// Who each node is.
    members: Vec<Option<MemberId>>,
    /// The newest membership that is known to be committed, and all that were appended since: any of them may come to be in force.
    memberships: Vec<(LogId, Membership)>,
    /// The number of each node's last boot.
    boots: Vec<Boot>,
}

impl Checks {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            images: vec![Image::default(); nodes],
            seen: vec![Seen::default(); nodes],
            leaders: BTreeMap::new(),
            prefixes: HashMap::new(),
            committed: Vec::new(),
            states: Vec::new(),
            votes: BTreeMap::new(),
            wiped: Vec::new(),
            members: vec![None; nodes],
            memberships: Vec::new(),
            boots: vec![Boot::ZERO; nodes],
        }
    }

    /// How many entries were committed.
    pub(super) fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// Up to where a node was seen to know the log committed.
    pub(super) fn commit(&self, host: usize) -> Index {
        self.seen[host].commit
    }

    /// How many terms had a leader.
    pub(super) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// A node's disk is wiped.
    pub(super) fn on_wipe(&mut self, host: usize) {
        let former = std::mem::take(&mut self.images[host]);
        self.boots[host] = Boot::ZERO;
        if let Some(member) = self.members[host].take() {
            self.wiped.push((member, former));
        }
    }

    /// Every membership that may come to be in force.
    pub(super) fn possible_memberships(&self) -> impl Iterator<Item = &Membership> {
        self.memberships.iter().map(|(_, membership)| membership)
    }

    /// A node starts from what its disk holds (I8, and that nothing durable is gone), in a boot of its own.
    pub(super) fn on_start(
        &mut self,
        host: usize,
        member: MemberId,
        boot: Boot,
        held: &Held,
    ) -> Checked {
        let before = std::mem::replace(&mut self.boots[host], boot);
        hold(boot > before, "no boot number comes twice", || {
            format!("node {}: boot {} after {}", host + 1, boot.0, before.0)
        })?;
        self.seen[host] = Seen::default();
        self.members[host] = Some(member);
        let image = &mut self.images[host];
        let states = image.restart(held).map_err(|what| Violation {
            invariant: "I8 what is durable survives",
            what: format!("node {}: {what}", host + 1),
        })?;
        for state in states {
            self.on_vote(member, state)?;
        }
        Ok(())
    }

    /// A node has started: with the term that its disk holds, and the vote in it (I13).
    pub(super) fn on_started(&self, host: usize, status: &Status) -> Checked {
        let held = self.images[host].hard_state().unwrap_or_default();
        let good = (status.term, status.voted_for) == (held.term, held.voted_for);
        hold(good, "I13 one vote a term", || {
            format!(
                "node {} starts in term {} with the vote {:?}, and its disk holds {held:?}",
                host + 1,
                status.term,
                status.voted_for
            )
        })
    }

    /// A node orders something to be written: its log may say only what no log with the same end says otherwise (I3).
    pub(super) fn on_job(&mut self, host: usize, job: &PersistJob, raft: &Raft) -> Checked {
        let commit = self.seen[host].commit;
        if let Some(from) = job.truncate_from {
            hold(from > commit, "I6 what is committed stays", || {
                format!(
                    "node {} cuts its log from {from}, and {commit} is committed",
                    host + 1
                )
            })?;
            let leads = raft.role() == RoleName::Leader;
            hold(!leads, "I2 a leader only appends", || {
                format!("node {} leads and cuts its log from {from}", host + 1)
            })?;
        }
        let committed: Vec<Stamp> = match &job.snapshot {
            Some(_) => self.committed.iter().map(|known| known.stamp).collect(),
            None => Vec::new(),
        };
        let stamps = self.images[host]
            .order(job, &committed)
            .map_err(|what| Violation {
                invariant: "I10 a log has no gaps",
                what: format!("node {}: {what}", host + 1),
            })?;
        for (at, stamp) in stamps {
            let known = *self.prefixes.entry(at).or_insert(stamp.prefix);
            hold(
                known == stamp.prefix,
                "I3 logs that agree in an entry agree before it",
                || {
                    format!(
                        "node {} has another log up to {at} than some node had",
                        host + 1
                    )
                },
            )?;
        }
        // A snapshot in the same job comes before what is appended behind it.
        self.on_memberships(host, job, raft)
    }

    /// Jobs up to this one are on the disk (I13).
    pub(super) fn on_durable(&mut self, host: usize, member: MemberId, job: u64) -> Checked {
        for state in self.images[host].durable(job) {
            self.on_vote(member, state)?;
        }
        Ok(())
    }

    /// A vote is on a disk (I13).
    fn on_vote(&mut self, member: MemberId, state: HardState) -> Checked {
        let Some(vote) = state.voted_for else {
            return Ok(());
        };
        let term = state.term;
        let known = *self.votes.entry((member, term)).or_insert(vote);
        hold(known == vote, "I13 one vote a term", || {
            format!("{member} voted for {known} and for {vote} in term {term}")
        })
    }

    /// A node sends: what it says must be on its disk (I12).
    pub(super) fn on_send(&self, host: usize, envelope: &Envelope) -> Checked {
        const NAME: &str = "I12 nothing is said before it is durable";
        let image = &self.images[host];
        let node = host + 1;
        let term = envelope.term;
        let disk = image.hard_state().unwrap_or(HardState {
            term: Term::ZERO,
            voted_for: None,
            commit: Index::ZERO,
        });
        hold(disk.term >= term, NAME, || {
            format!(
                "node {node} speaks in term {term}, its disk is at {}",
                disk.term
            )
        })?;
        let voted = |candidate: MemberId| {
            disk.term > term || (disk.term == term && disk.voted_for == Some(candidate))
        };
        match &envelope.message {
            Message::VoteResponse { granted: true, .. } => hold(voted(envelope.to), NAME, || {
                format!(
                    "node {node} votes for {} in term {term}; its disk says {disk:?}",
                    envelope.to
                )
            }),
            Message::VoteRequest { .. } => hold(voted(envelope.from.member), NAME, || {
                format!("node {node} stands in term {term}; its disk says {disk:?}")
            }),
            Message::AppendResponse {
                result: AppendResult::Matched(matched) | AppendResult::Full(matched),
                ..
            }
            | Message::HeartbeatResponse { matched, .. } => {
                let there = matched.0 == 0
                    || (image.on_disk(*matched).is_some()
                        && image.on_disk(*matched) == image.ordered(*matched));
                hold(there || disk.term > term, NAME, || {
                    format!(
                        "node {node} acknowledges up to {matched}, its disk ends at {}",
                        image.last()
                    )
                })
            }
            _ => Ok(()),
        }
    }

    /// A node has come to lead (I1, I4).
    pub(super) fn on_leader(&mut self, host: usize, member: MemberId, raft: &Raft) -> Checked {
        let term = raft.term();
        let known = *self.leaders.entry(term).or_insert(member);
        hold(known == member, "I1 one leader a term", || {
            format!("{known} and {member} lead in term {term}")
        })?;
        self.seen[host].leads = true;
        // What it was elected with; the no-op comes behind it.
        self.seen[host].led_from = self.images[host].ordered_last();
        let needed = self.committed.partition_point(|entry| entry.by < term);
        let Some(last) = needed
            .checked_sub(1)
            .and_then(|last| self.committed.get(last))
        else {
            return Ok(());
        };
        let index = Index(needed as u64);
        let has = self.images[host].ordered(index);
        hold(
            has == Some(last.stamp),
            "I4 a leader has all that is committed",
            || {
                format!(
                    "node {} leads in term {term} without entry {index}, which was committed in term {}",
                    host + 1,
                    last.by
                )
            },
        )
    }

    /// A node has done something: what it says of itself never goes back (I8), in order (I10), and what it calls committed is
    /// (I6, I7).
    pub(super) fn on_step(&mut self, host: usize, raft: &Raft, applied: Index) -> Checked {
        let node = host + 1;
        let seen = &mut self.seen[host];
        let (term, commit) = (raft.term(), raft.commit());
        let grows = term >= seen.term && commit >= seen.commit && applied >= seen.applied;
        hold(grows, "I8 term, commit and applied never go back", || {
            format!(
                "node {node} was at {seen:?} and is at term {term}, commit {commit}, applied {applied}"
            )
        })?;
        let ordered = applied <= commit && commit <= raft.last().index;
        hold(ordered, "I10 applied, commit and last are in order", || {
            format!(
                "node {node}: applied {applied}, commit {commit}, last {}",
                raft.last()
            )
        })?;
        let from = seen.commit;
        seen.term = term;
        seen.commit = commit;
        seen.applied = applied;
        seen.leads = raft.role() == RoleName::Leader;
        if commit > from {
            self.on_commit(host, raft, from)?;
        }
        let seen = &mut self.seen[host];
        if seen.membership.as_ref() != Some(raft.membership()) {
            seen.membership = Some(raft.membership().clone());
        }
        Ok(())
    }

    fn on_commit(&mut self, host: usize, raft: &Raft, from: Index) -> Checked {
        let node = host + 1;
        let commit = raft.commit();
        let first = Index(from.0.min(self.committed.len() as u64) + 1);
        for index in (first.0..=commit.0).map(Index) {
            let Some(stamp) = self.images[host].ordered(index) else {
                let what = format!("node {node} calls {index} committed and does not have it");
                return Err(Violation {
                    invariant: "I6 what is committed stays",
                    what,
                });
            };
            let place = (index.0 - 1) as usize;
            if let Some(known) = self.committed.get(place) {
                hold(known.stamp == stamp, "I6 what is committed stays", || {
                    format!(
                        "node {node} calls {index} of term {} committed, and {known:?} was",
                        stamp.term
                    )
                })?;
            } else {
                self.committed.push(Committed {
                    stamp,
                    by: raft.term(),
                });
                let newest = self
                    .memberships
                    .iter()
                    .position(|(at, _)| at.index == index && at.term == stamp.term);
                if let Some(newest) = newest {
                    let (at, _) = self.memberships[newest];
                    self.memberships
                        .retain(|(other, _)| other.index >= at.index);
                }
                self.is_on_a_quorum(host, index, stamp, raft.membership())?;
            }
        }
        Ok(())
    }

    /// I7: on the disks, not in anyone's memory.
    fn is_on_a_quorum(
        &self,
        host: usize,
        index: Index,
        stamp: Stamp,
        membership: &Membership,
    ) -> Checked {
        let before = self.seen[host].membership.as_ref();
        let good = self.has_quorum(index, stamp, membership)
            || before.is_some_and(|before| self.has_quorum(index, stamp, before));
        hold(
            good,
            "I7 what is committed is on a majority of the disks",
            || {
                format!(
                    "node {} calls {index} committed, and a majority does not have it, of {membership:?}",
                    host + 1
                )
            },
        )
    }

    /// Whether a majority of the voters has an entry on its disks, in both halves of a joint membership.
    fn has_quorum(&self, index: Index, stamp: Stamp, membership: &Membership) -> bool {
        let has = |id: &NodeId| {
            let Some(known) = membership.member(*id) else {
                return false;
            };
            let member = Some(MemberId {
                node: *id,
                incarnation: known.incarnation,
            });
            let here = self.members.iter().position(|now| *now == member);
            let here = here.and_then(|host| self.images.get(host));
            let former = self
                .wiped
                .iter()
                .filter(|(wiped, _)| Some(*wiped) == member);
            let mut images = here.into_iter().chain(former.map(|(_, image)| image));
            images.any(|image| image.on_disk(index) == Some(stamp))
        };
        let half = |voters: &[NodeId], silent: usize| {
            let having = voters.iter().filter(|id| has(id)).count();
            voters.len() + silent == 0 || having * 2 > voters.len() + silent
        };
        half(membership.voters(), 0) && half(membership.outgoing(), membership.replaced().len())
    }

    /// A node has the state of a snapshot (I5): that of all who applied up to there.
    pub(super) fn on_restored(&mut self, host: usize, last: LogId, state_hash: u64) -> Checked {
        let at = last;
        self.on_applied(host, &[AppliedEntry { at, state_hash }])
    }

    /// A node has applied (I5).
    pub(super) fn on_applied(&mut self, host: usize, entries: &[AppliedEntry]) -> Checked {
        for entry in entries {
            let place = (entry.at.index.0 - 1) as usize;
            let node = host + 1;
            let committed = self.committed.get(place).map(|known| known.stamp.term);
            hold(
                committed == Some(entry.at.term),
                "I5 all apply the same",
                || {
                    format!(
                        "node {node} applied {}, committed was {committed:?}",
                        entry.at
                    )
                },
            )?;
            if self.states.len() <= place {
                self.states.resize(place + 1, None);
            }
            let known = *self.states[place].get_or_insert(entry.state_hash);
            hold(known == entry.state_hash, "I5 all apply the same", || {
                format!(
                    "node {node} has another state after {} than another node had",
                    entry.at
                )
            })?;
        }
        Ok(())
    }
}
