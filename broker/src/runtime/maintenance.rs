//! The maintenance thread's work: checkpoints, removing what was dropped, watching the disk's space.

use std::sync::Arc;
use std::time::Duration;

use towpath_storage::{
    BrokerId, CheckpointInput, Checkpointer, DirtySegments, Environment, LogReader, Lsn, MergeJob,
    MergeStep, RowKey, SegmentFiles, SegmentRef, StorageError, TopicId, remove_segments,
    remove_topic, with_causes,
};

use super::command::{ControlCommand, FORGET_DROPPED_MAX};
use super::command_queue::{CommandQueue, Event};
use super::compaction::{Compactor, CompactorShared};
use super::index_view::IndexView;
use super::metrics::EngineMetrics;
use super::published::PublishedState;
use super::queue::WorkQueue;
use super::scrub::{ScrubOptions, Scrubber, ScrubberShared};
use super::settle::{SettleProgress, SettleWork};
use super::space::is_low;
use crate::core::{CompactionPlan, IndexedTopic, is_index_row_needed, is_schedule_row_needed};

/// A checkpoint to be written.
#[derive(Debug)]
pub struct CheckpointJob {
    /// What it holds.
    pub input: CheckpointInput,
    /// What was dropped at or below its LSN and whose files may go afterwards.
    pub dropped: Dropped,
    /// What may be compacted when it is done.
    pub compactions: Vec<CompactionPlan>,
}

/// What is no part of the state any more, and whose files may still be there.
#[derive(Debug, Default)]
pub struct Dropped {
    /// Deleted topics.
    pub topics: Vec<TopicId>,
    /// Trimmed segments.
    pub segments: Vec<SegmentRef>,
}

/// The maintenance thread's half of the storage.
#[derive(Debug)]
pub struct MaintenanceWorker {
    environment: Environment,
    checkpointer: Checkpointer,
    dirty: Arc<DirtySegments>,
    files: Arc<SegmentFiles>,
    progress: Arc<SettleProgress>,
    settle: Arc<WorkQueue<SettleWork>>,
    commands: Arc<CommandQueue>,
    metrics: Arc<EngineMetrics>,
    published: Arc<PublishedState>,
    index: Arc<IndexView>,
    /// Runs of index rows that are being merged.
    merge: Option<MergeJob>,
    /// The merge was due at the start. Each start may add a run, and lives without a checkpoint of their own
    /// merge none: so what becomes of this one waits for no other reason to be named.
    is_merge_of_start: bool,
    compactor: Compactor,
    scrubber: Scrubber,
    is_space_low: bool,
}

impl MaintenanceWorker {
    /// Takes over its parts of the storage.
    pub fn new(
        environment: Environment,
        mut checkpointer: Checkpointer,
        dirty: Arc<DirtySegments>,
        shared: MaintenanceShared,
        scrub: ScrubOptions,
    ) -> Self {
        let MaintenanceShared {
            files,
            progress,
            settle,
            commands,
            metrics,
            published,
            index,
            reader,
            broker_id,
        } = shared;
        let scrubber = Scrubber::new(
            scrub,
            ScrubberShared {
                environment: environment.clone(),
                broker_id,
                reader: reader.clone(),
                published: Arc::clone(&published),
                index: Arc::clone(&index),
                metrics: Arc::clone(&metrics),
            },
        );
        let is_space_low = false;
        let merge = checkpointer.merge_job();
        let compactor = Compactor::new(CompactorShared {
            reader,
            files: Arc::clone(&files),
            index: Arc::clone(&index),
            commands: Arc::clone(&commands),
            metrics: Arc::clone(&metrics),
            hash_key: *broker_id.as_bytes(),
        });
        Self {
            environment,
            checkpointer,
            dirty,
            files,
            progress,
            settle,
            commands,
            metrics,
            published,
            index,
            is_merge_of_start: merge.is_some(),
            merge,
            compactor,
            scrubber,
            is_space_low,
        }
    }

    /// Whether [`MaintenanceWorker::merge`] has something to do.
    pub fn is_merging(&self) -> bool {
        self.merge.is_some()
    }

    /// Does a little of what makes few runs of index rows of many; returns whether there was any of it.
    /// The next checkpoint takes what has become of it.
    pub fn merge(&mut self) -> bool {
        let Some(job) = self.merge.take() else {
            return false;
        };
        let (next_commit, now_ms) = (self.index.next_commit(), self.published.time_ms());
        let topics = self.published.topics();
        let mut keep = |key: &RowKey, value: &[u8]| {
            let is_needed =
                is_index_row_needed(key, value, next_commit, now_ms, |topic, partition| {
                    let view = topics.with_id(topic)?;
                    let indexed = IndexedTopic {
                        dedupe_window_ms: view.settings().config.dedupe_window_ms,
                    };
                    let log_start = view.partition(partition)?.log().log_start();
                    Some((indexed, log_start))
                });
            is_needed && is_schedule_row_needed(key, value, |topic| topics.with_id(topic).is_some())
        };
        match job.step(&mut keep) {
            Ok(MergeStep::Unfinished(job)) => self.merge = Some(job),
            Ok(MergeStep::Finished(merged)) => {
                self.checkpointer.take_merged(merged);
                if std::mem::take(&mut self.is_merge_of_start) {
                    self.commands.push_event(Event::RunsMerged);
                }
            }
            Err(error) => {
                let error = with_causes(&error);
                tracing::error!(%error, "runs of index rows not merged");
            }
        }
        true
    }

    /// Whether [`MaintenanceWorker::compact`] has something to do.
    pub fn is_compacting(&self) -> bool {
        self.compactor.is_busy()
    }

    /// Does a little of what compaction has to do; returns whether there was any of it.
    ///
    /// # Errors
    /// [`StorageError`] of a failed sync: nothing is known about a folder of segments, and the broker must end.
    pub fn compact(&mut self) -> Result<bool, StorageError> {
        self.compactor.step()
    }

    /// For how long [`MaintenanceWorker::scrub`] has nothing to do; none if it never has.
    pub fn scrub_pause(&self) -> Option<Duration> {
        self.scrubber.pause()
    }

    /// Reads a little of what is on disk, if it is time for it, and tells damage. Returns whether it was.
    pub fn scrub(&mut self) -> bool {
        self.scrubber.step()
    }

    /// Writes down how far [`MaintenanceWorker::scrub`] has come, for the next life to go on from there.
    pub fn keep_scrub(&mut self) {
        self.scrubber.keep();
    }

    /// Whether the segments hold everything that the job's checkpoint covers.
    pub fn is_settled(&self, lsn: Lsn) -> bool {
        self.progress.settled() >= lsn
    }

    /// Writes a checkpoint whose frames are settled, frees the journal behind it and removes what was
    /// dropped. A failure to write the checkpoint is reported to the sequencer, which tries again.
    ///
    /// # Errors
    /// [`StorageError`] if a segment could not be synced: its content is unknown, and the broker must
    /// end with the journal as it is. Also as [`MaintenanceWorker::remove_dropped`].
    pub fn checkpoint(&mut self, mut job: CheckpointJob) -> Result<(), StorageError> {
        let begun = self.environment.clock.boot();
        let pace = || self.progress.checkpoint_pace();
        let segment_count = self.dirty.sync_at_pace(&self.files, pace)?;
        let row_count = job.input.changed.len();
        if let Err(error) = self.checkpointer.write(&mut job.input) {
            let error = with_causes(&error);
            tracing::error!(%error, lsn = %job.input.lsn, "checkpoint failed and will be tried again");
            self.metrics.note_failed_checkpoint();
            self.commands
                .push_event(Event::CheckpointFailed(job.input.changed));
            return Ok(());
        }
        tracing::debug!(lsn = %job.input.lsn, row_count, segment_count, "checkpoint written");
        if self.merge.is_none() {
            self.merge = self.checkpointer.merge_job();
        }
        let clock = &self.environment.clock;
        let took = clock.boot().saturating_sub(begun);
        self.metrics.note_checkpoint(clock.wall_ms(), took);
        let before = job.input.continuation.file;
        self.settle.push(SettleWork::FreeJournal { before });
        self.compactor.forget_topics(&job.dropped.topics);
        self.remove_dropped(job.dropped)?;
        self.compactor.take_plans(job.compactions, job.input.lsn);
        self.commands.push_event(Event::CheckpointDone);
        Ok(())
    }

    /// Removes the files of what a checkpoint no longer holds. What cannot be removed now is reported to
    /// the sequencer, and tried again with a later checkpoint.
    ///
    /// # Errors
    /// [`StorageError`] if a folder could not be synced: its names may come back, and only another start
    /// can see to it that they do not.
    pub fn remove_dropped(&self, dropped: Dropped) -> Result<(), StorageError> {
        let Dropped { topics, segments } = dropped;
        let mut left_count = topics.len() + segments.len();
        for topics in topics.chunks(FORGET_DROPPED_MAX) {
            let removed = self.remove_topics(topics)?;
            left_count -= removed.len();
            self.forget(removed, Vec::new());
        }
        for segments in segments.chunks(FORGET_DROPPED_MAX) {
            let removed = self.remove_segments(segments)?;
            left_count -= removed.len();
            self.forget(Vec::new(), removed);
        }
        if left_count > 0 {
            self.commands.push_event(Event::FilesLeft);
        }
        Ok(())
    }

    /// Returns the topics whose files are gone.
    fn remove_topics(&self, topics: &[TopicId]) -> Result<Vec<TopicId>, StorageError> {
        let mut removed = Vec::new();
        for topic in topics {
            self.settle.push(SettleWork::ForgetTopic(*topic));
            match remove_topic(&self.files, *topic) {
                Ok(()) => removed.push(*topic),
                Err(error) if error.is_failed_sync() => return Err(error),
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::error!(%error, %topic, "files of a deleted topic not removed, will be tried again");
                }
            }
        }
        Ok(removed)
    }

    /// Returns the segments whose files are gone.
    fn remove_segments(&self, segments: &[SegmentRef]) -> Result<Vec<SegmentRef>, StorageError> {
        self.settle
            .push(SettleWork::ForgetSegments(segments.to_vec()));
        let mut removed = Vec::new();
        for of_partition in segments.chunk_by(|left, right| left.partition == right.partition) {
            match remove_segments(&self.files, of_partition) {
                Ok(()) => removed.extend_from_slice(of_partition),
                Err(error) if error.is_failed_sync() => return Err(error),
                Err(error) => {
                    let partition = of_partition.first().map(|segment| segment.partition);
                    let error = with_causes(&error);
                    tracing::error!(%error, ?partition, "files of trimmed segments not removed, will be tried again");
                }
            }
        }
        Ok(removed)
    }

    fn forget(&self, topics: Vec<TopicId>, segments: Vec<SegmentRef>) {
        if !topics.is_empty() || !segments.is_empty() {
            let command = ControlCommand::ForgetDropped { topics, segments };
            // A broker that stops forgets them at its next start.
            drop(self.commands.push_control(command));
        }
    }

    /// Looks at the disk and tells the sequencer when it becomes nearly full, or is no longer.
    pub fn watch_space(&mut self) {
        let Ok(space) = self.environment.vfs.space() else {
            return;
        };
        self.metrics.note_space(space);
        let is_low = is_low(space);
        if is_low != self.is_space_low {
            self.is_space_low = is_low;
            let available_bytes = space.available_bytes;
            if is_low {
                tracing::error!(available_bytes, "disk is nearly full, produce is refused");
            } else {
                tracing::info!(available_bytes, "disk has room again");
            }
            self.commands.push_event(Event::SpaceLow(is_low));
        }
    }
}

/// What the maintenance thread shares with others.
#[derive(Debug)]
pub struct MaintenanceShared {
    /// Open segment files.
    pub files: Arc<SegmentFiles>,
    /// How far settling has come.
    pub progress: Arc<SettleProgress>,
    /// Work of the settle thread.
    pub settle: Arc<WorkQueue<SettleWork>>,
    /// The sequencer's commands.
    pub commands: Arc<CommandQueue>,
    /// What is counted.
    pub metrics: Arc<EngineMetrics>,
    /// What the world sees.
    pub published: Arc<PublishedState>,
    /// Rows of indexes that are on disk.
    pub index: Arc<IndexView>,
    /// Reads segments.
    pub reader: LogReader,
    /// Identity of the folder, which keys are hashed with as well.
    pub broker_id: BrokerId,
}
