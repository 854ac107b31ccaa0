//! What a server refuses to start with: one clear line, and the exit status that says what kind of trouble it is.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::harness::{PATIENCE, TestCluster, alone, binaries, prepared, started};
use xtask::local::{Node, wait_for};

/// Runs `raft-kv` to its end.
fn raft_kv(arguments: &[&str]) -> Output {
    Command::new(binaries().server)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The line that says what is wrong.
fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .lines()
        .next_back()
        .unwrap_or_default()
        .to_owned()
}

/// Starts a node of the cluster that has to end by itself, and checks how.
fn ends(cluster: &mut TestCluster, id: u8, status: i32, says: &[&str]) {
    cluster.start(id).unwrap();
    check_end(cluster.node(id).unwrap(), status, says);
}

fn check_end(node: &mut Node, status: i32, says: &[&str]) {
    let code = node.wait(PATIENCE).unwrap().code();
    let said = node.journal.last_line().unwrap_or_default();
    println!("exit status {code:?}: {said}");
    assert_eq!(code, Some(status), "{said}");
    for word in says {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

#[test]
fn wrong_flags() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("n1").display().to_string();
    let good = [
        "serve",
        "--id",
        "1",
        "--listen",
        "127.0.0.1:1",
        "--data-dir",
        &dir,
        "--cluster",
        "1=127.0.0.1:1",
    ];
    let with = |at: usize, value: &'static str| {
        let mut arguments = good.to_vec();
        arguments[at] = value;
        arguments
    };
    let and = |more: &[&'static str]| [&good[..], more].concat();
    for arguments in [
        vec!["no-such-command"],
        vec!["serve"],
        vec!["serve", "--no-such-flag"],
        with(2, "0"),
        with(2, "one"),
        with(4, "nowhere"),
        with(8, "1=nowhere"),
        with(8, "2=127.0.0.1:1"),
        with(8, "1=127.0.0.1:1,1=127.0.0.1:2"),
        with(8, ""),
        and(&["--election-timeout", "soon"]),
        // Less than three heartbeats: one lost message would depose a leader.
        and(&["--election-timeout", "290ms", "--heartbeat", "100ms"]),
        and(&["--heartbeat", "0ms"]),
    ] {
        let output = raft_kv(&arguments);
        println!("{arguments:?}: {}", last_line(&output));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert!(
        !Path::new(&dir).exists(),
        "a refused start left something behind"
    );
}

#[test]
fn a_busy_port() {
    let mut cluster = prepared(1);
    let port = cluster.endpoint(1);
    let _taken = TcpListener::bind(&port).unwrap();
    ends(&mut cluster, 1, 1, &[&port]);
}

#[test]
fn a_data_directory_that_is_in_use() {
    let mut cluster = started(1);
    let mut second = Node::new(xtask::local::Journal::new(2, xtask::local::Echo::Off));
    let mut arguments = cluster.serve_arguments(1);
    let listen = arguments
        .iter()
        .position(|word| word == "--listen")
        .unwrap()
        + 1;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    arguments[listen] = free.to_string();
    second.start(&binaries().server, &arguments).unwrap();
    check_end(
        &mut second,
        3,
        &[&cluster.data_dir(1).display().to_string()],
    );
    cluster.assert_works("beside the refused one");
}

#[test]
fn a_data_directory_of_another_node() {
    let mut cluster = started(3);
    for id in cluster.ids() {
        cluster.node(id).unwrap().kill().unwrap();
    }
    let (one, two, aside) = (
        cluster.data_dir(1),
        cluster.data_dir(2),
        cluster.path("aside"),
    );
    let swap = || {
        fs::rename(&one, &aside).unwrap();
        fs::rename(&two, &one).unwrap();
        fs::rename(&aside, &two).unwrap();
    };
    swap();
    ends(&mut cluster, 1, 3, &[&one.display().to_string()]);
    ends(&mut cluster, 2, 3, &[&two.display().to_string()]);
    swap();
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
}

#[test]
fn a_folder_that_is_no_data_directory() {
    let mut cluster = prepared(1);
    let dir = cluster.data_dir(1);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("holiday.jpg"), [0xff; 4096]).unwrap();
    ends(&mut cluster, 1, 3, &[&dir.display().to_string()]);
    assert_eq!(
        fs::read_dir(&dir).unwrap().count(),
        1,
        "something was written into a foreign folder"
    );

    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "a file").unwrap();
    ends(&mut cluster, 1, 3, &[&dir.display().to_string()]);
}

/// The files of a data directory that hold the log, the largest of each folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_damaged_log() {
    let mut cluster = started(1);
    let needle = "a-value-that-stands-out-in-the-log";
    cluster.put("early", needle);
    // Later writes carry the news that the earlier ones are durable: only what is above that can be a torn write.
    for n in 0..20 {
        cluster.put("later", &n.to_string());
    }
    cluster.node(1).unwrap().kill().unwrap();
    let (path, mut bytes, at) = files_below(&cluster.data_dir(1))
        .into_iter()
        .find_map(|path| {
            let bytes = fs::read(&path).unwrap();
            let at = bytes
                .windows(needle.len())
                .position(|window| window == needle.as_bytes())?;
            Some((path, bytes, at))
        })
        .expect("the value is in no file of the data directory");
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    ends(&mut cluster, 1, 3, &[&name]);
    assert_eq!(fs::read(&path).unwrap(), bytes, "a damaged log was changed");

    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    cluster.start(1).unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    assert_eq!(cluster.get("early"), needle);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files_below(from) {
        let copy = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&path, copy).unwrap();
    }
}

/// A crash may tear the end of a log; it takes no file away. Without one, a node either stops and says so, or the file
/// held nothing of worth, such as a spare segment or a lock.
#[test]
fn a_file_that_is_missing() {
    let mut cluster = started(1);
    cluster.put("a", "1");
    cluster.node(1).unwrap().ask_to_stop().unwrap();
    cluster.node(1).unwrap().wait(PATIENCE).unwrap();
    let (dir, whole) = (cluster.data_dir(1), cluster.path("whole"));
    fs::rename(&dir, &whole).unwrap();
    let mut refused = 0;
    for path in files_below(&whole) {
        let name = path.strip_prefix(&whole).unwrap();
        copy_folder(&whole, &dir);
        fs::remove_file(dir.join(name)).unwrap();
        cluster.start(1).unwrap();
        let ended = wait_for("the node to end or to work", PATIENCE, || {
            if let Some(status) = cluster.node(1)?.reap()? {
                return Ok(Some(status));
            }
            cluster
                .client()
                .with_timeout(Duration::from_secs(1))
                .acknowledged_write()
                .map(|()| None)
        });
        if let Some(status) = ended.unwrap() {
            let said = cluster
                .node(1)
                .unwrap()
                .journal
                .last_line()
                .unwrap_or_default();
            println!("without {}: {status}: {said}", name.display());
            assert_eq!(status.code(), Some(3), "without {}: {said}", name.display());
            refused += 1;
        } else {
            println!("without {}: works", name.display());
            assert_eq!(cluster.get("a"), "1", "without {}", name.display());
            cluster.node(1).unwrap().kill().unwrap();
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(
        refused >= 2,
        "at least the superblock and the log are of worth"
    );
}
