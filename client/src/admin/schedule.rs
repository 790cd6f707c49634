//! Scheduled records: listing, cancelling, rescheduling.

use std::time::SystemTime;

use bytes::Bytes;
use towpath_proto::ids::PartitionId;
use towpath_proto::v1;
use towpath_proto::v1::schedule_service_client::ScheduleServiceClient;

use super::Admin;
use crate::client::Repetition;
use crate::time::from_ms;
use crate::{Due, Error};

/// Which scheduled records to list, and where the list goes on.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::list_schedules`"]
pub struct ScheduleList {
    request: v1::ListSchedulesRequest,
}

impl Default for ScheduleList {
    fn default() -> Self {
        Self::new()
    }
}

impl ScheduleList {
    /// Those of all topics.
    pub fn new() -> Self {
        Self {
            request: v1::ListSchedulesRequest {
                page_size: towpath_proto::limits::PAGE_SIZE_MAX,
                ..v1::ListSchedulesRequest::default()
            },
        }
    }

    /// Only those of this topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.request.topic = topic.into();
        self
    }

    /// Sets how many records a page has at most, up to 1,000, which is the default.
    pub const fn page_size(mut self, count: u32) -> Self {
        self.request.page_size = count;
        self
    }
}

/// A page of scheduled records.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SchedulePage {
    /// By time, those of one time in the order in which they were accepted.
    pub records: Vec<ScheduledRecord>,
    /// How many are scheduled in the topic, or in all.
    pub scheduled_count: u64,
    /// How many bytes their records and ids have.
    pub scheduled_bytes: u64,
    /// The next page; none behind the last. A page may be short, or empty, and not be the last.
    pub next: Option<ScheduleList>,
}

/// A record that waits until it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduledRecord {
    /// Name of the topic.
    pub topic: String,
    /// The partition that it goes to.
    pub partition: PartitionId,
    /// What names it within its topic.
    pub id: String,
    /// When it is due, by the broker's clock.
    pub due_time: SystemTime,
    /// When it was accepted, by the broker's clock.
    pub accept_time: SystemTime,
    /// Its key.
    pub key: Option<Bytes>,
    /// Length of the encoded record.
    pub record_bytes: u64,
}

impl ScheduledRecord {
    fn from_proto(record: v1::ScheduledRecord) -> Self {
        Self {
            topic: record.topic,
            partition: PartitionId::new(record.partition),
            id: record.schedule_id,
            due_time: from_ms(record.due_ms),
            accept_time: from_ms(record.accept_time_ms),
            key: record.key,
            record_bytes: record.record_bytes,
        }
    }
}

/// Scheduled records.
impl Admin {
    /// Lists a page of scheduled records, by the time when they are due. Those that are scheduled or
    /// delivered meanwhile may be missing or present.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound).
    pub async fn list_schedules(&self, list: ScheduleList) -> Result<SchedulePage, Error> {
        let mut request = list.request;
        let call = |channel| {
            let request = request.clone();
            async move {
                ScheduleServiceClient::new(channel)
                    .list_schedules(request)
                    .await
            }
        };
        let page = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        request.page_token = page.next_page_token;
        let is_last = request.page_token.is_empty();
        let records = page.records.into_iter();
        Ok(SchedulePage {
            records: records.map(ScheduledRecord::from_proto).collect(),
            scheduled_count: page.scheduled_count,
            scheduled_bytes: page.scheduled_bytes,
            next: (!is_last).then_some(ScheduleList { request }),
        })
    }

    /// Takes a scheduled record away, and returns when it would have been due; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::ScheduleNotFound`](crate::ErrorReason::ScheduleNotFound) if it is not scheduled any
    /// more: it was delivered, or cancelled, also by an earlier call whose answer was lost.
    pub async fn cancel_schedule(
        &self,
        topic: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<SystemTime, Error> {
        let request = v1::CancelScheduleRequest {
            topic: topic.into(),
            schedule_id: id.into(),
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                ScheduleServiceClient::new(channel)
                    .cancel_schedule(request)
                    .await
            }
        };
        let cancelled = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        Ok(from_ms(cancelled.due_ms))
    }

    /// Makes a scheduled record due at another time, and returns when that is; durable when this returns.
    /// It comes behind all others of that time.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::ScheduleNotFound`](crate::ErrorReason::ScheduleNotFound) if it is not scheduled any
    /// more, [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument) for a time in the past or
    /// too far ahead.
    pub async fn reschedule(
        &self,
        topic: impl Into<String>,
        id: impl Into<String>,
        due: impl Into<Due>,
    ) -> Result<SystemTime, Error> {
        let request = v1::RescheduleRequest {
            topic: topic.into(),
            schedule_id: id.into(),
            time: Some(due.into().to_proto()),
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                ScheduleServiceClient::new(channel)
                    .reschedule(request)
                    .await
            }
        };
        let moved = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        Ok(from_ms(moved.due_ms))
    }
}
