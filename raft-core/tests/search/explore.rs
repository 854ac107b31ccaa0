//! The search: first without faults, then with one, then with more, each breadth first, so that what it finds is found on a short path.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::describe;
use crate::world::{Action, State, World};

/// What came of a search.
pub struct Explored {
    pub states: usize,
    pub transitions: u64,
    /// How many actions the longest of the paths has.
    pub depth: u32,
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

/// States, each once, in the order in which they were found, and from which each was. Of each only a fingerprint is kept: that two of n
/// states share one, and the second is not visited, has odds of n² in 2^65.
struct Seen {
    prints: Vec<u64>,
    from: Vec<u32>,
    /// An open hash table of all fingerprints; 0 is free.
    table: Vec<u64>,
}

impl Seen {
    fn new() -> Self {
        Self {
            prints: Vec::new(),
            from: Vec::new(),
            table: vec![0; 1 << 16],
        }
    }

    fn len(&self) -> usize {
        self.prints.len()
    }

    fn contains(&self, state: &State) -> bool {
        let print = state.fingerprint();
        self.table[self.place(print)] == print
    }

    /// Adds a state that is new. Its number.
    fn insert(&mut self, state: &State, from: u32) -> u32 {
        if self.len() * 5 > self.table.len() * 4 {
            self.grow();
        }
        let print = state.fingerprint();
        let place = self.place(print);
        self.table[place] = print;
        self.prints.push(print);
        self.from.push(from);
        u32::try_from(self.len() - 1).expect("fewer than 2^32 states")
    }

    /// Where this fingerprint stands, or would.
    fn place(&self, print: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut place = print as usize & mask;
        while self.table[place] != 0 && self.table[place] != print {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 2];
        for at in 0..self.len() {
            let print = self.prints[at];
            let place = self.place(print);
            self.table[place] = print;
        }
    }
}

/// Visits every state that can be reached from `start`, at most `states_max`, until something is broken.
pub fn explore(
    world: &mut World,
    start: State,
    states_max: usize,
    visit: &mut dyn FnMut(State),
) -> Explored {
    let begun = Instant::now();
    let mut seen = Seen::new();
    seen.insert(&start, 0);
    visit(start);
    // Those that were found, and not yet looked at, by how many crashes and repeated messages it took: the fewer, the sooner.
    let mut waiting = vec![VecDeque::from([(start, 0, 0_u32)])];
    let (mut transitions, mut depth) = (0, 0);
    let mut looked_at = 0_usize;
    let mut told = Instant::now();
    let mut broken = world.check(&start).err().map(|why| (why, 0, None));
    while broken.is_none()
        && seen.len() < states_max
        && let Some((state, at, steps)) = waiting.iter_mut().find_map(VecDeque::pop_front)
    {
        depth = depth.max(steps);
        looked_at += 1;
        if looked_at.is_multiple_of(1024) && told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            let left: Vec<usize> = waiting.iter().map(VecDeque::len).collect();
            println!(
                "   {} states, of them to be looked at: {left:?}, {} s",
                seen.len(),
                begun.elapsed().as_secs()
            );
        }
        for action in world.actions(&state) {
            let Some(outcome) = world.act(&state, action) else {
                continue;
            };
            let checked = outcome.and_then(|after| {
                for state in after {
                    transitions += 1;
                    // What took fewer crashes and repetitions can do all that this can.
                    if seen.contains(&state)
                        || world
                            .with_fewer_uses(&state)
                            .any(|fewer| seen.contains(&fewer))
                    {
                        continue;
                    }
                    let number = seen.insert(&state, at);
                    visit(state);
                    let uses = world.uses(&state);
                    while waiting.len() <= uses {
                        waiting.push(VecDeque::new());
                    }
                    waiting[uses].push_back((state, number, steps + 1));
                    world.check(&state)?;
                }
                Ok(())
            });
            if let Err(why) = checked {
                broken = Some((why, at, Some(action)));
                break;
            }
        }
    }
    Explored {
        states: seen.len(),
        transitions,
        depth,
        took: begun.elapsed(),
        complete: broken.is_none() && waiting.iter().all(VecDeque::is_empty),
        broken: broken.map(|(why, at, last)| Broken {
            why,
            path: path(world, start, &seen, at, last),
        }),
    }
}

/// The actions from the start to the state `at`, and `last`.
fn path(
    world: &mut World,
    start: State,
    seen: &Seen,
    at: u32,
    last: Option<Action>,
) -> Vec<String> {
    let mut way = vec![at];
    while let Some(&at) = way.last().filter(|&&at| at != 0) {
        way.push(seen.from[at as usize]);
    }
    let (mut before, mut lines) = (start, Vec::new());
    for &at in way.iter().rev().skip(1) {
        let print = seen.prints[at as usize];
        let (action, after) = step_to(world, &before, print).expect("it was found by one");
        lines.push(describe::action(world, &before, action));
        lines.push(describe::state(world, &after));
        before = after;
    }
    lines.extend(last.map(|action| describe::action(world, &before, action)));
    lines
}

/// What leads from a state to the one with this fingerprint.
fn step_to(world: &mut World, before: &State, print: u64) -> Option<(Action, State)> {
    for action in world.actions(before) {
        let after = world.act(before, action);
        let found = after
            .and_then(|after| (after.ok()?.into_iter()).find(|state| state.fingerprint() == print));
        if let Some(after) = found {
            return Some((action, after));
        }
    }
    None
}
