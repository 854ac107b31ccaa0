//! Nodes killed under load: every acknowledged write stays, none is applied twice, and writes go on.

use xtask::chaos::{kill_all, kill_leaders, lag_behind};
use xtask::random::Random;

use crate::harness::{T, started};

fn random() -> Random {
    let seed = Random::fresh_seed();
    println!("seed {seed}");
    Random::new(seed)
}

/// `cargo xtask chaos leader --release` does the same twenty times, and judges the gaps.
#[test]
fn leaders_killed_again_and_again() {
    let mut cluster = started(3);
    let (gaps, verdict) = kill_leaders(&mut cluster, 3, 4, &mut random()).unwrap();
    println!(
        "{verdict}; writes stood still: median {:?}, longest {:?}, T {T:?}",
        gaps.median(),
        gaps.longest()
    );
    assert!(verdict.acknowledged > 60, "{verdict:?}");
}

#[test]
fn all_nodes_killed_at_once() {
    let mut cluster = started(3);
    let verdict = kill_all(&mut cluster, 2, 4, &mut random()).unwrap();
    println!("{verdict}");
    assert!(verdict.acknowledged > 40, "{verdict:?}");
}

/// `cargo xtask chaos lag --release` does the same with 100,000 writes.
#[test]
fn a_node_that_was_down_catches_up() {
    let mut cluster = started(3);
    println!("{}", lag_behind(&mut cluster, 5_000, 2).unwrap());
}

/// A cluster of one has nobody to ask: only its own disk.
#[test]
fn a_single_node_killed_again_and_again() {
    let mut cluster = started(1);
    println!("{}", kill_all(&mut cluster, 2, 2, &mut random()).unwrap());
}
