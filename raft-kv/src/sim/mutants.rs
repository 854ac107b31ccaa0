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
    /// What has to be wrong besides, for it to matter.
    pub besides: Option<Mutant>,
    /// Whether the core checks itself: mostly not, so that it is for the simulator to find it.
    pub assertions: bool,
    /// A seed that finds it, as long as nothing else changes; tried first.
    pub hint: u64,
}

/// All of them.
pub const KNOWN_BUGS: &[KnownBug] = &[
    bug("core", Mutant::Core(Core::VotesTwice), 1),
    bug("core", Mutant::Core(Core::VotesForShortLogs), 1),
    bug("core", Mutant::Core(Core::VotesBeforeDurable), 1),
    bug("core", Mutant::Core(Core::AcknowledgesBeforeDurable), 1),
    bug("core", Mutant::Core(Core::CountsItselfBeforeDurable), 1),
    bug("core", Mutant::Core(Core::HalfIsAMajority), 1),
    bug("core", Mutant::Core(Core::CutsWithoutConflict), 1),
    bug("core", Mutant::Core(Core::CommitsUnverified), 1),
    bug("core", Mutant::Core(Core::PreVoteRaisesTerms), 1),
    bug("core", Mutant::Core(Core::ReadsBeforeNoop), 1),
    bug("core", Mutant::Core(Core::ForgetsVotes), 1),
    bug("core", Mutant::Core(Core::CountsWhatWasSent), 1),
    bug("core", Mutant::Core(Core::CountsUnfinishedWrites), 1),
    bug("core", Mutant::Core(Core::AnswersReadsUnconfirmed), 1),
    bug("core", Mutant::Core(Core::AnswersReadsBeforeApplied), 1),
    bug("log", Mutant::Log(Log::SkipsMetadataSync), 1),
    bug("log", Mutant::Log(Log::SkipsDirectorySync), 1),
    bug("log", Mutant::Log(Log::SkipsSuperblockSync), 1),
    bug("log", Mutant::Log(Log::RetriesFailedSync), 1),
    bug("log", Mutant::Log(Log::AcceptsHalfBatches), 1),
    bug("log", Mutant::Log(Log::ReadsBehindDamage), 1),
    bug("log", Mutant::Log(Log::SkipsBodyChecksum), 1),
    bug("log", Mutant::Log(Log::IgnoresWatermarks), 1),
    bug("log", Mutant::Log(Log::ClaimsTooMuchDurable), 1),
    bug("log", Mutant::Log(Log::SkipsBoot), 1),
    bug("connections", Mutant::Net(Net::IgnoresSilence), 1),
    bug("connections", Mutant::Net(Net::DeliversDamaged), 1),
    bug("formation", Mutant::Kv(Kv::FoundsWithMajority), 1),
    bug("formation", Mutant::Kv(Kv::TakesWipedForFormer), 1),
    bug("formation", Mutant::Kv(Kv::AdmitsOtherClusters), 1),
    bug("replica", Mutant::Kv(Kv::SwapsTickets), 1),
    bug("replica", Mutant::Kv(Kv::AnswersNextApplied), 1),
    bug("replica", Mutant::Kv(Kv::AnswersReadsAnywhere), 1),
    bug("replica", Mutant::Kv(Kv::SaysNotAppliedWhenDeposed), 1),
    bug("store", Mutant::Kv(Kv::CountsEmptyDeletes), 1),
    bug("store", Mutant::Kv(Kv::SkipsValueConditions), 1),
    bug("store", Mutant::Kv(Kv::ReadsChance), 1),
    bug("store", Mutant::Kv(Kv::ForgetsCreateRevision), 1),
    bug("store", Mutant::Kv(Kv::ReturnsNewAsPrevious), 1),
    bug("store", Mutant::Kv(Kv::DeletesOnCondition), 1),
    bug("sessions", Mutant::Kv(Kv::AppliesRetries), 1),
    bug("sessions", Mutant::Kv(Kv::AnswersWithNextReply), 1),
    bug("sessions", Mutant::Kv(Kv::TrimsTooMuch), 1),
    bug("sessions", Mutant::Kv(Kv::DropsSessionsWithLeader), 1),
    bug("sessions", Mutant::Kv(Kv::MixesSessions), 1),
    bug("client", Mutant::Kv(Kv::RetriesUnderNewNumber), 1),
    bug("client", Mutant::Kv(Kv::TakesUnknownForNotApplied), 1),
    bug("client", Mutant::Kv(Kv::ReadsFromAnyNode), 1),
];

const fn bug(part: &'static str, mutant: Mutant, hint: u64) -> KnownBug {
    KnownBug {
        part,
        mutant,
        besides: None,
        assertions: false,
        hint,
    }
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

    /// From now on this bug shows in all nodes of this process, and no other.
    pub fn activate(&self) {
        let both = || [Some(self.mutant), self.besides].into_iter().flatten();
        let core: Vec<Core> = both().filter_map(Mutant::core).collect();
        let log: Vec<Log> = both().filter_map(Mutant::log).collect();
        let net: Vec<Net> = both().filter_map(Mutant::net).collect();
        let kv: Vec<Kv> = both().filter_map(Mutant::kv).collect();
        raft_core::mutants::activate(&core);
        raft_core::mutants::set_assertions(self.assertions);
        raft_log::mutants::activate(&log);
        raft_net_tcp::mutants::activate(&net);
        crate::mutants::activate(&kv);
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

impl Mutant {
    fn core(self) -> Option<Core> {
        match self {
            Self::Core(mutant) => Some(mutant),
            _ => None,
        }
    }

    fn log(self) -> Option<Log> {
        match self {
            Self::Log(mutant) => Some(mutant),
            _ => None,
        }
    }

    fn net(self) -> Option<Net> {
        match self {
            Self::Net(mutant) => Some(mutant),
            _ => None,
        }
    }

    fn kv(self) -> Option<Kv> {
        match self {
            Self::Kv(mutant) => Some(mutant),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_bug_has_a_name_of_its_own() {
        let names: BTreeSet<String> = KNOWN_BUGS.iter().map(KnownBug::name).collect();
        assert_eq!(names.len(), KNOWN_BUGS.len());
    }
}
