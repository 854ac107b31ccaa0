//! Who speaks: the first frame each way, and what it must hold.
//!
//! Guards: nothing of the caller's is exchanged before both sides know protocol version, cluster, node, incarnation,
//! boot and role of the other (a reused address must not let two clusters meet).

use std::fmt;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::refusal::Refusal;

/// The first bytes each way. The last is the version of the framing itself.
pub const PREAMBLE: [u8; 8] = *b"rafttcp\x01";

/// The most that [`Local::application`] may hold.
pub const APPLICATION_BYTES_MAX: usize = 4096;

/// A hello without its application blob.
const HELLO_FIXED_BYTES: usize = 68;

/// The most a hello or close frame may hold: later versions may append up to 512 bytes that this one ignores.
pub(crate) const HELLO_BYTES_MAX: u32 = (HELLO_FIXED_BYTES + APPLICATION_BYTES_MAX + 512) as u32;

const FLAG_EXPECTS_NODE: u8 = 1;

/// What a connection is for; limits, timeouts and quotas go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A node that sends small, urgent frames.
    Peer,
    /// A node that sends large frames, which must not delay the urgent ones.
    PeerBulk,
    /// Anyone who asks and waits for answers.
    Client,
}

impl Role {
    pub(crate) fn code(self) -> u8 {
        match self {
            Role::Peer => 1,
            Role::PeerBulk => 2,
            Role::Client => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Role> {
        match code {
            1 => Some(Role::Peer),
            2 => Some(Role::PeerBulk),
            3 => Some(Role::Client),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Peer => "peer",
            Role::PeerBulk => "peer-bulk",
            Role::Client => "client",
        })
    }
}

/// The versions of the *caller's* protocol that one side speaks: all from `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest one spoken.
    pub min: u16,
    /// The newest one spoken; at least `min`.
    pub max: u16,
}

impl Versions {
    /// Only this one.
    pub fn only(version: u16) -> Versions {
        Versions {
            min: version,
            max: version,
        }
    }

    /// The newest that both speak.
    pub fn newest_common(self, other: Versions) -> Option<u16> {
        let version = self.max.min(other.max);
        (version >= self.min && version >= other.min).then_some(version)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// Names a cluster. All zero: not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Of a node that belongs to no cluster yet, and of a client that does not care.
    pub const UNKNOWN: ClusterId = ClusterId([0; 16]);

    /// Whether this names a cluster.
    pub fn is_known(&self) -> bool {
        *self != ClusterId::UNKNOWN
    }

    /// Whether both may be the same: equal, or one of them not known yet.
    pub fn may_equal(&self, other: &ClusterId) -> bool {
        self == other || !self.is_known() || !other.is_known()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_known() {
            return f.write_str("unknown");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Who a process is. A client may leave it at its default, all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The node id, given by a person.
    pub node: u64,
    /// Random, given when the node's data directory was made.
    pub incarnation: u64,
    /// Raised at each start of the process.
    pub boot: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity {
            cluster,
            node,
            incarnation,
            boot,
        } = self;
        write!(
            f,
            "node {node} (cluster {cluster}, incarnation {incarnation:016x}, boot {boot})"
        )
    }
}

/// What this process says of itself when a connection opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The versions of the caller's protocol.
    pub versions: Versions,
    /// Who this is.
    pub identity: Identity,
    /// Anything else the other side should know, such as an advertised address; at most
    /// [`APPLICATION_BYTES_MAX`], of which more is cut off.
    pub application: Bytes,
}

impl Local {
    /// Speaks `versions` as `identity`, with nothing else to say.
    pub fn new(versions: Versions, identity: Identity) -> Local {
        Local {
            versions,
            identity,
            application: Bytes::new(),
        }
    }
}

/// What the other side said of itself when the connection opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for; the acceptor repeats the dialer's.
    pub role: Role,
    /// The versions of the caller's protocol.
    pub versions: Versions,
    /// Who speaks.
    pub identity: Identity,
    /// The node that the dialer means to reach.
    pub expected_node: Option<u64>,
    /// The largest body that the speaker takes on this connection.
    pub frame_bytes_max: u32,
    /// The speaker closes the connection when it hears nothing for this long.
    pub silence_timeout: Duration,
    /// Opaque: [`Local::application`] of the other side.
    pub application: Bytes,
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        let keep = self.application.len().min(APPLICATION_BYTES_MAX);
        let mut out = BytesMut::with_capacity(HELLO_FIXED_BYTES + keep);
        out.put_u16_le(self.versions.min);
        out.put_u16_le(self.versions.max);
        out.put_u8(self.role.code());
        out.put_u8(if self.expected_node.is_some() {
            FLAG_EXPECTS_NODE
        } else {
            0
        });
        out.put_u16_le(u16::try_from(keep).unwrap_or(0));
        out.put_slice(&self.identity.cluster.0);
        out.put_u64_le(self.identity.node);
        out.put_u64_le(self.identity.incarnation);
        out.put_u64_le(self.identity.boot);
        out.put_u64_le(self.expected_node.unwrap_or(0));
        out.put_u32_le(self.frame_bytes_max);
        out.put_u32_le(u32::try_from(self.silence_timeout.as_millis()).unwrap_or(u32::MAX));
        out.put_u32_le(0);
        out.extend(self.application.iter().take(keep));
        out.freeze()
    }

    /// Bytes behind the blob are a later version's, and ignored.
    pub(crate) fn decode(mut body: Bytes) -> Result<Hello, BadHello> {
        if body.len() < HELLO_FIXED_BYTES {
            return Err(BadHello::Short {
                body_bytes: body.len(),
            });
        }
        let versions = Versions {
            min: body.get_u16_le(),
            max: body.get_u16_le(),
        };
        if versions.min > versions.max {
            return Err(BadHello::Versions(versions));
        }
        let code = body.get_u8();
        let role = Role::from_code(code).ok_or(BadHello::Role { code })?;
        let flags = body.get_u8();
        let application_bytes = usize::from(body.get_u16_le());
        let mut cluster = ClusterId::default();
        body.copy_to_slice(&mut cluster.0);
        let identity = Identity {
            cluster,
            node: body.get_u64_le(),
            incarnation: body.get_u64_le(),
            boot: body.get_u64_le(),
        };
        let expected_node = body.get_u64_le();
        let frame_bytes_max = body.get_u32_le();
        let silence_timeout = Duration::from_millis(u64::from(body.get_u32_le()));
        let _reserved = body.get_u32_le();
        if application_bytes > body.len() || application_bytes > APPLICATION_BYTES_MAX {
            return Err(BadHello::Application { application_bytes });
        }
        // A copy: the blob may be kept for as long as the connection, and must not pin a read buffer.
        let application = Bytes::copy_from_slice(&body.split_to(application_bytes));
        let expected_node = (flags & FLAG_EXPECTS_NODE != 0).then_some(expected_node);
        Ok(Hello {
            role,
            versions,
            identity,
            expected_node,
            frame_bytes_max,
            silence_timeout,
            application,
        })
    }
}

/// Why a hello could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadHello {
    /// It ends before the last fixed field.
    #[error("it has only {body_bytes} bytes")]
    Short {
        /// The bytes it has.
        body_bytes: usize,
    },
    /// The oldest version is newer than the newest.
    #[error("its version range {} to {} is empty", .0.min, .0.max)]
    Versions(Versions),
    /// No role has this number.
    #[error("its role {code} is not known")]
    Role {
        /// The number.
        code: u8,
    },
    /// The application blob is larger than allowed, or than the frame.
    #[error("its application part claims {application_bytes} bytes")]
    Application {
        /// The claimed length.
        application_bytes: usize,
    },
}

/// Who may connect: asked once for each connection, after the checks that are built in (magic, version, expected
/// node). Any `Fn(&Hello) -> Result<(), Refusal>` is a policy.
///
/// State, such as the highest boot number seen of each node, lives with the caller:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use raft_net_tcp::{ClusterId, Hello, Policy, Refusal, Role};
///
/// fn policy(ours: ClusterId) -> impl Policy {
///     let boots: Mutex<HashMap<(u64, u64), u64>> = Mutex::default();
///     move |remote: &Hello| {
///         let who = &remote.identity;
///         if !ours.may_equal(&who.cluster) {
///             return Err(Refusal::WrongCluster { ours });
///         }
///         if remote.role != Role::Client {
///             let mut boots = boots.lock().expect("no panic while it was held");
///             let seen = boots.entry((who.node, who.incarnation)).or_default();
///             if who.boot < *seen {
///                 return Err(Refusal::StaleBoot { seen: *seen });
///             }
///             *seen = who.boot;
///         }
///         Ok(())
///     }
/// }
/// # let _ = policy(ClusterId::UNKNOWN);
/// ```
pub trait Policy: Send + Sync + 'static {
    /// Whether to go on with who said `remote`; the refusal is sent to them, and logged on both sides.
    fn admit(&self, remote: &Hello) -> Result<(), Refusal>;
}

impl<F> Policy for F
where
    F: Fn(&Hello) -> Result<(), Refusal> + Send + Sync + 'static,
{
    fn admit(&self, remote: &Hello) -> Result<(), Refusal> {
        self(remote)
    }
}

/// The policy that admits everyone who passes the checks that are built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

impl Policy for AdmitAll {
    fn admit(&self, _remote: &Hello) -> Result<(), Refusal> {
        Ok(())
    }
}

/// What the first bytes of a stranger look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stranger {
    /// A request such as `GET / HTTP/1.1`, or an answer.
    Http,
    /// A TLS record.
    Tls,
    /// An SSH banner.
    Ssh,
    /// This protocol with another framing version.
    OtherFraming {
        /// The framing version they speak.
        version: u8,
    },
    /// None of these.
    Unknown,
}

impl Stranger {
    /// `start`: the first bytes, of which at least one differs from [`PREAMBLE`].
    pub(crate) fn guess(start: &[u8]) -> Stranger {
        const HTTP: [&[u8]; 8] = [
            b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PRI ", b"HTTP",
        ];
        if let Some((&version, magic)) = start.split_last()
            && start.len() == PREAMBLE.len()
            && PREAMBLE.starts_with(magic)
        {
            return Stranger::OtherFraming { version };
        }
        if HTTP.iter().any(|verb| start.starts_with(verb)) {
            Stranger::Http
        } else if start.starts_with(&[0x16, 0x03]) || start.starts_with(&[0x15, 0x03]) {
            Stranger::Tls
        } else if start.starts_with(b"SSH-") {
            Stranger::Ssh
        } else {
            Stranger::Unknown
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stranger::Http => f.write_str("it looks like HTTP"),
            Stranger::Tls => f.write_str("it looks like TLS, which is not spoken here"),
            Stranger::Ssh => f.write_str("it looks like SSH"),
            Stranger::OtherFraming { version } => {
                write!(
                    f,
                    "it is framing version {version}, and this build speaks {}",
                    PREAMBLE[7]
                )
            }
            Stranger::Unknown => f.write_str("nothing that is known here"),
        }
    }
}
