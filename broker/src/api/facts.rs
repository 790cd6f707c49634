//! What records say to topics that look at them, with what is on disk about it.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use towpath_proto::batch::{RecordView, Records};
use towpath_proto::limits::{BATCH_BYTES_MAX, HEADERS_PER_RECORD_MAX, RECORDS_LOOKED_AT_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{PartitionRef, ProducerStamp, RowKey};

use super::Shared;
use super::index::look_up;
use super::placement::new_record;
use crate::core::{
    BatchFacts, EventRow, KeyHead, RecordFacts, Remembered, STALE_HEADER, StaleRecords,
    TopicConfig, UnwrittenRecord, record_hash,
};
use crate::runtime::command::CarriedFacts;
use crate::runtime::published::TopicView;
use crate::runtime::record_facts::entity_version;

/// Headers that name an event, as the event contract has them: which of its source it is, and the source.
const EVENT_ID: &str = "ce-id";
const EVENT_SOURCE: &str = "ce-source";
/// Longest id and source of an event, bytes.
const EVENT_NAME_BYTES_MAX: usize = 1024;
/// Memory of what is known of one record, about.
const FACTS_BYTES: usize = 512;
/// What the mark of an old record adds to it at most: name and value, with what encoding them adds.
const MARK_BYTES: usize = STALE_HEADER.len() + 20 + 6;

/// A batch whose records are to be looked at.
pub(super) struct BatchToRead<'a> {
    /// Its topic.
    pub(super) topic: &'a TopicView,
    /// The encoded batch, which was checked.
    pub(super) payload: &'a [u8],
    /// Where it goes and who numbered it, if anybody did.
    pub(super) numbered: Option<(PartitionRef, ProducerStamp)>,
    /// The records are dead letters that are written again.
    pub(super) is_redriven: bool,
}

/// What a request says of one record of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AskedRecord {
    /// As [`RecordFacts::origin`].
    pub(super) origin: u32,
    /// As [`RecordFacts::expected_version`].
    pub(super) expected_version: Option<u64>,
}

/// Memory that is needed to look at records, beside their bytes.
pub(super) fn memory_bytes(topic: &TopicView, record_count: u32) -> usize {
    match topic.settings().config.looks_at_records() {
        true => record_count as usize * FACTS_BYTES,
        false => 0,
    }
}

/// Reads what matters of the records of batches, and looks up what is remembered of it; nothing if none of
/// their topics looks at records. `asked` says what the request has on a record by the numbers of its batch
/// and of itself, `field` what it is called there.
///
/// # Errors
/// What is wrong with a record, or why the disk does not tell.
pub(super) async fn read(
    shared: &Shared,
    batches: &[BatchToRead<'_>],
    asked: impl Fn(usize, u32) -> AskedRecord,
    field: impl Fn(usize, u32) -> String,
) -> Result<Option<Box<CarriedFacts>>, Problem> {
    let is_watched = |it: &BatchToRead<'_>| it.topic.settings().config.looks_at_records();
    if !batches.iter().any(is_watched) {
        return Ok(None);
    }
    let reader = Reader::new(shared);
    let mut facts = Vec::with_capacity(batches.len());
    let mut count_left = RECORDS_LOOKED_AT_MAX as usize;
    for (number, batch) in batches.iter().enumerate() {
        let read = reader.read(
            batch,
            count_left,
            |it| asked(number, it),
            |it| field(number, it),
        )?;
        count_left -= read.records.len();
        facts.push(read);
    }
    check_partitions_of_keys(batches, &facts)?;
    let snapshot = shared.index.snapshot();
    let mut lookups = Vec::new();
    for (batch, facts) in batches.iter().zip(&mut facts) {
        lookups.extend(lookups_of(batch, facts));
    }
    let (keys, found): (Vec<_>, Vec<_>) = lookups.into_iter().map(|it| (it.key, it.found)).unzip();
    let values = look_up(shared, &snapshot, keys).await?;
    for (found, value) in found.into_iter().zip(values) {
        *found = value;
    }
    Ok(Some(Box::new(CarriedFacts {
        batches: facts,
        plain: None,
        snapshot,
    })))
}

/// A row to be found, and where what is found goes.
struct Wanted<'a> {
    key: RowKey,
    found: &'a mut Option<Bytes>,
}

fn lookups_of<'a>(batch: &BatchToRead<'_>, facts: &'a mut BatchFacts) -> Vec<Wanted<'a>> {
    let topic = batch.topic.id();
    let BatchFacts {
        records,
        unwritten_on_disk,
        ..
    } = facts;
    if records.is_empty() {
        return Vec::new();
    }
    let mut wanted = Vec::with_capacity(2 * records.len() + 1);
    for record in records {
        if let Some(event) = &mut record.event {
            wanted.push(Wanted {
                key: EventRow::row_key(topic, &event.hash),
                found: &mut event.on_disk,
            });
        }
        if let Some(key) = &mut record.key {
            wanted.push(Wanted {
                key: KeyHead::row_key(topic, &key.hash),
                found: &mut key.on_disk,
            });
        }
    }
    wanted.extend(batch.numbered.map(|(partition, stamp)| Wanted {
        key: UnwrittenRecord::row_key(partition, stamp),
        found: unwritten_on_disk,
    }));
    wanted
}

/// Hashes what a broker remembers of records.
#[derive(Debug)]
pub(super) struct Reader {
    hash_key: [u8; 16],
}

impl Reader {
    /// That of this broker.
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            hash_key: *shared.identity.broker_id.as_bytes(),
        }
    }

    fn read(
        &self,
        batch: &BatchToRead<'_>,
        count_max: usize,
        asked: impl Fn(u32) -> AskedRecord,
        field: impl Fn(u32) -> String,
    ) -> Result<BatchFacts, Problem> {
        let config = batch.topic.settings().config;
        let mut facts = BatchFacts {
            is_redriven: batch.is_redriven,
            ..BatchFacts::default()
        };
        if !config.looks_at_records() {
            return Ok(facts);
        }
        for (number, record) in (0..).zip(Records::new(batch.payload)) {
            let record = record?;
            if facts.records.len() == count_max {
                let message = format!(
                    "topics that look at records take at most {RECORDS_LOOKED_AT_MAX} of them at once"
                );
                return Err(Problem::invalid_field(field(number), message)
                    .with_hint("write fewer records at once to this topic"));
            }
            if config.compact && record.key().is_none() {
                return Err(without_key(field(number)));
            }
            let read = self.facts_of(&config, &record, asked(number));
            let named = |fault| Problem::invalid_field(field(number), fault);
            facts.records.push(read.map_err(named)?);
        }
        let marks_bytes = match config.stale_records {
            Some(StaleRecords::Mark) => facts.records.len() * MARK_BYTES,
            Some(StaleRecords::Refuse) | None => 0,
        };
        if batch.payload.len() + marks_bytes > BATCH_BYTES_MAX {
            let message = "the batch has no room for the marks of old records";
            return Err(Problem::invalid_field(field(0), message)
                .with_hint("write fewer bytes at once to this topic"));
        }
        Ok(facts)
    }

    fn facts_of(
        &self,
        config: &TopicConfig,
        record: &RecordView<'_>,
        asked: AskedRecord,
    ) -> Result<RecordFacts, String> {
        let event = match config.dedupe_window_ms {
            Some(_) => self.event_of(record)?,
            None => None,
        };
        let key = record.key().filter(|_| config.has_key_heads());
        let entity_version = version_of(config, record)?;
        Ok(RecordFacts {
            origin: asked.origin,
            event: event.map(Remembered::new),
            key: key.map(|key| Remembered::new(self.key_hash(key))),
            entity_version,
            expected_version: asked.expected_version,
        })
    }

    /// The hash under which a key is remembered.
    pub(super) fn key_hash(&self, key: &[u8]) -> [u8; 16] {
        self.hash(&[key])
    }

    /// The hash of an event's name, if it has one.
    fn event_of(&self, record: &RecordView<'_>) -> Result<Option<[u8; 16]>, String> {
        let header = |name: &str| {
            let mut headers = record.headers();
            let found = headers.find(|(other, _)| *other == name);
            found.map(|(_, value)| value).filter(|it| !it.is_empty())
        };
        let (Some(source), Some(id)) = (header(EVENT_SOURCE), header(EVENT_ID)) else {
            return Ok(None);
        };
        for (name, value) in [(EVENT_SOURCE, source), (EVENT_ID, id)] {
            if value.len() > EVENT_NAME_BYTES_MAX {
                let bytes = value.len();
                return Err(format!(
                    "header {name} has at most {EVENT_NAME_BYTES_MAX} bytes on a topic that knows \
                     events again, not {bytes}"
                ));
            }
        }
        Ok(Some(self.hash(&[source, id])))
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        record_hash(&self.hash_key, parts)
    }
}

/// Which version of its entity a record brings, if its topic compares them.
///
/// # Errors
/// Why it brings none.
fn version_of(config: &TopicConfig, record: &RecordView<'_>) -> Result<Option<u64>, String> {
    let Some(stale_records) = config.stale_records else {
        return Ok(None);
    };
    if record.key().is_none() {
        return Err("the topic compares versions of entities: a record needs a key".into());
    }
    if stale_records == StaleRecords::Mark {
        if record.header_count() >= HEADERS_PER_RECORD_MAX {
            return Err("the record has no room for one more header, which may mark it".into());
        }
        if record.headers().any(|(name, _)| name == STALE_HEADER) {
            return Err(format!(
                "header {STALE_HEADER} is for the broker alone on this topic"
            ));
        }
    }
    entity_version(record).map(Some)
}

/// A record that nothing could ever replace.
fn without_key(field: impl Into<String>) -> Problem {
    let message = "the topic is compacted by key: a record needs a key";
    Problem::invalid_field(field.into(), message)
        .with_hint("give each record the key of what it is about")
}

/// Checks that a topic can take a record later, as far as that depends on the record alone.
///
/// # Errors
/// The topic compares versions of entities, and the record brings none.
pub(super) fn check_later(
    topic: &TopicView,
    record: &v1::Record,
    field: &str,
) -> Result<(), Problem> {
    let mut payload = BytesMut::new();
    new_record(record).put(&mut payload);
    let config = topic.settings().config;
    if config.compact && record.key.is_none() {
        return Err(without_key(field));
    }
    let record = Records::new(&payload).next().transpose()?;
    record.map_or(Ok(()), |record| {
        let version = version_of(&config, &record);
        version
            .map(drop)
            .map_err(|message| Problem::invalid_field(field, message))
    })
}

/// Checks that records of one key go to one partition, whose order is theirs.
///
/// # Errors
/// They do not.
fn check_partitions_of_keys(
    batches: &[BatchToRead<'_>],
    facts: &[BatchFacts],
) -> Result<(), Problem> {
    if batches.len() < 2 {
        return Ok(());
    }
    let mut batch_of = BTreeMap::new();
    for (number, (batch, facts)) in batches.iter().zip(facts).enumerate() {
        for key in facts.records.iter().filter_map(|it| it.key.as_ref()) {
            let known = batch_of
                .entry((batch.topic.id(), key.hash))
                .or_insert(number);
            if *known != number {
                let message =
                    "records of one key go to two partitions of a topic that looks at keys";
                return Err(Problem::invalid_field("partition", message)
                    .with_hint("let the key say which partition a record goes to"));
            }
        }
    }
    Ok(())
}

/// The refusal of what rests on versions that there are not.
pub(super) fn without_versions(field: impl Into<String>) -> Problem {
    let message = "keys of this topic have no versions to rest on";
    Problem::invalid_field(field.into(), message)
        .with_hint("create a topic with key versions, or expect an offset")
}

/// Checks that records which rest on a version of their key all have one key.
///
/// # Errors
/// They have not; the field of the request that says so is `field`.
pub(super) fn check_one_key<'a>(
    keys: impl IntoIterator<Item = Option<&'a [u8]>>,
    field: impl Into<String>,
) -> Result<(), Problem> {
    let mut keys = keys.into_iter();
    let first = keys.next().flatten();
    if first.is_some() && keys.all(|key| key == first) {
        return Ok(());
    }
    let message = "records that rest on a version of their key all have that one key";
    let problem = Problem::invalid_field(field.into(), message);
    Err(problem.with_hint("send records of other keys apart"))
}
