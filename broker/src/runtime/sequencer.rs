//! The sequencer: one round after the other.
//!
//! A round takes what has arrived, decides and applies it in order, makes it durable with one sync, and
//! only then lets the world see it: first the partitions' ends, then the durable LSN, then the
//! answers. State moves when it is sequenced, so the next command is decided on it; since every
//! answer waits for the sync, sequenced state never has to be undone. A failed sync ends the process.

mod admission;
mod checkpoint;
mod compaction;
mod control;
mod data;
mod draft;
mod group;
mod producer;
mod schedule;
mod subscription;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use towpath_storage::{
    CommittedRound, Environment, Journal, Lsn, PartitionRef, Row, SegmentRef, StorageError,
    TailCache,
};

use super::command::{ControlCommand, DataCommand};
use super::command_queue::{Appetite, CommandQueue, Event, Taken};
use super::group_command::GroupSink;
use super::index_view::IndexView;
use super::inspect::InspectWork;
use super::inspected_frames::InspectedFrames;
use super::maintenance::CheckpointJob;
use super::metrics::EngineMetrics;
use super::published::{PublishedState, TopicTable, TopicView};
use super::queue::WorkQueue;
use super::settle::{SettleProgress, SettleWork};
use super::subscription_command::SubscriptionSink;
use crate::core::{BrokerTime, SessionId, State};
use checkpoint::CheckpointState;
use compaction::CompactionWishes;
use draft::Draft;

/// Sizes that the sequencer keeps to.
#[derive(Debug, Clone)]
pub struct SequencerLimits {
    /// Most bytes of batches in one round.
    pub round_bytes_max: usize,
    /// Memory of settled frames.
    pub tail_cache_bytes: usize,
    /// Memory of unsettled frames beyond which no batch is taken.
    pub unsettled_bytes_max: u64,
    /// A run of one partition from here on goes by reference.
    pub reference_bytes_min: usize,
    /// Journal files that may be in use before a checkpoint begins; twice as many stop produce.
    pub checkpoint_journal_files: u64,
    /// Bytes appended before a checkpoint begins.
    pub checkpoint_appended_bytes: u64,
    /// Changed rows before a checkpoint begins.
    pub checkpoint_row_count: usize,
    /// Memory of changed index rows before a checkpoint begins.
    pub checkpoint_index_bytes: usize,
}

impl Default for SequencerLimits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            round_bytes_max: 4 * MIB,
            tail_cache_bytes: 64 * MIB,
            unsettled_bytes_max: 64 * MIB as u64,
            reference_bytes_min: 512 * 1024,
            checkpoint_journal_files: 4,
            checkpoint_appended_bytes: 1024 * MIB as u64,
            checkpoint_row_count: 1_000_000,
            checkpoint_index_bytes: 32 * MIB,
        }
    }
}

/// Room in the journal that is kept for commands which make room.
const RESERVE_BYTES: u64 = 128 * 1024;
/// Room that the entry of one command takes at most which is no batch.
const CONTROL_ROOM_BYTES: u64 = 48 * 1024;

/// How long a journal file is not asked for again when there was no room for it.
const FULL_PAUSE_MS: i64 = 100;

/// What the sequencer shares with the other threads.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Time and files.
    pub environment: Environment,
    /// What it is asked to do.
    pub commands: Arc<CommandQueue>,
    /// What the world sees.
    pub published: Arc<PublishedState>,
    /// Work of the settle thread.
    pub settle: Arc<WorkQueue<SettleWork>>,
    /// How far settling has come.
    pub progress: Arc<SettleProgress>,
    /// Work of the maintenance thread.
    pub maintenance: Arc<WorkQueue<CheckpointJob>>,
    /// Work of the inspect thread: at most one job for each partition of a subscription.
    pub inspect: Arc<WorkQueue<InspectWork>>,
    /// What it has read from the disk.
    pub inspected: Arc<InspectedFrames>,
    /// Rows of indexes that are on disk.
    pub index: Arc<IndexView>,
    /// What they count.
    pub metrics: Arc<EngineMetrics>,
}

/// Orders every change of the broker. The only writer of the journal and of what is published.
#[derive(Debug)]
pub struct Sequencer {
    shared: Shared,
    limits: SequencerLimits,
    state: State,
    journal: Journal,
    time: BrokerTime,
    tail: TailCache,
    table: TopicTable,
    next_lsn: Lsn,
    /// Batches that wait for room in their partition, in order.
    lines: BTreeMap<PartitionRef, VecDeque<DataCommand>>,
    /// Batches that did not fit into the last round, to be taken before all others.
    backlog: VecDeque<DataCommand>,
    /// Commands that are no batches and did not fit into the last round.
    control_backlog: VecDeque<ControlCommand>,
    /// Partitions whose segment is being made ready.
    wished: BTreeSet<PartitionRef>,
    journal_wish: JournalWish,
    /// Connections of group members.
    sessions: BTreeMap<SessionId, Arc<dyn GroupSink>>,
    /// Connections of consumers of subscriptions.
    consumers: BTreeMap<SessionId, Arc<dyn SubscriptionSink>>,
    checkpoint: CheckpointState,
    compaction: CompactionWishes,
    /// Who may still carry what was on disk before each checkpoint whose index rows are in memory, the
    /// oldest first; not of the one that is under way.
    index_readers: VecDeque<Weak<()>>,
    /// Whether the last entry is evidence that all before it are durable.
    is_marked: bool,
    /// Broker time at which idle producers are looked for next, milliseconds since the Unix epoch.
    forget_at_ms: i64,
    /// Broker time at which retention is looked at next, milliseconds since the Unix epoch.
    expire_at_ms: i64,
    /// Broker time of the start, milliseconds since the Unix epoch.
    up_since_ms: i64,
}

/// What is known about the next journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JournalWish {
    /// Nothing was asked for, or it has come.
    None,
    /// It was asked for.
    Asked,
    /// There was no room on the disk.
    Full {
        /// Broker time at which it is asked for again, milliseconds since the Unix epoch.
        ask_again_at_ms: i64,
    },
}

impl Sequencer {
    /// Starts behind what recovery found.
    pub fn new(
        shared: Shared,
        limits: SequencerLimits,
        mut state: State,
        journal: Journal,
        time: BrokerTime,
        incarnation: u64,
    ) -> Self {
        state.await_members(time.now_ms());
        state.begin_incarnation(incarnation);
        let next_lsn = journal.durable().next();
        let mut table = TopicTable::default();
        state
            .topics()
            .for_each(|topic| table.insert(Arc::new(TopicView::new(topic))));
        shared.published.set_topics(table.clone());
        let first_file = journal.position().file;
        Self {
            tail: TailCache::new(limits.tail_cache_bytes),
            forget_at_ms: time.now_ms(),
            expire_at_ms: time.now_ms(),
            up_since_ms: time.now_ms(),
            shared,
            limits,
            state,
            journal,
            time,
            table,
            next_lsn,
            lines: BTreeMap::new(),
            backlog: VecDeque::new(),
            control_backlog: VecDeque::new(),
            wished: BTreeSet::new(),
            journal_wish: JournalWish::None,
            sessions: BTreeMap::new(),
            consumers: BTreeMap::new(),
            checkpoint: CheckpointState::new(first_file),
            compaction: CompactionWishes::default(),
            index_readers: VecDeque::new(),
            is_marked: true,
        }
    }

    /// The state as of the last round, for tests and for messages at the start.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether batches wait for room in their partition.
    pub fn is_waiting(&self) -> bool {
        !self.lines.is_empty() || !self.backlog.is_empty() || !self.control_backlog.is_empty()
    }

    /// Does what is due after a silence: writes a mark, forgets idle producers, starts a checkpoint.
    ///
    /// # Errors
    /// As [`Sequencer::round`].
    pub fn idle(&mut self) -> Result<(), StorageError> {
        self.mark()?;
        self.round(Taken::default())
    }

    /// What the next round can take.
    pub fn appetite(&self) -> Appetite {
        let takes_control = self.control_backlog.is_empty() && self.fits_control(&Draft::default());
        let is_behind = self
            .shared
            .progress
            .is_behind(self.limits.unsettled_bytes_max)
            || self.journal_files_in_use() >= 2 * self.limits.checkpoint_journal_files;
        let data_bytes_max = if is_behind || self.is_stuck() {
            0
        } else {
            let waiting = self.backlog.iter().map(DataCommand::cost_bytes);
            self.limits.round_bytes_max.saturating_sub(waiting.sum())
        };
        Appetite {
            takes_control,
            data_bytes_max,
        }
    }

    /// Whether commands wait that the next round can take, even if nothing arrives.
    pub fn has_backlog(&self) -> bool {
        let takes_data = !self.backlog.is_empty() && !self.is_stuck();
        // A round asks for a journal file if none was asked for.
        let takes_control =
            self.journal_wish == JournalWish::None || self.fits_control(&Draft::default());
        takes_data || (!self.control_backlog.is_empty() && takes_control)
    }

    /// Whether the entry of any command that is no batch fits into the round.
    fn fits_control(&self, draft: &Draft) -> bool {
        self.fits(draft, CONTROL_ROOM_BYTES)
    }

    /// Whether the oldest batch waits for a journal file.
    fn is_stuck(&self) -> bool {
        let waits = |first| !self.fits_data(&Draft::default(), first);
        self.journal_wish == JournalWish::Asked && self.backlog.front().is_some_and(waits)
    }

    fn journal_files_in_use(&self) -> u64 {
        self.journal.position().file - self.checkpoint.first_file()
    }

    /// Carries out one round.
    ///
    /// # Errors
    /// [`StorageError`] if the round could not be made durable. Its commands were answered as
    /// indeterminate; the process must end.
    pub fn round(&mut self, taken: Taken) -> Result<(), StorageError> {
        let clock = &self.shared.environment.clock;
        if let Some(jump) = self.time.advance(clock.wall_ms(), clock.boot()) {
            tracing::warn!(
                difference_ms = jump.difference_ms,
                "wall clock is far from broker time"
            );
        }
        let mut draft = Draft::default();
        // What waited in lines is older than what did not fit into the last round.
        let mut data = VecDeque::new();
        for event in taken.events {
            self.take_event(event, &mut draft, &mut data);
        }
        self.control_backlog.extend(taken.control);
        while self.fits_control(&draft)
            && let Some(command) = self.control_backlog.pop_front()
        {
            self.take_control(command, &mut draft, &mut data);
        }
        data.append(&mut self.backlog);
        data.extend(taken.data);
        self.take_data(data, &mut draft);
        self.upkeep(&mut draft);
        self.finish(draft)
    }

    /// Writes the mark after a silence or before a stop.
    ///
    /// # Errors
    /// As [`Sequencer::round`].
    pub fn mark(&mut self) -> Result<(), StorageError> {
        let mut draft = Draft::default();
        if !self.is_marked && self.fits(&draft, 0) {
            draft.round.push_mark(self.next_lsn, self.time.now_ms());
            self.next_lsn = self.next_lsn.next();
            self.finish(draft)?;
            self.is_marked = true;
        }
        Ok(())
    }

    /// Answers everything that waits as not begun: the broker stops.
    pub fn refuse_waiting(&mut self) {
        let lines = std::mem::take(&mut self.lines).into_values().flatten();
        for command in lines.chain(std::mem::take(&mut self.backlog)) {
            command.fail(false);
        }
        for command in std::mem::take(&mut self.control_backlog) {
            command.fail(false);
        }
    }

    /// Makes the round durable and shows it to the world.
    fn finish(&mut self, draft: Draft) -> Result<(), StorageError> {
        let Draft {
            round,
            answers,
            table_changes,
            settle_work,
            notices,
            subscription_notices,
            inspections,
            ..
        } = draft;
        if !round.is_empty() {
            let begun = self.shared.environment.clock.boot();
            let committed = match self.journal.commit(round) {
                Ok(committed) => committed,
                Err(error) => {
                    answers.into_iter().for_each(|answer| answer.fail());
                    return Err(error);
                }
            };
            self.note_synced(&committed, begun);
            self.is_marked = false;
            self.publish(committed, table_changes);
        }
        for work in settle_work {
            self.shared.settle.push_urgent(work);
        }
        let now = self.shared.environment.clock.boot();
        // DURABILITY: an answer leaves only now, when the entry on which it rests is on disk.
        // A consumer hears what else a settlement has taken from it before it hears that it is settled.
        self.tell_consumers(subscription_notices);
        answers.into_iter().for_each(|answer| answer.send(now));
        self.tell_members(notices);
        for work in inspections {
            self.shared.inspect.push(work);
        }
        self.tail.evict(self.shared.progress.settled());
        self.forget_index_rows();
        self.start_checkpoint();
        let files = self.journal_files_in_use();
        let progress = &self.shared.progress;
        progress.hurry(2 * files >= 3 * self.limits.checkpoint_journal_files);
        // The one that is written to, and those before it.
        let files = files + 1;
        let metrics = &self.shared.metrics;
        metrics.journal_files.store(files, Ordering::Relaxed);
        Ok(())
    }

    /// Lets go of index rows that are on disk for everybody.
    fn forget_index_rows(&mut self) {
        while self
            .index_readers
            .front()
            .is_some_and(|it| it.strong_count() == 0)
        {
            self.index_readers.pop_front();
            self.state.forget_index_rows();
        }
    }

    fn note_synced(&self, committed: &CommittedRound, begun: Duration) {
        let Shared {
            environment,
            metrics,
            ..
        } = &self.shared;
        let took = environment.clock.boot().saturating_sub(begun);
        metrics.note_synced(committed, took);
    }

    /// Applies rows that were decided, as part of the present round.
    fn apply_rows(&mut self, rows: &[Row]) {
        use towpath_storage::StateMachine;
        rows.iter()
            .for_each(|row| self.state.apply_row(row.clone()));
    }

    /// The LSN of the last entry.
    fn last_lsn(&self) -> Lsn {
        Lsn::new(self.next_lsn.get().saturating_sub(1))
    }

    /// Takes the next LSN for an entry of the present round.
    fn take_lsn(&mut self) -> Lsn {
        let lsn = self.next_lsn;
        self.next_lsn = lsn.next();
        lsn
    }

    fn is_active(&self, segment: SegmentRef) -> bool {
        let partition = self.state.partition(segment.partition);
        let active = partition.and_then(|partition| partition.active());
        active.is_some_and(|active| active.base == segment.base)
    }

    fn take_event(&mut self, event: Event, draft: &mut Draft, data: &mut VecDeque<DataCommand>) {
        match event {
            Event::SegmentReady {
                segment,
                allocated_end,
            } => {
                self.wished.remove(&segment.partition);
                self.state
                    .segment_ready(segment.partition, segment.base, allocated_end);
                data.extend(self.lines.remove(&segment.partition).unwrap_or_default());
            }
            // A trim may have dropped it since: what waited is decided again.
            Event::SegmentFull { segment } | Event::SegmentDamaged { segment }
                if !self.is_active(segment) =>
            {
                self.wished.remove(&segment.partition);
                data.extend(self.lines.remove(&segment.partition).unwrap_or_default());
            }
            Event::SegmentFull { segment } => {
                self.wished.remove(&segment.partition);
                let line = self.lines.remove(&segment.partition).unwrap_or_default();
                line.into_iter()
                    .for_each(|command| self.refuse_full(command, draft));
            }
            Event::SegmentDamaged { segment } => {
                self.wished.remove(&segment.partition);
                self.roll(segment.partition, draft);
            }
            Event::JournalFileReady(file) => {
                self.journal_wish = JournalWish::None;
                draft
                    .settle_work
                    .extend(self.journal.provide(file).map(SettleWork::GiveBack));
            }
            Event::JournalFull => {
                let ask_again_at_ms = self.time.now_ms() + FULL_PAUSE_MS;
                self.journal_wish = JournalWish::Full { ask_again_at_ms };
            }
            Event::CheckpointDone => {
                self.checkpoint.complete();
                if self.state.index_checkpoint_count() > self.index_readers.len() {
                    self.index_readers.push_back(self.shared.index.renew());
                }
            }
            Event::FilesLeft => self.checkpoint.add_left(self.time.now_ms()),
            Event::RunsMerged => self.checkpoint.add_dropped(self.time.now_ms()),
            Event::CheckpointFailed(rows) => {
                self.state.give_back(&rows);
                self.checkpoint.fail(self.time.now_ms());
                self.compaction.give_back();
            }
            Event::SpaceLow(is_low) => self.state.set_space_low(is_low),
            Event::Settled => {}
        }
    }
}
