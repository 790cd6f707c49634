//! How the state is written down: one row for each topic, partition, and producer in a partition.
//!
//! Values are protobuf messages, so that later releases can add fields; keys are fixed-width numbers.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use towpath_storage::{Offset, PartitionRef, ProducerId, Row, RowKey, SegmentRef, TopicId};

use super::group::GroupId;
use super::named_producer::NamedProducerId;
use super::subscription::SubscriptionId;
use super::topic_config::{StaleRecords, TopicConfig};

const TABLE_BROKER: u16 = 1;
const TABLE_TOPIC: u16 = 2;
const TABLE_PARTITION: u16 = 3;
const TABLE_PRODUCER: u16 = 4;
const TABLE_DROPPED: u16 = 5;
const TABLE_SEGMENT: u16 = 6;
const TABLE_DROPPED_SEGMENT: u16 = 7;
const TABLE_GROUP: u16 = 8;
const TABLE_GROUP_PARTITION: u16 = 9;
const TABLE_SUBSCRIPTION: u16 = 10;
const TABLE_SUBSCRIPTION_PARTITION: u16 = 11;
const TABLE_SETTLED_BLOCK: u16 = 12;
const TABLE_WAITING_RECORD: u16 = 13;
const TABLE_PARKED_KEY: u16 = 14;
const TABLE_NAMED_PRODUCER: u16 = 20;
const TABLE_SUPERSEDED_FILTER: u16 = 30;
const TABLE_TOPIC_SCHEDULES: u16 = 40;

/// Names a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowId {
    /// The one row about the broker itself.
    Broker,
    /// A topic.
    Topic(TopicId),
    /// A partition to which something was appended.
    Partition(PartitionRef),
    /// What one producer has written to one partition.
    Producer(ProducerId, PartitionRef),
    /// A deleted topic whose files may still be there.
    Dropped(TopicId),
    /// A segment of a partition, whatever its generation.
    Segment(SegmentRef),
    /// A generation of a segment that was trimmed or rewritten, and whose files may still be there.
    DroppedSegment(SegmentRef),
    /// A consumer group.
    Group(GroupId),
    /// How far a group has come in a partition, and who reads it.
    GroupPartition(GroupId, PartitionRef),
    /// A durable subscription.
    Subscription(SubscriptionId),
    /// How far a subscription is in a partition of its topic.
    SubscriptionPartition(SubscriptionId, u32),
    /// Which records of a block are settled, by the number of the partition and that of the block.
    SettledBlock(SubscriptionId, u32, u64),
    /// A record that waits for another attempt, by the number of the partition.
    WaitingRecord(SubscriptionId, u32, Offset),
    /// A key of which something is among the dead letters, by the number of the partition.
    ParkedKey(SubscriptionId, u32, u64),
    /// A filter that a subscription had before, by the revision that was its last.
    SupersededFilter(SubscriptionId, u64),
    /// The name of a producer, and which of its lives may write.
    NamedProducer(NamedProducerId),
    /// What a topic has scheduled, in sum.
    TopicSchedules(TopicId),
}

impl RowId {
    pub(super) fn key(&self) -> RowKey {
        let mut key = Vec::with_capacity(28);
        let table = match self {
            Self::Broker => TABLE_BROKER,
            Self::Topic(topic) => put_topic(&mut key, *topic, TABLE_TOPIC),
            Self::Partition(partition) => {
                put_partition(&mut key, *partition);
                TABLE_PARTITION
            }
            Self::Producer(producer, partition) => {
                key.put_slice(producer.as_bytes());
                put_partition(&mut key, *partition);
                TABLE_PRODUCER
            }
            Self::Dropped(topic) => put_topic(&mut key, *topic, TABLE_DROPPED),
            Self::Segment(segment) => {
                put_segment(&mut key, *segment);
                TABLE_SEGMENT
            }
            Self::DroppedSegment(segment) => put_generation(&mut key, *segment),
            Self::Group(group) => {
                key.put_u64_le(group.get());
                TABLE_GROUP
            }
            Self::GroupPartition(group, partition) => {
                key.put_u64_le(group.get());
                put_partition(&mut key, *partition);
                TABLE_GROUP_PARTITION
            }
            Self::Subscription(subscription) => {
                key.put_u64_le(subscription.get());
                TABLE_SUBSCRIPTION
            }
            Self::SubscriptionPartition(subscription, partition) => {
                key.put_u64_le(subscription.get());
                key.put_u32_le(*partition);
                TABLE_SUBSCRIPTION_PARTITION
            }
            Self::SettledBlock(subscription, partition, block) => {
                put_of_partition(&mut key, *subscription, *partition, *block);
                TABLE_SETTLED_BLOCK
            }
            Self::WaitingRecord(subscription, partition, offset) => {
                put_of_partition(&mut key, *subscription, *partition, offset.get());
                TABLE_WAITING_RECORD
            }
            Self::ParkedKey(subscription, partition, key_hash) => {
                put_of_partition(&mut key, *subscription, *partition, *key_hash);
                TABLE_PARKED_KEY
            }
            Self::SupersededFilter(subscription, revision) => {
                key.put_u64_le(subscription.get());
                key.put_u64_le(*revision);
                TABLE_SUPERSEDED_FILTER
            }
            Self::NamedProducer(name) => put_name(&mut key, *name),
            Self::TopicSchedules(topic) => put_topic(&mut key, *topic, TABLE_TOPIC_SCHEDULES),
        };
        RowKey {
            table,
            key: key.into(),
        }
    }

    /// `None` for a table or key that this release does not know.
    pub(super) fn parse(key: &RowKey) -> Option<Self> {
        let mut bytes = &key.key[..];
        let id = match key.table {
            TABLE_BROKER => Self::Broker,
            TABLE_TOPIC => Self::Topic(get_topic(&mut bytes)?),
            TABLE_PARTITION => Self::Partition(get_partition(&mut bytes)?),
            TABLE_PRODUCER => {
                let (producer, mut rest) = bytes.split_first_chunk()?;
                let partition = get_partition(&mut rest)?;
                bytes = rest;
                Self::Producer(ProducerId::new(*producer), partition)
            }
            TABLE_DROPPED => Self::Dropped(get_topic(&mut bytes)?),
            TABLE_SEGMENT => Self::Segment(get_segment(&mut bytes)?),
            TABLE_DROPPED_SEGMENT => {
                let mut segment = get_segment(&mut bytes)?;
                if !bytes.is_empty() {
                    segment.generation = bytes.try_get_u32_le().ok()?;
                }
                Self::DroppedSegment(segment)
            }
            TABLE_GROUP => Self::Group(get_group(&mut bytes)?),
            TABLE_GROUP_PARTITION => {
                let group = get_group(&mut bytes)?;
                Self::GroupPartition(group, get_partition(&mut bytes)?)
            }
            TABLE_SUBSCRIPTION => Self::Subscription(get_subscription(&mut bytes)?),
            TABLE_SUBSCRIPTION_PARTITION => {
                let subscription = get_subscription(&mut bytes)?;
                Self::SubscriptionPartition(subscription, bytes.try_get_u32_le().ok()?)
            }
            TABLE_SETTLED_BLOCK => {
                let subscription = get_subscription(&mut bytes)?;
                let partition = bytes.try_get_u32_le().ok()?;
                Self::SettledBlock(subscription, partition, bytes.try_get_u64_le().ok()?)
            }
            TABLE_WAITING_RECORD => {
                let subscription = get_subscription(&mut bytes)?;
                let partition = bytes.try_get_u32_le().ok()?;
                let offset = bytes.try_get_u64_le().ok().map(Offset::new)?;
                Self::WaitingRecord(subscription, partition, offset)
            }
            TABLE_PARKED_KEY => {
                let subscription = get_subscription(&mut bytes)?;
                let partition = bytes.try_get_u32_le().ok()?;
                Self::ParkedKey(subscription, partition, bytes.try_get_u64_le().ok()?)
            }
            TABLE_SUPERSEDED_FILTER => {
                let subscription = get_subscription(&mut bytes)?;
                Self::SupersededFilter(subscription, bytes.try_get_u64_le().ok()?)
            }
            TABLE_NAMED_PRODUCER => {
                let (name, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Self::NamedProducer(NamedProducerId::new(*name))
            }
            TABLE_TOPIC_SCHEDULES => Self::TopicSchedules(get_topic(&mut bytes)?),
            _ => return None,
        };
        bytes.is_empty().then_some(id)
    }

    /// The row with a value.
    pub(super) fn put(&self, value: &impl Message) -> Row {
        Row {
            key: self.key(),
            value: Some(value.encode_to_vec().into()),
        }
    }

    /// The row, gone.
    pub(super) fn gone(&self) -> Row {
        Row {
            key: self.key(),
            value: None,
        }
    }
}

/// The key of something about a topic; returns its table.
fn put_topic(key: &mut Vec<u8>, topic: TopicId, table: u16) -> u16 {
    key.put_u64_le(topic.get());
    table
}

fn put_partition(key: &mut Vec<u8>, partition: PartitionRef) {
    key.put_u64_le(partition.topic.get());
    key.put_u32_le(partition.partition);
}

fn put_of_partition(key: &mut Vec<u8>, of: SubscriptionId, partition: u32, number: u64) {
    key.put_u64_le(of.get());
    key.put_u32_le(partition);
    key.put_u64_le(number);
}

/// The key of a name; returns its table.
fn put_name(key: &mut Vec<u8>, name: NamedProducerId) -> u16 {
    key.put_slice(name.as_bytes());
    TABLE_NAMED_PRODUCER
}

fn put_segment(key: &mut Vec<u8>, segment: SegmentRef) {
    put_partition(key, segment.partition);
    key.put_u64_le(segment.base.get());
}

/// The key of a generation of a segment; returns its table.
fn put_generation(key: &mut Vec<u8>, segment: SegmentRef) -> u16 {
    put_segment(key, segment);
    if segment.generation > 0 {
        key.put_u32_le(segment.generation);
    }
    TABLE_DROPPED_SEGMENT
}

fn get_topic(bytes: &mut &[u8]) -> Option<TopicId> {
    bytes.try_get_u64_le().ok().map(TopicId::new)
}

fn get_group(bytes: &mut &[u8]) -> Option<GroupId> {
    bytes.try_get_u64_le().ok().map(GroupId::new)
}

fn get_subscription(bytes: &mut &[u8]) -> Option<SubscriptionId> {
    bytes.try_get_u64_le().ok().map(SubscriptionId::new)
}

fn get_partition(bytes: &mut &[u8]) -> Option<PartitionRef> {
    let topic = get_topic(bytes)?;
    let partition = bytes.try_get_u32_le().ok()?;
    Some(PartitionRef { topic, partition })
}

fn get_segment(bytes: &mut &[u8]) -> Option<SegmentRef> {
    let partition = get_partition(bytes)?;
    let base = bytes.try_get_u64_le().ok().map(Offset::new)?;
    Some(SegmentRef::new(partition, base))
}

/// Value of the broker's row.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BrokerRow {
    #[prost(uint64, tag = "1")]
    pub(super) next_topic: u64,
    /// 0, as older releases left it, stands for 1.
    #[prost(uint64, tag = "2")]
    pub(super) next_group: u64,
    /// The highest generation of any group that was deleted.
    #[prost(uint64, tag = "3")]
    pub(super) past_generation: u64,
    /// 0, as older releases left it, stands for 1.
    #[prost(uint64, tag = "4")]
    pub(super) next_subscription: u64,
    /// How many commits had a key.
    #[prost(uint64, tag = "20")]
    pub(super) next_commit: u64,
    /// Number of the next record that is scheduled.
    #[prost(uint64, tag = "40")]
    pub(super) next_schedule: u64,
}

/// Value of a topic's row.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TopicRow {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint32, tag = "2")]
    pub(super) partition_count: u32,
    #[prost(int64, tag = "3")]
    pub(super) create_time_ms: i64,
    #[prost(uint64, optional, tag = "4")]
    pub(super) retention_age_ms: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) retention_bytes: Option<u64>,
    /// How often the settings were changed.
    #[prost(uint64, tag = "6")]
    pub(super) revision: u64,
    #[prost(uint64, optional, tag = "7")]
    pub(super) dedupe_window_ms: Option<u64>,
    #[prost(bool, tag = "8")]
    pub(super) has_key_versions: bool,
    #[prost(bool, tag = "9")]
    pub(super) compact: bool,
    #[prost(uint64, optional, tag = "10")]
    pub(super) tombstone_grace_ms: Option<u64>,
    /// 0 for nothing, 1 to refuse them, 2 to mark them.
    #[prost(uint32, tag = "11")]
    pub(super) stale_records: u32,
}

impl TopicRow {
    pub(super) fn config(&self) -> TopicConfig {
        TopicConfig {
            retention_age_ms: self.retention_age_ms,
            retention_bytes: self.retention_bytes,
            dedupe_window_ms: self.dedupe_window_ms,
            has_key_versions: self.has_key_versions,
            stale_records: match self.stale_records {
                0 => None,
                1 => Some(StaleRecords::Refuse),
                _ => Some(StaleRecords::Mark),
            },
            compact: self.compact,
            tombstone_grace_ms: self.tombstone_grace_ms,
        }
    }

    /// The row with other settings.
    pub(super) fn with(self, config: TopicConfig) -> Self {
        Self {
            retention_age_ms: config.retention_age_ms,
            retention_bytes: config.retention_bytes,
            dedupe_window_ms: config.dedupe_window_ms,
            has_key_versions: config.has_key_versions,
            stale_records: match config.stale_records {
                None => 0,
                Some(StaleRecords::Refuse) => 1,
                Some(StaleRecords::Mark) => 2,
            },
            compact: config.compact,
            tombstone_grace_ms: config.tombstone_grace_ms,
            ..self
        }
    }
}

/// Value of a deleted topic's row.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DroppedRow {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// Value of a trimmed segment's row.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct DroppedSegmentRow {
    /// Bytes of frames that it held.
    #[prost(uint64, tag = "1")]
    pub(super) size_bytes: u64,
}

/// Value of a partition's row.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartitionRow {
    #[prost(uint64, tag = "1")]
    pub(super) log_start: u64,
    #[prost(uint64, tag = "2")]
    pub(super) end: u64,
    #[prost(int64, optional, tag = "3")]
    pub(super) last_append_time_ms: Option<i64>,
    /// End of the last frame in the last segment.
    #[prost(uint64, tag = "4")]
    pub(super) next_position: u64,
    /// Whether that frame went by reference.
    #[prost(bool, tag = "5")]
    pub(super) is_after_run: bool,
    /// Base offset of the last segment, if there is any.
    #[prost(uint64, optional, tag = "6")]
    pub(super) active_base: Option<u64>,
}

/// Value of a segment's row. One row each, so that a change of one costs the same however many there
/// are.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct SegmentRow {
    /// Bytes of frames.
    #[prost(uint64, tag = "1")]
    pub(super) size_bytes: u64,
    #[prost(int64, tag = "2")]
    pub(super) first_append_time_ms: i64,
    #[prost(int64, tag = "3")]
    pub(super) last_append_time_ms: i64,
    /// Which of its files counts.
    #[prost(uint32, tag = "4")]
    pub(super) generation: u32,
    /// The entry by whose state it was compacted; 0 if it was not.
    #[prost(uint64, tag = "5")]
    pub(super) compacted_lsn: u64,
    /// Tombstones that were left in it then.
    #[prost(uint64, tag = "6")]
    pub(super) tombstone_count: u64,
}

/// Value of a group's row.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct GroupRow {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int64, tag = "2")]
    pub(super) create_time_ms: i64,
    #[prost(uint64, tag = "3")]
    pub(super) generation: u64,
}

/// Value of the row of a partition in a group.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct GroupPartitionRow {
    #[prost(uint64, tag = "1")]
    pub(super) committed: u64,
    #[prost(int64, tag = "2")]
    pub(super) commit_time_ms: i64,
    /// The member's 16 bytes; empty if nobody owns it.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) owner: Bytes,
    /// The generation in which the owner got it.
    #[prost(uint64, tag = "4")]
    pub(super) generation: u64,
    #[prost(uint64, tag = "5")]
    pub(super) skipped_count: u64,
}

/// Value of a producer's row.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ProducerRow {
    #[prost(uint32, tag = "1")]
    pub(super) epoch: u32,
    #[prost(uint64, tag = "2")]
    pub(super) last_sequence: u64,
    #[prost(int64, tag = "3")]
    pub(super) last_used_ms: i64,
    /// The outcomes of the last sequences, oldest first.
    #[prost(message, repeated, tag = "4")]
    pub(super) outcomes: Vec<OutcomeRow>,
}

/// Value of the row of a named producer.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct NamedProducerRow {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// The one life that may write.
    #[prost(uint32, tag = "2")]
    pub(super) epoch: u32,
    #[prost(int64, tag = "3")]
    pub(super) create_time_ms: i64,
    /// When that life began.
    #[prost(int64, tag = "4")]
    pub(super) open_time_ms: i64,
}

/// What became of one batch.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct OutcomeRow {
    #[prost(uint64, tag = "1")]
    pub(super) base_offset: u64,
    #[prost(uint32, tag = "2")]
    pub(super) record_count: u32,
    /// 0 if the batch was refused for good.
    #[prost(uint64, tag = "3")]
    pub(super) lsn: u64,
    #[prost(int64, tag = "4")]
    pub(super) append_time_ms: i64,
    /// Number of the reason in `error.proto`, if the batch was refused.
    #[prost(int32, tag = "5")]
    pub(super) refusal: i32,
}

/// Reads a value that this release or an older one wrote.
///
/// # Panics
/// If the bytes are not such a value. They passed their checksum, so the state is not what any
/// release wrote, and going on could only make it worse.
#[expect(clippy::panic, reason = "an impossible state must stop the broker")]
pub(super) fn decode<M: Message + Default>(value: &Bytes) -> M {
    match M::decode(value.clone()) {
        Ok(message) => message,
        Err(error) => panic!("INVARIANT: a row with a valid checksum is well formed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_ids_survive_the_round_trip() {
        let partition = PartitionRef {
            topic: TopicId::new(7),
            partition: 3,
        };
        let base = Offset::new(11);
        let segment = SegmentRef::new(partition, base);
        for id in [
            RowId::Broker,
            RowId::Topic(TopicId::new(1)),
            RowId::Partition(partition),
            RowId::Producer(ProducerId::new([9; 16]), partition),
            RowId::Dropped(TopicId::new(2)),
            RowId::Segment(segment),
            RowId::DroppedSegment(segment),
            RowId::DroppedSegment(SegmentRef {
                generation: 4,
                ..segment
            }),
            RowId::Group(GroupId::new(4)),
            RowId::GroupPartition(GroupId::new(4), partition),
            RowId::Subscription(SubscriptionId::new(5)),
            RowId::SubscriptionPartition(SubscriptionId::new(5), 3),
            RowId::SettledBlock(SubscriptionId::new(5), 3, 6),
            RowId::WaitingRecord(SubscriptionId::new(5), 3, base),
            RowId::ParkedKey(SubscriptionId::new(5), 3, 7),
            RowId::SupersededFilter(SubscriptionId::new(5), 2),
            RowId::NamedProducer(NamedProducerId::new([8; 12])),
            RowId::TopicSchedules(TopicId::new(3)),
        ] {
            assert_eq!(RowId::parse(&id.key()), Some(id));
        }
        let unknown = RowKey {
            table: 999,
            key: Bytes::new(),
        };
        assert_eq!(RowId::parse(&unknown), None);
    }
}
