//! Memory that goes from the connection, which has received a message, to the call that takes it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::HeldShare;

/// Memory of the one message that a call takes. It comes with the request and is given back when the
/// call drops it; a call that takes many messages drops it first.
#[derive(Debug, Clone, Default)]
pub(crate) struct MessageMemory {
    held: Arc<Mutex<Option<HeldShare>>>,
}

/// Where memory of messages goes, unless the call has dropped its end.
#[derive(Debug, Clone)]
pub(crate) struct MessageMemorySink {
    held: Weak<Mutex<Option<HeldShare>>>,
}

impl MessageMemory {
    /// Where the memory comes from.
    pub(crate) fn sink(&self) -> MessageMemorySink {
        MessageMemorySink {
            held: Arc::downgrade(&self.held),
        }
    }
}

impl MessageMemorySink {
    /// Hands over the memory of a message that the call has got. The first one's stays: what comes
    /// after it, a call that takes one message drops. Returns whether the call keeps memory.
    pub(crate) fn give(&self, done: HeldShare) -> bool {
        let Some(held) = self.held.upgrade() else {
            return false;
        };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if !done.is_none() {
            held.get_or_insert(done);
        }
        held.is_some()
    }
}
