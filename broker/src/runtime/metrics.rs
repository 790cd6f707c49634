//! What the threads count beside their work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use towpath_proto::compression::Codec;
use towpath_storage::{CommittedRound, RewrittenSegment, Space};

use crate::core::{State, UnwrittenCause, UnwrittenRecord};
use crate::metrics::Histogram;
use crate::metrics::{COUNT_BOUNDS, LATENCY_BOUNDS};

/// Counters of the whole broker. Each has one writer but those of admission, which every connection
/// writes.
#[derive(Debug)]
pub struct EngineMetrics {
    /// From admission to answer, nanoseconds.
    pub(crate) append_duration: Histogram,
    /// Records that were admitted and not answered.
    pub(crate) in_flight_records: AtomicU64,
    /// Of one round each, nanoseconds. Written by the sequencer.
    pub(crate) sync_duration: Histogram,
    /// Records of one round each, of rounds that have any. Written by the sequencer.
    pub(crate) sync_records: Histogram,
    /// Journal files that no checkpoint has freed. Written by the sequencer.
    pub(crate) journal_files: AtomicU64,
    /// Records that were left out since their events were there. Written by the sequencer.
    pub(crate) repeated_events: AtomicU64,
    /// Records that were left out since their entities had greater versions. Written by the sequencer.
    pub(crate) stale_records: AtomicU64,
    /// Records that were written with a mark for that. Written by the sequencer.
    pub(crate) marked_records: AtomicU64,
    /// Compressed batches. Written by the connections.
    pub(crate) compressions: CompressionMetrics,
    /// Scheduled records. Written by the sequencer.
    pub(crate) schedules: ScheduleMetrics,
    /// Of the disk. Written by the maintenance thread, as is all that follows.
    pub(crate) free_bytes: AtomicU64,
    /// Of the disk.
    pub(crate) total_bytes: AtomicU64,
    /// Checkpoints that were written.
    pub(crate) checkpoints: AtomicU64,
    /// Checkpoints that could not be written.
    pub(crate) checkpoint_failures: AtomicU64,
    /// When the last one was written, milliseconds since the Unix epoch.
    pub(crate) checkpoint_time_ms: AtomicU64,
    /// How long the last one took, nanoseconds.
    pub(crate) checkpoint_nanos: AtomicU64,
    /// Records that compaction has let go of.
    pub(crate) compacted_records: AtomicU64,
    /// Bytes of frames that it has written.
    pub(crate) compaction_bytes: AtomicU64,
    /// Bytes that were read to find damage.
    pub(crate) scrubbed_bytes: AtomicU64,
    /// Damaged places that were found so.
    pub(crate) scrub_damage: AtomicU64,
    /// When everything had been read once, milliseconds since the Unix epoch; 0 if it was not yet.
    pub(crate) scrub_time_ms: AtomicU64,
}

impl EngineMetrics {
    /// Nothing counted; recovery has just written a checkpoint.
    pub(super) fn new(wall_ms: i64) -> Self {
        Self {
            append_duration: Histogram::new(LATENCY_BOUNDS),
            in_flight_records: AtomicU64::new(0),
            sync_duration: Histogram::new(LATENCY_BOUNDS),
            sync_records: Histogram::new(COUNT_BOUNDS),
            journal_files: AtomicU64::new(1),
            repeated_events: AtomicU64::new(0),
            stale_records: AtomicU64::new(0),
            marked_records: AtomicU64::new(0),
            compressions: CompressionMetrics::default(),
            schedules: ScheduleMetrics::default(),
            free_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
            checkpoint_failures: AtomicU64::new(0),
            checkpoint_time_ms: AtomicU64::new(u64::try_from(wall_ms).unwrap_or(0)),
            checkpoint_nanos: AtomicU64::new(0),
            compacted_records: AtomicU64::new(0),
            compaction_bytes: AtomicU64::new(0),
            scrubbed_bytes: AtomicU64::new(0),
            scrub_damage: AtomicU64::new(0),
            scrub_time_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn note_synced(&self, round: &CommittedRound, took: Duration) {
        self.sync_duration.observe_time(took);
        let counts = round.frames.iter().map(|it| it.line.frame.record_count);
        let record_count: u64 = counts.map(u64::from).sum();
        if record_count > 0 {
            self.sync_records.observe(record_count);
        }
    }

    /// Counts what became of records that were looked at.
    pub(super) fn note_looked_at(&self, unwritten: &[UnwrittenRecord], marked_count: usize) {
        let is_repeated =
            |it: &&UnwrittenRecord| matches!(it.cause, UnwrittenCause::RepeatedEvent(_));
        let repeated = unwritten.iter().filter(is_repeated).count();
        let stale = unwritten.len() - repeated;
        for (counter, count) in [
            (&self.repeated_events, repeated),
            (&self.stale_records, stale),
            (&self.marked_records, marked_count),
        ] {
            if count > 0 {
                counter.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn note_checkpoint(&self, wall_ms: i64, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let wall_ms = u64::try_from(wall_ms).unwrap_or(0);
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.checkpoint_time_ms.store(wall_ms, Ordering::Relaxed);
        self.checkpoint_nanos.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn note_scrubbed(&self, bytes: u64) {
        self.scrubbed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn note_scrub_damage(&self) {
        self.scrub_damage.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_scrub(&self, wall_ms: i64) {
        let wall_ms = u64::try_from(wall_ms).unwrap_or(0);
        self.scrub_time_ms.store(wall_ms, Ordering::Relaxed);
    }

    /// Bytes that were read to find damage, damaged places that were found so, and when everything had been
    /// read once, milliseconds since the Unix epoch.
    pub fn scrubbed(&self) -> (u64, u64, u64) {
        let [bytes, damage, time_ms] = [
            &self.scrubbed_bytes,
            &self.scrub_damage,
            &self.scrub_time_ms,
        ]
        .map(|it| it.load(Ordering::Relaxed));
        (bytes, damage, time_ms)
    }

    pub(super) fn note_failed_checkpoint(&self) {
        self.checkpoint_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_compacted(&self, rewritten: &RewrittenSegment) {
        let (records, bytes) = (rewritten.removed_count, rewritten.size_bytes);
        self.compacted_records.fetch_add(records, Ordering::Relaxed);
        self.compaction_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn note_space(&self, space: Space) {
        let free_bytes = space.available_bytes;
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        self.total_bytes.store(space.total_bytes, Ordering::Relaxed);
    }
}

/// Compressed batches, by codec.
#[derive(Debug, Default)]
pub(crate) struct CompressionMetrics {
    lz4: CodecMetrics,
    zstd: CodecMetrics,
}

/// Compressed batches of one codec, bytes.
#[derive(Debug, Default)]
pub(crate) struct CodecMetrics {
    /// As they came.
    pub(crate) compressed: AtomicU64,
    /// The same, decompressed to be checked.
    pub(crate) plain: AtomicU64,
    /// Decompressed for readers that did not name the codec.
    pub(crate) told_plain: AtomicU64,
}

impl CompressionMetrics {
    /// Those of a codec.
    pub(crate) fn of(&self, codec: Codec) -> &CodecMetrics {
        match codec {
            Codec::Lz4 => &self.lz4,
            Codec::Zstd => &self.zstd,
        }
    }

    /// Counts a batch that came.
    pub(crate) fn note_received(&self, codec: Codec, compressed_bytes: usize, plain_bytes: usize) {
        let counters = self.of(codec);
        let compressed_bytes = compressed_bytes as u64;
        counters
            .compressed
            .fetch_add(compressed_bytes, Ordering::Relaxed);
        counters
            .plain
            .fetch_add(plain_bytes as u64, Ordering::Relaxed);
    }

    /// Counts a batch that was decompressed for a reader.
    pub(crate) fn note_told_plain(&self, codec: Codec, plain_bytes: usize) {
        let counter = &self.of(codec).told_plain;
        counter.fetch_add(plain_bytes as u64, Ordering::Relaxed);
    }
}

/// Scheduled records of all topics.
#[derive(Debug, Default)]
pub(crate) struct ScheduleMetrics {
    /// Records that are scheduled.
    pub(crate) count: AtomicU64,
    /// Their bytes.
    pub(crate) size_bytes: AtomicU64,
    /// For how long the first of them is due, milliseconds.
    pub(crate) overdue_ms: AtomicU64,
    /// Due records that cannot be delivered now.
    pub(crate) set_aside: AtomicU64,
    /// Records that were delivered since the start.
    pub(crate) delivered: AtomicU64,
}

impl ScheduleMetrics {
    /// Notes what is scheduled at broker time `now_ms`.
    pub(super) fn note(&self, state: &State, now_ms: i64) {
        let counts = state.schedule_counts();
        let overdue_ms = state.next_due_ms().map_or(0, |due_ms| now_ms - due_ms);
        let numbers = [
            (&self.count, counts.count),
            (&self.size_bytes, counts.size_bytes),
            (&self.overdue_ms, u64::try_from(overdue_ms).unwrap_or(0)),
            (&self.set_aside, state.set_aside_count() as u64),
        ];
        for (number, value) in numbers {
            number.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn note_delivered(&self, count: u32) {
        self.delivered.fetch_add(count.into(), Ordering::Relaxed);
    }
}

/// Records on their way from admission to answer; counted as in flight until dropped.
#[derive(Debug)]
pub struct Tally {
    metrics: Arc<EngineMetrics>,
    record_count: u64,
    /// By the boot clock.
    admitted_at: Duration,
}

impl Tally {
    /// Counts records that are admitted now, by the boot clock.
    pub(crate) fn new(metrics: &Arc<EngineMetrics>, record_count: u64, now: Duration) -> Self {
        let in_flight = &metrics.in_flight_records;
        in_flight.fetch_add(record_count, Ordering::Relaxed);
        Self {
            metrics: Arc::clone(metrics),
            record_count,
            admitted_at: now,
        }
    }

    /// Notes that they are answered now, by the boot clock.
    pub(super) fn note_answered(&self, now: Duration) {
        let took = now.saturating_sub(self.admitted_at);
        self.metrics.append_duration.observe_time(took);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let in_flight = &self.metrics.in_flight_records;
        in_flight.fetch_sub(self.record_count, Ordering::Relaxed);
    }
}

/// Records and bytes of one topic, since the start of the broker.
#[derive(Debug, Default)]
pub struct Traffic {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Counts batches.
    pub(crate) fn add(&self, record_count: u64, bytes: u64) {
        self.records.fetch_add(record_count, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
