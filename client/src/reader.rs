//! Reading topics: from somewhere, to their end or onwards for ever.

mod batch;
mod builder;
mod item;
mod source;

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::{Error, ReceivedRecord};

pub use batch::{Batch, BatchRecords};
pub use builder::ReaderBuilder;
pub use item::{CaughtUp, Gap, GapReason, ReaderItem};
pub use source::{Source, Start};

/// Reads records of one or more topics.
#[derive(Debug)]
#[must_use = "reads nothing before it is asked to"]
pub struct Reader {
    records: Option<BatchRecords>,
}

impl Reader {
    /// Returns the next record; none once everything was read that was to be read.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As the items of the stream; the other partitions can be read on.
    pub async fn next_record(&mut self) -> Result<Option<ReceivedRecord>, Error> {
        loop {
            if let Some(record) = self.records.as_mut().and_then(Iterator::next) {
                return Ok(Some(record));
            }
            match self.next_batch().await? {
                Some(batch) => self.records = Some(batch.records()),
                None => return Ok(None),
            }
        }
    }

    /// Returns the next batch; none once everything was read that was to be read. Skips what tells
    /// of caught-up partitions and of gaps, the latter with a line in the log.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As the items of the stream; the other partitions can be read on.
    pub async fn next_batch(&mut self) -> Result<Option<Batch>, Error> {
        loop {
            match std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await {
                Some(Ok(ReaderItem::Batch(batch))) => return Ok(Some(batch)),
                Some(Ok(ReaderItem::CaughtUp(_) | ReaderItem::Gap(_))) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }
}

impl Stream for Reader {
    type Item = Result<ReaderItem, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(rest) = self.records.take().and_then(BatchRecords::into_rest) {
            return Poll::Ready(Some(Ok(ReaderItem::Batch(rest))));
        }
        Poll::Ready(None)
    }
}
