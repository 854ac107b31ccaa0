//! bench: a closed loop of many clients over a few connections, every answer checked.
//!
//! What is checked: the revisions that a client's puts are answered with rise; a get finds a value that was written for
//! that key, whole, and by a write no older than the newest one that was acknowledged before the get began.

mod report;
mod value;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use raft_kv::api::KeyRange;
use raft_kv::client::{Client, Options, WriteError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::report::{Report, Tally};
use crate::args::{BenchArgs, BenchOp};
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

/// How many clients share a connection, unless the caller says otherwise, and how many connections that makes at most.
const CLIENTS_A_CONNECTION: u32 = 64;
const CONNECTIONS_MAX: u32 = 4;
/// After an error, so that a refusal does not make a busy loop.
const PAUSE: Duration = Duration::from_millis(10);
/// How many keys are written at once before a bench that reads them.
const PRELOAD_AT_ONCE: usize = 256;

/// How often the bar moves, and Ctrl-C is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What all clients of a run share.
struct Run {
    args: BenchArgs,
    prefix: String,
    /// By key, the highest revision at which a put of it was acknowledged.
    acknowledged: Vec<AtomicU64>,
    writes: AtomicU64,
    measuring: AtomicBool,
    stop: AtomicBool,
    interrupted: AtomicBool,
    answered: AtomicU64,
}

impl Run {
    fn key(&self, number: u64) -> Bytes {
        Bytes::from(format!("{}{number:08}", self.prefix))
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn acknowledged(&self, key: u64) -> Option<&AtomicU64> {
        self.acknowledged.get(usize::try_from(key).ok()?)
    }
}

pub(crate) async fn bench(context: &mut Context, args: BenchArgs) -> Outcome {
    let default = args
        .clients
        .div_ceil(CLIENTS_A_CONNECTION)
        .min(CONNECTIONS_MAX);
    let connections = args.connections.unwrap_or(default).clamp(1, args.clients);
    let options = Options {
        timeout: args.timeout.unwrap_or(context.timeout),
        ..Options::default()
    };
    let clients: Vec<Client> = (0..connections)
        .map(|_| Client::connect(context.endpoints.iter().cloned(), options.clone()))
        .collect::<Result<_, _>>()?;
    let Some(first) = clients.first() else {
        return Ok(());
    };

    let run_number = std::process::id()
        ^ (std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |t| t.subsec_nanos()));
    let run = Arc::new(Run {
        prefix: format!("bench/{run_number:08x}/"),
        acknowledged: (0..args.keys).map(|_| AtomicU64::new(0)).collect(),
        args,
        writes: AtomicU64::new(0),
        measuring: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        interrupted: AtomicBool::new(false),
        answered: AtomicU64::new(0),
    });
    let caught = context.interrupt.catch();
    let watched = run.clone();
    let watch = tokio::spawn(async move {
        caught.typed().await;
        watched.interrupted.store(true, Ordering::Relaxed);
    });
    let prepared = if run.args.op == BenchOp::Put {
        Ok(())
    } else {
        preload(first, &run).await
    };
    let measured = match prepared {
        Ok(()) => Ok(measure(&clients, &run).await),
        Err(error) => Err(error),
    };
    let cleaned = first
        .delete(KeyRange::Prefix(Bytes::from(run.prefix.clone())))
        .await;
    watch.abort();
    for client in &clients {
        client.timeout(Duration::from_millis(250)).close().await;
    }
    let (tally, elapsed) = measured?;

    let report = Report {
        args: &run.args,
        connections: clients.len(),
        elapsed,
        interrupted: run.interrupted(),
        tally,
    };
    if context.output.is_json() {
        context.output.json(&report.json())?;
    } else {
        context.output.raw(report.text().as_bytes())?;
    }
    if let Some(failure) = report.failure() {
        return Err(failure.answered());
    }
    cleaned.map(|_| ()).map_err(|error| {
        let message = format!(
            "the keys under {} could not be deleted: {error}",
            run.prefix
        );
        Failure::new(Exit::Other, message).answered()
    })
}

/// Writes every key once. When it returns, no write is under way any more that could come after the cleaning up.
async fn preload(client: &Client, run: &Arc<Run>) -> Result<(), WriteError> {
    let mut writes = JoinSet::new();
    let mut failed = None;
    for key in 0..u64::from(run.args.keys) {
        if writes.len() >= PRELOAD_AT_ONCE
            && let Some(Ok(Err(error))) = writes.join_next().await
        {
            failed = Some(error);
        }
        if failed.is_some() || run.interrupted() {
            break;
        }
        let (client, run) = (client.clone(), run.clone());
        writes.spawn(async move {
            let written = put(&client, &run, key).await?;
            if let Some(acknowledged) = run.acknowledged(key) {
                acknowledged.fetch_max(written, Ordering::SeqCst);
            }
            Ok(())
        });
    }
    while let Some(result) = writes.join_next().await {
        if let Ok(Err(error)) = result {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn put(client: &Client, run: &Run, key: u64) -> Result<u64, WriteError> {
    let write = run.writes.fetch_add(1, Ordering::Relaxed);
    let value = value::encode(key, write, run.args.value_size as usize);
    Ok(client.put(run.key(key), value).send().await?.revision)
}

async fn measure(clients: &[Client], run: &Arc<Run>) -> (Tally, Duration) {
    let mut loops = JoinSet::new();
    for (number, client) in (0..run.args.clients).zip(clients.iter().cycle()) {
        loops.spawn(client_loop(client.clone(), run.clone(), u64::from(number)));
    }
    let warm = Instant::now() + Duration::from_secs(run.args.warm_up);
    while !run.interrupted() && Instant::now() < warm {
        sleep(LOOK_EVERY.min(warm - Instant::now())).await;
    }
    run.measuring.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    show_progress(run, begun).await;
    run.measuring.store(false, Ordering::Relaxed);
    let elapsed = begun.elapsed();
    run.stop.store(true, Ordering::Relaxed);
    let mut tally = Tally::new();
    while let Some(finished) = loops.join_next().await {
        match finished {
            Ok(part) => tally.merge(part),
            Err(error) => tally.wrong(format!("a client ended: {error}")),
        }
    }
    (tally, elapsed)
}

/// Until the time is over, with a bar where somebody looks.
async fn show_progress(run: &Run, begun: Instant) {
    let until = begun + Duration::from_secs(run.args.seconds);
    let bar = if io::stderr().is_terminal() {
        ProgressBar::new(run.args.seconds * 10)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {msg}") {
        bar.set_style(style);
    }
    while !run.interrupted() && Instant::now() < until {
        sleep(LOOK_EVERY.min(until - Instant::now())).await;
        let elapsed = begun.elapsed();
        let rate = run.answered.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64().max(0.1);
        bar.set_position(u64::try_from(elapsed.as_millis() / 100).unwrap_or_default());
        bar.set_message(format!("{rate:.0} per second"));
    }
    bar.finish_and_clear();
}

/// One client: the next request when the last is answered.
async fn client_loop(client: Client, run: Arc<Run>, number: u64) -> Tally {
    let mut tally = Tally::new();
    // Each client goes through the keys in an order of its own.
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut last_revision = 0;
    while !run.stop.load(Ordering::Relaxed) {
        random = random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let key = (random >> 33) % u64::from(run.args.keys);
        let puts = match run.args.op {
            BenchOp::Put => true,
            BenchOp::Get => false,
            BenchOp::Mix => (random >> 20) & 1 == 0,
        };
        let counts_before = run.measuring.load(Ordering::Relaxed);
        let begun = Instant::now();
        let answered = if puts {
            put_and_check(&client, &run, key, &mut last_revision, &mut tally).await
        } else {
            get_and_check(&client, &run, key, &mut tally).await
        };
        if !answered {
            sleep(PAUSE).await;
        } else if counts_before && run.measuring.load(Ordering::Relaxed) {
            tally.record(begun.elapsed());
            run.answered.fetch_add(1, Ordering::Relaxed);
            if puts {
                tally.puts += 1;
            } else {
                tally.gets += 1;
            }
        }
    }
    tally
}

async fn put_and_check(
    client: &Client,
    run: &Run,
    key: u64,
    last_revision: &mut u64,
    tally: &mut Tally,
) -> bool {
    let revision = match put(client, run, key).await {
        Ok(revision) => revision,
        Err(error) => {
            tally.error(error.to_string(), error.maybe_applied());
            return false;
        }
    };
    if revision <= *last_revision {
        tally.wrong(format!(
            "a put was answered with revision {revision}, an earlier one with {last_revision}"
        ));
    }
    *last_revision = revision;
    if let Some(acknowledged) = run.acknowledged(key) {
        acknowledged.fetch_max(revision, Ordering::SeqCst);
    }
    true
}

async fn get_and_check(client: &Client, run: &Run, key: u64, tally: &mut Tally) -> bool {
    let at_least = run
        .acknowledged(key)
        .map_or(0, |acknowledged| acknowledged.load(Ordering::SeqCst));
    let found = match client.get(run.key(key)).send().await {
        Ok(found) => found,
        Err(error) => {
            tally.error(error.to_string(), false);
            return false;
        }
    };
    match found.kv {
        None => tally.wrong(format!("key {key} was written at revision {at_least} and is not found")),
        Some(kv) if kv.mod_revision < at_least => tally.wrong(format!(
            "key {key} was read as of revision {}, but a put of revision {at_least} was acknowledged before",
            kv.mod_revision
        )),
        Some(kv) => match value::decode(key, &kv.value) {
            Some(write) if write < run.writes.load(Ordering::SeqCst) => {}
            _ => tally.wrong(format!("key {key} has a value that was never written for it")),
        },
    }
    true
}
