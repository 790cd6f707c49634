//! What topics compare before they take a record: events, versions of keys, versions of entities.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use towpath_proto::batch::{self, Edit, Records};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::unwritten_record::Cause;
use towpath_proto::wire::ProduceBatch;

use super::Log;

/// What one topic remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Where the first of each event is, by source and id.
    events: BTreeMap<[Vec<u8>; 2], v1::RecordPosition>,
    /// The greatest version of each entity.
    entities: BTreeMap<Vec<u8>, u64>,
    /// The records of each key.
    pub(crate) keys: BTreeMap<Vec<u8>, Vec<v1::KeyRecord>>,
}

impl Log {
    /// How many records were accepted for a key.
    pub(crate) fn key_version(&self, topic: &str, key: &[u8]) -> u64 {
        let records = self.topics[topic].memory.keys.get(key);
        records.map_or(0, |it| it.len() as u64)
    }

    /// The version of the key that all records of a batch have.
    pub(super) fn version_of(&self, topic: &str, batch: &ProduceBatch) -> u64 {
        let first = Records::new(&batch.batch).next().unwrap().unwrap();
        self.key_version(topic, first.key().unwrap())
    }

    /// Cuts out of a batch what is there already; what is left is remembered as written from an offset on.
    pub(super) fn sift(
        &mut self,
        topic: &str,
        batch: &ProduceBatch,
        base_offset: u64,
    ) -> (Bytes, Vec<v1::UnwrittenRecord>) {
        let lsn = self.lsn + 1;
        let mut offset = base_offset;
        let mut unwritten = Vec::new();
        let records = v1::RecordBatch::decode(batch.batch.clone())
            .unwrap()
            .records;
        for (index, record) in (0..).zip(records) {
            let position = v1::RecordPosition {
                partition: batch.partition,
                offset,
                is_repeated: false,
            };
            match self.remember(topic, record, position, lsn) {
                None => offset += 1,
                cause => unwritten.push(v1::UnwrittenRecord { index, cause }),
            }
        }
        let is_cut = |index| unwritten.iter().any(|it| it.index == index);
        let left = batch::edit(&batch.batch, |index| match is_cut(index) {
            true => Edit::Drop,
            false => Edit::Keep,
        });
        (left, unwritten)
    }

    /// Remembers a record as written, or tells why it is not to be.
    fn remember(
        &mut self,
        topic: &str,
        record: v1::Record,
        position: v1::RecordPosition,
        lsn: u64,
    ) -> Option<Cause> {
        let stored = self.topics.get_mut(topic).unwrap();
        let (config, memory) = (stored.config, &mut stored.memory);
        let header = |name: &str| {
            let mut headers = record.headers.iter();
            Some(headers.find(|it| it.name == name)?.value.to_vec())
        };
        let key = record.key.as_deref().unwrap_or_default().to_vec();
        if let (Some(source), Some(id)) = (header("ce-source"), header("ce-id"))
            && config.dedupe_window_ms.is_some()
        {
            let event = [source, id];
            if let Some(first) = memory.events.get(&event) {
                return Some(Cause::RepeatedEvent(*first));
            }
            memory.events.insert(event, position);
        }
        if config.stale_records() == v1::StaleRecords::Refuse {
            let version = header("towpath-entity-version").unwrap();
            let version = String::from_utf8(version).unwrap().parse().unwrap();
            let known = memory.entities.entry(key.clone()).or_default();
            if version <= *known {
                return Some(Cause::StaleEntityVersion(*known));
            }
            *known = version;
        }
        if config.key_versions {
            let records = memory.keys.entry(key).or_default();
            records.push(v1::KeyRecord {
                version: records.len() as u64 + 1,
                position: Some(position),
                lsn,
                append_time_ms: 1000,
                record: Some(record),
            });
        }
        None
    }

    /// Appends one record as a unary call does, unless its event is there.
    ///
    /// # Errors
    ///
    /// The topic has a newer version of its entity.
    pub(crate) fn append_one(
        &mut self,
        topic: &str,
        partition: u32,
        record: v1::Record,
    ) -> Result<v1::RecordPosition, Problem> {
        let position = v1::RecordPosition {
            partition,
            offset: self.partition(topic, partition).end_offset(),
            is_repeated: false,
        };
        let lsn = self.lsn + 1;
        match self.remember(topic, record.clone(), position, lsn) {
            Some(Cause::RepeatedEvent(first)) => Ok(v1::RecordPosition {
                is_repeated: true,
                ..first
            }),
            Some(Cause::StaleEntityVersion(current)) => {
                let problem = Problem::new(ErrorReason::StaleEntityVersion, "old news");
                Err(problem.with("current_version", current))
            }
            None => {
                let batch = v1::RecordBatch {
                    records: vec![record],
                };
                self.append(topic, partition, 1, batch.encode_to_vec().into());
                Ok(position)
            }
        }
    }
}
