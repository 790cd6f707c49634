//! Changes of a topic: of its settings, and of what it keeps.

use std::time::Duration;

use towpath_proto::ids::{Offset, OffsetRange, PartitionId, TopicId};
use towpath_proto::v1;

use crate::Error;
use crate::reader::Start;
use crate::time::whole_ms;

/// A change of a topic's settings. What it does not name stays as it is.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::update_topic`"]
pub struct TopicUpdate {
    name: String,
    retention_age: Setting<Duration>,
    retention_bytes: Setting<u64>,
    dedupe_window: Setting<Duration>,
    tombstone_grace: Setting<Duration>,
    etag: String,
    is_dry_run: bool,
}

/// What becomes of one setting.
#[derive(Debug, Clone, Copy)]
enum Setting<T> {
    Keep,
    /// None for the broker's default.
    Become(Option<T>),
}

impl Setting<Duration> {
    fn to_ms(self) -> Setting<u64> {
        match self {
            Self::Keep => Setting::Keep,
            Self::Become(duration) => Setting::Become(duration.map(whole_ms)),
        }
    }
}

impl TopicUpdate {
    /// A change of the topic of this name, so far of nothing.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            retention_age: Setting::Keep,
            retention_bytes: Setting::Keep,
            dedupe_window: Setting::Keep,
            tombstone_grace: Setting::Keep,
            etag: String::new(),
            is_dry_run: false,
        }
    }

    /// Keeps records for at least so long after they were appended, in whole milliseconds, from 1;
    /// older ones may go, also those that are there already.
    pub const fn retention_age(mut self, age: Duration) -> Self {
        self.retention_age = Setting::Become(Some(age));
        self
    }

    /// Lets go of nothing for its age any more: the broker's default.
    pub const fn unset_retention_age(mut self) -> Self {
        self.retention_age = Setting::Become(None);
        self
    }

    /// Keeps the newest records up to at least so many bytes of the whole topic, from 1; older ones
    /// may go.
    pub const fn retention_bytes(mut self, bytes: u64) -> Self {
        self.retention_bytes = Setting::Become(Some(bytes));
        self
    }

    /// Lets go of nothing for the topic's size any more: the broker's default.
    pub const fn unset_retention_bytes(mut self) -> Self {
        self.retention_bytes = Setting::Become(None);
        self
    }

    /// Keeps one record of each event, however often it is sent within so long of the first time: whole
    /// milliseconds, 1 second to 7 days. Events from before are known again where they were looked at then.
    pub const fn dedupe_window(mut self, window: Duration) -> Self {
        self.dedupe_window = Setting::Become(Some(window));
        self
    }

    /// Compares no events any more: the broker's default.
    pub const fn unset_dedupe_window(mut self) -> Self {
        self.dedupe_window = Setting::Become(None);
        self
    }

    /// For how long compaction leaves a tombstone after it was written. Compacted topics only.
    pub const fn tombstone_grace(mut self, grace: Duration) -> Self {
        self.tombstone_grace = Setting::Become(Some(grace));
        self
    }

    /// Leaves tombstones for as long as the broker does by default, a day.
    pub const fn unset_tombstone_grace(mut self) -> Self {
        self.tombstone_grace = Setting::Become(None);
        self
    }

    /// Only if the topic is still as it was when its [`etag`](crate::Topic::etag) was read.
    pub fn if_unchanged(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Only asks what the topic would be.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(super) fn to_request(&self) -> v1::UpdateTopicRequest {
        let mut paths = Vec::new();
        let mut take = |path: &str, setting: Setting<u64>| match setting {
            Setting::Keep => None,
            Setting::Become(value) => {
                paths.push(path.to_owned());
                value
            }
        };
        let config = v1::TopicConfig {
            retention_age_ms: take("retention_age_ms", self.retention_age.to_ms()),
            retention_bytes: take("retention_bytes", self.retention_bytes),
            dedupe_window_ms: take("dedupe_window_ms", self.dedupe_window.to_ms()),
            tombstone_grace_ms: take("tombstone_grace_ms", self.tombstone_grace.to_ms()),
            ..v1::TopicConfig::default()
        };
        v1::UpdateTopicRequest {
            name: self.name.clone(),
            config: Some(config),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: self.etag.clone(),
            validate_only: self.is_dry_run,
        }
    }
}

/// What compaction has before it in a topic that was asked to be compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicCompaction {
    /// Which topic it is.
    pub topic_id: TopicId,
    /// Bytes on disk that were never compacted.
    pub uncompacted_bytes: u64,
}

impl TopicCompaction {
    pub(super) const fn from_proto(response: v1::CompactTopicResponse) -> Self {
        Self {
            topic_id: TopicId::new(response.topic_id),
            uncompacted_bytes: response.uncompacted_bytes,
        }
    }
}

/// Records of a topic to be let go of for good: the oldest ones, up to some place.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::trim_topic`"]
pub struct TopicTrim {
    name: String,
    topic_id: Option<TopicId>,
    partitions: Vec<PartitionId>,
    before: Start,
    is_dry_run: bool,
}

impl TopicTrim {
    /// What a reader that begins at `start` would not read, in all partitions: with
    /// [`Start::Offset`] what lies before the offset, with [`Start::Time`] what was appended before
    /// the time, with [`Start::LastRecords`] all but so many, with [`Start::End`] everything.
    pub fn before(name: impl Into<String>, start: Start) -> Self {
        Self {
            name: name.into(),
            topic_id: None,
            partitions: Vec::new(),
            before: start,
            is_dry_run: false,
        }
    }

    /// Only in these partitions. None at all means all of them.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        self.partitions = partitions.into_iter().collect();
        self
    }

    /// Only of the topic with this id, so that one that was created again under the name keeps what
    /// it has.
    pub const fn only(mut self, topic_id: TopicId) -> Self {
        self.topic_id = Some(topic_id);
        self
    }

    /// Only asks what would go.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(super) fn to_request(&self) -> Result<v1::TrimTopicRequest, Error> {
        let before = self.before.to_position().ok_or_else(|| {
            Error::invalid("before", "one trim has one place for all its partitions")
                .with("topic", &self.name)
        })?;
        Ok(v1::TrimTopicRequest {
            name: self.name.clone(),
            topic_id: self.topic_id.map(TopicId::get),
            partitions: self.partitions.iter().map(|it| it.get()).collect(),
            before: Some(before),
            validate_only: self.is_dry_run,
        })
    }
}

/// What went from a topic, or would have gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrimmedTopic {
    /// Which life of the topic's name it is.
    pub topic_id: TopicId,
    /// The partitions from which something went, in the order of their numbers.
    pub partitions: Vec<TrimmedPartition>,
}

/// What went from one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrimmedPartition {
    /// Its number.
    pub partition: PartitionId,
    /// The offsets that went. They end where the log starts now.
    pub offsets: OffsetRange,
}

impl TrimmedTopic {
    pub(super) fn from_proto(response: &v1::TrimTopicResponse) -> Result<Self, Error> {
        let partitions = response.partitions.iter().map(|it| {
            let range = it.trimmed.unwrap_or_default();
            let offsets = OffsetRange::new(Offset::new(range.start), Offset::new(range.end))
                .ok_or_else(|| {
                    Error::protocol("the broker told a range that ends before it starts")
                })?;
            Ok(TrimmedPartition {
                partition: PartitionId::new(it.partition),
                offsets,
            })
        });
        Ok(Self {
            topic_id: TopicId::new(response.topic_id),
            partitions: partitions.collect::<Result<_, Error>>()?,
        })
    }
}
