//! The runbook's commands, carried out in their order as they are written: `docs/operations.md`, every block marked `sh`.
//!
//! They run in one shell, in a folder of their own, with the built programs first on its path; the first that fails ends it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use xtask::cargo::workspace_root;
use xtask::local::wait_for;

use crate::harness::{PATIENCE, alone, binaries};

/// All blocks, one after the other.
fn script(runbook: &str) -> String {
    let blocks = runbook.split("```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split_once("```").expect("a block has an end").0);
    blocks.collect::<Vec<_>>().join("\n")
}

/// Where a node listens that is started like this.
fn port_of(serve: &str) -> &str {
    let word = |flag: &str| {
        let (_, rest) = serve.split_once(flag)?;
        rest.split_whitespace().next()
    };
    let id = word("--id ").unwrap();
    let address = word("--listen ").or_else(|| {
        let list = word("--cluster ")?.split(',');
        list.filter_map(|member| member.split_once('='))
            .find_map(|(member, address)| (member == id).then_some(address))
    });
    address.unwrap().rsplit_once(':').unwrap().1
}

#[test]
fn the_runbooks_commands_work_as_they_are_written() {
    let _alone = alone();
    let runbook = fs::read_to_string(workspace_root().join("docs/operations.md")).unwrap();
    let script = script(&runbook);
    let commands: Vec<&str> = script.lines().filter(|line| !line.is_empty()).collect();
    assert!(commands.len() > 20, "{commands:?}");
    let home = tempfile::tempdir().unwrap();
    let programs = binaries();
    let folder = programs.server.parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());

    // Whoever types the commands sees that a node has started before going on: the script waits for its port. `wait` of a process that was
    // killed is no failure. However it ends, so do the nodes.
    let mut text = String::from("set -u\ntrap 'kill -9 $(jobs -p) 2>/dev/null' EXIT\n");
    for command in &commands {
        let quoted = command.replace('\'', r"'\''");
        text.push_str(&format!("echo '$ {quoted}'\n"));
        if let Some(node) = command.strip_suffix(" &") {
            let port = port_of(node);
            text.push_str(&format!("{node} > /dev/null 2>> {port}.log &\n"));
            text.push_str(&format!(
                "for i in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; sleep 0.05; done\n"
            ));
        } else if command.starts_with("wait ") {
            text.push_str(&format!("{command} || true\n"));
        } else {
            text.push_str(&format!(
                "{command} || {{ echo \"failed: $?\"; tail -n 5 *.log; exit 1; }}\n"
            ));
        }
    }
    text.push_str("kill $(jobs -p)\nwait\ntrap - EXIT\necho done\n");

    let child = Command::new("bash")
        .arg("-c")
        .arg(&text)
        .current_dir(home.path())
        .env("PATH", path)
        .env_remove("RAFT_ENDPOINTS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{said}\n{wrong}");
    assert!(said.ends_with("done\n"), "{said}\n{wrong}");
    assert!(said.contains("\nred\n"), "{said}");
    // Nothing is left running.
    wait_for(
        "the ports to be free",
        PATIENCE.min(Duration::from_secs(10)),
        || {
            for port in [7101, 7103, 7104, 7112] {
                std::net::TcpListener::bind(("127.0.0.1", port))?;
            }
            Ok(())
        },
    )
    .unwrap();
}
