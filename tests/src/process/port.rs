//! Ports that stay free while nobody listens on them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;

/// Below the ports that Linux gives out by itself (from 32768). From there, a client that tries again
/// and again to reach a broker that is down could be given the very port as its own and be connected
/// to itself, and any other program could be given it too.
const PORTS: Range<u16> = 15_000..32_000;

const ATTEMPTS: u32 = 1000;

/// Returns an address of this machine that nobody listens on.
///
/// # Panics
///
/// No port is free.
pub(super) fn free_address() -> SocketAddr {
    let mut random = fastrand::Rng::new();
    let mut addresses = std::iter::repeat_with(|| {
        let port = random.u16(PORTS);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    });
    addresses
        .by_ref()
        .take(ATTEMPTS as usize)
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}
