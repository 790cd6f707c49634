//! Reading topics: from somewhere, to their end or onwards for ever.
//!
//! `progress` is the pure part: what was read, what to ask for, what to deliver. `connection` keeps a
//! stream. The reader between them runs no task of its own.

mod batch;
mod builder;
mod connection;
mod item;
mod progress;
mod source;
mod state;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::names::TopicName;
use tracing::warn;

use crate::shutdown::ShutdownHandle;
use crate::{Error, ReceivedRecord};
use connection::{Connection, Event};
use progress::{Heard, Progress};

pub use batch::{Batch, BatchRecords};
pub use builder::ReaderBuilder;
pub use item::{CaughtUp, Gap, GapReason, ReaderItem};
pub(crate) use progress::{PartitionProgress, check, received_bytes};
pub use source::{Source, Start};
pub use state::KeyState;

/// Reads records of one or more topics.
///
/// A reader is a [`Stream`] of [`ReaderItem`]s; [`Reader::next_batch`] and [`Reader::next_record`]
/// are easier where only records matter. Each record is delivered once, in offset order within its
/// partition. When the connection breaks, the reader connects again and goes on exactly where it
/// was, for ever unless told otherwise.
///
/// A reader that is overtaken by retention or a trim is told so by a [`Gap`] and goes on behind it; one
/// that is to begin below the log start offset gets
/// [`ErrorReason::OffsetOutOfRange`](crate::ErrorReason::OffsetOutOfRange).
///
/// An error as an item tells that a partition or topic cannot be read on; the others go on if the
/// stream is polled again. After the last the stream ends. A reader belongs to the topics it
/// found first: if one is deleted, also when another is created under its name, or if another broker
/// answers at the URL, that is [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound).
///
/// Works only while it is polled: a reader that is not asked reads ahead no more than the
/// connection's window.
#[derive(Debug)]
#[must_use = "reads nothing before it is asked to"]
pub struct Reader {
    progress: Progress,
    connection: Connection,
    /// What is left of the batch that [`Reader::next_record`] is taking records from.
    records: Option<BatchRecords>,
    stop: CancellationToken,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Reader {
    fn new(progress: Progress, connection: Connection) -> Self {
        let stop = CancellationToken::new();
        Self {
            progress,
            connection,
            records: None,
            stopped: Box::pin(stop.clone().cancelled_owned()),
            stop,
        }
    }

    /// Returns the next record; none once everything was read that was to be read.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As the items of the stream; what is left can be read on.
    pub async fn next_record(&mut self) -> Result<Option<ReceivedRecord>, Error> {
        loop {
            if let Some(record) = self.records.as_mut().and_then(Iterator::next) {
                return Ok(Some(record));
            }
            self.records = None;
            match self.next_batch().await? {
                Some(batch) => self.records = Some(batch.records()),
                None => return Ok(None),
            }
        }
    }

    /// Returns the next batch; none once everything was read that was to be read. Passes over the
    /// items that tell of caught-up partitions and of gaps, the latter with a warning in the log.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As the items of the stream; what is left can be read on.
    pub async fn next_batch(&mut self) -> Result<Option<Batch>, Error> {
        loop {
            match self.next_item().await {
                Some(Ok(ReaderItem::Batch(batch))) => return Ok(Some(batch)),
                Some(Ok(ReaderItem::CaughtUp(_))) => {}
                Some(Ok(ReaderItem::Gap(gap))) => warn_of(&gap),
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }

    /// Returns the next item of the stream. Dropping the future loses nothing.
    pub async fn next_item(&mut self) -> Option<Result<ReaderItem, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next offset of each partition that is read, once its topic was found: where a later reader
    /// begins to go on from here ([`Start::Offsets`]).
    pub fn next_offsets(&self) -> Vec<(TopicName, PartitionId, Offset)> {
        let mut offsets = self.progress.next_offsets();
        if let Some(records) = &self.records
            && let Some(next_offset) = records.next_offset()
        {
            let (topic, partition) = records.place();
            for (_, _, offset) in offsets
                .iter_mut()
                .filter(|it| (&it.0, it.1) == (topic, partition))
            {
                *offset = next_offset;
            }
        }
        offsets
    }

    /// What ends the stream from somewhere else.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle::new(self.stop.clone())
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Refused(error) => self.progress.refuse(error),
            Event::GivenUp(error) => self.progress.fail(error),
            Event::Response(response) => match self.progress.take(response.response) {
                Heard::GoOn => {}
                Heard::Opened => self.connection.succeed(),
                Heard::Broken(error) => match self.connection.fail(error) {
                    None => {}
                    Some(Event::Refused(error) | Event::GivenUp(error)) => {
                        self.progress.fail(error);
                    }
                    Some(Event::Response(_)) => {}
                },
            },
        }
    }
}

impl Stream for Reader {
    type Item = Result<ReaderItem, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(rest) = this.records.take().and_then(BatchRecords::into_rest) {
            return Poll::Ready(Some(Ok(ReaderItem::Batch(rest))));
        }
        loop {
            if let Some(item) = this.progress.take_delivery() {
                return Poll::Ready(Some(item));
            }
            if this.progress.is_finished() || this.stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let event = ready!(this.connection.poll_event(cx, || this.progress.request()));
            this.take_event(event);
        }
    }
}

pub(crate) fn warn_of(gap: &Gap) {
    let Gap {
        topic,
        partition,
        range,
        reason,
    } = gap;
    warn!(%topic, %partition, offsets = %range, ?reason, "offsets without records passed over");
}
