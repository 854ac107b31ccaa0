//! The task that drives a [`Machine`]: sockets, clock and callers on one side, its inputs and outputs on the other.
//!
//! One task owns the machine; each connection has one more, which hands over what it received a batch at a time.

use std::collections::HashMap;
use std::time::Duration;

use raft_net_tcp::{ClusterId, Config, Dial, Frame, Identity, Local, Role, SendError, Sender};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::machine::{Ask, ConnectionId, End, Machine, NotSent, Output, RequestKey, Time};
use crate::api::{Request, Response};
use crate::{glue, wire};

/// How many submissions, or batches of frames, are taken before anything is sent.
const BATCH_MAX: usize = 512;
/// Batches of frames that may wait for the driver; a connection stops reading when they do.
const EVENTS_MAX: usize = 64;

/// A request on its way from a caller.
pub(super) struct Submission {
    pub(super) ask: Ask,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<End>,
}

enum Event {
    /// With the cluster at the other side, and the protocol that both sides speak.
    Up(ConnectionId, Sender, [u8; 16], u16),
    Frames(ConnectionId, Vec<Frame>),
    Down(ConnectionId, String),
}

/// A connection that is open or in the making. Dropping it ends its task, and with it the connection.
struct Connection {
    sender: Option<Sender>,
    protocol: u16,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) struct Driver {
    machine: Machine,
    start: Instant,
    connect_timeout: Duration,
    submissions: mpsc::UnboundedReceiver<Submission>,
    events: mpsc::Receiver<Event>,
    event_sender: mpsc::Sender<Event>,
    connections: HashMap<ConnectionId, Connection>,
    replies: HashMap<RequestKey, oneshot::Sender<End>>,
}

impl Driver {
    pub(super) fn new(
        machine: Machine,
        submissions: mpsc::UnboundedReceiver<Submission>,
        connect_timeout: Duration,
    ) -> Driver {
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        Driver {
            machine,
            start: Instant::now(),
            connect_timeout,
            submissions,
            events,
            event_sender,
            connections: HashMap::new(),
            replies: HashMap::new(),
        }
    }

    /// Until the last [`Client`](super::Client) is dropped.
    pub(super) async fn run(mut self) {
        let mut submitted = Vec::with_capacity(BATCH_MAX);
        let mut arrived = Vec::with_capacity(BATCH_MAX);
        loop {
            let deadline = self
                .machine
                .next_deadline(self.now())
                .map(|time| self.start + time);
            tokio::select! {
                count = self.submissions.recv_many(&mut submitted, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = self.events.recv_many(&mut arrived, BATCH_MAX) => {}
                () = wake(deadline) => {}
            }
            let now = self.now();
            for event in arrived.drain(..) {
                self.on_event(now, event);
            }
            for Submission {
                ask,
                deadline,
                reply,
            } in submitted.drain(..)
            {
                let key =
                    self.machine
                        .submit(now, ask, deadline.saturating_duration_since(self.start));
                self.replies.insert(key, reply);
            }
            self.machine.tick(now);
            self.act(now);
        }
    }

    fn now(&self) -> Time {
        self.start.elapsed()
    }

    fn on_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Up(connection, sender, cluster, protocol) => {
                if let Some(open) = self.connections.get_mut(&connection) {
                    open.sender = Some(sender);
                    open.protocol = protocol;
                    self.machine.connected(now, connection, cluster);
                }
            }
            Event::Frames(connection, frames) => {
                for frame in frames {
                    if let Err(reason) = self.on_frame(now, connection, frame) {
                        self.give_up(now, connection, &reason);
                        break;
                    }
                }
            }
            Event::Down(connection, reason) => self.on_down(now, connection, &reason),
        }
        self.act(now);
    }

    fn on_frame(
        &mut self,
        now: Time,
        connection: ConnectionId,
        frame: Frame,
    ) -> Result<(), String> {
        if frame.kind != wire::kind::RESPONSE {
            return Err(format!(
                "it sent a frame of kind {}, which is no response",
                frame.kind
            ));
        }
        let response: Response = wire::decode_response(frame.body)
            .map_err(|error| format!("it sent a response that cannot be read: {error}"))?;
        self.machine
            .received(now, connection, frame.request_id, response);
        Ok(())
    }

    /// Ends a connection that is still open. What is queued on it is sent yet before it closes, so all of it may arrive.
    fn give_up(&mut self, now: Time, connection: ConnectionId, reason: &str) {
        if self.connections.remove(&connection).is_some() {
            self.machine.disconnected(now, connection, reason);
        }
    }

    /// A connection has closed, so what is still queued never leaves this process: that is given back to the machine as
    /// not sent, before the rest is lost.
    fn on_down(&mut self, now: Time, connection: ConnectionId, reason: &str) {
        if let Some(open) = self.connections.remove(&connection) {
            for request_id in open.sender.as_ref().map(Sender::unsent).unwrap_or_default() {
                self.machine.not_sent(now, request_id, NotSent::Later);
            }
            self.machine.disconnected(now, connection, reason);
        }
    }

    fn act(&mut self, now: Time) {
        while let Some(output) = self.machine.next_output() {
            match output {
                Output::Connect {
                    connection,
                    address,
                    cluster,
                } => self.connect(connection, address, cluster),
                Output::Disconnect { connection } => {
                    self.connections.remove(&connection);
                }
                Output::Send {
                    connection,
                    request_id,
                    request,
                } => self.send(now, connection, request_id, &request),
                Output::Complete { key, end } => {
                    if let Some(reply) = self.replies.remove(&key) {
                        // Whoever asked may have stopped waiting.
                        let _ = reply.send(end);
                    }
                }
            }
        }
    }

    fn send(&mut self, now: Time, connection: ConnectionId, request_id: u64, request: &Request) {
        let open = self.connections.get(&connection);
        let Some((sender, protocol)) =
            open.and_then(|open| Some((open.sender.as_ref()?, open.protocol)))
        else {
            return self.machine.not_sent(now, request_id, NotSent::Later);
        };
        let sent = sender.try_send(
            wire::kind::REQUEST,
            request_id,
            wire::encode_request(request, protocol),
        );
        if let Err(error) = sent {
            let why = match error {
                SendError::TooLarge { body_bytes, max } => NotSent::TooLarge {
                    bytes: body_bytes as u64,
                    max: u64::from(max),
                },
                _ => NotSent::Later,
            };
            self.machine.not_sent(now, request_id, why);
        }
    }

    fn connect(&mut self, connection: ConnectionId, address: String, cluster: [u8; 16]) {
        let config = Config {
            connect_timeout: self.connect_timeout,
            ..Config::default()
        };
        let identity = Identity {
            cluster: ClusterId(cluster),
            ..Identity::default()
        };
        let dial = Dial::new(config, Role::Client, move || {
            Local::new(glue::PROTOCOL, identity)
        });
        let events = self.event_sender.clone();
        let task = tokio::spawn(async move {
            let down = receive(connection, &dial, &address, &events).await;
            // The driver is gone only when nobody waits for it.
            let _ = events.send(Event::Down(connection, down)).await;
        });
        self.connections.insert(
            connection,
            Connection {
                sender: None,
                protocol: wire::PROTOCOL_MIN,
                task: task.abort_handle(),
            },
        );
    }
}

/// Connects, and hands over what arrives until the connection ends; returns why it did.
async fn receive(
    connection: ConnectionId,
    dial: &Dial,
    address: &str,
    events: &mpsc::Sender<Event>,
) -> String {
    let mut link = match dial.connect(address).await {
        Ok(link) => link,
        Err(error) => return without_address(&error.to_string(), address),
    };
    let cluster = link.hello.identity.cluster.0;
    let up = Event::Up(connection, link.sender.clone(), cluster, link.version);
    if events.send(up).await.is_err() {
        return String::new();
    }
    loop {
        match link.receiver.recv_many().await {
            Ok(frames) => {
                if events
                    .send(Event::Frames(connection, frames))
                    .await
                    .is_err()
                {
                    return String::new();
                }
            }
            Err(reason) => return reason.to_string(),
        }
    }
}

/// The address stands before the text already wherever it is shown.
fn without_address(text: &str, address: &str) -> String {
    text.strip_prefix(address)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(text)
        .to_owned()
}

async fn wake(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::sleep;

    use super::super::fake::FakeCluster;
    use super::super::machine;
    use super::*;
    use crate::api::Operation;
    use crate::store::Store;

    fn put(value: &'static str) -> Ask {
        Ask::Write(Operation::Put {
            key: "key".into(),
            value: value.into(),
            lease: 0,
            want_previous: false,
            conditions: vec![],
        })
    }

    fn submit(driver: &mut Driver, ask: Ask, deadline: Time) -> oneshot::Receiver<End> {
        let (reply, end) = oneshot::channel();
        let now = driver.now();
        let key = driver.machine.submit(now, ask, deadline);
        driver.replies.insert(key, reply);
        driver.act(now);
        end
    }

    /// On one thread, so that nothing leaves the process but where the test waits.
    #[tokio::test]
    async fn what_is_queued_on_a_connection_that_is_given_up_may_be_applied_yet() {
        let cluster = FakeCluster::start(1).await;
        let machine = Machine::new(machine::Config::default(), cluster.endpoints(), 1);
        let (_submissions, receiver) = mpsc::unbounded_channel();
        let mut driver = Driver::new(machine, receiver, Duration::from_secs(5));
        let later = Duration::from_secs(60);
        let mut first = submit(&mut driver, put("first"), later);
        let answered = loop {
            if let Ok(end) = first.try_recv() {
                break end;
            }
            tokio::select! {
                event = driver.events.recv() => driver.on_event(driver.now(), event.unwrap()),
                () = sleep(Duration::from_millis(2)) => {}
            }
            let now = driver.now();
            driver.machine.tick(now);
            driver.act(now);
        };
        assert!(matches!(answered, End::Answered { .. }));

        let mut second = submit(&mut driver, put("second"), later);
        let connection = *driver.connections.keys().next().unwrap();
        let unreadable = Frame {
            kind: wire::kind::RESPONSE,
            request_id: 1,
            body: Bytes::from_static(b"?"),
        };
        driver.on_event(driver.now(), Event::Frames(connection, vec![unreadable]));
        driver.machine.tick(later);
        driver.act(later);
        assert!(matches!(second.try_recv(), Ok(End::Unknown(_))));
        // And it is.
        while cluster.store(Store::revision) < 2 {
            sleep(Duration::from_millis(2)).await;
        }
    }
}
