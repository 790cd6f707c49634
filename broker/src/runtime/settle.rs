//! The settle thread's work: frames into segments, segments and journal files made ready ahead.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use towpath_storage::vfs::SyncPace;
use towpath_storage::{
    CommittedFrame, Environment, JournalFiles, Lsn, PreparedFile, SegmentBatch, SegmentFiles,
    SegmentRef, SegmentWish, Settler, StorageError, TopicId, with_causes,
};

use super::command_queue::{CommandQueue, Event};
use super::queue::WorkQueue;
use super::sequencer::Shared;
use super::space::has_room;

/// Segments that are made ready together at most: so long does the first one wait for the last.
const BATCH_COUNT_MAX: usize = 64;

/// Rounds that are settled together at most.
const ROUND_COUNT_MAX: usize = 256;

/// So long the frames of small rounds wait for those of more: woken for each of them, the thread took a
/// fifth of the broker's processor time where one record is in flight, from those who acknowledge it.
pub(super) const SETTLE_LINGER: Duration = Duration::from_millis(10);
/// With so much memory unsettled nothing waits.
pub(super) const SETTLE_BYTES: u64 = 1024 * 1024;

/// A piece of the settle thread's work.
#[derive(Debug)]
pub enum SettleWork {
    /// Frames of a durable round.
    Frames {
        /// The frames.
        frames: Vec<CommittedFrame>,
        /// The round's last entry.
        lsn: Lsn,
        /// Memory that the frames are charged with until they are settled.
        bytes: u64,
    },
    /// Make a segment ready.
    Segment(SegmentWish),
    /// Make a journal file ready, with room for a round of so many bytes.
    JournalFile {
        /// Length of the round; 0 for an ordinary one.
        round_bytes: u64,
        /// Last entry that is durable.
        durable: Lsn,
    },
    /// A journal file that was prepared and is not wanted.
    GiveBack(PreparedFile),
    /// Journal files before this number are not needed any more.
    FreeJournal {
        /// Number of the continuation.
        before: u64,
    },
    /// A topic's files are about to be removed.
    ForgetTopic(TopicId),
    /// Files of trimmed segments are about to be removed.
    ForgetSegments(Vec<SegmentRef>),
}

/// How far settling has come; shared with the sequencer and the maintenance thread.
#[derive(Debug, Default)]
pub struct SettleProgress {
    settled: AtomicU64,
    unsettled_bytes: AtomicU64,
    /// Whether the sequencer takes no batches until frames are settled.
    is_awaited: AtomicBool,
    /// Whether the journal will soon have no room for batches.
    is_hurried: AtomicBool,
    moving: Mutex<()>,
    moved: Condvar,
}

impl SettleProgress {
    /// Progress of a broker that starts behind `lsn`.
    pub fn new(lsn: Lsn) -> Self {
        Self {
            settled: AtomicU64::new(lsn.get()),
            ..Self::default()
        }
    }

    /// Every frame of entries up to this one is in its segment.
    pub fn settled(&self) -> Lsn {
        // ORDERING: pairs with the release below: the writes of the frames come before.
        Lsn::new(self.settled.load(Ordering::Acquire))
    }

    /// Memory that unsettled frames hold.
    pub fn unsettled_bytes(&self) -> u64 {
        self.unsettled_bytes.load(Ordering::Relaxed)
    }

    /// Whether more than `bytes_max` are unsettled; if so, the sequencer is told when that changes.
    pub(super) fn is_behind(&self, bytes_max: u64) -> bool {
        if self.unsettled_bytes() < bytes_max {
            return false;
        }
        // ORDERING: the flag is set before the second look, and settling looks at the flag after it
        // has lowered the number: one of the two sees the other.
        self.is_awaited.store(true, Ordering::SeqCst);
        self.unsettled_bytes.load(Ordering::SeqCst) >= bytes_max
    }

    /// Waits until everything up to `lsn` is settled, at most `timeout`. Returns whether it is.
    pub(super) fn wait_settled(&self, lsn: Lsn, timeout: Duration) -> bool {
        let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .moved
            .wait_timeout_while(moving, timeout, |()| self.settled() < lsn);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.settled() >= lsn
    }

    pub(super) fn add_unsettled(&self, bytes: u64) {
        self.unsettled_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes whether the journal will soon have no room for batches, unless a checkpoint frees some of it.
    pub(super) fn hurry(&self, is_hurried: bool) {
        self.is_hurried.store(is_hurried, Ordering::Relaxed);
    }

    /// How much of the disk a checkpoint takes, beside the journal.
    pub fn checkpoint_pace(&self) -> SyncPace {
        match self.is_hurried.load(Ordering::Relaxed) {
            true => SyncPace::Fast,
            false => SyncPace::Gentle,
        }
    }

    /// Returns whether the sequencer waits for this.
    fn settle(&self, lsn: Lsn, bytes: u64) -> bool {
        // ORDERING: the checkpoint syncs the segments after it has seen this.
        self.settled.fetch_max(lsn.get(), Ordering::Release);
        self.unsettled_bytes.fetch_sub(bytes, Ordering::SeqCst);
        drop(self.moving.lock().unwrap_or_else(PoisonError::into_inner));
        self.moved.notify_all();
        self.is_awaited.swap(false, Ordering::SeqCst)
    }
}

/// The settle thread's half of the storage.
#[derive(Debug)]
pub struct SettleWorker {
    environment: Environment,
    settler: Settler,
    files: Arc<SegmentFiles>,
    journal_files: JournalFiles,
    progress: Arc<SettleProgress>,
    commands: Arc<CommandQueue>,
    /// Where its work waits.
    work: Arc<WorkQueue<SettleWork>>,
    /// Whether it was said that there is no room, until there is.
    is_full: bool,
}

impl SettleWorker {
    /// Takes over its parts of the storage.
    pub fn new(
        shared: &Shared,
        settler: Settler,
        files: Arc<SegmentFiles>,
        journal_files: JournalFiles,
    ) -> Self {
        Self {
            environment: shared.environment.clone(),
            settler,
            files,
            journal_files,
            progress: Arc::clone(&shared.progress),
            commands: Arc::clone(&shared.commands),
            work: Arc::clone(&shared.settle),
            is_full: false,
        }
    }

    /// Does one piece of work and tells the sequencer.
    ///
    /// # Errors
    /// [`StorageError`] if the broker cannot go on: the journal still holds what was not settled.
    pub fn step(&mut self, work: SettleWork) -> Result<(), StorageError> {
        match work {
            SettleWork::Frames { frames, lsn, bytes } => self.settle(frames, lsn, bytes)?,
            SettleWork::Segment(wish) => self.make_ready(wish)?,
            SettleWork::JournalFile {
                round_bytes,
                durable,
            } => self.prepare(round_bytes, durable)?,
            SettleWork::GiveBack(file) => self.journal_files.give_back(file),
            SettleWork::FreeJournal { before } => self.free_journal(before),
            SettleWork::ForgetTopic(topic) => self.settler.forget_topic(topic),
            SettleWork::ForgetSegments(segments) => self.settler.forget_segments(&segments),
        }
        Ok(())
    }

    /// Settles the frames of a round, and those of the rounds behind it that wait: what lies together in
    /// a segment is written together.
    fn settle(
        &mut self,
        mut frames: Vec<CommittedFrame>,
        mut last: Lsn,
        mut pinned_bytes: u64,
    ) -> Result<(), StorageError> {
        let is_frames = |work: &SettleWork| matches!(work, SettleWork::Frames { .. });
        for more in self.work.take_next(ROUND_COUNT_MAX, is_frames) {
            if let SettleWork::Frames {
                frames: more,
                lsn,
                bytes,
            } = more
            {
                frames.extend(more);
                last = lsn;
                pinned_bytes += bytes;
            }
        }
        self.settler.settle(&frames)?;
        // Room in memory comes back with the frames, not with the report.
        drop(frames);
        if self.progress.settle(last, pinned_bytes) {
            self.commands.push_event(Event::Settled);
        }
        Ok(())
    }

    /// A file that cannot be removed takes up room and is in nobody's way.
    fn free_journal(&mut self, before: u64) {
        if let Err(error) = self.journal_files.free_before(before) {
            let error = with_causes(&error);
            tracing::warn!(%error, "surplus journal file not removed, will be tried again");
        }
    }

    /// Makes a segment ready, and with it those that are wished for next: they share their syncs.
    fn make_ready(&mut self, wish: SegmentWish) -> Result<(), StorageError> {
        let count_max = self.files.batch_count_max().min(BATCH_COUNT_MAX);
        let is_segment = |work: &SettleWork| matches!(work, SettleWork::Segment(_));
        let more = self.work.take_urgent(count_max - 1, is_segment);
        let more = more.into_iter().filter_map(|work| match work {
            SettleWork::Segment(wish) => Some(wish),
            _ => None,
        });
        let files = Arc::clone(&self.files);
        let mut batch = SegmentBatch::new(&files);
        let mut events = Vec::new();
        for wish in std::iter::once(wish).chain(more) {
            events.push(self.make_files(&wish, &mut batch)?);
        }
        batch.sync()?;
        for event in events {
            self.commands.push_event(event);
        }
        Ok(())
    }

    /// Adds a segment to a batch. Returns what is to be told of it once the batch is synced.
    fn make_files(
        &mut self,
        wish: &SegmentWish,
        batch: &mut SegmentBatch<'_>,
    ) -> Result<Event, StorageError> {
        let segment = wish.segment;
        let step_bytes = wish.allocated_end.saturating_sub(wish.next_position);
        match self.within_reserve(step_bytes, |_| batch.add(wish)) {
            Ok(Some(allocated_end)) => Ok(Event::SegmentReady {
                segment,
                allocated_end,
            }),
            Ok(None) => Ok(Event::SegmentFull { segment }),
            Err(error @ StorageError::Corrupt(_)) => {
                let error = with_causes(&error);
                tracing::error!(%segment, %error, "segment is damaged, its partition goes on in a new one");
                Ok(Event::SegmentDamaged { segment })
            }
            Err(error) => Err(error),
        }
    }

    fn prepare(&mut self, round_bytes: u64, durable: Lsn) -> Result<(), StorageError> {
        let file_bytes = self.journal_files.allocation_bytes(round_bytes);
        let prepared = self.within_reserve(file_bytes, |it| {
            it.journal_files.prepare(round_bytes, durable)
        })?;
        let event = prepared.map_or(Event::JournalFull, Event::JournalFileReady);
        self.commands.push_event(event);
        Ok(())
    }

    /// Makes something that takes so many bytes of the disk; none if there is no room for it. What is
    /// kept back stays untouched: a full disk on which no checkpoint can be written could never be
    /// freed by deleting.
    fn within_reserve<T>(
        &mut self,
        bytes: u64,
        make: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        // A disk that does not tell its space is asked for it by taking it.
        let space = self.environment.vfs.space().ok();
        if bytes > 0 && space.is_some_and(|space| !has_room(space, bytes)) {
            self.warn_full(None);
            return Ok(None);
        }
        match make(self) {
            Ok(made) => {
                self.is_full = false;
                Ok(Some(made))
            }
            Err(error) if error.is_full() => {
                self.warn_full(Some(&error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Says that there is no room, once until there is: it is tried many times a second.
    fn warn_full(&mut self, error: Option<&StorageError>) {
        if !std::mem::replace(&mut self.is_full, true) {
            let error = error.map(|error| tracing::field::display(with_causes(error)));
            tracing::warn!(error, "no room for more segments or journal");
        }
    }
}
