//! How fast a snapshot is written and read on this disk: `cargo run --release -p raft-log --example snapshot_rate -- DIR [MIB]`.
//!
//! The read comes from the page cache, so it is the speed of the checksum and the copies.

use std::error::Error;
use std::io::{Read, Write};
use std::time::Instant;

use raft_log::{Log, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("which directory?")?;
    let mib: u64 = arguments.next().as_deref().unwrap_or("1024").parse()?;
    let (log, _) = Log::open(&dir, Options::new("snapshot rate"))?;
    let rate = |begun: Instant| mib as f64 / begun.elapsed().as_secs_f64();

    let piece: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let begun = Instant::now();
    let mut writer = log.snapshots().create(1, 1)?;
    for _ in 0..mib {
        writer.write_all(&piece)?;
    }
    let finished = writer.finish()?;
    println!("written and durable: {:.0} MiB/s", rate(begun));

    let begun = Instant::now();
    let mut reader = log.snapshots().open(&finished.id())?;
    let mut into = vec![0; 1 << 20];
    for _ in 0..mib {
        reader.read_exact(&mut into)?;
    }
    println!("read: {:.0} MiB/s", rate(begun));

    let begun = Instant::now();
    log.snapshots().open(&finished.id())?.verify()?;
    println!("verified: {:.0} MiB/s", rate(begun));
    Ok(())
}
