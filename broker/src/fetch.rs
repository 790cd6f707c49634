//! Reading partitions: where to begin, in which order, and what to tell about it.
//!
//! A [`Fetch`] belongs to one stream and keeps about one batch in memory. It reads in passes: each
//! takes the durable LSN once and reads every partition up to frames of that LSN before the next one
//! takes it again, so that what was written as one is seen as one. It knows nothing of gRPC, and
//! waits for the disk only through the read pool.

mod cut;
mod lag;
mod lane;
mod pass;
mod position;
mod wait;

use std::sync::Arc;

use towpath_proto::compression::CodecSet;
use towpath_storage::{
    Frame, LogReader, Lsn, Offset, OffsetRange, PartitionLog, ReadLimit, TailRead, with_causes,
};

use crate::memory::Unread;
use crate::plain::NotPlain;
use crate::runtime::inspected_frames::InspectedFrames;
use crate::runtime::metrics::EngineMetrics;
use crate::runtime::published::{PublishedState, TopicView};
use crate::runtime::read_pool::ReadPool;
use crate::runtime::sequencer::Shared as EngineShared;
use crate::shutdown::Drain;

pub(crate) use cut::Cut;
pub(crate) use lag::Lag;
pub(crate) use pass::Fetch;
pub(crate) use position::{Bounds, PositionError, Start, resolve};

/// What reading needs: what may be seen, and who reads what is not in memory. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    published: Arc<PublishedState>,
    reader: LogReader,
    pool: ReadPool,
    inspected: Arc<InspectedFrames>,
    metrics: Arc<EngineMetrics>,
}

/// A topic that is read, and where in each partition reading begins.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The topic.
    pub(crate) topic: Arc<TopicView>,
    /// Numbers of the partitions, ascending, each with its first offset.
    pub(crate) starts: Vec<(u32, Offset)>,
}

/// How a fetch goes about it.
#[derive(Debug, Clone)]
pub(crate) struct FetchOptions {
    /// Goes on with new records; otherwise it ends at the cut.
    pub(crate) is_following: bool,
    /// Goes on while there is no partition to read: there may be some later.
    pub(crate) is_standing: bool,
    /// Gives the frames of all partitions in the order of their LSN.
    pub(crate) is_merging: bool,
    /// Goes on behind records that are lost.
    pub(crate) skips_loss: bool,
    /// Ends a partition in front of records that were trimmed.
    pub(crate) stops_at_trimmed: bool,
    /// Silence after which it says that it is alive.
    pub(crate) heartbeat_interval: std::time::Duration,
    /// The stages of a stop.
    pub(crate) drain: Drain,
    /// What it may hold.
    pub(crate) memory: Arc<Unread>,
    /// Codecs of which frames are told as they are; others are decompressed.
    pub(crate) accepted: CodecSet,
}

/// What a fetch tells next.
#[derive(Debug)]
pub(crate) enum FetchEvent {
    /// A frame of a partition.
    Frame(Place, Frame),
    /// The partition was read to its end.
    CaughtUp {
        /// The partition.
        place: Place,
        /// One past the last record.
        end: Offset,
        /// Everything of entries up to this one was told before.
        lsn: Lsn,
    },
    /// Records that are not there any more.
    Gap {
        /// The partition.
        place: Place,
        /// Which records.
        range: OffsetRange,
        /// Why.
        cause: GapCause,
    },
    /// A partition, or a topic with all its partitions, cannot be read on.
    Failed {
        /// The topic's number among the sources.
        source: usize,
        /// The partition; none for the whole topic.
        partition: Option<u32>,
        /// Why.
        failure: ReadFailure,
    },
    /// There is nothing new; everything of entries up to this one was told before.
    Heartbeat(Lsn),
    /// The broker stops, and this is the last event.
    Draining,
}

impl FetchEvent {
    /// The one partition that it is about, if it is about one.
    fn place(&self) -> Option<Place> {
        match self {
            Self::Frame(place, _) | Self::CaughtUp { place, .. } | Self::Gap { place, .. } => {
                Some(*place)
            }
            Self::Failed {
                source, partition, ..
            } => partition.map(|partition| Place {
                source: *source,
                partition,
            }),
            Self::Heartbeat(_) | Self::Draining => None,
        }
    }
}

/// A partition of one of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The topic's number among the sources.
    pub(crate) source: usize,
    /// Number of the partition.
    pub(crate) partition: u32,
}

/// Why records are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GapCause {
    /// The log start has moved past them.
    Trimmed,
    /// Compaction let go of them: newer records of their keys exist.
    Compacted,
    /// They are damaged.
    Lost,
}

/// Why a partition cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFailure {
    /// Its topic was deleted.
    Deleted,
    /// These records are damaged.
    Lost(OffsetRange),
    /// What comes next was trimmed, and is not to be passed over.
    Trimmed {
        /// The first offset that is missing.
        requested: Offset,
        /// From the log start to the end.
        range: OffsetRange,
    },
    /// The operating system could not read; nothing is known to be lost.
    Disk,
    /// The broker has stopped reading.
    Stopped,
}

/// What stands at an offset that was readable once.
#[derive(Debug)]
pub(crate) enum Readable {
    /// Frames, the first of which holds it.
    Frames(Vec<Frame>),
    /// Nothing up to here: it was trimmed since.
    Gone(Offset),
}

/// Payloads that are read at once for a delivery.
const DELIVERY_READ_BYTES: usize = 256 * 1024;

impl Reading {
    /// Threads that read files.
    pub(crate) fn pool(&self) -> &ReadPool {
        &self.pool
    }

    /// Reads what is published, through the pool where it is not in memory.
    pub(crate) fn new(shared: &EngineShared, reader: LogReader, pool: ReadPool) -> Self {
        Self {
            published: Arc::clone(&shared.published),
            reader,
            pool,
            inspected: Arc::clone(&shared.inspected),
            metrics: Arc::clone(&shared.metrics),
        }
    }

    /// What may be seen.
    pub(crate) fn published(&self) -> &PublishedState {
        &self.published
    }

    /// When the first record from an offset on that can be read was appended, milliseconds since the
    /// Unix epoch; none if there is no such record.
    async fn append_time_ms(&self, log: &Arc<PartitionLog>, from: Offset) -> Option<i64> {
        let one = ReadLimit {
            bytes_max: 0,
            lsn_max: self.published.durable(),
        };
        let mut offset = from;
        loop {
            let until = match log.read_tail(offset, one) {
                TailRead::Frames(frames) => {
                    return frames.first().map(|frame| frame.header.append_time_ms);
                }
                TailRead::AtEnd => return None,
                TailRead::OnDisk { until } => until,
            };
            let log = Arc::clone(log);
            let read = self.run(move |reader| reader.read(&log, None, offset, until, one));
            let read = read.await.ok()?;
            let held = |frame: &&Frame| frame.next_held(offset).is_some();
            if let Some(frame) = read.frames.iter().find(held) {
                return Some(frame.header.append_time_ms);
            }
            let read_to = read.frames.last().map(|frame| frame.header.next_offset());
            let read_to = read.loss.map(|loss| loss.end).or(read_to)?;
            offset = Some(read_to).filter(|read_to| *read_to > offset)?;
        }
    }

    /// The frames from an offset on that a subscription has looked at before, as their records stand.
    pub(crate) async fn frames_at(
        &self,
        log: &Arc<PartitionLog>,
        offset: Offset,
    ) -> Result<Readable, ReadFailure> {
        self.frames_from(log, offset, DELIVERY_READ_BYTES).await
    }

    /// The same, for one record: not more frames than that takes.
    pub(crate) async fn frame_at(
        &self,
        log: &Arc<PartitionLog>,
        offset: Offset,
    ) -> Result<Readable, ReadFailure> {
        self.frames_from(log, offset, 1).await
    }

    async fn frames_from(
        &self,
        log: &Arc<PartitionLog>,
        offset: Offset,
        bytes_max: usize,
    ) -> Result<Readable, ReadFailure> {
        let limit = ReadLimit {
            bytes_max,
            lsn_max: self.published.durable(),
        };
        let log_start = log.log_start();
        if offset < log_start {
            return Ok(Readable::Gone(log_start));
        }
        let until = match log.read_tail(offset, limit) {
            TailRead::Frames(frames) if !frames.is_empty() => {
                return self.plain(log, frames, bytes_max).await;
            }
            // What was inspected was durable.
            TailRead::Frames(_) | TailRead::AtEnd => return Err(ReadFailure::Stopped),
            TailRead::OnDisk { until } => until,
        };
        let kept = self
            .inspected
            .read(log.partition(), offset, limit.bytes_max);
        if !kept.is_empty() {
            return self.plain(log, kept, bytes_max).await;
        }
        let reading = Arc::clone(log);
        let read = self.run(move |reader| reader.read(&reading, None, offset, until, limit));
        let read = read.await?;
        let log_start = log.log_start();
        match (read.frames.is_empty(), read.loss) {
            (false, _) => self.plain(log, read.frames, bytes_max).await,
            (true, _) if offset < log_start => Ok(Readable::Gone(log_start)),
            (true, Some(lost)) => Err(ReadFailure::Lost(lost)),
            (true, None) => Err(ReadFailure::Stopped),
        }
    }

    /// Frames of a partition as their records stand, the first of them and more of about so many bytes.
    async fn plain(
        &self,
        log: &PartitionLog,
        frames: Vec<Frame>,
        bytes_max: usize,
    ) -> Result<Readable, ReadFailure> {
        if frames.iter().all(|frame| frame.header.codec == 0) {
            return Ok(Readable::Frames(frames));
        }
        let (inspected, partition) = (Arc::clone(&self.inspected), log.partition());
        let made = self.pool.run(move || {
            let (mut made, mut bytes) = (Vec::with_capacity(frames.len()), 0);
            for frame in frames {
                match inspected.plain(partition, frame) {
                    Ok(frame) => {
                        bytes += frame.payload.len();
                        made.push(frame);
                    }
                    Err(NotPlain { range }) if made.is_empty() => return Err(range),
                    Err(_) => break,
                }
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(made)
        });
        match made.await {
            Some(Ok(made)) => Ok(Readable::Frames(made)),
            Some(Err(lost)) => Err(ReadFailure::Lost(lost)),
            None => Err(ReadFailure::Stopped),
        }
    }

    /// Runs a blocking read on the pool.
    async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&LogReader) -> Result<T, towpath_storage::StorageError> + Send + 'static,
    ) -> Result<T, ReadFailure> {
        let reader = self.reader.clone();
        match self.pool.run(move || read(&reader)).await {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                let error = with_causes(&error);
                tracing::error!(%error, "segment cannot be read");
                Err(ReadFailure::Disk)
            }
            None => Err(ReadFailure::Stopped),
        }
    }
}

#[cfg(test)]
mod tests;
