//! Turning a position into offsets.

mod last_records;

use std::sync::Arc;

use towpath_storage::{Offset, OffsetRange, PartitionLog};

use super::{ReadFailure, Reading};

/// Most records that can be counted back.
const LAST_RECORDS_MAX: u64 = 1_000_000;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At this offset.
    Offset(Offset),
    /// At the first record appended at or after this time, milliseconds since the Unix epoch.
    Time(i64),
    /// At the log start.
    Beginning,
    /// At the end.
    End,
    /// So many records before the end, over all the partitions together.
    LastRecords(u64),
}

/// One partition, up to where it is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// Number of the partition.
    pub(crate) partition: u32,
    /// Its log.
    pub(crate) log: Arc<PartitionLog>,
    /// One past its last record at the moment of the request.
    pub(crate) end: Offset,
}

/// Why a position stands for no offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PositionError {
    /// The offset is below the log start or above the end.
    OutOfRange {
        /// Number of the partition.
        partition: u32,
        /// The offset.
        requested: Offset,
        /// From the log start to the end, which is allowed too.
        range: OffsetRange,
    },
    /// More records are to be counted back than can be.
    TooMany {
        /// Most that can be.
        count_max: u64,
    },
    /// A partition cannot be read.
    Read {
        /// Number of the partition.
        partition: u32,
        /// Why.
        failure: ReadFailure,
    },
}

impl Bounds {
    /// From the log start to the end.
    pub(crate) fn range(&self) -> OffsetRange {
        let end = self.end;
        // Retention may have overtaken the moment of the request.
        let start = self.log.log_start().min(end);
        OffsetRange { start, end }
    }

    fn check(&self, requested: Offset) -> Result<Offset, PositionError> {
        let range = self.range();
        if (range.start..=range.end).contains(&requested) {
            return Ok(requested);
        }
        Err(PositionError::OutOfRange {
            partition: self.partition,
            requested,
            range,
        })
    }
}

/// The offset in each of these partitions of one topic that the position stands for.
///
/// # Errors
/// [`PositionError`].
pub(crate) async fn resolve(
    reading: &Reading,
    partitions: &[Bounds],
    start: Start,
) -> Result<Vec<Offset>, PositionError> {
    match start {
        Start::Offset(offset) => partitions.iter().map(|it| it.check(offset)).collect(),
        Start::Time(time_ms) => at_time(reading, partitions, time_ms).await,
        Start::Beginning => Ok(partitions.iter().map(|it| it.range().start).collect()),
        Start::End => Ok(partitions.iter().map(|it| it.end).collect()),
        Start::LastRecords(count) if count > LAST_RECORDS_MAX => Err(PositionError::TooMany {
            count_max: LAST_RECORDS_MAX,
        }),
        Start::LastRecords(count) => last_records::find(reading, partitions, count).await,
    }
}

async fn at_time(
    reading: &Reading,
    partitions: &[Bounds],
    time_ms: i64,
) -> Result<Vec<Offset>, PositionError> {
    let mut offsets = Vec::with_capacity(partitions.len());
    for bounds in partitions {
        let log = Arc::clone(&bounds.log);
        let found = reading
            .run(move |reader| reader.offset_at_time(&log, time_ms))
            .await;
        let found = found.map_err(|failure| PositionError::Read {
            partition: bounds.partition,
            failure,
        })?;
        offsets.push(found.min(bounds.end));
    }
    Ok(offsets)
}
