//! What may arrive at an open port: noise, lies, crowds and strangers. The cluster goes on, and its memory stays small.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xtask::chaos::election_arguments;
use xtask::local::wait_for;
use xtask::random::Random;

use crate::harness::{PATIENCE, T, TestCluster, started, unguarded};

/// How much the largest memory of a node may grow by what strangers send: far less than the 4 GiB they lie about.
///
/// Not less than this, since the allocator reserves an arena for every thread that comes to serve a connection.
const GROWTH_BYTES: u64 = 1 << 30;

/// The most memory that a node's process has had, resident and reserved.
fn peak_memory_bytes(cluster: &mut TestCluster, id: u8) -> [u64; 2] {
    let pid = cluster.node(id).unwrap().pid().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    ["VmHWM:", "VmPeak:"].map(|field| {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    })
}

/// Sends bytes to a node and waits until the node closes the connection.
fn send_and_wait_for_close(endpoint: &str, what: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(endpoint).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The node may close before it has read everything.
    let _ = stream.write_all(bytes);
    assert!(
        closes(&stream),
        "{what}: the node does not close the connection"
    );
}

/// Whether the other side closes the connection before the read timeout.
fn closes(mut stream: &TcpStream) -> bool {
    let end = stream.read_to_end(&mut Vec::new());
    !end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The first bytes that a client of ours sends: a valid beginning to cut off and to corrupt.
fn valid_beginning(cluster: &TestCluster) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let client = cluster
        .client()
        .with_endpoints(vec![endpoint])
        .with_timeout(Duration::from_secs(2));
    let asking = thread::spawn(move || client.run(&["get", "a"]));
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = vec![0; 4096];
    let length = stream.read(&mut bytes).unwrap();
    drop((stream, listener));
    let answer = asking.join().unwrap().unwrap();
    assert_eq!(answer.status, Some(6), "{answer:?}");
    bytes.truncate(length);
    assert!(length > 8, "a handshake is longer than {length} bytes");
    bytes
}

/// What strangers send, each with a name.
fn noise_and_lies_of(valid: &[u8], random: &mut Random) -> Vec<(String, Vec<u8>)> {
    let mut sent = vec![
        (
            "HTTP".to_owned(),
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        (
            "a frame cut off".to_owned(),
            valid[..valid.len() / 2].to_vec(),
        ),
    ];
    for length in [u32::MAX.to_le_bytes(), [0xff, 0xff, 0xff, 0xf0]] {
        // The claim at every place where a length might stand, with all else as it should be.
        for at in 0..valid.len().min(16) - 4 {
            let mut bytes = valid.to_vec();
            bytes[at..at + 4].copy_from_slice(&length);
            sent.push((format!("a claim of {length:x?} at byte {at}"), bytes));
        }
    }
    let mut wrong = valid.to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    sent.push(("a wrong checksum".to_owned(), wrong));
    for _ in 0..5 {
        let length = random.within(1, 100_000);
        let noise: Vec<u8> = (0..length)
            .map(|_| u8::try_from(random.within(0, 255)).unwrap())
            .collect();
        let after = [valid, &noise].concat();
        sent.push((
            format!("{length} bytes of garbage after a valid beginning"),
            after,
        ));
        sent.push((format!("{length} bytes of garbage"), noise));
    }
    sent
}

#[test]
fn noise_and_lies() {
    let mut cluster = started(3);
    let seed = Random::fresh_seed();
    println!("seed {seed}");
    let sent = noise_and_lies_of(&valid_beginning(&cluster), &mut Random::new(seed));
    let ids = cluster.ids();
    let before: Vec<_> = ids
        .iter()
        .map(|id| peak_memory_bytes(&mut cluster, *id))
        .collect();
    thread::scope(|scope| {
        for endpoint in cluster.endpoints() {
            for (what, bytes) in &sent {
                let endpoint = endpoint.clone();
                scope.spawn(move || send_and_wait_for_close(&endpoint, what, bytes));
            }
        }
    });
    cluster.assert_works("after noise and lies");
    for (id, before) in ids.into_iter().zip(before) {
        let after = peak_memory_bytes(&mut cluster, id);
        println!(
            "n{id}: largest memory {before:?} bytes before, {after:?} after {} strangers",
            sent.len()
        );
        for (before, after) in before.into_iter().zip(after) {
            assert!(
                after - before < GROWTH_BYTES,
                "n{id} grew by {} bytes",
                after - before
            );
        }
    }
}

#[test]
fn a_thousand_idle_connections() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .unwrap();
    let mut cluster = started(3);
    let endpoint = cluster.endpoint(cluster.leader());
    let idle: Vec<TcpStream> = (0..1000)
        .map(|_| TcpStream::connect(&endpoint).unwrap())
        .collect();
    cluster.assert_works("beside a thousand idle connections");

    // The nodes must find each other again though the crowd is still there: the peers' places are theirs.
    let leader = cluster.leader();
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.node(follower).unwrap().kill().unwrap();
    cluster.start(follower).unwrap();
    let third = cluster
        .ids()
        .into_iter()
        .find(|id| *id != leader && *id != follower)
        .unwrap();
    cluster.node(third).unwrap().kill().unwrap();
    cluster.assert_works("with a follower that had to come back through the crowd");

    // And the crowd is sent away by a deadline, not kept for ever.
    for stream in &idle {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(closes(stream), "an idle connection was kept");
    }
}

#[test]
fn a_node_of_another_cluster() {
    let mut cluster = started(3);
    let folder = tempfile::tempdir().unwrap();
    let mut other = unguarded(3, election_arguments(T), folder.path());
    other.start_all().unwrap();
    other.wait_ready(PATIENCE).unwrap();
    other.node(2).unwrap().kill().unwrap();

    // Node 2 of the other cluster now takes our node 1 for its own, as after a mistake with addresses.
    let mut arguments = other.serve_arguments(2);
    let ours = format!("1={}", cluster.endpoint(1));
    let at = arguments
        .iter()
        .position(|word| word == "--dial-override")
        .unwrap()
        + 1;
    assert!(arguments[at].starts_with("1="), "{arguments:?}");
    arguments[at] = ours;
    other
        .node(2)
        .unwrap()
        .start(&crate::harness::binaries().server, &arguments)
        .unwrap();

    let says_so = |lines: Vec<String>| {
        lines
            .into_iter()
            .find(|line| line.contains("cluster") && line.contains("refuse"))
    };
    for (name, journal) in [
        ("ours", cluster.node(1).unwrap().journal.clone()),
        ("the stranger", other.node(2).unwrap().journal.clone()),
    ] {
        let line = wait_for(
            &format!("{name} to say that the clusters differ"),
            PATIENCE,
            || {
                says_so(journal.lines())
                    .ok_or_else(|| anyhow::anyhow!("the last line is {:?}", journal.last_line()))
            },
        );
        println!("{name}: {}", line.unwrap());
    }
    cluster.assert_works("beside a stranger");
    other.wait_ready(PATIENCE).unwrap();
}
