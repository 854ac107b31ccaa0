//! The command line itself: usage errors, environment, and no server at all.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

mod common;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::{World, command, run};
use serde_json::json;

#[test]
fn wrong_usage_exits_with_2_and_one_error() {
    let wrong: [&[&str]; 13] = [
        &[],
        &["frobnicate"],
        &["put", "a"],
        &["get"],
        &["--timeout", "5", "get", "a"],
        &["--timeout", "0s", "get", "a"],
        &["-o", "yaml", "get", "a"],
        &["--endpoints", "nowhere", "get", "a"],
        &["--endpoints", "a:1,b:x", "get", "a"],
        &["range", "a", "--prefix", "b"],
        &["delete", "a", "--prefix", "--if-rev", "1"],
        &["bench", "--value-size", "8"],
        &["snapshot", "save", "-"],
    ];
    for arguments in wrong {
        let ran = run(command().args(arguments), "");
        assert_eq!(
            (ran.status, ran.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            ran.err
        );
        assert!(!ran.err.is_empty());
    }
    let ran = run(command().args(["--endpoints", "nowhere", "get", "a"]), "");
    assert!(
        ran.err.starts_with("error: \"nowhere\" is no endpoint"),
        "{}",
        ran.err
    );
}

/// Before anyone is asked for the backup: no server is there.
#[test]
fn a_backup_that_cannot_be_put_where_it_is_wanted_is_refused_at_once() {
    let home = tempfile::tempdir().unwrap();
    let save = |file: &std::path::Path| {
        let ran = run(command().args(["snapshot", "save"]).arg(file), "");
        assert_eq!(ran.status, 1, "{}", ran.err);
        ran.err
    };
    let said = save(&home.path().join("none/x.snap"));
    assert!(said.contains("there is no directory"), "{said}");
    let said = save(home.path());
    assert!(said.contains("is a directory"), "{said}");
    std::fs::write(home.path().join("x.snap"), "mine").unwrap();
    let said = save(&home.path().join("x.snap"));
    assert!(said.contains("is there already"), "{said}");
}

#[test]
fn wrong_usage_is_json_too_where_that_is_asked_for() {
    let wrong: [&[&str]; 6] = [
        &["-o", "json", "bogus"],
        &["-o", "json"],
        &["range", "x", "--limit", "0", "--output=json"],
        &["-ojson", "put", "a"],
        &["-o", "json", "delete", "--prefix", ""],
        &["-o", "json", "--endpoints", "nowhere", "get", "a"],
    ];
    for arguments in wrong {
        let ran = run(command().args(arguments), "");
        assert_eq!(ran.status, 2, "{arguments:?}: {}", ran.err);
        assert!(!ran.err.is_empty());
        let objects = ran.json();
        assert_eq!(objects.len(), 1, "{arguments:?}");
        let error = &objects[0]["error"];
        assert_eq!(
            (&error["code"], &error["maybe_applied"]),
            (&json!("usage"), &json!(false))
        );
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_wrong_environment_is_wrong_usage_and_a_flag_wins_over_it() {
    let ran = run(command().env("RAFT_TIMEOUT", "soon").args(["get", "a"]), "");
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("500ms"), "{}", ran.err);

    let world = World::new(1);
    let endpoints = world.cluster.endpoints().join(",");
    let ran = run(
        command().env("RAFT_ENDPOINTS", "nonsense").args([
            "--endpoints",
            &endpoints,
            "put",
            "a",
            "1",
        ]),
        "",
    );
    ran.ok("OK 1\n");
    let ran = run(
        command()
            .env("RAFT_ENDPOINTS", &endpoints)
            .env("RAFT_TIMEOUT", "3s")
            .args(["get", "a"]),
        "",
    );
    ran.ok("1\n");
}

#[test]
fn only_what_works_is_listed() {
    let help = run(command().arg("--help"), "");
    assert_eq!(help.status, 0);
    for command in [
        "put",
        "get",
        "range",
        "delete",
        "cas",
        "status",
        "health",
        "check",
        "leader",
        "member",
        "snapshot",
        "bench",
        "shell",
        "completions",
    ] {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{command}: {}",
            help.out
        );
    }
    for absent in ["txn", "watch", "lease", "lock", "elect", "compact"] {
        assert!(!help.out.contains(&format!("\n  {absent} ")), "{absent}");
    }
    let completions = run(command().args(["completions", "bash"]), "");
    assert!(completions.out.contains("raft-cli"), "{}", completions.err);
}

/// Ports on which nothing listens.
fn closed_ports() -> Vec<String> {
    let sockets: Vec<TcpListener> = (0..2)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    sockets
        .iter()
        .map(|socket| socket.local_addr().unwrap().to_string())
        .collect()
}

#[test]
fn without_a_server_every_endpoint_is_named_in_time_and_the_exit_status_is_6() {
    let endpoints = closed_ports();
    for arguments in [
        ["put", "a", "1"].as_slice(),
        &["get", "a"],
        &["range"],
        &["delete", "a"],
        &["leader"],
    ] {
        let begun = Instant::now();
        let ran = run(
            command()
                .args(["--endpoints", &endpoints.join(","), "--timeout", "600ms"])
                .args(arguments),
            "",
        );
        assert_eq!(
            (ran.status, ran.out.as_str()),
            (6, ""),
            "{arguments:?}: {}",
            ran.err
        );
        assert!(
            begun.elapsed() < Duration::from_millis(1500),
            "{:?}",
            begun.elapsed()
        );
        for endpoint in &endpoints {
            assert!(
                ran.err.contains(endpoint.as_str()),
                "{endpoint}: {}",
                ran.err
            );
        }
        assert!(
            ran.err.contains("refused") && ran.err.contains("\nhint: "),
            "{}",
            ran.err
        );
    }
    let json = run(
        command().args([
            "--endpoints",
            &endpoints[0],
            "--timeout",
            "300ms",
            "-o",
            "json",
            "put",
            "a",
            "1",
        ]),
        "",
    );
    let error = &json.json()[0]["error"];
    assert_eq!(
        (&error["code"], &error["maybe_applied"]),
        (&json!("unavailable"), &json!(false))
    );
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_given_up_in_time() {
    // The backlog of a socket that nobody accepts from takes the connection, and nothing more happens.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let ran = run(
        command().args([
            "--endpoints",
            &endpoint,
            "--timeout",
            "500ms",
            "put",
            "a",
            "1",
        ]),
        "",
    );
    assert_eq!(ran.status, 6, "{}", ran.err);
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert!(ran.err.contains(&endpoint), "{}", ran.err);

    let ran = run(
        command().args(["--endpoints", &endpoint, "--timeout", "2s", "get", "a"]),
        "",
    );
    assert_eq!(ran.status, 6, "{}", ran.err);
    let said = "connected, but it does not speak this protocol (yet)";
    assert!(ran.err.contains(said), "{}", ran.err);
}

#[test]
fn a_name_that_nobody_knows_is_said_in_plain_words() {
    let ran = run(
        command().args([
            "--endpoints",
            "nohost.invalid:7101",
            "--timeout",
            "2s",
            "get",
            "a",
        ]),
        "",
    );
    assert_eq!(ran.status, 6, "{}", ran.err);
    assert!(!ran.err.contains("uncategorized"), "{}", ran.err);
}

#[test]
fn without_a_server_status_and_health_say_so() {
    let endpoints = closed_ports();
    let arguments = ["--endpoints", &endpoints.join(",")].map(str::to_owned);
    let status = run(
        command().args(&arguments).args(["-o", "json", "status"]),
        "",
    );
    assert_eq!(status.status, 6);
    let members = &status.json()[0]["members"];
    assert_eq!(members.as_array().unwrap().len(), 2);
    assert_eq!(
        (&members[0]["role"], &members[0]["reachable"]),
        (&json!("unreachable"), &json!(false))
    );
    let health = run(command().args(&arguments).arg("health"), "");
    assert_eq!(health.status, 10);
    assert!(health.err.contains(&endpoints[1]), "{}", health.err);
}
