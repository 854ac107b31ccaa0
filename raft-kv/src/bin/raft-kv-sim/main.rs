//! Runs simulations of whole clusters; `cargo xtask sim` builds and calls it.

use std::process::ExitCode;
use std::time::Instant;

use raft_kv::sim::{Mark, Marks, Setup, run_kv};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let first: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1);
    let count: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1);
    let begun = Instant::now();
    let mut marks = Marks::default();
    let mut failed = 0;
    for seed in first..first + count {
        let setup = Setup::draw(seed);
        let report = run_kv(&setup, false);
        marks.add(&report.marks);
        if count <= 20 {
            println!(
                "seed {seed}: nodes {} faults {} acked {} committed {} elections {} steps {} ended {:?} hash {:x}",
                setup.nodes,
                setup.faults,
                report.acknowledged,
                report.committed,
                report.elections,
                report.steps,
                report.ended,
                report.hash
            );
        }
        if let Some(violation) = report.violation {
            println!(
                "seed {seed} FAILED ({} nodes; {}): {violation}",
                setup.nodes, setup.faults
            );
            failed += 1;
            if count == 1 {
                for record in report.records.iter().rev().take(200).rev() {
                    println!(
                        "{:>10.6} {:?} {:.300}",
                        record.at.as_secs_f64(),
                        record.node,
                        format!("{:?}", record.what)
                    );
                }
            }
        }
    }
    println!(
        "{count} seeds, {failed} failed, {:.1} a second",
        count as f64 / begun.elapsed().as_secs_f64()
    );
    for mark in Mark::ALL {
        print!("{mark:?} {}  ", marks.count(mark));
    }
    println!();
    ExitCode::SUCCESS
}
