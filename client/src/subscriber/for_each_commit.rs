//! A handler over the records of a subscription whose commits settle them.

use std::fmt::Display;
use std::sync::Arc;

use super::receiving::Receiving;
use super::{DeliveredRecord, Delivery, DeliveryOutcome, Parallelism, Subscriber};
use crate::{Commit, Error};

/// What a handler of [`Subscriber::for_each_commit`] may return: its commit, also with an outcome other than
/// an ack, an outcome alone, or any error.
pub trait IntoDeliveryCommit {
    /// What is to happen together with the outcome of the record that was handled, if anything, and the
    /// outcome.
    fn into_delivery_commit(self) -> (Option<Commit>, DeliveryOutcome);
}

/// The record was handled.
impl IntoDeliveryCommit for Commit {
    fn into_delivery_commit(self) -> (Option<Commit>, DeliveryOutcome) {
        (Some(self), DeliveryOutcome::Ack)
    }
}

impl IntoDeliveryCommit for (Commit, DeliveryOutcome) {
    fn into_delivery_commit(self) -> (Option<Commit>, DeliveryOutcome) {
        (Some(self.0), self.1)
    }
}

/// Nothing else happens.
impl IntoDeliveryCommit for DeliveryOutcome {
    fn into_delivery_commit(self) -> (Option<Commit>, DeliveryOutcome) {
        (None, self)
    }
}

/// An error is a nack with the text of the error as its reason, and nothing else happens.
impl<T: IntoDeliveryCommit, E: Display> IntoDeliveryCommit for Result<T, E> {
    fn into_delivery_commit(self) -> (Option<Commit>, DeliveryOutcome) {
        match self {
            Ok(commit) => commit.into_delivery_commit(),
            Err(error) => (None, DeliveryOutcome::nack(format!("{error:#}"))),
        }
    }
}

impl Subscriber {
    /// As [`Subscriber::for_each`], for handlers whose writes belong together with what becomes of the record.
    /// Each gets a new [`Commit`], adds to it, and returns it: then that happens and the record is acked, both
    /// or neither. So what is made of a record is written exactly once.
    ///
    /// A handler may also return the commit with another outcome than an ack, an outcome alone, or an error,
    /// which is a nack and lets nothing else happen.
    ///
    /// A commit that is refused has failed like a handler: its error is the reason of a nack. So a handler whose
    /// records [expect a version](crate::Record::expect_version) that is not there any more is called again,
    /// and can read what is there. One whose record is another consumer's by now is refused without further
    /// ado. While the broker is out of reach the commit is sent again until it is known what became of it.
    ///
    /// ```no_run
    /// use towpath_client::{ByKey, Client, Record};
    ///
    /// # fn bill(_: &[u8]) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
    /// # async fn example() -> Result<(), towpath_client::Error> {
    /// let client = Client::connect("http://127.0.0.1:7600")?;
    /// let orders = client.subscriber("billing").build();
    /// orders
    ///     .for_each_commit(ByKey(16), async |order, commit| {
    ///         let bill = bill(order.value().unwrap_or_default())?;
    ///         Ok::<_, std::io::Error>(commit.append("bills", Record::new(bill)))
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Subscriber::for_each`].
    pub async fn for_each_commit<F, Fut>(
        self,
        parallelism: impl Into<Parallelism> + Send,
        mut handler: F,
    ) -> Result<(), Error>
    where
        F: FnMut(DeliveredRecord, Commit) -> Fut,
        Fut: Future<Output: IntoDeliveryCommit> + Send + 'static,
    {
        let client = Arc::clone(&self.client);
        self.run(parallelism.into(), |delivery| {
            let commit = Commit::new(Arc::clone(&client));
            let handling = handler(DeliveredRecord::clone(&delivery), commit);
            settle(delivery, handling)
        })
        .await
    }
}

async fn settle(delivery: Delivery, handling: impl Future<Output: IntoDeliveryCommit>) {
    let (commit, outcome) = handling.await.into_delivery_commit();
    let Some(commit) = commit.filter(|commit| !commit.is_empty()) else {
        delivery.settle(outcome);
        return;
    };
    let seat = Arc::clone(&delivery.lease.seat);
    let commit = commit.settle(delivery, outcome);
    let is_wanted = || !seat.look(Receiving::is_ended);
    if let Err(failed) = commit.send_until_known(is_wanted).await {
        let reason = format!("{:#}", failed.error());
        // Behind those of the handler. Has no effect on a record that is not this consumer's any more.
        if let Some(delivery) = failed.into_deliveries().pop() {
            delivery.nack(None, reason);
        }
    }
}
