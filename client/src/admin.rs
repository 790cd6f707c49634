//! Topics, groups, subscriptions, producers, offsets and the broker itself: calls that are made now and then.

mod dead_letter;
mod group;
mod group_calls;
mod pending_calls;
mod producer;
mod schedule;
mod server;
mod subscription;
mod subscription_calls;
mod topic;
mod topic_change;

use std::sync::Arc;
use std::time::Duration;

use towpath_proto::v1;
use towpath_proto::v1::admin_service_client::AdminServiceClient;
use towpath_proto::v1::fetch_service_client::FetchServiceClient;
use towpath_proto::v1::topic_service_client::TopicServiceClient;

use crate::client::{Repetition, Shared};
use crate::reader::Source;
use crate::{Error, ErrorReason};

pub use dead_letter::{
    DeadLetter, DeadLetterFilter, DeadLetterJob, DeadLetterKind, DeadLetterList,
    DeadLetterProgress, DeadLetterState, DiscardDeadLetters, FailedAttempt, RedriveDeadLetters,
};
pub use group::{
    Group, GroupDeletion, GroupMember, GroupPartition, GroupSeek, GroupState, SoughtPartition,
};
pub use producer::{NamedProducer, ProducerDeletion};
pub use schedule::{ScheduleList, SchedulePage, ScheduledRecord};
pub use server::{Limits, ServerInfo};
pub use subscription::{
    CreatedSubscription, FilterVerdict, NewSubscription, Obstacle, ObstacleKind, OnDeadLetter,
    OnFilterError, PendingList, PendingPage, PendingRecord, RecordExplanation, RecordHolder,
    RecordState, SoughtSubscriptionPartition, Subscription, SubscriptionConfig,
    SubscriptionConsumer, SubscriptionDeletion, SubscriptionMode, SubscriptionPartition,
    SubscriptionSeek, SubscriptionUpdate,
};
pub use topic::{
    LookedUpOffset, LookedUpOffsets, NewTopic, StaleRecords, Topic, TopicDeletion, TopicPartition,
};
pub use topic_change::{TopicCompaction, TopicTrim, TopicUpdate, TrimmedPartition, TrimmedTopic};

/// Administration of a broker. Cheap to clone.
///
/// Calls that only read are repeated until the client gives up. Calls that change something are
/// repeated only while it is certain that nothing happened; an error of which
/// [`Error::may_have_happened`] is true leaves the outcome open. Dropping the future of a call
/// leaves the outcome open too.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Arc<Shared>,
    patience: Duration,
}

impl Admin {
    /// Calls are given up after `patience`.
    pub(crate) const fn new(client: Arc<Shared>, patience: Duration) -> Self {
        Self { client, patience }
    }

    /// Creates a topic; it is on disk when this returns.
    ///
    /// Not idempotent: if the answer to an earlier call was lost, this is refused because the topic
    /// is there. [`Admin::ensure_topic`] takes that for success.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicExists`] if the name is taken, [`ErrorReason::InvalidArgument`] for a name,
    /// number of partitions or setting that is not allowed, [`ErrorReason::LimitReached`] if there are too
    /// many topics or partitions.
    pub async fn create_topic(&self, topic: impl Into<NewTopic>) -> Result<Topic, Error> {
        let request = topic.into().to_request();
        let call = |channel| {
            let request = request.clone();
            async move { TopicServiceClient::new(channel).create_topic(request).await }
        };
        let response = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        topic_of(response.topic)
    }

    /// Creates a topic unless it is there already; returns the topic that is there afterwards.
    ///
    /// May be repeated as often as wanted. An existing topic is not changed.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicExists`] if there is a topic of this name with another number of
    /// partitions or other settings than asked for, and the text says which it has; otherwise as
    /// [`Admin::create_topic`].
    pub async fn ensure_topic(&self, topic: impl Into<NewTopic>) -> Result<Topic, Error> {
        let new_topic = topic.into();
        let refusal = match self.create_topic(new_topic.clone()).await {
            Err(error) if error.reason() == Some(ErrorReason::TopicExists) => error,
            created => return created,
        };
        let existing = self.topic(new_topic.name()).await?;
        let differences = new_topic.differences(&existing);
        if differences.is_empty() {
            return Ok(existing);
        }
        Err(differences
            .into_iter()
            .fold(refusal, |error, (name, found)| error.with(name, found)))
    }

    /// Changes settings of a topic and returns the topic as it is then, without its partitions;
    /// durable when this returns.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`] if there is none of this name, [`ErrorReason::EtagMismatch`] if
    /// it is not any more what [`TopicUpdate::if_unchanged`] asks for (also when the answer to an
    /// earlier call was lost), [`ErrorReason::InvalidArgument`] for a value out of range.
    pub async fn update_topic(&self, update: TopicUpdate) -> Result<Topic, Error> {
        let request = update.to_request();
        let call = |channel| {
            let request = request.clone();
            async move { TopicServiceClient::new(channel).update_topic(request).await }
        };
        let response = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        topic_of(response.topic)
    }

    /// Lets go of the oldest records of a topic for good, exactly up to the given place, and returns
    /// what went; durable when this returns. Readers that had not come so far are told of a
    /// [`Gap`](crate::Gap).
    ///
    /// May be repeated: what went before is not told again.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`] if there is none of this name, or not the one that
    /// [`TopicTrim::only`] names, [`ErrorReason::PartitionNotFound`],
    /// [`ErrorReason::OffsetOutOfRange`] for an offset above the end of one of the partitions, and
    /// [`ErrorReason::InvalidArgument`] for [`Start::Offsets`](crate::Start::Offsets).
    pub async fn trim_topic(&self, trim: TopicTrim) -> Result<TrimmedTopic, Error> {
        let request = trim.to_request()?;
        let call = |channel| {
            let request = request.clone();
            async move { TopicServiceClient::new(channel).trim_topic(request).await }
        };
        let response = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        TrimmedTopic::from_proto(&response)
    }

    /// Has a compacted topic be compacted now, instead of when half of it is new. Returns what lies before
    /// it, and does not wait for that. May be repeated.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`] if there is none of this name, [`ErrorReason::InvalidArgument`] if it
    /// keeps every record.
    pub async fn compact_topic(&self, name: &str) -> Result<TopicCompaction, Error> {
        let request = v1::CompactTopicRequest {
            name: name.to_owned(),
            topic_id: None,
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                let mut topics = TopicServiceClient::new(channel);
                topics.compact_topic(request).await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        Ok(TopicCompaction::from_proto(response))
    }

    /// Shows a topic with its partitions.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`] if there is none of this name.
    pub async fn topic(&self, name: &str) -> Result<Topic, Error> {
        let request = v1::GetTopicRequest {
            name: name.to_owned(),
        };
        let call = |channel| {
            let request = request.clone();
            async move { TopicServiceClient::new(channel).get_topic(request).await }
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        topic_of(response.topic)
    }

    /// Lists all topics in the order of their names, without their partitions.
    ///
    /// # Errors
    ///
    /// Only those of reaching the broker.
    pub async fn topics(&self) -> Result<Vec<Topic>, Error> {
        self.topics_with_prefix("").await
    }

    /// Lists the topics whose names begin with `prefix`, in the order of their names, without their
    /// partitions. Topics that are created or deleted meanwhile may be missing or present.
    ///
    /// # Errors
    ///
    /// Only those of reaching the broker.
    pub async fn topics_with_prefix(&self, prefix: &str) -> Result<Vec<Topic>, Error> {
        let mut request = v1::ListTopicsRequest {
            page_size: towpath_proto::limits::PAGE_SIZE_MAX,
            page_token: String::new(),
            name_prefix: prefix.to_owned(),
        };
        let mut topics = Vec::new();
        loop {
            let call = |channel| {
                let request = request.clone();
                async move { TopicServiceClient::new(channel).list_topics(request).await }
            };
            let page = self
                .client
                .call(self.patience, Repetition::Harmless, call)
                .await?;
            for topic in page.topics {
                topics.push(Topic::from_proto(topic)?);
            }
            if page.next_page_token.is_empty() {
                return Ok(topics);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Deletes a topic with all its records and returns what it was; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`] if there is none of this name, or not the one that
    /// [`TopicDeletion::only`] names: also when the answer to an earlier call was lost.
    pub async fn delete_topic(&self, topic: impl Into<TopicDeletion>) -> Result<Topic, Error> {
        let request = topic.into().to_request();
        let call = |channel| {
            let request = request.clone();
            async move { TopicServiceClient::new(channel).delete_topic(request).await }
        };
        let response = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        topic_of(response.topic)
    }

    /// Turns a place into offsets and tells where each log starts and ends.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`], [`ErrorReason::PartitionNotFound`],
    /// [`ErrorReason::OffsetOutOfRange`], and [`ErrorReason::InvalidArgument`] if the source begins
    /// at single offsets, which need no looking up.
    pub async fn lookup_offsets(
        &self,
        source: impl Into<Source>,
    ) -> Result<LookedUpOffsets, Error> {
        let request = source.into().to_lookup()?;
        let call = |channel| {
            let request = request.clone();
            async move {
                FetchServiceClient::new(channel)
                    .lookup_offsets(request)
                    .await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        Ok(LookedUpOffsets::from_proto(&response))
    }

    /// Tells which broker this is and what it accepts.
    ///
    /// # Errors
    ///
    /// Only those of reaching the broker.
    pub async fn server_info(&self) -> Result<ServerInfo, Error> {
        let call = |channel| async move {
            let request = v1::GetServerInfoRequest {};
            AdminServiceClient::new(channel)
                .get_server_info(request)
                .await
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        Ok(ServerInfo::from_proto(response))
    }
}

fn topic_of(topic: Option<v1::Topic>) -> Result<Topic, Error> {
    Topic::from_proto(topic.ok_or_else(|| Error::protocol("the answer holds no topic"))?)
}

/// The id as 32 hexadecimal digits; empty if it is not one.
pub(crate) fn hex(id: &[u8]) -> String {
    uuid::Uuid::from_slice(id).map_or_else(|_| String::new(), |id| id.simple().to_string())
}
