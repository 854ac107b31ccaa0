//! The README's quick start, taken out of the README and carried out as a newcomer would.
//!
//! It is the fenced block marked `sh` whose first line is `# quick start`. The line with `cargo xtask cluster` runs on
//! while the others are carried out one after the other; a comment behind a command is what it has to print.

use std::fs;
use std::process::Command;

use xtask::cargo::workspace_root;

use crate::cluster_command::ClusterCommand;
use crate::harness::alone;

/// The lines of the quick start that are commands, each with what it has to print.
fn commands(readme: &str) -> Vec<(String, Option<String>)> {
    let (_, block) = readme
        .split_once("```sh\n# quick start")
        .expect("README.md has no quick start");
    let (block, _) = block
        .split_once("\n```")
        .expect("the quick start has no end");
    let lines = block
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(" # ") {
            Some((command, prints)) => (
                command.trim_end().to_owned(),
                Some(prints.trim().to_owned()),
            ),
            None => (line.to_owned(), None),
        })
        .collect()
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(workspace_root());
    shell
}

#[test]
fn the_quick_start_of_the_readme_works() {
    let _alone = alone();
    let readme = fs::read_to_string(workspace_root().join("README.md")).unwrap();
    let commands = commands(&readme);
    let (clusters, others): (Vec<_>, Vec<_>) = commands
        .into_iter()
        .partition(|(command, _)| command.starts_with("cargo xtask cluster"));
    assert_eq!(clusters.len(), 1, "the quick start starts one cluster");
    assert!(
        others
            .iter()
            .any(|(command, prints)| command.contains("get") && prints.is_some()),
        "{others:?}"
    );

    // `exec`, so that it is the command itself that gets the Ctrl-C, and not the shell before it.
    let mut cluster = ClusterCommand::spawn(shell(&format!("exec {}", clusters[0].0)));
    assert_eq!(
        cluster.line_that_begins("ready:"),
        "ready: 127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103"
    );
    for (command, prints) in others {
        let output = shell(&command).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        println!("{command}\n{printed}");
        assert!(output.status.success(), "{command}: {output:?}");
        if let Some(prints) = prints {
            assert!(
                printed.starts_with(&prints),
                "`{command}` printed {printed:?}, not {prints:?}"
            );
        }
    }
    cluster.interrupt();
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn commands_are_taken_out_of_the_block() {
    let readme = "x\n```sh\nother\n```\n```sh\n# quick start\ncargo xtask cluster\n\n# there\nget a    # 1\n```\n";
    let expected = [
        ("cargo xtask cluster".to_owned(), None),
        ("get a".to_owned(), Some("1".to_owned())),
    ];
    assert_eq!(commands(readme), expected);
}
