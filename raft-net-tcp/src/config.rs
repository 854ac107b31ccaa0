//! Limits, timeouts and quotas, by role. The defaults are valid; [`Config::validate`] checks changed ones.

use std::time::Duration;

use crate::handshake::Role;

/// Limits of all connections of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleConfig {
    /// The largest body that is taken, and announced to the other side. A larger one closes the connection
    /// before anything is allocated. Too small, and a large batch can never be delivered.
    pub frame_bytes_max: u32,
    /// A connection on which nothing was heard for this long is closed; the other side learns it in the handshake
    /// and pings often enough. Too short, and a paused process loses its connections; too long, and a half-open
    /// one is kept.
    pub silence_timeout: Duration,
    /// After this long without sending, a ping goes out; sooner, if the other side's silence timeout asks for it.
    pub ping_interval: Duration,
    /// A connection whose other side reads nothing for this long, while there is something to send, is closed.
    pub stall_timeout: Duration,
    /// Open connections of this role at a listener. Each role has its own share, so clients never displace peers.
    pub connections_max: usize,
    /// Frames waiting to be sent on one connection.
    pub send_queue_frames: usize,
    /// Bytes waiting to be sent on one connection; one frame is always taken by an empty queue.
    pub send_queue_bytes: usize,
    /// Bytes received and not yet consumed on one connection, at which no more is read from the socket.
    /// It may be exceeded by one read.
    pub receive_queue_bytes: usize,
}

/// How long to wait between attempts to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubled by each further one. The real wait is drawn from the upper half.
    pub min: Duration,
    /// Never longer than this. Two heartbeats or less, for a peer that must be found again quickly.
    pub max: Duration,
}

/// What a process demands of all its connections.
///
/// ```
/// use std::time::Duration;
/// use raft_net_tcp::Config;
///
/// let mut config = Config::default();
/// config.peer.silence_timeout = Duration::from_millis(250);
/// config.peer.ping_interval = Duration::from_millis(80);
/// config.validate()?;
/// # Ok::<(), raft_net_tcp::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// For [`Role::Peer`]: frames of 8 MiB, silence of 500 ms, 64 connections.
    pub peer: RoleConfig,
    /// For [`Role::PeerBulk`]: frames of 8 MiB, silence of 2 s, 64 connections.
    pub bulk: RoleConfig,
    /// For [`Role::Client`]: frames of 2 MiB, silence of 10 s, 10 000 connections.
    pub client: RoleConfig,
    /// From the first byte to the end of the handshake, on both sides; 2 s.
    pub handshake_timeout: Duration,
    /// One attempt to connect: name, TCP and handshake together; 500 ms. A peer that comes back while an attempt
    /// hangs is found only by the next one, so two heartbeats are a good value.
    pub connect_timeout: Duration,
    /// Connections at a listener that have not finished their handshake; 256. One more drops the oldest.
    pub pending_handshakes_max: usize,
    /// Between attempts of a [`crate::Peer`]; from 10 to 100 ms.
    pub backoff: Backoff,
    /// Requests of one [`crate::Client`] that wait for their answers; 16 384. A further one waits for its turn.
    pub in_flight_max: usize,
}

const MIB: usize = 1024 * 1024;

/// The longest of all timeouts.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Config {
    fn default() -> Config {
        let peer = RoleConfig {
            frame_bytes_max: 8 * MIB as u32,
            silence_timeout: Duration::from_millis(500),
            ping_interval: Duration::from_millis(150),
            stall_timeout: Duration::from_secs(5),
            connections_max: 64,
            send_queue_frames: 4096,
            send_queue_bytes: 32 * MIB,
            receive_queue_bytes: 16 * MIB,
        };
        let bulk = RoleConfig {
            silence_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_millis(500),
            stall_timeout: Duration::from_secs(10),
            send_queue_frames: 64,
            ..peer.clone()
        };
        let client = RoleConfig {
            frame_bytes_max: 2 * MIB as u32,
            silence_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(3),
            stall_timeout: Duration::from_secs(10),
            connections_max: 10_000,
            send_queue_frames: 65_536,
            send_queue_bytes: 8 * MIB,
            receive_queue_bytes: 4 * MIB,
        };
        Config {
            peer,
            bulk,
            client,
            handshake_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_millis(500),
            pending_handshakes_max: 256,
            backoff: Backoff {
                min: Duration::from_millis(10),
                max: Duration::from_millis(100),
            },
            in_flight_max: 16_384,
        }
    }
}

impl Config {
    /// The limits of one role.
    pub fn role(&self, role: Role) -> &RoleConfig {
        match role {
            Role::Peer => &self.peer,
            Role::PeerBulk => &self.bulk,
            Role::Client => &self.client,
        }
    }

    /// Whether these values can work together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for role in [Role::Peer, Role::PeerBulk, Role::Client] {
            self.role(role).validate(role)?;
        }
        let positive = [
            ("handshake_timeout", self.handshake_timeout.is_zero()),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("pending_handshakes_max", self.pending_handshakes_max == 0),
            ("backoff.min", self.backoff.min.is_zero()),
            ("in_flight_max", self.in_flight_max == 0),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, zero)| *zero) {
            return Err(ConfigError::Zero { field });
        }
        let times = [
            ("handshake_timeout", self.handshake_timeout),
            ("connect_timeout", self.connect_timeout),
            ("backoff.max", self.backoff.max),
        ];
        check_times(&times)?;
        if self.backoff.min > self.backoff.max {
            return Err(ConfigError::Backoff {
                min: self.backoff.min,
                max: self.backoff.max,
            });
        }
        Ok(())
    }
}

impl RoleConfig {
    fn validate(&self, role: Role) -> Result<(), ConfigError> {
        let positive = [
            ("frame_bytes_max", self.frame_bytes_max == 0),
            (
                "silence_timeout",
                self.silence_timeout < Duration::from_millis(1),
            ),
            ("ping_interval", self.ping_interval.is_zero()),
            ("stall_timeout", self.stall_timeout.is_zero()),
            ("connections_max", self.connections_max == 0),
            ("send_queue_frames", self.send_queue_frames == 0),
            ("send_queue_bytes", self.send_queue_bytes == 0),
            ("receive_queue_bytes", self.receive_queue_bytes == 0),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, zero)| *zero) {
            return Err(ConfigError::Zero { field });
        }
        check_times(&[
            ("silence_timeout", self.silence_timeout),
            ("stall_timeout", self.stall_timeout),
        ])?;
        if self.ping_interval > self.silence_timeout / 2 {
            return Err(ConfigError::PingTooRare {
                role,
                ping: self.ping_interval,
                silence: self.silence_timeout,
            });
        }
        Ok(())
    }
}

/// "For ever" is not offered: it would leave dead connections open.
fn check_times(times: &[(&'static str, Duration)]) -> Result<(), ConfigError> {
    match times.iter().find(|(_, time)| *time > TIME_MAX) {
        Some(&(field, _)) => Err(ConfigError::TooLong {
            field,
            max: TIME_MAX,
        }),
        None => Ok(()),
    }
}

/// Why a [`Config`] cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that must be positive is zero.
    #[error("{field} must be more than zero")]
    Zero {
        /// The field.
        field: &'static str,
    },
    /// A time that is longer than any use of it.
    #[error("{field} must be at most {max:?}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The limit.
        max: Duration,
    },
    /// An idle link would be taken for a dead one.
    #[error("{role}: ping_interval {ping:?} must be at most half of silence_timeout {silence:?}")]
    PingTooRare {
        /// The role.
        role: Role,
        /// Its ping interval.
        ping: Duration,
        /// Its silence timeout.
        silence: Duration,
    },
    /// The shortest wait is longer than the longest.
    #[error("backoff.min {min:?} must be at most backoff.max {max:?}")]
    Backoff {
        /// The shortest wait.
        min: Duration,
        /// The longest wait.
        max: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_nonsense_is_named() {
        Config::default().validate().unwrap();

        let mut config = Config::default();
        config.peer.ping_interval = Duration::from_millis(400);
        let error = config.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "peer: ping_interval 400ms must be at most half of silence_timeout 500ms"
        );

        let config = Config {
            in_flight_max: 0,
            ..Config::default()
        };
        assert_eq!(
            config.validate(),
            Err(ConfigError::Zero {
                field: "in_flight_max"
            })
        );
    }
}
