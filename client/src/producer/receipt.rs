//! What tells when a record is on disk.
//!
//! The receipts of a batch share one [`Outcome`], made with the batch: a receipt is a place in it
//! and costs no memory of its own.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use towpath_proto::ids::{Lsn, Offset, PartitionId};

use super::unwritten::{Cause, Unwritten, stale};
use crate::time::from_ms;
use crate::{Error, Position};

/// Completes when its record is on disk or has failed; every receipt does so in the end.
///
/// Dropping it changes nothing for the record. Polling it again after it has completed gives the
/// same result.
#[must_use = "tells whether the record was written"]
pub struct Receipt {
    outcome: Arc<Outcome>,
    /// Place of the record in its batch.
    index: u32,
    /// Place of this receipt's waker, once it has left one.
    waiter: Option<usize>,
}

/// Where a batch was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) partition: PartitionId,
    pub(super) base_offset: Offset,
    pub(super) lsn: Lsn,
    pub(super) append_time_ms: i64,
    /// Those of its records that were not.
    pub(super) unwritten: Unwritten,
}

/// What became of a batch, set once.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    result: OnceLock<Result<Appended, Error>>,
    /// Who waits for the result; looked at after the result was set, and held only to do that.
    waiters: Mutex<Vec<Waker>>,
}

impl Outcome {
    /// Sets the result and returns true, unless there is one. Must be followed by
    /// [`Outcome::wake`], once no lock is held that a woken task may want.
    pub(super) fn set(&self, result: Result<Appended, Error>) -> bool {
        self.result.set(result).is_ok()
    }

    /// Wakes who waits for the result.
    pub(super) fn wake(&self) {
        self.take_waiters().into_iter().for_each(Waker::wake);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.result.get().is_some()
    }

    fn poll(&self, waiter: &mut Option<usize>, cx: &Context<'_>) -> Poll<&Result<Appended, Error>> {
        if let Some(result) = self.result.get() {
            return Poll::Ready(result);
        }
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        // The result may have come before the lock did; then nobody looks at the waiters again.
        if let Some(result) = self.result.get() {
            return Poll::Ready(result);
        }
        if let Some(waker) = waiter.and_then(|place| waiters.get_mut(place)) {
            waker.clone_from(cx.waker());
        } else {
            *waiter = Some(waiters.len());
            waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn take_waiters(&self) -> Vec<Waker> {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut waiters)
    }
}

impl Receipt {
    pub(super) const fn new(outcome: Arc<Outcome>, index: u32) -> Self {
        Self {
            outcome,
            index,
            waiter: None,
        }
    }

    /// Whether the record is on disk or has failed, so that awaiting the receipt does not wait.
    pub fn is_complete(&self) -> bool {
        self.outcome.is_settled()
    }

    /// The outcome that it waits for.
    pub(super) const fn outcome(&self) -> &Arc<Outcome> {
        &self.outcome
    }

    fn position(&self, appended: &Appended) -> Result<Position, Error> {
        let (partition, offset, is_repeated) = match appended.unwritten.look_up(self.index) {
            Ok(place) => {
                let offset = appended.base_offset.advance(place.into());
                (appended.partition, offset, false)
            }
            Err(Cause::Repeated(partition, offset)) => (partition, offset, true),
            Err(Cause::Stale(current)) => {
                return Err(stale(current).with("partition", appended.partition));
            }
        };
        Ok(Position {
            partition,
            offset,
            lsn: appended.lsn,
            append_time: from_ms(appended.append_time_ms),
            is_repeated,
        })
    }
}

impl Future for Receipt {
    type Output = Result<Position, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let receipt = &mut *self;
        match receipt.outcome.poll(&mut receipt.waiter, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(appended)) => Poll::Ready(receipt.position(appended)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.clone())),
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("index", &self.index)
            .field("is_complete", &self.is_complete())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    fn appended() -> Appended {
        Appended {
            partition: PartitionId::new(3),
            base_offset: Offset::new(100),
            lsn: Lsn::new(7),
            append_time_ms: 5,
            unwritten: Unwritten::default(),
        }
    }

    fn receipts(outcome: &Arc<Outcome>, count: u32) -> Vec<Receipt> {
        (0..count)
            .map(|index| Receipt::new(Arc::clone(outcome), index))
            .collect()
    }

    #[tokio::test]
    async fn every_receipt_of_a_batch_is_woken_and_knows_its_own_offset() {
        let outcome = Arc::new(Outcome::default());
        let waiting = tokio::spawn(join_all(receipts(&outcome, 5)));
        tokio::task::yield_now().await;
        outcome.set(Ok(appended()));
        outcome.wake();
        let positions: Vec<_> = waiting
            .await
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let offsets: Vec<_> = positions.iter().map(|it| it.offset.get()).collect();
        assert_eq!(offsets, [100, 101, 102, 103, 104], "offsets");
        assert!(
            positions
                .iter()
                .all(|it| it.partition.get() == 3 && it.lsn.get() == 7),
            "partition and LSN"
        );
    }

    #[tokio::test]
    async fn the_first_result_stays() {
        let outcome = Arc::new(Outcome::default());
        assert!(outcome.set(Ok(appended())), "first");
        assert!(!outcome.set(Err(Error::protocol("too late"))), "second");
        let mut receipt = Receipt::new(outcome, 0);
        assert!(receipt.is_complete(), "complete");
        assert!((&mut receipt).await.is_ok(), "first look");
        assert!(receipt.await.is_ok(), "second look");
    }

    #[tokio::test]
    async fn a_receipt_that_is_polled_often_leaves_one_waker() {
        let outcome = Arc::new(Outcome::default());
        let mut receipt = Receipt::new(Arc::clone(&outcome), 0);
        for _ in 0..10 {
            let polled = futures_util::poll!(&mut receipt);
            assert!(polled.is_pending(), "not settled");
        }
        assert_eq!(outcome.take_waiters().len(), 1, "wakers");
    }
}
