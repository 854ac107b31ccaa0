//! How the version in force is raised: by the leader, once every member is known to follow the next one.
//!
//! Guards: a leader proposes the raise only while it has heard, from every member of a committed membership that is not joint, in that
//! member's newest life, that it follows the version, and has been answered by it lately; and nobody is added who does not follow what
//! is in force, nor anyone while a raise may be on its way. What remains is a member that is started again with an older release
//! between the two: that one stops before the entry (see [`StateMachine::apply`]). The version never falls.
//!
//! Why what a leader knows is enough: a raise that a former leader has appended stands in front of this leader's own no-op, or is cut
//! (paper §5.3). So until an entry of the own term is applied, one may be on its way; after it, only an own one.

use std::collections::BTreeMap;

use raft_core::{
    Boot, Change, MemberId, Membership, Outcome, ProposalId, RoleName, Status, Step, Term,
};

use super::{Action, Notice, Phase, Replica};
use crate::mutants::{Mutant, mutant};
use crate::node::StateMachine;
use crate::release::Release;

/// Of how many nodes it is kept what they run: of all that can be members, and some.
const HEARD_MAX: usize = 2 * Membership::MEMBERS_MAX;

/// What is known of who runs what.
#[derive(Clone, Debug)]
pub(super) struct Upgrade {
    /// What this node runs.
    own: Release,
    /// What others run, each in the newest life that was heard of.
    heard: BTreeMap<MemberId, (Boot, Release)>,
    /// The own proposal that raises the version to this one; until it is applied, or lost.
    raising: Option<(ProposalId, u16)>,
    /// The term of the entry that was applied last.
    applied_term: Term,
    look_in_ticks: u32,
}

impl Upgrade {
    pub(super) fn new(own: Release) -> Self {
        Self {
            own,
            heard: BTreeMap::new(),
            raising: None,
            applied_term: Term::ZERO,
            look_in_ticks: 0,
        }
    }

    pub(super) fn tick(&mut self, elapsed_ticks: u32) {
        self.look_in_ticks = self.look_in_ticks.saturating_sub(elapsed_ticks);
    }

    pub(super) fn applied(&mut self, term: Term) {
        self.applied_term = term;
    }

    /// Whether this is the proposal that raises the version.
    pub(super) fn is(&self, id: ProposalId) -> bool {
        self.raising.is_some_and(|(raising, _)| raising == id)
    }

    /// What became of it. A committed one is on its way until it is applied.
    pub(super) fn decided(&mut self, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            self.raising = None;
        }
    }
}

impl<S: StateMachine, W, R> Replica<S, W, R> {
    /// What this node runs.
    #[must_use]
    pub fn release(&self) -> &Release {
        &self.upgrade.own
    }

    /// Another node has said what it runs in this life; nothing that it has said in that life was heard before.
    pub fn hear_release(&mut self, from: MemberId, boot: Boot, release: Release) {
        let heard = &mut self.upgrade.heard;
        if heard.get(&from).is_some_and(|(newest, _)| *newest > boot) {
            return;
        }
        // Anyone of this cluster may connect, in ever new incarnations.
        if heard.len() >= HEARD_MAX
            && let Phase::Formed(member) = &self.phase
        {
            let membership = member.core.membership();
            heard.retain(|member, _| membership.contains(*member));
        }
        if heard.len() < HEARD_MAX {
            heard.insert(from, (boot, release));
        }
    }

    /// Whether this leader may have a raise in its log that it has not applied.
    #[must_use]
    pub fn is_raising(&self) -> bool {
        self.upgrade.own.follows > self.machine.version()
            && (self.upgrade.raising.is_some() || self.upgrade.applied_term != self.standing.term)
    }

    /// From a leader: what keeps the version in force from being the newest that this node follows, in words; none when nothing does.
    #[must_use]
    pub fn holds_version_back(&self) -> Option<String> {
        let wanted = self.upgrade.own.follows;
        let status = self.status()?;
        if wanted <= self.machine.version() || status.role != RoleName::Leader {
            return None;
        }
        if let Some((_, version)) = self.upgrade.raising {
            return Some(format!("version {version} is on its way"));
        }
        if !is_settled(&status) {
            return Some("a change of the membership is under way".into());
        }
        let holds = status.membership.members().filter_map(|(member, _)| {
            let node = member.node;
            match (
                self.follows(&status, member),
                self.upgrade.heard.get(&member),
            ) {
                (Some(follows), _) if follows >= wanted => None,
                (Some(follows), Some((_, release))) => {
                    let name = named(release);
                    Some(format!(
                        "node {node} runs {name}, which follows up to version {follows}"
                    ))
                }
                _ => Some(format!("node {node} does not answer")),
            }
        });
        let holds: Vec<String> = holds.collect();
        Some(match holds.is_empty() {
            true => "it is about to be raised".into(),
            false => holds.join("; "),
        })
    }

    /// Ticks until a leader looks again whether the version can be raised.
    pub(super) fn ticks_until_upgrade(&self) -> u32 {
        let waits = self.standing.role == RoleName::Leader
            && self.upgrade.raising.is_none()
            && self.upgrade.own.follows > self.machine.version();
        if waits {
            self.upgrade.look_in_ticks
        } else {
            u32::MAX
        }
    }

    /// Proposes to raise the version, if every member follows the next one.
    pub(super) fn raise_version(&mut self) {
        if self.ticks_until_upgrade() > 0 {
            return;
        }
        self.upgrade.look_in_ticks = self.config.core.heartbeat_ticks;
        let Some(status) = self.status() else { return };
        let Some(version) = self.all_follow(&status) else {
            return;
        };
        if version <= self.machine.version() {
            return;
        }
        let (command, core) = (self.machine.raise(version), self.core());
        if let (Some(command), Some(core)) = (command, core)
            && let Ok(ids) = core.propose(vec![command])
        {
            self.upgrade.raising = ids.iter().next().map(|id| (id, version));
        }
    }

    /// The newest version that every member follows, if that is known of every one.
    fn all_follow(&self, status: &Status) -> Option<u16> {
        if !is_settled(status) {
            return None;
        }
        let members = status.membership.members();
        if mutant(Mutant::RaisesWithMajority) {
            let mut all: Vec<u16> = members
                .map(|(member, _)| self.follows(status, member).unwrap_or(0))
                .collect();
            all.sort_unstable();
            return all.get((all.len() - 1) / 2).copied();
        }
        members
            .map(|(member, _)| self.follows(status, member))
            .min()?
    }

    /// The newest version that a member follows, if it is known now: it has said so in its newest life, and answers.
    fn follows(&self, status: &Status, member: MemberId) -> Option<u16> {
        if member == self.identity.member {
            return Some(self.upgrade.own.follows);
        }
        let lately = u64::from(self.config.core.election_timeout_ticks);
        let peer = status.peers.iter().find(|peer| peer.member == member)?;
        peer.silent_ticks.filter(|ticks| *ticks <= lately)?;
        let (_, release) = self.upgrade.heard.get(&member)?;
        Some(release.follows)
    }

    /// Why a change would add a member that could not apply what is, or may soon be, in the log.
    pub(super) fn not_to_be_added(&self, change: &Change) -> Option<String> {
        let in_force = self.machine.version();
        let mut added = change.steps.iter().filter_map(|step| match step {
            Step::Add { member, .. } => Some(*member),
            _ => None,
        });
        let first = added.next()?;
        if self.is_raising() {
            return Some("the cluster version is being raised; try again".into());
        }
        [first].into_iter().chain(added).find_map(|member| {
            let heard = self.upgrade.heard.get(&member);
            let release = heard.map_or_else(Release::unknown, |(_, release)| release.clone());
            (release.follows < in_force).then(|| {
                format!(
                    "node {} runs {}, which follows up to cluster version {}, and {in_force} is in force; start {} or a later \
                     release there",
                    member.node,
                    named(&release),
                    release.follows,
                    self.upgrade.own.name
                )
            })
        })
    }

    /// Entries were applied; `before` was in force.
    pub(super) fn note_version(&mut self, before: u16) {
        let version = self.machine.version();
        if version > before {
            let raised = Notice::VersionRaised { version };
            self.actions.push_back(Action::Notice(raised));
        }
        let arrived = |(_, raising): &(ProposalId, u16)| *raising <= version;
        if self.upgrade.raising.as_ref().is_some_and(arrived) {
            self.upgrade.raising = None;
        }
    }
}

/// Whether the membership is sure, and one.
fn is_settled(status: &Status) -> bool {
    status.membership_committed && !status.membership.is_joint()
}

fn named(release: &Release) -> String {
    match release.name.as_str() {
        "" => "an unknown release".to_owned(),
        name => format!("release {name}"),
    }
}
