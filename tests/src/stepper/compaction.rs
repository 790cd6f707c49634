//! A topic that keeps the last record of each key: records with keys, and what must be left of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use tokio::sync::oneshot;
use towpath_broker::core::{
    AppendRequest, BatchFacts, CompactTopic, CreateTopic, KeyHead, RecordFacts, Remembered,
    TopicConfig, record_hash,
};
use towpath_broker::runtime::command::{CarriedFacts, ControlCommand, DataCommand, Permits};
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_storage::{PartitionRef, ReadLimit, StorageError, TailRead, TopicId};

use super::Stepper;

/// Name of the one topic that is compacted.
const NAME: &str = "latest";

/// A record with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedRecord {
    /// Its key.
    pub key: u8,
    /// What tells it from all others; none in a tombstone.
    pub value: Option<u64>,
}

/// What a careful client knows of a compacted topic.
#[derive(Debug, Clone, Default)]
pub struct KnownKeyed {
    /// The topic's number, once its creation was acknowledged.
    pub id: Option<u64>,
    /// Acknowledged records, by partition and offset.
    pub records: BTreeMap<(u32, u64), KeyedRecord>,
    /// Records of the one batch that is in doubt.
    pub in_doubt: Vec<KeyedRecord>,
    number: u64,
}

impl KnownKeyed {
    /// Offsets of the last record of each key in a partition.
    pub fn last_of_keys(&self, partition: u32) -> BTreeMap<u8, u64> {
        let of_partition = self.records.range((partition, 0)..=(partition, u64::MAX));
        of_partition
            .map(|((_, offset), record)| (record.key, *offset))
            .collect()
    }
}

impl Stepper {
    /// Creates the compacted topic and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn create_compacted(&mut self, partition_count: u32) -> Result<(), StorageError> {
        let wish = CreateTopic {
            name: TopicName::new(NAME).unwrap(),
            partition_count,
            config: TopicConfig {
                compact: true,
                ..TopicConfig::default()
            },
        };
        let created = self.control(|answer| ControlCommand::CreateTopic {
            wish,
            is_dry_run: false,
            answer,
        })?;
        let view = created.expect("not a dry run");
        self.model.keyed.id = Some(view.id().get());
        Ok(())
    }

    /// Publishes records of these keys as one batch, the ones said as tombstones, each padded to a length,
    /// and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn publish_keyed(
        &mut self,
        partition: u32,
        keys: &[(u8, bool)],
        padding: usize,
    ) -> Result<(), StorageError> {
        let known = &mut self.model.keyed;
        let records: Vec<_> = keys
            .iter()
            .map(|(key, is_tombstone)| {
                known.number += 1;
                KeyedRecord {
                    key: *key,
                    value: (!is_tombstone).then_some(known.number),
                }
            })
            .collect();
        known.in_doubt.clone_from(&records);
        let topic = TopicId::new(known.id.expect("the script waits for the topic"));
        let payload = encode(&records, padding);
        let place = PartitionRef { topic, partition };
        let request = AppendRequest::plain(place, &payload, records.len());
        let facts = self.facts_of(topic, &records)?;
        let (answer, mut published) = oneshot::channel();
        let command = DataCommand::Publish {
            appends: vec![(request, payload)],
            facts: Some(Box::new(facts)),
            letters: None,
            answer,
            permits: Permits::default(),
        };
        let pushed = self.engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        self.settle_down()?;
        let published = published.try_recv().expect("answered");
        let base = published.expect("not refused").base_offsets[0].get();
        let known = &mut self.model.keyed;
        for (offset, record) in (base..).zip(std::mem::take(&mut known.in_doubt)) {
            known.records.insert((partition, offset), record);
        }
        Ok(())
    }

    /// What the broker looks up of records before they are decided on.
    fn facts_of(
        &self,
        topic: TopicId,
        records: &[KeyedRecord],
    ) -> Result<CarriedFacts, StorageError> {
        let snapshot = self.engine.shared.index.snapshot();
        let hash_key = *self.engine.identity.broker_id.as_bytes();
        let facts = (0..).zip(records).map(|(origin, record)| {
            let mut key = Remembered::new(record_hash(&hash_key, &[&[record.key]]));
            let found = snapshot.runs.get(&KeyHead::row_key(topic, &key.hash))?;
            key.on_disk = found.value().cloned();
            Ok(RecordFacts {
                origin,
                key: Some(key),
                ..RecordFacts::default()
            })
        });
        let records = facts.collect::<Result<Vec<_>, StorageError>>()?;
        Ok(CarriedFacts {
            batches: vec![BatchFacts {
                records,
                ..BatchFacts::default()
            }],
            plain: None,
            snapshot,
        })
    }

    /// Asks for the topic to be compacted, and waits until it is and the old files are gone.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn compact(&mut self) -> Result<(), StorageError> {
        let wish = CompactTopic {
            name: TopicName::new(NAME).unwrap(),
            topic_id: None,
        };
        self.control(|answer| ControlCommand::CompactTopic { wish, answer })?;
        for _ in 0..2 {
            self.engine.sequencer.take_checkpoint();
            self.settle_down()?;
        }
        Ok(())
    }

    /// Compares what is left of the compacted topic with what the model knows: whatever is there was sent,
    /// and the last record of each key is there, unless it is a tombstone. Returns what is there.
    pub fn check_keyed(&self) -> BTreeMap<(u32, u64), KeyedRecord> {
        let known = &self.model.keyed;
        let Some(id) = known.id else {
            return BTreeMap::new();
        };
        let found = self.read_keyed(TopicId::new(id));
        let mut doubtful = BTreeSet::new();
        for (place, record) in &found {
            if known.records.get(place) != Some(record) {
                assert!(known.in_doubt.contains(record), "{record:?} at {place:?}");
                doubtful.insert((place.0, record.key));
            }
        }
        let partitions: BTreeSet<_> = known.records.keys().map(|(it, _)| *it).collect();
        for partition in partitions {
            for (key, offset) in known.last_of_keys(partition) {
                let place = (partition, offset);
                let is_tombstone = known.records[&place].value.is_none();
                let is_there = found.contains_key(&place);
                let is_passed = is_tombstone || doubtful.contains(&(partition, key));
                assert!(is_there || is_passed, "key {key} was at {place:?}");
                // A tombstone that is gone must not bring back what it stood for.
                let of_partition = found.range((partition, 0)..(partition + 1, 0));
                let older = of_partition.filter(|(_, record)| record.key == key);
                let is_back = !is_there && older.count() > 0;
                assert!(!is_back || is_passed && !is_tombstone, "key {key} is back");
            }
        }
        found
    }

    fn read_keyed(&self, topic: TopicId) -> BTreeMap<(u32, u64), KeyedRecord> {
        let topics = self.engine.shared.published.topics();
        let view = topics.with_id(topic).expect("the topic was created");
        let mut found = BTreeMap::new();
        for (partition, handle) in (0..).zip(view.partitions()) {
            let (log, mut offset, mut cursor) = (handle.log(), handle.log().log_start(), None);
            let limit = ReadLimit {
                bytes_max: 5_000,
                lsn_max: self.engine.shared.published.durable(),
            };
            while offset < log.end() {
                let frames = match log.read_tail(offset, limit) {
                    TailRead::AtEnd => panic!("a read below the end finds something"),
                    TailRead::Frames(frames) => frames,
                    TailRead::OnDisk { until } => {
                        let reader = &self.engine.reader;
                        let read = reader.read(log, cursor, offset, until, limit).unwrap();
                        assert_eq!(read.loss, None, "a hole is no damage, at {offset}");
                        cursor = read.cursor;
                        read.frames
                    }
                };
                for frame in frames {
                    assert!(frame.header.base_offset <= offset, "no gap before a frame");
                    let batch = v1::RecordBatch::decode(frame.payload.clone()).unwrap();
                    let count = frame.header.record_count as usize;
                    assert_eq!(batch.records.len(), count, "as many as it says");
                    for (place, record) in (0..).zip(batch.records) {
                        let at = frame.offset_of(place).expect("a record has an offset");
                        found.insert((partition, at.get()), decode(&record));
                    }
                    offset = frame.header.next_offset();
                }
            }
        }
        found
    }
}

fn encode(records: &[KeyedRecord], padding: usize) -> Bytes {
    let record = |it: &KeyedRecord| v1::Record {
        key: Some(Bytes::copy_from_slice(&[it.key])),
        value: it.value.map(|value| {
            let mut bytes = value.to_le_bytes().to_vec();
            bytes.resize(8 + padding, 7);
            bytes.into()
        }),
        ..v1::Record::default()
    };
    let records = records.iter().map(record).collect();
    v1::RecordBatch { records }.encode_to_vec().into()
}

fn decode(record: &v1::Record) -> KeyedRecord {
    let value = record.value.as_ref();
    KeyedRecord {
        key: record.key.as_ref().expect("a key")[0],
        value: value.map(|value| u64::from_le_bytes(value[..8].try_into().unwrap())),
    }
}
