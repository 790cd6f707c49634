//! Room for the connections of many clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::exit::Exit;
use crate::failure::Failure;

/// Connections that a client has at most: for short calls, to read, and a few to write.
const CONNECTIONS_PER_CLIENT: u64 = 4;
/// Everything else that is open in this process.
const OTHER_FILES: u64 = 64;

/// Lets this process have connections for so many clients, as far as it may.
///
/// # Errors
///
/// It may not have as many as they need.
pub(super) fn make_room(clients: u32) -> Result<(), Failure> {
    let needed = u64::from(clients) * CONNECTIONS_PER_CLIENT + OTHER_FILES;
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: limits
            .maximum
            .map_or(Some(needed), |maximum| Some(needed.min(maximum))),
        ..limits
    };
    let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
    if is_raised && raised.current >= Some(needed) {
        return Ok(());
    }
    let maximum = limits.maximum.unwrap_or_default();
    let message =
        format!("{clients} clients need {needed} files and this process may open {maximum}");
    Err(Failure::new(Exit::Limit, message).hint("to allow more: ulimit -Hn, as root"))
}
