//! How many calls may be open: a few on each connection, and of the rest as many as are left.
//!
//! Each open call has tasks and buffers, also while it does nothing. So calls beyond the few are shared
//! out over all connections; who holds all of these leaves the others the few of their own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;

use super::spell::Spell;
use crate::metrics::RpcMetrics;

/// Calls that a connection may have open whatever the others do: more than a client of the SDK that
/// produces, reads and asks at once.
const OWN_COUNT: usize = 8;
/// When a client should call again.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Calls that connections share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    left: Arc<Semaphore>,
    /// Calls that are refused.
    trouble: Arc<Mutex<Spell>>,
    rpc: Arc<RpcMetrics>,
}

/// Calls that one connection may open.
#[derive(Debug)]
pub(super) struct ConnectionCalls {
    own: Arc<Semaphore>,
    shared: Calls,
}

/// The right to be open, given back when dropped.
#[derive(Debug)]
pub(super) struct CallSlot {
    _permit: OwnedSemaphorePermit,
}

impl Calls {
    /// So many calls beyond those of each connection.
    pub(super) fn new(count: usize, rpc: &Arc<RpcMetrics>) -> Self {
        Self {
            left: Arc::new(Semaphore::new(count)),
            trouble: Arc::default(),
            rpc: Arc::clone(rpc),
        }
    }

    /// The calls of a connection that begins.
    pub(super) fn of_connection(&self) -> ConnectionCalls {
        ConnectionCalls {
            own: Arc::new(Semaphore::new(OWN_COUNT)),
            shared: self.clone(),
        }
    }

    fn note_refused(&self) {
        self.rpc.note_refused();
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.note() {
            tracing::warn!("calls are refused, too many are open");
        }
    }
}

impl ConnectionCalls {
    /// Lets a call be open.
    ///
    /// # Errors
    /// Too many are.
    pub(super) fn open(&self) -> Result<CallSlot, Problem> {
        let mut places = [&self.own, &self.shared.left].into_iter();
        match places.find_map(|place| Arc::clone(place).try_acquire_owned().ok()) {
            Some(permit) => Ok(CallSlot { _permit: permit }),
            None => {
                self.shared.note_refused();
                Err(too_many())
            }
        }
    }
}

fn too_many() -> Problem {
    let message = "the broker has as many calls open as it takes beyond a few of each connection";
    Problem::new(ErrorReason::Overloaded, message)
        .with("limit", "call_count_max")
        .with_retry_after(RETRY_WAIT)
        .with_hint("open fewer streams, try again later, or raise --call-count-max")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_a_few_and_all_share_the_rest() {
        let calls = Calls::new(3, &Arc::new(RpcMetrics::new(&[])));
        let [greedy, modest] = [calls.of_connection(), calls.of_connection()];
        let mut open: Vec<_> = std::iter::from_fn(|| greedy.open().ok()).collect();
        assert_eq!(open.len(), OWN_COUNT + 3, "all that there is for one");
        let few: Vec<_> = std::iter::from_fn(|| modest.open().ok()).collect();
        assert_eq!(few.len(), OWN_COUNT, "its own are left to the other one");
        open.clear();
        assert!(modest.open().is_ok(), "given back");
        drop(greedy);
        let more: Vec<_> = std::iter::from_fn(|| modest.open().ok()).collect();
        assert_eq!(more.len(), 3, "and shared again");
    }
}
