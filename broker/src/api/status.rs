//! What each refusal is called on the wire, and what a client is told about it.
#![warn(clippy::wildcard_enum_match_arm)]

mod producer;
mod schedule;
mod subscription;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use towpath_proto::limits;
use towpath_proto::names::{GroupName, NameError, TopicName};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_storage::{BrokerId, PartitionLog, PartitionRef, StorageError, with_causes};

use super::convert;
use crate::core::{
    AppendRefusal, CommitRefusal, CompactTopicRefusal, CreateTopicRefusal, DeleteGroupRefusal,
    DeleteTopicRefusal, ExpectedVersionMismatch, GroupSummary, JoinRefusal, SeekRefusal,
    TopicConfigError, TopicInUse, TopicNotFound, TrimRefusal, UpdateTopicRefusal,
};
use crate::fetch::{PositionError, ReadFailure};
use crate::runtime::command::CommandError;
use crate::runtime::published::{PartitionHandle, TopicTable, TopicView};

pub(super) use producer::{open_producer_refused, producer_fenced, producer_not_among};
pub(super) use schedule::{reschedule_refused, schedule_not_found, schedule_refused};
pub(super) use subscription::{
    connect_refused, consumer_replaced, create_subscription_refused, dead_letter_not_found,
    dead_letter_topic_gone, dead_letters_not_found, delete_subscription_refused, invalid_filter,
    record_not_written, seek_subscription_refused, subscription_deleted, subscription_gone,
    subscription_not_among, subscription_not_found, subscription_start_unset,
    update_subscription_refused,
};

/// When a client should try again after a stop has begun.
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// When a client should try again after the disk was full.
const SPACE_WAIT: Duration = Duration::from_secs(1);
/// Partitions that one refusal tells the log starts of: what it says travels in a trailer, which clients
/// take only up to a few KiB.
const OVERTAKEN_MAX: usize = 100;
/// Names that are compared with one that was not found.
const CANDIDATES_MAX: usize = 2_000;

/// A topic's name is not a name.
pub(super) fn invalid_name(field: &str, error: NameError) -> Problem {
    Problem::invalid_field(field, error.to_string())
}

/// There is no topic of that name; tells the one that was probably meant.
pub(super) fn topic_not_found(name: &TopicName, topics: &TopicTable) -> Problem {
    let problem = Problem::new(
        ErrorReason::TopicNotFound,
        format!("topic \"{name}\" not found"),
    )
    .with("topic", name);
    let names = topics.names().map(TopicName::as_str);
    match nearest(name.as_str(), names) {
        Some(meant) => problem.with_hint(format!("did you mean \"{meant}\"?")),
        None => problem,
    }
}

/// The topic that a client had open, or asked for by its id, is not there any more.
pub(super) fn topic_gone(name: &TopicName) -> Problem {
    Problem::new(
        ErrorReason::TopicNotFound,
        format!("topic \"{name}\" was deleted"),
    )
    .with("topic", name)
}

/// The request is meant for another broker, whose topics are other ones whatever they are called.
pub(super) fn other_broker(meant: &str, broker_id: BrokerId) -> Problem {
    Problem::new(
        ErrorReason::TopicNotFound,
        format!("the topic is on another broker: meant={meant} this={broker_id}"),
    )
    .with("broker_id", broker_id)
    .with_hint("ask this broker for its topics, and begin anew with its id")
}

/// The topic has fewer partitions.
pub(super) fn partition_not_found(
    topic: &TopicName,
    partition: u32,
    partition_count: u32,
) -> Problem {
    Problem::new(
        ErrorReason::PartitionNotFound,
        format!("partition {partition} not found: topic \"{topic}\" has {partition_count}"),
    )
    .with("topic", topic)
    .with("partition", partition)
    .with("partition_count", partition_count)
}

/// The broker stops and has not begun with it.
pub(super) fn shutting_down() -> Problem {
    Problem::new(ErrorReason::ShuttingDown, "the broker is shutting down")
        .with_retry_after(RESTART_WAIT)
}

/// What the broker remembers cannot be looked up.
pub(super) fn index_unreadable(error: &StorageError) -> Problem {
    tracing::error!(error = %with_causes(error), "an index cannot be read");
    match error {
        StorageError::Corrupt(_) => Problem::new(
            ErrorReason::LogCorrupt,
            "what the broker remembers of the key is damaged",
        ),
        StorageError::Io { .. } | StorageError::Poisoned => {
            Problem::new(ErrorReason::StorageFailed, "an index cannot be read")
        }
    }
}

/// The disk failed while the request was on its way there.
pub(super) fn storage_failed() -> Problem {
    Problem::new(
        ErrorReason::StorageFailed,
        "the disk failed; it is not known whether this happened",
    )
}

/// Why a batch was not appended.
pub(super) fn append_refused(
    refusal: AppendRefusal,
    topic: &TopicName,
    partition: u32,
    sequence: u64,
) -> Problem {
    match refusal {
        AppendRefusal::TopicNotFound { .. } => topic_gone(topic),
        AppendRefusal::PartitionNotFound {
            partition,
            partition_count,
        } => partition_not_found(topic, partition, partition_count),
        AppendRefusal::SequenceGap { expected, received } => Problem::new(
            ErrorReason::SequenceGap,
            format!("sequence {received} does not follow: expected {expected}"),
        )
        .with("topic", topic)
        .with("partition", partition)
        .with("expected", expected)
        .with("received", received),
        AppendRefusal::ProducerUnknown => Problem::new(
            ErrorReason::ProducerUnknown,
            "the broker does not know the producer, and the batch is not its first",
        )
        .with("topic", topic)
        .with("partition", partition)
        .with("received", sequence)
        .with_hint("open the topic with a new producer id and go on from sequence 0"),
        AppendRefusal::ProducerFenced(fenced) => producer_fenced(fenced).with("topic", topic),
        AppendRefusal::OnlyLetters { subscription } => Problem::new(
            ErrorReason::TopicInUse,
            format!(
                "topic \"{topic}\" takes only the dead letters of subscription \"{subscription}\""
            ),
        )
        .with("topic", topic)
        .with("subscriptions", subscription)
        .with_hint("write to another topic: these are for its subscription alone"),
        AppendRefusal::ExpectedOffsetMismatch { expected, actual } => Problem::new(
            ErrorReason::ExpectedOffsetMismatch,
            format!("the next record gets offset {actual}: expected {expected}"),
        )
        .with("topic", topic)
        .with("partition", partition)
        .with("expected_offset", expected)
        .with("end_offset", actual)
        .with_hint(
            "read what was written meanwhile, decide again and expect the offset that is next",
        ),
        AppendRefusal::ExpectedVersionMismatch(mismatch) => {
            version_mismatch(mismatch, topic).with("partition", partition)
        }
        AppendRefusal::StaleEntityVersion { current, .. } => {
            stale_entity_version(current, topic).with("partition", partition)
        }
        AppendRefusal::StorageFull => {
            Problem::new(ErrorReason::StorageFull, "the disk is full").with_retry_after(SPACE_WAIT)
        }
    }
}

/// A record rests on a version that its key does not have.
fn version_mismatch(mismatch: ExpectedVersionMismatch, topic: &TopicName) -> Problem {
    let ExpectedVersionMismatch {
        expected, current, ..
    } = mismatch;
    Problem::new(
        ErrorReason::ExpectedVersionMismatch,
        format!("the key has version {current}: expected {expected}"),
    )
    .with("topic", topic)
    .with("expected_version", expected)
    .with("current_version", current)
    .with_hint("read what was written to the key meanwhile, decide again and expect its version")
}

/// A record brings an old version of its entity.
fn stale_entity_version(current: u64, topic: &TopicName) -> Problem {
    let message =
        format!("the entity has version {current} already, and the record no greater one");
    Problem::new(ErrorReason::StaleEntityVersion, message)
        .with("topic", topic)
        .with("current_version", current)
        .with_hint("a newer record of the entity was written: this one has nothing to tell")
}

/// Why a topic was not created.
pub(super) fn create_refused(refusal: CreateTopicRefusal, topics: &TopicTable) -> Problem {
    let text = refusal.to_string();
    match refusal {
        CreateTopicRefusal::Exists { name, topic_id } => {
            let problem = Problem::new(ErrorReason::TopicExists, text)
                .with("topic", name)
                .with("topic_id", topic_id);
            match topics.with_id(topic_id) {
                Some(topic) => problem.with("partition_count", topic.partitions().len()),
                None => problem,
            }
        }
        CreateTopicRefusal::PartitionCount { .. } => {
            Problem::invalid_field("partition_count", text)
        }
        CreateTopicRefusal::Config(error) => config_refused(error),
        CreateTopicRefusal::TooManyTopics { count } => limit_reached(text, "topics_max", count),
        CreateTopicRefusal::TooManyPartitions { count_max, .. } => {
            limit_reached(text, "partitions_max", count_max)
        }
    }
}

/// A setting of a topic that is out of its range.
pub(super) fn config_refused(error: TopicConfigError) -> Problem {
    let field = match error {
        TopicConfigError::RetentionAge { .. } => "config.retention_age_ms",
        TopicConfigError::RetentionBytes => "config.retention_bytes",
        TopicConfigError::DedupeWindow { .. } => "config.dedupe_window_ms",
        TopicConfigError::TombstoneGrace { .. } | TopicConfigError::TombstoneGraceAlone => {
            "config.tombstone_grace_ms"
        }
    };
    Problem::invalid_field(field, error.to_string())
}

/// Why a topic was not changed.
pub(super) fn update_refused(refusal: UpdateTopicRefusal, topics: &TopicTable) -> Problem {
    let text = refusal.to_string();
    match refusal {
        UpdateTopicRefusal::NotFound { name } => topic_not_found(&name, topics),
        UpdateTopicRefusal::Changed { name, current } => {
            Problem::new(ErrorReason::EtagMismatch, text)
                .with("topic", name)
                .with("etag", convert::etag(current))
                .with_hint("read the topic again and decide again")
        }
        UpdateTopicRefusal::Config(error) => config_refused(error),
        UpdateTopicRefusal::LettersByAge { in_use } => Problem::new(ErrorReason::TopicInUse, text)
            .with("topic", &in_use.name)
            .with_hint("bound it by bytes, or discard what you do not need"),
    }
}

/// Why a topic is not compacted.
pub(super) fn compact_refused(refusal: CompactTopicRefusal, topics: &TopicTable) -> Problem {
    let text = refusal.to_string();
    match refusal {
        CompactTopicRefusal::NotFound(TopicNotFound { name }) => topic_not_found(&name, topics),
        CompactTopicRefusal::NotCompacted { .. } => Problem::invalid_field("name", text)
            .with_hint("create a topic with compact, and copy the last record of each key"),
    }
}

/// Why a topic was not trimmed.
pub(super) fn trim_refused(refusal: TrimRefusal, topic: &TopicName) -> Problem {
    let text = refusal.to_string();
    match refusal {
        TrimRefusal::NotFound { name } => topic_gone(&name),
        TrimRefusal::PartitionNotFound {
            partition,
            partition_count,
        } => partition_not_found(topic, partition, partition_count),
        TrimRefusal::OutOfRange {
            partition,
            requested,
            range,
        } => position_refused(
            PositionError::OutOfRange {
                partition,
                requested,
                range,
            },
            topic,
        ),
        TrimRefusal::DeadLetters {
            name,
            partition,
            subscription,
            settled_end,
        } => Problem::new(ErrorReason::TopicInUse, text)
            .with("topic", name)
            .with("subscriptions", subscription)
            .with("partition", partition)
            .with("settled_end_offset", settled_end)
            .with_hint("redrive or discard them first"),
    }
}

/// Why a topic was not found.
pub(super) fn lookup_refused(refusal: TopicNotFound, has_id: bool, topics: &TopicTable) -> Problem {
    match refusal {
        TopicNotFound { name } if has_id => topic_gone(&name),
        TopicNotFound { name } => topic_not_found(&name, topics),
    }
}

/// Why a topic was not deleted.
pub(super) fn delete_refused(
    refusal: DeleteTopicRefusal,
    has_id: bool,
    topics: &TopicTable,
) -> Problem {
    match refusal {
        DeleteTopicRefusal::NotFound(missing) => lookup_refused(missing, has_id, topics),
        DeleteTopicRefusal::InUse(in_use) => topic_in_use(in_use),
    }
}

/// Subscriptions need a topic.
pub(super) fn topic_in_use(in_use: TopicInUse) -> Problem {
    let names: Vec<_> = in_use.subscriptions.iter().map(|it| it.as_str()).collect();
    Problem::new(ErrorReason::TopicInUse, in_use.to_string())
        .with("subscriptions", names.join(" "))
        .with("topic", in_use.name)
}

/// Why a command was not carried out.
pub(super) fn command_failed<R>(
    error: CommandError<R>,
    refused: impl FnOnce(R) -> Problem,
) -> Problem {
    match error {
        CommandError::Refused(refusal) => refused(refusal),
        CommandError::Failed => storage_failed(),
        CommandError::ShuttingDown => shutting_down(),
    }
}

/// The reason of a refusal for good, as it is remembered.
pub(super) fn remembered_reason(number: i32) -> ErrorReason {
    ErrorReason::from_number(number).unwrap_or(ErrorReason::InvalidArgument)
}

/// A batch whose sequence was spent by another one, of which only the reason is remembered.
pub(super) fn refused_before(reason: ErrorReason, partition: u32, sequence: u64) -> Problem {
    Problem::new(
        reason,
        format!("sequence {sequence} was spent by a batch that was refused for good"),
    )
    .with("partition", partition)
    .with("received", sequence)
    .with_hint("send what follows under the next sequence")
}

/// Why reading cannot begin where it was asked to.
pub(super) fn position_refused(error: PositionError, topic: &TopicName) -> Problem {
    match error {
        PositionError::OutOfRange {
            partition,
            requested,
            range,
        } => Problem::new(
            ErrorReason::OffsetOutOfRange,
            format!(
                "offset {requested} is out of range: partition {partition} of topic \"{topic}\" \
                 has {} to {}",
                range.start, range.end
            ),
        )
        .with("topic", topic)
        .with("partition", partition)
        .with("requested", requested)
        .with("log_start_offset", range.start)
        .with("end_offset", range.end),
        PositionError::TooMany { count_max } => Problem::invalid_field(
            "last_records",
            format!("at most {count_max} records can be counted back"),
        ),
        PositionError::Read { partition, failure } => read_failed(&failure, topic, partition),
    }
}

/// Why reading cannot begin at several offsets of one topic: the first is told as if it were alone, and
/// beside it where all the logs start that have overtaken a reader, so that it need not ask for each.
pub(super) fn positions_refused(
    first: PositionError,
    all: &[PositionError],
    topic: &TopicName,
) -> Problem {
    let overtaken = all.iter().filter_map(|error| match error {
        PositionError::OutOfRange {
            partition,
            requested,
            range,
        } if *requested < range.start => Some(format!("{partition}:{}", range.start)),
        PositionError::OutOfRange { .. }
        | PositionError::TooMany { .. }
        | PositionError::Read { .. } => None,
    });
    let overtaken: Vec<_> = overtaken.take(OVERTAKEN_MAX).collect();
    let problem = position_refused(first, topic);
    match overtaken.is_empty() {
        true => problem,
        false => problem.with("log_start_offsets", overtaken.join(" ")),
    }
}

/// Why a partition cannot be read on.
pub(super) fn read_failed(failure: &ReadFailure, topic: &TopicName, partition: u32) -> Problem {
    match failure {
        ReadFailure::Deleted => topic_gone(topic),
        ReadFailure::Lost(range) => Problem::new(
            ErrorReason::LogCorrupt,
            format!("records {range} of partition {partition} of topic \"{topic}\" are damaged"),
        )
        .with("topic", topic)
        .with("partition", partition)
        .with("offset", range.start)
        .with_hint("read on behind them with skip_data_loss (--skip-data-loss)"),
        ReadFailure::Trimmed { requested, range } => {
            let (requested, range) = (*requested, *range);
            let error = PositionError::OutOfRange {
                partition,
                requested,
                range,
            };
            position_refused(error, topic).with_hint(
                "seek the group to the beginning, or read on behind what is gone without \
                 stop_at_trimmed (--stop-at-trimmed)",
            )
        }
        ReadFailure::Disk => Problem::new(
            ErrorReason::StorageFailed,
            format!("partition {partition} of topic \"{topic}\" cannot be read from disk"),
        )
        .with("topic", topic)
        .with("partition", partition),
        ReadFailure::Stopped => shutting_down(),
    }
}

/// The name that was probably meant.
fn nearest<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance_max = (name.len() / 3).clamp(1, 3);
    others
        .filter(|other| other.len().abs_diff(name.len()) <= distance_max)
        .take(CANDIDATES_MAX)
        .map(|other| (strsim::osa_distance(name, other), other))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// A limit of a stream is reached.
pub(super) fn too_many_open_topics() -> Problem {
    let limit_value = limits::OPEN_TOPICS_PER_STREAM_MAX;
    let message = format!("a stream may have {limit_value} topics open");
    limit_reached(message, "open_topics_per_stream_max", limit_value)
}

/// There is as much of something as there may be; `limit` is its name in `Limits`.
pub(super) fn limit_reached(
    message: String,
    limit: &'static str,
    limit_value: impl fmt::Display,
) -> Problem {
    Problem::new(ErrorReason::LimitReached, message)
        .with("limit", limit)
        .with("limit_value", limit_value)
}

/// There is no group of that name.
pub(super) fn group_not_found(name: &GroupName) -> Problem {
    Problem::new(
        ErrorReason::GroupNotFound,
        format!("group \"{name}\" not found"),
    )
    .with("group", name)
}

/// There is no group of that name, but there are these.
pub(super) fn group_not_among(name: &GroupName, others: &[GroupSummary]) -> Problem {
    let names = others.iter().map(|group| group.name.as_str());
    let problem = group_not_found(name);
    match nearest(name.as_str(), names) {
        Some(meant) => problem.with_hint(format!("did you mean \"{meant}\"?")),
        None => problem,
    }
}

/// The group was deleted while the member read, or was away.
pub(super) fn group_deleted(name: &GroupName) -> Problem {
    Problem::new(
        ErrorReason::GroupNotFound,
        format!("group \"{name}\" was deleted"),
    )
    .with("group", name)
    .with_hint("a consumer that is started anew makes the group again, and begins at its start")
}

/// Another connection of the same member has taken over.
pub(super) fn member_replaced() -> Problem {
    Problem::new(
        ErrorReason::MemberUnknown,
        "another connection of this member has joined",
    )
    .with_hint("every member needs an id of its own")
}

/// Why a member may not join, which asked for these topics.
pub(super) fn join_refused(refusal: &JoinRefusal, topics: &[Arc<TopicView>]) -> Problem {
    let text = refusal.to_string();
    let view = |id| topics.iter().find(|topic| topic.id() == id);
    match refusal {
        JoinRefusal::GroupDeleted { name } => group_deleted(name),
        JoinRefusal::StartUnset {
            name,
            topics: unset,
        } => {
            let views = topics.iter().filter(|view| unset.contains(&view.id()));
            start_unset(name, views)
        }
        JoinRefusal::TopicNotFound { topic } => match view(*topic) {
            Some(view) => topic_gone(view.name()),
            None => Problem::new(ErrorReason::TopicNotFound, text),
        },
        JoinRefusal::TooManyGroups => limit_reached(text, "groups_max", limits::GROUPS_MAX),
        JoinRefusal::TooManyMembers { .. } => {
            let limit_value = limits::MEMBERS_PER_GROUP_MAX;
            limit_reached(text, "members_per_group_max", limit_value)
        }
        JoinRefusal::TooManyPartitions { .. } => {
            let limit_value = limits::PARTITIONS_PER_GROUP_MAX;
            limit_reached(text, "partitions_per_group_max", limit_value)
        }
    }
}

/// A group is to read topics that it has never read, and it is not said where it begins.
fn start_unset<'a>(
    group: &GroupName,
    topics: impl Iterator<Item = &'a Arc<TopicView>> + Clone,
) -> Problem {
    let names: Vec<_> = topics.clone().map(|it| it.name().as_str()).collect();
    let message = format!(
        "group \"{group}\" has never read topic \"{}\", and it is not said where to begin",
        names.join("\", \"")
    );
    let logs = topics.flat_map(|topic| topic.partitions());
    position_unset(message, group, logs.map(PartitionHandle::log)).with("topic", names.join(" "))
}

/// It is not said where to move partitions of a group, which have these logs.
pub(super) fn seek_target_unset<'a>(
    group: &GroupName,
    logs: impl Iterator<Item = &'a Arc<PartitionLog>>,
) -> Problem {
    let message = format!("it is not said where group \"{group}\" is to go on");
    position_unset(message, group, logs)
}

/// Where a group reads has no default: tells how many records each choice would deliver.
fn position_unset<'a>(
    message: String,
    group: &GroupName,
    logs: impl Iterator<Item = &'a Arc<PartitionLog>>,
) -> Problem {
    let count: u64 = logs.map(|log| log.end().since(log.log_start())).sum();
    Problem::new(ErrorReason::StartUnset, message)
        .with("group", group)
        .with("beginning_records", count)
        .with("end_records", 0)
        .with_hint(format!(
            "choose the beginning ({count} records) or the end (none)"
        ))
}

/// Why a commit in one partition has no effect.
pub(super) fn commit_refused(
    refusal: CommitRefusal,
    topic: Option<&TopicName>,
    partition: u32,
) -> Problem {
    let place = match topic {
        Some(topic) => format!("partition {partition} of topic \"{topic}\""),
        None => format!("partition {partition}"),
    };
    let problem = match refusal {
        CommitRefusal::Stale => Problem::new(
            ErrorReason::GenerationStale,
            format!("{place} has another owner by now, or the group was moved"),
        ),
        CommitRefusal::BeyondEnd { requested, range } => Problem::new(
            ErrorReason::OffsetOutOfRange,
            format!(
                "offset {requested} is out of range: {place} has {} to {}",
                range.start, range.end
            ),
        )
        .with("requested", requested)
        .with("log_start_offset", range.start)
        .with("end_offset", range.end),
    };
    let problem = problem.with("partition", partition);
    match topic {
        Some(topic) => problem.with("topic", topic),
        None => problem,
    }
}

/// Why a group was not moved.
pub(super) fn seek_refused(refusal: SeekRefusal, topics: &TopicTable) -> Problem {
    let text = refusal.to_string();
    let topic = |partition: PartitionRef| {
        let found = topics.with_id(partition.topic);
        found.map_or_else(String::new, |topic| topic.name().to_string())
    };
    match refusal {
        SeekRefusal::NotFound { name } => group_not_found(&name),
        SeekRefusal::NotRead { name, partition } => Problem::invalid_field("partitions", text)
            .with("group", name)
            .with("topic", topic(partition))
            .with("partition", partition.partition),
        SeekRefusal::OutOfRange {
            partition,
            offset,
            log_start,
            end,
        } => Problem::new(ErrorReason::OffsetOutOfRange, text)
            .with("topic", topic(partition))
            .with("partition", partition.partition)
            .with("requested", offset)
            .with("log_start_offset", log_start)
            .with("end_offset", end),
    }
}

/// Why a group was not deleted.
pub(super) fn delete_group_refused(refusal: DeleteGroupRefusal) -> Problem {
    let text = refusal.to_string();
    match refusal {
        DeleteGroupRefusal::NotFound { name } => group_not_found(&name),
        DeleteGroupRefusal::InUse { name, member_count } => {
            Problem::new(ErrorReason::GroupNotEmpty, text)
                .with("group", name)
                .with("member_count", member_count)
        }
    }
}
