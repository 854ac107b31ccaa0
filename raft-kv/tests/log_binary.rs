//! `raft-kv log`: a look into the log of a real node that was stopped, killed or damaged.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::binary::{alone, command, port, refused, run, start};
use raft_kv::api::KeyRange;
use raft_kv::client::{Client, Options};
use serde_json::Value;

/// What is written, and must never be shown.
const SECRET: &str = "the-secret-value";

/// A node that has led, taken writes and ended as this signal ends it.
struct Stopped {
    home: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Stopped {
    async fn by(signal: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = port();
        let arguments = alone(&home.path().join("n1"), port);
        let stopped = Self { home, arguments };
        let node = start(&stopped.arguments);
        node.says("role=\"leader\"");
        let client = Client::connect([format!("127.0.0.1:{port}")], Options::default()).unwrap();
        client.put("colour", SECRET).await.unwrap();
        client.put(&b"\xff"[..], SECRET).await.unwrap();
        client.delete(KeyRange::Key("colour".into())).await.unwrap();
        // Whoever runs has the directory.
        refused(&["log", "dump", &stopped.dir()], 3, &["in use"]);
        refused(&["log", "verify", &stopped.dir()], 3, &["in use"]);
        node.signal(signal);
        node.finish();
        stopped
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("n1")
    }

    fn dir(&self) -> String {
        self.path().display().to_string()
    }

    /// All lines of the listing of a sound log.
    fn dump(&self, more: &[&str]) -> Vec<Value> {
        let (status, lines) = dump(&self.path(), more);
        assert_eq!(status, Some(0), "{lines:?}");
        lines
    }

    fn verify(&self) -> Value {
        let output = run(&["log", "verify", &self.dir(), "-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The exit status of a dump, and all lines of its listing.
fn dump(dir: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let dir = dir.display().to_string();
    let output = run(&[&["log", "dump", &dir, "-o", "json"], more].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains(SECRET), "{said}");
    let lines = said.lines();
    let lines = lines.map(|line| serde_json::from_str(line).unwrap());
    (output.status.code(), lines.collect())
}

fn entries(lines: &[Value], entry: &str) -> Vec<Value> {
    let wanted = |line: &&Value| line["type"] == "entry" && line["entry"] == entry;
    lines.iter().filter(wanted).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_killed_node_leaves_is_listed_and_sound() {
    let killed = Stopped::by("-KILL").await;
    let lines = killed.dump(&[]);
    assert_eq!(lines[0]["item"], "superblock");
    assert_eq!(
        (&lines[0]["node"], &lines[1]["node"]),
        (&1.into(), &1.into())
    );
    assert_eq!(lines[2]["file"], "00000000000000000001.seg");
    assert_eq!(
        (&lines[3]["type"], &lines[3]["offset"]),
        (&"checkpoint".into(), &512.into())
    );
    let membership = &entries(&lines, "membership")[0];
    assert_eq!(membership["index"], 1);
    assert_eq!(membership["members"][0]["node"], 1);
    assert_eq!(membership["members"][0]["voter"], true);
    let address = membership["members"][0]["address"].as_str().unwrap();
    assert!(
        killed
            .arguments
            .iter()
            .any(|argument| argument.ends_with(address))
    );
    // On a slow machine it may have led more than once, and requests may have been sent again.
    assert!(!entries(&lines, "noop").is_empty());
    let mut commands: Vec<_> = entries(&lines, "command")
        .into_iter()
        .filter(|line| !line["keys"].is_null())
        .map(|line| format!("{} {}", line["operation"], line["keys"]))
        .collect();
    commands.dedup();
    assert_eq!(
        commands,
        [
            r#""put" {"key":"colour"}"#,
            r#""put" {"key":{"base64":"/w=="}}"#,
            r#""delete" {"key":"colour"}"#,
        ]
    );
    let metadata = lines
        .iter()
        .rfind(|line| line["type"] == "metadata")
        .unwrap();
    assert_eq!(metadata["voted_for"]["node"], 1);
    assert_eq!(metadata["standing"], "complete");

    let last = lines.iter().rfind(|line| line["type"] == "entry").unwrap()["index"].clone();
    let verdict = killed.verify();
    assert_eq!(verdict["sound"], true);
    assert_eq!(
        (&verdict["first_index"], &verdict["last_index"]),
        (&1.into(), &last)
    );
    // Whether it is clean depends on whether the log had come to rest before the node was killed.
    assert_eq!(verdict["boots"], 1);
    assert_eq!(verdict["voted_for"], metadata["voted_for"]);

    // Only what was asked for; and for people the same.
    shown_in_part_and_as_text(&killed, lines.len());

    // Looking did no harm.
    let node = start(&killed.arguments);
    node.says("role=\"leader\"");
    node.signal("-TERM");
    node.finish();
    let verdict = killed.verify();
    assert_eq!(
        (&verdict["clean"], &verdict["boots"]),
        (&true.into(), &2.into())
    );
}

fn shown_in_part_and_as_text(killed: &Stopped, count: usize) {
    let some = killed.dump(&["--from", "2", "--to", "3"]);
    let indexes: Vec<_> = some
        .iter()
        .map(|line| line["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, [2, 3]);
    let output = run(&["log", "dump", &killed.dir()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), count);
    assert!(
        text.contains(r#" operation="put" keys={"key":"colour"} "#),
        "{text}"
    );
    assert!(!text.contains(SECRET), "{text}");
    let output = run(&["log", "verify", &killed.dir()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("log sound=true node=1 ") && text.lines().count() == 1,
        "{text}"
    );
}

/// F-L4: the message of `verify` and that of `serve` name the same place.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flipped_bit_is_named_by_verify_and_by_serve() {
    let stopped = Stopped::by("-TERM").await;
    let lines = stopped.dump(&[]);
    let put = &entries(&lines, "command")[1];
    let (offset, index) = (
        put["offset"].as_u64().unwrap(),
        put["index"].as_u64().unwrap(),
    );
    let segment = stopped.path().join(put["file"].as_str().unwrap());
    let mut bytes = fs::read(&segment).unwrap();
    bytes[offset as usize + 50] ^= 0x10;
    fs::write(&segment, bytes).unwrap();

    let place = format!(
        "{}: damaged at byte {offset}, from index {index} on: ",
        segment.display()
    );
    let output = run(&["log", "verify", &stopped.dir(), "-o", "json"]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let [error, hint] = stderr.lines().collect::<Vec<_>>()[..] else {
        panic!("{stderr}");
    };
    assert!(error.starts_with(&format!("error: {place}")), "{error}");
    assert!(
        hint.starts_with("hint: ") && hint.contains("log dump"),
        "{hint}"
    );
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["sound"], false);
    let damage = &verdict["error"];
    assert_eq!(
        (&damage["code"], &damage["offset"]),
        (&"damaged".into(), &offset.into())
    );
    assert_eq!(damage["index"], index);
    assert_eq!(damage["file"], segment.display().to_string());
    let text = run(&["log", "verify", &stopped.dir()]);
    assert!(text.status.code() == Some(3) && text.stdout.is_empty());

    let arguments: Vec<_> = stopped.arguments.iter().map(String::as_str).collect();
    refused(&arguments, 3, &[&place]);

    // What stands there is listed all the same: a hole, and what verifies behind it.
    // And so is the verdict, in the words of `verify`.
    let (status, mut damaged) = dump(&stopped.path(), &[]);
    assert_eq!((status, damaged.pop()), (Some(3), Some(verdict)));
    let hole = damaged.iter().find(|line| line["item"] == "bytes").unwrap();
    assert_eq!(hole["offset"], offset);
    let behind = entries(&damaged, "command");
    assert!(behind.iter().any(|line| line["standing"] == "stray"));
}

/// Names, bytes and times of all that is in a directory.
fn state(dir: &Path) -> Vec<(PathBuf, i64, i64, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .chain([dir.to_path_buf()])
        .map(|path| {
            let is = path.metadata().unwrap();
            let bytes = fs::read(&path).unwrap_or_default();
            (path, is.mtime(), is.mtime_nsec(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// Run by somebody who may read, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_permission_to_write_is_needed_and_nothing_changes() {
    let killed = Stopped::by("-KILL").await;
    let dir = killed.path();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    // Where whoever runs it can reach it.
    let program = killed.home.path().join("raft-kv");
    fs::copy(env!("CARGO_BIN_EXE_raft-kv"), &program).unwrap();
    for file in fs::read_dir(&dir).unwrap() {
        chmod(&file.unwrap().path(), 0o444).unwrap();
    }
    chmod(&dir, 0o555).unwrap();
    chmod(killed.home.path(), 0o755).unwrap();
    let before = state(&dir);
    for verb in ["verify", "dump"] {
        let mut command = std::process::Command::new(&program);
        command.args(["log", verb]).arg(&dir);
        if before[0].0.metadata().unwrap().uid() == 0 {
            // Root may write anywhere.
            command.uid(65534).gid(65534);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!output.stdout.is_empty());
    }
    assert!(state(&dir) == before, "something changed");
    chmod(&dir, 0o755).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is() {
    let stopped = Stopped::by("-TERM").await;
    for verb in ["dump", "verify"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = command()
            .args(["log", verb, &stopped.dir()])
            .stdout(writer)
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");

        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let child = command()
            .args(["log", verb, &stopped.dir()])
            .stdout(Stdio::from(full))
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}

#[test]
fn where_no_log_is_nothing_is_made() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("missing").display().to_string();
    let empty = home.path().join("empty").display().to_string();
    let photos = home.path().join("photos").display().to_string();
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&photos).unwrap();
    fs::write(home.path().join("photos/cat.jpg"), "cat").unwrap();
    for verb in ["dump", "verify"] {
        for (dir, status, says) in [
            (&missing, 2, "there is no directory"),
            (&empty, 2, "holds no log"),
            (&photos, 3, "cat.jpg"),
        ] {
            let output = run(&["log", verb, dir]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(status), "{said}");
            assert!(said.starts_with("error: ") && said.contains(says), "{said}");
        }
        let help = format!("see `raft-kv log {verb} --help`");
        refused(&["log", verb], 2, &["<DIR>", &help]);
        refused(&["log", verb, &empty, "-o", "xml"], 2, &["xml"]);
    }
    refused(
        &["log"],
        2,
        &["`log` wants dump or verify; see `raft-kv log --help`"],
    );
    refused(&[], 2, &["serve or check-config, log dump or log verify"]);
    let misspelt = run(&["log", "dump", &empty, "--form", "3"]);
    let said = String::from_utf8_lossy(&misspelt.stderr);
    assert!(
        misspelt.status.code() == Some(2) && said.contains("hint: ") && said.contains("'--from'"),
        "{said}"
    );
    assert!(fs::read_dir(&empty).unwrap().next().is_none());
    assert!(!Path::new(&missing).exists());
}

/// A log that another program made is sound, and no node's. That is said once, and not as a problem of each record.
#[test]
fn a_log_of_another_program_is_sound_and_no_nodes() {
    let (home, _) = three_segments(true);
    let dir = home.path().display().to_string();
    let says = "the log is sound, but not one of raft-kv's: its identity is \"somebody's\"";
    refused(&["log", "verify", &dir], 3, &[says]);
    let verdict = run(&["log", "verify", &dir, "-o", "json"]);
    let verdict: Value = serde_json::from_slice(&verdict.stdout).unwrap();
    assert_eq!(
        (&verdict["sound"], &verdict["error"]["code"]),
        (&true.into(), &"not_a_node".into())
    );
    for range in [&[][..], &["--from", "2", "--to", "3"]] {
        let (status, lines) = dump(home.path(), range);
        assert_eq!(status, Some(0));
        let problems: Vec<_> = lines
            .iter()
            .filter(|line| !line["problem"].is_null())
            .collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0]["item"], "superblock");
        assert_eq!(problems[0]["identity"], "somebody's");
    }

    // One of a later release is for that release to judge.
    let home = tempfile::tempdir().unwrap();
    let options = raft_log::Options::new([9; 24]);
    raft_log::Log::open(home.path(), options)
        .unwrap()
        .0
        .close()
        .unwrap();
    let dir = home.path().display().to_string();
    refused(&["log", "verify", &dir], 3, &["upgrade this node"]);
}

/// An entry that was cut and written again stands there twice: a range shows what happened between.
#[test]
fn a_range_shows_what_cut_purged_or_replaced_its_entries() {
    let home = tempfile::tempdir().unwrap();
    let options = raft_log::Options::new("somebody's");
    let (mut log, _) = raft_log::Log::open(home.path(), options).unwrap();
    let record = |index, term| raft_log::Record {
        index,
        term,
        kind: 0,
        payload: b"x",
    };
    let mut batch = raft_log::Batch::new();
    for index in 1..=6 {
        batch.append(record(index, 1));
    }
    log.commit(&batch).unwrap();
    let mut batch = raft_log::Batch::new();
    log.commit(batch.truncate_from(5).append(record(5, 2)))
        .unwrap();
    log.purge(2).unwrap();
    log.close().unwrap();
    let types = |from: &str, to: &str| -> Vec<String> {
        let (_, lines) = dump(home.path(), &["--from", from, "--to", to]);
        let records = lines.iter().filter(|line| line["item"] == "record");
        let of = |line: &Value| {
            let at = if line["index"].is_null() {
                "from"
            } else {
                "index"
            };
            format!("{} {}", line["type"].as_str().unwrap(), line[at])
        };
        records.map(of).collect()
    };
    assert_eq!(types("5", "5"), ["entry 5", "truncate 5", "entry 5"]);
    assert_eq!(types("6", "6"), ["entry 6", "truncate 5"]);
    assert_eq!(types("2", "3"), ["entry 2", "entry 3", "purge 2"]);
    assert_eq!(types("3", "4"), ["entry 3", "entry 4"]);
}

/// A log of three segments with the entries 1 to 6, two in each, and its files.
fn three_segments(close: bool) -> (tempfile::TempDir, Vec<PathBuf>) {
    let home = tempfile::tempdir().unwrap();
    let options = raft_log::Options {
        segment_bytes: 4096,
        ..raft_log::Options::new("somebody's")
    };
    let (mut log, _) = raft_log::Log::open(home.path(), options).unwrap();
    for index in 1..=6 {
        log.commit(raft_log::Batch::new().append(raft_log::Record {
            index,
            term: 1,
            kind: 0,
            payload: &[0x5a; 1200],
        }))
        .unwrap();
    }
    if close {
        log.close().unwrap();
    }
    let files = (1..=3).map(|number| home.path().join(format!("{number:020}.seg")));
    let files = files.collect();
    (home, files)
}

/// What is listed of a log for the range, each line as its kind and its index or offset; and the exit status.
fn listed(dir: &Path, range: [u64; 2]) -> (Option<i32>, Vec<(String, Value)>) {
    let [from, to] = range.map(|index| index.to_string());
    let (status, lines) = dump(dir, &["--from", &from, "--to", &to]);
    // Whose log it is, is told first.
    let lines = lines.into_iter().filter(|line| line["identity"].is_null());
    let lines = lines.map(|line| {
        let item = line["item"].as_str().unwrap().to_owned();
        let at = ["index", "offset", "segments", "segment"];
        let at = at.iter().find(|name| !line[**name].is_null());
        (item, at.map_or(Value::Null, |name| line[*name].clone()))
    });
    (status, lines.collect())
}

fn rot(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

/// Whoever lists a range is told of a damage wherever it is: within the range, before it or behind it.
#[test]
fn a_range_hides_no_damage() {
    let record = |index: u64| ("record".to_owned(), Value::from(index));
    let hole = |item: &str, offset: u64| (item.to_owned(), Value::from(offset));
    let unsound = ("log".to_owned(), Value::Null);
    let (sound, _) = three_segments(true);
    for range in [[1, 2], [3, 4], [5, 6]] {
        let both = vec![record(range[0]), record(range[1])];
        assert_eq!(listed(sound.path(), range), (Some(0), both));
    }
    // The first record of the segment in the middle: the next one verifies behind the hole. Once it is a flipped bit, once
    // zeros over all of it.
    let flip: fn(&mut Vec<u8>) = |bytes| bytes[700] ^= 1;
    let wipe: fn(&mut Vec<u8>) = |bytes| bytes[640..1888].fill(0);
    for (damage, item) in [(flip, "bytes"), (wipe, "zeros")] {
        let (damaged, files) = three_segments(true);
        rot(&files[1], damage);
        let with_hole = |before: &[u64], behind: &[u64]| {
            let before = before.iter().map(|&index| record(index));
            let behind = behind.iter().map(|&index| record(index));
            let all = before.chain([hole(item, 640)]).chain(behind);
            (Some(3), all.chain([unsound.clone()]).collect::<Vec<_>>())
        };
        assert_eq!(listed(damaged.path(), [1, 2]), with_hole(&[1, 2], &[]));
        assert_eq!(listed(damaged.path(), [2, 5]), with_hole(&[2], &[4, 5]));
        assert_eq!(listed(damaged.path(), [5, 6]), with_hole(&[], &[5, 6]));
        let dir = damaged.path().display().to_string();
        let place = format!(
            "{}: damaged at byte 640, from index 3 on",
            files[1].display()
        );
        refused(&["log", "dump", &dir, "--from", "5"], 3, &[&place]);
    }
    // A segment that is gone has no place within it.
    let (damaged, files) = three_segments(true);
    fs::remove_file(&files[1]).unwrap();
    let (status, mut lines) = dump(damaged.path(), &["--to", "1"]);
    lines.remove(0); // whose log it is
    assert_eq!((status, lines.len()), (Some(3), 3));
    assert_eq!(lines[1]["item"], "missing");
    assert_eq!(lines[2]["error"]["offset"], Value::Null);
    let message = lines[2]["error"]["message"].as_str().unwrap();
    let missing = format!("{}: missing: ", files[1].display());
    assert!(message.starts_with(&missing), "{message}");
    // The last batch, of a log that was closed: nothing stands behind, the superblock alone knows.
    let (damaged, files) = three_segments(true);
    rot(&files[2], |bytes| bytes[1888..].fill(0));
    assert_eq!(
        listed(damaged.path(), [1, 1]),
        (Some(3), vec![record(1), unsound])
    );
    // Of a log that was not: a torn tail is shown, and no damage.
    let (torn, files) = three_segments(false);
    rot(&files[2], |bytes| bytes[3000] ^= 1);
    assert_eq!(
        listed(torn.path(), [1, 1]),
        (Some(0), vec![record(1), hole("bytes", 1888)])
    );
    let dir = torn.path().display().to_string();
    let backwards = ["log", "dump", &dir, "--from", "5", "--to", "4"];
    refused(&backwards, 2, &["--from 5 is higher than --to 4"]);
}
