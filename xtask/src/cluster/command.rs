//! The commands for a running cluster: one a line, the same from a terminal, a pipe and a script.

use std::num::ParseIntError;

use anyhow::{Result, anyhow, bail, ensure};

/// What `help` prints.
pub(super) const HELP: &str = "\
status            what every node is doing
kill N            end the process of node N with SIGKILL
start N           start it again
pause N           stop its process where it is (SIGSTOP)
resume N          let it go on
isolate N         cut node N off from the other nodes; clients still reach it
heal              end every isolation
add               start a new node and take it in as a voter
remove N          take node N out of the cluster and end it
transfer N        have node N lead
wait leader       wait until a leader has acknowledged a write, and name it
cli COMMAND…      run raft-cli COMMAND… against this cluster
cli=S COMMAND…    the same, where exit status S is what is expected
help              this list
quit              end all nodes and this command (also Ctrl-C)
Instead of a number, N may be `leader` or `all`. A line that begins with # is a comment.";

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Status,
    Kill(Which),
    Start(Which),
    Pause(Which),
    Resume(Which),
    Isolate(Which),
    Heal,
    Add,
    Remove(Which),
    Transfer(Which),
    WaitLeader,
    Cli {
        expected: i32,
        arguments: Vec<String>,
    },
    Help,
    Quit,
}

/// The nodes that a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Node(u8),
    Leader,
    All,
}

/// Reads a line; nothing where it is empty or a comment.
///
/// # Errors
/// When there is no such command, or it is not complete.
pub(super) fn parse(line: &str) -> Result<Option<Command>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let words =
        shlex::split(line).ok_or_else(|| anyhow!("a quotation mark is not closed in `{line}`"))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = match words.as_slice() {
        ["status"] => Command::Status,
        ["kill", which] => Command::Kill(parse_which(which)?),
        ["start", which] => Command::Start(parse_which(which)?),
        ["pause", which] => Command::Pause(parse_which(which)?),
        ["resume", which] => Command::Resume(parse_which(which)?),
        ["isolate", which] => Command::Isolate(parse_which(which)?),
        ["heal"] => Command::Heal,
        ["add"] => Command::Add,
        ["remove", which] => Command::Remove(parse_which(which)?),
        ["transfer", which] => Command::Transfer(parse_which(which)?),
        ["wait", "leader"] => Command::WaitLeader,
        ["help"] => Command::Help,
        ["quit" | "exit"] => Command::Quit,
        [verb, arguments @ ..] if *verb == "cli" || verb.starts_with("cli=") => {
            let expected = verb.strip_prefix("cli=").unwrap_or("0");
            let expected = expected
                .parse()
                .map_err(|_| anyhow!("`{expected}` is not an exit status"))?;
            ensure!(
                !arguments.is_empty(),
                "`{verb}` needs a command of raft-cli: for example `cli get hello`"
            );
            Command::Cli {
                expected,
                arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            }
        }
        [
            verb @ ("kill" | "start" | "pause" | "resume" | "isolate" | "remove" | "transfer"),
            ..,
        ] => {
            bail!(
                "`{verb}` needs one node: for example `{verb} 1`, `{verb} leader` or `{verb} all`"
            )
        }
        ["wait", ..] => bail!("only `wait leader` can be waited for"),
        [
            verb @ ("status" | "heal" | "add" | "help" | "quit" | "exit"),
            ..,
        ] => {
            bail!("`{verb}` takes nothing more")
        }
        _ => bail!("unknown command `{line}`; `help` lists them"),
    };
    Ok(Some(command))
}

fn parse_which(word: &str) -> Result<Which> {
    match word {
        "leader" => Ok(Which::Leader),
        "all" => Ok(Which::All),
        // Logs and status write n1, so that may be typed too.
        _ => word
            .strip_prefix('n')
            .unwrap_or(word)
            .parse()
            .map(Which::Node)
            .map_err(|_: ParseIntError| {
                anyhow!("`{word}` is no node; write a number, `leader` or `all`")
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_list_is_read() {
        let mut read = 0;
        for line in HELP.lines().filter(|line| line.contains("  ")) {
            let example = line
                .split("  ")
                .next()
                .unwrap()
                .replace('N', "1")
                .replace("=S", "=3")
                .replace('…', " x");
            assert!(parse(&example).unwrap().is_some(), "{example}");
            read += 1;
        }
        assert_eq!(read, 15);
    }

    #[test]
    fn words_nodes_and_quotes() {
        assert_eq!(
            parse("  kill n2 ").unwrap(),
            Some(Command::Kill(Which::Node(2)))
        );
        assert_eq!(
            parse("isolate leader").unwrap(),
            Some(Command::Isolate(Which::Leader))
        );
        assert_eq!(parse("# a comment").unwrap(), None);
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(
            parse("cli=3 get 'a b'").unwrap(),
            Some(Command::Cli {
                expected: 3,
                arguments: vec!["get".into(), "a b".into()]
            })
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            ("kil 1", "unknown command `kil 1`; `help` lists them"),
            (
                "kill",
                "`kill` needs one node: for example `kill 1`, `kill leader` or `kill all`",
            ),
            (
                "kill 1 2",
                "`kill` needs one node: for example `kill 1`, `kill leader` or `kill all`",
            ),
            (
                "kill x",
                "`x` is no node; write a number, `leader` or `all`",
            ),
            (
                "kill 300",
                "`300` is no node; write a number, `leader` or `all`",
            ),
            ("heal 1", "`heal` takes nothing more"),
            ("wait", "only `wait leader` can be waited for"),
            (
                "cli",
                "`cli` needs a command of raft-cli: for example `cli get hello`",
            ),
            ("cli=x get a", "`x` is not an exit status"),
            (
                "cli get 'a",
                "a quotation mark is not closed in `cli get 'a`",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), said);
        }
    }
}
