//! What records say to topics that look at them, with what is on disk about it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use towpath_proto::batch::{RecordView, Records};
use towpath_proto::problem::Problem;
use towpath_storage::{PartitionRef, ProducerStamp, RowKey, RunSet, StorageError};

use super::{Shared, status};
use crate::core::{
    BatchFacts, EventRow, KeyHead, RecordFacts, Remembered, TopicConfig, UnwrittenRecord,
    record_hash,
};
use crate::runtime::command::CarriedFacts;
use crate::runtime::published::TopicView;

/// Header with the version of its entity that a record brings, in decimal digits.
const ENTITY_VERSION: &str = "towpath-entity-version";
/// Headers that name an event, as the event contract has them: which of its source it is, and the source.
const EVENT_ID: &str = "ce-id";
const EVENT_SOURCE: &str = "ce-source";
/// Longest id and source of an event, bytes.
const EVENT_NAME_BYTES_MAX: usize = 1024;
/// Most records of one batch that are looked at: an entry holds rows about each of them.
const RECORDS_MAX: usize = 32_768;
/// Rows that one job of the read pool looks up, so that others have their turn.
const LOOKUPS_PER_JOB: usize = 512;
/// Memory of what is known of one record, about.
const FACTS_BYTES: usize = 256;

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
#[derive(Debug, Clone, Default)]
pub(super) struct AskedRecord {
    /// As [`RecordFacts::origin`].
    pub(super) origin: u32,
    /// As [`RecordFacts::expected_version`].
    pub(super) expected_version: Option<u64>,
    /// What the record is called in the request.
    pub(super) field: Cow<'static, str>,
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
/// and of itself.
///
/// # Errors
/// What is wrong with a record, or why the disk does not tell.
pub(super) async fn read(
    shared: &Shared,
    batches: &[BatchToRead<'_>],
    asked: impl Fn(usize, u32) -> AskedRecord,
) -> Result<Option<Box<CarriedFacts>>, Problem> {
    let is_watched = |it: &BatchToRead<'_>| it.topic.settings().config.looks_at_records();
    if !batches.iter().any(is_watched) {
        return Ok(None);
    }
    let reader = Reader {
        hash_key: *shared.identity.broker_id.as_bytes(),
    };
    let facts = batches.iter().enumerate();
    let facts = facts.map(|(number, batch)| reader.read(batch, |record| asked(number, record)));
    let mut facts = facts.collect::<Result<Vec<_>, _>>()?;
    let snapshot = shared.index.snapshot();
    let mut lookups = Vec::new();
    for (batch, facts) in batches.iter().zip(&mut facts) {
        lookups.extend(lookups_of(batch, facts));
    }
    look_up(shared, &snapshot.runs, &mut lookups).await?;
    drop(lookups);
    Ok(Some(Box::new(CarriedFacts {
        batches: facts,
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

/// Finds rows: those in memory at once, the others through the read pool.
async fn look_up(
    shared: &Shared,
    runs: &Arc<RunSet>,
    lookups: &mut [Wanted<'_>],
) -> Result<(), Problem> {
    let mut on_disk = Vec::new();
    for wanted in lookups {
        match runs.get_cached(&wanted.key) {
            Some(found) => *wanted.found = found.value().cloned(),
            None => on_disk.push(wanted),
        }
    }
    for wanted in on_disk.chunks_mut(LOOKUPS_PER_JOB) {
        let keys: Vec<_> = wanted.iter().map(|it| it.key.clone()).collect();
        let runs = Arc::clone(runs);
        let job = move || -> Result<Vec<Option<Bytes>>, StorageError> {
            let found = keys.iter().map(|key| Ok(runs.get(key)?.value().cloned()));
            found.collect()
        };
        let found = shared.reading.pool().run(job).await;
        let found = found.ok_or_else(status::shutting_down)?;
        let found = found.map_err(|error| status::index_unreadable(&error))?;
        for (wanted, found) in wanted.iter_mut().zip(found) {
            *wanted.found = found;
        }
    }
    Ok(())
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
        asked: impl Fn(u32) -> AskedRecord,
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
            if facts.records.len() == RECORDS_MAX {
                let message = format!(
                    "a topic that looks at records takes at most {RECORDS_MAX} of them at once"
                );
                return Err(Problem::invalid_field("batch", message)
                    .with_hint("send smaller batches to this topic"));
            }
            let asked = asked(number);
            facts.records.push(self.facts_of(&config, &record, asked)?);
        }
        Ok(facts)
    }

    fn facts_of(
        &self,
        config: &TopicConfig,
        record: &RecordView<'_>,
        asked: AskedRecord,
    ) -> Result<RecordFacts, Problem> {
        let AskedRecord {
            origin,
            expected_version,
            field,
        } = asked;
        let fault = |message: String| Problem::invalid_field(field.clone(), message);
        let event = match config.dedupe_window_ms {
            Some(_) => self.event_of(record).map_err(&fault)?,
            None => None,
        };
        if config.compact && record.key().is_none() {
            return Err(
                fault("the topic is compacted by key: a record needs a key".into())
                    .with_hint("give each record the key of what it is about"),
            );
        }
        let key = record.key().filter(|_| config.has_key_heads());
        let entity_version = match config.stale_records {
            Some(_) if record.key().is_none() => {
                return Err(fault(
                    "the topic compares versions of entities: a record needs a key".into(),
                )
                .with_hint("give each record the id of its entity as its key"));
            }
            Some(_) => Some(entity_version(record).map_err(&fault)?),
            None => None,
        };
        Ok(RecordFacts {
            origin,
            event: event.map(Remembered::new),
            key: key.map(|key| Remembered::new(self.key_hash(key))),
            entity_version,
            expected_version,
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

fn entity_version(record: &RecordView<'_>) -> Result<u64, String> {
    let mut headers = record.headers();
    let header = headers.find(|(name, _)| *name == ENTITY_VERSION);
    let Some((_, value)) = header else {
        return Err(format!(
            "the topic compares versions of entities: a record needs the header {ENTITY_VERSION}"
        ));
    };
    let number = str::from_utf8(value).ok().and_then(|it| it.parse().ok());
    number.ok_or_else(|| {
        format!(
            "header {ENTITY_VERSION} is a number in decimal digits, at most {}",
            u64::MAX
        )
    })
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
