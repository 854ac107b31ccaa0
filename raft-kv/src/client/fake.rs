//! A cluster to test clients against: real sockets, frames and store, but no log and no elections. Who leads, and what
//! goes wrong, is up to the test.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::{Index, LogId, Term};
use raft_net_tcp::{
    AdmitAll, ClusterId, Config, Frame, Identity, Link, Listener, Local, Sender, Versions,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{
    Command, CommandReply, Header, LeaderHint, MemberStatus, NodeStatus, Operation, Reply,
    RequestError, Response,
};
use crate::store::{Limits, Settings, Store, validate_command, validate_query};
use crate::wire::{self, Incoming};

const CLUSTER: [u8; 16] = *b"fake cluster 1.0";
const REPLY_BYTES_MAX: usize = 1 << 20;

/// What goes wrong with one write that reaches the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It is applied, but the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks, and it is not applied.
    LoseRequest,
    /// It is applied, but the leader says that it does not know.
    AppliedButUnknown,
    /// It is not applied, and the leader says that it does not know.
    LostAndUnknown,
    /// It is applied, and there is no answer.
    NoAnswer,
    /// The node is busy.
    Busy,
    /// Its session is ended first.
    EndSession,
}

/// Some nodes with one store between them. Dropping it closes everything.
pub struct FakeCluster {
    shared: Arc<Mutex<Shared>>,
    nodes: BTreeMap<u64, Node>,
}

struct Node {
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    store: Store,
    term: u64,
    leader: Option<u64>,
    addresses: BTreeMap<u64, SocketAddr>,
    faults: VecDeque<Fault>,
    silent: Vec<u64>,
    connections: u64,
    connections_open: u64,
    requests: BTreeMap<u64, u64>,
    /// Told when connections are to be closed: to all of a node.
    hang_up: BTreeMap<u64, watch::Sender<()>>,
}

impl FakeCluster {
    /// `nodes` nodes on free ports of the loopback; node 1 leads.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(nodes: u64) -> FakeCluster {
        let shared = Shared {
            store: Store::new(Settings::default()),
            term: 1,
            leader: Some(1),
            addresses: BTreeMap::new(),
            faults: VecDeque::new(),
            silent: Vec::new(),
            connections: 0,
            connections_open: 0,
            requests: BTreeMap::new(),
            hang_up: BTreeMap::new(),
        };
        let mut cluster = FakeCluster {
            shared: Arc::new(Mutex::new(shared)),
            nodes: BTreeMap::new(),
        };
        for node in 1..=nodes {
            cluster
                .listen(node, SocketAddr::from(([127, 0, 0, 1], 0)))
                .await;
        }
        cluster
    }

    /// Starts a node that was stopped, at its old address.
    ///
    /// # Panics
    /// When its port is taken by now.
    pub async fn restart(&mut self, node: u64) {
        if let Some(address) = self.nodes.get(&node).map(|node| node.address) {
            self.listen(node, address).await;
        }
    }

    async fn listen(&mut self, node: u64, address: SocketAddr) {
        let identity = Identity {
            cluster: ClusterId(CLUSTER),
            node,
            incarnation: node * 10,
            boot: 1,
        };
        let local = move || Local::new(Versions::only(1), identity);
        let listener = Listener::bind(address, Config::default(), local, AdmitAll).await;
        let mut listener = listener.expect("a free port on the loopback");
        let address = listener.local_addr();
        let (hang_up, hung_up) = watch::channel(());
        {
            let mut shared = lock(&self.shared);
            shared.addresses.insert(node, address);
            shared.hang_up.insert(node, hang_up);
        }
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            loop {
                let link = listener.accept().await;
                {
                    let mut shared = lock(&shared);
                    shared.connections += 1;
                    shared.connections_open += 1;
                }
                tokio::spawn(serve(node, link, shared.clone(), hung_up.clone()));
            }
        });
        self.nodes.insert(
            node,
            Node {
                address,
                task: Some(task),
            },
        );
    }

    /// Closes a node's port and connections.
    pub fn stop(&mut self, node: u64) {
        if let Some(task) = self.nodes.get_mut(&node).and_then(|node| node.task.take()) {
            task.abort();
        }
        lock(&self.shared).hang_up.remove(&node);
    }

    /// Where the nodes listen, by id.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes
            .values()
            .map(|node| node.address.to_string())
            .collect()
    }

    /// From now on this node leads, or none, in a new term.
    pub fn lead(&self, leader: Option<u64>) {
        let mut shared = lock(&self.shared);
        shared.term += 1;
        shared.leader = leader;
    }

    /// What is to go wrong with the next writes, one each; registrations of sessions are not counted.
    pub fn fault(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared).faults.extend(faults);
    }

    /// A node that keeps its connections and answers nothing, or does again.
    pub fn silence(&self, node: u64, silent: bool) {
        let mut shared = lock(&self.shared);
        shared.silent.retain(|other| *other != node);
        if silent {
            shared.silent.push(node);
        }
    }

    /// Looks at the store.
    pub fn store<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&lock(&self.shared).store)
    }

    /// How many connections there were so far, at all nodes.
    pub fn connections(&self) -> u64 {
        lock(&self.shared).connections
    }

    /// How many of them are open.
    pub fn connections_open(&self) -> u64 {
        lock(&self.shared).connections_open
    }

    /// How many requests have reached a node so far.
    pub fn requests(&self, node: u64) -> u64 {
        lock(&self.shared)
            .requests
            .get(&node)
            .copied()
            .unwrap_or_default()
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        let nodes: Vec<u64> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.stop(node);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of one request.
enum Fate {
    Answer(Box<Result<Reply, RequestError>>),
    Silence,
    HangUp,
}

impl Fate {
    fn answer(body: Result<Reply, RequestError>) -> Fate {
        Fate::Answer(Box::new(body))
    }
}

async fn serve(
    node: u64,
    mut link: Link,
    shared: Arc<Mutex<Shared>>,
    mut hung_up: watch::Receiver<()>,
) {
    relay(node, &mut link, &shared, &mut hung_up).await;
    lock(&shared).connections_open -= 1;
}

async fn relay(
    node: u64,
    link: &mut Link,
    shared: &Mutex<Shared>,
    hung_up: &mut watch::Receiver<()>,
) {
    loop {
        let frames = tokio::select! {
            frames = link.receiver.recv_many() => frames,
            _ = hung_up.changed() => return,
        };
        let Ok(frames) = frames else { return };
        for frame in frames {
            if !answer(node, &link.sender, shared, frame) {
                return;
            }
        }
    }
}

/// False: the connection is to be closed.
fn answer(node: u64, sender: &Sender, shared: &Mutex<Shared>, frame: Frame) -> bool {
    let Ok(incoming) = wire::decode_request(frame.body) else {
        return false;
    };
    let mut shared = lock(shared);
    *shared.requests.entry(node).or_default() += 1;
    if shared.silent.contains(&node) {
        return true;
    }
    let body = match shared.fate(node, incoming) {
        Fate::Answer(body) => *body,
        Fate::Silence => return true,
        Fate::HangUp => return false,
    };
    let header = Header {
        cluster: CLUSTER,
        node,
        revision: shared.store.revision(),
        applied: shared.store.applied().0,
        term: shared.term,
    };
    let chunks = wire::encode_response(&Response { header, body }, wire::PROTOCOL_MAX);
    sender
        .try_send(wire::kind::RESPONSE, frame.request_id, chunks)
        .is_ok()
}

impl Shared {
    fn fate(&mut self, node: u64, incoming: Incoming) -> Fate {
        let leads = self.leader == Some(node);
        match incoming {
            Incoming::Status => Fate::answer(Ok(Reply::Status(self.status(node)))),
            Incoming::Read {
                query,
                stale,
                min_applied,
            } => {
                if !leads && !stale {
                    return Fate::answer(Err(self.not_leader()));
                }
                if self.store.applied().0 < min_applied {
                    return Fate::Silence;
                }
                Fate::answer(match validate_query(&query, &Limits::default()) {
                    Ok(()) => self
                        .store
                        .query(&query, REPLY_BYTES_MAX)
                        .map(Reply::Query)
                        .map_err(Into::into),
                    Err(error) => Err(error),
                })
            }
            Incoming::Ask(_) | Incoming::Watch(_) | Incoming::Unwatch { .. } => Fate::Silence,
            Incoming::Admin(_) | Incoming::Backup { .. } => {
                Fate::answer(Err(RequestError::Invalid("no operator here".into())))
            }
            Incoming::Write { .. } if !leads => Fate::answer(Err(self.not_leader())),
            Incoming::Write { command, .. } => match validate_command(&command, &Limits::default())
            {
                Ok(()) => self.write(&command),
                Err(error) => Fate::answer(Err(error)),
            },
        }
    }

    fn write(&mut self, command: &Command) -> Fate {
        let registers = matches!(command.operation, Operation::RegisterSession);
        let fault = if registers {
            None
        } else {
            self.faults.pop_front()
        };
        match fault {
            None => Fate::answer(Ok(Reply::Command(self.apply(command)))),
            Some(Fault::LoseAnswer) => {
                self.apply(command);
                Fate::HangUp
            }
            Some(Fault::LoseRequest) => Fate::HangUp,
            Some(Fault::AppliedButUnknown) => {
                self.apply(command);
                Fate::answer(Err(RequestError::Unknown))
            }
            Some(Fault::LostAndUnknown) => Fate::answer(Err(RequestError::Unknown)),
            Some(Fault::NoAnswer) => {
                self.apply(command);
                Fate::Silence
            }
            Some(Fault::Busy) => Fate::answer(Err(RequestError::Busy)),
            Some(Fault::EndSession) => {
                let end = Command {
                    sequence: u64::MAX,
                    operation: Operation::EndSession,
                    ..command.clone()
                };
                // Far beyond what may be outstanding, so that it must come with its own first number.
                self.apply(&Command {
                    first_outstanding: u64::MAX,
                    ..end
                });
                Fate::answer(Ok(Reply::Command(self.apply(command))))
            }
        }
    }

    fn apply(&mut self, command: &Command) -> CommandReply {
        let at = LogId {
            index: Index(self.store.applied().0 + 1),
            term: Term(self.term),
        };
        self.store
            .apply(at, command)
            .expect("a command of this version")
    }

    fn not_leader(&self) -> RequestError {
        RequestError::NotLeader {
            leader: self.hint(),
        }
    }

    fn hint(&self) -> Option<LeaderHint> {
        let node = self.leader?;
        self.addresses.get(&node).map(|address| LeaderHint {
            node,
            address: address.to_string(),
        })
    }

    fn status(&self, node: u64) -> NodeStatus {
        let applied = self.store.applied().0;
        let leads = self.leader == Some(node);
        let member = |(&id, address): (&u64, &SocketAddr)| MemberStatus {
            id,
            incarnation: id * 10,
            address: address.to_string(),
            voter: true,
            promotes: false,
            matched: if leads { applied } else { 0 },
            silent_ms: leads.then_some(1),
        };
        NodeStatus {
            id: node,
            incarnation: node * 10,
            boot: 1,
            role: if leads { "leader" } else { "follower" }.to_owned(),
            leader: self.hint(),
            term: self.term,
            commit: applied,
            applied,
            first: 1,
            last: applied,
            keys: self.store.key_count() as u64,
            version: "0.0.0-fake".to_owned(),
            cluster_version: 1,
            members: self.addresses.iter().map(member).collect(),
            ..NodeStatus::default()
        }
    }
}
