//! A round while it is being decided: its entries, and what is to happen once they are durable.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use towpath_storage::{OffsetRange, PartitionRef, Round, SegmentRef, TopicId};

use super::super::command::{
    Answer, AppendAnswer, AppendSink, CommandError, CommitCommand, Committed, DataCommand,
    OpenTopicRefusal, OpenedTopic, Permits, Published, Ticket, TrimmedTopic, UpdatedTopic, send,
};
use super::super::group_command::{GroupNotFound, GroupPage, GroupProgress, GroupSink};
use super::super::inspect::InspectWork;
use super::super::producer_command::ProducerPage;
use super::super::published::TopicView;
use super::super::schedule_command::AnsweredSchedule;
use super::super::settle::SettleWork;
use super::super::subscription_command::{
    ConnectError, Connected, CreatedSubscription, SubscriptionPage, SubscriptionSink,
};
use super::super::subscription_question::AnsweredQuestion;
use super::schedule::refuse_reschedule;
use crate::core::{
    AppendRefusal, ChangedKey, CommitRefused, CommitVerdict, CompactTopicRefusal,
    CreateSubscriptionRefusal, CreateTopicRefusal, DeadLetterCounts, DeleteGroupRefusal,
    DeleteSubscriptionRefusal, DeleteTopicRefusal, Group, GroupId, GroupNotice, Hold, JoinRefusal,
    NamedProducer, OpenDeadLetters, OpenProducerRefusal, ProducerLife, ProducerNotFound,
    RepeatedCommit, SeekRefusal, SeekSubscriptionRefusal, SegmentSwap, SoughtPartition,
    SoughtSubscriptionPartition, SubscriptionDescription, SubscriptionNotFound, SubscriptionNotice,
    SubscriptionProgress, TopicSettings, Trim, TrimRefusal, UpdateSubscriptionRefusal,
    UpdateTopicRefusal,
};

/// What one round adds up to.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) round: Round,
    pub(super) answers: Vec<PendingAnswer>,
    pub(super) table_changes: Vec<TableChange>,
    /// Sent once the round is durable: files are made only for segments that a durable entry names.
    pub(super) settle_work: Vec<SettleWork>,
    /// The run that goes by reference.
    pub(super) run: Option<Run>,
    /// What members of groups are told once the round is durable.
    pub(super) notices: Vec<GroupNotice>,
    /// The same for consumers of subscriptions.
    pub(super) subscription_notices: Vec<SubscriptionNotice>,
    /// What is inspected once the round is durable.
    pub(super) inspections: Vec<InspectWork>,
    /// Bytes of batches in the round.
    pub(super) appended_bytes: u64,
}

/// The one partition of a round whose batches go to the segment first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) partition: PartitionRef,
    /// Set by the first batch.
    pub(super) segment: Option<SegmentRef>,
}

/// A change of what the world sees.
#[derive(Debug)]
pub(super) enum TableChange {
    Created(
        Arc<TopicView>,
        Answer<Option<Arc<TopicView>>, CreateTopicRefusal>,
    ),
    /// One that nobody waits for.
    CreatedBeside(Arc<TopicView>),
    Deleted(TopicId),
    Updated(TopicSettings),
    Rolled(SegmentRef),
    Trimmed(Trim),
    Swapped(SegmentSwap),
}

/// An answer that waits for the round to be durable.
#[derive(Debug)]
pub(super) enum PendingAnswer {
    Append {
        sink: Arc<dyn AppendSink>,
        ticket: Ticket,
        answer: AppendAnswer,
        permits: Permits,
    },
    Publish {
        answer: Answer<Published, AppendRefusal>,
        result: Result<Published, AppendRefusal>,
        permits: Permits,
    },
    Commit {
        answer: Answer<Committed, CommitRefused>,
        result: Result<Committed, CommitRefused>,
        permits: Permits,
    },
    FindCommit {
        answer: Answer<Option<RepeatedCommit>, CommitRefused>,
        result: Result<Option<RepeatedCommit>, CommitRefused>,
    },
    FindKey {
        answer: Answer<ChangedKey, Infallible>,
        found: ChangedKey,
    },
    CreateTopic {
        answer: Answer<Option<Arc<TopicView>>, CreateTopicRefusal>,
        result: Result<Option<Arc<TopicView>>, CreateTopicRefusal>,
    },
    DeleteTopic {
        answer: Answer<Arc<TopicView>, DeleteTopicRefusal>,
        result: Result<Arc<TopicView>, DeleteTopicRefusal>,
    },
    UpdateTopic {
        answer: Answer<UpdatedTopic, UpdateTopicRefusal>,
        result: Result<UpdatedTopic, UpdateTopicRefusal>,
    },
    TrimTopic {
        answer: Answer<TrimmedTopic, TrimRefusal>,
        result: Result<TrimmedTopic, TrimRefusal>,
    },
    CompactTopic {
        answer: Answer<(Arc<TopicView>, u64), CompactTopicRefusal>,
        result: Result<(Arc<TopicView>, u64), CompactTopicRefusal>,
    },
    OpenTopic {
        answer: Answer<OpenedTopic, OpenTopicRefusal>,
        result: Result<OpenedTopic, OpenTopicRefusal>,
    },
    OpenProducer {
        answer: Answer<ProducerLife, OpenProducerRefusal>,
        result: Result<ProducerLife, OpenProducerRefusal>,
    },
    ListProducers {
        answer: Answer<ProducerPage, Infallible>,
        page: ProducerPage,
    },
    DeleteProducer {
        answer: Answer<NamedProducer, ProducerNotFound>,
        result: Result<NamedProducer, ProducerNotFound>,
    },
    JoinGroup {
        answer: Answer<GroupId, JoinRefusal>,
        result: Result<GroupId, JoinRefusal>,
    },
    CommitOffsets {
        sink: Arc<dyn GroupSink>,
        verdicts: Vec<CommitVerdict>,
    },
    SeekGroup {
        answer: Answer<Vec<SoughtPartition>, SeekRefusal>,
        result: Result<Vec<SoughtPartition>, SeekRefusal>,
    },
    DeleteGroup {
        answer: Answer<(), DeleteGroupRefusal>,
        result: Result<(), DeleteGroupRefusal>,
    },
    GetGroup {
        answer: Answer<Group, GroupNotFound>,
        result: Result<Group, GroupNotFound>,
    },
    ListGroups {
        answer: Answer<GroupPage, Infallible>,
        page: GroupPage,
    },
    WatchGroups {
        answer: Answer<Vec<GroupProgress>, Infallible>,
        groups: Vec<GroupProgress>,
    },
    CreateSubscription {
        answer: Answer<CreatedSubscription, CreateSubscriptionRefusal>,
        result: Result<CreatedSubscription, CreateSubscriptionRefusal>,
    },
    UpdateSubscription {
        answer: Answer<SubscriptionDescription, UpdateSubscriptionRefusal>,
        result: Result<SubscriptionDescription, UpdateSubscriptionRefusal>,
    },
    SeekSubscription {
        answer: Answer<Vec<SoughtSubscriptionPartition>, SeekSubscriptionRefusal>,
        result: Result<Vec<SoughtSubscriptionPartition>, SeekSubscriptionRefusal>,
    },
    DeleteSubscription {
        answer: Answer<(), DeleteSubscriptionRefusal>,
        result: Result<(), DeleteSubscriptionRefusal>,
    },
    ChangeSubscription {
        answer: Answer<(), SubscriptionNotFound>,
        result: Result<(), SubscriptionNotFound>,
    },
    ConnectConsumer {
        answer: Answer<Connected, ConnectError>,
        result: Result<Connected, ConnectError>,
    },
    SettleDeliveries {
        sink: Arc<dyn SubscriptionSink>,
        expired: Vec<Vec<OffsetRange>>,
    },
    LookAtDeadLetters {
        answer: Answer<Option<OpenDeadLetters>, Infallible>,
        found: Option<OpenDeadLetters>,
    },
    MoveDeadLetters {
        answer: Answer<Option<DeadLetterCounts>, Infallible>,
        counts: Option<DeadLetterCounts>,
    },
    GetSubscription {
        answer: Answer<(SubscriptionDescription, Hold), SubscriptionNotFound>,
        result: Result<(SubscriptionDescription, Hold), SubscriptionNotFound>,
    },
    WatchSubscriptions {
        answer: Answer<Vec<SubscriptionProgress>, Infallible>,
        subscriptions: Vec<SubscriptionProgress>,
    },
    ListSubscriptions {
        answer: Answer<SubscriptionPage, Infallible>,
        page: SubscriptionPage,
    },
    Question(AnsweredQuestion),
    Schedule(AnsweredSchedule),
}

/// Tells what was decided.
fn reply<T, R>(answer: Answer<T, R>, result: Result<T, R>) {
    send(answer, result.map_err(CommandError::Refused));
}

impl PendingAnswer {
    /// Gives the answer, at a time of the boot clock.
    pub(super) fn send(self, now: Duration) {
        match self {
            Self::Append {
                sink,
                ticket,
                answer,
                mut permits,
            } => {
                permits.note_answered(now);
                sink.answer(ticket, answer);
                drop(permits);
            }
            Self::Publish {
                answer,
                result,
                mut permits,
            } => {
                permits.note_answered(now);
                send(answer, result.map_err(CommandError::Refused));
                drop(permits);
            }
            Self::Commit {
                answer,
                result,
                mut permits,
            } => {
                permits.note_answered(now);
                reply(answer, result);
                drop(permits);
            }
            Self::FindCommit { answer, result } => reply(answer, result),
            Self::FindKey { answer, found } => send(answer, Ok(found)),
            Self::CreateTopic { answer, result } => reply(answer, result),
            Self::DeleteTopic { answer, result } => reply(answer, result),
            Self::UpdateTopic { answer, result } => reply(answer, result),
            Self::TrimTopic { answer, result } => reply(answer, result),
            Self::CompactTopic { answer, result } => reply(answer, result),
            Self::OpenTopic { answer, result } => reply(answer, result),
            Self::OpenProducer { answer, result } => reply(answer, result),
            Self::ListProducers { answer, page } => send(answer, Ok(page)),
            Self::DeleteProducer { answer, result } => reply(answer, result),
            Self::JoinGroup { answer, result } => reply(answer, result),
            Self::CommitOffsets { sink, verdicts } => sink.answer(Ok(verdicts)),
            Self::SeekGroup { answer, result } => reply(answer, result),
            Self::DeleteGroup { answer, result } => reply(answer, result),
            Self::GetGroup { answer, result } => reply(answer, result),
            Self::ListGroups { answer, page } => send(answer, Ok(page)),
            Self::WatchGroups { answer, groups } => send(answer, Ok(groups)),
            Self::CreateSubscription { answer, result } => reply(answer, result),
            Self::UpdateSubscription { answer, result } => reply(answer, result),
            Self::SeekSubscription { answer, result } => reply(answer, result),
            Self::DeleteSubscription { answer, result } => reply(answer, result),
            Self::ChangeSubscription { answer, result } => reply(answer, result),
            Self::ConnectConsumer { answer, result } => reply(answer, result),
            Self::SettleDeliveries { sink, expired } => sink.answer(Ok(expired)),
            Self::LookAtDeadLetters { answer, found } => send(answer, Ok(found)),
            Self::MoveDeadLetters { answer, counts } => send(answer, Ok(counts)),
            Self::GetSubscription { answer, result } => reply(answer, result),
            Self::WatchSubscriptions {
                answer,
                subscriptions,
            } => send(answer, Ok(subscriptions)),
            Self::ListSubscriptions { answer, page } => send(answer, Ok(page)),
            Self::Question(answered) => answered.send(),
            Self::Schedule(answered) => answered.send(),
        }
    }

    /// Answers that the disk failed: nothing is known, refusals included, since they were decided on
    /// state that may never have become durable.
    pub(super) fn fail(self) {
        match self {
            Self::Append { sink, ticket, .. } => sink.answer(ticket, AppendAnswer::Failed),
            Self::Publish { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::Commit { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::FindCommit { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::FindKey { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::CreateTopic { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::DeleteTopic { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::UpdateTopic { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::TrimTopic { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::CompactTopic { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::OpenTopic { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::OpenProducer { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::ListProducers { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::DeleteProducer { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::JoinGroup { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::CommitOffsets { sink, .. } => sink.answer(Err(CommandError::Failed)),
            Self::SeekGroup { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::DeleteGroup { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::GetGroup { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::ListGroups { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::WatchGroups { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::CreateSubscription { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::UpdateSubscription { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::SeekSubscription { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::DeleteSubscription { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::ChangeSubscription { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::ConnectConsumer { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::SettleDeliveries { sink, .. } => sink.answer(Err(CommandError::Failed)),
            Self::LookAtDeadLetters { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::MoveDeadLetters { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::GetSubscription { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::WatchSubscriptions { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::ListSubscriptions { answer, .. } => send(answer, Err(CommandError::Failed)),
            Self::Question(answered) => answered.fail(),
            Self::Schedule(answered) => answered.fail(),
        }
    }
}

impl Draft {
    /// Answers a batch, with the round.
    pub(super) fn refuse(&mut self, command: DataCommand, refusal: AppendRefusal) {
        match command {
            DataCommand::Append {
                sink,
                ticket,
                permits,
                ..
            }
            | DataCommand::Reject {
                sink,
                ticket,
                permits,
                ..
            } => {
                let answer = AppendAnswer::Refused(refusal);
                self.answers.push(PendingAnswer::Append {
                    sink,
                    ticket,
                    answer,
                    permits,
                });
            }
            // Nobody waits for an answer.
            DataCommand::Bury { .. } | DataCommand::BuryFailed { .. } | DataCommand::Fire(_) => {}
            // It belongs to no partition, and only a full disk refuses it without looking at it.
            DataCommand::Reschedule(command) => refuse_reschedule(*command, self),
            DataCommand::Commit(commit) => {
                let CommitCommand {
                    wish,
                    answer,
                    permits,
                    ..
                } = *commit;
                let result = Err(wish.refused(refusal));
                self.answers.push(PendingAnswer::Commit {
                    answer,
                    result,
                    permits,
                });
            }
            DataCommand::Publish {
                answer, permits, ..
            } => {
                self.answers.push(PendingAnswer::Publish {
                    answer,
                    result: Err(refusal),
                    permits,
                });
            }
        }
    }

    /// Refuses for want of space.
    pub(super) fn refuse_full(&mut self, command: DataCommand) {
        self.refuse(command, AppendRefusal::StorageFull);
    }
}
