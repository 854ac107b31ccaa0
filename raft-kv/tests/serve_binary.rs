//! The binary itself: flags, exit statuses, one line that says what and what to do, stopping.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::binary::{Node, alone, command, port, refused, refused_with, run, start};

#[test]
fn wrong_flags_are_refused_with_status_2() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("n1");
    // `GOOD` stands for flags that work, `DIR` for a new directory.
    let good = "serve --id 1 --data-dir DIR --cluster 1=127.0.0.1:7999";
    for (flags, says) in [
        ("", "serve or check-config"),
        ("run", "run"),
        ("serve", "--id is missing"),
        ("serve --id 1", "--data-dir is missing"),
        ("serve --id x", "--id"),
        ("GOOD --unheard-of", "--unheard-of"),
        ("GOOD --heartbeat 400ms", "raise the election timeout"),
        ("GOOD --heartbeat 5ms", "multiple of 10ms"),
        ("GOOD --heartbeat soon", "250ms or 2s"),
        ("GOOD --listen nowhere", "host:port"),
        ("GOOD --join", "only one of them"),
        ("GOOD --snapshot-every 0", "at least 1"),
        ("GOOD --snapshot-bytes 0", "at least 1"),
        ("GOOD --snapshot-bytes 7MB", "64MiB"),
        ("GOOD --segment-bytes 1000", "multiple of 512"),
        ("GOOD --advertise 127.0.0.1:1", "make them the same"),
        ("GOOD --config /no/such/file", "/no/such/file"),
        ("GOOD --dial-override 2=a:1 --dial-override 2=b:1", "twice"),
        (
            "serve --id 2 --data-dir DIR --cluster 1=a:1 --listen a:2",
            "does not hold node 2",
        ),
        ("serve --id 0 --data-dir DIR --cluster 0=a:1", "at least 1"),
        ("serve --id 1 --data-dir DIR --cluster 1=a:1,1=b:2", "twice"),
        (
            "serve --id 1 --data-dir DIR --listen 127.0.0.1:7999",
            "--cluster",
        ),
    ] {
        let flags = flags
            .replace("GOOD", good)
            .replace("DIR", dir.to_str().unwrap());
        refused(&flags.split_whitespace().collect::<Vec<_>>(), 2, &[says]);
    }
    assert!(!dir.exists(), "nothing was made for wrong flags");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("raft-kv.toml");
    fs::write(
        &file,
        "id = 1\ndata_dir = \"/from/file\"\ncluster = \"1=a:1,2=b:2\"\nheartbeat = \"50ms\"\n",
    )
    .unwrap();
    let output = command()
        .args([
            "check-config",
            "--config",
            file.to_str().unwrap(),
            "--election-timeout",
            "2s",
        ])
        .env("RAFT_KV_HEARTBEAT", "80ms")
        .env("RAFT_KV_ELECTION_TIMEOUT", "3s")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(
        said,
        "id = 1 # file\nlisten = \"a:1\" # from --cluster\ndata_dir = \"/from/file\" # file\ncluster = \"1=a:1,2=b:2\" # \
         file\njoin = false # default\nelection_timeout = \"2000ms\" # flag\nheartbeat = \"80ms\" # environment\nsnapshot_every = 100000 # \
         default\nsnapshot_bytes = \"64MiB\" # default\nsegment_bytes = \"16MiB\" # default\nlog_format = \"text\" # \
         default\nexit_with_stdin = false # default\n"
    );
    // What it prints is a file that it takes.
    fs::write(&file, said).unwrap();
    let again = run(&["check-config", "--config", file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0));

    fs::write(&file, "id = 1\nhartbeat = \"50ms\"\n").unwrap();
    refused(
        &["check-config", "--config", file.to_str().unwrap()],
        2,
        &["hartbeat", "unknown field"],
    );
}

#[test]
fn a_busy_port_is_status_1() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    refused_with(
        &alone(&home.path().join("n1"), port),
        1,
        &[&port.to_string(), "--listen"],
    );
}

#[test]
fn a_directory_that_is_locked_foreign_or_damaged_is_status_3() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("n1");
    let arguments = alone(&dir, port());
    let node = start(&arguments);
    node.says("role=\"leader\"");
    refused_with(&alone(&dir, port()), 3, &["in use by another process"]);
    node.signal("-TERM");
    let (output, took) = node.finish();
    assert_eq!(output.status.code(), Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");

    // Another node's.
    let other = arguments.iter().map(|argument| match argument.as_str() {
        "1" => "2".to_owned(),
        list if list.starts_with("1=") => list.replacen("1=", "2=", 1),
        other => other.to_owned(),
    });
    refused_with(
        &other.collect::<Vec<_>>(),
        3,
        &["belongs to node 1", "node 2"],
    );

    // No node's.
    let foreign = home.path().join("photos");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("cat.jpg"), "cat").unwrap();
    refused_with(&alone(&foreign, port()), 3, &["cat.jpg", "an empty one"]);

    // Damaged: its log was closed cleanly, so nothing may be missing.
    let mut damaged = 0;
    for file in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
        let mut bytes = fs::read(file.path()).unwrap();
        // Behind the header; where the first entries are.
        bytes
            .iter_mut()
            .skip(400)
            .take(400)
            .filter(|byte| **byte != 0)
            .for_each(|byte| {
                *byte ^= 0x55;
                damaged += 1;
            });
        fs::write(file.path(), bytes).unwrap();
    }
    assert!(damaged > 50);
    refused_with(&arguments, 3, &["damaged"]);
}

#[test]
fn it_stops_on_a_signal_and_with_its_standard_input_and_starts_again() {
    let home = tempfile::tempdir().unwrap();
    let mut arguments = alone(&home.path().join("n1"), port());
    for signal in ["-TERM", "-INT"] {
        let node = start(&arguments);
        let line = node.says("the network is trusted");
        assert!(line.contains("WARN"), "{line}");
        node.says("role=\"leader\"");
        node.signal(signal);
        let (output, took) = node.finish();
        assert_eq!(output.status.code(), Some(0), "{signal}");
        assert!(took < Duration::from_secs(2), "{signal}: {took:?}");
    }
    // The list is not needed any more, now that the directory knows.
    let list = arguments
        .iter()
        .position(|argument| argument == "--cluster")
        .unwrap();
    let address = arguments[list + 1].trim_start_matches("1=").to_owned();
    arguments.splice(list..list + 2, ["--listen".into(), address]);
    arguments.push("--exit-with-stdin".into());
    arguments.extend(["--log-format".into(), "json".into()]);
    let mut node = start(&arguments);
    let line = node.says("\"leader\"");
    assert!(line.starts_with('{'), "{line}");
    node.child
        .as_mut()
        .unwrap()
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"something\n")
        .unwrap();
    drop(node.child.as_mut().unwrap().stdin.take());
    let (output, _) = node.finish();
    assert_eq!(output.status.code(), Some(0));
}

/// The n-th sync of each thread fails, for every n from a new directory's first to those of a leader: the process says so in
/// one line and ends with status 3, though the next sync would "succeed" (the kernel has dropped the pages by then).
#[test]
fn a_sync_that_fails_ends_the_process_with_status_3() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "strace is missing: install it"
        );
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for (failed, sync) in (1..40).enumerate() {
        let mut arguments = alone(&home.path().join(sync.to_string()), port());
        arguments.push("--exit-with-stdin".into());
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={sync}");
        let strace = [
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            &inject,
        ];
        let mut command = Command::new("strace");
        command
            .args(strace)
            .arg(env!("CARGO_BIN_EXE_raft-kv"))
            .args(&arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut last = String::new();
        let led = stderr.by_ref().any(|line| {
            last.clone_from(&line);
            line.contains("membership committed")
        });
        if led {
            // So many syncs there are before it leads, and all of them were tried.
            drop(child.stdin.take());
            stderr.for_each(drop);
            child.wait().unwrap();
            println!(
                "{failed} syncs from the directory to the first commit, and each was seen to fail"
            );
            assert!(failed >= 5, "only {failed} syncs before a leader commits");
            return;
        }
        assert_eq!(child.wait().unwrap().code(), Some(3), "sync {sync}: {last}");
        assert!(
            last.starts_with("error: ") && last.contains("Input/output error"),
            "{last}"
        );
    }
    panic!("it never leads");
}

/// From now on every sync of this node takes a minute; the tracer must live as long as that is wanted.
fn hang_the_disk(node: &Node) -> Option<Child> {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "strace is missing: install it"
        );
        return None;
    }
    let id = node.child.as_ref().unwrap().id().to_string();
    let mut tracer = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-p", &id])
        .args(["-e", "trace=fsync,fdatasync"])
        .args(["-e", "inject=fsync,fdatasync:delay_enter=60s"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(tracer.stderr.take().unwrap()).lines();
    let attached = stderr.any(|line| line.unwrap().contains("attached"));
    assert!(attached, "strace cannot attach");
    std::thread::spawn(move || stderr.for_each(drop));
    Some(tracer)
}

#[test]
fn a_disk_that_hangs_keeps_no_node_that_is_told_to_stop() {
    let home = tempfile::tempdir().unwrap();
    for (name, again) in [("patient", false), ("twice", true)] {
        let node = start(&alone(&home.path().join(name), port()));
        node.says("membership committed");
        let Some(mut tracer) = hang_the_disk(&node) else {
            return;
        };
        let told = Instant::now();
        node.signal("-TERM");
        node.says("SIGTERM: stopping");
        let (status, says) = if again {
            node.signal("-INT");
            (1, "error: SIGINT again")
        } else {
            (3, "the disk hangs")
        };
        let line = node.says(says);
        assert!(line.starts_with("error: "), "{line}");
        assert!(told.elapsed() < Duration::from_secs(30), "{line}");
        // A thread that a tracer holds cannot die, unlike one that a disk holds.
        let _ = tracer.kill();
        let _ = tracer.wait();
        let (output, _) = node.finish();
        assert_eq!(output.status.code(), Some(status), "{line}");
    }
}
