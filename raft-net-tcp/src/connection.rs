//! One connection as a synchronous machine: bytes and time in; frames, bytes, a deadline and a close reason out.
//!
//! Nothing here waits, reads a clock or knows a socket: the tokio shell and a simulator drive the same code.
//!
//! Guards: no frame passes before both hellos are checked; nothing passes after the close reason; a damaged frame is
//! never delivered.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};

use crate::config::{Config, RoleConfig};
use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::error::{CloseReason, SendError};
use crate::frame::{Body, Frame, KIND_CLOSE, KIND_HELLO, KIND_MAX, KIND_PING};
use crate::handshake::{HELLO_BYTES_MAX, Hello, Local, Role};
use crate::mutants::{Mutant, mutant};
use crate::refusal::Refusal;

/// What happened on a [`Connection`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The other side introduced itself.
    ///
    /// To an acceptor this is a question, answered by [`Connection::admit`]. To a dialer it says that the connection
    /// is open; it may still [`refuse`](Connection::refuse).
    Hello(Hello),
    /// A frame arrived.
    Frame(Frame),
    /// The connection is over; the last event.
    Closed(CloseReason),
}

/// The machine of one connection, either side.
///
/// *In*: [`receive`](Connection::receive), [`handle_end`](Connection::handle_end),
/// [`handle_timeout`](Connection::handle_timeout), [`admit`](Connection::admit), [`send`](Connection::send),
/// [`close`](Connection::close). *Out*, after any of these: [`next_event`](Connection::next_event) until `None`,
/// [`take_transmit`](Connection::take_transmit), [`deadline`](Connection::deadline).
///
/// Time is a [`Duration`] since any fixed start, the same for all calls, and never goes backwards.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use raft_net_tcp::{AdmitAll, Config, Connection, Event, Identity, Local, Policy, Role, Versions};
///
/// let config = Arc::new(Config::default());
/// let now = Duration::ZERO;
/// let me = |node| Local::new(Versions::only(1), Identity { node, ..Identity::default() });
///
/// let mut dialer = Connection::dial(config.clone(), Role::Peer, &me(1), Some(2), now);
/// let mut acceptor = Connection::accept(config, now);
///
/// for bytes in dialer.take_transmit(now) {
///     acceptor.receive(&bytes, now);
/// }
/// let Some(Event::Hello(hello)) = acceptor.next_event() else { panic!("no hello") };
/// assert_eq!(hello.identity.node, 1);
/// acceptor.admit(&me(2), |hello| AdmitAll.admit(hello), now);
///
/// for bytes in acceptor.take_transmit(now) {
///     dialer.receive(&bytes, now);
/// }
/// assert!(matches!(dialer.next_event(), Some(Event::Hello(_))));
/// dialer.send(7, 0, &"a frame".into())?;
///
/// for bytes in dialer.take_transmit(now) {
///     acceptor.receive(&bytes, now);
/// }
/// let Some(Event::Frame(frame)) = acceptor.next_event() else { panic!("no frame") };
/// assert_eq!((frame.kind, &frame.body[..]), (7, &b"a frame"[..]));
/// # Ok::<(), raft_net_tcp::SendError>(())
/// ```
pub struct Connection {
    config: Arc<Config>,
    state: State,
    decoder: Decoder,
    encoder: Encoder,
    events: VecDeque<Event>,
    /// When the other side was last heard.
    heard: Duration,
    /// When bytes last went out, or began to wait.
    progressed: Duration,
    reading: bool,
}

enum State {
    /// Dialer: our hello is out. Its own versions and the wanted node are kept for the answer.
    Greeting {
        ours: Hello,
        started: Duration,
    },
    /// Acceptor: nothing has been heard.
    Listening {
        started: Duration,
    },
    /// Acceptor: the hello is with the caller.
    Deciding {
        hello: Hello,
        started: Duration,
    },
    Open(Open),
    Closed(CloseReason),
}

#[derive(Clone, Debug)]
struct Open {
    role: Role,
    version: u16,
    /// What the other side takes.
    send_bytes_max: u32,
    silence_timeout: Duration,
    ping_interval: Duration,
    stall_timeout: Duration,
}

impl Connection {
    /// The side that connects. The hello is ready to be transmitted; the next event is the answer.
    ///
    /// `expected_node`: another node in the answer is refused with [`Refusal::WrongNode`].
    pub fn dial(
        config: Arc<Config>,
        role: Role,
        local: &Local,
        expected_node: Option<u64>,
        now: Duration,
    ) -> Connection {
        let ours = hello_of(config.role(role), role, local, expected_node);
        let state = State::Greeting {
            ours: ours.clone(),
            started: now,
        };
        let mut connection = Connection::new(config, state, now);
        connection.send_hello(&ours);
        connection
    }

    /// The side that listens.
    pub fn accept(config: Arc<Config>, now: Duration) -> Connection {
        Connection::new(config, State::Listening { started: now }, now)
    }

    fn new(config: Arc<Config>, state: State, now: Duration) -> Connection {
        Connection {
            config,
            state,
            decoder: Decoder::new(HELLO_BYTES_MAX),
            encoder: Encoder::default(),
            events: VecDeque::new(),
            heard: now,
            progressed: now,
            reading: true,
        }
    }

    // What is known.

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        match &self.state {
            State::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    /// The newest version of the caller's protocol that both sides speak, once the connection is open.
    pub fn version(&self) -> Option<u16> {
        self.open().map(|open| open.version)
    }

    /// The largest body that can be sent, once the connection is open: the lower of both sides' limits.
    pub fn send_bytes_max(&self) -> Option<u32> {
        self.open().map(|open| open.send_bytes_max)
    }

    /// Bytes that wait to be transmitted.
    pub fn transmit_bytes(&self) -> usize {
        self.encoder.waiting_bytes()
    }

    /// When [`handle_timeout`](Connection::handle_timeout) wants to be called. Calling early, or twice, does no harm.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Greeting { started, .. }
            | State::Listening { started }
            | State::Deciding { started, .. } => {
                Some(started.saturating_add(self.config.handshake_timeout))
            }
            State::Open(open) => {
                let silence = (self.reading && !mutant(Mutant::IgnoresSilence))
                    .then(|| self.heard.saturating_add(open.silence_timeout));
                let waits = if self.encoder.waiting_bytes() > 0 {
                    open.stall_timeout
                } else {
                    open.ping_interval
                };
                let send = self.progressed.saturating_add(waits);
                Some(silence.map_or(send, |silence| silence.min(send)))
            }
            State::Closed(_) => None,
        }
    }

    fn open(&self) -> Option<&Open> {
        match &self.state {
            State::Open(open) => Some(open),
            _ => None,
        }
    }

    // In.

    /// Takes bytes from the other side, in order, cut in any way.
    pub fn receive(&mut self, mut bytes: &[u8], now: Duration) {
        while !bytes.is_empty() && self.close_reason().is_none() {
            let mut buffer = self.decoder.read_buffer();
            let (first, rest) = bytes.split_at(bytes.len().min(buffer.remaining_mut()));
            buffer.put_slice(first);
            bytes = rest;
            self.handle_read(first.len(), now);
        }
    }

    /// Like [`receive`](Connection::receive), without a copy: the caller writes into this buffer, which always has
    /// room, and reports with [`handle_read`](Connection::handle_read).
    pub fn read_buffer(&mut self) -> impl BufMut + '_ {
        self.decoder.read_buffer()
    }

    /// So many bytes were written into [`read_buffer`](Connection::read_buffer).
    pub fn handle_read(&mut self, bytes: usize, now: Duration) {
        self.decoder.filled(bytes);
        self.heard = now;
        self.decode(now);
    }

    /// The other side will send no more.
    pub fn handle_end(&mut self) {
        let reason = self.decoder.at_end();
        self.end(reason);
    }

    /// The transport failed.
    pub fn handle_error(&mut self, kind: std::io::ErrorKind) {
        self.end(CloseReason::Io(kind));
    }

    /// Time has passed. Read what has already arrived first, so that a paused process does not mistake its own
    /// silence for the other side's.
    pub fn handle_timeout(&mut self, now: Duration) {
        let open = match &self.state {
            State::Greeting { started, .. }
            | State::Listening { started }
            | State::Deciding { started, .. } => {
                let after = self.config.handshake_timeout;
                if now >= started.saturating_add(after) {
                    self.end(CloseReason::HandshakeTimeout { after });
                }
                return;
            }
            State::Open(open) => open,
            State::Closed(_) => return,
        };
        let silent = self.reading && now >= self.heard.saturating_add(open.silence_timeout);
        if silent && !mutant(Mutant::IgnoresSilence) {
            let after = open.silence_timeout;
            self.end(CloseReason::Silence { after });
        } else if self.encoder.waiting_bytes() > 0 {
            if now >= self.progressed.saturating_add(open.stall_timeout) {
                let after = open.stall_timeout;
                self.end(CloseReason::Stalled { after });
            }
        } else if now >= self.progressed.saturating_add(open.ping_interval) {
            self.encoder.push_frame(KIND_PING, 0, &Body::default());
            self.progressed = now;
        }
    }

    /// Says whether the caller reads at all: while it does not, because its consumer lags, silence proves nothing.
    pub fn set_reading(&mut self, reading: bool, now: Duration) {
        if reading && !self.reading {
            self.heard = now;
        }
        self.reading = reading;
    }

    /// Answers [`Event::Hello`] as the acceptor: checks version and wanted node, asks `policy`, and says who `local`
    /// is, or why not. Without an open question it does nothing.
    pub fn admit(
        &mut self,
        local: &Local,
        policy: impl FnOnce(&Hello) -> Result<(), Refusal>,
        now: Duration,
    ) {
        let State::Deciding { hello, .. } = &self.state else {
            return;
        };
        let hello = hello.clone();
        let limits = self.config.role(hello.role).clone();
        let ours = hello_of(&limits, hello.role, local, None);
        let version = match check_as_acceptor(&hello, &ours)
            .and_then(|version| policy(&hello).map(|()| version))
        {
            Ok(version) => version,
            Err(refusal) => return self.refuse(refusal),
        };
        self.send_hello(&ours);
        self.become_open(&hello, version, now);
        self.decode(now);
    }

    /// Ends the connection for a reason that the other side is told.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.end(CloseReason::Refused(refusal));
    }

    /// Ends the connection because it is needed no more; what was sent before still goes out.
    pub fn close(&mut self) {
        self.end(CloseReason::Local);
    }

    /// Adds a frame to what is transmitted.
    pub fn send(&mut self, kind: u8, request_id: u64, body: &Body) -> Result<(), SendError> {
        let Some(open) = self.open() else {
            return Err(SendError::Closed);
        };
        let body_bytes = body.len();
        if kind > KIND_MAX {
            return Err(SendError::ReservedKind { kind });
        }
        if body_bytes > open.send_bytes_max as usize {
            return Err(SendError::TooLarge {
                body_bytes,
                max: open.send_bytes_max,
            });
        }
        self.encoder.push_frame(kind, request_id, body);
        Ok(())
    }

    // Out.

    /// What happened, in order; call until `None`.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Everything that is to be sent now, taken as written. Once closed, the last of it is the farewell.
    pub fn take_transmit(&mut self, now: Duration) -> Vec<Bytes> {
        if self.encoder.waiting_bytes() > 0 {
            self.progressed = now;
        }
        self.encoder.take()
    }

    /// Like [`take_transmit`](Connection::take_transmit) for a vectored write: fills `slices` from the front, and
    /// returns how many. The caller reports with [`handle_written`](Connection::handle_written).
    pub fn transmit_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.encoder.slices(slices)
    }

    /// So many of the bytes in [`transmit_slices`](Connection::transmit_slices) were written.
    pub fn handle_written(&mut self, bytes: usize, now: Duration) {
        self.encoder.advance(bytes);
        self.progressed = now;
    }

    // The rest is internal.

    fn send_hello(&mut self, hello: &Hello) {
        self.encoder.push_preamble();
        self.encoder
            .push_frame(KIND_HELLO, 0, &hello.encode().into());
    }

    fn become_open(&mut self, hello: &Hello, version: u16, now: Duration) {
        let limits = self.config.role(hello.role);
        self.decoder.set_body_bytes_max(limits.frame_bytes_max);
        self.state = State::Open(Open {
            role: hello.role,
            version,
            send_bytes_max: limits.frame_bytes_max.min(hello.frame_bytes_max),
            silence_timeout: limits.silence_timeout,
            // Three pings within the other side's patience, but never a flood at its command.
            ping_interval: limits
                .ping_interval
                .min(hello.silence_timeout / 3)
                .max(Duration::from_millis(5)),
            stall_timeout: limits.stall_timeout,
        });
        self.heard = now;
        self.progressed = now;
    }

    fn decode(&mut self, now: Duration) {
        // While the caller decides, what comes next stays in the buffer.
        while !matches!(self.state, State::Deciding { .. } | State::Closed(_)) {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => self.on_frame(frame, now),
                Ok(None) => return,
                Err(reason) => return self.end(reason),
            }
        }
    }

    fn on_frame(&mut self, frame: Frame, now: Duration) {
        match (&self.state, frame.kind) {
            (State::Closed(_), _) => {}
            (_, KIND_CLOSE) => self.end(CloseReason::Remote(Refusal::decode(frame.body))),
            (State::Open(_), ..=KIND_MAX) => self.events.push_back(Event::Frame(frame)),
            (State::Open(_), KIND_PING) => {}
            (State::Greeting { .. } | State::Listening { .. }, KIND_HELLO) => {
                match Hello::decode(frame.body) {
                    Ok(hello) => self.on_hello(hello, now),
                    Err(error) => self.end(error.into()),
                }
            }
            (State::Greeting { .. } | State::Listening { .. }, kind) => {
                self.end(CloseReason::NoHello { kind });
            }
            (_, kind) => self.end(CloseReason::UnexpectedKind { kind }),
        }
    }

    fn on_hello(&mut self, hello: Hello, now: Duration) {
        match &self.state {
            State::Listening { started } => {
                self.state = State::Deciding {
                    hello: hello.clone(),
                    started: *started,
                };
                self.events.push_back(Event::Hello(hello));
            }
            State::Greeting { ours, .. } => match check_as_dialer(&hello, ours) {
                Ok(version) => {
                    self.become_open(&hello, version, now);
                    self.events.push_back(Event::Hello(hello));
                }
                Err(refusal) => self.refuse(refusal),
            },
            _ => unreachable!("a hello is only looked at in a handshake"),
        }
    }

    /// The only way into [`State::Closed`].
    fn end(&mut self, reason: CloseReason) {
        if self.close_reason().is_some() {
            return;
        }
        // An acceptor that has not heard a frame says nothing: whoever is there may not know this protocol.
        let stranger = matches!(self.state, State::Listening { .. })
            && !matches!(
                reason,
                CloseReason::NoHello { .. } | CloseReason::BadHello(_)
            );
        if let Some(farewell) = reason.farewell()
            && !stranger
        {
            if matches!(self.state, State::Listening { .. } | State::Deciding { .. }) {
                self.encoder.push_preamble();
            }
            self.encoder
                .push_frame(KIND_CLOSE, 0, &farewell.encode().into());
        }
        self.state = State::Closed(reason.clone());
        self.events.push_back(Event::Closed(reason));
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Greeting { .. } => "greeting".to_owned(),
            State::Listening { .. } => "listening".to_owned(),
            State::Deciding { .. } => "deciding".to_owned(),
            State::Open(open) => format!("open as {}, version {}", open.role, open.version),
            State::Closed(reason) => format!("closed: {reason}"),
        };
        f.debug_struct("Connection")
            .field("state", &state)
            .field("transmit_bytes", &self.transmit_bytes())
            .finish()
    }
}

fn hello_of(limits: &RoleConfig, role: Role, local: &Local, expected_node: Option<u64>) -> Hello {
    Hello {
        role,
        versions: local.versions,
        identity: local.identity,
        expected_node,
        frame_bytes_max: limits.frame_bytes_max,
        silence_timeout: limits.silence_timeout,
        application: local.application.clone(),
    }
}

fn check_as_acceptor(theirs: &Hello, ours: &Hello) -> Result<u16, Refusal> {
    let version = theirs
        .versions
        .newest_common(ours.versions)
        .ok_or(Refusal::Version {
            ours: ours.versions,
        })?;
    match theirs.expected_node {
        Some(expected) if expected != ours.identity.node => Err(Refusal::WrongNode {
            expected,
            actual: ours.identity.node,
        }),
        _ => Ok(version),
    }
}

fn check_as_dialer(theirs: &Hello, ours: &Hello) -> Result<u16, Refusal> {
    let version = theirs
        .versions
        .newest_common(ours.versions)
        .ok_or(Refusal::Version {
            ours: ours.versions,
        })?;
    match ours.expected_node {
        Some(expected) if expected != theirs.identity.node => Err(Refusal::WrongNode {
            expected,
            actual: theirs.identity.node,
        }),
        _ => Ok(version),
    }
}
