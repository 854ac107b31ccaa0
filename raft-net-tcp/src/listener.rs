//! Accepting connections, with quotas.
//!
//! Guards: strangers that connect and say nothing cannot keep peers out (F-N5). Before the handshake, the newest
//! connection displaces the oldest; after it, each role has a quota of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::connection::Connection;
use crate::driver::Driver;
use crate::error::{BindError, CloseReason};
use crate::handshake::{Hello, Local, Policy, Role};
use crate::link::{self, Link};
use crate::refusal::Refusal;
use crate::sync::lock;

/// Connections whose handshake is over, and that nobody has accepted yet.
const BACKLOG: usize = 128;

/// After accepting failed, mostly because the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// So many refusals in so much time are logged at level info; further ones at debug.
const SAID_MAX: u32 = 20;
const SAID_WINDOW: Duration = Duration::from_secs(10);

/// Accepts connections on one address. Dropping it closes the socket, and leaves accepted connections open.
#[derive(Debug)]
pub struct Listener {
    links: mpsc::Receiver<Link>,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What a listener has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// Handshakes that succeeded.
    pub accepted: u64,
    /// Handshakes that failed: strangers, refusals, timeouts.
    pub refused: u64,
    /// Handshakes dropped because too many were pending.
    pub displaced: u64,
}

struct Shared {
    config: Arc<Config>,
    local: Box<dyn Fn() -> Local + Send + Sync>,
    policy: Box<dyn Policy>,
    quotas: [(Role, Arc<Semaphore>); 3],
    pending: Mutex<BTreeMap<u64, AbortHandle>>,
    accepted: AtomicU64,
    refused: AtomicU64,
    displaced: AtomicU64,
    said: Mutex<(Option<Instant>, u32)>,
}

impl Shared {
    /// So that a stranger who knocks a thousand times a second does not fill the disk.
    fn log_refusal(&self, remote: SocketAddr, reason: &CloseReason) {
        let mut said = lock(&self.said);
        if said.0.is_none_or(|since| since.elapsed() >= SAID_WINDOW) {
            *said = (Some(Instant::now()), 0);
        }
        said.1 = said.1.saturating_add(1);
        if said.1 <= SAID_MAX {
            info!(%remote, %reason, "connection refused");
        } else {
            debug!(%remote, %reason, "connection refused, like many others");
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Listener {
    /// Listens on `address`. `local` is asked anew for each connection, since a node learns its cluster while it
    /// runs; `policy` decides who may connect.
    pub async fn bind(
        address: impl ToSocketAddrs + std::fmt::Debug,
        config: Config,
        local: impl Fn() -> Local + Send + Sync + 'static,
        policy: impl Policy,
    ) -> Result<Listener, BindError> {
        let failed = |source| BindError::Io {
            address: format!("{address:?}"),
            source,
        };
        let socket = TcpListener::bind(&address).await.map_err(failed)?;
        Listener::from_tcp(socket, config, local, policy)
    }

    /// Like [`bind`](Listener::bind), with a socket that listens already.
    pub fn from_tcp(
        socket: TcpListener,
        config: Config,
        local: impl Fn() -> Local + Send + Sync + 'static,
        policy: impl Policy,
    ) -> Result<Listener, BindError> {
        config.validate()?;
        let local_addr = socket.local_addr().map_err(|source| BindError::Io {
            address: "a given socket".into(),
            source,
        })?;
        let quota = |role| {
            let max = config
                .role(role)
                .connections_max
                .min(Semaphore::MAX_PERMITS);
            (role, Arc::new(Semaphore::new(max)))
        };
        let shared = Arc::new(Shared {
            quotas: [
                quota(Role::Peer),
                quota(Role::PeerBulk),
                quota(Role::Client),
            ],
            config: Arc::new(config),
            local: Box::new(local),
            policy: Box::new(policy),
            pending: Mutex::default(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
            said: Mutex::default(),
        });
        let (sender, links) = mpsc::channel(BACKLOG);
        let task = tokio::spawn(accept_all(socket, shared.clone(), sender));
        Ok(Listener {
            links,
            local_addr,
            shared,
            task,
        })
    }

    /// The next connection whose handshake succeeded. Dropping the future loses none.
    pub async fn accept(&mut self) -> Link {
        match self.links.recv().await {
            Some(link) => link,
            // The task ends only with the runtime, and then nothing is ever polled again.
            None => std::future::pending().await,
        }
    }

    /// Where it listens; of use after binding port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What has happened so far.
    pub fn stats(&self) -> ListenerStats {
        ListenerStats {
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
            displaced: self.shared.displaced.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        for handshake in lock(&self.shared.pending).values() {
            handshake.abort();
        }
    }
}

async fn accept_all(socket: TcpListener, shared: Arc<Shared>, links: mpsc::Sender<Link>) {
    for id in 0.. {
        let (stream, remote) = next_connection(&socket).await;
        let mut pending = lock(&shared.pending);
        if pending.len() >= shared.config.pending_handshakes_max
            && let Some((_, oldest)) = pending.pop_first()
        {
            oldest.abort();
            shared.displaced.fetch_add(1, Ordering::Relaxed);
            debug!("too many handshakes are pending; the oldest was dropped");
        }
        // Under the lock, so that the task cannot take itself off the list before it is on it.
        let handshake = tokio::spawn(handshake(id, stream, remote, shared.clone(), links.clone()));
        pending.insert(id, handshake.abort_handle());
    }
}

/// No error ends a listener: the next connection may be fine.
async fn next_connection(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => match stream.set_nodelay(true) {
                Ok(()) => return (stream, remote),
                Err(error) => debug!(%remote, %error, "the connection was gone at once"),
            },
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "cannot accept connections; trying again (raise the limit of open files?)");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    id: u64,
    stream: TcpStream,
    remote: SocketAddr,
    shared: Arc<Shared>,
    links: mpsc::Sender<Link>,
) {
    let start = Instant::now();
    let connection = Connection::accept(shared.config.clone(), start.elapsed());
    let mut driver = Driver::new(stream, connection, start);
    let outcome = match driver.hello().await {
        Ok(hello) => decide(&mut driver, &shared, hello),
        Err(reason) => Err(reason),
    };
    match outcome {
        Ok((hello, permit)) => {
            // From here on it is no longer pending, and cannot be displaced.
            lock(&shared.pending).remove(&id);
            shared.accepted.fetch_add(1, Ordering::Relaxed);
            let link = link::spawn(
                driver,
                shared.config.role(hello.role),
                hello,
                remote,
                permit,
            );
            // An error means that the listener is gone: the link is dropped, and so closed.
            let _ = links.send(link).await;
        }
        Err(reason) => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            shared.log_refusal(remote, &reason);
            // Still pending while it is told why, so that many who are refused hold no more than the quota.
            driver.linger().await;
            lock(&shared.pending).remove(&id);
        }
    }
}

fn decide(
    driver: &mut Driver<TcpStream>,
    shared: &Shared,
    hello: Hello,
) -> Result<(Hello, OwnedSemaphorePermit), CloseReason> {
    let now = driver.now();
    let quota = shared
        .quotas
        .iter()
        .find(|(role, _)| *role == hello.role)
        .map(|(_, quota)| quota.clone());
    let permit = quota.and_then(|quota| quota.try_acquire_owned().ok());
    let connection = driver.connection();
    let Some(permit) = permit else {
        connection.refuse(Refusal::TooManyConnections { role: hello.role });
        return Err(CloseReason::Refused(Refusal::TooManyConnections {
            role: hello.role,
        }));
    };
    connection.admit(&(shared.local)(), |hello| shared.policy.admit(hello), now);
    match connection.close_reason() {
        None => Ok((hello, permit)),
        Some(reason) => Err(reason.clone()),
    }
}
