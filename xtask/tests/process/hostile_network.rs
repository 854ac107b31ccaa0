//! What may arrive at an open port: noise, lies, crowds and strangers. The cluster goes on, and its memory stays small.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xtask::chaos::election_arguments;
use xtask::local::wait_for;
use xtask::random::Random;

use crate::harness::{PATIENCE, T, TestCluster, started, unguarded};

/// How much the largest memory of a node may grow by what a stranger sends: far less than any lie it tells.
const GROWTH_BYTES: u64 = 64 << 20;

/// The largest resident memory that a node's process has had.
fn peak_memory_bytes(cluster: &mut TestCluster, id: u8) -> u64 {
    let pid = cluster.node(id).unwrap().pid().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// Sends bytes to a node and waits until the node closes the connection.
fn send_and_wait_for_close(endpoint: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(endpoint).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The node may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    assert!(
        !end.as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        "the node neither answers nor closes"
    );
    answer
}

/// Sends the same to every node, and checks that all of them bear it.
fn bear(cluster: &mut TestCluster, what: &str, bytes: &[u8]) {
    let before: Vec<u64> = cluster
        .ids()
        .into_iter()
        .map(|id| peak_memory_bytes(cluster, id))
        .collect();
    for (id, before) in cluster.ids().into_iter().zip(before) {
        let answer = send_and_wait_for_close(&cluster.endpoint(id), bytes);
        println!("{what}: n{id} answered {} bytes and closed", answer.len());
        let grown = peak_memory_bytes(cluster, id).saturating_sub(before);
        assert!(grown < GROWTH_BYTES, "{what}: n{id} grew by {grown} bytes");
    }
    cluster.assert_works(what);
}

/// The first bytes that a client of ours sends: a valid beginning to cut off and to corrupt.
fn valid_beginning(cluster: &TestCluster) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = cluster
        .client()
        .with_endpoints(vec![listener.local_addr().unwrap().to_string()]);
    let asking = std::thread::spawn(move || {
        client
            .with_timeout(Duration::from_secs(2))
            .run(&["get", "a"])
    });
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

#[test]
fn noise_and_lies() {
    let mut cluster = started(3);
    let valid = valid_beginning(&cluster);

    bear(
        &mut cluster,
        "HTTP",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    bear(&mut cluster, "a frame cut off", &valid[..valid.len() / 2]);
    for (what, length) in [
        ("4 GiB, little end first", u32::MAX.to_le_bytes()),
        ("4 GiB less", [0xff, 0xff, 0xff, 0xf0]),
    ] {
        // The claim at every place where a length might stand, with all before it as it should be.
        for at in [0, 4, 8] {
            let mut bytes = valid.clone();
            bytes[at..at + 4].copy_from_slice(&length);
            bear(
                &mut cluster,
                &format!("a claim of {what}, at byte {at}"),
                &bytes,
            );
        }
    }
    let mut wrong = valid.clone();
    *wrong.last_mut().unwrap() ^= 1;
    bear(&mut cluster, "a wrong checksum", &wrong);

    let seed = Random::fresh_seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for _ in 0..5 {
        let length = random.within(1, 100_000);
        let noise: Vec<u8> = (0..length)
            .map(|_| u8::try_from(random.within(0, 255)).unwrap())
            .collect();
        bear(&mut cluster, "garbage", &noise);
        let after_a_handshake = [&valid[..], &noise].concat();
        bear(
            &mut cluster,
            "garbage after a valid beginning",
            &after_a_handshake,
        );
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
    assert!(peak_memory_bytes(&mut cluster, leader) < 4 * GROWTH_BYTES);

    // And the crowd is sent away by a deadline, not kept for ever.
    for stream in &idle {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        let end = (&*stream).read_to_end(&mut rest);
        assert!(
            !end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "an idle one was kept"
        );
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
