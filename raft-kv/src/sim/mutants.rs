//! Known bugs that the simulator has to find: those of all crates, one table. Only under `--cfg raft_mutants`.

use raft_core::mutants::Mutant as Core;
use raft_log::mutants::Mutant as Log;
use raft_net_tcp::mutants::Mutant as Net;

use crate::mutants::Mutant as Kv;

/// A bug of some crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Of the protocol.
    Core(Core),
    /// Of the log.
    Log(Log),
    /// Of the connections.
    Net(Net),
    /// Of everything else.
    Kv(Kv),
}

/// A known bug, and how it is looked for.
#[derive(Clone, Copy, Debug)]
pub struct KnownBug {
    /// What part of a node it is in.
    pub part: &'static str,
    /// The bug.
    pub mutant: Mutant,
    /// A seed that finds it, as long as nothing else changes; tried first.
    pub hint: u64,
}

/// All of them.
pub const KNOWN_BUGS: &[KnownBug] = &[
    bug("core", Mutant::Core(Core::VotesTwice), 13),
    bug("core", Mutant::Core(Core::VotesForShortLogs), 2),
    bug("core", Mutant::Core(Core::VotesBeforeDurable), 1),
    bug("core", Mutant::Core(Core::AcknowledgesBeforeDurable), 1),
    bug("core", Mutant::Core(Core::CountsItselfBeforeDurable), 2),
    bug("core", Mutant::Core(Core::HalfIsAMajority), 1),
    bug("core", Mutant::Core(Core::CutsWithoutConflict), 1),
    bug("core", Mutant::Core(Core::CommitsUnverified), 2),
    bug("core", Mutant::Core(Core::PreVoteRaisesTerms), 1),
    bug("core", Mutant::Core(Core::ReadsBeforeNoop), 1),
    bug("core", Mutant::Core(Core::ForgetsVotes), 1),
    bug("core", Mutant::Core(Core::CountsWhatWasSent), 1),
    bug("core", Mutant::Core(Core::CountsUnfinishedWrites), 2),
    bug("core", Mutant::Core(Core::TrustsItsLead), 2),
    bug("core", Mutant::Core(Core::AnswersReadsBeforeApplied), 59),
    bug("core", Mutant::Core(Core::SkipsJoint), 1),
    bug("membership", Mutant::Core(Core::AdoptsAtCommit), 1),
    bug("membership", Mutant::Core(Core::KeepsCutMemberships), 64),
    bug("membership", Mutant::Core(Core::LeavesJointEarly), 3),
    bug("membership", Mutant::Core(Core::NewHalfDecides), 3),
    bug("membership", Mutant::Core(Core::OldHalfDecides), 1),
    bug("membership", Mutant::Core(Core::IgnoresChangeUnderWay), 9),
    bug("membership", Mutant::Core(Core::SeatsAtOnce), 9),
    bug("membership", Mutant::Core(Core::PromotesTooEarly), 9),
    bug("membership", Mutant::Core(Core::ForgetsPromotions), 64),
    bug("membership", Mutant::Core(Core::CountsLearners), 1),
    bug(
        "membership",
        Mutant::Core(Core::SnapshotsNewestMembership),
        439,
    ),
    bug("membership", Mutant::Core(Core::KeepsMembershipOnReset), 1),
    bug("membership", Mutant::Core(Core::StartsFromOldMembership), 1),
    bug("log", Mutant::Log(Log::SkipsMetadataSync), 14),
    bug("log", Mutant::Log(Log::SkipsDirectorySync), 7),
    bug("log", Mutant::Log(Log::SkipsSuperblockSync), 7),
    bug("log", Mutant::Log(Log::RetriesFailedSync), 14),
    bug("log", Mutant::Log(Log::AcceptsHalfBatches), 11),
    bug("log", Mutant::Log(Log::ReadsBehindDamage), 147),
    bug("log", Mutant::Log(Log::SkipsBodyChecksum), 110),
    bug("log", Mutant::Log(Log::IgnoresWatermarks), 51),
    bug("log", Mutant::Log(Log::ClaimsTooMuchDurable), 14),
    bug("log", Mutant::Log(Log::SkipsBoot), 1),
    bug("connections", Mutant::Net(Net::IgnoresSilence), 4),
    bug("connections", Mutant::Net(Net::DeliversDamaged), 28),
    bug("formation", Mutant::Kv(Kv::FoundsWithMajority), 1),
    bug("formation", Mutant::Kv(Kv::TakesWipedForFormer), 8),
    bug("formation", Mutant::Kv(Kv::AdmitsOtherClusters), 1),
    bug("replica", Mutant::Kv(Kv::SwapsTickets), 2),
    bug("replica", Mutant::Kv(Kv::AnswersNextApplied), 1),
    bug("replica", Mutant::Kv(Kv::AnswersReadsAnywhere), 1),
    bug("replica", Mutant::Kv(Kv::SaysNotAppliedWhenDeposed), 11),
    bug("snapshots", Mutant::Log(Log::SkipsSnapshotSync), 2),
    bug("snapshots", Mutant::Log(Log::SkipsSnapshotName), 10),
    bug("snapshots", Mutant::Kv(Kv::OmitsSessions), 1),
    bug("snapshots", Mutant::Kv(Kv::KeepsStateOnInstall), 1),
    bug("snapshots", Mutant::Kv(Kv::StartsWithoutSnapshot), 1),
    bug("snapshots", Mutant::Kv(Kv::TrustsSnapshotRequests), 1),
    bug("store", Mutant::Kv(Kv::CountsEmptyDeletes), 1),
    bug("store", Mutant::Kv(Kv::SkipsValueConditions), 1),
    bug("store", Mutant::Kv(Kv::ReadsChance), 1),
    bug("store", Mutant::Kv(Kv::ForgetsCreateRevision), 1),
    bug("store", Mutant::Kv(Kv::ReturnsNewAsPrevious), 1),
    bug("store", Mutant::Kv(Kv::DeletesOnCondition), 1),
    bug("sessions", Mutant::Kv(Kv::AppliesRetries), 1),
    bug("sessions", Mutant::Kv(Kv::AnswersWithNextReply), 95),
    bug("sessions", Mutant::Kv(Kv::TrimsTooMuch), 31),
    bug("sessions", Mutant::Kv(Kv::DropsSessionsWithLeader), 1),
    bug("sessions", Mutant::Kv(Kv::MixesSessions), 1),
    bug("upgrade", Mutant::Kv(Kv::RaisesWithMajority), 2),
    bug("upgrade", Mutant::Kv(Kv::WritesBeforeRaise), 2),
    bug("upgrade", Mutant::Kv(Kv::SkipsUnknownCommands), 4),
    bug("client", Mutant::Kv(Kv::RetriesUnderNewNumber), 1),
    bug("client", Mutant::Kv(Kv::TakesUnknownForNotApplied), 4),
    bug("client", Mutant::Kv(Kv::ReadsFromAnyNode), 2),
];

const fn bug(part: &'static str, mutant: Mutant, hint: u64) -> KnownBug {
    KnownBug { part, mutant, hint }
}

impl KnownBug {
    /// Its name, of which there is one only.
    #[must_use]
    pub fn name(&self) -> String {
        match self.mutant {
            Mutant::Core(mutant) => format!("{mutant:?}"),
            Mutant::Log(mutant) => format!("{mutant:?}"),
            Mutant::Net(mutant) => format!("{mutant:?}"),
            Mutant::Kv(mutant) => format!("{mutant:?}"),
        }
    }

    /// From now on this bug shows in all nodes of this process, and no other. The core does not check itself meanwhile, so that it is
    /// for others to find it.
    pub fn activate(&self) {
        deactivate();
        raft_core::mutants::set_assertions(false);
        match self.mutant {
            Mutant::Core(mutant) => raft_core::mutants::activate(&[mutant]),
            Mutant::Log(mutant) => raft_log::mutants::activate(&[mutant]),
            Mutant::Net(mutant) => raft_net_tcp::mutants::activate(&[mutant]),
            Mutant::Kv(mutant) => crate::mutants::activate(&[mutant]),
        }
    }
}

/// No bug shows any more, and the core checks itself.
pub fn deactivate() {
    raft_core::mutants::activate(&[]);
    raft_core::mutants::set_assertions(true);
    raft_log::mutants::activate(&[]);
    raft_net_tcp::mutants::activate(&[]);
    crate::mutants::activate(&[]);
}
