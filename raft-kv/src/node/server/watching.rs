//! The watchers of all connections, and the way from the node's loop to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answer;
use super::connection::{Held, Outgoing};
use super::watches::{Told, Watches};
use crate::api::{Header, Reply, RequestError, Response, Watch, WatchReply};
use crate::node::inbox::Context;
use crate::store::Store;

/// A watch: its connection's number, and the number of the frame that began it.
pub(super) type WatchId = (u64, u64);

/// Where a connection's answers go.
type Outlet = mpsc::UnboundedSender<Outgoing>;

/// What the loop and the connections share of it. The lock is held for no longer than it takes to make messages, never across IO.
#[derive(Debug)]
pub(super) struct Watching {
    shared: Arc<Mutex<Shared>>,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    watches: Watches<WatchId>,
    outlets: BTreeMap<u64, Outlet>,
    last_connection: u64,
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            shared: Arc::default(),
            begun: Instant::now(),
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watching {
    /// A connection begins; its watches end with what comes back.
    pub(super) fn connect(&self, outlet: Outlet) -> Watcher {
        let mut shared = lock(&self.shared);
        shared.last_connection += 1;
        let connection = shared.last_connection;
        shared.outlets.insert(connection, outlet);
        Watcher(Handle {
            shared: self.shared.clone(),
            connection,
        })
    }

    /// Tells the watchers what is new. Says whether there is more than one round has time for.
    pub(super) fn tell(&self, context: &Context<'_, Store>) -> bool {
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut shared = lock(&self.shared);
        let (told, more) = shared.watches.poll(context.machine, now_ms);
        if told.is_empty() {
            return more;
        }
        let header = answer::header(context);
        for (watch, told) in told {
            let (body, bytes) = match told {
                Told::Reply(reply, bytes) => (Ok(Reply::Watch(reply)), bytes),
                Told::Failed(why) => (Err(RequestError::Revision(why)), 0),
            };
            let held = Held::Watch(UnderWay {
                shared: self.shared.clone(),
                watch,
                bytes,
            });
            shared.send(watch, header, body, held);
        }
        more
    }
}

impl Shared {
    fn send(
        &mut self,
        (connection, request_id): WatchId,
        header: Header,
        body: Result<Reply, RequestError>,
        held: Held,
    ) {
        let outgoing = Outgoing {
            request_id,
            response: Response { header, body },
            held,
        };
        let Some(outlet) = self.outlets.get(&connection) else {
            return forget(outgoing);
        };
        if let Err(unsent) = outlet.send(outgoing) {
            forget(unsent.0);
        }
    }
}

/// Drops what nobody takes any more, without asking for the lock again that is held here.
fn forget(mut outgoing: Outgoing) {
    if let Held::Watch(under_way) = &mut outgoing.held {
        under_way.bytes = 0;
    }
}

/// A connection, as far as it watches: its watches end with it.
#[derive(Debug)]
pub(super) struct Watcher(Handle);

impl Watcher {
    /// To begin and end watches by, elsewhere.
    pub(super) fn handle(&self) -> Handle {
        self.0.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let connection = self.0.connection;
        let mut shared = lock(&self.0.shared);
        let outlet = shared.outlets.remove(&connection);
        let behind = (connection.saturating_add(1), 0);
        shared.watches.end_all((connection, 0), behind);
        drop(shared);
        // Not before: what waits in it says that it was taken, and asks for the lock.
        drop(outlet);
    }
}

/// A connection's name. Watches are begun and ended in the node's loop, where the store is: so in the order in which a client asks.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    shared: Arc<Mutex<Shared>>,
    connection: u64,
}

impl Handle {
    /// Begins a watch. An answer that must be given at once goes to the connection.
    pub(super) fn begin(&self, request_id: u64, watch: Watch, store: &Store, header: Header) {
        let id = (self.connection, request_id);
        let mut shared = lock(&self.shared);
        // A connection that has ended meanwhile must not leave a watch behind.
        if shared.outlets.contains_key(&id.0) && !shared.watches.begin(id, watch, store) {
            shared.send(id, header, Err(RequestError::Busy), Held::Nothing);
        }
    }

    /// Ends a watch, if there is one, and says so in any case.
    pub(super) fn end(&self, request_id: u64, header: Header) {
        let id = (self.connection, request_id);
        let mut shared = lock(&self.shared);
        shared.watches.end(id);
        let ended = Ok(Reply::Watch(WatchReply::Ended));
        shared.send(id, header, ended, Held::Nothing);
    }
}

/// Bytes on their way to a watcher; taken when this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    shared: Arc<Mutex<Shared>>,
    watch: WatchId,
    bytes: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.bytes > 0 {
            lock(&self.shared).watches.taken(self.watch, self.bytes);
        }
    }
}
