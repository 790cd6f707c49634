//! What there is to be told of a key.

use std::ops::Range;
use std::sync::Arc;

use prost::Message as _;
use towpath_proto::batch::OwnedRecords;
use towpath_proto::ids::Offset;
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::wire::FetchedBatch;

use crate::record::Origin;
use crate::{Error, ReceivedRecord};

/// One thing that the reader of a key has come to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum KeyItem {
    /// A record.
    Record(KeyRecord),
    /// Versions whose records cannot be read any more. What comes next lies behind them.
    Gap(KeyGap),
}

/// A record of a key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyRecord {
    /// Its version: the first record of a key has version 1. 0 where a topic does not count them.
    pub version: u64,
    /// The record.
    pub record: ReceivedRecord,
}

/// Versions of a key whose records are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyGap {
    /// The versions.
    pub versions: Range<u64>,
    /// Why they are gone.
    pub reason: KeyGapReason,
}

/// Why records of a key are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyGapReason {
    /// Retention or a request moved the log start offset past them.
    Trimmed,
    /// Compaction let go of them: the key has newer records.
    Compacted,
    /// They were acknowledged but are damaged.
    DataLoss,
}

impl KeyRecord {
    pub(super) fn from_proto(topic: &TopicName, record: v1::KeyRecord) -> Result<Self, Error> {
        let incomplete = || Error::protocol("the broker sent a record of a key without all of it");
        let position = record.position.ok_or_else(incomplete)?;
        let content = record.record.ok_or_else(incomplete)?;
        let batch = v1::RecordBatch {
            records: vec![content],
        };
        let bytes = bytes::Bytes::from(batch.encode_to_vec());
        let content = OwnedRecords::new(bytes).next().and_then(Result::ok);
        let origin = Origin {
            topic: topic.clone(),
            batch: FetchedBatch {
                partition: position.partition,
                lsn: record.lsn,
                append_time_ms: record.append_time_ms,
                ..FetchedBatch::default()
            },
        };
        let content = content.ok_or_else(incomplete)?;
        let offset = Offset::new(position.offset);
        Ok(Self {
            version: record.version,
            record: ReceivedRecord::new(Arc::new(origin), offset, content),
        })
    }
}

impl KeyGapReason {
    pub(super) const fn from_proto(reason: v1::key_gap::Reason) -> Self {
        match reason {
            v1::key_gap::Reason::Trimmed => Self::Trimmed,
            v1::key_gap::Reason::Compacted => Self::Compacted,
            // One of a later version is taken for the worst.
            v1::key_gap::Reason::Damaged | v1::key_gap::Reason::Unspecified => Self::DataLoss,
        }
    }
}
