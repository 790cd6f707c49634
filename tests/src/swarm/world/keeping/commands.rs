//! What clerks send: batches, and what the broker looks up for them.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use towpath_broker::core::{
    AppendRequest, BatchFacts, CommitAppend, CommitKey, CommitWish, KeyHead, RecordFacts,
    Remembered, record_hash,
};
use towpath_broker::runtime::command::{CarriedFacts, CommitCommand, DataCommand, Permits};
use towpath_broker::runtime::index_view::IndexSnapshot;
use towpath_proto::v1;
use towpath_storage::{PartitionRef, StorageError, TopicId};

use super::{Answer, Entity, Request};

/// Keys of commits are numbers from here on in their table.
const KEYS: u64 = 2 << 48;
/// The header that says which record it is; a tombstone has no value that could.
const NUMBER: &str = "number";

/// What the broker looks up of records before it decides on them.
pub(super) fn facts_of(
    topic: TopicId,
    request: &Request,
    hash_key: &[u8; 16],
    snapshot: &IndexSnapshot,
) -> Result<Box<CarriedFacts>, StorageError> {
    let mut batches = Vec::new();
    for (_, entities) in &request.batches {
        let mut facts = BatchFacts::default();
        for (origin, entity) in (0..).zip(entities) {
            let mut key = Remembered::new(record_hash(hash_key, &[&[entity.key]]));
            let found = snapshot.runs.get(&KeyHead::row_key(topic, &key.hash))?;
            key.on_disk = found.value().cloned();
            facts.records.push(RecordFacts {
                origin,
                key: Some(key),
                expected_version: entity.expected,
                ..RecordFacts::default()
            });
        }
        batches.push(facts);
    }
    let snapshot = snapshot.clone();
    Ok(Box::new(CarriedFacts {
        batches,
        plain: None,
        snapshot,
    }))
}

/// What names a request.
pub(super) fn key_of(
    request: &Request,
    snapshot: &IndexSnapshot,
) -> Result<CommitKey, StorageError> {
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&(KEYS + request.number).to_le_bytes());
    let found = snapshot.runs.get(&CommitKey::row_key(&hash))?;
    Ok(CommitKey {
        hash,
        fingerprint: hash,
        on_disk: found.value().cloned(),
        told: Bytes::new(),
    })
}

type Appends = Vec<(AppendRequest, Bytes)>;

pub(super) fn to_publish(appends: Appends, facts: Box<CarriedFacts>) -> (DataCommand, Answer) {
    let (answer, published) = oneshot::channel();
    let command = DataCommand::Publish {
        appends,
        facts: Some(facts),
        letters: None,
        answer,
        permits: Permits::default(),
    };
    (command, Answer::Published(published))
}

pub(super) fn to_commit(
    appends: Appends,
    facts: Box<CarriedFacts>,
    key: CommitKey,
) -> (DataCommand, Answer) {
    let (answer, committed) = oneshot::channel();
    let (requests, payloads): (Vec<_>, Vec<_>) = appends.into_iter().unzip();
    let to_append = |(operation, request)| CommitAppend { operation, request };
    let snapshot = Some(facts.snapshot.clone());
    let command = CommitCommand {
        wish: CommitWish {
            appends: (0..).zip(requests).map(to_append).collect(),
            key: Some(key),
            ..CommitWish::default()
        },
        payloads,
        facts: Some(facts),
        snapshot,
        schedule_snapshot: None,
        answer,
        permits: Permits::default(),
    };
    let command = DataCommand::Commit(Box::new(command));
    (command, Answer::Committed(committed))
}

/// A batch of them.
pub(super) fn append(
    topic: TopicId,
    (partition, entities): &(u32, Vec<Entity>),
) -> (AppendRequest, Bytes) {
    let record = |entity: &Entity| v1::Record {
        key: Some(Bytes::copy_from_slice(&[entity.key])),
        value: (!entity.is_tombstone).then(|| vec![7; entity.padding].into()),
        headers: vec![v1::Header {
            name: NUMBER.to_owned(),
            value: Bytes::copy_from_slice(&entity.number.to_le_bytes()),
        }],
        event_time_ms: None,
    };
    let records = entities.iter().map(record).collect();
    let payload: Bytes = v1::RecordBatch { records }.encode_to_vec().into();
    let partition = PartitionRef {
        topic,
        partition: *partition,
    };
    let request = AppendRequest::plain(partition, &payload, entities.len());
    (request, payload)
}

/// Which record it is.
pub(super) fn number_of(record: &v1::Record) -> u64 {
    let mut headers = record.headers.iter();
    let header = headers.find(|it| it.name == NUMBER).expect("a number");
    u64::from_le_bytes(*header.value.first_chunk().expect("a number"))
}
