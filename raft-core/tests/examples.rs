//! The examples do what they say: each asserts its own result.

#[path = "../examples/embed.rs"]
mod embed;

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
