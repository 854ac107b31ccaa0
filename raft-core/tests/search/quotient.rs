//! The reduced search against that of every state: nothing is left out.

use std::collections::HashSet;

use crate::explore::explore;
use crate::scenarios::Scenario;
use crate::world::{Reduced, State, World};

/// Whether the search in which only nodes are exchanged reaches just the representatives of what is reached otherwise; and whether all
/// that the safety properties look at in any state is looked at in the search with all reductions, too. What that makes up, if anything, comes of
/// answers that are heard at any time, as if there were room for one more message: it is told, and no fault.
pub fn agree(scenario: &Scenario) -> bool {
    let (mut world, start) = scenario.world();
    let start = world.reduce(Reduced::No, &start);
    let every = reach(&mut world, start);
    world.reduced = Reduced::Exchanged;
    let exchanged = reach(&mut world, start);
    let quotient: HashSet<State> = (every.iter())
        .map(|state| world.representative(*state))
        .collect();
    let same_states = quotient == exchanged;
    let seen = sights(&world, &every, true);
    let (mut world, start) = scenario.world();
    let reduced = reach(&mut world, start);
    let missed = seen.difference(&sights(&world, &reduced, true)).count();
    let made_up = sights(&world, &reduced, false).difference(&seen).count();
    println!("{}: {}", scenario.name, scenario.about);
    println!("   {}", crate::describe::bounds(&scenario.bounds));
    println!(
        "   {} states; {} with nodes exchanged: {}",
        every.len(),
        exchanged.len(),
        if same_states {
            "just their representatives"
        } else {
            "NOT THE REPRESENTATIVES"
        }
    );
    println!(
        "   {} with all reductions; {} sights, {missed} of them missed, {made_up} made up",
        reduced.len(),
        seen.len(),
    );
    same_states && missed == 0
}

/// Every state that is visited; none is broken.
fn reach(world: &mut World, start: State) -> HashSet<State> {
    let mut states = HashSet::new();
    let explored = explore(world, start, usize::MAX, &mut |state| {
        states.insert(state);
    });
    assert!(
        explored.complete,
        "{:?}",
        explored.broken.map(|broken| broken.why)
    );
    states
}

fn sights(world: &World, states: &HashSet<State>, stepped_down: bool) -> HashSet<u64> {
    let each = states.iter();
    each.flat_map(|state| world.sights(state, stepped_down))
        .collect()
}
