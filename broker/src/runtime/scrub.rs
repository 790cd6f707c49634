//! The maintenance thread's part in finding damage before somebody needs what is damaged: everything that
//! lies in segments and runs is read from time to time, a little at a time.
//!
//! Damage is told in the log with its place, and counted. Nothing is changed: what does not match its
//! checksum is never handed out, is told as lost to whoever reads it, and is never rewritten.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use towpath_storage::{
    Clock, LogReader, Offset, PartitionLog, ReadCursor, ReadLimit, RunCheck, StorageError,
    TailRead, with_causes,
};

use super::index_view::IndexView;
use super::metrics::EngineMetrics;
use super::published::{PublishedState, TopicView};

/// Payloads that are read at once.
const STEP_BYTES: usize = 256 * 1024;
/// Rows of runs that are read at once.
const STEP_ROWS: usize = 1_000;

/// How often and how fast everything is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Bytes a second; 0 reads nothing. Default 8 MiB.
    pub bytes_per_second: u64,
    /// From the beginning of one pass to that of the next, if the first is over by then. Default 7 days.
    pub period: Duration,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self {
            bytes_per_second: 8 * 1024 * 1024,
            period: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// What it shares with others.
#[derive(Debug)]
pub(super) struct ScrubberShared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reader: LogReader,
    pub(super) published: Arc<PublishedState>,
    pub(super) index: Arc<IndexView>,
    pub(super) metrics: Arc<EngineMetrics>,
}

/// Reads everything, again and again. Lives on the maintenance thread.
#[derive(Debug)]
pub(super) struct Scrubber {
    options: ScrubOptions,
    shared: ScrubberShared,
    pass: Option<Pass>,
    /// When the next piece is read, by the boot clock.
    next_at: Duration,
}

/// One time through everything.
#[derive(Debug)]
struct Pass {
    begun: Duration,
    /// What is still to be read, of topics with the numbers of their partitions.
    partitions: VecDeque<(Arc<TopicView>, u32)>,
    current: Option<Current>,
    runs: VecDeque<RunCheck>,
    damage_count: u64,
    bytes: u64,
}

/// A partition that is being read.
#[derive(Debug)]
struct Current {
    topic: Arc<TopicView>,
    log: Arc<PartitionLog>,
    offset: Offset,
    cursor: Option<ReadCursor>,
}

impl Scrubber {
    pub(super) fn new(options: ScrubOptions, shared: ScrubberShared) -> Self {
        let next_at = shared.clock.boot();
        Self {
            options,
            shared,
            pass: None,
            next_at,
        }
    }

    /// For how long there is nothing to do; none if there never is.
    pub(super) fn pause(&self) -> Option<Duration> {
        let is_on = self.options.bytes_per_second > 0;
        is_on.then(|| self.next_at.saturating_sub(self.shared.clock.boot()))
    }

    /// Reads a piece, if it is time for one. Returns whether it was.
    pub(super) fn step(&mut self) -> bool {
        if self.pause() != Some(Duration::ZERO) {
            return false;
        }
        let now = self.shared.clock.boot();
        let mut pass = self.pass.take().unwrap_or_else(|| self.begin(now));
        match self.read(&mut pass) {
            Some(bytes) => {
                pass.bytes += bytes;
                self.shared.metrics.note_scrubbed(bytes);
                let nanos = u128::from(bytes) * 1_000_000_000;
                let nanos = nanos / u128::from(self.options.bytes_per_second);
                let pause = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                self.next_at = now + pause;
                self.pass = Some(pass);
            }
            None => {
                self.next_at = (pass.begun + self.options.period).max(now);
                let Pass {
                    bytes,
                    damage_count,
                    ..
                } = pass;
                self.shared.metrics.note_scrub(self.shared.clock.wall_ms());
                tracing::info!(bytes, damage_count, "everything was read once");
            }
        }
        true
    }

    fn begin(&self, now: Duration) -> Pass {
        let topics = self.shared.published.topics();
        let partitions = topics.topics().flat_map(|topic| {
            let numbers = (0..).zip(topic.partitions()).map(|(number, _)| number);
            numbers.map(|number| (Arc::clone(topic), number))
        });
        Pass {
            begun: now,
            partitions: partitions.collect(),
            current: None,
            runs: self.shared.index.snapshot().runs.checks().into(),
            damage_count: 0,
            bytes: 0,
        }
    }

    /// Reads the next piece, and returns its length; none if there is no more.
    fn read(&self, pass: &mut Pass) -> Option<u64> {
        loop {
            if let Some(current) = pass.current.take() {
                let (bytes, next) = self.read_partition(current, &mut pass.damage_count);
                pass.current = next;
                if bytes > 0 {
                    return Some(bytes);
                }
                continue;
            }
            if let Some((topic, number)) = pass.partitions.pop_front() {
                let log = topic.partition(number).map(|it| Arc::clone(it.log()));
                pass.current = log.map(|log| Current {
                    topic,
                    offset: log.log_start(),
                    log,
                    cursor: None,
                });
                continue;
            }
            let mut run = pass.runs.pop_front()?;
            match run.step(STEP_ROWS) {
                Ok(Some(bytes)) => {
                    pass.runs.push_front(run);
                    return Some(bytes);
                }
                Ok(None) => {}
                Err(error) => self.note_damage(&error, &mut pass.damage_count),
            }
        }
    }

    /// Reads on in a partition; returns how much, and where it goes on.
    fn read_partition(&self, mut at: Current, damage_count: &mut u64) -> (u64, Option<Current>) {
        let limit = ReadLimit {
            bytes_max: STEP_BYTES,
            lsn_max: self.shared.published.durable(),
        };
        let log_start = at.log.log_start();
        if at.offset < log_start {
            (at.offset, at.cursor) = (log_start, None);
        }
        // What is in memory, or was not settled when it was looked at, comes with the next pass.
        let TailRead::OnDisk { until } = at.log.read_tail(at.offset, limit) else {
            return (0, None);
        };
        let read = match self
            .shared
            .reader
            .read(&at.log, at.cursor, at.offset, until, limit)
        {
            Ok(read) => read,
            Err(error) => {
                if !at.topic.is_deleted() {
                    self.note_damage(&error, damage_count);
                }
                return (0, None);
            }
        };
        let frames = read.frames.iter().map(|frame| frame.header.padded_bytes());
        let mut bytes = frames.sum::<u64>();
        if let Some(last) = read.frames.last() {
            at.offset = last.header.next_offset();
        }
        at.cursor = read.cursor;
        let is_gone = at.topic.is_deleted() || at.offset < at.log.log_start();
        match read.loss {
            Some(_) if is_gone => {}
            Some(loss) => {
                at.offset = loss.end;
                *damage_count += 1;
                self.shared.metrics.note_scrub_damage();
                let damage = read.damage.unwrap_or_default();
                bytes += damage.positions.end - damage.positions.start;
                tracing::error!(
                    topic = %at.topic.name(), partition = at.log.partition().partition,
                    start_offset = %loss.start, end_offset = %loss.end,
                    path = %damage.path.display(), start_position = damage.positions.start,
                    end_position = damage.positions.end, what = %damage.what,
                    "records are damaged on disk"
                );
            }
            // A frame of a later entry than is published: the next pass reads it.
            None if read.frames.is_empty() => return (0, None),
            None => {}
        }
        // Never nothing: what is damaged takes time as well.
        (bytes.max(1), Some(at))
    }

    fn note_damage(&self, error: &StorageError, damage_count: &mut u64) {
        *damage_count += 1;
        self.shared.metrics.note_scrub_damage();
        let error = with_causes(error);
        tracing::error!(%error, "what is on disk cannot be read");
    }
}
