//! What the fake broker stores.

mod rules;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use towpath_proto::batch::{self, BatchLimits, NewRecord, Records};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_batch::Expectation;
use towpath_proto::wire::{FetchedBatch, ProduceBatch};

/// Stands for the place of a batch that was refused for good.
pub(crate) const SPENT: usize = usize::MAX;

/// All topics.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) topics: BTreeMap<String, StoredTopic>,
    pub(crate) lsn: u64,
    next_topic_id: u64,
}

#[derive(Debug)]
pub(crate) struct StoredTopic {
    pub(crate) topic_id: u64,
    pub(crate) partitions: Vec<StoredPartition>,
    pub(crate) config: v1::TopicConfig,
    /// How often the settings were changed.
    pub(crate) revision: u64,
    pub(crate) memory: rules::Memory,
}

impl StoredTopic {
    pub(crate) fn etag(&self) -> String {
        format!("{}-{}", self.topic_id, self.revision)
    }
}

#[derive(Debug, Default)]
pub(crate) struct StoredPartition {
    pub(crate) log_start_offset: u64,
    /// Also what was trimmed.
    pub(crate) batches: Vec<StoredBatch>,
    /// What each producer wrote: place in `batches` by sequence.
    pub(crate) producers: BTreeMap<Bytes, Vec<usize>>,
}

/// A batch as a reader gets it, without a handle.
#[derive(Debug, Clone)]
pub(crate) struct StoredBatch {
    pub(crate) fetched: FetchedBatch,
    /// Under which sequence it came, from which producer.
    pub(crate) sequence: u64,
    pub(crate) producer_id: Bytes,
    /// What was cut out of it.
    pub(crate) unwritten: Vec<v1::UnwrittenRecord>,
}

impl StoredPartition {
    pub(crate) fn end_offset(&self) -> u64 {
        let last = self.batches.last();
        last.map_or(0, |batch| batch.fetched.next_offset().get())
    }

    /// What lies below the offset goes; returns the offsets, if there are any.
    pub(crate) fn trim(&mut self, offset: u64) -> Option<v1::OffsetRange> {
        let start = self.log_start_offset;
        self.log_start_offset = start.max(offset);
        (start < offset).then_some(v1::OffsetRange { start, end: offset })
    }

    /// Refuses an offset that is not there, with the range of those that are.
    pub(crate) fn check(&self, partition: u32, offset: u64) -> Result<u64, Problem> {
        if (self.log_start_offset..=self.end_offset()).contains(&offset) {
            return Ok(offset);
        }
        let problem = Problem::new(ErrorReason::OffsetOutOfRange, "out of range");
        Err(problem
            .with("partition", partition)
            .with("requested", offset)
            .with("log_start_offset", self.log_start_offset)
            .with("end_offset", self.end_offset()))
    }

    /// Forgets all but the first batches, as a copy made back then has them.
    pub(crate) fn put_back(&mut self, batch_count: usize) {
        self.batches.truncate(batch_count);
        for known in self.producers.values_mut() {
            known.retain(|place| *place < batch_count);
        }
    }
}

impl Log {
    pub(crate) fn create(&mut self, topic: &str, partition_count: u32) -> u64 {
        self.next_topic_id += 1;
        let partitions = (0..partition_count).map(|_| StoredPartition::default());
        let stored = StoredTopic {
            topic_id: self.next_topic_id,
            partitions: partitions.collect(),
            config: v1::TopicConfig::default(),
            revision: 0,
            memory: rules::Memory::default(),
        };
        self.topics.insert(topic.to_owned(), stored);
        self.next_topic_id
    }

    pub(crate) fn find(&self, topic: &str, topic_id: Option<u64>) -> Result<&StoredTopic, Problem> {
        let found = self.topics.get(topic);
        found
            .filter(|found| topic_id.is_none_or(|id| id == found.topic_id))
            .ok_or_else(|| {
                let text = format!("topic \"{topic}\" not found");
                Problem::new(ErrorReason::TopicNotFound, text)
                    .with("topic", topic)
                    .with_hint("did you mean \"orders\"?")
            })
    }

    pub(crate) fn find_mut(
        &mut self,
        topic: &str,
        topic_id: Option<u64>,
    ) -> Result<&mut StoredTopic, Problem> {
        self.find(topic, topic_id)?;
        Ok(self.topics.get_mut(topic).unwrap())
    }

    pub(crate) fn partition(&self, topic: &str, partition: u32) -> &StoredPartition {
        &self.topics[topic].partitions[partition as usize]
    }

    pub(crate) fn partition_mut(&mut self, topic: &str, partition: u32) -> &mut StoredPartition {
        let topic = self.topics.get_mut(topic).unwrap();
        &mut topic.partitions[partition as usize]
    }

    pub(crate) fn values(&self, topic: &str, partition: u32) -> Vec<String> {
        let batches = self.partition(topic, partition).batches.iter();
        let records = batches.flat_map(|batch| Records::new(&batch.fetched.batch));
        let values = records.map(|record| record.unwrap().value().unwrap().to_vec());
        values
            .map(|value| String::from_utf8(value).unwrap())
            .collect()
    }

    /// Takes a batch as the protocol says: new, seen before, or out of turn.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        producer_id: &Bytes,
        batch: &ProduceBatch,
    ) -> Result<v1::AcceptedBatch, Problem> {
        let partition = self.partition_mut(topic, batch.partition);
        let known = partition.producers.get(producer_id);
        let expected = known.map_or(0, |known| known.len() as u64);
        if known.is_none() && batch.sequence > 0 {
            let text = "the producer is not known";
            return Err(Problem::new(ErrorReason::ProducerUnknown, text));
        }
        if batch.sequence > expected {
            let problem = Problem::new(ErrorReason::SequenceGap, "a batch is missing");
            return Err(problem
                .with("expected", expected)
                .with("received", batch.sequence));
        }
        let is_duplicate = batch.sequence < expected;
        if !is_duplicate {
            assert_eq!(batch.crc, Some(batch::crc(&batch.batch)), "checksum");
            let summary = batch::walk(&batch.batch, &BatchLimits::default()).unwrap();
            assert_eq!(
                summary.record_count, batch.record_count,
                "number of records"
            );
            let place = partition.batches.len();
            let known = partition.producers.entry(producer_id.clone()).or_default();
            known.push(place);
            let base_offset = partition.end_offset();
            let (left, unwritten) = self.sift(topic, batch, base_offset);
            let cut_count = u32::try_from(unwritten.len()).unwrap();
            let record_count = batch.record_count - cut_count;
            self.append(topic, batch.partition, record_count, left);
            let stored = self
                .partition_mut(topic, batch.partition)
                .batches
                .last_mut()
                .unwrap();
            stored.sequence = batch.sequence;
            stored.producer_id = producer_id.clone();
            stored.unwritten = unwritten;
        }
        let partition = self.partition(topic, batch.partition);
        let place = partition.producers[producer_id][usize::try_from(batch.sequence).unwrap()];
        let StoredBatch {
            fetched, unwritten, ..
        } = &partition.batches[place];
        Ok(v1::AcceptedBatch {
            handle: batch.handle,
            partition: batch.partition,
            sequence: batch.sequence,
            base_offset: fetched.base_offset,
            record_count: fetched.record_count,
            lsn: fetched.lsn,
            append_time_ms: fetched.append_time_ms,
            is_duplicate,
            unwritten: unwritten.clone(),
        })
    }

    /// Refuses for good what does not get the offset or the version that it expects. The second time only the
    /// reason is known.
    pub(crate) fn refuse_expectation(
        &mut self,
        topic: &str,
        producer_id: &Bytes,
        batch: &ProduceBatch,
    ) -> Option<Problem> {
        let (reason, names, expected, actual) = match batch.expectation? {
            Expectation::ExpectedOffset(expected) => {
                let end = self.partition(topic, batch.partition).end_offset();
                let names = ["expected_offset", "end_offset"];
                (ErrorReason::ExpectedOffsetMismatch, names, expected, end)
            }
            Expectation::ExpectedVersion(expected) => {
                let current = self.version_of(topic, batch);
                let names = ["expected_version", "current_version"];
                (
                    ErrorReason::ExpectedVersionMismatch,
                    names,
                    expected,
                    current,
                )
            }
        };
        let partition = self.partition_mut(topic, batch.partition);
        let known = partition.producers.get(producer_id);
        let count = known.map_or(0, Vec::len) as u64;
        let outcome = known.and_then(|known| known.get(usize::try_from(batch.sequence).unwrap()));
        let refused = || Problem::new(reason, "someone has written");
        match outcome {
            Some(place) => (*place == SPENT).then(refused),
            None if batch.sequence == count && expected != actual => {
                let known = partition.producers.entry(producer_id.clone());
                known.or_default().push(SPENT);
                let problem = refused().with(names[0], expected);
                Some(problem.with(names[1], actual))
            }
            None => None,
        }
    }

    pub(crate) fn append_values(&mut self, topic: &str, partition: u32, values: &[&str]) -> u64 {
        let records: Vec<_> = values.iter().map(|value| (None, *value)).collect();
        self.append_records(topic, partition, &records)
    }

    /// Appends records of which each is a key and a value.
    pub(crate) fn append_records(
        &mut self,
        topic: &str,
        partition: u32,
        records: &[(Option<&str>, &str)],
    ) -> u64 {
        let mut bytes = BytesMut::new();
        for (key, value) in records {
            let record = NewRecord {
                key: key.map(str::as_bytes),
                value: Some(value.as_bytes()),
                headers: std::iter::empty(),
                event_time_ms: None,
            };
            record.put(&mut bytes);
        }
        let count = u32::try_from(records.len()).unwrap();
        self.append(topic, partition, count, bytes.freeze())
    }

    fn append(&mut self, topic: &str, partition: u32, record_count: u32, bytes: Bytes) -> u64 {
        self.lsn += 1;
        let lsn = self.lsn;
        let partition = self.partition_mut(topic, partition);
        let fetched = FetchedBatch {
            base_offset: partition.end_offset(),
            record_count,
            lsn,
            append_time_ms: i64::try_from(lsn).unwrap() * 1000,
            crc: batch::crc(&bytes),
            batch: bytes,
            ..FetchedBatch::default()
        };
        partition.batches.push(StoredBatch {
            fetched,
            sequence: 0,
            producer_id: Bytes::new(),
            unwritten: Vec::new(),
        });
        lsn
    }
}
