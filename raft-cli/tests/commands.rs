//! Each command against a fake cluster: what it prints, as text and as JSON, and its exit status.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{World, command, run};
use raft_kv::client::fake::Fault;
use serde_json::json;

#[test]
fn put_get_and_what_is_not_there() {
    let world = World::new(3);
    world.cli(&["put", "a", "1"]).ok("OK 1\n");
    world.cli(&["put", "a", "2", "--prev"]).ok("OK 2\n1\n");
    world.cli(&["get", "a"]).ok("2\n");
    world.cli(&["get", "a", "--stale"]).ok("2\n");
    let missing = world.cli(&["get", "b"]);
    assert_eq!((missing.status, missing.out.as_str()), (3, ""));
    assert_eq!(missing.err, "error: there is no key \"b\"\n");

    let found = world.cli(&["-o", "json", "get", "a"]);
    assert_eq!(
        found.json(),
        [json!({
            "found": true, "key": "a", "value": "2", "create_revision": 1, "mod_revision": 2, "version": 2,
            "lease": null, "revision": 2
        })]
    );
    let missing = world.cli(&["-o", "json", "get", "b"]);
    assert_eq!(
        (missing.status, missing.json()),
        (3, vec![json!({"found": false, "key": "b", "revision": 2})])
    );
    let put = world.cli(&["-o", "json", "put", "a", "3", "--prev"]);
    assert_eq!(put.json()[0]["revision"], json!(3));
    assert_eq!(put.json()[0]["previous"]["value"], json!("2"));
    assert_eq!(
        world.cluster.store(raft_kv::store::Store::session_count),
        0,
        "a session was left behind"
    );
}

#[test]
fn values_come_from_files_and_standard_input_and_go_out_as_they_are() {
    let world = World::new(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    std::fs::write(&file, [0xff, 0, b'\n', 0xfe]).unwrap();
    world
        .cli(&["put", "file", &format!("@{}", file.display())])
        .ok("OK 1\n");
    assert_eq!(
        world.cli(&["get", "file"]).raw,
        [0xff, 0, b'\n', 0xfe, b'\n']
    );
    assert_eq!(
        world.cli(&["-o", "json", "get", "file"]).json()[0]["value"],
        json!({"base64": "/wAK/g=="})
    );

    world
        .run(command().args(["put", "in", "-"]), "from\nthe pipe")
        .ok("OK 2\n");
    world.cli(&["get", "in"]).ok("from\nthe pipe\n");
    world.cli(&["put", "negative", "-5"]).ok("OK 3\n");

    let absent = world.cli(&["put", "x", "@/nowhere/at/all"]);
    assert_eq!(absent.status, 2);
    assert!(
        absent
            .err
            .starts_with("error: cannot open /nowhere/at/all: "),
        "{}",
        absent.err
    );
}

#[test]
fn conditions_that_do_not_hold_exit_with_4() {
    let world = World::new(1);
    world.cli(&["put", "a", "1", "--if-absent"]).ok("OK 1\n");
    for (arguments, why) in [
        (
            &["--if-absent"][..],
            "key \"a\" exists already (revision 1)",
        ),
        (&["--if-rev", "9"], "key \"a\" is at revision 1, not 9"),
        (
            &["--if-value", "x"],
            "key \"a\" has another value (revision 1)",
        ),
        (
            &["--if-value", "x", "--if-rev", "1"],
            "key \"a\" has another value (revision 1)",
        ),
    ] {
        let ran = world.cli(&[&["put", "a", "2"], arguments].concat());
        assert_eq!((ran.status, ran.out.as_str()), (4, ""), "{arguments:?}");
        assert_eq!(
            ran.err,
            format!("error: the condition does not hold: {why}\n")
        );
    }
    let absent = world.cli(&["put", "none", "2", "--if-rev", "3"]);
    assert_eq!(
        absent.err,
        "error: the condition does not hold: there is no key \"none\"\n"
    );
    world
        .cli(&["put", "a", "2", "--if-rev", "1", "--if-value", "1"])
        .ok("OK 2\n");
    world.cli(&["cas", "a", "2", "3"]).ok("OK 3\n");
    let stands = world.cli(&["cas", "a", "2", "4"]);
    assert_eq!((stands.status, stands.out.as_str()), (4, "3\n"));
    let nothing = world.cli(&["cas", "b", "2", "4"]);
    assert_eq!((nothing.status, nothing.out.as_str()), (4, ""));

    let stands = world.cli(&["-o", "json", "cas", "a", "2", "4"]);
    let error = &stands.json()[0]["error"];
    assert_eq!(
        (&error["code"], &error["maybe_applied"]),
        (&json!("condition_failed"), &json!(false))
    );
    assert_eq!(error["current"]["value"], json!("3"));
    let delete = world.cli(&["delete", "a", "--if-rev", "1"]);
    assert_eq!(delete.status, 4);
    assert!(
        delete.err.contains("is at revision 3, not 1"),
        "{}",
        delete.err
    );
}

#[test]
fn ranges_and_deletions() {
    let world = World::new(1);
    for key in ["a", "b/1", "b/2", "c"] {
        world.cli(&["put", key, &format!("v{key}")]);
    }
    world
        .cli(&["range"])
        .ok("a\tva\nb/1\tvb/1\nb/2\tvb/2\nc\tvc\n");
    world
        .cli(&["range", "b/1", "c"])
        .ok("b/1\tvb/1\nb/2\tvb/2\n");
    world.cli(&["range", "b/2"]).ok("b/2\tvb/2\nc\tvc\n");
    world
        .cli(&["range", "--prefix", "b/", "--keys-only", "--reverse"])
        .ok("b/2\nb/1\n");
    world.cli(&["range", "--limit", "1"]).ok("a\tva\n");
    world.cli(&["range", "--count"]).ok("4\n");
    world.cli(&["range", "--prefix", "zzz"]).ok("");
    let listed = world
        .cli(&["-o", "json", "range", "--limit", "1", "--keys-only"])
        .json();
    assert_eq!(
        (
            &listed[0]["count"],
            &listed[0]["more"],
            &listed[0]["revision"]
        ),
        (&json!(4), &json!(true), &json!(4))
    );
    assert_eq!(listed[0]["kvs"][0]["key"], json!("a"));
    assert!(listed[0]["kvs"][0].get("value").is_none());
    let counted = world.cli(&["-o", "json", "range", "--count"]).json();
    assert_eq!(
        counted,
        [json!({"kvs": [], "count": 4, "more": false, "revision": 4})]
    );

    world.cli(&["delete", "nothing"]).ok("0\n");
    world.cli(&["delete", "a", "--prev"]).ok("1\na\tva\n");
    let deleted = world.cli(&["-o", "json", "delete", "b/", "--prefix"]);
    assert_eq!(deleted.json(), [json!({"deleted": 2, "revision": 6})]);

    let all = world.cli(&["delete", "--prefix", ""]);
    assert_eq!((all.status, all.out.as_str()), (2, ""));
    assert!(all.err.contains("hint: ") && all.err.contains("--all"));
    assert_eq!(world.cli(&["delete", "c", "--all"]).status, 2);
    world.cli(&["get", "c"]).ok("vc\n");
    world.cli(&["delete", "--prefix", "", "--all"]).ok("1\n");
    world.cli(&["put", "d", "1"]);
    world.cli(&["delete", "--all"]).ok("1\n");
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let world = World::new(1);
    world.cli(&["put", "a", "1"]).ok("OK 1\n");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command()
        .args(["get", "a"])
        .env("RAFT_ENDPOINTS", world.cluster.endpoints().join(","))
        .stdout(full)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("error: cannot write the output: ") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn a_listing_larger_than_one_reply_is_complete_in_both_directions() {
    let world = World::new(1);
    let value = "x".repeat(300_000);
    let lines: String = (0..9)
        .map(|number| format!("put k{number} {value}\n"))
        .collect();
    assert_eq!(world.shell(&[], &lines).status, 0);
    let keys = |ran: common::Ran| -> String {
        ran.out
            .lines()
            .map(|line| {
                line.split('\t')
                    .next()
                    .unwrap()
                    .trim_start_matches('k')
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(keys(world.cli(&["range"])), "012345678");
    assert_eq!(
        keys(world.cli(&["range", "--prefix", "k", "--reverse"])),
        "876543210"
    );
    assert_eq!(keys(world.cli(&["range", "--limit", "7"])), "0123456");
    let all = world.cli(&["-o", "json", "range"]).json();
    assert_eq!(
        (all[0]["kvs"].as_array().unwrap().len(), &all[0]["more"]),
        (9, &json!(false))
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let world = World::new(1);
    let value = "x".repeat(500_000);
    let lines: String = (0..6)
        .map(|number| format!("put k{number} {value}\n"))
        .collect();
    world.shell(&[], &lines);
    let mut child = command()
        .arg("range")
        .env("RAFT_ENDPOINTS", world.cluster.endpoints().join(","))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (
            ended.status.code(),
            String::from_utf8(ended.stderr).unwrap().as_str()
        ),
        (Some(0), "")
    );
}

#[test]
fn an_outcome_that_is_not_known_exits_with_7_and_a_sure_one_with_6() {
    let world = World::new(3);
    world.cluster.fault([Fault::NoAnswer]);
    let unknown = world.cli(&["--timeout", "400ms", "put", "a", "1"]);
    assert_eq!((unknown.status, unknown.out.as_str()), (7, ""));
    assert!(
        unknown.err.contains("unknown whether it was applied") && unknown.err.contains("\nhint: "),
        "{}",
        unknown.err
    );
    world.cluster.fault([Fault::NoAnswer]);
    let unknown = world.cli(&["--timeout", "400ms", "-o", "json", "put", "a", "2"]);
    assert_eq!(unknown.json()[0]["error"]["maybe_applied"], json!(true));
    assert_eq!(unknown.json()[0]["error"]["code"], json!("unknown"));

    world.cluster.lead(None);
    let sure = world.cli(&["--timeout", "400ms", "put", "a", "3"]);
    assert_eq!(sure.status, 6);
    for endpoint in world.cluster.endpoints() {
        assert!(
            sure.err.contains(&format!("{endpoint}: knows no leader")),
            "{}",
            sure.err
        );
    }
    world.cli(&["get", "a", "--stale"]).ok("2\n");
}

#[test]
fn what_is_too_large_is_refused_with_9() {
    let world = World::new(1);
    let long = "k".repeat(4097);
    let refused = world.cli(&["put", &long, "v"]);
    assert_eq!(refused.status, 9, "{}", refused.err);
    assert!(refused.err.contains("4097 bytes"), "{}", refused.err);
    assert_eq!(world.cli(&["get", &long]).status, 9);
}

#[test]
fn a_broken_connection_is_none_of_the_callers_business() {
    let world = World::new(3);
    world.cluster.fault([
        Fault::LoseAnswer,
        Fault::AppliedButUnknown,
        Fault::LostAndUnknown,
    ]);
    world.cli(&["put", "a", "1"]).ok("OK 1\n");
}

#[test]
fn status_has_a_row_a_member_and_is_there_within_a_second() {
    let mut world = World::new(3);
    world.cli(&["put", "a", "1"]);
    world.cluster.stop(2);
    world.cluster.silence(3, true);
    let endpoints = world.cluster.endpoints();
    let begun = Instant::now();
    // One endpoint is enough: the members tell of each other.
    let status = run(
        command().args(["--endpoints", &endpoints[0], "-o", "json", "status"]),
        "",
    );
    assert!(
        begun.elapsed() < Duration::from_millis(1800),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(status.status, 0);
    let members = status.json()[0]["members"].clone();
    let roles: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["id"].clone(), m["role"].clone()))
        .collect();
    assert_eq!(
        roles,
        [
            (json!(1), json!("leader")),
            (json!(2), json!("unreachable")),
            (json!(3), json!("unreachable"))
        ]
    );
    assert_eq!(
        (&members[1]["reachable"], &members[1]["address"]),
        (&json!(false), &json!(endpoints[1]))
    );
    let text = world.cli(&["status"]).out;
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(
        text.lines().next().unwrap().starts_with("ID  ADDRESS"),
        "{text}"
    );
}

#[test]
fn health_is_an_exit_status_and_says_why() {
    let mut world = World::new(3);
    world
        .cli(&["health"])
        .ok("healthy: node 1 leads, 3 of 3 voters answer\n");
    world.cluster.lead(None);
    let ill = world.cli(&["--timeout", "500ms", "health"]);
    assert_eq!(ill.status, 10);
    assert!(
        ill.err
            .starts_with("error: unhealthy: no member leads; a linearizable read fails"),
        "{}",
        ill.err
    );
    world.cluster.lead(Some(1));
    world.cluster.stop(2);
    world.cluster.stop(3);
    let ill = world.cli(&["-o", "json", "health"]);
    assert_eq!(ill.status, 10);
    let answer = &ill.json()[0];
    assert_eq!(
        (
            &answer["healthy"],
            &answer["voters"],
            &answer["voters_reachable"]
        ),
        (&json!(false), &json!(3), &json!(1))
    );
    assert_eq!(ill.json().len(), 1);
}

#[test]
fn the_leader_is_found_from_any_endpoint() {
    let world = World::new(3);
    world.cluster.lead(Some(3));
    let endpoints = world.cluster.endpoints();
    let leader = run(command().args(["--endpoints", &endpoints[1], "leader"]), "");
    leader.ok(&format!("3 {}\n", endpoints[2]));
    assert_eq!(
        world.cli(&["-o", "json", "leader"]).json(),
        [json!({"id": 3, "address": endpoints[2], "term": 2})]
    );
    world.cluster.lead(None);
    let none = world.cli(&["--timeout", "300ms", "leader"]);
    assert_eq!(none.status, 6);
    assert!(none.err.contains("no member leads"), "{}", none.err);
}

#[test]
fn the_shell_goes_on_after_an_error_and_tells_every_outcome_apart() {
    let world = World::new(1);
    let input = "\
# a comment

put a 'one two'
get a
get missing
put
nonsense
put \"unclosed
cas a wrong x
put a -
get a
";
    let text = world.shell(&[], input);
    assert_eq!(
        (text.status, text.out.as_str()),
        (0, "OK 1\none two\none two\none two\n")
    );
    assert_eq!(
        text.err
            .lines()
            .filter(|line| line.starts_with("error: "))
            .count(),
        6,
        "{}",
        text.err
    );

    world.cluster.fault([Fault::NoAnswer]);
    let json = world.shell(
        &["-o", "json", "--timeout", "300ms"],
        "put a 1\nput a 2\nfrobnicate\nget none\nhelp\nexit\nput a 3\n",
    );
    let lines: Vec<_> = json
        .out
        .lines()
        .take(4)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .collect();
    assert_eq!(lines[0]["error"]["code"], json!("unknown"));
    assert_eq!(lines[0]["error"]["maybe_applied"], json!(true));
    assert_eq!(lines[1]["revision"], json!(3));
    assert_eq!(lines[2]["error"]["code"], json!("usage"));
    assert_eq!(lines[3]["found"], json!(false));
    world.cli(&["get", "a"]).ok("2\n");
}

#[test]
fn the_shell_answers_each_line_at_once_on_one_connection_and_in_one_session() {
    let world = World::new(1);
    let mut child = command()
        .arg("shell")
        .env("RAFT_ENDPOINTS", world.cluster.endpoints().join(","))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for number in 1..=20 {
        use std::io::Write;
        writeln!(input, "put k {number}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("OK {number}\n"));
        assert_eq!(world.cluster.store(raft_kv::store::Store::session_count), 1);
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(world.cluster.connections(), 1);
}

#[test]
fn bench_checks_its_answers_cleans_up_and_reports_figures() {
    let world = World::new(3);
    for op in ["put", "get", "mix"] {
        let arguments = [
            "-o",
            "json",
            "bench",
            "--op",
            op,
            "--clients",
            "16",
            "--seconds",
            "1",
            "--warm-up",
            "0",
            "--keys",
            "50",
        ];
        let ran = world.cli(&arguments);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
        let figures = &ran.json()[0];
        assert_eq!(
            (&figures["errors"], &figures["wrong"], &figures["unknown"]),
            (&json!(0), &json!(0), &json!(0))
        );
        assert!(figures["ops"].as_u64().unwrap() > 100, "{figures}");
        let us = |name: &str| figures[name].as_u64().unwrap();
        assert!(
            us("p50_us") <= us("p99_us")
                && us("p99_us") <= us("p999_us")
                && us("p999_us") <= us("max_us")
        );
        assert!(figures["ops_per_second"].as_f64().unwrap() > 100.0);
        assert_eq!(
            world.cluster.store(raft_kv::store::Store::key_count),
            0,
            "keys were left behind"
        );
    }
    let text = world.cli(&[
        "bench",
        "--clients",
        "4",
        "--seconds",
        "1",
        "--warm-up",
        "0",
    ]);
    assert!(
        text.out.contains("per second") && text.out.contains("p99.9") && text.out.contains('#'),
        "{}",
        text.out
    );
}

#[test]
fn bench_notices_wrong_answers() {
    let world = World::new(1);
    let endpoints = world.cluster.endpoints();
    let bench = std::thread::spawn(move || {
        let mut bench = command();
        bench.args([
            "--endpoints",
            &endpoints[0],
            "bench",
            "--op",
            "get",
            "--clients",
            "2",
            "--seconds",
            "2",
            "--keys",
            "1",
            "--warm-up",
            "0",
        ]);
        run(&mut bench, "")
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    let key = loop {
        assert!(Instant::now() < deadline, "the bench wrote nothing");
        let listed = world
            .cli(&["range", "--prefix", "bench/", "--keys-only"])
            .out;
        if let Some(key) = listed.lines().next() {
            break key.to_owned();
        }
    };
    world
        .cli(&[
            "put",
            &key,
            "something else that is long enough to be a value",
        ])
        .ok("OK 2\n");
    let ran = bench.join().unwrap();
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.contains("a value that was never written for it"),
        "{}",
        ran.err
    );
}

#[test]
fn ctrl_c_ends_a_bench_with_what_there_is_and_leaves_no_keys() {
    for op in ["put", "mix"] {
        let world = World::new(1);
        let child = command()
            .args(["-o", "json", "bench", "--op", op, "--seconds", "600"])
            .args(["--warm-up", "0", "--keys", "20"])
            .env("RAFT_ENDPOINTS", world.cluster.endpoints().join(","))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while world.cluster.store(raft_kv::store::Store::key_count) < 20 {
            assert!(Instant::now() < deadline, "the bench wrote nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        let interrupted = std::process::Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(interrupted.success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
        let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(figures["interrupted"], json!(true));
        assert_eq!(world.cluster.store(raft_kv::store::Store::key_count), 0);
    }
}
