//! Ports that stay free while nobody listens on them.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::Arc;

/// Below the ports that Linux gives out by itself (from 32768). From there, a client that tries again
/// and again to reach a broker that is down could be given the very port as its own and be connected
/// to itself, and any other program could be given it too.
const PORTS: Range<u16> = 15_000..32_000;

const ATTEMPTS: usize = 1000;

/// An address of this machine that nobody listens on, and that no other test of this user takes while
/// this lives.
#[derive(Debug, Clone)]
pub(super) struct ReservedAddress {
    pub(super) address: SocketAddr,
    /// Locked: the kernel lets go of it when the process ends, however it does.
    _lock: Arc<File>,
}

impl ReservedAddress {
    /// Takes one.
    ///
    /// # Panics
    ///
    /// No port is free.
    pub(super) fn take() -> Self {
        let mut random = fastrand::Rng::new();
        let mut ports = std::iter::repeat_with(|| random.u16(PORTS)).take(ATTEMPTS);
        ports.find_map(Self::try_take).expect("a free port")
    }

    fn try_take(port: u16) -> Option<Self> {
        let folder = std::env::temp_dir().join("towpath-test-ports");
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let lock = File::create(folder.join(port.to_string())).ok()?;
        lock.try_lock().ok()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address).ok()?;
        Some(Self {
            address,
            _lock: Arc::new(lock),
        })
    }
}
