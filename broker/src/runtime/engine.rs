//! An open broker without threads: the parts that the threads drive, wired to each other.
//!
//! [`super::threads`] runs them for real; a simulation runs the same steps one at a time.

use std::sync::Arc;

use towpath_storage::{
    BrokerId, Environment, LogReader, Lsn, OpenError, PartitionRef, RecoveryReport, SegmentFiles,
    Storage, StorageError, StorageOptions, remove_unnamed_generations, with_causes,
};

use super::command_queue::{CommandQueue, Taken};
use super::index_view::IndexView;
use super::inspect::InspectWorker;
use super::maintenance::{CheckpointJob, Dropped, MaintenanceShared, MaintenanceWorker};
use super::metrics::EngineMetrics;
use super::published::{PublishedState, TopicTable};
use super::queue::WorkQueue;
use super::scrub::ScrubOptions;
use super::sequencer::{Sequencer, SequencerLimits, Shared};
use super::settle::{SETTLE_LINGER, SettleProgress, SettleWorker};
use crate::core::{BrokerTime, CoreLimits, State, index_filter_key_bytes};

/// Numbers that the engine keeps to.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Files and journal.
    pub storage: StorageOptions,
    /// Decisions.
    pub core: CoreLimits,
    /// Rounds.
    pub sequencer: SequencerLimits,
    /// Reading everything now and then.
    pub scrub: ScrubOptions,
}

/// Who this broker is.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Of the data folder.
    pub broker_id: BrokerId,
    /// Of this life of its data.
    pub incarnation: u64,
}

/// An open broker without threads.
#[derive(Debug)]
pub struct Engine {
    /// Orders and syncs.
    pub sequencer: Sequencer,
    /// Settles and allocates.
    pub settle_worker: SettleWorker,
    /// Checkpoints and removes.
    pub maintenance_worker: MaintenanceWorker,
    /// Looks into records for subscriptions.
    pub inspect_worker: InspectWorker,
    /// What they share.
    pub shared: Shared,
    /// Reads segments.
    pub reader: LogReader,
    /// Who it is.
    pub identity: Identity,
    /// What recovery found and did.
    pub report: RecoveryReport,
    /// Keeps others out of the folder.
    pub lock: Box<dyn towpath_storage::vfs::LockGuard>,
}

impl Engine {
    /// Opens a data folder and brings everything to where it was.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(environment: &Environment, options: &EngineOptions) -> Result<Self, OpenError> {
        let mut state = State::new(options.core.clone());
        let mut storage_options = options.storage.clone();
        storage_options.index.filter_key_bytes = index_filter_key_bytes;
        let storage = Storage::open(environment, &storage_options, &mut state)?;
        forget_replayed(&mut state);
        let clock = &environment.clock;
        let time = start_time(environment, storage.time_ms, storage.lsn);
        let published = PublishedState::new(TopicTable::default(), storage.lsn, time.now_ms());
        let shared = Shared {
            environment: environment.clone(),
            commands: Arc::new(CommandQueue::default()),
            published: Arc::new(published),
            settle: Arc::new(WorkQueue::new(SETTLE_LINGER)),
            progress: Arc::new(SettleProgress::new(storage.lsn)),
            maintenance: Arc::new(WorkQueue::default()),
            inspect: Arc::new(WorkQueue::default()),
            inspected: Arc::default(),
            index: Arc::new(IndexView::new(Arc::clone(&storage.index))),
            metrics: Arc::new(EngineMetrics::new(clock.wall_ms())),
        };
        let settle_worker = SettleWorker::new(
            &shared,
            storage.settler,
            Arc::clone(&storage.files),
            storage.journal_files,
        );
        let (files, reader) = (Arc::clone(&storage.files), storage.reader.clone());
        let maintenance_worker = MaintenanceWorker::new(
            environment.clone(),
            storage.checkpointer,
            storage.dirty,
            maintenance_shared(&shared, files, reader, storage.broker_id),
            options.scrub,
        );
        // Their removal from the state is in the checkpoint that recovery has written.
        maintenance_worker.remove_dropped(Dropped {
            topics: state.dropped().map(|(topic, _)| topic).collect(),
            segments: state.dropped_segments().collect(),
        })?;
        remove_unfinished(&state, &storage.files);
        let identity = Identity {
            broker_id: storage.broker_id,
            incarnation: storage.incarnation,
        };
        let sequencer = Sequencer::new(
            shared.clone(),
            options.sequencer.clone(),
            state,
            storage.journal,
            time,
            storage.incarnation,
        );
        let inspect_worker = InspectWorker::new(
            storage.reader.clone(),
            Arc::clone(&shared.published),
            Arc::clone(&shared.commands),
            Arc::clone(&shared.inspected),
            (Arc::clone(&shared.index), *storage.broker_id.as_bytes()),
        );
        Ok(Self {
            sequencer,
            settle_worker,
            maintenance_worker,
            inspect_worker,
            shared,
            reader: storage.reader,
            identity,
            report: storage.report,
            lock: storage.lock,
        })
    }

    /// Carries out one round of what has arrived. Returns whether there was anything.
    ///
    /// # Errors
    /// As [`Sequencer::round`].
    pub fn step_round(&mut self) -> Result<bool, StorageError> {
        let taken: Taken = self.shared.commands.try_take(self.sequencer.appetite());
        let has_work = !taken.is_empty() || self.sequencer.has_backlog();
        if has_work {
            self.sequencer.round(taken)?;
        }
        Ok(has_work)
    }

    /// Does one piece of the settle thread's work. Returns whether there was any.
    ///
    /// # Errors
    /// As [`SettleWorker::step`].
    pub fn step_settle(&mut self) -> Result<bool, StorageError> {
        let Some(work) = self.shared.settle.try_pop() else {
            return Ok(false);
        };
        self.settle_worker.step(work)?;
        Ok(true)
    }

    /// Does one piece of the maintenance thread's work, if it need not wait for settling. Returns
    /// whether there was any.
    ///
    /// # Errors
    /// As [`MaintenanceWorker::checkpoint`].
    pub fn step_maintenance(&mut self) -> Result<bool, StorageError> {
        let Some(job): Option<CheckpointJob> = self.shared.maintenance.try_pop() else {
            return Ok(self.maintenance_worker.merge() || self.maintenance_worker.compact()?);
        };
        if !self.maintenance_worker.is_settled(job.input.lsn) {
            self.shared.maintenance.push_urgent(job);
            return Ok(false);
        }
        self.maintenance_worker.checkpoint(job)?;
        Ok(true)
    }

    /// Does one piece of the inspect thread's work. Returns whether there was any.
    pub fn step_inspect(&mut self) -> bool {
        let job = self.shared.inspect.try_pop();
        let is_any = job.is_some();
        job.into_iter()
            .for_each(|job| self.inspect_worker.step(job));
        is_any
    }
}

fn maintenance_shared(
    shared: &Shared,
    files: Arc<SegmentFiles>,
    reader: LogReader,
    broker_id: BrokerId,
) -> MaintenanceShared {
    MaintenanceShared {
        files,
        progress: Arc::clone(&shared.progress),
        settle: Arc::clone(&shared.settle),
        commands: Arc::clone(&shared.commands),
        metrics: Arc::clone(&shared.metrics),
        published: Arc::clone(&shared.published),
        index: Arc::clone(&shared.index),
        reader,
        broker_id,
    }
}

/// Removes what compaction was writing when the broker ended. What cannot be removed now only takes room.
fn remove_unfinished(state: &State, files: &SegmentFiles) {
    for topic in state.topics().filter(|topic| topic.config().compact) {
        for (partition, _) in (0..).zip(topic.partitions()) {
            let topic = topic.id();
            let partition = PartitionRef { topic, partition };
            let is_named = |segment| state.names_segment(segment);
            if let Err(error) = remove_unnamed_generations(files, partition, is_named) {
                let error = with_causes(&error);
                tracing::warn!(%error, %partition, "unfinished compaction not removed");
            }
        }
    }
}

/// Lets go of the index rows that recovery has replayed: they are in the checkpoint that it has written.
fn forget_replayed(state: &mut State) {
    while state.index_checkpoint_count() > 0 {
        state.forget_index_rows();
    }
}

/// The broker's clock at a start: it goes on behind the last entry.
fn start_time(environment: &Environment, last_ms: i64, last_lsn: Lsn) -> BrokerTime {
    let clock = &environment.clock;
    let mut time = BrokerTime::new(last_ms, clock.wall_ms(), clock.boot());
    if last_lsn == Lsn::ZERO {
        // Nothing was ever written, and so no time either.
        time.trust_age();
    } else if time.trusts_age_from_ms() > time.now_ms() {
        tracing::error!(
            last_ms,
            now_ms = time.now_ms(),
            "the wall clock is more than a day past the last entry: \
            nothing is deleted for its age within the next hour"
        );
    }
    time
}
