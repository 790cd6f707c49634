//! What refusals about subscriptions are called on the wire.

use towpath_proto::names::{SubscriptionName, TopicName};
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_storage::PartitionLog;

use super::{create_refused, limit_reached, nearest, topic_gone, topic_in_use};
use crate::core::{
    ConnectRefusal, CreateSubscriptionRefusal, DeleteSubscriptionRefusal, SeekSubscriptionRefusal,
    SubscriptionDescription, SubscriptionNotFound, UpdateSubscriptionRefusal,
};
use crate::filter::FilterError;
use crate::runtime::published::{TopicTable, TopicView};
use crate::runtime::subscription_command::ConnectError;

/// There is no subscription of that name.
pub(in crate::api) fn subscription_not_found(missing: SubscriptionNotFound) -> Problem {
    Problem::new(ErrorReason::SubscriptionNotFound, missing.to_string())
        .with("subscription", missing.name)
}

/// There is no subscription of that name, but there are these.
pub(in crate::api) fn subscription_not_among(
    name: &SubscriptionName,
    others: &[SubscriptionDescription],
) -> Problem {
    let names = others.iter().map(|it| it.name.as_str());
    let problem = subscription_not_found(SubscriptionNotFound { name: name.clone() });
    match nearest(name.as_str(), names) {
        Some(meant) => problem.with_hint(format!("did you mean \"{meant}\"?")),
        None => problem,
    }
}

/// The subscription was deleted while the consumer received.
pub(in crate::api) fn subscription_deleted(name: &SubscriptionName) -> Problem {
    subscription_gone(name.as_str())
}

/// The subscription was deleted while its dead letters were gone through.
pub(in crate::api) fn subscription_gone(name: &str) -> Problem {
    let message = format!("subscription \"{name}\" was deleted");
    Problem::new(ErrorReason::SubscriptionNotFound, message).with("subscription", name)
}

/// The topic of a subscription's dead letters was deleted.
pub(in crate::api) fn dead_letter_topic_gone(name: &SubscriptionName) -> Problem {
    let message = format!("the topic of the dead letters of subscription \"{name}\" was deleted");
    Problem::new(ErrorReason::TopicNotFound, message).with("topic", format_args!("{name}.dlq"))
}

/// There is no such dead letter, or it is settled.
pub(in crate::api) fn dead_letter_not_found(name: &str, partition: u32, offset: u64) -> Problem {
    let message = format!(
        "subscription \"{name}\" has no dead letter {partition}@{offset} that is not settled"
    );
    Problem::new(ErrorReason::DeadLetterNotFound, message)
        .with("subscription", name)
        .with("partition", partition)
        .with("offset", offset)
        .with_hint("list the dead letters for those that there are")
}

/// There is none of so many dead letters that are named, of which this is the first.
pub(in crate::api) fn dead_letters_not_found(
    name: &str,
    partition: u32,
    offset: u64,
    count: usize,
) -> Problem {
    let message = format!(
        "subscription \"{name}\" has none of the {count} dead letters that are named, from \
         {partition}@{offset} on"
    );
    Problem::new(ErrorReason::DeadLetterNotFound, message)
        .with("subscription", name)
        .with("partition", partition)
        .with("offset", offset)
        .with_hint("list the dead letters for those that there are")
}

/// Another connection of the same consumer has taken over.
pub(in crate::api) fn consumer_replaced() -> Problem {
    let message = "another stream of this consumer has taken over";
    Problem::new(ErrorReason::MemberUnknown, message)
}

/// Why a subscription is not created.
pub(in crate::api) fn create_subscription_refused(
    refusal: CreateSubscriptionRefusal,
    topic: &TopicView,
    topics: &TopicTable,
) -> Problem {
    let text = refusal.to_string();
    match refusal {
        CreateSubscriptionRefusal::Exists { name, differing } => {
            Problem::new(ErrorReason::SubscriptionExists, text)
                .with("subscription", name)
                .with("differing", differing.join(" "))
                .with_hint("change it with an update, or delete it first")
        }
        CreateSubscriptionRefusal::TopicNotFound { .. } => topic_gone(topic.name()),
        CreateSubscriptionRefusal::DeadLetterPartitions { topic, .. } => {
            Problem::new(ErrorReason::TopicExists, text)
                .with("topic", topic)
                .with_hint("delete that topic, or choose another name for the subscription")
        }
        CreateSubscriptionRefusal::DeadLetterAge { topic } => {
            Problem::new(ErrorReason::TopicExists, text)
                .with("topic", topic)
                .with_hint("take its retention age away, or choose another name")
        }
        CreateSubscriptionRefusal::DeadLetterKeys { topic } => {
            Problem::new(ErrorReason::TopicExists, text)
                .with("topic", topic)
                .with_hint("choose another name, or delete that topic")
        }
        CreateSubscriptionRefusal::DeadLetterCycle { .. } => Problem::invalid_field("topic", text)
            .with_hint("choose another name for the subscription"),
        CreateSubscriptionRefusal::DeadLetterTopic(refusal) => create_refused(refusal, topics),
        CreateSubscriptionRefusal::TooMany => {
            limit_reached(text, "subscriptions_max", crate::core::SUBSCRIPTIONS_MAX)
        }
    }
}

/// Why a subscription is not deleted.
pub(in crate::api) fn delete_subscription_refused(refusal: DeleteSubscriptionRefusal) -> Problem {
    match refusal {
        DeleteSubscriptionRefusal::NotFound(missing) => subscription_not_found(missing),
        DeleteSubscriptionRefusal::DeadLettersInUse(in_use) => {
            topic_in_use(in_use).with_hint("delete those subscriptions first, or keep the topic")
        }
    }
}

/// Why a subscription is not changed.
pub(in crate::api) fn update_subscription_refused(refusal: UpdateSubscriptionRefusal) -> Problem {
    let text = refusal.to_string();
    match refusal {
        UpdateSubscriptionRefusal::NotFound(missing) => subscription_not_found(missing),
        UpdateSubscriptionRefusal::Changed { name, current } => {
            Problem::new(ErrorReason::EtagMismatch, text)
                .with("subscription", name)
                .with("etag", format!("{}-{}", current.id, current.revision))
                .with_hint("read the subscription again and decide again")
        }
        UpdateSubscriptionRefusal::Backoff { .. } => {
            Problem::invalid_field("config.backoff_min_ms", text)
        }
        UpdateSubscriptionRefusal::TooManyFilters { filter_count_max } => {
            limit_reached(text, "former_filters_max", filter_count_max)
                .with_hint("wait until what was looked at with them is settled, or seek")
        }
    }
}

/// There is no record of that offset yet.
pub(in crate::api) fn record_not_written(
    topic: &TopicName,
    asked: &v1::ExplainRecordRequest,
    log: &PartitionLog,
) -> Problem {
    let (partition, offset, end) = (asked.partition, asked.offset, log.end());
    let message = format!(
        "there is no record at offset {offset} yet: partition {partition} of topic \"{topic}\" ends \
         at {end}"
    );
    Problem::new(ErrorReason::OffsetOutOfRange, message)
        .with("topic", topic)
        .with("partition", partition)
        .with("requested", offset)
        .with("log_start_offset", log.log_start())
        .with("end_offset", end)
}

/// A filter is none.
pub(in crate::api) fn invalid_filter(field: &str, error: &FilterError) -> Problem {
    let problem = Problem::new(ErrorReason::InvalidFilter, error.to_string()).with(FIELD, field);
    match error.position() {
        Some(position) => problem.with("position", position),
        None => problem,
    }
}

/// Why a subscription is not moved.
pub(in crate::api) fn seek_subscription_refused(refusal: SeekSubscriptionRefusal) -> Problem {
    let text = refusal.to_string();
    match refusal {
        SeekSubscriptionRefusal::NotFound(missing) => subscription_not_found(missing),
        SeekSubscriptionRefusal::PartitionNotFound { partition } => {
            Problem::new(ErrorReason::PartitionNotFound, text).with("partition", partition)
        }
    }
}

/// Why a consumer is not let in.
pub(in crate::api) fn connect_refused(error: ConnectError, name: &SubscriptionName) -> Problem {
    let text = error.to_string();
    match error {
        ConnectError::NotFound(missing) => subscription_not_found(missing),
        ConnectError::Refused(ConnectRefusal::Busy) => {
            Problem::new(ErrorReason::SubscriptionBusy, text)
                .with("subscription", name)
                .with_hint("it takes over when the other one goes, if it may wait")
        }
        ConnectError::Refused(ConnectRefusal::TooMany { consumer_count_max }) => {
            limit_reached(text, "consumers_per_subscription_max", consumer_count_max)
        }
    }
}

/// It is not said where a subscription begins, which has no default: tells how many records each choice
/// would deliver.
pub(in crate::api) fn subscription_start_unset(
    name: &SubscriptionName,
    topic: &TopicView,
) -> Problem {
    let logs = topic.partitions().iter().map(|handle| handle.log());
    let count: u64 = logs.map(|log| log.end().since(log.log_start())).sum();
    let message = format!("it is not said where subscription \"{name}\" begins");
    Problem::new(ErrorReason::StartUnset, message)
        .with("subscription", name)
        .with("topic", topic.name())
        .with("beginning_records", count)
        .with("end_records", 0)
        .with_hint(format!(
            "choose the beginning ({count} records) or the end (none)"
        ))
}
