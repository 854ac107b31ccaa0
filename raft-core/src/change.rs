//! Changes of the membership (paper §6, thesis ch. 4): any change, through a joint configuration, left by whoever leads then.
//!
//! Guards: one change at a time; none before an entry of the own term is committed (the bug of 2015: two changes by leaders that do
//! not know of each other could be decided by majorities that do not meet); none on top of one that is not committed.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::effect::{Effect, Event, Outcome, ProposalId};
use crate::entry::{Entry, Payload};
use crate::error::ChangeError;
use crate::invariants;
use crate::membership::{Member, Membership, MembershipParts};
use crate::mutants::{Mutant, mutant};
use crate::progress::Progress;
use crate::promote::CatchUp;
use crate::quorum;
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Index, LogId, MemberId, NodeId};

/// What a member is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    /// Votes, from the moment that the change is appended. Only a learner that has the membership which made it one can become that:
    /// a node that has nothing yet would count at once, and could not even help to elect a leader. Add it as [`Seat::Promotable`].
    Voter,
    /// Gets the log, and decides nothing.
    Learner,
    /// A learner that the leader makes a voter by itself once it has caught up (thesis §4.2.1), whoever leads then. The change that adds
    /// it has its outcome while it is a learner; its vote comes with a later membership, of which only [`Event::MembershipCommitted`] tells.
    Promotable,
}

/// One step of a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Takes this member in. Nothing happens if it is one already, whatever it is.
    Add {
        /// Who.
        member: MemberId,
        /// See [`Member::context`].
        context: Bytes,
        /// What it is to be.
        seat: Seat,
        /// See [`Member::priority`].
        priority: u8,
    },
    /// Takes this very member out. Nothing happens if it is none.
    Remove(MemberId),
    /// Makes this member something else.
    Seat(MemberId, Seat),
    /// Gives this member another context: another address, say.
    Context(MemberId, Bytes),
    /// Gives this member another priority.
    Priority(MemberId, u8),
}

/// A change of the membership: steps, taken in order on a draft. Only what the last of them leaves counts, and all of that takes effect at
/// once: a node whose disk is gone is replaced by removing it under the old incarnation and adding it under the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Step {
    /// Takes this member in, with no particular priority.
    ///
    /// ```
    /// use raft_core::*;
    ///
    /// let member = MemberId { node: NodeId(4), incarnation: Incarnation(0x5eed) };
    /// let change = Change::of(Step::add(member, "127.0.0.1:7104".into(), Seat::Promotable));
    /// # assert!(matches!(change.steps.as_slice(), [Step::Add { priority: 0, seat: Seat::Promotable, .. }]));
    /// ```
    #[must_use]
    pub const fn add(member: MemberId, context: Bytes, seat: Seat) -> Self {
        Self::Add {
            member,
            context,
            seat,
            priority: 0,
        }
    }
}

impl Change {
    /// A change of one step.
    #[must_use]
    pub fn of(step: Step) -> Self {
        Self {
            steps: Vec::from([step]),
        }
    }

    /// What `from`, which is not joint, is to become.
    fn applied_to(self, from: &Membership) -> Result<Membership, ChangeError> {
        let mut draft = Draft {
            members: from.seats().clone().into_iter().collect(),
            voters: from.voters().to_vec(),
        };
        for step in self.steps {
            draft.take(step)?;
        }
        Membership::from_parts(MembershipParts {
            members: draft.members,
            voters: draft.voters,
            ..MembershipParts::default()
        })
        .map_err(ChangeError::Membership)
    }
}

/// A membership on which the steps are taken.
struct Draft {
    members: Vec<(NodeId, Member)>,
    voters: Vec<NodeId>,
}

impl Draft {
    fn take(&mut self, step: Step) -> Result<(), ChangeError> {
        match step {
            Step::Add {
                member,
                context,
                seat,
                priority,
            } => {
                match self.members.iter().find(|(node, _)| *node == member.node) {
                    Some((_, there)) if there.incarnation == member.incarnation => return Ok(()),
                    Some((node, there)) => {
                        return Err(ChangeError::NodeTaken(MemberId {
                            node: *node,
                            incarnation: there.incarnation,
                        }));
                    }
                    None => {}
                }
                let mut added = Member::new(member.incarnation, context);
                added.priority = priority;
                self.members.push((member.node, added));
                self.seat(member, seat)?;
            }
            Step::Remove(member) => {
                if self.find(member).is_ok() {
                    self.members.retain(|(node, _)| *node != member.node);
                    self.voters.retain(|node| *node != member.node);
                }
            }
            Step::Seat(member, seat) => self.seat(member, seat)?,
            Step::Context(member, context) => self.find(member)?.context = context,
            Step::Priority(member, priority) => self.find(member)?.priority = priority,
        }
        Ok(())
    }

    fn seat(&mut self, id: MemberId, seat: Seat) -> Result<(), ChangeError> {
        let votes = self.voters.contains(&id.node);
        // Who votes needs no promotion.
        let seat = match seat {
            Seat::Promotable if votes || mutant(Mutant::SeatsAtOnce) => Seat::Voter,
            seat => seat,
        };
        self.find(id)?.promote = seat == Seat::Promotable;
        self.voters.retain(|node| *node != id.node);
        if seat == Seat::Voter {
            self.voters.push(id.node);
        }
        Ok(())
    }

    fn find(&mut self, id: MemberId) -> Result<&mut Member, ChangeError> {
        self.members
            .iter_mut()
            .find(|(node, member)| *node == id.node && member.incarnation == id.incarnation)
            .map(|(_, member)| member)
            .ok_or(ChangeError::UnknownMember(id))
    }
}

/// A change that this leader took, and whose outcome is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpenChange {
    pub(crate) number: u64,
    /// The newest entry of it.
    at: LogId,
}

impl Raft {
    /// Changes the membership, when this node leads. `expect` is the entry that the membership stands in which the caller saw
    /// ([`Status::membership_at`](crate::Status::membership_at)): so two callers who each count on the other's absence do not both
    /// get their way.
    ///
    /// A change of who votes goes through a joint configuration, which is left by itself once it is committed, by whoever leads
    /// then. Exactly one [`Effect::Outcome`] follows: [`Outcome::Committed`] with the entry of the final membership.
    /// In that one, whoever was added as [`Seat::Promotable`] is a learner still. To learn that it votes, look into
    /// [`Raft::membership`] at each later [`Event::MembershipCommitted`].
    ///
    /// # Errors
    /// Surely nothing was appended; [`ChangeError`] says why. [`ChangeError::NoChange`] means that all is as wished already.
    pub fn change_membership(
        &mut self,
        change: Change,
        expect: LogId,
    ) -> Result<ProposalId, ChangeError> {
        self.step(|raft| {
            raft.check_may_change(expect)?;
            let next = raft.next_membership(change)?;
            let number = raft.next_number();
            let at = raft.append_membership(next);
            if let Some(leadership) = raft.leadership() {
                leadership.change = Some(OpenChange { number, at });
            }
            Ok(ProposalId {
                boot: raft.identity.boot,
                number,
            })
        })
    }

    fn check_may_change(&self, expect: LogId) -> Result<(), ChangeError> {
        let Role::Leader(leadership) = &self.role else {
            let leader = self.leader_node();
            return Err(ChangeError::NotLeader { leader });
        };
        if leadership.transfer.is_some() {
            return Err(ChangeError::Transferring);
        }
        if self.commit < leadership.term_start && !mutant(Mutant::ChangesBeforeOwnTerm) {
            return Err(ChangeError::NotReady);
        }
        let actual = self.memberships.current_at();
        let under_way = self.membership().is_joint() || actual.index > self.commit;
        if under_way && !mutant(Mutant::IgnoresChangeUnderWay) {
            return Err(ChangeError::UnderWay { at: actual });
        }
        if expect != actual {
            return Err(ChangeError::Stale { actual });
        }
        Ok(())
    }

    /// The membership to append for `change`.
    fn next_membership(&self, change: Change) -> Result<Membership, ChangeError> {
        let target = change.applied_to(self.membership())?;
        if target == *self.membership() {
            return Err(ChangeError::NoChange);
        }
        // Who speaks here has its disk: it was not wiped.
        if target.member(self.me().node).is_some() && !target.contains(self.me()) {
            return Err(ChangeError::ReplacesLeader);
        }
        self.check_new_voters(&target)?;
        if mutant(Mutant::SkipsJoint) {
            return Ok(target);
        }
        let next = self.membership().toward(target);
        let next = next.map_err(ChangeError::Membership)?;
        // Replaced voters never answer: without a majority of the others, the old half could decide nothing any more, nor be left.
        let (speaking, silent) = (next.outgoing().len(), next.replaced().len());
        if speaking < quorum::majority(speaking + silent) && silent > 0 {
            return Err(ChangeError::ReplacesMajority);
        }
        Ok(next)
    }

    /// Who is to vote has to have the membership in force: an empty node knows of none, and so grants no vote to anyone (F-M4).
    fn check_new_voters(&self, target: &Membership) -> Result<(), ChangeError> {
        let Role::Leader(leadership) = &self.role else {
            return Ok(());
        };
        let at = self.memberships.current_at().index;
        let knows = |id: MemberId| {
            let peer = leadership.peers.get(&id.node);
            self.membership().is_voter(id)
                || peer.is_some_and(|peer| peer.member == id && peer.matched >= at)
        };
        match target.voter_ids().find(|&id| !knows(id)) {
            Some(id) if !mutant(Mutant::SeatsAtOnce) => Err(ChangeError::NotCaughtUp(id)),
            _ => Ok(()),
        }
    }

    /// Appends a membership, as leader; it is in force from here on (thesis §4.1).
    pub(crate) fn append_membership(&mut self, membership: Membership) -> LogId {
        invariants::check_change(self);
        let id = LogId {
            index: self.log.last().index.next(),
            term: self.term,
        };
        let new_voters: Vec<MemberId> = membership
            .voter_ids()
            .filter(|&voter| !self.membership().is_voter(voter))
            .collect();
        self.append(Entry {
            id,
            payload: Payload::Membership(membership),
        });
        self.adopt_membership();
        // Those who begin to count have an election timeout to be heard, before CheckQuorum asks after them.
        let now = self.now;
        for voter in new_voters {
            if let Some(peer) = self.leadership().and_then(|l| l.peers.get_mut(&voter.node)) {
                peer.heard_at = now;
            }
        }
        // A smaller quorum may have been reached by what is under way already.
        self.advance_commit();
        id
    }

    /// Fits what the leader keeps of its peers to a membership that has just come into force.
    pub(crate) fn adopt_membership(&mut self) {
        let (me, now, last) = (self.me(), self.now, self.log.last().index);
        let membership = self.memberships.current();
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        for (id, _) in membership.members().filter(|&(id, _)| id != me) {
            let known = leadership.peers.get(&id.node);
            if known.is_none_or(|peer| peer.member != id) {
                let progress = Progress::new(id, last, now);
                leadership.peers.insert(id.node, progress);
                // What another incarnation caught up with says nothing of this one.
                leadership.catching_up.remove(&id.node);
            }
        }
        leadership
            .catching_up
            .retain(|&node, _| (membership.member(node)).is_some_and(|member| member.promote));
        let new = self.commit < leadership.term_start && mutant(Mutant::ForgetsPromotions);
        for (&node, member) in membership.seats().iter() {
            if member.promote && node != me.node && !new {
                let begin = || CatchUp::begin(last, now);
                leadership.catching_up.entry(node).or_insert_with(begin);
            }
        }
        leadership.settled_at = None;
    }

    /// The leader goes on with a change, as far as what is committed allows it.
    pub(crate) fn continue_change(&mut self) {
        let (commit, last_number, boot) = (self.commit, self.last_number, self.identity.boot);
        let at = self.memberships.current_at();
        let joint = self.membership().is_joint();
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        let early = joint && mutant(Mutant::LeavesJointEarly);
        if at.index > commit && !early || commit < leadership.term_start {
            return;
        }
        leadership.settled_at.get_or_insert(last_number);
        if joint {
            // Whoever leads leaves it, once, and only from a committed one (F-M3).
            let next = self.membership().without_outgoing();
            let left_at = self.append_membership(next);
            if let Some(change) = self.leadership().and_then(|l| l.change.as_mut()) {
                change.at = left_at;
            }
            return;
        }
        if let Some(change) = leadership
            .change
            .take_if(|change| change.at.index <= commit)
        {
            let number = change.number;
            let outcome = Outcome::Committed(change.at);
            self.outbox
                .push(Effect::Outcome(ProposalId { boot, number }, outcome));
        }
        if !self.membership().voters().contains(&self.me().node) {
            // It led until this was committed (thesis §4.2.2); now someone who votes is to lead.
            self.begin_hand_over();
        }
    }

    /// Says which memberships have become committed since `before` was the commit index, and whether this node was removed by them:
    /// only a committed one is believed.
    pub(crate) fn note_committed_memberships(&mut self, before: Index) {
        let news = self.memberships.commit(before, self.commit);
        if news.is_empty() {
            return;
        }
        if mutant(Mutant::AdoptsAtCommit) {
            self.adopt_membership();
        }
        let mut held = self.is_held_at(before);
        for at in news {
            held |= self.is_held_at(at.index);
            self.outbox
                .push(Effect::Event(Event::MembershipCommitted { at }));
        }
        self.note_if_removed(held);
    }

    /// Whether the membership in force at `index` held this node.
    pub(crate) fn is_held_at(&self, index: Index) -> bool {
        let in_force = self.memberships.in_force_at(index);
        in_force.is_some_and(|(_, membership)| membership.contains(self.me()))
    }

    /// Says that this node was removed, if it was held and the newest committed membership does not hold it; unless it was told so before.
    pub(crate) fn note_if_removed(&mut self, held: bool) {
        if held
            && self.removed_at.is_none()
            && !self.is_held_at(self.commit)
            && let Some(&(at, _)) = self.memberships.in_force_at(self.commit)
        {
            self.outbox.push(Effect::Event(Event::Removed { at }));
        }
    }
}
