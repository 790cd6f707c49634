//! Topics as they are asked for and as they are shown.

use std::time::{Duration, SystemTime};

use towpath_proto::ids::{Lsn, Offset, PartitionId, TopicId};
use towpath_proto::names::TopicName;
use towpath_proto::v1;

use crate::Error;
use crate::time::{from_ms, whole_ms};

/// A topic to be created.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::create_topic`"]
pub struct NewTopic {
    name: String,
    partition_count: Option<u32>,
    retention_age: Option<Duration>,
    retention_bytes: Option<u64>,
    dedupe_window: Option<Duration>,
    has_key_versions: bool,
    stale_records: Option<StaleRecords>,
    is_compacted: bool,
    tombstone_grace: Option<Duration>,
    is_dry_run: bool,
}

/// What becomes of a record that brings a version of its entity
/// ([`Record::entity_version`](crate::Record::entity_version)) that is not greater than the one its topic
/// has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaleRecords {
    /// It is not written, and fails with
    /// [`ErrorReason::StaleEntityVersion`](crate::ErrorReason::StaleEntityVersion).
    Refuse,
    /// It is written with a header that says so:
    /// [`ReceivedRecord::stale_behind`](crate::ReceivedRecord::stale_behind).
    Mark,
}

impl NewTopic {
    /// A topic of this name, with the broker's defaults for everything else.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partition_count: None,
            retention_age: None,
            retention_bytes: None,
            dedupe_window: None,
            has_key_versions: false,
            stale_records: None,
            is_compacted: false,
            tombstone_grace: None,
            is_dry_run: false,
        }
    }

    /// Sets the number of partitions, which cannot be changed later. Default: the broker's, 8.
    pub const fn partitions(mut self, count: u32) -> Self {
        self.partition_count = Some(count);
        self
    }

    /// Keeps records for at least so long after they were appended, in whole milliseconds, from 1;
    /// older ones may go. Default: the broker's, which keeps them for ever.
    pub const fn retention_age(mut self, age: Duration) -> Self {
        self.retention_age = Some(age);
        self
    }

    /// Keeps the newest records up to at least so many bytes of the whole topic, from 1; older ones
    /// may go. Default: the broker's, which keeps all.
    pub const fn retention_bytes(mut self, bytes: u64) -> Self {
        self.retention_bytes = Some(bytes);
        self
    }

    /// Keeps one record of each event, named by its source and id ([`Record::event`](crate::Record::event)),
    /// however often it is sent within so long of the first time: whole milliseconds, 1 second to 7 days.
    /// Default: the broker's, which compares nothing.
    pub const fn dedupe_window(mut self, window: Duration) -> Self {
        self.dedupe_window = Some(window);
        self
    }

    /// Counts the records of each key, so that they can rest on its version
    /// ([`Record::expect_version`](crate::Record::expect_version)) and be read alone
    /// ([`Client::read_key`](crate::Client::read_key)). Cannot be changed later. Default: no.
    pub const fn key_versions(mut self) -> Self {
        self.has_key_versions = true;
        self
    }

    /// Compares the versions that records bring of their entities, which all of them need then, with a key.
    /// Cannot be changed later. Default: nothing is compared.
    pub const fn stale_records(mut self, stale_records: StaleRecords) -> Self {
        self.stale_records = Some(stale_records);
        self
    }

    /// Keeps of each key only the last record, some time after a newer one was written; offsets stay as they
    /// are. Every record needs a key then, and one without a value
    /// ([`Record::tombstone`](crate::Record::tombstone)) lets go of its key. Cannot be changed later. Default:
    /// no.
    pub const fn compact(mut self) -> Self {
        self.is_compacted = true;
        self
    }

    /// For how long compaction leaves a tombstone after it was written, so that readers who are not further
    /// behind hear of it. Default: the broker's, a day.
    pub const fn tombstone_grace(mut self, grace: Duration) -> Self {
        self.tombstone_grace = Some(grace);
        self
    }

    /// Only asks whether it would succeed.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What an existing topic has that is not as it is asked for, by the names of the contract.
    pub(super) fn differences(&self, topic: &Topic) -> Vec<(&'static str, String)> {
        let mut differences = Vec::new();
        let mut compare = |name, wanted: Option<u64>, found: Option<u64>| {
            if wanted.is_some() && wanted != found {
                let found = found.map_or_else(|| "none".to_owned(), |it| it.to_string());
                differences.push((name, found));
            }
        };
        compare(
            "partition_count",
            self.partition_count.map(u64::from),
            Some(topic.partition_count.into()),
        );
        compare(
            "retention_age_ms",
            self.retention_age.map(whole_ms),
            topic.retention_age.map(whole_ms),
        );
        compare(
            "retention_bytes",
            self.retention_bytes,
            topic.retention_bytes,
        );
        compare(
            "dedupe_window_ms",
            self.dedupe_window.map(whole_ms),
            topic.dedupe_window.map(whole_ms),
        );
        compare(
            "tombstone_grace_ms",
            self.tombstone_grace.map(whole_ms),
            topic.tombstone_grace.map(whole_ms),
        );
        // It cannot be switched on any more.
        if self.has_key_versions && !topic.has_key_versions {
            differences.push(("key_versions", false.to_string()));
        }
        if self.is_compacted && !topic.is_compacted {
            differences.push(("compact", false.to_string()));
        }
        if self.stale_records.is_some() && self.stale_records != topic.stale_records {
            let found = topic.stale_records.map_or("none", StaleRecords::as_str);
            differences.push(("stale_records", found.to_owned()));
        }
        differences
    }

    pub(super) fn to_request(&self) -> v1::CreateTopicRequest {
        v1::CreateTopicRequest {
            name: self.name.clone(),
            partition_count: self.partition_count.unwrap_or_default(),
            config: Some(v1::TopicConfig {
                retention_age_ms: self.retention_age.map(whole_ms),
                retention_bytes: self.retention_bytes,
                dedupe_window_ms: self.dedupe_window.map(whole_ms),
                key_versions: self.has_key_versions,
                stale_records: StaleRecords::to_proto(self.stale_records).into(),
                compact: self.is_compacted,
                tombstone_grace_ms: self.tombstone_grace.map(whole_ms),
            }),
            validate_only: self.is_dry_run,
        }
    }
}

impl StaleRecords {
    /// As commands and errors name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Mark => "mark",
        }
    }

    const fn to_proto(setting: Option<Self>) -> v1::StaleRecords {
        match setting {
            None => v1::StaleRecords::Unspecified,
            Some(Self::Refuse) => v1::StaleRecords::Refuse,
            Some(Self::Mark) => v1::StaleRecords::Mark,
        }
    }

    const fn from_proto(setting: v1::StaleRecords) -> Option<Self> {
        match setting {
            v1::StaleRecords::Unspecified => None,
            v1::StaleRecords::Refuse => Some(Self::Refuse),
            v1::StaleRecords::Mark => Some(Self::Mark),
        }
    }
}

impl<T: Into<String>> From<T> for NewTopic {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}

/// A topic to be deleted.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::delete_topic`"]
pub struct TopicDeletion {
    name: String,
    topic_id: Option<TopicId>,
    is_dry_run: bool,
}

impl TopicDeletion {
    /// Whatever topic has this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            topic_id: None,
            is_dry_run: false,
        }
    }

    /// Only the topic with this id, so that one that was created again under the name stays.
    pub const fn only(mut self, topic_id: TopicId) -> Self {
        self.topic_id = Some(topic_id);
        self
    }

    /// Only asks what would be deleted.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(super) fn to_request(&self) -> v1::DeleteTopicRequest {
        v1::DeleteTopicRequest {
            name: self.name.clone(),
            topic_id: self.topic_id.map(TopicId::get),
            validate_only: self.is_dry_run,
        }
    }
}

impl<T: Into<String>> From<T> for TopicDeletion {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}

/// A topic as the broker shows it.
#[expect(
    clippy::struct_field_names,
    reason = "a topic id is called so everywhere"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Which life of the name it is; 0 for a dry run of a creation.
    pub topic_id: TopicId,
    /// Number of partitions.
    pub partition_count: u32,
    /// The partitions in the order of their numbers; lists leave them out.
    pub partitions: Vec<TopicPartition>,
    /// Number of offsets from log start to end, over all partitions.
    pub record_count: u64,
    /// Bytes on disk, over all partitions.
    pub size_bytes: u64,
    /// When it was created, by the broker's clock.
    pub create_time: SystemTime,
    /// How long records are kept at least after they were appended; none for as long as the broker
    /// does by default, which is for ever.
    pub retention_age: Option<Duration>,
    /// Up to how many bytes of the whole topic the newest records are kept at least; none for as many
    /// as the broker does by default, which is all.
    pub retention_bytes: Option<u64>,
    /// Within which time an event that is sent again is not written again; none for what the broker does by
    /// default, which is to compare nothing.
    pub dedupe_window: Option<Duration>,
    /// Whether keys have versions, and a history of their own.
    pub has_key_versions: bool,
    /// What becomes of records that bring an older version of their entity; none if nothing is compared.
    pub stale_records: Option<StaleRecords>,
    /// Whether of each key only the last record is kept.
    pub is_compacted: bool,
    /// For how long compaction leaves a tombstone; none for as long as the broker does by default, a day.
    pub tombstone_grace: Option<Duration>,
    /// Changes with every change of the settings, for [`TopicUpdate::if_unchanged`]; empty for a dry
    /// run of a creation.
    ///
    /// [`TopicUpdate::if_unchanged`]: crate::TopicUpdate::if_unchanged
    pub etag: String,
}

impl Topic {
    pub(super) fn from_proto(topic: v1::Topic) -> Result<Self, Error> {
        let name = TopicName::new(&topic.name)
            .map_err(|error| Error::protocol("the broker sent a bad topic name").because(error))?;
        let partitions = topic.partitions.iter().map(TopicPartition::from_proto);
        let config = topic.config.unwrap_or_default();
        Ok(Self {
            name,
            topic_id: TopicId::new(topic.topic_id),
            partition_count: topic.partition_count,
            partitions: partitions.collect(),
            record_count: topic.record_count,
            size_bytes: topic.size_bytes,
            create_time: from_ms(topic.create_time_ms),
            retention_age: config.retention_age_ms.map(Duration::from_millis),
            retention_bytes: config.retention_bytes,
            dedupe_window: config.dedupe_window_ms.map(Duration::from_millis),
            has_key_versions: config.key_versions,
            stale_records: StaleRecords::from_proto(config.stale_records()),
            is_compacted: config.compact,
            tombstone_grace: config.tombstone_grace_ms.map(Duration::from_millis),
            etag: topic.etag,
        })
    }
}

/// Where one partition begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicPartition {
    /// Its number.
    pub partition: PartitionId,
    /// The lowest offset that may still be read.
    pub log_start_offset: Offset,
    /// One past the last durable record.
    pub end_offset: Offset,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Append time of the newest record, where it is at hand.
    pub last_append_time: Option<SystemTime>,
}

impl TopicPartition {
    fn from_proto(partition: &v1::TopicPartition) -> Self {
        Self {
            partition: PartitionId::new(partition.partition),
            log_start_offset: Offset::new(partition.log_start_offset),
            end_offset: Offset::new(partition.end_offset),
            size_bytes: partition.size_bytes,
            last_append_time: partition.last_append_time_ms.map(from_ms),
        }
    }
}

/// What a place in a topic stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookedUpOffsets {
    /// One for each partition, in the order of their numbers.
    pub offsets: Vec<LookedUpOffset>,
    /// Which life of the topic's name it is.
    pub topic_id: TopicId,
    /// The durable LSN that the offsets belong to.
    pub lsn: Lsn,
}

/// What a place stands for in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookedUpOffset {
    /// Number of the partition.
    pub partition: PartitionId,
    /// The offset.
    pub offset: Offset,
    /// The lowest offset that may still be read.
    pub log_start_offset: Offset,
    /// One past the last durable record.
    pub end_offset: Offset,
}

impl LookedUpOffsets {
    pub(super) fn from_proto(response: &v1::LookupOffsetsResponse) -> Self {
        let offsets = response.offsets.iter().map(|found| LookedUpOffset {
            partition: PartitionId::new(found.partition),
            offset: Offset::new(found.offset),
            log_start_offset: Offset::new(found.log_start_offset),
            end_offset: Offset::new(found.end_offset),
        });
        Self {
            offsets: offsets.collect(),
            topic_id: TopicId::new(response.topic_id),
            lsn: Lsn::new(response.lsn),
        }
    }
}
