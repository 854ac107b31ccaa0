//! Making a failing run small: shorter, with fewer classes of faults, fewer nodes and clients, and at last with fewer faults, as long
//! as the same invariant is violated.

use std::time::Duration;

use super::faults::Occurrence;
use super::run::Report;
use super::setup::Setup;

/// Shrinks a run that violates something, trying at most so many others; what is left, and how it went.
pub fn shrink(failed: Report, runs_max: usize, run: impl Fn(&Setup) -> Report) -> Report {
    let Some(violation) = &failed.violation else {
        return failed;
    };
    let mut shrinker = Shrinker {
        invariant: violation.invariant,
        left: runs_max,
        best: failed,
        run,
    };
    shrinker.horizon();
    shrinker.classes();
    shrinker.counts();
    shrinker.schedule();
    shrinker.horizon();
    shrinker.best
}

struct Shrinker<R> {
    invariant: &'static str,
    left: usize,
    best: Report,
    run: R,
}

impl<R: Fn(&Setup) -> Report> Shrinker<R> {
    /// Whether a smaller run fails in the same way; then it is the best so far.
    fn try_out(&mut self, setup: &Setup) -> bool {
        if self.left == 0 || *setup == self.best.setup {
            return false;
        }
        self.left -= 1;
        let report = (self.run)(setup);
        let same = report
            .violation
            .as_ref()
            .is_some_and(|violation| violation.invariant == self.invariant);
        if same {
            self.best = report;
        }
        same
    }

    fn with(&self, change: impl FnOnce(&mut Setup)) -> Setup {
        let mut setup = self.best.setup.clone();
        change(&mut setup);
        setup
    }

    /// Ends the faults right before the failure; and if it comes in the calm, as early as it still does.
    fn horizon(&mut self) {
        let ended = self.best.ended;
        if ended < self.best.setup.horizon {
            let setup = self.with(|setup| setup.horizon = ended + Duration::from_micros(1));
            self.try_out(&setup);
            return;
        }
        let mut step = self.best.setup.horizon / 2;
        while step > Duration::from_millis(100) {
            let setup = self.with(|setup| setup.horizon -= step);
            if !self.try_out(&setup) {
                step /= 2;
            }
            step = step.min(self.best.setup.horizon / 2);
        }
    }

    fn classes(&mut self) {
        for fault in self.best.setup.faults.iter() {
            let setup = self.with(|setup| setup.faults = setup.faults.without(fault));
            self.try_out(&setup);
        }
    }

    fn counts(&mut self) {
        for nodes in 1..self.best.setup.nodes {
            let setup = self.with(|setup| setup.nodes = nodes);
            if self.try_out(&setup) {
                break;
            }
        }
        for clients in 1..self.best.setup.clients {
            let setup = self.with(|setup| setup.clients = clients);
            if self.try_out(&setup) {
                break;
            }
        }
    }

    /// Leaves out faults, in halves, quarters and so on (Zeller and Hildebrandt 2002).
    fn schedule(&mut self) {
        let mut all: Vec<Occurrence> = self.best.occurrences.clone();
        let mut parts = 2;
        while !all.is_empty() && self.left > 0 {
            let size = all.len().div_ceil(parts);
            let mut begin = 0;
            let mut smaller = false;
            while begin < all.len() {
                let end = (begin + size).min(all.len());
                let rest: Vec<_> = all[..begin].iter().chain(&all[end..]).copied().collect();
                let setup = self.with(|setup| setup.only = Some(rest.clone()));
                if self.try_out(&setup) {
                    all = rest;
                    smaller = true;
                } else {
                    begin = end;
                }
            }
            if !smaller && size == 1 {
                return;
            }
            parts = if smaller {
                parts.max(2)
            } else {
                (parts * 2).min(all.len().max(1))
            };
        }
    }
}
