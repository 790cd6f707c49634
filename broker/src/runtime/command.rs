//! What the sequencer is asked to do, and how it answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use towpath_proto::names::TopicName;
use towpath_storage::{
    Lsn, Offset, OffsetRange, PartitionRef, PreparedFile, ProducerId, ProducerStamp, Row,
    SegmentRef, TopicId,
};

use super::group_command::GroupCommand;
use super::metrics::Tally;
use super::published::TopicView;
use crate::core::{
    AcceptedBatch, AppendRefusal, AppendRequest, CreateTopic, CreateTopicRefusal,
    DeleteTopicRefusal, TopicSettings, TrimRefusal, TrimTopic, UpdateTopic, UpdateTopicRefusal,
};

/// Which batch of a stream an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The stream's handle of the topic.
    pub handle: u32,
    /// Number of the partition.
    pub partition: u32,
    /// The batch's sequence.
    pub sequence: u64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendAnswer {
    /// It is on disk.
    Accepted {
        /// Where.
        batch: AcceptedBatch,
        /// It was there already.
        is_duplicate: bool,
    },
    /// It was refused for good, now or before; its sequence is spent.
    Spent {
        /// Number of the reason in `error.proto`.
        reason: i32,
    },
    /// It was not written.
    Refused(AppendRefusal),
    /// It was refused before it came here, and its sequence is not spent; whoever pushed it knows why.
    Rejected,
    /// The disk failed on the way: it may or may not be there after a restart.
    Failed,
    /// The broker stops and has not begun with it.
    ShuttingDown,
}

/// Where the answers to a stream's batches go. Called by the sequencer after the sync; must not block.
pub trait AppendSink: Send + Sync + fmt::Debug {
    /// Takes an answer.
    fn answer(&self, ticket: Ticket, answer: AppendAnswer);
}

/// Why a command other than a batch was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError<R> {
    /// The broker decided against it. Nothing happened.
    #[error(transparent)]
    Refused(R),
    /// The disk failed on the way: it may or may not have happened after a restart.
    #[error("the disk failed; it is not known whether this happened")]
    Failed,
    /// The broker stops. Nothing happened.
    #[error("the broker is shutting down")]
    ShuttingDown,
}

/// An answer to one command.
pub type Answer<T, R> = oneshot::Sender<Result<T, CommandError<R>>>;

/// A published set of batches: all of them in one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Offset of the first record of each batch, in the order of the command.
    pub base_offsets: Vec<Offset>,
    /// The entry.
    pub lsn: Lsn,
    /// Broker time of the entry, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

/// What a producer is told when it opens a topic.
#[derive(Debug, Clone)]
pub struct OpenedTopic {
    /// The topic.
    pub topic: Arc<TopicView>,
    /// Last sequence by partition, where there is any.
    pub last_sequences: Vec<(u32, u64)>,
}

/// A topic whose settings were changed, or would be.
#[derive(Debug, Clone)]
pub struct UpdatedTopic {
    /// The topic.
    pub topic: Arc<TopicView>,
    /// Its settings after the change; for one that is only asked about, with the state they have now.
    pub settings: TopicSettings,
}

/// A topic that was trimmed, or would be.
#[derive(Debug, Clone)]
pub struct TrimmedTopic {
    /// The topic.
    pub topic: Arc<TopicView>,
    /// Partitions whose log start moves, each with the offsets that go: from the old one to the new.
    pub trimmed: Vec<(PartitionRef, OffsetRange)>,
}

/// A command that appends.
#[derive(Debug)]
pub enum DataCommand {
    /// One batch of a stream.
    Append {
        /// The batch.
        request: AppendRequest,
        /// Its bytes.
        payload: Bytes,
        /// Where the answer goes.
        sink: Arc<dyn AppendSink>,
        /// Which batch it is.
        ticket: Ticket,
        /// What it holds of the memory for waiting batches, until it is answered.
        permits: Permits,
    },
    /// One batch of a stream that was refused before it came here. It is a command so that it is
    /// judged, and answered, after the batches that were sent to its partition before it.
    Reject {
        /// The batch's partition.
        partition: PartitionRef,
        /// If the refusal is final, the sequence that it spends and the number of the reason in
        /// `error.proto`.
        spends: Option<(ProducerStamp, i32)>,
        /// Where the answer goes.
        sink: Arc<dyn AppendSink>,
        /// Which batch it is.
        ticket: Ticket,
        /// What it holds of the memory for waiting batches, until it is answered.
        permits: Permits,
    },
    /// Batches for partitions of one topic that become one entry.
    Publish {
        /// The batches, at most one for each partition.
        appends: Vec<(AppendRequest, Bytes)>,
        /// Where the answer goes.
        answer: Answer<Published, AppendRefusal>,
        /// What it holds of the memory for waiting batches.
        permits: Permits,
    },
}

/// Memory for waiting batches, given back when dropped.
#[derive(Debug, Default)]
pub struct Permits {
    /// Of the whole broker and of one stream.
    pub held: Vec<OwnedSemaphorePermit>,
    /// What is counted of the records meanwhile.
    pub tally: Option<Tally>,
}

impl Permits {
    /// Counts the batches as answered, at a time of the boot clock: just before they are, so that who
    /// has the answer finds it counted.
    pub(super) fn note_answered(&mut self, now: Duration) {
        if let Some(tally) = self.tally.take() {
            tally.note_answered(now);
        }
    }
}

impl DataCommand {
    /// Room that the command takes in a round, about.
    pub fn cost_bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 256;
        match self {
            Self::Append { payload, .. } => payload.len() + OVERHEAD_BYTES,
            Self::Reject { .. } => OVERHEAD_BYTES,
            Self::Publish { appends, .. } => appends
                .iter()
                .map(|(_, payload)| payload.len() + OVERHEAD_BYTES)
                .sum(),
        }
    }

    /// Its batches.
    pub fn appends(&self) -> impl Iterator<Item = (&AppendRequest, &Bytes)> {
        let (one, many) = match self {
            Self::Append {
                request, payload, ..
            } => (Some((request, payload)), &[][..]),
            Self::Reject { .. } => (None, &[][..]),
            Self::Publish { appends, .. } => (None, &appends[..]),
        };
        one.into_iter()
            .chain(many.iter().map(|(request, payload)| (request, payload)))
    }

    /// The partitions whose order it belongs to.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionRef> {
        let rejected = match self {
            Self::Reject { partition, .. } => Some(*partition),
            Self::Append { .. } | Self::Publish { .. } => None,
        };
        self.appends()
            .map(|(request, _)| request.partition)
            .chain(rejected)
    }

    /// Answers that the broker stops, or that the disk failed.
    pub fn fail(self, is_begun: bool) {
        match self {
            Self::Append { sink, ticket, .. } | Self::Reject { sink, ticket, .. } => {
                let answer = if is_begun {
                    AppendAnswer::Failed
                } else {
                    AppendAnswer::ShuttingDown
                };
                sink.answer(ticket, answer);
            }
            Self::Publish { answer, .. } => fail(answer, is_begun),
        }
    }
}

/// A command that changes something else than records.
#[derive(Debug)]
pub enum ControlCommand {
    /// Create a topic.
    CreateTopic {
        /// Which.
        wish: CreateTopic,
        /// Only say whether it would be created.
        is_dry_run: bool,
        /// Where the answer goes: none for a dry run.
        answer: Answer<Option<Arc<TopicView>>, CreateTopicRefusal>,
    },
    /// Delete a topic.
    DeleteTopic {
        /// Which.
        name: TopicName,
        /// Only if it has this id.
        topic_id: Option<TopicId>,
        /// Only say whether it would be deleted.
        is_dry_run: bool,
        /// Where the answer goes.
        answer: Answer<Arc<TopicView>, DeleteTopicRefusal>,
    },
    /// Change a topic's settings.
    UpdateTopic {
        /// Which, and how.
        wish: UpdateTopic,
        /// Only say whether they would be changed.
        is_dry_run: bool,
        /// Where the answer goes.
        answer: Answer<UpdatedTopic, UpdateTopicRefusal>,
    },
    /// Move log starts of a topic up.
    TrimTopic {
        /// Which, and where to. At most [`TRIM_PARTITIONS_MAX`] partitions.
        wish: TrimTopic,
        /// Only say what would be trimmed.
        is_dry_run: bool,
        /// Whether it goes on with what the command before it began: a stop may not claim then that
        /// nothing happened.
        is_continuation: bool,
        /// Where the answer goes.
        answer: Answer<TrimmedTopic, TrimRefusal>,
    },
    /// Open a topic for a producer.
    OpenTopic {
        /// Which.
        name: TopicName,
        /// Only if it has this id.
        topic_id: Option<TopicId>,
        /// For whom.
        producer: ProducerId,
        /// Where the answer goes.
        answer: Answer<OpenedTopic, DeleteTopicRefusal>,
    },
    /// Something about a consumer group.
    Group(GroupCommand),
    /// The files of deleted topics and of trimmed segments are gone.
    ForgetDropped {
        /// Which topics. At most [`FORGET_DROPPED_MAX`] of both together.
        topics: Vec<TopicId>,
        /// Which segments.
        segments: Vec<SegmentRef>,
    },
}

/// Partitions that one [`ControlCommand::TrimTopic`] may name, so that its entry stays short.
pub const TRIM_PARTITIONS_MAX: usize = 200;
/// What one [`ControlCommand::ForgetDropped`] may name.
pub const FORGET_DROPPED_MAX: usize = 500;

impl ControlCommand {
    /// Answers that the broker stops, or that the disk failed.
    pub fn fail(self, is_begun: bool) {
        match self {
            Self::CreateTopic { answer, .. } => fail(answer, is_begun),
            Self::DeleteTopic { answer, .. } => fail(answer, is_begun),
            Self::UpdateTopic { answer, .. } => fail(answer, is_begun),
            Self::TrimTopic {
                answer,
                is_continuation,
                ..
            } => fail(answer, is_begun || is_continuation),
            Self::OpenTopic { answer, .. } => fail(answer, is_begun),
            Self::Group(command) => command.fail(is_begun),
            Self::ForgetDropped { .. } => {}
        }
    }
}

pub(super) fn fail<T, R>(answer: Answer<T, R>, is_begun: bool) {
    let error = if is_begun {
        CommandError::Failed
    } else {
        CommandError::ShuttingDown
    };
    send(answer, Err(error));
}

/// Sends an answer. Whoever asked may have stopped waiting; then it is dropped.
pub(super) fn send<T, R>(answer: Answer<T, R>, result: Result<T, CommandError<R>>) {
    drop(answer.send(result));
}

/// Something that happened on another thread. Needs no entry to be taken in.
#[derive(Debug)]
pub enum Event {
    /// A segment's files are ready up to this end.
    SegmentReady {
        /// The segment.
        segment: SegmentRef,
        /// End of its allocated space.
        allocated_end: u64,
    },
    /// The disk has no room for a segment.
    SegmentFull {
        /// The segment.
        segment: SegmentRef,
    },
    /// A segment's files are damaged: its partition goes on in a new one.
    SegmentDamaged {
        /// The segment.
        segment: SegmentRef,
    },
    /// A journal file is ready.
    JournalFileReady(PreparedFile),
    /// The disk has no room for a journal file.
    JournalFull,
    /// Frames were settled: more may be taken.
    Settled,
    /// A checkpoint is durable.
    CheckpointDone,
    /// Files of what was dropped could not be removed.
    FilesLeft,
    /// A checkpoint failed; its rows.
    CheckpointFailed(Vec<Row>),
    /// Whether the disk is nearly full.
    SpaceLow(bool),
}

#[derive(Debug, Default)]
struct Arrived {
    events: Vec<Event>,
    control: Vec<ControlCommand>,
    data: VecDeque<DataCommand>,
    data_bytes: usize,
    is_closed: bool,
    /// Whether the sequencer sleeps and must be woken.
    is_sleeping: bool,
}

/// Commands of one round.
#[derive(Debug, Default)]
pub struct Taken {
    /// Everything that happened elsewhere.
    pub events: Vec<Event>,
    /// Control before data.
    pub control: Vec<ControlCommand>,
    /// As many as fit.
    pub data: VecDeque<DataCommand>,
    /// Nothing more will come.
    pub is_closed: bool,
}

impl Taken {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.control.is_empty() && self.data.is_empty()
    }

    /// Answers every command as not begun: the broker stops.
    pub fn refuse(self) {
        for command in self.control {
            command.fail(false);
        }
        for command in self.data {
            command.fail(false);
        }
    }
}

/// What the sequencer is ready to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appetite {
    /// Whether control commands can be journaled.
    pub takes_control: bool,
    /// Bytes of data commands; 0 for none.
    pub data_bytes_max: usize,
}

/// Where commands wait for the sequencer.
#[derive(Debug, Default)]
pub struct CommandQueue {
    arrived: Mutex<Arrived>,
    wake: Condvar,
}

impl CommandQueue {
    /// Adds a data command. Its bytes were admitted before.
    ///
    /// # Errors
    /// Gives the command back if the queue is closed.
    #[expect(
        clippy::result_large_err,
        reason = "the command comes back, as it went in"
    )]
    pub fn push_data(&self, command: DataCommand) -> Result<(), DataCommand> {
        let mut arrived = self.lock();
        if arrived.is_closed {
            return Err(command);
        }
        arrived.data_bytes += command.cost_bytes();
        arrived.data.push_back(command);
        self.wake(arrived);
        Ok(())
    }

    /// Adds a control command.
    ///
    /// # Errors
    /// Gives the command back if the queue is closed.
    pub fn push_control(&self, command: ControlCommand) -> Result<(), ControlCommand> {
        let mut arrived = self.lock();
        if arrived.is_closed {
            return Err(command);
        }
        arrived.control.push(command);
        self.wake(arrived);
        Ok(())
    }

    /// Adds control commands that belong together: nothing comes between them, neither another command
    /// nor the end of the queue.
    ///
    /// # Errors
    /// Gives them back if the queue is closed.
    pub fn push_controls(&self, commands: Vec<ControlCommand>) -> Result<(), Vec<ControlCommand>> {
        let mut arrived = self.lock();
        if arrived.is_closed {
            return Err(commands);
        }
        arrived.control.extend(commands);
        self.wake(arrived);
        Ok(())
    }

    /// Adds an event. Accepted even after the queue was closed.
    pub fn push_event(&self, event: Event) {
        let mut arrived = self.lock();
        arrived.events.push(event);
        self.wake(arrived);
    }

    /// Takes no more commands; what is there can still be taken.
    pub fn close(&self) {
        let mut arrived = self.lock();
        arrived.is_closed = true;
        self.wake(arrived);
    }

    /// Takes what has arrived.
    pub fn try_take(&self, appetite: Appetite) -> Taken {
        self.lock().take(appetite)
    }

    /// Takes what has arrived, waiting at most `timeout` for anything that fits the appetite.
    pub fn take(&self, appetite: Appetite, timeout: Duration) -> Taken {
        let mut arrived = self.lock();
        let taken = arrived.take(appetite);
        if !taken.is_empty() || taken.is_closed {
            return taken;
        }
        arrived.is_sleeping = true;
        let mut arrived = self
            .wake
            .wait_timeout(arrived, timeout)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        arrived.is_sleeping = false;
        arrived.take(appetite)
    }

    /// Waits until there is an event, at most `timeout`. For a queue that is closed, whose
    /// [`CommandQueue::take`] does not wait.
    pub fn wait_for_event(&self, timeout: Duration) {
        let mut arrived = self.lock();
        if arrived.events.is_empty() {
            arrived.is_sleeping = true;
            let waited = self.wake.wait_timeout(arrived, timeout);
            waited.unwrap_or_else(PoisonError::into_inner).0.is_sleeping = false;
        }
    }

    fn wake(&self, mut arrived: MutexGuard<'_, Arrived>) {
        if std::mem::take(&mut arrived.is_sleeping) {
            drop(arrived);
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrived {
    fn take(&mut self, appetite: Appetite) -> Taken {
        let events = std::mem::take(&mut self.events);
        let control = match appetite.takes_control {
            true => std::mem::take(&mut self.control),
            false => Vec::new(),
        };
        let data = self.take_data(appetite.data_bytes_max);
        let is_closed = self.is_closed && self.control.is_empty() && self.data.is_empty();
        Taken {
            events,
            control,
            data,
            is_closed,
        }
    }

    fn take_data(&mut self, bytes_max: usize) -> VecDeque<DataCommand> {
        if bytes_max == 0 {
            return VecDeque::new();
        }
        if self.data_bytes <= bytes_max {
            self.data_bytes = 0;
            return std::mem::take(&mut self.data);
        }
        let mut taken = VecDeque::new();
        let mut taken_bytes = 0;
        while let Some(next) = self.data.front() {
            let bytes = next.cost_bytes();
            if taken_bytes + bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken_bytes += bytes;
            self.data_bytes -= bytes;
            taken.extend(self.data.pop_front());
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// A trim, and where its answer comes.
    fn trim(
        is_continuation: bool,
    ) -> (
        ControlCommand,
        oneshot::Receiver<Result<TrimmedTopic, CommandError<TrimRefusal>>>,
    ) {
        let (answer, answered) = oneshot::channel();
        let wish = TrimTopic {
            name: TopicName::new("orders").unwrap(),
            topic_id: None,
            log_starts: Vec::new(),
        };
        let command = ControlCommand::TrimTopic {
            wish,
            is_dry_run: false,
            is_continuation,
            answer,
        };
        (command, answered)
    }

    #[test]
    fn what_follows_something_that_was_begun_does_not_claim_that_nothing_happened() {
        let check = |is_continuation: bool, expected: CommandError<TrimRefusal>| {
            let (command, mut answered) = trim(is_continuation);
            command.fail(false);
            let error = answered.try_recv().unwrap().unwrap_err();
            assert_eq!(error, expected);
        };
        check(false, CommandError::ShuttingDown);
        check(true, CommandError::Failed);
    }

    #[test]
    fn commands_that_belong_together_are_all_taken_or_none() {
        let queue = CommandQueue::default();
        let commands = || vec![trim(false).0, trim(true).0];
        assert!(queue.push_controls(commands()).is_ok(), "open");
        queue.close();
        assert_eq!(queue.push_controls(commands()).unwrap_err().len(), 2);
        let everything = Appetite {
            takes_control: true,
            data_bytes_max: 0,
        };
        assert_eq!(queue.try_take(everything).control.len(), 2, "the first two");
    }
}
