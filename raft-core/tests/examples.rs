//! The examples do what they say: each asserts its own result.

#[path = "../examples/embed.rs"]
mod embed;

#[path = "../examples/snapshots_and_members.rs"]
mod snapshots_and_members;

#[path = "../examples/three_nodes.rs"]
mod three_nodes;

#[test]
fn three_nodes_over_channels() {
    embed::main();
}

#[test]
fn a_node_that_is_killed_comes_back() {
    three_nodes::main();
}

#[test]
fn snapshots_and_changes_of_the_membership() {
    snapshots_and_members::main();
}
