//! Every limit of the wire contract, in one place.
//!
//! The constants are the broker's defaults; what a broker really accepts it says in
//! [`v1::Limits`], which `GetServerInfo` and `TopicOpened` carry. Sizes are in bytes.

use crate::v1;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Largest encoded record: a value of 1 MiB, with 64 KiB for key, headers and what encoding them
/// adds.
pub const RECORD_BYTES_MAX: usize = MIB + 64 * KIB;
/// Largest encoded batch, and the largest sum of the records of one `Publish`.
pub const BATCH_BYTES_MAX: usize = 4 * MIB;
/// Largest sum of the records of one `Commit`.
pub const COMMIT_BYTES_MAX: usize = 8 * MIB;
/// Most operations of one `Commit`.
pub const OPERATIONS_PER_COMMIT_MAX: u32 = 1_000;
/// Room in a gRPC message beside the batch that it carries.
pub const MESSAGE_OVERHEAD_BYTES: usize = 64 * KIB;
/// Largest gRPC message that either side has to decode.
pub const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX + MESSAGE_OVERHEAD_BYTES;
/// Largest request of any kind: a `Commit`.
pub const REQUEST_BYTES_MAX: usize = COMMIT_BYTES_MAX + MESSAGE_OVERHEAD_BYTES;
/// Size at which the SDK sends a batch without waiting for more records.
pub const SDK_BATCH_BYTES: usize = 128 * KIB;

/// Most records in one batch.
pub const RECORDS_PER_BATCH_MAX: u32 = 65_536;
/// Largest key.
pub const KEY_BYTES_MAX: usize = 64 * KIB;
/// Most headers of one record.
pub const HEADERS_PER_RECORD_MAX: u32 = 64;
/// Longest header name.
pub const HEADER_NAME_BYTES_MAX: usize = 255;
/// Longest header value.
pub const HEADER_VALUE_BYTES_MAX: usize = 64 * KIB;

/// Longest name of a topic or group.
pub const NAME_BYTES_MAX: usize = 200;
/// Partitions of a topic whose creator does not say.
pub const PARTITION_COUNT_DEFAULT: u32 = 8;
/// Most partitions of one topic.
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 10_000;
/// Most topics of one broker, besides those of the dead letters of subscriptions.
pub const TOPICS_MAX: u32 = 10_000;
/// Most partitions of all topics together.
pub const PARTITIONS_MAX: u32 = 20_000;

/// Most topics that one `Produce` stream may have open.
pub const OPEN_TOPICS_PER_STREAM_MAX: u32 = 1_000;
/// Most partitions that one `Fetch` stream may read.
pub const PARTITIONS_PER_FETCH_MAX: u32 = 10_000;
/// How many of its last batches of a partition a producer may repeat without making a duplicate.
pub const PRODUCER_WINDOW_BATCHES: u32 = 128;
/// Most bytes of rows about unnamed producers; beyond it the least recently used are forgotten.
pub const PRODUCER_ROWS_BYTES_MAX: usize = 32 * MIB;

/// For how long past the retention age of its topic a subscription holds what it has not settled,
/// milliseconds: 7 days.
pub const HOLD_AGE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// How much past the retention of its topic a subscription holds, bytes: 10 GiB.
pub const HOLD_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;

/// Most consumer groups of one broker.
pub const GROUPS_MAX: u32 = 10_000;
/// Most members of one consumer group.
pub const MEMBERS_PER_GROUP_MAX: u32 = 1_000;
/// Most partitions that one consumer group may read.
pub const PARTITIONS_PER_GROUP_MAX: u32 = 500;
/// Most topics that one member of a group may read.
pub const TOPICS_PER_MEMBER_MAX: u32 = 100;

/// Most names of producers.
pub const PRODUCER_NAMES_MAX: u32 = 10_000;
/// Most bytes of rows about named producers; beyond it the least recently used are forgotten, though
/// never a name or its epoch.
pub const NAMED_PRODUCER_ROWS_BYTES_MAX: usize = 32 * MIB;

/// Most scheduled records of one topic.
pub const SCHEDULED_PER_TOPIC_MAX: u64 = 2_000_000;
/// Most bytes of the scheduled records of one topic: 4 GiB.
pub const SCHEDULED_BYTES_PER_TOPIC_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Most scheduled records of all topics together.
pub const SCHEDULED_MAX: u64 = 10_000_000;
/// Most bytes of the scheduled records of all topics together: 16 GiB.
pub const SCHEDULED_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// How far ahead a record may be scheduled, milliseconds: 366 days.
pub const SCHEDULE_AHEAD_MS_MAX: i64 = 366 * 24 * 60 * 60 * 1000;
/// How far in the past the time of a scheduled record may be, so that clocks may differ a little,
/// milliseconds. It is due at once.
pub const SCHEDULE_PAST_MS_MAX: i64 = 5_000;
/// Longest id of a scheduled record.
pub const SCHEDULE_ID_BYTES_MAX: usize = 128;

/// Most records of one batch, call or commit to topics that look at records: its entry holds rows about each.
pub const RECORDS_LOOKED_AT_MAX: u32 = 32_768;

/// Items on a page of a list whose reader does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 100;
/// Most items on a page of a list.
pub const PAGE_SIZE_MAX: u32 = 1_000;

/// Returns the limits of this file as the broker publishes them.
pub fn published() -> v1::Limits {
    v1::Limits {
        record_bytes_max: RECORD_BYTES_MAX as u64,
        batch_bytes_max: BATCH_BYTES_MAX as u64,
        records_per_batch_max: RECORDS_PER_BATCH_MAX,
        key_bytes_max: KEY_BYTES_MAX as u64,
        headers_per_record_max: HEADERS_PER_RECORD_MAX,
        header_name_bytes_max: narrow(HEADER_NAME_BYTES_MAX),
        header_value_bytes_max: HEADER_VALUE_BYTES_MAX as u64,
        topic_name_bytes_max: narrow(NAME_BYTES_MAX),
        partitions_per_topic_max: PARTITIONS_PER_TOPIC_MAX,
        topics_max: TOPICS_MAX,
        partitions_max: PARTITIONS_MAX,
        open_topics_per_stream_max: OPEN_TOPICS_PER_STREAM_MAX,
        partitions_per_fetch_max: PARTITIONS_PER_FETCH_MAX,
        producer_window_batches: PRODUCER_WINDOW_BATCHES,
        page_size_max: PAGE_SIZE_MAX,
        groups_max: GROUPS_MAX,
        members_per_group_max: MEMBERS_PER_GROUP_MAX,
        partitions_per_group_max: PARTITIONS_PER_GROUP_MAX,
        topics_per_member_max: TOPICS_PER_MEMBER_MAX,
        producer_names_max: PRODUCER_NAMES_MAX,
        operations_per_commit_max: OPERATIONS_PER_COMMIT_MAX,
        commit_bytes_max: COMMIT_BYTES_MAX as u64,
        records_looked_at_max: RECORDS_LOOKED_AT_MAX,
        scheduled_per_topic_max: SCHEDULED_PER_TOPIC_MAX,
        scheduled_bytes_per_topic_max: SCHEDULED_BYTES_PER_TOPIC_MAX,
        scheduled_max: SCHEDULED_MAX,
        scheduled_bytes_max: SCHEDULED_BYTES_MAX,
        schedule_ahead_ms_max: SCHEDULE_AHEAD_MS_MAX.unsigned_abs(),
    }
}

fn narrow(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}
