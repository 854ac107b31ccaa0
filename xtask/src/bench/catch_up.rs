//! `cargo xtask bench catch-up`: a node is added to a large store by snapshot while clients write. Every round measures the writes with nothing
//! else going on, and then beside the transfer, so that what else the machine does falls on both.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde_json::Value;

use crate::cargo::{Binaries, workspace_root};
use crate::local::{Client, Echo, LocalCluster, Settings, free_ports, wait_for};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(5);
const MIB: u64 = 1 << 20;
const VALUE_BYTES: u64 = 64 << 10;
const FILLERS: u64 = 4;
const CATCH_UP_WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Args)]
pub(super) struct CatchUpArguments {
    /// How large the store is, in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    mib: u64,
    /// How often a node is added; medians are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many clients write, each one value after the other
    #[arg(long, default_value_t = 4)]
    clients: u32,
    /// How long one measurement takes, in seconds; beside a transfer there are as many as it lasts
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// 32 MiB and one round: to see that it works
    #[arg(long)]
    quick: bool,
}

/// One measurement of the writes.
#[derive(Clone, Copy, Debug)]
struct Writes {
    ops_per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

/// What one round found.
struct Round {
    alone: Vec<Writes>,
    beside: Vec<Writes>,
    took: Duration,
    memory_before: u64,
    memory_peak: u64,
    elections: u64,
}

pub(super) fn run(arguments: &CatchUpArguments) -> Result<()> {
    let (mib, rounds) = match arguments.quick {
        true => (32, 1),
        false => (arguments.mib, arguments.rounds),
    };
    let folder = tempfile::tempdir_in(workspace_root().join("target"))?;
    let mut cluster = LocalCluster::new(Settings {
        binaries: Binaries::build(true)?,
        data_dir: folder.path().to_path_buf(),
        nodes: 3,
        ports: free_ports(4)?,
        serve_arguments: Vec::new(),
        forwarded: false,
        echo: Echo::Off,
    })?;
    cluster.start_all()?;
    cluster.wait_ready(READY_WITHIN)?;
    let begun = Instant::now();
    fill(&cluster.client(), mib * MIB)?;
    eprintln!("{mib} MiB were written in {:.1?}", begun.elapsed());
    let mut all = Vec::new();
    for nth in 1..=rounds {
        let round = round(&mut cluster, arguments)?;
        eprintln!("round {nth} of {rounds}: caught up in {:.1?}", round.took);
        all.push(round);
    }
    cluster.stop_all(STOP_WITHIN, || false)?;
    print(mib, &all)
}

/// Puts so many bytes into the store.
fn fill(client: &Client, bytes: u64) -> Result<()> {
    let value = "v".repeat(VALUE_BYTES as usize);
    let fill_part = |nth: u64| -> Result<()> {
        let mut shell = client.with_timeout(READY_WITHIN).shell()?;
        for key in (nth..bytes / VALUE_BYTES).step_by(FILLERS as usize) {
            let answer = shell.ask(&format!("put large-{key} {value}"))?;
            ensure!(answer.get("revision").is_some(), "{answer}");
        }
        Ok(())
    };
    thread::scope(|scope| {
        let fill_part = &fill_part;
        let parts: Vec<_> = (0..FILLERS)
            .map(|nth| scope.spawn(move || fill_part(nth)))
            .collect();
        parts
            .into_iter()
            .try_for_each(|part| part.join().map_err(|_| anyhow!("a writer panicked"))?)
    })
}

/// Measures the writes alone, then beside a node that is added; the node goes again.
fn round(cluster: &mut LocalCluster, arguments: &CatchUpArguments) -> Result<Round> {
    let client = cluster.client().with_timeout(READY_WITHIN);
    let leader = client.leader()?;
    let pid = cluster.node(leader)?.pid().context("the leader is down")?;
    let term = highest_term(&client)?;
    let mut alone = Vec::new();
    for _ in 0..3 {
        alone.push(writes(&client, arguments)?);
    }
    let memory_before = memory_bytes(pid)?;
    let id = cluster.add()?;
    let address = cluster.endpoint(id);
    let (ended, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let (took, beside) = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                peak.fetch_max(memory_bytes(pid).unwrap_or(0), Ordering::Relaxed);
                thread::sleep(LOOK_EVERY);
            }
        });
        let measuring = scope.spawn(|| {
            let mut beside = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                beside.push(writes(&client, arguments)?);
            }
            Ok::<_, anyhow::Error>(beside)
        });
        let caught_up = catch_up(&client, id, &address);
        let took = began.elapsed();
        ended.store(true, Ordering::Relaxed);
        let beside = measuring.join().map_err(|_| anyhow!("a client panicked"))?;
        caught_up?;
        Ok::<_, anyhow::Error>((took, beside?))
    })?;
    let elections = highest_term(&client)? - term;
    client
        .run(&["member", "remove", &id.to_string()])?
        .success()?;
    cluster.remove(id)?;
    fs::remove_dir_all(cluster.data_dir(id).with_extension("removed"))?;
    Ok(Round {
        alone,
        beside,
        took,
        memory_before,
        memory_peak: peak.into_inner(),
        elections,
    })
}

/// Has the node taken in, and waits until it lacks no more than what is under way.
fn catch_up(client: &Client, id: u8, address: &str) -> Result<()> {
    wait_for("the node to be taken in", CATCH_UP_WITHIN, || {
        client
            .run(&["member", "add", &id.to_string(), address])?
            .success()
    })?;
    wait_for("it to have caught up", CATCH_UP_WITHIN, || {
        let members = client.members()?;
        let row = members
            .iter()
            .find(|row| row.get("id").and_then(Value::as_u64) == Some(u64::from(id)))
            .context("no row")?;
        let lag = row.get("lag").and_then(Value::as_u64);
        let first = row.get("first").and_then(Value::as_u64);
        ensure!(
            lag.is_some_and(|lag| lag < 1000) && first > Some(1),
            "{row}"
        );
        Ok(())
    })
}

fn writes(client: &Client, arguments: &CatchUpArguments) -> Result<Writes> {
    let (clients, seconds) = (arguments.clients.to_string(), arguments.seconds.to_string());
    let report = client.json(&[
        "bench",
        "--op",
        "put",
        "--clients",
        &clients,
        "--seconds",
        &seconds,
        "--value-size",
        "256",
        "--warm-up",
        "0",
        "--keys",
        "100",
    ])?;
    let number = |key: &str| {
        let number = report.get(key).and_then(Value::as_f64);
        number.with_context(|| format!("no {key} in {report}"))
    };
    ensure!(
        number("wrong")? == 0.0 && number("errors")? == 0.0,
        "wrong answers or errors: {report}"
    );
    Ok(Writes {
        ops_per_second: number("ops_per_second")?,
        p50_us: number("p50_us")?,
        p99_us: number("p99_us")?,
    })
}

fn highest_term(client: &Client) -> Result<u64> {
    let members = client.members()?;
    let terms = members.iter().filter_map(|row| row.get("term")?.as_u64());
    terms.max().context("no member answers")
}

fn memory_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<u64>()? * 1024)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints the table, and fails when somebody was elected: a figure of a cluster that changed its leader says nothing of a transfer.
fn print(mib: u64, rounds: &[Round]) -> Result<()> {
    println!("| writes | ops/s | p50 µs | p99 µs |\n| --- | --- | --- | --- |");
    let all = |of: fn(&Round) -> &Vec<Writes>| rounds.iter().flat_map(of).copied().collect();
    let (alone, beside): (Vec<Writes>, Vec<Writes>) = (all(|r| &r.alone), all(|r| &r.beside));
    let of = |writes: &[Writes], number: fn(&Writes) -> f64| {
        median(writes.iter().map(number).collect::<Vec<f64>>())
    };
    for (name, writes) in [("alone", &alone), ("beside a transfer", &beside)] {
        println!(
            "| {name} ({} measurements) | {:.0} | {:.0} | {:.0} |",
            writes.len(),
            of(writes, |w| w.ops_per_second),
            of(writes, |w| w.p50_us),
            of(writes, |w| w.p99_us)
        );
    }
    println!(
        "| ratio | {:.2} | {:.2} | {:.2} |",
        of(&beside, |w| w.ops_per_second) / of(&alone, |w| w.ops_per_second),
        of(&beside, |w| w.p50_us) / of(&alone, |w| w.p50_us),
        of(&beside, |w| w.p99_us) / of(&alone, |w| w.p99_us)
    );
    let most = |of: fn(&Round) -> u64| rounds.iter().map(of).max().unwrap_or(0);
    let elections: u64 = rounds.iter().map(|round| round.elections).sum();
    println!(
        "\na store of {mib} MiB: caught up in {:.1} s (median of {}); the leader's memory {} MiB before, {} MiB at its peak; {elections} elections",
        median(
            rounds
                .iter()
                .map(|round| round.took.as_secs_f64())
                .collect()
        ),
        rounds.len(),
        most(|round| round.memory_before) / MIB,
        most(|round| round.memory_peak) / MIB,
    );
    ensure!(elections == 0, "somebody was elected");
    Ok(())
}
