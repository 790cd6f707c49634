//! Consuming a durable subscription: records that are settled one by one.
//!
//! `receiving` is the pure part: what the consumer has, whose turn it is, what is to be said of it.
//! `connection` is a task that keeps a stream and is the only one to talk. The subscriber and its
//! deliveries meet it at the `seat`. `for_each` runs a handler over the deliveries, `for_each_commit` one
//! whose commits settle them.

mod builder;
mod caught_up;
mod committing;
mod connection;
mod delivery;
mod for_each;
mod for_each_commit;
mod gap;
mod outcome;
mod receiving;
mod seat;
mod shutdown;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Error;
use crate::client::Shared;
use crate::error::Effects;
use connection::Connection;
use delivery::Lease;
use receiving::{Receiving, Ticket};
use seat::{Polled, Seat};

pub use builder::SubscriberBuilder;
pub use caught_up::{CaughtUpWatch, SubscriberItem, SubscriptionCaughtUp};
pub(crate) use committing::{LaneHold, NamedDelivery};
pub use delivery::{DeliveredRecord, Delivery};
pub use for_each::{Parallel, Parallelism};
pub use for_each_commit::IntoDeliveryCommit;
pub use gap::DeliveryGap;
pub use outcome::{DeliveryOutcome, IntoDeliveryOutcome};
pub use shutdown::SubscriberShutdownHandle;

/// Handles the records of a durable subscription, as one of its consumers.
///
/// The subscription remembers of each record whether it was handled. Each record is delivered to one
/// consumer at a time, which says what became of it: [`ack`](Delivery::ack), [`nack`](Delivery::nack),
/// [`release`](Delivery::release) or [`dead_letter`](Delivery::dead_letter). What nobody has acked is
/// delivered again: each record is handled at least once, and no ack is lost by a consumer that lives
/// long enough to see it [`confirmed`](Subscriber::confirmed).
///
/// A subscriber is a [`Stream`] of [`Delivery`]s. A delivery counts as an attempt once it was taken from
/// the stream; what waits within the subscriber does not, and is given to others when this one goes.
/// [`Subscriber::for_each`] is easier for handlers that run side by side, and keeps the records of each
/// key in order; who takes deliveries from the stream and has several at a time must see to that
/// himself. After one of a key was given back, in the modes that keep keys in order, no later one comes
/// before the broker has taken back those that were on their way.
///
/// A task of its own keeps the consumer alive and extends the leases of what it has, for up to an hour:
/// a handler may take its time. When the connection breaks, it connects again, for ever unless told
/// otherwise. What was taken from the stream can be settled all the same if that does not take longer
/// than the broker waits. What the consumer lost, because that took too long or because the broker was
/// restarted, is delivered again; to settle the earlier delivery then has no effect, which
/// [`Delivery::confirmed_ack`] tells.
///
/// When nothing can be handed out to it now, it is told so: [`Subscriber::next_item`] returns that between
/// deliveries, and a [`Subscriber::caught_up_watch`] hears of it beside the stream.
///
/// Dropping the subscriber never blocks: what was said before is sent and the consumer leaves, so that
/// others get all that it has, unless the runtime ends before that was sent. [`Subscriber::close`] waits
/// for it.
///
/// ```no_run
/// use towpath_client::{ByKey, Client, NewSubscription, Start};
///
/// # async fn send_mail(_: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example() -> Result<(), towpath_client::Error> {
/// let client = Client::connect("http://127.0.0.1:7600")?;
/// let email = NewSubscription::new("email", "orders", Start::End).attempts_max(5);
/// client.admin().create_subscription(email).await?;
///
/// // One after the other.
/// let mut subscriber = client.subscriber("email").max_in_flight(100).build();
/// while let Some(delivery) = subscriber.next_delivery().await? {
///     match send_mail(delivery.value_str().unwrap_or_default()).await {
///         Ok(()) => delivery.ack(),
///         Err(error) => delivery.nack(None, error.to_string()),
///     }
/// #   break;
/// }
/// subscriber.close().await;
///
/// // Sixteen keys at a time, each in order; an error is a nack.
/// let subscriber = client.subscriber("email").build();
/// subscriber
///     .for_each(ByKey(16), async |record| {
///         send_mail(record.value_str().unwrap_or_default()).await
///     })
///     .await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "receives nothing before it is asked to"]
pub struct Subscriber {
    /// For commits.
    client: Arc<Shared>,
    seat: Arc<Seat>,
    /// Becomes the task when the subscriber is first asked for something.
    connection: Option<Connection>,
    task: Option<JoinHandle<()>>,
    /// Number of the last [`SubscriptionCaughtUp`] that was an item.
    seen: u64,
}

impl Subscriber {
    const fn new(client: Arc<Shared>, seat: Arc<Seat>, connection: Connection) -> Self {
        Self {
            client,
            seat,
            connection: Some(connection),
            task: None,
            seen: 0,
        }
    }

    /// Returns the next record to be handled; none once the subscriber was shut down. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    ///
    /// As the items of the stream: why no more will come.
    pub async fn next_delivery(&mut self) -> Result<Option<Delivery>, Error> {
        let next = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx));
        next.await.transpose()
    }

    /// Returns the next record to be handled, or that nothing can be handed out now, each time that is told;
    /// none once the subscriber was shut down. Dropping the future loses nothing.
    pub async fn next_item(&mut self) -> Option<Result<SubscriberItem, Error>> {
        std::future::poll_fn(|cx| {
            self.begin();
            match ready!(self.seat.poll_item(cx, self.seen)) {
                Polled::Record(taken) => Poll::Ready(
                    taken.map(|it| it.map(|it| SubscriberItem::Delivery(self.delivery(it)))),
                ),
                Polled::CaughtUp(number, caught_up) => {
                    self.seen = number;
                    Poll::Ready(Some(Ok(SubscriberItem::CaughtUp(caught_up))))
                }
            }
        })
        .await
    }

    /// What hears when nothing can be handed out now, beside the stream.
    pub fn caught_up_watch(&self) -> CaughtUpWatch {
        CaughtUpWatch {
            seat: Arc::clone(&self.seat),
            seen: 0,
        }
    }

    /// Whether the broker sends nothing more before something is settled: what was received takes all that
    /// [`max_in_flight`](SubscriberBuilder::max_in_flight) or
    /// [`max_in_flight_bytes`](SubscriberBuilder::max_in_flight_bytes) allows. It is not told to be caught up
    /// then while there is more.
    pub fn is_full(&self) -> bool {
        self.seat.look(Receiving::is_full)
    }

    /// The id that this consumer drew, by which it stands among
    /// [`Subscription::consumers`](crate::Subscription::consumers).
    pub fn consumer_id(&self) -> String {
        self.seat.look(Receiving::consumer_id)
    }

    /// Waits until all that was said of deliveries before is confirmed: it is durable, or it had no
    /// effect because the record was not this consumer's any more. Dropping the future changes nothing.
    ///
    /// # Errors
    ///
    /// What the subscriber ended with, or [`ErrorKind::Closed`](crate::ErrorKind::Closed), if it ended
    /// before: what was said since the last confirmation may have been in vain.
    pub fn confirmed(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.seat.with(|it| it.wait_for_confirmations(answer));
        async move {
            let text = "the subscriber ended before all was confirmed";
            let gone = |_| Err(Error::closed(Effects::Possible, text));
            answered.await.unwrap_or_else(gone)
        }
    }

    /// Takes what the consumer was told of records that are gone and that nobody will get, oldest first:
    /// the last thousand times that happened since this was asked. Each is a warning in the log, too.
    pub fn take_gaps(&self) -> Vec<DeliveryGap> {
        self.seat.with(Receiving::take_gaps)
    }

    /// What ends the stream from somewhere else.
    pub fn shutdown_handle(&self) -> SubscriberShutdownHandle {
        SubscriberShutdownHandle {
            seat: Arc::clone(&self.seat),
        }
    }

    /// Leaves the subscription, once what was said is confirmed: others get all that this consumer has.
    /// After [`Drain::FinishWithin`](crate::Drain::FinishWithin) it first waits, as long as that says,
    /// for what was taken from the stream to be settled. Gives up on a broker that does not answer
    /// within 5 s: then it finds out by itself.
    pub async fn close(mut self) {
        self.seat.with(Receiving::leave_unless_draining);
        if let Some(task) = self.task.take() {
            // It fails only with the runtime.
            drop(task.await);
        }
    }
}

impl Subscriber {
    /// Connects when it is first asked for something.
    fn begin(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.task = Some(tokio::spawn(connection.run()));
        }
    }

    fn delivery(&self, (record, ticket): (DeliveredRecord, Ticket)) -> Delivery {
        Delivery::new(record, Lease::new(ticket, Arc::clone(&self.seat)))
    }
}

impl Stream for Subscriber {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.begin();
        let taken = ready!(self.seat.poll_record(cx));
        Poll::Ready(taken.map(|taken| taken.map(|it| self.delivery(it))))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.seat.with(Receiving::leave_unless_draining);
    }
}
