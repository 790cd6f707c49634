//! The newest record of a key.

use bytes::Bytes;
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::v1::key_service_client::KeyServiceClient;

use super::KeyRecord;
use crate::client::Repetition;
use crate::{Client, Error};

/// What a key stands at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LatestRecord {
    /// How many records were accepted for the key; 0 if there was none, or where a topic does not count.
    pub current_version: u64,
    /// Its newest record; none if there was none, or if it was let go of. Where a topic compares versions of
    /// entities, the record with the greatest one.
    pub record: Option<KeyRecord>,
}

impl Client {
    /// Reads the newest record of a key, on a topic with [key versions](crate::NewTopic::key_versions) or
    /// one that [compares versions of entities](crate::NewTopic::stale_records).
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound),
    /// [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument) if the topic does neither,
    /// [`ErrorReason::LogCorrupt`](crate::ErrorReason::LogCorrupt) if the record is damaged.
    pub async fn get_latest(
        &self,
        topic: &str,
        key: impl Into<Bytes>,
    ) -> Result<LatestRecord, Error> {
        let name = name_of(topic)?;
        let request = v1::GetLatestRequest {
            topic: topic.to_owned(),
            key: key.into(),
        };
        let call = |channel| {
            let request = request.clone();
            async move { KeyServiceClient::new(channel).get_latest(request).await }
        };
        let client = self.shared();
        let latest = client
            .call(client.give_up_after, Repetition::Harmless, call)
            .await?;
        let record = latest.record.map(|it| KeyRecord::from_proto(&name, it));
        Ok(LatestRecord {
            current_version: latest.current_version,
            record: record.transpose()?,
        })
    }
}

/// Checks the name of a topic, which its records carry.
pub(super) fn name_of(topic: &str) -> Result<TopicName, Error> {
    TopicName::new(topic).map_err(|error| {
        let text = "not the name of a topic";
        Error::invalid("topic", text)
            .with("topic", topic)
            .because(error)
    })
}
