//! Between the messages of the wire and the broker's own types.

use towpath_proto::names::TopicName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{Offset, PartitionLog, TopicId};

use super::status;
use crate::core::{CreateTopic, StaleRecords, TopicConfig, TopicRevision, TopicSettings};
use crate::runtime::published::{PartitionHandle, TopicView};

/// Reads the name of a topic from the field `field`.
pub(super) fn topic_name(field: &str, name: &str) -> Result<TopicName, Problem> {
    TopicName::new(name).map_err(|error| status::invalid_name(field, error))
}

/// Reads the id of a topic.
pub(super) fn topic_id(id: Option<u64>) -> Option<TopicId> {
    id.map(TopicId::new)
}

/// A topic without its partitions.
pub(super) fn topic(view: &TopicView) -> v1::Topic {
    topic_with(view, view.settings())
}

/// The same with settings that may not be those of now.
pub(super) fn topic_with(view: &TopicView, settings: TopicSettings) -> v1::Topic {
    let logs = || view.partitions().iter().map(PartitionHandle::log);
    v1::Topic {
        name: view.name().as_str().to_owned(),
        topic_id: view.id().get(),
        partition_count: partition_count(view),
        partitions: Vec::new(),
        record_count: logs().map(|log| log.end().since(log.log_start())).sum(),
        size_bytes: logs().map(|log| log.size_bytes()).sum(),
        create_time_ms: view.create_time_ms(),
        config: topic_config(settings.config),
        etag: etag(settings.revision),
    }
}

/// Settings as they were given.
pub(super) fn topic_config(config: TopicConfig) -> Option<v1::TopicConfig> {
    (config != TopicConfig::default()).then_some(v1::TopicConfig {
        retention_age_ms: config.retention_age_ms,
        retention_bytes: config.retention_bytes,
        dedupe_window_ms: config.dedupe_window_ms,
        key_versions: config.has_key_versions,
        compact: config.compact,
        tombstone_grace_ms: config.tombstone_grace_ms,
        stale_records: match config.stale_records {
            None => v1::StaleRecords::Unspecified,
            Some(StaleRecords::Refuse) => v1::StaleRecords::Refuse,
            Some(StaleRecords::Mark) => v1::StaleRecords::Mark,
        }
        .into(),
    })
}

/// The name of a state of a topic's settings.
pub(super) fn etag(revision: TopicRevision) -> String {
    format!("{}-{}", revision.topic_id, revision.revision)
}

/// Reads what [`etag`] wrote.
pub(super) fn parse_etag(etag: &str) -> Option<TopicRevision> {
    let (topic_id, revision) = etag.split_once('-')?;
    Some(TopicRevision {
        topic_id: TopicId::new(topic_id.parse().ok()?),
        revision: revision.parse().ok()?,
    })
}

/// A topic that would be created.
pub(super) fn validated_topic(wish: &CreateTopic) -> v1::Topic {
    v1::Topic {
        name: wish.name.as_str().to_owned(),
        partition_count: wish.partition_count,
        config: topic_config(wish.config),
        ..v1::Topic::default()
    }
}

/// One partition that ends at `end`.
pub(super) fn partition(number: u32, log: &PartitionLog, end: Offset) -> v1::TopicPartition {
    v1::TopicPartition {
        partition: number,
        log_start_offset: log.log_start().get(),
        end_offset: end.get(),
        size_bytes: log.size_bytes(),
        last_append_time_ms: log.last_append_time_ms(),
    }
}

/// Number of partitions of a topic.
pub(super) fn partition_count(view: &TopicView) -> u32 {
    u32::try_from(view.partitions().len()).unwrap_or(u32::MAX)
}
