//! A handler over the records of a subscription: side by side, and each key in order if wanted.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::delivery::{DeliveredRecord, Delivery};
use super::outcome::IntoDeliveryOutcome;
use super::receiving::Receiving;
use super::seat::Seat;
use super::{Lease, Subscriber};
use crate::{ByKey, Error};

/// Handlers run for so many records at a time, at least one, in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallel(pub usize);

/// How handlers run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parallelism {
    /// For so many keys at a time: the records of a key one after the other.
    ByKey(usize),
    /// For so many records at a time, in no order.
    Unordered(usize),
}

impl Parallelism {
    fn count(self) -> usize {
        let (Self::ByKey(count) | Self::Unordered(count)) = self;
        count.max(1)
    }
}

impl From<ByKey> for Parallelism {
    fn from(ByKey(count): ByKey) -> Self {
        Self::ByKey(count)
    }
}

impl From<Parallel> for Parallelism {
    fn from(Parallel(count): Parallel) -> Self {
        Self::Unordered(count)
    }
}

impl Subscriber {
    /// Calls `handler` for each record until the subscriber is shut down, and settles the record as it
    /// returns: `Ok(())` is an ack, an error is a nack with its text as the reason, and a
    /// [`DeliveryOutcome`](crate::DeliveryOutcome) is what it says. Each call runs as a task of its own;
    /// one that panics is a nack.
    ///
    /// With [`ByKey`] handlers run for up to so many keys at a time: the records of a key one after the
    /// other, in their order, and a record that was given back comes again before any later one of its
    /// key, in the modes of subscriptions that keep keys in order. Records without a key are in no
    /// order. With [`Parallel`] there is no order at all.
    ///
    /// When it ends for whatever reason, the handlers that run are waited for unless
    /// [`Drain`](crate::Drain) says otherwise; those that are dropped leave their records to others,
    /// without an attempt that counts. Then it leaves, as [`Subscriber::close`] does. Dropping the
    /// future drops the handlers in the same way.
    ///
    /// # Errors
    ///
    /// Why no more records come, as the items of the stream; and as [`Subscriber::confirmed`], if it ended
    /// before all that handlers returned was confirmed.
    pub async fn for_each<F, Fut>(
        self,
        parallelism: impl Into<Parallelism> + Send,
        mut handler: F,
    ) -> Result<(), Error>
    where
        F: FnMut(DeliveredRecord) -> Fut,
        Fut: Future<Output: IntoDeliveryOutcome> + Send + 'static,
    {
        self.run(parallelism.into(), |delivery| {
            let (record, lease) = Delivery::into_parts(delivery);
            settle(lease, handler(record))
        })
        .await
    }

    /// Runs what `begin` returns for each delivery as a task of its own, until the subscriber is shut down.
    pub(super) async fn run<Fut>(
        mut self,
        parallelism: Parallelism,
        mut begin: impl FnMut(Delivery) -> Fut,
    ) -> Result<(), Error>
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let count = parallelism.count();
        if matches!(parallelism, Parallelism::ByKey(_)) {
            self.seat.with(Receiving::go_by_key);
        }
        let seat = Arc::clone(&self.seat);
        let mut running = JoinSet::new();
        let leave = LeaveOnDrop(Arc::clone(&seat));
        let mut outcome = None;
        // Of its own: the connection may have come to its end.
        let mut end_drains = std::pin::pin!(seat.end_drains());
        while outcome.is_none() || !running.is_empty() {
            let has_room = outcome.is_none() && running.len() < count;
            tokio::select! {
                biased;
                () = seat.left() => {
                    running.shutdown().await;
                    break;
                }
                never = &mut end_drains => match never {},
                // One that has panicked has said so when its lease was dropped.
                Some(_) = running.join_next() => {}
                next = self.next_delivery(), if has_room => match next {
                    Ok(Some(delivery)) => {
                        running.spawn(begin(delivery));
                    }
                    Ok(None) => outcome = Some(Ok(())),
                    Err(error) => outcome = Some(Err(error)),
                },
            }
        }
        let confirmed = self.confirmed();
        self.close().await;
        drop(leave);
        outcome.unwrap_or(Ok(()))?;
        confirmed.await
    }
}

/// Gives up what was begun before the handlers are dropped, which would say that they failed.
struct LeaveOnDrop(Arc<Seat>);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.with(Receiving::leave);
    }
}

async fn settle(lease: Lease, handling: impl Future<Output: IntoDeliveryOutcome>) {
    let outcome = handling.await.into_delivery_outcome();
    lease.settle(outcome, None);
}
