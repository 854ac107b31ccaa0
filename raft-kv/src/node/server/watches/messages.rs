//! Changes as messages that every client can take.

use bytes::Bytes;

use crate::api::{Change, Event, KEY_BYTES_MAX, KeyValue, VALUE_BYTES_MAX, WatchReply};

/// How many bytes of events one message has, though always one event: well below what a client takes as a frame.
pub(super) const MESSAGE_BYTES_MAX: u64 = 512 << 10;
/// How many bytes an event has with what stood there before; without it where that is more. The largest key and value have less, and the
/// largest frame that a client takes, of 2 MiB, has more: one that it refused would come again and again.
pub(super) const EVENT_BYTES_MAX: u64 = 3 << 19;
const _: () = assert!((KEY_BYTES_MAX + VALUE_BYTES_MAX) as u64 + 64 <= EVENT_BYTES_MAX);

/// Changes as messages of a bounded size.
pub(super) fn messages(changes: Vec<Change>, want_previous: bool) -> Vec<(WatchReply, u64)> {
    let mut messages = Vec::new();
    let (mut open, mut open_bytes) = (Vec::new(), 0);
    for change in changes {
        let revision = change.revision;
        let mut part: Vec<Event> = Vec::new();
        for event in change.events {
            let mut event = shown(event, want_previous);
            if event_bytes(&event) > EVENT_BYTES_MAX {
                event = shown(event, false);
            }
            let bytes = event_bytes(&event);
            if open_bytes + bytes > MESSAGE_BYTES_MAX && open_bytes > 0 {
                let unfinished = !part.is_empty();
                if unfinished {
                    let events = std::mem::take(&mut part);
                    open.push(Change { revision, events });
                }
                let changes = std::mem::take(&mut open);
                let reply = WatchReply::Changes {
                    changes,
                    unfinished,
                };
                messages.push((reply, std::mem::take(&mut open_bytes)));
            }
            open_bytes += bytes;
            part.push(event);
        }
        open.push(Change {
            revision,
            events: part,
        });
    }
    if !open.is_empty() {
        let reply = WatchReply::Changes {
            changes: open,
            unfinished: false,
        };
        messages.push((reply, open_bytes));
    }
    messages
}

/// An event as a watcher is told it.
fn shown(mut event: Event, want_previous: bool) -> Event {
    if !want_previous {
        match &mut event {
            Event::Put { previous, .. } => *previous = None,
            Event::Deleted { previous } => previous.value = Bytes::new(),
            _ => {}
        }
    }
    event
}

fn event_bytes(event: &Event) -> u64 {
    let kv = |kv: &KeyValue| kv.key.len() + kv.value.len() + 64;
    let bytes = match event {
        Event::Put { kv: now, previous } => kv(now) + previous.as_ref().map_or(0, kv),
        Event::Deleted { previous } => kv(previous),
        Event::Claimed { lock, claim } | Event::Released { lock, claim } => {
            lock.len() + claim.value.len() + 64
        }
    };
    bytes as u64
}
