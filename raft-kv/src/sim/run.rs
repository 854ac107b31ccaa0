//! A run: faults until the horizon, then calm, in which all must be well soon; and what came of it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::agenda::Time;
use super::app::{App, Judgement};
use super::check::Violation;
use super::faults::{Fault, Occurrence};
use super::marks::Marks;
use super::net::Place;
use super::setup::Setup;
use super::trace::Record;
use super::world::{Checked, World};

/// A run with fewer acknowledged operations proves little.
const ENOUGH: u64 = 200;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run.
    pub setup: Setup,
    /// What does not hold, if something does not.
    pub violation: Option<Violation>,
    /// What could not be judged, if something could not.
    pub inconclusive: Option<String>,
    /// Of every record of the trace: the same setup gives the same.
    pub hash: u64,
    /// How many records there were.
    pub steps: u64,
    /// When it ended.
    pub ended: Time,
    /// How many of the clients' operations were acknowledged.
    pub acknowledged: u64,
    /// How many operations, of all, ran at the same time as another on the same key.
    pub concurrent: u64,
    /// How many entries were committed.
    pub committed: u64,
    /// How many terms had a leader.
    pub elections: usize,
    /// What it reached.
    pub marks: Marks,
    /// The faults that came.
    pub occurrences: Vec<Occurrence>,
    /// The last records; all, if the trace was to be kept whole.
    pub records: Vec<Record>,
}

impl Report {
    /// Whether it did too little to prove anything: under a minute, or under 200 operations.
    #[must_use]
    pub fn is_vacuous(&self) -> bool {
        self.ended < Duration::from_secs(60) || self.acknowledged < ENOUGH
    }
}

/// Runs an application.
pub(super) fn run<A: App>(setup: &Setup, app: A, whole_trace: bool) -> Report {
    let mut world = World::new(setup.clone(), app, whole_trace);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live()));
    let mut inconclusive = None;
    let violation = match outcome {
        Ok(Ok(Judgement::Good)) => None,
        Ok(Ok(Judgement::Inconclusive(what))) => {
            inconclusive = Some(what);
            None
        }
        Ok(Ok(Judgement::Bad(what))) => Some(Violation {
            invariant: "I14 linearizability",
            what,
        }),
        Ok(Err(violation)) => Some(violation),
        Err(panic) => Some(Violation {
            invariant: "nothing panics",
            what: said(panic.as_ref()),
        }),
    };
    Report {
        setup: setup.clone(),
        violation,
        inconclusive,
        hash: world.trace.hash(),
        steps: world.trace.steps(),
        ended: world.now(),
        acknowledged: world.app.acknowledged(),
        concurrent: world.app.concurrent(),
        committed: world.checks.committed(),
        elections: world.checks.elections(),
        marks: world.marks.clone(),
        occurrences: std::mem::take(&mut world.occurrences),
        records: world.trace.take(),
    }
}

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic prints nothing: a run that panics says so in its report, with the place. For programs that do nothing but simulate.
pub fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        PLACE.with(|kept| *kept.borrow_mut() = place.unwrap_or_default());
    }));
}

fn said(panic: &(dyn Any + Send)) -> String {
    let place = PLACE.with(RefCell::take);
    let what = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    if place.is_empty() {
        what
    } else {
        format!("{what} ({place})")
    }
}

impl<A: App> World<A> {
    /// The whole run.
    fn live(&mut self) -> Checked<Judgement> {
        let horizon = self.setup.horizon;
        self.run_until(horizon)?;
        self.calm()?;
        Ok(self.app.judge(&mut self.marks))
    }

    /// Liveness (L1 to L5): a majority is mended, and the rest is mended with it, or gone for good. Then there is one leader, it
    /// stays, it serves, and all come to be equal without anyone asking for anything.
    fn calm(&mut self) -> Checked {
        let (good, core) = self.mend_some()?;
        let timeout = self.setup.tuning.election_timeout;
        self.wait_for(
            timeout * 20 + Duration::from_secs(5),
            "L1 a leader comes",
            |world| world.leader(&core).is_some(),
        )?;
        // One that led before may be deposed yet, for what it did not hear then.
        let settled = self.now() + timeout * 4;
        self.run_until(settled)?;
        self.wait_for(timeout * 20, "L1 a leader comes", |world| {
            world.leader(&core).is_some()
        })?;
        let elections = self.checks.elections();
        let acknowledged = self.app.acknowledged();
        self.wait_for(timeout * 20, "L2 writes and reads are served", |world| {
            world.app.acknowledged() >= acknowledged + 10
        })?;
        // After faults that left time for little, enough to judge is asked for now.
        self.wait_for(
            Duration::from_secs(120),
            "L2 writes and reads are served",
            |world| world.app.acknowledged() >= ENOUGH,
        )?;
        self.app.rest(true);
        self.wait_for(
            Duration::from_secs(20),
            "I19 every operation ends",
            |world| world.app.open() == 0,
        )?;
        // A follower that could not take a snapshot before is left alone for up to eight timeouts.
        self.wait_for(timeout * 20, "L3 all become equal", |world| {
            world.are_equal(&core)
        })?;
        // The operator's last wish may be carried out only now, and move the lead.
        let elections = if self.setup.faults.has(Fault::Membership) {
            self.checks.elections()
        } else {
            elections
        };
        let end = self.now() + timeout * 30;
        self.run_until(end)?;
        let since = self.checks.elections() - elections;
        if since > 0 {
            return Err(Violation {
                invariant: "L1 a leader stays",
                what: format!("{since} elections in calm"),
            });
        }
        // Those that were cut off come back.
        for &host in good.iter().filter(|host| !core.contains(host)) {
            self.hosts[host].given_up = false;
            self.start(host)?;
        }
        self.wait_for(
            timeout * 20,
            "L4 those that come back become equal too",
            |world| world.are_equal(&good),
        )?;
        self.wait_for(timeout * 20, "L5 who is to be promoted votes", |world| {
            world.nobody_waits_for_a_vote(&good)
        })?;
        self.wait_for(timeout * 20, "L6 the version is raised", |world| {
            world.is_raised(&good)
        })
    }

    /// Ends the faults: those that have their data, and of these those that go on; the others are cut off.
    fn mend_some(&mut self) -> Checked<(Vec<usize>, Vec<usize>)> {
        self.mend();
        self.upgrade_all();
        let changes = self.setup.faults.has(Fault::Membership);
        // Without an operator, spare nodes never belong to the cluster.
        let belong = if changes {
            self.hosts.len()
        } else {
            self.setup.nodes
        };
        let good: Vec<usize> = (0..belong)
            .filter(|&host| !self.hosts[host].wiped && !self.hosts[host].damaged)
            .collect();
        let majority = belong / 2 + 1;
        let rng = &mut self.chance.nodes;
        // Who is a majority is not known while the membership may be about to change.
        let with_all = rng.bool() || changes;
        let mut core = good.clone();
        while !with_all && core.len() > majority {
            let out = rng.usize(0..core.len());
            core.remove(out);
        }
        for host in (0..belong).filter(|host| !core.contains(host)) {
            self.hosts[host].on = false;
            self.end_process(host, "cut off for good");
            self.hosts[host].given_up = true;
            self.power_cycle(host);
        }
        for &host in &core {
            self.start(host)?;
        }
        // No one waits for what was cut off.
        self.unstick();
        Ok((good, core))
    }

    /// Runs until something is so.
    fn wait_for(
        &mut self,
        patience: Duration,
        invariant: &'static str,
        is_so: impl Fn(&Self) -> bool,
    ) -> Checked {
        let end = self.now() + patience;
        while !is_so(self) {
            if self.now() >= end {
                return Err(Violation {
                    invariant,
                    what: format!("not within {patience:?}: {}", self.standing()),
                });
            }
            let next = self.now() + Duration::from_millis(20);
            self.run_until(next)?;
        }
        Ok(())
    }

    fn leader(&self, core: &[usize]) -> Option<usize> {
        let leads = |host: &&usize| {
            let process = self.hosts[**host].process.as_ref();
            process.is_some_and(super::process::Process::leads)
        };
        core.iter().find(leads).copied()
    }

    /// All have applied all that there is.
    fn are_equal(&self, hosts: &[usize]) -> bool {
        let committed = self.checks.committed();
        let members = self
            .leader(hosts)
            .and_then(|leader| self.hosts[leader].process.as_ref()?.replica.raft())
            .map(raft_core::Raft::membership);
        let Some(members) = members else { return false };
        let belongs = |host: &&usize| {
            let member = self.hosts[**host].member;
            member.is_some_and(|member| members.contains(member))
        };
        hosts.iter().filter(belongs).all(|&host| {
            let process = self.hosts[host].process.as_ref();
            process.is_some_and(|process| {
                let raft = process.replica.raft();
                process.replica.view().applied.0 == committed
                    && raft.is_some_and(|raft| {
                        raft.last().index.0 == committed && !raft.membership().is_joint()
                    })
            })
        })
    }

    /// Whether no member that is there in its incarnation is still to be promoted.
    fn nobody_waits_for_a_vote(&self, hosts: &[usize]) -> bool {
        let leader = self.leader(hosts);
        let process = leader.and_then(|leader| self.hosts[leader].process.as_ref());
        let raft = process.and_then(|process| process.replica.raft());
        raft.is_some_and(|raft| {
            hosts.iter().all(|&host| {
                let here = self.hosts[host].member;
                here.is_none_or(|here| {
                    let known = raft.membership().member(here.node);
                    known
                        .is_none_or(|known| known.incarnation != here.incarnation || !known.promote)
                })
            })
        })
    }

    /// How all nodes stand, for a report.
    fn standing(&self) -> String {
        let nodes = (0..self.hosts.len()).map(|host| {
            let machine = &self.hosts[host];
            let state = match (&machine.process, machine.given_up) {
                (Some(process), _) => {
                    let view = process.replica.view();
                    format!(
                        "{:?} term {} applied {}",
                        view.role, view.term, view.applied
                    )
                }
                (None, true) => "gone".into(),
                (None, false) => "down".into(),
            };
            format!("node {} {state}", host + 1)
        });
        let open = self.app.open();
        let links = self.net.of(Place::Host(0)).len();
        let nodes: Vec<_> = nodes.collect();
        let members = (0..self.hosts.len())
            .find_map(|host| {
                let process = self.hosts[host].process.as_ref();
                let raft = process.filter(|process| process.leads())?.replica.raft()?;
                Some(format!("the leader's membership: {:?}", raft.membership()))
            })
            .unwrap_or_default();
        format!(
            "{}; {open} operations open, {links} connections at node 1; {members}",
            nodes.join(", ")
        )
    }
}
