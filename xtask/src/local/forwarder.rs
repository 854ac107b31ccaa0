//! The network between the nodes: a proxy in this process that can stop copying, copy slowly, and break connections.
//!
//! Every ordered pair of nodes has a listener of its own, so that the forwarder knows who dials whom. To isolate a
//! node is to stop copying in both directions: nothing is closed or reset, bytes just no longer arrive, as with a
//! cable pulled. What was on its way arrives after the healing, if both ends still have the connection. To break connections is to
//! close them at both ends, at once. A slow node gets the bytes of all its connections together at a rate.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How long a target on this machine may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long a dialler may take to say its first words.
const GREETING_WITHIN: Duration = Duration::from_millis(100);
const BUFFER_BYTES: usize = 64 * 1024;
/// How much goes through at once to a node that is slow: then a connection waits for the others no longer than for so much of each.
const SLOW_BUFFER_BYTES: usize = 8 * 1024;

/// A proxy for the connections between nodes. Dropping it closes every listener and every connection.
pub struct Forwarder {
    gate: Arc<Gate>,
    listening: Mutex<Vec<SocketAddr>>,
}

impl Forwarder {
    /// A forwarder that forwards nothing yet.
    #[must_use]
    pub fn new() -> Forwarder {
        Forwarder {
            gate: Arc::default(),
            listening: Mutex::default(),
        }
    }

    /// Opens a port of 127.0.0.1 for node `from` to dial when it means node `to`, which listens on `target`.
    ///
    /// # Errors
    /// When no port can be opened or no thread started.
    pub fn open(&self, from: u8, to: u8, target: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let link = Link {
            from,
            to,
            target,
            gate: Arc::clone(&self.gate),
        };
        thread::Builder::new()
            .name(format!("link {from}-{to}"))
            .spawn(move || link.accept(&listener))?;
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(address);
        Ok(address)
    }

    /// Cuts a node off from all others. Its clients still reach it.
    pub fn isolate(&self, node: u8) {
        self.gate.change(|state| {
            state.isolated.insert(node);
        });
    }

    /// Ends every isolation.
    pub fn heal(&self) {
        self.gate.change(|state| state.isolated.clear());
    }

    /// From now on a node gets so many bytes a second, from all others together; none: as fast as it goes.
    pub fn throttle(&self, node: u8, bytes_per_second: Option<u32>) {
        self.gate.change(|state| {
            match bytes_per_second {
                Some(rate) => state.rates.insert(node, rate.max(1)),
                None => state.rates.remove(&node),
            };
            state.free_at.remove(&node);
        });
    }

    /// Breaks every connection that a node has with others at this moment. New ones can be made at once.
    pub fn break_connections(&self, node: u8) {
        let connections = std::mem::take(&mut self.gate.lock().connections);
        let (broken, kept): (Vec<_>, Vec<_>) = connections
            .into_iter()
            .partition(|(from, to, _)| *from == node || *to == node);
        for stream in broken.iter().filter_map(|(_, _, stream)| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.gate.lock().connections.extend(kept);
    }

    /// How many bytes a node was passed on so far, from all others together.
    #[must_use]
    pub fn passed_to(&self, node: u8) -> u64 {
        self.gate.lock().passed.get(&node).copied().unwrap_or(0)
    }

    /// The nodes that are cut off.
    #[must_use]
    pub fn isolated(&self) -> BTreeSet<u8> {
        self.gate.lock().isolated.clone()
    }
}

impl Default for Forwarder {
    fn default() -> Forwarder {
        Forwarder::new()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.gate.change(|state| state.closed = true);
        for address in self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            // Wakes the thread that waits in accept; it sees that the gate is closed.
            let _ = TcpStream::connect_timeout(address, CONNECT_WITHIN);
        }
    }
}

/// What all threads of a forwarder look at before they pass anything on.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    isolated: BTreeSet<u8>,
    /// Bytes a second, by who gets them.
    rates: BTreeMap<u8, u32>,
    /// When the line to a slow node is free again.
    free_at: BTreeMap<u8, Instant>,
    /// Bytes so far, by who got them.
    passed: BTreeMap<u8, u64>,
    /// From whom to whom; ended ones go when another is made.
    connections: Vec<(u8, u8, Weak<TcpStream>)>,
    closed: bool,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until bytes may pass between two nodes. False when the forwarder is gone.
    fn pass(&self, a: u8, b: u8) -> bool {
        let cut = |state: &mut GateState| {
            !state.closed && (state.isolated.contains(&a) || state.isolated.contains(&b))
        };
        let state = self
            .changed
            .wait_while(self.lock(), cut)
            .unwrap_or_else(PoisonError::into_inner);
        !state.closed
    }

    /// How much may go to a node at once.
    fn piece(&self, to: u8) -> usize {
        match self.lock().rates.contains_key(&to) {
            true => SLOW_BUFFER_BYTES,
            false => BUFFER_BYTES,
        }
    }

    /// Waits for as long as so many bytes take on the line to a node.
    fn carry(&self, to: u8, bytes: usize) {
        let mut state = self.lock();
        *state.passed.entry(to).or_default() += bytes as u64;
        let Some(rate) = state.rates.get(&to).copied() else {
            return;
        };
        let now = Instant::now();
        let begins = state.free_at.get(&to).copied().unwrap_or(now).max(now);
        let ends = begins + Duration::from_secs_f64(bytes as f64 / f64::from(rate));
        state.free_at.insert(to, ends);
        drop(state);
        thread::sleep(ends - now);
    }

    fn remember(&self, from: u8, to: u8, stream: &Arc<TcpStream>) {
        let mut state = self.lock();
        state
            .connections
            .retain(|(_, _, stream)| stream.strong_count() > 0);
        state.connections.push((from, to, Arc::downgrade(stream)));
    }
}

/// One ordered pair of nodes.
struct Link {
    from: u8,
    to: u8,
    target: SocketAddr,
    gate: Arc<Gate>,
}

impl Link {
    fn accept(&self, listener: &TcpListener) {
        for incoming in listener.incoming() {
            if !self.gate.pass(self.from, self.to) {
                return;
            }
            // Neither a connection that ended while it waited nor a target that is down is this thread's concern: the
            // dialler sees its connection close, and tries again.
            if let Ok(incoming) = incoming
                && self.join(&incoming).is_err()
            {
                close_politely(&incoming);
            }
        }
    }

    /// Connects to the target and copies in both directions, each on a thread that ends with its connection.
    fn join(&self, near: &TcpStream) -> io::Result<()> {
        let far = TcpStream::connect_timeout(&self.target, CONNECT_WITHIN)?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near, far) = (Arc::new(near.try_clone()?), Arc::new(far));
        self.gate.remember(self.from, self.to, &near);
        self.gate.remember(self.from, self.to, &far);
        let (from, to) = (self.from, self.to);
        for (source, sink, sender, receiver) in [
            (Arc::clone(&near), Arc::clone(&far), from, to),
            (far, near, to, from),
        ] {
            let gate = Arc::clone(&self.gate);
            thread::Builder::new()
                .name(format!("copy {sender}-{receiver}"))
                .spawn(move || copy(&source, &sink, &gate, sender, receiver))?;
        }
        Ok(())
    }
}

/// Reads what the dialler says first, before its connection is dropped: with bytes unread, it would see now an end and now
/// a reset, and log each as news.
fn close_politely(mut near: &TcpStream) {
    let _ = near.set_read_timeout(Some(GREETING_WITHIN));
    let _ = near.read(&mut [0; 4096]);
}

/// Copies until the source ends or either side fails, and passes that on too.
fn copy(mut source: &TcpStream, mut sink: &TcpStream, gate: &Gate, from: u8, to: u8) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let piece = gate.piece(to);
        let read = source.read(buffer.get_mut(..piece).unwrap_or_default());
        // Also the end of a connection does not get through a cut.
        if !gate.pass(from, to) {
            break;
        }
        match read {
            Ok(0) => {
                let _ = sink.shutdown(Shutdown::Write);
                return;
            }
            Ok(length) => {
                gate.carry(to, length);
                if sink
                    .write_all(buffer.get(..length).unwrap_or_default())
                    .is_err()
                {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    let _ = source.shutdown(Shutdown::Both);
    let _ = sink.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that sends back what it gets, and a connection to it through a forwarder.
    fn echo_through(forwarder: &Forwarder) -> TcpStream {
        let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = forwarder.open(1, 2, target.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            for stream in target.incoming() {
                let mut stream = stream.unwrap();
                let mut back = stream.try_clone().unwrap();
                thread::spawn(move || io::copy(&mut stream, &mut back));
            }
        });
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn round_trip(stream: &mut TcpStream, text: &[u8]) {
        stream.write_all(text).unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn isolation_is_silence_and_healing_delivers() {
        let forwarder = Forwarder::new();
        let mut stream = echo_through(&forwarder);
        round_trip(&mut stream, b"before");
        for cut in [1, 2] {
            forwarder.isolate(cut);
            assert_eq!(forwarder.isolated(), BTreeSet::from([cut]));
            stream.write_all(b"lost?").unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            let silence = stream.read(&mut [0; 8]).unwrap_err();
            assert_eq!(
                silence.kind(),
                io::ErrorKind::WouldBlock,
                "neither bytes, nor an end, nor a reset"
            );
            forwarder.heal();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut late = [0; 5];
            stream.read_exact(&mut late).unwrap();
            assert_eq!(&late, b"lost?");
        }
        forwarder.isolate(3);
        round_trip(&mut stream, b"others go on");
    }

    #[test]
    fn a_broken_connection_ends_and_another_can_be_made() {
        let forwarder = Forwarder::new();
        let mut stream = echo_through(&forwarder);
        round_trip(&mut stream, b"before");
        assert_eq!((forwarder.passed_to(2), forwarder.passed_to(1)), (6, 6));
        forwarder.break_connections(3);
        round_trip(&mut stream, b"not that one");
        forwarder.break_connections(2);
        assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)));
        let mut another = TcpStream::connect(stream.peer_addr().unwrap()).unwrap();
        round_trip(&mut another, b"after");
    }

    /// No more arrives in a time than the line carries in it; and all of it in the end.
    #[test]
    fn a_slow_line_delivers_all_and_no_faster() {
        let forwarder = Forwarder::new();
        let mut stream = echo_through(&forwarder);
        forwarder.throttle(2, Some(1 << 20));
        let begun = Instant::now();
        round_trip(&mut stream, &vec![7; 128 << 10]);
        assert!(begun.elapsed() >= Duration::from_millis(120));
        forwarder.throttle(2, None);
        round_trip(&mut stream, b"fast again");
    }

    #[test]
    fn an_end_and_a_dead_target_are_passed_on() {
        let forwarder = Forwarder::new();
        let mut stream = echo_through(&forwarder);
        round_trip(&mut stream, b"x");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);

        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let address = forwarder.open(1, 3, gone).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)));
    }

    #[test]
    fn dropping_it_closes_what_it_held() {
        let forwarder = Forwarder::new();
        let mut stream = echo_through(&forwarder);
        round_trip(&mut stream, b"x");
        let address = stream.peer_addr().unwrap();
        drop(forwarder);
        stream.write_all(b"y").unwrap();
        assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)));
        super::super::wait_for("the listener to close", Duration::from_secs(10), || {
            match TcpStream::connect(address) {
                Err(_) => Ok(()),
                Ok(_) => anyhow::bail!("still open"),
            }
        })
        .unwrap();
    }
}
