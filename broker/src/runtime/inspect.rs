//! Looking into records for subscriptions, so that the sequencer never does: their keys and lengths, and
//! whether their filters want them.

use std::ops::Range;
use std::sync::Arc;

use towpath_proto::batch::Records;
use towpath_storage::{
    Frame, LogReader, Offset, PartitionLog, PartitionRef, ReadCursor, ReadLimit, StorageError,
    TailRead, with_causes,
};

use super::bury::{BurialJob, Undertaker};
use super::command::ControlCommand;
use super::command_queue::CommandQueue;
use super::index_view::IndexView;
use super::inspected_frames::InspectedFrames;
use super::judge::{FilterCache, Judges};
use super::published::PublishedState;
use super::schedules::{ScheduleJob, Timekeeper};
use super::subscription_command::SubscriptionCommand;
use crate::core::{
    FilterVerdict, HashKey, InspectFailure, InspectWish, Inspected, InspectedRecord,
    PartitionFilters, SubscriptionId,
};
use crate::filter::{FilterInput, Steps};
use crate::plain::NotPlain;

/// Payloads that are looked at in one go.
const READ_BYTES: usize = 256 * 1024;
/// Records beyond the number that was asked for that are looked at to come to the end of a frame: a frame
/// is walked from its beginning each time.
const REST_OF_FRAME_MAX: u64 = 4_096;

/// Steps of filters after which a piece of work is over: others wait, and what is left is asked for again.
const STEPS_MAX: u64 = 500_000;

/// Records to be inspected for a subscription.
#[derive(Debug, Clone)]
pub struct InspectJob {
    /// For which.
    pub subscription: SubscriptionId,
    /// Of which partition.
    pub partition: PartitionRef,
    /// Which records.
    pub wish: InspectWish,
    /// What keys are hashed with.
    pub hash_key: HashKey,
    /// Which of them are delivered.
    pub filters: PartitionFilters,
}

/// What is to be looked at.
#[derive(Debug)]
pub enum InspectWork {
    /// Records that may be delivered.
    Inspect(InspectJob),
    /// Records that become dead letters.
    Bury(Box<BurialJob>),
    /// Scheduled records.
    Schedule(ScheduleJob),
}

/// Inspects.
#[derive(Debug)]
pub struct InspectWorker {
    reader: LogReader,
    published: Arc<PublishedState>,
    commands: Arc<CommandQueue>,
    filters: FilterCache,
    inspected: Arc<InspectedFrames>,
    index: Arc<IndexView>,
    /// What keys are hashed with for topics that look at records.
    hash_key: [u8; 16],
}

/// Why inspecting stopped before it had enough.
enum Stop {
    /// There is nothing more that may be seen.
    End,
    Failed(InspectFailure),
}

impl InspectWorker {
    pub(super) fn new(
        reader: LogReader,
        published: Arc<PublishedState>,
        commands: Arc<CommandQueue>,
        inspected: Arc<InspectedFrames>,
        (index, hash_key): (Arc<IndexView>, [u8; 16]),
    ) -> Self {
        Self {
            reader,
            published,
            commands,
            filters: FilterCache::default(),
            inspected,
            index,
            hash_key,
        }
    }

    /// Does one piece of work, and tells the sequencer. Blocks on the disk.
    pub fn step(&mut self, work: InspectWork) {
        match work {
            InspectWork::Inspect(job) => self.step_inspect(job),
            InspectWork::Bury(job) => Undertaker {
                reader: &self.reader,
                published: &self.published,
                commands: &self.commands,
                inspected: &self.inspected,
            }
            .bury(*job),
            InspectWork::Schedule(job) => Timekeeper {
                index: &self.index,
                commands: &self.commands,
                published: &self.published,
                hash_key: &self.hash_key,
            }
            .work(job),
        }
    }

    fn step_inspect(&mut self, job: InspectJob) {
        let topics = self.published.topics();
        let topic = topics.with_id(job.partition.topic);
        let handle = topic.and_then(|topic| topic.partition(job.partition.partition));
        // The subscriptions of a topic are gone before it is.
        let Some(handle) = handle else { return };
        let judges = self.filters.judges(&job.filters);
        let found = self.inspect(&job, &judges, handle.log());
        let subscription = job.subscription;
        let command = SubscriptionCommand::Inspected {
            subscription,
            found,
        };
        // A broker that stops delivers nothing any more.
        drop(
            self.commands
                .push_control(ControlCommand::Subscription(command)),
        );
    }

    fn inspect(&self, job: &InspectJob, judges: &Judges, log: &PartitionLog) -> Inspected {
        let wish = job.wish;
        let mut found = Inspected {
            partition: wish.partition,
            wish: wish.number,
            start: wish.start,
            ..Inspected::default()
        };
        let mut next = wish.start;
        let log_start = log.log_start();
        if next < log_start {
            found.gone_until = Some(log_start);
            next = log_start;
        }
        let mut cursor = None;
        let mut steps = Steps::default();
        let has_enough = |found: &Inspected, steps: &Steps| {
            found.records.len() as u64 >= wish.count_max || steps.taken() >= STEPS_MAX
        };
        while !has_enough(&found, &steps) {
            match self.read(log, &mut cursor, next) {
                Ok(frames) => {
                    for frame in frames {
                        let frame = match self.inspected.plain(log.partition(), frame) {
                            Ok(frame) => frame,
                            Err(NotPlain { range }) => {
                                fail(&mut found, InspectFailure::Lost(range));
                                return found;
                            }
                        };
                        next = inspect_frame(job, judges, &frame, next, &mut found, &mut steps);
                        if has_enough(&found, &steps) {
                            break;
                        }
                    }
                }
                Err(Stop::End) => break,
                Err(Stop::Failed(failure)) => {
                    fail(&mut found, failure);
                    break;
                }
            }
        }
        found
    }

    fn read(
        &self,
        log: &PartitionLog,
        cursor: &mut Option<ReadCursor>,
        next: Offset,
    ) -> Result<Vec<Frame>, Stop> {
        let limit = ReadLimit {
            bytes_max: READ_BYTES,
            lsn_max: self.published.durable(),
        };
        let until = match log.read_tail(next, limit) {
            TailRead::Frames(frames) if frames.is_empty() => return Err(Stop::End),
            TailRead::Frames(frames) => return Ok(frames),
            TailRead::AtEnd => return Err(Stop::End),
            TailRead::OnDisk { until } => until,
        };
        let kept = self.inspected.read(log.partition(), next, READ_BYTES);
        if !kept.is_empty() {
            return Ok(kept);
        }
        let read = self.reader.read(log, *cursor, next, until, limit);
        let read = read.map_err(|error: StorageError| {
            let error = with_causes(&error);
            tracing::error!(%error, "segment cannot be read");
            Stop::Failed(InspectFailure::Disk)
        })?;
        *cursor = read.cursor;
        self.inspected.keep(log.partition(), &read.frames);
        match (read.frames.is_empty(), read.loss) {
            (false, _) => Ok(read.frames),
            // Trimmed while it was read: the next look begins behind it.
            (true, Some(_)) if next < log.log_start() => Err(Stop::End),
            (true, Some(lost)) => Err(Stop::Failed(InspectFailure::Lost(lost))),
            (true, None) => Err(Stop::End),
        }
    }
}

/// What was found before a failure counts; the next piece of work comes to it again.
fn fail(found: &mut Inspected, failure: InspectFailure) {
    found.failure = found.records.is_empty().then_some(failure);
}

/// Adds the records of a plain frame from `next` on, and returns where to go on.
fn inspect_frame(
    job: &InspectJob,
    judges: &Judges,
    frame: &Frame,
    next: Offset,
    found: &mut Inspected,
    steps: &mut Steps,
) -> Offset {
    let base = frame.header.base_offset;
    found
        .append_times
        .push((base.max(next), frame.header.append_time_ms));
    let enough = job.wish.count_max + REST_OF_FRAME_MAX;
    let partition = job.partition.partition;
    let mut next = next.max(base);
    // Every payload was walked when it came, and has its checksum.
    let records = Records::new(&frame.payload).map_while(Result::ok);
    for (place, record) in (0..).zip(records) {
        let Some(offset) = frame.offset_of(place).filter(|offset| *offset >= next) else {
            continue;
        };
        next = inspect_hole(job, next..offset, found, enough);
        if next < offset || found.records.len() as u64 >= enough || steps.taken() >= STEPS_MAX {
            return next;
        }
        let key = match record.key() {
            Some(key) => job.hash_key.of_key(key),
            None => job.hash_key.of_keyless(partition, offset),
        };
        let input = FilterInput {
            record,
            append_time_ms: frame.header.append_time_ms,
        };
        found.records.push(InspectedRecord {
            key,
            bytes: u32::try_from(record.bytes().len()).unwrap_or(u32::MAX),
            verdict: judges.verdict(offset, &input, steps),
        });
        next = offset.advance(1);
    }
    inspect_hole(job, next..frame.header.next_offset(), found, enough)
}

/// Adds offsets that have no record any more, and returns where to go on.
fn inspect_hole(
    job: &InspectJob,
    hole: Range<Offset>,
    found: &mut Inspected,
    enough: u64,
) -> Offset {
    let partition = job.partition.partition;
    let mut next = hole.start;
    while next < hole.end && (found.records.len() as u64) < enough {
        found.records.push(InspectedRecord {
            key: job.hash_key.of_keyless(partition, next),
            bytes: 0,
            verdict: FilterVerdict::Gone,
        });
        next = next.advance(1);
    }
    next
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use towpath_proto::v1;
    use towpath_storage::{FrameHeader, Lsn, TopicId};

    use super::super::judge::FilterCache;
    use super::*;
    use crate::core::RecordFilter;
    use crate::filter::STEPS_PER_RECORD_MAX;

    /// Looks at a frame of so many records, with a filter that takes all steps of each.
    fn looked_at(record_count: u32) -> (Offset, Inspected) {
        let items = ["1"; 1_000].join(",");
        let record = v1::Record {
            value: Some(format!("[{items}]").into()),
            ..v1::Record::default()
        };
        let batch = v1::RecordBatch {
            records: vec![record; record_count as usize],
        };
        let payload = batch.encode_to_vec();
        let frame = Frame::dense(
            FrameHeader {
                payload_bytes: u32::try_from(payload.len()).expect("bytes"),
                payload_crc: 0,
                codec: 0,
                record_count,
                base_offset: Offset::ZERO,
                lsn: Lsn::new(1),
                append_time_ms: 0,
                sparse: None,
            },
            payload.into(),
        );
        let expression = "json.all(a, json.all(b, a == b))".to_owned();
        let filters = PartitionFilters {
            former: Vec::new(),
            current: RecordFilter {
                expression: Some(expression),
                ..RecordFilter::default()
            },
        };
        let judges = FilterCache::default().judges(&filters);
        let job = InspectJob {
            subscription: SubscriptionId::new(1),
            partition: PartitionRef {
                topic: TopicId::new(1),
                partition: 0,
            },
            wish: InspectWish {
                partition: 0,
                number: 1,
                start: Offset::ZERO,
                count_max: 1_000,
            },
            hash_key: HashKey::default(),
            filters,
        };
        let (mut found, mut steps) = (Inspected::default(), Steps::default());
        let next = inspect_frame(&job, &judges, &frame, Offset::ZERO, &mut found, &mut steps);
        (next, found)
    }

    #[test]
    fn a_costly_filter_ends_a_piece_of_work_amid_a_frame() {
        let enough = STEPS_MAX / STEPS_PER_RECORD_MAX;
        let (next, found) = looked_at(100);
        assert_eq!(next, Offset::new(enough), "where it goes on");
        assert_eq!(found.records.len() as u64, enough, "what it has seen");
        let (next, _) = looked_at(3);
        assert_eq!(next, Offset::new(3), "the end of the frame");
    }
}
