//! Latencies of many records, taken by many clients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::failure::Failure;

/// Longest latency that is told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_mins(10);
/// Digits that a latency is exact to.
const LATENCY_DIGITS: u8 = 3;
/// Histograms at most: each has hundreds of kilobytes, and two clients seldom want the same at once.
const SHARES_MAX: usize = 16;

/// Latencies of many records. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    shares: Arc<[Mutex<Histogram<u64>>]>,
}

impl Latencies {
    /// For so many clients.
    ///
    /// # Errors
    ///
    /// Never with the bounds that there are.
    pub(super) fn new(clients: u32) -> Result<Self, Failure> {
        let count = (clients as usize).clamp(1, SHARES_MAX);
        let shares: Result<Vec<_>, _> = (0..count).map(|_| empty().map(Mutex::new)).collect();
        Ok(Self {
            shares: shares?.into(),
        })
    }

    /// What the client with this number records with.
    pub(super) fn recorder(&self, client: usize) -> Recorder {
        Recorder {
            all: self.clone(),
            share: client % self.shares.len(),
        }
    }

    /// All latencies, in nanoseconds.
    ///
    /// # Errors
    ///
    /// Never: all have the same bounds.
    pub(super) fn total(&self) -> Result<Histogram<u64>, Failure> {
        let mut total = empty()?;
        for share in &*self.shares {
            total.add(&*locked(share)).map_err(|error| {
                Failure::new(Exit::Failed, "cannot add latencies").because(&error)
            })?;
        }
        Ok(total)
    }
}

/// Records latencies of one client.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    all: Latencies,
    share: usize,
}

impl Recorder {
    /// It took so long.
    pub(super) fn record(&self, latency: Duration) {
        self.record_all(std::iter::once(latency));
    }

    /// It took until now.
    pub(super) fn record_since(&self, start: Instant) {
        self.record(start.elapsed());
    }

    /// They took so long.
    pub(super) fn record_all(&self, latencies: impl Iterator<Item = Duration>) {
        let Some(share) = self.all.shares.get(self.share) else {
            return;
        };
        let mut histogram = locked(share);
        for latency in latencies {
            let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            histogram.saturating_record(nanos);
        }
    }
}

fn empty() -> Result<Histogram<u64>, Failure> {
    let max = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, max, LATENCY_DIGITS)
        .map_err(|error| Failure::new(Exit::Failed, "cannot count latencies").because(&error))
}

/// A count is whole at any time, also after a panic.
fn locked(share: &Mutex<Histogram<u64>>) -> MutexGuard<'_, Histogram<u64>> {
    share.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clients_count_together() {
        let latencies = Latencies::new(1_000).expect("latencies");
        for client in 0..1_000 {
            let latency = Duration::from_nanos(client as u64 + 1);
            latencies.recorder(client).record(latency);
        }
        let total = latencies.total().expect("a total");
        assert_eq!(total.len(), 1_000, "count");
        assert_eq!((total.min(), total.max()), (1, 1_000), "extremes");
        assert_eq!(latencies.shares.len(), SHARES_MAX, "histograms");
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let latencies = Latencies::new(1).expect("latencies");
        latencies.recorder(0).record(Duration::from_hours(1));
        let max = latencies.total().expect("a total").max();
        assert!(u128::from(max) >= LATENCY_MAX.as_nanos(), "{max}");
    }
}
