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
    unsound(
        &mut out,
        flags.output,
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
    Inspection::open(dir).map_err(|error| match error {
        InspectError::Empty { dir } => Failure {
            hint: Some("give it the --data-dir of a node that does not run".into()),
            ..Failure::new(
                EXIT_USAGE,
                format!("{} holds no log: there is nothing in it", dir.display()),
            )
        },
        error @ InspectError::Open(OpenError::Locked { .. }) => Failure {
            hint: Some("stop the node first; one that runs is asked with `raft-cli status`".into()),
            ..Failure::new(EXIT_DATA, error.to_string())
        },
        error => Failure::new(EXIT_DATA, error.to_string()),
    })
}

/// Says whether the log is sound.
pub(crate) fn verify(flags: &VerifyFlags) -> Result<(), Failure> {
    let inspection = open(&flags.dir)?;
    let verdict = inspection
        .verify()
        .map_err(|error| {
            let fields = damage(&error);
            (error.to_string(), fields)
        })
        .and_then(|verified| {
            node(&verified).map_err(|message| (message, json!({ "code": "not_a_node" })))
        });
    let mut out = io::stdout().lock();
    match verdict {
        Ok(line) => printed(line.print(&mut out, flags.output)),
        Err((message, fields)) => {
            let dir = flags.dir.display();
            let hint = format!(
                "`raft-kv log dump {dir}` lists what stands there, and what does not verify"
            );
            unsound(&mut out, flags.output, message, fields, hint)
        }
    }
}

/// The end of a log that is not sound: a line for programs, the message for people, and the exit status for both.
fn unsound(
    out: &mut impl Write,
    format: LogFormat,
    message: String,
    mut error: Value,
    hint: String,
) -> Result<(), Failure> {
    if let (LogFormat::Json, Some(fields)) = (format, error.as_object_mut()) {
        fields.insert("message".into(), json!(message));
        let line = json!({ "item": "log", "sound": false, "error": error });
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
fn node(verified: &Verified<OsFiles>) -> Result<Line, String> {
    let identity = wire::decode_identity(verified.identity.clone().into())
        .map_err(|error| format!("the log is sound, but no node's: {error}"))?;
    let recovery = &verified.recovery;
    let disk = glue::recovered(recovery, &verified.reader)
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
