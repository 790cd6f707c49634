//! Writing records: acknowledged means on disk, and a retry makes no duplicate.

mod builder;
mod receipt;

use std::sync::Arc;

use crate::{Error, Position, Record, SendError};

pub use builder::ProducerBuilder;
pub use receipt::Receipt;

/// Writes records to one topic. Cheap to clone; all clones are one producer.
#[derive(Debug, Clone)]
pub struct Producer {
    inner: Arc<()>,
}

impl Producer {
    /// Writes a record and returns where it is once it is on disk.
    ///
    /// # Errors
    ///
    /// The record comes back with the reason why it was not acknowledged.
    pub async fn send(&self, record: impl Into<Record>) -> Result<Position, SendError> {
        let record = record.into();
        match self.enqueue(record.clone()).await {
            Ok(receipt) => receipt.await.map_err(|error| SendError::new(record, error)),
            Err(error) => Err(error),
        }
    }

    /// Takes a record, waiting only for room, and returns what tells when it is on disk.
    ///
    /// # Errors
    ///
    /// The record comes back.
    pub async fn enqueue(&self, record: impl Into<Record>) -> Result<Receipt, SendError> {
        self.try_enqueue(record)
    }

    /// Takes a record if there is room for it at once.
    ///
    /// # Errors
    ///
    /// The record comes back.
    pub fn try_enqueue(&self, record: impl Into<Record>) -> Result<Receipt, SendError> {
        let _ = Arc::strong_count(&self.inner);
        let error = Error::unavailable(crate::error::Effects::None, "not connected yet");
        Err(SendError::new(record.into(), error))
    }

    /// Sends what was taken and returns when all of it is answered or given up.
    ///
    /// # Errors
    ///
    /// The first failure among the records that had to be waited for; receipts tell which.
    pub async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes nothing more, does what [`Producer::flush`] does and ends.
    ///
    /// # Errors
    ///
    /// As [`Producer::flush`].
    pub async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
