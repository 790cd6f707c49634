//! The settle thread's work: frames into segments, segments and journal files made ready ahead.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use towpath_storage::{
    CommittedFrame, JournalFiles, Lsn, PreparedFile, SegmentFiles, SegmentRef, SegmentWish,
    Settler, StorageError, TopicId, ensure_segment,
};

use super::command::{CommandQueue, Event};

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
    settler: Settler,
    files: Arc<SegmentFiles>,
    journal_files: JournalFiles,
    progress: Arc<SettleProgress>,
    commands: Arc<CommandQueue>,
}

impl SettleWorker {
    /// Takes over its parts of the storage.
    pub fn new(
        settler: Settler,
        files: Arc<SegmentFiles>,
        journal_files: JournalFiles,
        progress: Arc<SettleProgress>,
        commands: Arc<CommandQueue>,
    ) -> Self {
        Self {
            settler,
            files,
            journal_files,
            progress,
            commands,
        }
    }

    /// Does one piece of work and tells the sequencer.
    ///
    /// # Errors
    /// [`StorageError`] if the broker cannot go on: the journal still holds what was not settled.
    pub fn step(&mut self, work: SettleWork) -> Result<(), StorageError> {
        match work {
            SettleWork::Frames { frames, lsn, bytes } => {
                self.settler.settle(&frames)?;
                // Room in memory comes back with the frames, not with the report.
                drop(frames);
                if self.progress.settle(lsn, bytes) {
                    self.commands.push_event(Event::Settled);
                }
            }
            SettleWork::Segment(wish) => self.make_ready(&wish)?,
            SettleWork::JournalFile { round_bytes } => self.prepare(round_bytes)?,
            SettleWork::GiveBack(file) => self.journal_files.give_back(file),
            SettleWork::FreeJournal { before } => self.journal_files.free_before(before)?,
            SettleWork::ForgetTopic(topic) => self.settler.forget_topic(topic),
            SettleWork::ForgetSegments(segments) => self.settler.forget_segments(&segments),
        }
        Ok(())
    }

    fn make_ready(&self, wish: &SegmentWish) -> Result<(), StorageError> {
        let segment = wish.segment;
        let event = match ensure_segment(&self.files, wish) {
            Ok(allocated_end) => Event::SegmentReady {
                segment,
                allocated_end,
            },
            Err(error) if error.is_full() => {
                tracing::warn!(%segment, %error, "no room for a segment");
                Event::SegmentFull { segment }
            }
            Err(error @ StorageError::Corrupt(_)) => {
                tracing::error!(%segment, %error, "segment is damaged, its partition goes on in a new one");
                Event::SegmentDamaged { segment }
            }
            Err(error) => return Err(error),
        };
        self.commands.push_event(event);
        Ok(())
    }

    fn prepare(&mut self, round_bytes: u64) -> Result<(), StorageError> {
        let event = match self.journal_files.prepare(round_bytes) {
            Ok(file) => Event::JournalFileReady(file),
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "no room for a journal file");
                Event::JournalFull
            }
            Err(error) => return Err(error),
        };
        self.commands.push_event(event);
        Ok(())
    }
}
