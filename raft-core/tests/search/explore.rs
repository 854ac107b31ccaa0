//! The search: breadth first, so that what it finds is found on a shortest path.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::describe;
use crate::tables::hash_of;
use crate::world::{Action, State, World};

/// What came of a search.
pub struct Explored {
    pub states: usize,
    pub transitions: u64,
    /// How many actions the longest of the shortest paths has.
    pub depth: usize,
    pub took: Duration,
    /// What was broken, and how.
    pub broken: Option<Broken>,
    /// Whether nothing was left to explore.
    pub complete: bool,
}

/// A property that does not hold, and a shortest way there.
pub struct Broken {
    pub why: String,
    pub path: Vec<String>,
}

/// States, each once, in the order in which they were found, and from which each was.
struct Seen {
    states: Vec<State>,
    from: Vec<u32>,
    /// An open hash table of places in `states`, plus one; 0 is free.
    slots: Vec<u32>,
}

impl Seen {
    fn new() -> Self {
        Self {
            states: Vec::new(),
            from: Vec::new(),
            slots: vec![0; 1 << 16],
        }
    }

    /// Whether the state is new.
    fn insert(&mut self, state: State, from: u32) -> bool {
        if self.states.len() * 3 > self.slots.len() * 2 {
            self.grow();
        }
        let slot = self.slot_of(&state);
        if self.slots[slot] != 0 {
            return false;
        }
        self.states.push(state);
        self.from.push(from);
        self.slots[slot] = u32::try_from(self.states.len()).expect("fewer than 2^32 states");
        true
    }

    /// Where the state stands, or would.
    fn slot_of(&self, state: &State) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash_of(state) as usize & mask;
        while self.slots[slot] != 0 && self.states[self.slots[slot] as usize - 1] != *state {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 2];
        for at in 0..self.states.len() {
            let slot = self.slot_of(&self.states[at]);
            self.slots[slot] = at as u32 + 1;
        }
    }
}

/// Visits every state that can be reached from `start`, at most `states_max`, until something is broken.
pub fn explore(world: &mut World, start: State, states_max: usize) -> Explored {
    let begun = Instant::now();
    let mut seen = Seen::new();
    seen.insert(start, 0);
    let (mut next, mut transitions, mut depth, mut level_end) = (0, 0, 0, 1);
    let mut told = 0;
    let mut broken = world.check(&start).err().map(|why| (why, 0, None));
    while broken.is_none() && next < seen.states.len() && seen.states.len() < states_max {
        if next == level_end {
            (depth, level_end) = (depth + 1, seen.states.len());
            if seen.states.len() > told + 5_000_000 {
                told = seen.states.len();
                println!(
                    "   depth {depth}: {} states, {} s",
                    seen.states.len(),
                    begun.elapsed().as_secs()
                );
            }
        }
        let state = seen.states[next];
        for action in world.actions(&state) {
            let Some(outcome) = world.act(&state, action) else {
                continue;
            };
            transitions += 1;
            let checked = outcome.and_then(|after| {
                if seen.insert(after, next as u32) {
                    world.check(&after)
                } else {
                    Ok(())
                }
            });
            if let Err(why) = checked {
                broken = Some((why, next as u32, Some(action)));
                break;
            }
        }
        next += 1;
    }
    Explored {
        states: seen.states.len(),
        transitions,
        depth,
        took: begun.elapsed(),
        complete: broken.is_none() && next == seen.states.len(),
        broken: broken.map(|(why, at, last)| Broken {
            why,
            path: path(world, &seen, at, last),
        }),
    }
}

/// Every state that can be reached from `start`.
pub fn reach(world: &mut World, start: State) -> HashSet<State> {
    let start = world.representative(start);
    let (mut seen, mut waiting) = (HashSet::from([start]), vec![start]);
    while let Some(state) = waiting.pop() {
        for action in world.actions(&state) {
            let after = world.act(&state, action);
            if let Some(after) = after.map(|after| after.expect("nothing is broken"))
                && seen.insert(after)
            {
                waiting.push(after);
            }
        }
    }
    seen
}

/// The actions from the start to the state `at`, and `last`.
fn path(world: &mut World, seen: &Seen, at: u32, last: Option<Action>) -> Vec<String> {
    let mut way = vec![at];
    while let Some(&at) = way.last().filter(|&&at| at != 0) {
        way.push(seen.from[at as usize]);
    }
    way.reverse();
    let mut lines = Vec::new();
    for pair in way.windows(2) {
        let (before, after) = (seen.states[pair[0] as usize], seen.states[pair[1] as usize]);
        let mut actions = world.actions(&before).into_iter();
        let action = actions.find(|&action| world.act(&before, action) == Some(Ok(after)));
        lines.push(describe::action(
            world,
            &before,
            action.expect("it was found by one"),
        ));
        lines.push(describe::state(world, &after));
    }
    let before = seen.states[at as usize];
    lines.extend(last.map(|action| describe::action(world, &before, action)));
    lines
}
