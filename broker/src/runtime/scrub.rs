//! The maintenance thread's part in finding damage before somebody needs what is damaged: everything that
//! lies in segments and runs is read from time to time, a little at a time.
//!
//! Damage is told in the log with its place, and counted. Nothing is changed: what does not match its
//! checksum is never handed out, is told as lost to whoever reads it, and is never rewritten.
//! How far it has come is kept, so that a broker which is often started again reads everything all the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use towpath_storage::{
    BrokerId, Environment, LogReader, Offset, PartitionLog, PartitionRef, ReadCursor, ReadLimit,
    RunCheck, ScrubPlace, ScrubProgress, StorageError, TailRead, load_scrub_progress,
    store_scrub_progress, with_causes,
};

use super::index_view::IndexView;
use super::metrics::EngineMetrics;
use super::published::{PublishedState, TopicView};

/// Payloads that are read at once.
const STEP_BYTES: usize = 256 * 1024;
/// Rows of runs that are read at once.
const STEP_ROWS: usize = 1_000;
/// How often it is written down how far a pass has come: what a life without a clean stop reads in vain.
const KEEP_INTERVAL: Duration = Duration::from_secs(60);

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
    pub(super) environment: Environment,
    pub(super) broker_id: BrokerId,
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
    /// What an earlier life has left to be read.
    left: Option<ScrubProgress>,
    /// When everything had been read once, by the wall clock; 0 if it was not yet.
    whole_ms: i64,
    /// When the next piece is read, by the boot clock.
    next_at: Duration,
    /// When it is written down next how far the pass has come, by the boot clock.
    keep_at: Duration,
}

/// One time through everything.
#[derive(Debug)]
struct Pass {
    /// When it began, by the wall clock: an earlier life may have begun it.
    begun_ms: i64,
    /// When the next one begins if this one is over by then, by the boot clock.
    next_pass_at: Duration,
    /// What is still to be read, of topics with the numbers of their partitions.
    partitions: VecDeque<(Arc<TopicView>, u32)>,
    /// Where the first of them is read from, if not from its log start.
    begin_at: Option<Offset>,
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

impl Pass {
    /// The place of what is read next; none if there is no more.
    fn next(&self) -> Option<ScrubPlace> {
        if let Some(current) = &self.current {
            return Some(ScrubPlace::Record(current.log.partition(), current.offset));
        }
        let partition = self.partitions.front().map(|(topic, number)| {
            let begin_at = self.begin_at.unwrap_or_default();
            ScrubPlace::Record(partition_of(topic, *number), begin_at)
        });
        let run = || self.runs.front().map(|run| ScrubPlace::Run(run.number()));
        partition.or_else(run)
    }

    /// Leaves out what was read before a place.
    fn skip_to(&mut self, next: ScrubPlace) {
        match next {
            ScrubPlace::Record(at, offset) => {
                let place = |(topic, number): &(Arc<TopicView>, u32)| partition_of(topic, *number);
                self.partitions.retain(|it| place(it) >= at);
                let is_there = self.partitions.front().is_some_and(|it| place(it) == at);
                self.begin_at = is_there.then_some(offset);
            }
            ScrubPlace::Run(first) => {
                self.partitions.clear();
                self.runs.retain(|run| run.number() >= first);
            }
            ScrubPlace::End => {
                self.partitions.clear();
                self.runs.clear();
            }
        }
    }
}

fn partition_of(topic: &TopicView, number: u32) -> PartitionRef {
    PartitionRef {
        topic: topic.id(),
        partition: number,
    }
}

impl Scrubber {
    /// Goes on where the last life was, or waits until the next pass is due.
    pub(super) fn new(options: ScrubOptions, shared: ScrubberShared) -> Self {
        let now = shared.environment.clock.boot();
        let mut scrubber = Self {
            options,
            shared,
            pass: None,
            left: None,
            whole_ms: 0,
            next_at: now,
            keep_at: now,
        };
        if options.bytes_per_second > 0 {
            scrubber.load();
        }
        scrubber
    }

    fn load(&mut self) {
        let ScrubberShared {
            environment,
            broker_id,
            metrics,
            ..
        } = &self.shared;
        match load_scrub_progress(environment, *broker_id) {
            Ok(None) => {}
            Ok(Some(left)) => {
                self.whole_ms = left.whole_ms;
                metrics.note_scrub(left.whole_ms);
                match left.next {
                    ScrubPlace::End => self.next_at = self.next_pass_at(left.begun_ms),
                    ScrubPlace::Record(..) | ScrubPlace::Run(_) => self.left = Some(left),
                }
            }
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(%error, "all that is stored is read anew to find damage");
            }
        }
    }

    /// When the pass begins that follows one, by the boot clock. A wall clock that was put back costs a period
    /// at most.
    fn next_pass_at(&self, begun_ms: i64) -> Duration {
        let clock = &self.shared.environment.clock;
        let age_ms = clock.wall_ms().saturating_sub(begun_ms);
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        clock.boot() + self.options.period.saturating_sub(age)
    }

    /// For how long there is nothing to do; none if there never is.
    pub(super) fn pause(&self) -> Option<Duration> {
        let is_on = self.options.bytes_per_second > 0;
        let now = self.shared.environment.clock.boot();
        is_on.then(|| self.next_at.saturating_sub(now))
    }

    /// Reads a piece, if it is time for one. Returns whether it was.
    pub(super) fn step(&mut self) -> bool {
        if self.pause() != Some(Duration::ZERO) {
            return false;
        }
        let now = self.shared.environment.clock.boot();
        let mut pass = self.pass.take().unwrap_or_else(|| self.begin());
        match self.read(&mut pass) {
            Some(bytes) => {
                pass.bytes += bytes;
                self.shared.metrics.note_scrubbed(bytes);
                let nanos = u128::from(bytes) * 1_000_000_000;
                let nanos = nanos / u128::from(self.options.bytes_per_second);
                let pause = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                self.next_at = now + pause;
                self.pass = Some(pass);
                if now >= self.keep_at {
                    self.keep();
                }
            }
            None => {
                self.next_at = pass.next_pass_at.max(now);
                self.whole_ms = self.shared.environment.clock.wall_ms();
                self.shared.metrics.note_scrub(self.whole_ms);
                self.store(pass.begun_ms, ScrubPlace::End);
                let Pass {
                    bytes,
                    damage_count,
                    ..
                } = pass;
                tracing::info!(bytes, damage_count, "everything was read once");
            }
        }
        true
    }

    /// Writes down how far the pass has come that is under way.
    pub(super) fn keep(&mut self) {
        if let Some(pass) = &self.pass
            && let Some(next) = pass.next()
        {
            self.store(pass.begun_ms, next);
        }
    }

    fn store(&mut self, begun_ms: i64, next: ScrubPlace) {
        let ScrubberShared {
            environment,
            broker_id,
            ..
        } = &self.shared;
        self.keep_at = environment.clock.boot() + KEEP_INTERVAL;
        let progress = ScrubProgress {
            begun_ms,
            whole_ms: self.whole_ms,
            next,
        };
        if let Err(error) = store_scrub_progress(environment, *broker_id, progress) {
            let error = with_causes(&error);
            tracing::warn!(%error, "how far everything was read is not kept");
        }
    }

    /// Begins a pass, or goes on with that of an earlier life.
    fn begin(&mut self) -> Pass {
        let left = self.left.take();
        let begun_ms = match left {
            Some(left) => left.begun_ms,
            None => self.shared.environment.clock.wall_ms(),
        };
        let topics = self.shared.published.topics();
        let partitions = topics.topics().flat_map(|topic| {
            let numbers = (0..).zip(topic.partitions()).map(|(number, _)| number);
            numbers.map(|number| (Arc::clone(topic), number))
        });
        let mut partitions: Vec<_> = partitions.collect();
        partitions.sort_by_key(|(topic, number)| (topic.id(), *number));
        let mut runs = self.shared.index.snapshot().runs.checks();
        runs.sort_by_key(RunCheck::number);
        let mut pass = Pass {
            begun_ms,
            next_pass_at: self.next_pass_at(begun_ms),
            partitions: partitions.into(),
            begin_at: None,
            current: None,
            runs: runs.into(),
            damage_count: 0,
            bytes: 0,
        };
        if let Some(left) = left {
            pass.skip_to(left.next);
        }
        pass
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
                let begin_at = pass.begin_at.take().unwrap_or_default();
                pass.current = log.map(|log| Current {
                    topic,
                    offset: begin_at.max(log.log_start()),
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
