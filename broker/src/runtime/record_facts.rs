//! How records are read for topics that look at them one by one.

use towpath_proto::batch::{RecordView, Records};
use towpath_storage::StorageError;

use super::index_view::IndexSnapshot;
use crate::core::{BatchFacts, KeyHead, RecordFacts, Remembered, TopicConfig, record_hash};

/// Header with the version of its entity that a record brings, in decimal digits.
pub(crate) const ENTITY_VERSION: &str = "towpath-entity-version";

/// The version of its entity that a record brings.
///
/// # Errors
/// Why there is none.
pub(crate) fn entity_version(record: &RecordView<'_>) -> Result<u64, String> {
    let mut headers = record.headers();
    let header = headers.find(|(name, _)| *name == ENTITY_VERSION);
    let Some((_, value)) = header else {
        return Err(format!(
            "the topic compares versions of entities: a record needs the header {ENTITY_VERSION}"
        ));
    };
    let digits = str::from_utf8(value).ok();
    let digits = digits.filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|it| it.parse().ok());
    let max = u64::MAX;
    number.ok_or_else(|| {
        format!("header {ENTITY_VERSION} is a number in decimal digits, at most {max}")
    })
}

/// What matters of records that are due: their keys and the versions of their entities. Their events are
/// not compared, and nothing is expected of them. Blocks on the disk.
pub(super) fn of_due(
    snapshot: &IndexSnapshot,
    hash_key: &[u8; 16],
    (topic, config): (towpath_storage::TopicId, &TopicConfig),
    payload: &[u8],
) -> Result<BatchFacts, StorageError> {
    let mut facts = BatchFacts {
        is_redriven: true,
        ..BatchFacts::default()
    };
    if !config.has_key_heads() {
        return Ok(facts);
    }
    // Every record was walked when it came.
    for record in Records::new(payload).map_while(Result::ok) {
        let mut key = record
            .key()
            .map(|key| Remembered::new(record_hash(hash_key, &[key])));
        if let Some(key) = &mut key {
            let found = snapshot.runs.get(&KeyHead::row_key(topic, &key.hash))?;
            key.on_disk = found.value().cloned();
        }
        let entity_version = config
            .stale_records
            .and_then(|_| entity_version(&record).ok());
        facts.records.push(RecordFacts {
            key,
            entity_version,
            ..RecordFacts::default()
        });
    }
    Ok(facts)
}
