//! Every state that a small cluster of the real core can get into, visited once, and the safety properties of Raft checked in each.
//!
//! ```text
//! cargo xtask search                   every bound that CI does not have the time for
//! cargo xtask search --bound combined  three terms, three messages, a crash and a repetition in one search
//! cargo xtask search --bound ci        smaller bounds, and the search compared with one that leaves nothing out
//! cargo xtask search --guards          known bugs, one at a time: the search has to find each
//! ```
//!
//! A state is that of three nodes (core, disk, jobs on their way to the disk), of the messages under way, and of what must not be
//! forgotten: who led, what was committed (`safety.rs`). From each, everything that may happen is tried (`world.rs`): a message
//! arrives, once or again, or is lost; the oldest job of a node becomes durable; a node crashes, any part of its jobs having reached
//! the disk, and starts again; an election timeout passes; a leader takes a proposal, or a change of the membership. What the core
//! does is the core's code and nothing else (`node.rs`); since it does the same on the same state, it is asked once, and looked up then
//! (`tables.rs`). The search is breadth first, so that a violation comes with a short way to it (`explore.rs`).
//!
//! # What is left out, and why that is allowed
//!
//! - **Time.** Nothing depends on when a timeout comes, so it may come at any time: a node is ticked until it campaigns. What it
//!   says as a leader until then is lost, as messages may be; so leaders step down (CheckQuorum) just then. A disk takes any time and
//!   never stalls. Heartbeats are sent only in the searches that need them.
//! - **Pre-votes.** They decide nothing: a node campaigns together with those that would support it, in one step, in which these have
//!   heard nothing for an election timeout either. One search has them as messages like any other.
//! - **A node that is down** is like one that nothing happens to. So a crash and the restart are one step.
//! - **Numbers.** Requests, jobs and boots are renamed in their order, and ages cut off where they decide nothing any more
//!   (`raft-core/src/canonical.rs`). An answer to a former life, term or campaign does nothing for ever, and is lost at once.
//! - **Copies.** Two copies of one message are one that arrives twice.
//! - **An append carries one entry**, one at a time is under way to a follower, and applying takes no time. Transfers and snapshots are
//!   not searched; the random clusters have them.
//!
//! # Which states are visited for others
//!
//! A state need not be visited when another is that can do all that it can, and of which the safety properties want no less.
//!
//! - **Which node is which** decides nothing where all vote and campaign: of the states that differ in it one is visited (`alike.rs`,
//!   `raft-core/src/symmetry.rs`).
//! - **A loss is no event.** A message that never arrives stays on its way, until room is needed: then any are lost, in every way. A
//!   state with fewer messages can do nothing that the same one with more cannot.
//! - **What was used up.** A state is not visited if the same one was reached with fewer crashes or repetitions. So those that took fewest
//!   come first, and a way that is printed has the fewest faults, not steps.
//! - **Whom a follower has heard.** A voter that hears a leader lets requests for votes pass by, as if they were lost. So followers are
//!   always taken for ones that have heard nothing for an election timeout. A leader has heard nothing when a request for a vote
//!   deposes it, when it supports another, or when it has entries of its own under way to its disk, which then do not count any more.
//! - **Later terms.** An answer from a later term says nothing but that. So at any time a node may hear of any term that is on another's disk
//!   (`Action::Hear`), and messages that could do nothing else are lost at once; but before, the core is asked whether they do
//!   (`dead.rs`): one that did would be kept. This is a little more than can happen: the answer takes no room on its way.
//! - **Refused votes.** A candidate that is refused does nothing that one that waits does not. So refusals are lost.
//!
//! `quotient.rs` compares the search with one that visits every state, at bounds at which that takes seconds. `cargo xtask search --bound ci` does it.
//!
//! Only a fingerprint of 64 bits of each state is kept. Of n states, that any two have the same has odds of n² in 2^65: at 10^8, 1 in 3,700.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

mod describe;
mod explore;
#[cfg(raft_mutants)]
mod guards;
mod node;
mod quotient;
mod safety;
mod scenarios;
#[cfg(raft_mutants)]
mod staged;
mod tables;
mod world;

use std::process::ExitCode;

use explore::{Explored, explore};
use scenarios::Scenario;

/// More than memory is meant to hold (10 GiB): a bound that reaches it was chosen too large.
const STATES_MAX: usize = 300_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let good = match words.as_slice() {
        ["--bound", "combined"] => passes(&scenarios::combined()),
        ["--bound", "full"] => scenarios::full().iter().all(passes),
        ["--bound", "ci"] => {
            scenarios::ci().iter().all(passes) && scenarios::small().iter().all(quotient::agree)
        }
        #[cfg(raft_mutants)]
        ["--guards"] => every_guard_is_needed(),
        _ => {
            eprintln!(
                "usage: search --bound combined|full|ci, or, in a build with --cfg raft_mutants, --guards"
            );
            false
        }
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether nothing is broken anywhere, and nothing left to explore.
fn passes(scenario: &Scenario) -> bool {
    println!("{}: {}", scenario.name, scenario.about);
    println!("   {}", describe::bounds(&scenario.bounds));
    let explored = search(scenario);
    tell(&explored);
    explored.complete
}

fn search(scenario: &Scenario) -> Explored {
    let (mut world, start) = scenario.world();
    let explored = explore(&mut world, start, STATES_MAX, &mut |_| {});
    let [nodes, messages, histories] = world.sizes();
    println!("   made of {nodes} nodes, {messages} messages, {histories} histories");
    explored
}

fn tell(explored: &Explored) {
    println!(
        "   {} states, {} transitions, depth {}, {:.1} s, {} MiB at most",
        explored.states,
        explored.transitions,
        explored.depth,
        explored.took.as_secs_f64(),
        memory_mib()
    );
    match &explored.broken {
        Some(broken) => {
            println!("   BROKEN: {}", broken.why);
            broken.path.iter().for_each(|line| println!("   {line}"));
        }
        None if explored.complete => println!("   nothing left to explore, and nothing broken"),
        None => println!("   GIVEN UP: more states than there is room for"),
    }
}

/// The most memory that this process has had.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Whether each search passes with its guard and breaks something without it.
#[cfg(raft_mutants)]
fn every_guard_is_needed() -> bool {
    use raft_core::mutants;

    mutants::set_assertions(false);
    let mut good = true;
    for guard in &guards::GUARDS {
        let scenario = (guard.search)();
        mutants::activate(guard.besides);
        let with = search(&scenario);
        // The search begins in the same state, which was reached with the guard.
        let (mut world, start) = scenario.world();
        mutants::activate(&[guard.besides, &[guard.without]].concat());
        world.forget_steps();
        let without = explore(&mut world, start, STATES_MAX, &mut |_| {});
        println!("{:?}: {}", guard.without, scenario.about);
        println!(
            "   with the guard: {} states, {:.1} s{}",
            with.states,
            with.took.as_secs_f64(),
            if with.complete {
                ", nothing broken"
            } else {
                ""
            }
        );
        if !with.complete {
            tell(&with);
        }
        match &without.broken {
            Some(broken) => {
                println!(
                    "   without it: {} states, {:.1} s, broken: {}",
                    without.states,
                    without.took.as_secs_f64(),
                    broken.why
                );
                broken.path.iter().for_each(|line| println!("      {line}"));
            }
            None => println!(
                "   without it: {} states, and NOTHING FOUND",
                without.states
            ),
        }
        good &= with.complete && without.broken.is_some();
    }
    mutants::activate(&[]);
    println!(
        "{}",
        if good {
            "every guard is needed, and the search sees when one is missing"
        } else {
            "FAILED: see above"
        }
    );
    good
}
