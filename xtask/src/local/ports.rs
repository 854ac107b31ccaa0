//! Free ports for nodes.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Where the search begins, and how many ports it covers.
///
/// Below the range from which the kernel takes the local ports of outgoing connections: a node that is killed must get
/// its port again, and in between no connection may have taken it. So a port that binding to 0 gives would not do.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// `count` ports of 127.0.0.1 that nobody listens on and that no other caller in this process was given.
///
/// # Errors
/// When there are not that many.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin at places far apart.
    let start = std::process::id().wrapping_mul(977) % u32::from(COUNT);
    let start = u16::try_from(start).unwrap_or(0);
    let mut found = Vec::new();
    for _ in 0..COUNT {
        if found.len() == count {
            return Ok(found);
        }
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
    }
    bail!(
        "found only {} of {count} free ports on 127.0.0.1 in {FIRST}..{}",
        found.len(),
        FIRST + COUNT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_or_while_it_is_taken() {
        let first = free_ports(3).unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first[0])).unwrap();
        let second = free_ports(3).unwrap();
        assert!(
            first.iter().all(|port| !second.contains(port)),
            "{first:?} {second:?}"
        );
        drop(taken);
    }
}
