//! Looking into an encoded `RecordBatch` without decoding it.
//!
//! The broker walks each batch once on the way in ([`walk`]): what it accepts, every typed client
//! can decode, to the same records. Readers take records out of a batch as borrowed
//! ([`Records`]) or owned ([`OwnedRecords`]) views; producers put them in one by one
//! ([`NewRecord`]). No input makes anything here panic, and nothing here allocates.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod edit;
mod encode;
mod error;
mod fields;
mod limits;
mod owned;
mod records;

pub use edit::{Edit, edit};
pub use encode::NewRecord;
pub use error::{BatchError, Fault};
pub use limits::BatchLimits;
pub use owned::{OwnedRecord, OwnedRecords};
pub use records::{Headers, RecordView, Records};

/// What a walk over a batch found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSummary {
    /// Number of records, at least 1.
    pub record_count: u32,
    /// Bytes of all values together.
    pub value_bytes: usize,
}

/// Checks an encoded `RecordBatch` from end to end.
///
/// # Errors
///
/// Returns the first fault: a batch without records, one that exceeds a limit, or bytes that are
/// not exactly the known fields of records and headers, each singular field at most once.
pub fn walk(batch: &[u8], limits: &BatchLimits) -> Result<BatchSummary, BatchError> {
    limits
        .check_batch(batch.len())
        .map_err(BatchError::of_batch)?;
    let mut records = Records::with_limits(batch, *limits);
    let mut value_bytes = 0_usize;
    for record in &mut records {
        value_bytes = value_bytes.saturating_add(record?.value().map_or(0, <[u8]>::len));
    }
    match records.record_count() {
        0 => Err(BatchError::of_batch(Fault::Empty)),
        record_count => Ok(BatchSummary {
            record_count,
            value_bytes,
        }),
    }
}

/// Returns the CRC-32 (IEEE 802.3) of an encoded batch, as the field `crc` carries it.
pub fn crc(batch: &[u8]) -> u32 {
    crc32fast::hash(batch)
}

#[cfg(test)]
mod tests;
