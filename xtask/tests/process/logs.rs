//! A node's log is for whoever reads it. When nobody does any more, the node goes on.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::harness::{PATIENCE, binaries, prepared};

/// A server outside the harness, which would read its log. Dropping it kills it.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_outlives_the_reader_of_its_log() {
    let mut cluster = prepared(3);
    fs::create_dir_all(cluster.data_dir(1).parent().unwrap()).unwrap();
    let mut command = Command::new(binaries().server);
    command.args(cluster.serve_arguments(1));
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut node = Unread(command.spawn().unwrap());
    cluster.start(2).unwrap();
    cluster.start(3).unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    drop(node.0.stderr.take());
    // Peers that go and come, and roles that change, are worth lines in the log.
    for id in [2, 3] {
        cluster.node(id).unwrap().kill().unwrap();
    }
    cluster.start(2).unwrap();
    cluster.start(3).unwrap();
    cluster.assert_works("with the others new");
    cluster.node(3).unwrap().kill().unwrap();
    // Only with node 1 is there a majority.
    cluster.assert_works("with the node whose log nobody reads");
    assert!(node.0.try_wait().unwrap().is_none(), "the node has ended");
}
