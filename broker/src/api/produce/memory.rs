//! Memory for the batches of one Produce stream, from when they are checked until they are written.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{InFlight, Shared};
use crate::runtime::command::Permits;

/// What a batch takes in memory besides its bytes, about.
const OVERHEAD_BYTES: usize = 1024;

/// What one stream may take, and where it takes it from.
#[derive(Debug)]
pub(super) struct StreamMemory {
    shared: Arc<Shared>,
    /// What is left of the stream's part.
    of_stream: Arc<Semaphore>,
}

impl StreamMemory {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            of_stream: Arc::new(Semaphore::new(shared.in_flight.bytes_per_stream_max)),
        }
    }

    /// Waits for memory. While there is none, nothing more is read, and the client's window closes.
    /// None if the broker is gone.
    pub(super) async fn take(&self, batch_bytes: usize) -> Option<Permits> {
        let bytes = batch_bytes + OVERHEAD_BYTES;
        let of_stream = InFlight::take(&self.of_stream, self.of_stream(bytes)).await?;
        let of_all = InFlight::take(&self.shared.in_flight.all, bytes).await?;
        let held: Vec<OwnedSemaphorePermit> = vec![of_stream, of_all];
        Some(Permits { held, tally: None })
    }

    /// Waits for what a batch takes beyond what it holds. None if the broker is gone.
    pub(super) async fn take_more(&self, permits: &mut Permits, batch_bytes: usize) -> Option<()> {
        let bytes = batch_bytes + OVERHEAD_BYTES;
        let InFlight { all, beyond, .. } = &self.shared.in_flight;
        let [of_stream, of_all] = permits.held.as_mut_slice() else {
            return Some(());
        };
        // What the stream has sent before needs nothing more.
        let missing = self
            .of_stream(bytes)
            .saturating_sub(of_stream.num_permits());
        of_stream.merge(InFlight::take(&self.of_stream, missing).await?);
        let missing = bytes.saturating_sub(of_all.num_permits());
        // All that there is may be held by batches that wait here: one at a time does without.
        tokio::select! {
            biased;
            more = InFlight::take(all, missing) => of_all.merge(more?),
            one = Arc::clone(beyond).acquire_owned() => permits.held.push(one.ok()?),
        }
        Some(())
    }

    /// Gives back what a batch holds beyond what it takes.
    pub(super) fn give_back(permits: &mut Permits, batch_bytes: usize) {
        permits.keep_only(batch_bytes + OVERHEAD_BYTES);
    }

    /// What a batch takes of the memory of its stream, which may be less than what it takes.
    fn of_stream(&self, bytes: usize) -> usize {
        bytes.min(self.shared.in_flight.bytes_per_stream_max)
    }
}
