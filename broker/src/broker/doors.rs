//! The addresses at which a broker listens.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};

use crate::admin::{Admin, AdminState};
use crate::config::{Config, Listener};
use crate::error::StartError;

/// How many connections wait to be accepted; the operating system may allow fewer (`somaxconn`). What
/// comes beyond them is tried again by the client's system after 1 s, 3 s, 7 s and so on: a crowd
/// that comes back at once after a restart should fit.
const BACKLOG: u32 = 4096;

/// The listeners of a broker, open before its data folder is.
pub(super) struct Doors {
    /// That of clients, unless they are all in this process, and where it is.
    pub(super) clients: Option<(TcpListener, SocketAddr)>,
    pub(super) admin: Option<Admin>,
    /// What the admin listener shows.
    pub(super) state: Arc<AdminState>,
}

impl Doors {
    /// Listens wherever it is told to.
    ///
    /// # Errors
    /// [`StartError`] if an address is in use or not of this machine; nobody listens then.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let clients = match config.listen {
            Some(address) => Some(listen(Listener::Clients, address)?),
            None => None,
        };
        let state = Arc::new(AdminState::default());
        let admin = match config.admin_listen {
            Some(address) => {
                let (listener, local_addr) = listen(Listener::Admin, address)?;
                Some(Admin::open(listener, local_addr, &state))
            }
            None => None,
        };
        Ok(Self {
            clients,
            admin,
            state,
        })
    }
}

fn listen(listener: Listener, listen: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { listener, listen },
        _ => StartError::CannotListen {
            listener,
            listen,
            source,
        },
    };
    let bound = bind(listen).map_err(refused)?;
    let local_addr = bound.local_addr().map_err(refused)?;
    Ok((bound, local_addr))
}

/// As [`TcpListener::bind`], with a longer line.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A port whose earlier connections are still being forgotten may be used again.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
