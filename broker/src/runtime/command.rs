//! What the sequencer is asked to do, and how it answers.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use towpath_proto::limits::RECORD_BYTES_MAX;
use towpath_proto::names::TopicName;
use towpath_storage::{Lsn, Offset, OffsetRange, PartitionRef, ProducerStamp, SegmentRef, TopicId};

use super::bury::Burial;
use super::compaction::SwapVerdict;
use super::group_command::GroupCommand;
use super::index_view::IndexSnapshot;
use super::metrics::Tally;
use super::producer_command::ProducerCommand;
use super::published::TopicView;
use super::schedule_command::{Fire, RescheduleCommand, SCHEDULED_ROW_BYTES, ScheduleCommand};
use super::subscription_command::SubscriptionCommand;
use crate::core::{
    AcceptedBatch, AppendRefusal, AppendRequest, BatchFacts, BurialFailure, BurialWish, ChangedKey,
    CommitKey, CommitRefused, CommitWish, CompactTopic, CompactTopicRefusal, CompactedSegment,
    CreateTopic, CreateTopicRefusal, DeadLetter, DeleteTopicRefusal, DeliveryOutcome, FindKey,
    ProducerFenced, ProducerLife, RECORD_ROW_BYTES, RepeatedCommit, ScheduleKey, SubscriptionId,
    TopicNotFound, TopicSettings, TrimRefusal, TrimTopic, UnwrittenRecord, UpdateTopic,
    UpdateTopicRefusal,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendAnswer {
    /// It is on disk.
    Accepted {
        /// Where.
        batch: AcceptedBatch,
        /// It was there already.
        is_duplicate: bool,
        /// Records of it that were not written, in their order.
        unwritten: Vec<UnwrittenRecord>,
    },
    /// It was refused for good, now or before; its sequence is spent.
    Spent {
        /// Number of the reason in `error.proto`.
        reason: i32,
    },
    /// It was refused for good just now, and its sequence is spent.
    RefusedFinally(AppendRefusal),
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

/// Dead letters that are appended to a topic as new records. At most [`REPUBLISHED_RECORDS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Republished {
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// Number of their partition.
    pub partition: u32,
    /// Which.
    pub letters: Vec<DeadLetter>,
}

/// Dead letters of one [`Republished`], so that its entry stays short.
pub const REPUBLISHED_RECORDS_MAX: usize = 64;

/// A published set of batches: all of them in one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Offset of the first record of each batch, in the order of the command. None if the entry was to
    /// settle dead letters of which one was not dead any more: nothing was appended.
    pub base_offsets: Vec<Offset>,
    /// Records of each batch that were not written, since their events were there; none of any for an empty
    /// list.
    pub unwritten: Vec<Vec<UnwrittenRecord>>,
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

/// Why a topic is not opened for a producer. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenTopicRefusal {
    /// There is none of that name, or it has another id than the one asked for.
    #[error(transparent)]
    NotFound(#[from] TopicNotFound),
    /// This life of the producer may not write any more.
    #[error(transparent)]
    ProducerFenced(#[from] ProducerFenced),
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
        /// What its records say, if its topic looks at them.
        facts: Option<Box<CarriedFacts>>,
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
    /// Dead letters, which settle their records with the same entry.
    Bury {
        /// Which.
        burial: Box<Burial>,
        /// None: what is on its way is bounded by each subscription.
        permits: Permits,
    },
    /// Dead letters that could not be made.
    BuryFailed {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// Of which records.
        wish: Box<BurialWish>,
        /// Why.
        failure: BurialFailure,
    },
    /// Batches, offsets and settlements that become one entry.
    Commit(Box<CommitCommand>),
    /// Scheduled records that are due, which are not scheduled any more with the same entry.
    Fire(Box<Fire>),
    /// A scheduled record that becomes due at another time: it is written again.
    Reschedule(Box<RescheduleCommand>),
    /// Batches for partitions of one topic that become one entry.
    Publish {
        /// The batches, at most one for each partition.
        appends: Vec<(AppendRequest, Bytes)>,
        /// What their records say, if the topic looks at them.
        facts: Option<Box<CarriedFacts>>,
        /// Dead letters that the entry settles, because the batches hold them.
        letters: Option<Republished>,
        /// Where the answer goes.
        answer: Answer<Published, AppendRefusal>,
        /// What it holds of the memory for waiting batches.
        permits: Permits,
    },
}

/// What records of batches say, with what is on disk about it.
#[derive(Debug)]
pub struct CarriedFacts {
    /// Of each batch of a command, in their order; without records for a topic that does not look at them.
    pub batches: Vec<BatchFacts>,
    /// The bytes of its one batch before they were compressed, if they were: what is left out or marked is so
    /// in these.
    pub plain: Option<Bytes>,
    /// Where it was looked up.
    pub snapshot: IndexSnapshot,
}

impl CarriedFacts {
    /// Room that the rows of the records take in an entry at most, bytes.
    fn row_bytes(&self) -> usize {
        let counts = self.batches.iter().map(|it| it.records.len());
        counts.sum::<usize>().saturating_mul(RECORD_ROW_BYTES)
    }
}

/// A commit that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its batches and its entry.
    pub published: Published,
    /// Where each record stands that it scheduled.
    pub schedules: Vec<ScheduleKey>,
    /// What [`CommitKey::told`](crate::core::CommitKey::told) was, if it was carried out before and not now.
    pub repeated: Option<Bytes>,
}

/// A commit on its way.
#[derive(Debug)]
pub struct CommitCommand {
    /// What is to take effect.
    pub wish: CommitWish,
    /// Bytes of its batches, in their order.
    pub payloads: Vec<Bytes>,
    /// What its records say, if one of their topics looks at them.
    pub facts: Option<Box<CarriedFacts>>,
    /// Where what it carries from the disk was looked up, if it has a key.
    pub snapshot: Option<IndexSnapshot>,
    /// The same for ids of what it schedules.
    pub schedule_snapshot: Option<IndexSnapshot>,
    /// Where the answer goes.
    pub answer: Answer<Committed, CommitRefused>,
    /// What it holds of the memory for waiting batches.
    pub permits: Permits,
}

impl CommitCommand {
    /// Its batches.
    fn appends(&self) -> impl Iterator<Item = (&AppendRequest, &Bytes)> {
        let requests = self.wish.appends.iter().map(|append| &append.request);
        requests.zip(&self.payloads)
    }

    /// The same, to be kept.
    pub(super) fn appends_with_payloads(&self) -> impl Iterator<Item = (AppendRequest, Bytes)> {
        self.appends()
            .map(|(request, payload)| (*request, payload.clone()))
    }

    /// Room that its rows take in an entry at most, bytes.
    pub(super) fn row_bytes(&self) -> usize {
        let commits = self.wish.offsets.iter().map(|it| it.commits.len());
        let settled = self.wish.settlements.iter().map(|it| {
            let counts = it.settlement.ranges.iter();
            let count: u64 = counts.map(|range| range.end.since(range.start)).sum();
            let bytes_each = match it.settlement.outcome {
                DeliveryOutcome::Ack | DeliveryOutcome::Release => SETTLED_ROW_BYTES,
                _ => FAILED_ROW_BYTES,
            };
            usize::try_from(count)
                .unwrap_or(usize::MAX)
                .saturating_mul(bytes_each)
        });
        let offsets = commits.sum::<usize>().saturating_mul(OFFSET_ROW_BYTES);
        let key = self.wish.key.as_ref();
        let remembered = key.map_or(0, |key| {
            REMEMBERED_ROW_BYTES
                + key.told.len()
                + (self.wish.appends.len() + self.wish.schedules.len()) * MAX_VARINT_BYTES
        });
        let scheduled = self.wish.schedules.iter().map(|it| {
            let size_bytes = usize::try_from(it.size_bytes()).unwrap_or(usize::MAX);
            size_bytes.saturating_add(SCHEDULED_ROW_BYTES)
        });
        let records = row_bytes_of(self.facts.as_deref());
        let all = settled.chain(scheduled);
        all.fold(offsets + remembered + records, usize::saturating_add)
    }
}

pub(super) fn row_bytes_of(facts: Option<&CarriedFacts>) -> usize {
    facts.map_or(0, CarriedFacts::row_bytes)
}

/// What the rows that remember a commit take at most, without what was told.
const REMEMBERED_ROW_BYTES: usize = 512;
/// What an offset takes in a row at most.
const MAX_VARINT_BYTES: usize = 10;
/// What the row of a committed offset takes at most.
const OFFSET_ROW_BYTES: usize = 512;
/// What settling one record takes at most.
const SETTLED_ROW_BYTES: usize = 96;
/// What the rows of a record that failed take at most.
const FAILED_ROW_BYTES: usize = 2_560;

/// Memory for waiting batches, given back when dropped.
#[derive(Debug, Default)]
pub struct Permits {
    /// Of the whole broker and of one stream.
    pub held: Vec<OwnedSemaphorePermit>,
    /// What is counted of the records meanwhile.
    pub tally: Option<Tally>,
}

impl Permits {
    /// Gives back what is held of each kind beyond so many bytes.
    pub fn keep_only(&mut self, bytes: usize) {
        for held in &mut self.held {
            let beyond = held.num_permits().saturating_sub(bytes);
            drop(held.split(beyond));
        }
    }

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
            Self::Append { facts, .. } => {
                self.batch_bytes_max() + OVERHEAD_BYTES + row_bytes_of(facts.as_deref())
            }
            Self::Reject { .. } | Self::BuryFailed { .. } => OVERHEAD_BYTES,
            Self::Bury { burial, .. } => burial.payload.len() + OVERHEAD_BYTES,
            Self::Reschedule(command) => OVERHEAD_BYTES + command.row_bytes(RECORD_BYTES_MAX),
            Self::Fire(fire) => {
                let batches = fire.batches.iter();
                let batches: usize = batches.map(|(_, it)| it.len() + OVERHEAD_BYTES).sum();
                OVERHEAD_BYTES + batches + fire.row_bytes()
            }
            Self::Commit(commit) => {
                let appends = commit.payloads.iter();
                let appends: usize = appends.map(|it| it.len() + OVERHEAD_BYTES).sum();
                OVERHEAD_BYTES + appends + commit.row_bytes()
            }
            Self::Publish { appends, facts, .. } => {
                let appends = appends.iter();
                let appends: usize = appends.map(|(_, it)| it.len() + OVERHEAD_BYTES).sum();
                appends + row_bytes_of(facts.as_deref())
            }
        }
    }

    /// Bytes of its batches as they are written at most. One that was compressed is written plain if some of
    /// its records are left out.
    pub(super) fn batch_bytes_max(&self) -> usize {
        let payloads = self.appends().map(|(_, payload)| payload.len());
        let plain = match self {
            Self::Append { facts, .. } => facts.as_ref().and_then(|facts| facts.plain.as_ref()),
            _ => None,
        };
        payloads.sum::<usize>().max(plain.map_or(0, Bytes::len))
    }

    /// Room that the rows about its records take in an entry at most, bytes; none if nothing looks at them.
    pub(super) fn record_row_bytes(&self) -> Option<usize> {
        match self {
            Self::Append { facts, .. } | Self::Publish { facts, .. } => {
                facts.as_deref().map(CarriedFacts::row_bytes)
            }
            Self::Commit(commit) => commit.facts.as_deref().map(CarriedFacts::row_bytes),
            Self::Fire(fire) => fire.facts.as_deref().map(CarriedFacts::row_bytes),
            Self::Reject { .. }
            | Self::Bury { .. }
            | Self::BuryFailed { .. }
            | Self::Reschedule(_) => None,
        }
    }

    /// Its batches.
    pub fn appends(&self) -> impl Iterator<Item = (&AppendRequest, &Bytes)> {
        let (one, many, commit) = match self {
            Self::Append {
                request, payload, ..
            } => (Some((request, payload)), &[][..], None),
            Self::Reject { .. } | Self::BuryFailed { .. } | Self::Reschedule(_) => {
                (None, &[][..], None)
            }
            Self::Fire(fire) => (None, &fire.batches[..], None),
            Self::Bury { burial, .. } => (Some((&burial.request, &burial.payload)), &[][..], None),
            Self::Commit(commit) => (None, &[][..], Some(commit)),
            Self::Publish { appends, .. } => (None, &appends[..], None),
        };
        one.into_iter()
            .chain(many.iter().map(|(request, payload)| (request, payload)))
            .chain(commit.into_iter().flat_map(|commit| commit.appends()))
    }

    /// The partitions whose order it belongs to.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionRef> {
        let rejected = match self {
            Self::Reject { partition, .. } => Some(*partition),
            Self::Append { .. }
            | Self::Commit(_)
            | Self::Publish { .. }
            | Self::Bury { .. }
            | Self::BuryFailed { .. }
            | Self::Fire(_)
            | Self::Reschedule(_) => None,
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
            Self::Commit(commit) => fail(commit.answer, is_begun),
            Self::Reschedule(command) => fail(command.answer, is_begun),
            Self::Bury { .. } | Self::BuryFailed { .. } | Self::Fire(_) => {}
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
        producer: ProducerLife,
        /// Where the answer goes.
        answer: Answer<OpenedTopic, OpenTopicRefusal>,
    },
    /// Something about producers with a name.
    Producer(ProducerCommand),
    /// Look for a commit that a key has named before.
    FindCommit {
        /// The key.
        key: CommitKey,
        /// Where the answer goes.
        answer: Answer<Option<RepeatedCommit>, CommitRefused>,
    },
    /// Look for what changed of a key of late, in a topic that looks at keys.
    FindKey {
        /// Which key.
        wish: FindKey,
        /// Where the answer goes.
        answer: Answer<ChangedKey, Infallible>,
    },
    /// Something about a consumer group.
    Group(GroupCommand),
    /// Something about a durable subscription.
    Subscription(SubscriptionCommand),
    /// Something about scheduled records.
    Schedule(ScheduleCommand),
    /// Compact a topic now, as soon as what it appends to is sealed and in a checkpoint.
    CompactTopic {
        /// Which.
        wish: CompactTopic,
        /// Where the answer goes: the topic, and how many bytes of frames were never compacted.
        answer: Answer<(Arc<TopicView>, u64), CompactTopicRefusal>,
    },
    /// Have a rewritten segment take the place of what it was made of.
    SwapSegments {
        /// The segment.
        compacted: Box<CompactedSegment>,
        /// Where it is said whether it does. Not at all if the broker stops.
        verdict: SwapVerdict,
    },
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
            Self::Producer(command) => command.fail(is_begun),
            Self::FindCommit { answer, .. } => fail(answer, is_begun),
            Self::FindKey { answer, .. } => fail(answer, is_begun),
            Self::Group(command) => command.fail(is_begun),
            Self::Subscription(command) => command.fail(is_begun),
            Self::Schedule(command) => command.fail(is_begun),
            Self::CompactTopic { answer, .. } => fail(answer, is_begun),
            Self::SwapSegments { .. } | Self::ForgetDropped { .. } => {}
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
}
