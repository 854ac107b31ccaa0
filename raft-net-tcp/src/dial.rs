//! Making a connection: name, TCP and handshake under one deadline.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::config::Config;
use crate::connection::Connection;
use crate::driver::Driver;
use crate::error::ConnectError;
use crate::handshake::{AdmitAll, Hello, Local, Policy, Role};
use crate::link::{self, Link};

/// How to connect: as whom, to whom, with which limits.
#[derive(Clone)]
pub struct Dial {
    pub(crate) config: Arc<Config>,
    pub(crate) role: Role,
    pub(crate) local: Arc<dyn Fn() -> Local + Send + Sync>,
    pub(crate) expected_node: Option<u64>,
    pub(crate) policy: Arc<dyn Policy>,
}

impl Dial {
    /// `local` is asked anew for each attempt, since a node learns its cluster while it runs.
    pub fn new(
        config: Config,
        role: Role,
        local: impl Fn() -> Local + Send + Sync + 'static,
    ) -> Dial {
        Dial {
            config: Arc::new(config),
            role,
            local: Arc::new(local),
            expected_node: None,
            policy: Arc::new(AdmitAll),
        }
    }

    /// Refuses any other node that answers, so that a reused address is noticed.
    #[must_use]
    pub fn expect_node(mut self, node: u64) -> Dial {
        self.expected_node = Some(node);
        self
    }

    /// Asks this policy about who answers.
    #[must_use]
    pub fn policy(mut self, policy: impl Policy) -> Dial {
        self.policy = Arc::new(policy);
        self
    }

    /// Connects to `address`, which is `host:port`.
    pub async fn connect(&self, address: &str) -> Result<Link, ConnectError> {
        self.config.validate()?;
        let (driver, hello, remote) = self.attempt(address).await?;
        Ok(link::spawn(
            driver,
            self.config.role(self.role),
            hello,
            remote,
            (),
        ))
    }

    /// Name, TCP and handshake.
    pub(crate) async fn attempt(
        &self,
        address: &str,
    ) -> Result<(Driver<TcpStream>, Hello, SocketAddr), ConnectError> {
        let after = self.config.connect_timeout;
        let mut answered = false;
        let made = timeout(after, async {
            let stream = self.connect_tcp(address).await?;
            answered = true;
            self.handshake(address, stream).await
        })
        .await;
        let address = || address.to_owned();
        match made {
            Ok(made) => made,
            Err(_) if answered => Err(ConnectError::Silent {
                address: address(),
                after,
            }),
            Err(_) => Err(ConnectError::Timeout {
                address: address(),
                after,
            }),
        }
    }

    async fn connect_tcp(&self, address: &str) -> Result<(TcpStream, SocketAddr), ConnectError> {
        let tcp = |error: std::io::Error| ConnectError::Tcp {
            address: address.to_owned(),
            kind: error.kind(),
        };
        let stream = match address.parse::<SocketAddr>() {
            Ok(address) => TcpStream::connect(address).await.map_err(tcp)?,
            // A name is looked up each time: it may mean another address by now.
            Err(_) => {
                let resolve = |kind| ConnectError::Resolve {
                    address: address.to_owned(),
                    kind,
                };
                let found = tokio::net::lookup_host(address)
                    .await
                    .map_err(|error| resolve(error.kind()))?;
                let found: Vec<SocketAddr> = found.collect();
                if found.is_empty() {
                    return Err(resolve(std::io::ErrorKind::NotFound));
                }
                TcpStream::connect(found.as_slice()).await.map_err(tcp)?
            }
        };
        stream.set_nodelay(true).map_err(tcp)?;
        let remote = stream.peer_addr().map_err(tcp)?;
        Ok((stream, remote))
    }

    async fn handshake(
        &self,
        address: &str,
        (stream, remote): (TcpStream, SocketAddr),
    ) -> Result<(Driver<TcpStream>, Hello, SocketAddr), ConnectError> {
        let start = Instant::now();
        let local = (self.local)();
        let connection = Connection::dial(
            self.config.clone(),
            self.role,
            &local,
            self.expected_node,
            start.elapsed(),
        );
        let mut driver = Driver::new(stream, connection, start);
        let failed = match driver.hello().await {
            Ok(hello) => match self.policy.admit(&hello) {
                Ok(()) => return Ok((driver, hello, remote)),
                Err(refusal) => {
                    driver.connection().refuse(refusal);
                    driver.connection().close_reason().cloned()
                }
            },
            Err(reason) => Some(reason),
        };
        let reason = failed.expect("a connection that was refused is closed");
        debug!(%remote, role = %self.role, %reason, "handshake failed");
        tokio::spawn(driver.linger());
        Err(ConnectError::Handshake {
            address: address.to_owned(),
            reason,
        })
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("role", &self.role)
            .field("expected_node", &self.expected_node)
            .finish_non_exhaustive()
    }
}
