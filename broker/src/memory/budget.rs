//! A number of bytes that streams share.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who waits looks this often, within the patience, whether somebody is to be ended.
const LOOKS_PER_PATIENCE: u32 = 4;
/// So many who wait halve the patience, twice as many more leave a third of it, and so on...
const WAITING_PER_SHARE: u32 = 4;
/// ... but no less than this part.
const SHARES_MAX: u32 = 20;

/// Bytes that streams share. Cheap to clone.
///
/// One taker at a time may have what is not there. So holders that need more never wait for each
/// other only, and what is held exceeds the budget by one taking at most.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes: usize,
    free: Arc<Semaphore>,
    /// The right to have what is not there.
    extra: Arc<Semaphore>,
    /// How long a holder that waits for its client may keep others waiting.
    patience: Duration,
    /// How many wait for memory.
    waiting_count: AtomicU32,
    holders: Mutex<BTreeMap<u64, Arc<Holder>>>,
    next_number: AtomicU64,
}

/// A part of a budget, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Option<OwnedSemaphorePermit>,
    extra: Option<Arc<OwnedSemaphorePermit>>,
}

/// Somebody who holds parts of budgets, and whether it waits for its client.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    held_bytes: AtomicUsize,
    stalled_since: Mutex<Option<Instant>>,
    ended: CancellationToken,
    gone: CancellationToken,
}

/// A holder that a budget knows; forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    budget: Budget,
    number: u64,
}

impl Budget {
    /// A budget whose holders may keep others waiting for `patience`.
    pub(crate) fn new(bytes: usize, patience: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                bytes,
                free: Arc::new(Semaphore::new(bytes)),
                extra: Arc::new(Semaphore::new(1)),
                patience,
                waiting_count: AtomicU32::new(0),
                holders: Mutex::default(),
                next_number: AtomicU64::new(0),
            }),
        }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes
    }

    /// How long a holder that waits for its client may keep others waiting.
    pub(crate) fn patience(&self) -> Duration {
        self.shared.patience
    }

    /// What nobody holds.
    pub(crate) fn free_bytes(&self) -> usize {
        self.shared.free.available_permits()
    }

    /// Takes memory if there is some and nobody waits for it.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        let free = Arc::clone(&self.shared.free);
        let permit = free.try_acquire_many_owned(self.count(bytes)).ok()?;
        Some(Held {
            bytes: Some(permit),
            extra: None,
        })
    }

    /// Waits for memory, and ends whoever stands in the way for too long. Safe to drop.
    pub(crate) async fn take(&self, bytes: usize) -> Held {
        if let Some(held) = self.try_take(bytes) {
            return held;
        }
        let free = Arc::clone(&self.shared.free);
        let mut in_line = pin!(free.acquire_many_owned(self.count(bytes)));
        let mut extra = pin!(Arc::clone(&self.shared.extra).acquire_owned());
        let _waiting = Waiting::new(&self.shared.waiting_count);
        loop {
            let pause = self.patience_now() / LOOKS_PER_PATIENCE;
            // Neither is ever closed.
            tokio::select! {
                biased;
                Ok(permit) = &mut in_line => return Held { bytes: Some(permit), extra: None },
                Ok(permit) = &mut extra => {
                    return Held { bytes: None, extra: Some(Arc::new(permit)) };
                }
                () = tokio::time::sleep(pause) => self.end_stalled(bytes),
            }
        }
    }

    /// Makes a holder known, so that it can be ended.
    pub(crate) fn register(&self, holder: &Arc<Holder>) -> Registered {
        // ORDERING: only makes numbers; the lock orders the rest.
        let number = self.shared.next_number.fetch_add(1, Ordering::Relaxed);
        self.holders().insert(number, Arc::clone(holder));
        Registered {
            budget: self.clone(),
            number,
        }
    }

    /// Ends every holder.
    pub(crate) fn end_all(&self) {
        for holder in self.holders().values() {
            holder.ended.cancel();
        }
    }

    /// Ends those that have waited for their clients the longest, until `bytes` come free.
    fn end_stalled(&self, bytes: usize) {
        let now = Instant::now();
        let patience = self.patience_now();
        let holders = self.holders();
        let mut freed_bytes = 0;
        let mut stalled = Vec::new();
        for holder in holders.values() {
            let Some(since) = holder.stalled_since() else {
                continue;
            };
            let is_over = now.duration_since(since) >= patience;
            match holder.ended.is_cancelled() {
                // It is about to let go, unless its connection is stuck.
                true if !is_over => freed_bytes += holder.held_bytes(),
                false if is_over => stalled.push((since, holder)),
                _ => {}
            }
        }
        stalled.sort_by_key(|(since, _)| *since);
        let mut ended_count = 0_usize;
        for (_, holder) in stalled {
            if freed_bytes >= bytes {
                break;
            }
            freed_bytes += holder.held_bytes();
            ended_count += 1;
            holder.end(now);
        }
        if ended_count > 0 {
            tracing::debug!(
                ended_count,
                freed_bytes,
                "streams held what others wait for"
            );
        }
    }

    /// How long a holder may keep as many waiting as wait now. They take turns: if each had all the
    /// patience, a crowd that lets its turns pass would keep the next one out for as long as it is large.
    fn patience_now(&self) -> Duration {
        // ORDERING: a guess is enough.
        let waiting_count = self.shared.waiting_count.load(Ordering::Relaxed);
        self.shared.patience / (1 + waiting_count / WAITING_PER_SHARE).min(SHARES_MAX)
    }

    fn holders(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Holder>>> {
        let holders = &self.shared.holders;
        holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More than all could never be had.
    fn count(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.shared.bytes)).unwrap_or(u32::MAX)
    }
}

/// Somebody who waits.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        // ORDERING: a guess is enough for whoever looks.
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // ORDERING: as above.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Held {
    /// Whether it is nothing.
    pub(crate) fn is_none(&self) -> bool {
        self.bytes.is_none() && self.extra.is_none()
    }

    /// Adds another part of the same budget.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.bytes, other.bytes) {
            (Some(held), Some(more)) => held.merge(more),
            (held, more) => *held = held.take().or(more),
        }
        self.extra = self.extra.take().or(other.extra);
    }

    /// Splits off so many bytes, or what there is.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let part = self.bytes.as_mut().and_then(|held| {
            let count = bytes.min(held.num_permits());
            held.split(count)
        });
        Self {
            bytes: part,
            extra: self.extra.clone(),
        }
    }
}

impl Holder {
    /// Notes how much it holds.
    pub(crate) fn note_held(&self, bytes: usize) {
        // ORDERING: a guess is enough for whoever looks.
        self.held_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notes that from now on it waits for its client; one that does already goes on.
    pub(crate) fn note_stalled(&self) {
        self.lock().get_or_insert_with(Instant::now);
    }

    /// Notes that its client has done something.
    pub(crate) fn note_moved(&self) {
        *self.lock() = None;
    }

    /// Told when it must let go.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Told when it holds nothing any more.
    pub(crate) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Ends it; from then on it is known since when.
    pub(crate) fn end(&self, now: Instant) {
        *self.lock() = Some(now);
        self.ended.cancel();
    }

    fn held_bytes(&self) -> usize {
        // ORDERING: as above.
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn stalled_since(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        let since = &self.stalled_since;
        since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.budget.holders().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_one_may_have_and_others_wait_for() {
        let budget = Budget::new(100, PATIENCE);
        let mut first = budget.take(100).await;
        let second = budget.take(100).await;
        assert_eq!(budget.free_bytes(), 0, "all of it, and once more");
        let third = tokio::time::timeout(10 * PATIENCE, budget.take(30)).await;
        assert!(third.is_err(), "nobody waits for a client");
        drop(first.split(60));
        let third = budget.take(30).await;
        assert_eq!(budget.free_bytes(), 30);
        drop((first, second, third));
        assert_eq!(budget.free_bytes(), 100, "given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_lets_its_turns_pass_does_not_last_as_long_as_it_is_large() {
        let budget = Budget::new(100, PATIENCE);
        let held = (budget.take(100).await, budget.take(1).await);
        for _ in 0..200 {
            let budget = budget.clone();
            tokio::spawn(async move {
                let holder = Arc::new(Holder::default());
                let _known = budget.register(&holder);
                let _held = budget.take(50).await;
                holder.note_held(50);
                holder.note_stalled();
                holder.ended().cancelled().await;
            });
        }
        tokio::task::yield_now().await;
        let begun = Instant::now();
        drop(held);
        drop(budget.take(50).await);
        let waited = begun.elapsed();
        assert!(waited < 15 * PATIENCE, "{waited:?}, 100 turns of two");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_for_its_client_is_ended_first_and_no_more_than_need_be() {
        let budget = Budget::new(100, PATIENCE);
        let _extra = (budget.take(100).await, budget.take(1).await);
        let holders: Vec<_> = (0..3).map(|_| Arc::new(Holder::default())).collect();
        let _known: Vec<_> = holders.iter().map(|it| budget.register(it)).collect();
        for holder in &holders[1..] {
            holder.note_held(50);
            holder.note_stalled();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let ended = || holders.iter().map(|it| it.ended().is_cancelled());
        let waited = tokio::time::timeout(PATIENCE / 2, budget.take(50)).await;
        assert!(waited.is_err() && ended().all(|it| !it), "not yet");
        drop(tokio::time::timeout(PATIENCE, budget.take(50)).await);
        assert_eq!(ended().collect::<Vec<_>>(), [false, true, false]);
    }
}
