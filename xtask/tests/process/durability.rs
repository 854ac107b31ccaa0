//! The order on the real binary: write the log, sync it, and only then acknowledge.
//!
//! Killing a process never loses what the kernel holds, so nothing that a restart shows can prove a sync. The system
//! calls can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::local::wait_for;

use crate::harness::{PATIENCE, TestCluster, binaries, prepared};
use crate::trace::{Call, parse};

/// Whether `strace` is there. Where checks have to be complete, its absence is a failure.
pub(crate) fn can_trace() -> bool {
    let there = Command::new("strace")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(
        there || std::env::var_os("CI").is_none(),
        "strace is missing; install it"
    );
    if !there {
        println!("skipped: strace is missing");
    }
    there
}

/// Starts a node under strace. With `-D` the node is our child and strace hangs on to it, not the other way round.
fn start_traced(cluster: &mut TestCluster, id: u8) -> PathBuf {
    let trace = cluster.path(&format!("trace-{id}"));
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "-ttt", "-T", "-yy", "-s", "65536", "-o"])
        .arg(&trace);
    command.args([
        "-e",
        "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fdatasync,fsync",
    ]);
    command.args(["-e", "signal=none"]);
    command
        .arg(binaries().server)
        .args(cluster.serve_arguments(id));
    fs::create_dir_all(cluster.data_dir(id).parent().unwrap()).unwrap();
    cluster
        .node(id)
        .unwrap()
        .start_command(&mut command)
        .unwrap();
    trace
}

/// The calls of a node that has ended.
fn calls(trace: &Path) -> Vec<Call> {
    // strace writes its last lines after the node is gone.
    wait_for("the end of the trace", PATIENCE, || {
        let text = fs::read_to_string(trace)?;
        let threads_left = text
            .lines()
            .next_back()
            .is_some_and(|line| line.contains("+++"));
        anyhow::ensure!(threads_left, "{} bytes without an end", text.len());
        Ok(parse(&text))
    })
    .unwrap()
}

/// When a value was durable on a node: the end of the first sync of the file it was written to, begun after the write
/// had returned.
fn durable_at(calls: &[Call], value: &str) -> f64 {
    let written = calls
        .iter()
        .find(|call| call.is_file_write() && call.arguments.contains(value))
        .unwrap_or_else(|| panic!("{value} was written to no file"));
    let synced = calls
        .iter()
        .find(|call| {
            call.is_sync() && call.target() == written.target() && call.begun >= written.ended
        })
        .unwrap_or_else(|| {
            panic!(
                "{} was not synced after the write of {value}",
                written.target()
            )
        });
    println!(
        "{value}: written to {} at {:.6}, durable at {:.6}",
        written.target().rsplit('/').next().unwrap_or_default(),
        written.begun,
        synced.ended
    );
    synced.ended
}

/// When the answer to the client that sent `value` left: the first bytes on its connection after it had sent it.
fn acknowledged_at(calls: &[Call], value: &str, clients: &str) -> Option<f64> {
    let asked = calls.iter().find(|call| {
        call.is_receive()
            && call.target().contains(&format!("[{clients}->"))
            && call.arguments.contains(value)
    })?;
    let answered = calls.iter().find(|call| {
        call.is_send() && call.target() == asked.target() && call.begun >= asked.ended
    })?;
    println!(
        "{value}: asked at {:.6}, answered at {:.6}",
        asked.ended, answered.begun
    );
    Some(answered.begun)
}

/// Runs a cluster under strace, has it acknowledge some writes, and checks the order for each.
fn writes_are_durable_before_they_are_acknowledged(nodes: u8) {
    if !can_trace() {
        return;
    }
    let mut cluster = prepared(nodes);
    let traces: Vec<PathBuf> = cluster
        .ids()
        .into_iter()
        .map(|id| start_traced(&mut cluster, id))
        .collect();
    cluster.wait_ready(PATIENCE).unwrap();
    let values: Vec<String> = (0..10)
        .map(|n| format!("needle-number-{n}-in-the-trace"))
        .collect();
    let leader = cluster.leader();
    let client = cluster.client_of(leader).with_timeout(PATIENCE);
    for value in &values {
        client
            .run(&["put", "key", value])
            .unwrap()
            .success()
            .unwrap();
    }
    // Every node has to have them, or the trace of one that lags says nothing.
    for id in cluster.ids() {
        wait_for("all nodes to have applied the same", PATIENCE, || {
            let members = cluster.client().members()?;
            let applied: Vec<_> = members
                .iter()
                .map(|member| member.get("applied").cloned())
                .collect();
            anyhow::ensure!(
                applied.iter().all(|one| *one == applied[0]),
                "n{id}: {applied:?}"
            );
            Ok(())
        })
        .unwrap();
    }
    cluster.stop_all(PATIENCE, || false).unwrap();
    let traces: Vec<Vec<Call>> = traces.iter().map(|trace| calls(trace)).collect();
    let endpoint = cluster.endpoint(leader);
    for value in &values {
        let mut durable: Vec<f64> = traces
            .iter()
            .map(|calls| durable_at(calls, value))
            .collect();
        durable.sort_by(f64::total_cmp);
        let on_a_majority = durable[durable.len() / 2];
        let answered = acknowledged_at(&traces[usize::from(leader) - 1], value, &endpoint)
            .unwrap_or_else(|| panic!("no answer to {value} in the trace of n{leader}"));
        assert!(
            answered >= on_a_majority,
            "{value} was acknowledged at {answered:.6}, before it was durable on a majority at {on_a_majority:.6}"
        );
    }
}

#[test]
fn one_node_syncs_before_it_acknowledges() {
    writes_are_durable_before_they_are_acknowledged(1);
}

#[test]
fn a_majority_of_three_syncs_before_the_leader_acknowledges() {
    writes_are_durable_before_they_are_acknowledged(3);
}
