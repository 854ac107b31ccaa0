//! Looking into a stopped node's log: what stands there, and whether it is sound.

mod items;
mod line;
mod range;
mod stored;

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use raft_kv::glue;
use raft_kv::wire;
use raft_log::inspect::{InspectError, Inspection, Verified};
use raft_log::{OpenError, OsFiles};
use serde_json::{Value, json};

use crate::flags::{DumpFlags, LogFormat, VerifyFlags};
use crate::{EXIT_DATA, EXIT_OTHER, EXIT_USAGE, Failure};
use line::{Line, position};
use range::Chosen;

/// How much of a listing is gathered before it is written.
const OUTPUT_BYTES: usize = 64 * 1024;

/// What to do where there is no log.
const NO_LOG_HINT: &str = "give it the --data-dir of a node that does not run";

/// Lists what stands in the log, then says whether it is damaged: a list alone, or a part of it, would not tell.
pub(crate) fn dump(flags: &DumpFlags) -> Result<(), Failure> {
    let mut chosen = Chosen::new(flags.from, flags.to)?;
    let inspection = open(&flags.dir)?;
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock());
    let listed = inspection.dump(|item| {
        let mut lines = chosen.lines(&item).into_iter();
        match lines.try_for_each(|line| line.print(&mut out, flags.output)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    });
    let listed = listed.map_err(|error| Failure::new(EXIT_DATA, error.to_string()))?;
    let written = match listed {
        ControlFlow::Continue(()) => out.flush(),
        ControlFlow::Break(error) => Err(error),
    };
    if written.is_err() {
        return printed(written);
    }
    let Err(error) = inspection.verify() else {
        return Ok(());
    };
    let dir = flags.dir.display();
    let hint = if chosen.is_all() {
        format!("`raft-kv log verify {dir}` says no more; the list shows what still verifies")
    } else {
        format!("`raft-kv log dump {dir}` without a range lists all that is there")
    };
    refused(
        &mut out,
        flags.output,
        false,
        error.to_string(),
        damage(&error),
        hint,
    )
}

/// Whoever does not want to read on is no failure.
fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            EXIT_OTHER,
            format!("standard output cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

fn open(dir: &Path) -> Result<Inspection, Failure> {
    Inspection::open(dir).map_err(not_open)
}

/// Why a directory cannot be looked into, and what to do.
pub(crate) fn not_open(error: InspectError) -> Failure {
    match error {
        InspectError::Missing { dir } => Failure {
            hint: Some(NO_LOG_HINT.into()),
            ..Failure::new(
                EXIT_USAGE,
                format!("there is no directory {}", dir.display()),
            )
        },
        InspectError::Empty { dir } => Failure {
            hint: Some(NO_LOG_HINT.into()),
            ..Failure::new(
                EXIT_USAGE,
                format!("{} holds no log: there is nothing in it", dir.display()),
            )
        },
        InspectError::Open(OpenError::NotALog { dir, found }) => Failure {
            hint: Some(NO_LOG_HINT.into()),
            ..Failure::new(
                EXIT_DATA,
                format!(
                    "{} holds no log, but other files such as {found:?}",
                    dir.display()
                ),
            )
        },
        InspectError::Open(OpenError::Locked { dir }) => Failure {
            hint: Some("stop the node first; one that runs is asked with `raft-cli status`".into()),
            ..Failure::new(
                EXIT_DATA,
                format!("{} is in use by another process", dir.display()),
            )
        },
        error => Failure::new(EXIT_DATA, error.to_string()),
    }
}

/// Says whether the log is sound.
pub(crate) fn verify(flags: &VerifyFlags) -> Result<(), Failure> {
    let inspection = open(&flags.dir)?;
    let dir = flags.dir.display();
    let (sound, message, fields, hint) = match inspection.verify() {
        Ok(mut verified) => match node(&mut verified) {
            Ok(line) => return printed(line.print(&mut io::stdout().lock(), flags.output)),
            Err(message) => {
                let hint = format!("`raft-kv log dump {dir}` lists what stands there");
                (true, message, json!({ "code": "not_a_node" }), hint)
            }
        },
        Err(error) => {
            let hint = format!(
                "`raft-kv log dump {dir}` lists what stands there, and what does not verify"
            );
            (false, error.to_string(), damage(&error), hint)
        }
    };
    let mut out = io::stdout().lock();
    refused(&mut out, flags.output, sound, message, fields, hint)
}

/// The end of a log that no node could start with, be it sound or not: a line for programs, the message for people, and the exit status for both.
fn refused(
    out: &mut impl Write,
    format: LogFormat,
    sound: bool,
    message: String,
    mut error: Value,
    hint: String,
) -> Result<(), Failure> {
    if let (LogFormat::Json, Some(fields)) = (format, error.as_object_mut()) {
        fields.insert("message".into(), json!(message));
        let line = json!({ "item": "log", "sound": sound, "error": error });
        printed(writeln!(out, "{line}").and_then(|()| out.flush()))?;
    }
    Err(Failure {
        hint: Some(hint),
        ..Failure::new(EXIT_DATA, message)
    })
}

/// What an error says, in fields.
fn damage(error: &OpenError) -> Value {
    match error {
        OpenError::Corrupt {
            file,
            offset,
            index,
            what,
        } => {
            // What is missing has no place within the file.
            let offset = (!what.is_of_whole_file()).then_some(offset);
            json!({ "code": "damaged", "file": file.display().to_string(), "offset": offset, "index": index })
        }
        OpenError::UnknownVersion { file, found, .. } => {
            json!({ "code": "unknown_version", "file": file.display().to_string(), "found": found })
        }
        _ => json!({ "code": "unreadable" }),
    }
}

/// A sound log as a node's: the checks that `serve` makes once the log is open, and the summary.
fn node(verified: &mut Verified<OsFiles>) -> Result<Line, String> {
    if stored::is_foreign(&verified.identity) {
        let identity = stored::foreign(&verified.identity);
        return Err(format!(
            "the log is sound, but not one of raft-kv's: its identity is {identity}"
        ));
    }
    let identity = wire::decode_identity(verified.identity.clone().into())
        .map_err(|error| format!("the log is sound, but no node's: {error}"))?;
    let recovery = &verified.recovery;
    let snapshot = verified.snapshot.take();
    let head = |_| match snapshot {
        Some(mut snapshot) => wire::read_snapshot_head(&mut snapshot),
        None => Err(std::io::ErrorKind::NotFound.into()),
    };
    let disk = glue::recovered(recovery, &verified.reader, head)
        .map_err(|error| format!("the log is sound, but what it holds is no node's: {error}"))?;
    let mut line = Line::new("log");
    line.add("sound", json!(true));
    line.add("node", json!(identity.node.0));
    line.add(
        "incarnation",
        json!(format!("{:x}", identity.incarnation.0)),
    );
    if let Some(disk) = disk {
        line.add("cluster", json!(disk.cluster.to_string()));
        stored::hard_state(&mut line, &disk.hard_state);
    }
    line.add("first_index", json!(recovery.first_index));
    line.add("last_index", json!(recovery.last_index));
    let snapshot = recovery.snapshot;
    line.add(
        "snapshot",
        json!(snapshot.map(|id| json!({ "index": id.index, "term": id.term }))),
    );
    line.add("boots", json!(recovery.boot - 1));
    line.add("segments", line::numbers(&verified.segments));
    line.add("segment_bytes", json!(verified.bytes));
    line.add("end", position(verified.end));
    line.add("durable", position(verified.durable));
    line.add("clean", json!(recovery.clean));
    line.add("superblock_copies", json!(verified.superblock_copies));
    let cut = recovery.cut.as_ref().map(|cut| {
        json!({
            "file": cut.file.display().to_string(), "offset": cut.offset, "bytes": cut.bytes, "records": cut.records
        })
    });
    line.add("cut", json!(cut));
    Ok(line)
}
