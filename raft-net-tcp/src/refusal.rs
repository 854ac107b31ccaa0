//! What one side tells the other when it ends a connection: the body of the last frame.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::handshake::{ClusterId, Role, Versions};

/// The most bytes of [`Refusal::Application`]'s message that are sent.
const MESSAGE_BYTES_MAX: usize = 512;

/// The first code that is free for [`Refusal::Application`].
const APPLICATION_CODE_MIN: u16 = 256;

/// Why a connection is turned away or ended, as told to the other side, so that both can log it.
///
/// "Ours" is the side that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing is wrong: the side that says so needs the connection no more, or shuts down.
    Finished,
    /// No version is spoken by both.
    Version {
        /// Those spoken by the side that refuses.
        ours: Versions,
    },
    /// The connection came from, or went to, another cluster.
    WrongCluster {
        /// The cluster of the side that refuses.
        ours: ClusterId,
    },
    /// Another node was expected at this address.
    WrongNode {
        /// The node that was wanted.
        expected: u64,
        /// The node that is there.
        actual: u64,
    },
    /// The node is known under another incarnation: its data directory was made anew.
    WrongIncarnation {
        /// The one known to the side that refuses.
        known: u64,
    },
    /// The node has been heard with a higher boot number: an older copy of its data directory runs.
    StaleBoot {
        /// The highest heard so far.
        seen: u64,
    },
    /// As many connections of this role are open as the quota allows.
    TooManyConnections {
        /// The role whose quota is used up.
        role: Role,
    },
    /// Connections of this role are not served here.
    RoleNotServed {
        /// The role.
        role: Role,
    },
    /// The first frame was no hello that could be read.
    BadHello,
    /// The handshake took too long.
    HandshakeTimeout,
    /// A frame arrived damaged.
    Checksum,
    /// A frame was larger than what was announced as the limit.
    FrameTooLarge {
        /// The limit for bodies.
        max: u32,
    },
    /// A frame of a kind that has no meaning at that point.
    UnexpectedKind {
        /// The kind.
        kind: u8,
    },
    /// Nothing was heard for too long.
    Silence,
    /// The other side did not read for too long.
    Stalled,
    /// A reason of the caller's own.
    Application {
        /// Any number; the caller's own.
        code: u16,
        /// For people, at most 512 bytes, of which more is cut off.
        message: String,
    },
    /// A reason that this build does not know, from a later one.
    Unknown {
        /// Its number on the wire.
        code: u16,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Finished => f.write_str("the connection is no longer needed"),
            Refusal::Version { ours } => {
                write!(
                    f,
                    "no common protocol version: the side that refuses speaks {ours}; upgrade the older side"
                )
            }
            Refusal::WrongCluster { ours } => {
                write!(f, "the side that refuses belongs to cluster {ours}")
            }
            Refusal::WrongNode { expected, actual } => {
                write!(
                    f,
                    "node {expected} was expected, but node {actual} is there; correct the address of node {expected}"
                )
            }
            Refusal::WrongIncarnation { known } => write!(
                f,
                "this node is known with incarnation {known:016x}: its data directory was replaced; remove and re-add it"
            ),
            Refusal::StaleBoot { seen } => write!(
                f,
                "boot {seen} of this node was already seen: an older copy of its data directory is running"
            ),
            Refusal::TooManyConnections { role } => {
                write!(f, "too many connections with role {role}; try again later")
            }
            Refusal::RoleNotServed { role } => {
                write!(f, "connections with role {role} are not served here")
            }
            Refusal::BadHello => f.write_str("the first frame was no valid hello"),
            Refusal::HandshakeTimeout => f.write_str("the handshake took too long"),
            Refusal::Checksum => f.write_str("a frame arrived damaged"),
            Refusal::FrameTooLarge { max } => write!(f, "a frame was larger than {max} bytes"),
            Refusal::UnexpectedKind { kind } => {
                write!(f, "a frame of kind {kind:#04x} was not expected")
            }
            Refusal::Silence => f.write_str("nothing was heard for too long"),
            Refusal::Stalled => f.write_str("the other side did not read for too long"),
            Refusal::Application { code, message } => write!(f, "{message} (code {code})"),
            Refusal::Unknown { code } => {
                write!(f, "reason {code}, which this version does not know")
            }
        }
    }
}

impl Refusal {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(18);
        out.put_u16_le(self.wire_code());
        match self {
            Refusal::Version { ours } => {
                out.put_u16_le(ours.min);
                out.put_u16_le(ours.max);
            }
            Refusal::WrongCluster { ours } => out.put_slice(&ours.0),
            Refusal::WrongNode { expected, actual } => {
                out.put_u64_le(*expected);
                out.put_u64_le(*actual);
            }
            Refusal::WrongIncarnation { known: number } | Refusal::StaleBoot { seen: number } => {
                out.put_u64_le(*number);
            }
            Refusal::TooManyConnections { role } | Refusal::RoleNotServed { role } => {
                out.put_u8(role.code());
            }
            Refusal::FrameTooLarge { max } => out.put_u32_le(*max),
            Refusal::UnexpectedKind { kind } => out.put_u8(*kind),
            Refusal::Application { code, message } => {
                out.put_u16_le(*code);
                let end = (0..=MESSAGE_BYTES_MAX.min(message.len()))
                    .rev()
                    .find(|&i| message.is_char_boundary(i));
                out.extend(message.bytes().take(end.unwrap_or(0)));
            }
            _ => {}
        }
        out.freeze()
    }

    fn wire_code(&self) -> u16 {
        match self {
            Refusal::Finished => 0,
            Refusal::Version { .. } => 1,
            Refusal::WrongCluster { .. } => 2,
            Refusal::WrongNode { .. } => 3,
            Refusal::WrongIncarnation { .. } => 4,
            Refusal::StaleBoot { .. } => 5,
            Refusal::TooManyConnections { .. } => 6,
            Refusal::RoleNotServed { .. } => 7,
            Refusal::BadHello => 8,
            Refusal::HandshakeTimeout => 9,
            Refusal::Checksum => 10,
            Refusal::FrameTooLarge { .. } => 11,
            Refusal::UnexpectedKind { .. } => 12,
            Refusal::Silence => 13,
            Refusal::Stalled => 14,
            Refusal::Application { .. } => APPLICATION_CODE_MIN,
            Refusal::Unknown { code } => *code,
        }
    }

    /// Never fails: what cannot be read becomes [`Refusal::Unknown`].
    pub(crate) fn decode(mut body: Bytes) -> Refusal {
        let Ok(code) = body.try_get_u16_le() else {
            return Refusal::Unknown { code: u16::MAX };
        };
        Refusal::decode_fields(code, body).unwrap_or(Refusal::Unknown { code })
    }

    fn decode_fields(code: u16, mut body: Bytes) -> Option<Refusal> {
        Some(match code {
            0 => Refusal::Finished,
            1 => {
                let (min, max) = (body.try_get_u16_le().ok()?, body.try_get_u16_le().ok()?);
                Refusal::Version {
                    ours: Versions { min, max },
                }
            }
            2 => {
                let mut ours = ClusterId::UNKNOWN;
                body.try_copy_to_slice(&mut ours.0).ok()?;
                Refusal::WrongCluster { ours }
            }
            3 => {
                let (expected, actual) = (body.try_get_u64_le().ok()?, body.try_get_u64_le().ok()?);
                Refusal::WrongNode { expected, actual }
            }
            4 => Refusal::WrongIncarnation {
                known: body.try_get_u64_le().ok()?,
            },
            5 => Refusal::StaleBoot {
                seen: body.try_get_u64_le().ok()?,
            },
            6 => Refusal::TooManyConnections {
                role: Role::from_code(body.try_get_u8().ok()?)?,
            },
            7 => Refusal::RoleNotServed {
                role: Role::from_code(body.try_get_u8().ok()?)?,
            },
            8 => Refusal::BadHello,
            9 => Refusal::HandshakeTimeout,
            10 => Refusal::Checksum,
            11 => Refusal::FrameTooLarge {
                max: body.try_get_u32_le().ok()?,
            },
            12 => Refusal::UnexpectedKind {
                kind: body.try_get_u8().ok()?,
            },
            13 => Refusal::Silence,
            14 => Refusal::Stalled,
            APPLICATION_CODE_MIN => {
                let code = body.try_get_u16_le().ok()?;
                let text = body.get(..body.len().min(MESSAGE_BYTES_MAX))?;
                // A stranger's text goes into our log: no control characters.
                let message = String::from_utf8_lossy(text)
                    .chars()
                    .filter(|c| !c.is_control())
                    .collect();
                Refusal::Application { code, message }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_wire() {
        let all = [
            Refusal::Finished,
            Refusal::Version {
                ours: Versions { min: 1, max: 3 },
            },
            Refusal::WrongCluster {
                ours: ClusterId([9; 16]),
            },
            Refusal::WrongNode {
                expected: 1,
                actual: u64::MAX,
            },
            Refusal::WrongIncarnation { known: 5 },
            Refusal::StaleBoot { seen: 6 },
            Refusal::TooManyConnections { role: Role::Client },
            Refusal::RoleNotServed {
                role: Role::PeerBulk,
            },
            Refusal::BadHello,
            Refusal::HandshakeTimeout,
            Refusal::Checksum,
            Refusal::FrameTooLarge { max: 7 },
            Refusal::UnexpectedKind { kind: 0xFF },
            Refusal::Silence,
            Refusal::Stalled,
            Refusal::Application {
                code: 8,
                message: "not today".into(),
            },
            Refusal::Unknown { code: 77 },
        ];
        for refusal in all {
            assert_eq!(Refusal::decode(refusal.encode()), refusal);
            assert!(!refusal.to_string().is_empty());
        }
    }

    #[test]
    fn a_damaged_refusal_is_unknown_and_a_long_message_is_cut() {
        assert_eq!(
            Refusal::decode(Bytes::from_static(&[3, 0, 1])),
            Refusal::Unknown { code: 3 }
        );
        assert_eq!(
            Refusal::decode(Bytes::new()),
            Refusal::Unknown { code: u16::MAX }
        );
        let long = Refusal::Application {
            code: 1,
            message: "é".repeat(2000),
        };
        let Refusal::Application { message, .. } = Refusal::decode(long.encode()) else {
            panic!("another refusal")
        };
        assert_eq!(message, "é".repeat(256));
        let hostile = Refusal::Application {
            code: 1,
            message: "a\n\x1b[31mb".into(),
        };
        assert_eq!(hostile.encode().len(), 12);
        assert_eq!(
            Refusal::decode(hostile.encode()),
            Refusal::Application {
                code: 1,
                message: "a[31mb".into()
            }
        );
    }
}
