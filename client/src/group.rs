//! Consuming as a member of a group: partitions that are shared, and a memory of how far each was read.
//!
//! `membership` is the pure part: what the member owns, what came, what is to be said. `connection` is a
//! task that keeps a stream and is the only one to talk. The consumer takes items from between them,
//! where they meet: the `seat`. `for_each` runs a handler over the items.

mod builder;
mod committing;
mod connection;
mod for_each;
mod item;
mod membership;
mod offset;
mod seat;
mod shutdown;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::client::Shared;
use crate::error::Effects;
use crate::reader::warn_of;
use crate::{Error, Gap, GapReason};
use builder::GroupOptions;
use connection::Connection;
use membership::Membership;
use seat::{Seat, Wanted};

pub use builder::GroupConsumerBuilder;
pub(crate) use committing::Committer;
pub use for_each::{ByKey, ByPartition, ForEachError};
pub use item::{
    AssignedPartition, Assignment, GroupBatch, GroupItem, GroupRecord, GroupRecords, Revoking,
    StoppedPartition,
};
pub use offset::{GroupOffset, ToGroupOffsets};
pub use shutdown::GroupShutdownHandle;

/// Commits that nobody waits for are gathered for so long: each message is a sync of its own unless others
/// write as well.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// Reads topics as a member of a consumer group.
///
/// The partitions of the topics are shared among the members of the group, each going to one of them.
/// What is committed is remembered by the broker, and whoever gets a partition goes on from there: each
/// record is handled at least once, and again only if its commit did not arrive before the
/// partition moved. Within one ownership of a partition no record is handed out twice or left out.
///
/// A consumer is a [`Stream`] of [`GroupItem`]s; [`GroupConsumer::next_batch`] and
/// [`GroupConsumer::next_record`] are easier for a loop that handles one after the other, and
/// [`GroupConsumer::for_each`] for handlers that run side by side and are committed for.
///
/// A task of its own keeps the member alive: a handler may take as long as it wants. When the connection
/// breaks, it connects again and goes on with what the member still owns, for ever unless told otherwise.
/// A partition that cannot be read on is told as [`GroupItem::Stopped`], a topic as an error; the others go
/// on if the stream is polled again. After an error that concerns the whole member the stream ends. A topic
/// that is deleted is told once as [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound); one of
/// the same name that is created later is another topic, and is not read.
///
/// Dropping the consumer never blocks: the member leaves, and others get its partitions at once, unless
/// the runtime ends before that was sent. [`GroupConsumer::close`] waits for it.
#[derive(Debug)]
#[must_use = "joins no group before it is asked to"]
pub struct GroupConsumer {
    /// For commits.
    client: Arc<Shared>,
    seat: Arc<Seat>,
    /// Becomes the task when the consumer is first asked for something.
    connection: Option<Connection>,
    task: Option<JoinHandle<()>>,
    /// What is left of the batch that [`GroupConsumer::next_record`] is taking records from.
    records: Option<GroupRecords>,
    shutdown: GroupShutdownHandle,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Records and bytes that [`GroupConsumer::for_each`] holds.
    limits: (u64, u64),
    skips_data_loss: bool,
    stops_at_trimmed: bool,
}

impl GroupConsumer {
    fn new(
        client: Arc<Shared>,
        seat: Arc<Seat>,
        connection: Connection,
        options: &GroupOptions,
    ) -> Self {
        let shutdown = GroupShutdownHandle::default();
        Self {
            client,
            seat,
            connection: Some(connection),
            task: None,
            records: None,
            stopped: Box::pin(shutdown.stop.clone().cancelled_owned()),
            shutdown,
            limits: (options.records_max.max(1), options.bytes_max.max(1)),
            skips_data_loss: options.skip_data_loss,
            stops_at_trimmed: options.stop_at_trimmed,
        }
    }

    /// Returns the next record; none once the consumer was shut down.
    ///
    /// Asking for the next one says that all before it were handled and committed as far as they are to
    /// be: partitions that others are to get are given back meanwhile. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    ///
    /// As the items of the stream, or why a partition cannot be read on; what is left can be.
    pub async fn next_record(&mut self) -> Result<Option<GroupRecord>, Error> {
        loop {
            if let Some(record) = self.next_of_batch() {
                return Ok(Some(record));
            }
            match self.next_batch().await? {
                Some(batch) => self.records = Some(batch.records()),
                None => return Ok(None),
            }
        }
    }

    /// A record of the batch at hand, if its partition is still to be read.
    fn next_of_batch(&mut self) -> Option<GroupRecord> {
        let records = self.records.as_mut()?;
        let may_go_on = self.seat.look(|it| it.may_go_on(records.assignment()));
        let record = records
            .next()
            .filter(|_| may_go_on && !self.shutdown.stop.is_cancelled());
        if record.is_none() {
            self.records = None;
        }
        record
    }

    /// Returns the next batch; none once the consumer was shut down. Passes over the items that tell of
    /// assignments, of caught-up partitions and of gaps, the last with a warning in the log.
    ///
    /// Asking for the next one says that all before it were handled and committed as far as they are to
    /// be: partitions that others are to get are given back meanwhile. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    ///
    /// As the items of the stream, or why a partition cannot be read on; what is left can be.
    pub async fn next_batch(&mut self) -> Result<Option<GroupBatch>, Error> {
        loop {
            match self.next_item().await {
                Some(Ok(GroupItem::Batch(batch))) => return Ok(Some(batch)),
                Some(Ok(GroupItem::Gap(gap))) => self.tell_gap(&gap),
                Some(Ok(GroupItem::Stopped(stopped))) => return Err(stopped.error),
                Some(Ok(GroupItem::Revoking(revoking))) => self.give_back(&revoking),
                Some(Ok(GroupItem::CaughtUp(_) | GroupItem::Assigned(_) | GroupItem::Lost(_))) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }

    /// Whether this consumer reads on behind a gap; otherwise the partition stops there, and
    /// [`GroupItem::Stopped`] says why. Decided by [`GroupConsumerBuilder::skip_data_loss`] and
    /// [`GroupConsumerBuilder::stop_at_trimmed`].
    pub fn passes_over(&self, gap: &Gap) -> bool {
        match gap.reason {
            GapReason::DataLoss => self.skips_data_loss,
            GapReason::Trimmed => !self.stops_at_trimmed,
            GapReason::Compacted => true,
        }
    }

    fn tell_gap(&self, gap: &Gap) {
        if self.passes_over(gap) {
            warn_of(gap);
        }
    }

    /// Returns the next item of the stream. Dropping the future loses nothing.
    pub async fn next_item(&mut self) -> Option<Result<GroupItem, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    async fn next_wanted(&mut self, wanted: Wanted) -> Option<Result<GroupItem, Error>> {
        std::future::poll_fn(|cx| self.poll_wanted(cx, wanted)).await
    }

    /// Says that everything up to and including a record or a batch was handled, or everything below
    /// offsets; durable once the future succeeds. It is sent whether or not the future is awaited, also
    /// before a consumer that is dropped leaves: at once if it is awaited, otherwise within 100 ms, together
    /// with what is committed until then. Commits below what is committed have no effect.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::GenerationStale`](crate::ErrorReason::GenerationStale) if the partition belongs
    /// to another member by now, or was sought: what was handled will come again, there or here.
    /// [`ErrorReason::OffsetOutOfRange`](crate::ErrorReason::OffsetOutOfRange) beyond the end.
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) if the consumer ended before the answer, or what
    /// it ended by. Of several partitions the others are committed, and the first error is returned.
    pub fn commit<T: ToGroupOffsets + ?Sized>(
        &self,
        handled: &T,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<T> {
        let (answer, answered) = oneshot::channel();
        let seat = Arc::clone(&self.seat);
        seat.with(|it| it.commit(&handled.to_group_offsets(), answer));
        async move {
            seat.with(Membership::hurry);
            let text = "the consumer ended before the commit was answered";
            let gone = |_| Err(Error::closed(Effects::Possible, text));
            answered.await.unwrap_or_else(gone)
        }
    }

    /// Gives partitions back that others are to get, once what was begun of them is handled and
    /// committed. A commit that was begun before comes first.
    pub fn give_back(&self, revoking: &Revoking) {
        self.seat.with(|it| it.give_back(&revoking.partitions));
    }

    /// What ends the stream from somewhere else.
    pub fn shutdown_handle(&self) -> GroupShutdownHandle {
        self.shutdown.clone()
    }

    /// Leaves the group, after the commits that were begun are answered; others get the partitions at
    /// once. Gives up after 5 s, or at once without a connection: then the broker finds out by itself.
    pub async fn close(mut self) {
        self.seat.leave();
        if let Some(task) = self.task.take() {
            // It fails only with the runtime.
            drop(task.await);
        }
    }

    fn poll_wanted(
        &mut self,
        cx: &mut Context<'_>,
        wanted: Wanted,
    ) -> Poll<Option<Result<GroupItem, Error>>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(connection) = self.connection.take() {
            self.task = Some(tokio::spawn(connection.run()));
        }
        self.seat.poll_item(cx, wanted)
    }
}

impl Stream for GroupConsumer {
    type Item = Result<GroupItem, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let rest = this.records.take();
        let is_current = |it: &GroupRecords| this.seat.look(|seat| seat.may_go_on(it.assignment()));
        let rest = rest.filter(is_current).and_then(GroupRecords::into_rest);
        if let Some(rest) = rest {
            return Poll::Ready(Some(Ok(GroupItem::Batch(rest))));
        }
        this.poll_wanted(cx, Wanted::Everything)
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.seat.leave();
    }
}
