//! What a dump lists, as lines.

use std::path::Path;

use raft_kv::wire;
use raft_log::SnapshotId;
use raft_log::inspect::{
    CheckpointFacts, Content, Gap, Item, RecordItem, SegmentItem, SnapshotItem, Standing,
    SuperblockItem, Unreadable,
};
use serde_json::{Value, json};

use super::line::{Line, numbers, position};
use super::stored;

/// Whose log it is, and so, whether its payloads can be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A node, or nobody knows.
    Node,
    /// Another program.
    Other,
}

pub(crate) fn line(item: &Item<'_>, owner: Owner) -> Line {
    match item {
        Item::Superblock(copy) => superblock(copy),
        Item::Segment(head) => segment(head),
        Item::Missing(segments) => {
            let mut line = Line::new("missing");
            line.add("segments", numbers(segments));
            line
        }
        Item::Record(item) => record(item, owner),
        Item::Gap(item) => gap(item),
        Item::Snapshot(item) => snapshot(item),
        _ => Line::new("unknown"),
    }
}

/// The name alone: the directory is known to whoever asks.
fn file(path: &Path) -> Value {
    json!(path.file_name().unwrap_or_default().to_string_lossy())
}

fn unreadable(line: &mut Line, why: Unreadable) {
    let problem = match why {
        Unreadable::Missing => json!("missing"),
        Unreadable::Damaged => json!("does not verify"),
        Unreadable::Version(version) => json!(format!("unknown version {version}")),
        _ => json!("unreadable"),
    };
    line.add("problem", problem);
}

fn superblock(copy: &SuperblockItem) -> Line {
    let mut line = Line::new("superblock");
    line.add("file", file(&copy.file));
    line.add("offset", json!(copy.offset));
    match &copy.content {
        Err(why) => unreadable(&mut line, *why),
        Ok(facts) => {
            line.add("counts", json!(copy.counts));
            line.add("sequence", json!(facts.sequence));
            line.add("boot", json!(facts.boot));
            line.add("segments", numbers(&facts.segments));
            line.add("watermark", position(facts.watermark));
            if stored::is_foreign(&facts.identity) {
                line.add("identity", stored::text(&facts.identity));
                // Said once.
                if copy.counts {
                    line.add("problem", json!("the log is not one of raft-kv's"));
                }
                return line;
            }
            match wire::decode_identity(facts.identity.clone().into()) {
                Ok(identity) => {
                    line.add("node", json!(identity.node.0));
                    line.add(
                        "incarnation",
                        json!(format!("{:x}", identity.incarnation.0)),
                    );
                }
                Err(error) => line.add("problem", json!(format!("no node's: {error}"))),
            }
        }
    }
    line
}

fn segment(head: &SegmentItem) -> Line {
    let mut line = Line::new("segment");
    line.add("file", file(&head.file));
    line.add("segment", json!(head.number));
    line.add("bytes", json!(head.length));
    line.add("in_use", json!(head.in_use));
    match &head.content {
        Err(why) => unreadable(&mut line, *why),
        Ok(facts) => {
            line.add("epoch", json!(facts.epoch));
            line.add("payload_bytes_max", json!(facts.payload_max));
            line.add("recycled", json!(facts.recycled));
            if !head.belongs {
                let problem = format!(
                    "of another log, or another place: made as segment {}",
                    facts.number
                );
                line.add("problem", json!(problem));
            } else if u64::from(facts.size) != head.length {
                let problem = format!("made with {} bytes", facts.size);
                line.add("problem", json!(problem));
            }
        }
    }
    line
}

fn record(record: &RecordItem<'_>, owner: Owner) -> Line {
    let mut line = Line::new("record");
    line.add("file", file(&record.file));
    line.add("segment", json!(record.position.segment));
    line.add("offset", json!(record.position.offset));
    match &record.content {
        Content::Entry {
            index,
            term,
            kind,
            payload,
        } => {
            line.add("type", json!("entry"));
            line.add("index", json!(index));
            line.add("term", json!(term));
            line.add("kind", json!(kind));
            if owner == Owner::Node {
                stored::entry(&mut line, *kind, payload);
            }
        }
        Content::Metadata(blob) => {
            line.add("type", json!("metadata"));
            if owner == Owner::Node {
                stored::metadata(&mut line, blob);
            }
        }
        Content::Truncate { from } => {
            line.add("type", json!("truncate"));
            line.add("from", json!(from));
        }
        Content::Checkpoint(facts) => {
            line.add("type", json!("checkpoint"));
            checkpoint(&mut line, facts.as_ref(), owner);
        }
        Content::Boot { boot } => {
            line.add("type", json!("boot"));
            line.add("boot", json!(boot));
        }
        Content::Purge { index, term } => {
            line.add("type", json!("purge"));
            line.add("index", json!(index));
            line.add("term", json!(term));
        }
        Content::Snapshot { snapshot, drops } => {
            line.add("type", json!("snapshot"));
            match snapshot {
                Some(id) => mark(&mut line, id),
                None => line.add("problem", json!("does not decode")),
            }
            line.add("drops_records", json!(drops));
        }
        _ => line.add("type", json!("unknown")),
    }
    line.add("length", json!(record.length));
    line.add("watermark", position(record.watermark));
    line.add("batch_end", json!(record.end));
    let standing = match record.standing {
        Standing::Complete => "complete",
        Standing::Unfinished => "unfinished",
        _ => "stray",
    };
    line.add("standing", json!(standing));
    line
}

fn checkpoint(line: &mut Line, facts: Option<&CheckpointFacts>, owner: Owner) {
    let Some(facts) = facts else {
        line.add("problem", json!("does not decode"));
        return;
    };
    let entry = |(index, term): (u64, u64)| json!({ "index": index, "term": term });
    line.add("purged", entry(facts.purged));
    line.add("last", entry(facts.last));
    line.add("boot", json!(facts.boot));
    if let Some(id) = &facts.snapshot {
        mark(line, id);
    }
    if let Some(blob) = &facts.metadata
        && owner == Owner::Node
    {
        stored::metadata(line, blob);
    }
}

fn snapshot(item: &SnapshotItem) -> Line {
    let mut line = Line::new("snapshot");
    line.add("file", file(&item.file));
    line.add("bytes", json!(item.length));
    match &item.content {
        Ok(id) => mark(&mut line, id),
        Err(problem) => line.add("problem", json!(problem)),
    }
    line
}

fn mark(line: &mut Line, id: &SnapshotId) {
    line.add("snapshot", json!({ "index": id.index, "term": id.term }));
    line.add("snapshot_bytes", json!(id.bytes));
    line.add("checksum", json!(format!("{:08x}", id.checksum)));
}

fn gap(gap: &Gap) -> Line {
    let mut line = Line::new(if gap.nonzero == 0 { "zeros" } else { "bytes" });
    line.add("file", file(&gap.file));
    line.add("segment", json!(gap.position.segment));
    line.add("offset", json!(gap.position.offset));
    line.add("bytes", json!(gap.bytes));
    if gap.nonzero > 0 {
        line.add("nonzero", json!(gap.nonzero));
    }
    line
}
