//! The same for scheduled records.

use towpath_proto::names::TopicName;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;

use super::{SPACE_WAIT, limit_reached};
use crate::core::{RescheduleRefusal, ScheduleLimit, ScheduleRefusal};

/// Nothing of that id is scheduled in the topic.
pub(in crate::api) fn schedule_not_found(topic: &TopicName, id: &str) -> Problem {
    let message = format!("no record is scheduled as \"{id}\" in topic \"{topic}\"");
    Problem::new(ErrorReason::ScheduleNotFound, message)
        .with("topic", topic)
        .with("schedule_id", id)
        .with_hint("it was delivered or cancelled, or never was: list what is scheduled")
}

/// Why a record is not scheduled. `field` is that of its time.
pub(in crate::api) fn schedule_refused(
    refusal: ScheduleRefusal,
    topic: Option<&TopicName>,
    field: &str,
) -> Problem {
    let text = refusal.to_string();
    let problem = match refusal {
        ScheduleRefusal::InPast { due_ms, now_ms } => Problem::invalid_field(field, text)
            .with("due_ms", due_ms)
            .with("broker_time_ms", now_ms)
            .with_hint(
                "publish it if it is due, or set a delay, which the broker's clock measures",
            ),
        ScheduleRefusal::TooFar { due_ms, now_ms } => Problem::invalid_field(field, text)
            .with("due_ms", due_ms)
            .with("broker_time_ms", now_ms)
            .with_hint("times are in milliseconds since the Unix epoch, delays in milliseconds"),
        ScheduleRefusal::Exists { name, due_ms } => Problem::new(ErrorReason::ScheduleExists, text)
            .with("schedule_id", name)
            .with("due_ms", due_ms)
            .with_hint("reschedule that one, cancel it first, or choose another id"),
        ScheduleRefusal::Full { limit, limit_max } => {
            let name = match limit {
                ScheduleLimit::TopicCount => "scheduled_per_topic_max",
                ScheduleLimit::TopicBytes => "scheduled_bytes_per_topic_max",
                ScheduleLimit::Count => "scheduled_max",
                ScheduleLimit::Bytes => "scheduled_bytes_max",
            };
            limit_reached(text, name, limit_max)
                .with_hint("wait until some are delivered, or cancel some")
        }
    };
    match topic {
        Some(topic) => problem.with("topic", topic),
        None => problem,
    }
}

/// Why a scheduled record is not due at another time.
pub(in crate::api) fn reschedule_refused(
    refusal: RescheduleRefusal,
    topic: &TopicName,
    id: &str,
) -> Problem {
    match refusal {
        RescheduleRefusal::NotFound(_) => schedule_not_found(topic, id),
        RescheduleRefusal::Refused(refusal) => schedule_refused(refusal, Some(topic), "time"),
        RescheduleRefusal::StorageFull => {
            Problem::new(ErrorReason::StorageFull, "the disk is full").with_retry_after(SPACE_WAIT)
        }
    }
}
