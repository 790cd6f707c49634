//! What a broker says about itself.

use std::time::SystemTime;

use towpath_proto::batch::BatchLimits;
use towpath_proto::ids::Lsn;
use towpath_proto::{limits, v1};

use crate::time::from_ms;

/// Which broker this is and what it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Version of the broker, such as 0.1.0.
    pub version: String,
    /// Identity of its data folder: 32 hexadecimal digits.
    pub broker_id: String,
    /// Number of the life of that data, raised at each start.
    pub incarnation: u64,
    /// When the broker began to serve.
    pub start_time: SystemTime,
    /// What an acknowledgement promises, for people.
    pub durability: String,
    /// What the broker accepts.
    pub limits: Limits,
    /// The durable LSN.
    pub lsn: Lsn,
}

impl ServerInfo {
    pub(super) fn from_proto(response: v1::GetServerInfoResponse) -> Self {
        Self {
            version: response.version,
            broker_id: response.broker_id,
            incarnation: response.incarnation,
            start_time: from_ms(response.start_time_ms),
            durability: response.durability,
            limits: Limits::from_proto(&response.limits.unwrap_or_default()),
            lsn: Lsn::new(response.lsn),
        }
    }
}

/// What a broker accepts; the defaults of this version where it does not say. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest encoded record.
    pub record_bytes_max: usize,
    /// Largest encoded batch, and largest sum of the records of one `publish`.
    pub batch_bytes_max: usize,
    /// Most records in one batch.
    pub records_per_batch_max: u32,
    /// Largest key.
    pub key_bytes_max: usize,
    /// Most headers of one record.
    pub headers_per_record_max: u32,
    /// Longest header name.
    pub header_name_bytes_max: usize,
    /// Longest header value.
    pub header_value_bytes_max: usize,
    /// Longest topic name.
    pub topic_name_bytes_max: usize,
    /// Most partitions of one topic.
    pub partitions_per_topic_max: u32,
    /// Most topics.
    pub topics_max: u32,
    /// Most partitions of all topics together.
    pub partitions_max: u32,
    /// Most partitions that one reader may read.
    pub partitions_per_fetch_max: u32,
    /// Most batches of a producer and partition that may be unanswered.
    pub producer_window_batches: u32,
    /// Most consumer groups.
    pub groups_max: u32,
    /// Most members of one consumer group.
    pub members_per_group_max: u32,
    /// Most partitions that one consumer group may read, over all its topics.
    pub partitions_per_group_max: u32,
    /// Most topics that one member of a group may read.
    pub topics_per_member_max: u32,
    /// Most names of producers.
    pub producer_names_max: u32,
    /// Most operations of one commit.
    pub operations_per_commit_max: u32,
    /// Largest sum of the records of one commit.
    pub commit_bytes_max: usize,
    /// Most records of one batch or commit to topics that look at records.
    pub records_looked_at_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self::from_proto(&limits::published())
    }
}

impl Limits {
    pub(crate) fn from_proto(limits: &v1::Limits) -> Self {
        let own = limits::published();
        let size = |says: u64, own: u64| {
            let bytes = if says == 0 { own } else { says };
            usize::try_from(bytes).unwrap_or(usize::MAX)
        };
        let count = |says: u32, own: u32| if says == 0 { own } else { says };
        Self {
            record_bytes_max: size(limits.record_bytes_max, own.record_bytes_max),
            batch_bytes_max: size(limits.batch_bytes_max, own.batch_bytes_max),
            records_per_batch_max: count(limits.records_per_batch_max, own.records_per_batch_max),
            key_bytes_max: size(limits.key_bytes_max, own.key_bytes_max),
            headers_per_record_max: count(
                limits.headers_per_record_max,
                own.headers_per_record_max,
            ),
            header_name_bytes_max: size(
                limits.header_name_bytes_max.into(),
                own.header_name_bytes_max.into(),
            ),
            header_value_bytes_max: size(limits.header_value_bytes_max, own.header_value_bytes_max),
            topic_name_bytes_max: size(
                limits.topic_name_bytes_max.into(),
                own.topic_name_bytes_max.into(),
            ),
            partitions_per_topic_max: count(
                limits.partitions_per_topic_max,
                own.partitions_per_topic_max,
            ),
            topics_max: count(limits.topics_max, own.topics_max),
            partitions_max: count(limits.partitions_max, own.partitions_max),
            partitions_per_fetch_max: count(
                limits.partitions_per_fetch_max,
                own.partitions_per_fetch_max,
            ),
            producer_window_batches: count(
                limits.producer_window_batches,
                own.producer_window_batches,
            ),
            groups_max: count(limits.groups_max, own.groups_max),
            members_per_group_max: count(limits.members_per_group_max, own.members_per_group_max),
            partitions_per_group_max: count(
                limits.partitions_per_group_max,
                own.partitions_per_group_max,
            ),
            topics_per_member_max: count(limits.topics_per_member_max, own.topics_per_member_max),
            producer_names_max: count(limits.producer_names_max, own.producer_names_max),
            operations_per_commit_max: count(
                limits.operations_per_commit_max,
                own.operations_per_commit_max,
            ),
            commit_bytes_max: size(limits.commit_bytes_max, own.commit_bytes_max),
            records_looked_at_max: count(limits.records_looked_at_max, own.records_looked_at_max),
        }
    }

    /// The limits that a single record and a batch have to keep to.
    pub(crate) const fn of_batches(&self) -> BatchLimits {
        BatchLimits {
            batch_bytes_max: self.batch_bytes_max,
            records_max: self.records_per_batch_max,
            record_bytes_max: self.record_bytes_max,
            key_bytes_max: self.key_bytes_max,
            headers_max: self.headers_per_record_max,
            header_name_bytes_max: self.header_name_bytes_max,
            header_value_bytes_max: self.header_value_bytes_max,
        }
    }
}
