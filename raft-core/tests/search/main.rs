//! wip
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]
mod describe;
mod explore;
mod node;
mod safety;
mod scenarios;
mod tables;
mod world;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let n = |i: usize| args[i].parse::<usize>().unwrap();
    let s = if args[0] == "joint" {
        scenarios::joint(n(1) as u64, n(2), n(3) as u8)
    } else {
        let mut s = scenarios::all_faults(n(1) as u64, n(2), n(3));
        s.bounds.crashes = n(4) as u8;
        s.bounds.repeats = n(5) as u8;
        s.bounds.heartbeats = args.get(7).is_some();
        s
    };
    let (mut world, start) = s.world();
    let r = explore::explore(&mut world, start, n(6), true);
    println!(
        "{} {} states {} transitions depth {} {:?} complete {} sizes {:?}",
        s.name,
        r.states,
        r.transitions,
        r.depth,
        r.took,
        r.complete,
        world.sizes()
    );
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmHWM"))
            .unwrap()
    );
    if let Some(b) = r.broken {
        for l in b.path {
            println!("  {l}");
        }
        println!("{}", b.why);
    }
}
