//! The reduced search against that of every state: nothing is left out, and nothing is made up.

use std::collections::HashSet;

use crate::explore::reach;
use crate::scenarios::Scenario;
use crate::world::{Reduced, State};

/// Whether the reduced search reaches just the representatives of what is reached without reductions. Those that are left out because
/// another state can do all that they can, and more, have to have that other one among them.
pub fn agree(scenario: &Scenario) -> bool {
    let (mut world, start) = scenario.world();
    world.reduced = Reduced::No;
    let every = reach(&mut world, start);
    world.reduced = Reduced::Yes;
    let reduced = reach(&mut world, start);
    let quotient: HashSet<State> = (every.iter())
        .map(|state| world.representative(*state))
        .collect();
    let made_up = reduced.difference(&quotient).count();
    let left_out: Vec<State> = quotient.difference(&reduced).copied().collect();
    let mut missed = 0;
    for state in &left_out {
        let better = world.with_fewer_repeats(state);
        missed += usize::from(!better.iter().any(|better| reduced.contains(better)));
    }
    println!("{}: {}", scenario.name, scenario.about);
    println!(
        "   {} states, {} representatives, {} visited; made up: {made_up}, missed: {missed}",
        every.len(),
        quotient.len(),
        reduced.len()
    );
    made_up == 0 && missed == 0
}
