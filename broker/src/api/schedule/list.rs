//! Listing scheduled records: what is on disk, with what has changed since.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use towpath_proto::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{Direction, RowRange, RunSet, StorageError, TopicId};

use super::{Shared, convert, id_text, parse_token, status, token};
use crate::core::{ScheduleId, ScheduleKey, ScheduledRecord};
use crate::runtime::command::ControlCommand;
use crate::runtime::schedule_command::{ScheduleChanges, ScheduleCommand};

/// Changes of late that a page looks at, at most.
const CHANGES_MAX: usize = 1_000;
/// Rows on disk that a page looks at, at most, and the bytes after which it has seen enough.
const ROWS_MAX: usize = 20_000;
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A page of records, without the names of their topics.
struct Page {
    records: Vec<(ScheduleKey, ScheduledRecord)>,
    next: Option<ScheduleKey>,
}

/// Lists a page.
pub(super) async fn list(
    shared: &Shared,
    asked: &v1::ListSchedulesRequest,
) -> Result<v1::ListSchedulesResponse, Problem> {
    let topic = match asked.topic.as_str() {
        "" => None,
        name => Some(shared.topic(&convert::topic_name("topic", name)?)?.id()),
    };
    let count_max = match asked.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    };
    let from = parse_token(&asked.page_token)?;
    // What changes from here on is told by the sequencer.
    let snapshot = shared.index.snapshot();
    let changes = shared.control(|answer| {
        ControlCommand::Schedule(ScheduleCommand::List {
            from,
            topic,
            count_max: CHANGES_MAX,
            answer,
        })
    });
    let changes = changes.await;
    let changes = changes.map_err(|error| status::command_failed(error, |never| match never {}))?;
    let counts = changes.counts;
    let runs = Arc::clone(&snapshot.runs);
    let read = move || read_page(&runs, changes, from, topic, count_max as usize);
    let page = shared.reading.pool().run(read).await;
    let page = page.ok_or_else(status::shutting_down)?;
    let page = page.map_err(|error| status::index_unreadable(&error))?;
    drop(snapshot);
    let topics = shared.published().topics();
    let records = page.records.into_iter().filter_map(|(key, record)| {
        // Those of a deleted topic are there until runs are merged.
        let topic = topics.with_id(record.partition.topic)?;
        Some(told(topic.name().as_str(), key, record))
    });
    Ok(v1::ListSchedulesResponse {
        records: records.collect(),
        next_page_token: page.next.map(token).unwrap_or_default(),
        scheduled_count: counts.count,
        scheduled_bytes: counts.size_bytes,
    })
}

/// Goes through the runs, and takes what has changed since instead of what they have. Blocks on the disk.
fn read_page(
    runs: &RunSet,
    changes: ScheduleChanges,
    from: ScheduleKey,
    topic: Option<TopicId>,
    count_max: usize,
) -> Result<Page, StorageError> {
    let row_key = from.row_key();
    let range = RowRange {
        table: row_key.table,
        start: row_key.key,
        end: changes.until.map(ScheduleKey::sort_bytes),
    };
    let mut page = Page {
        records: Vec::new(),
        next: None,
    };
    let mut changed: VecDeque<_> = changes.changed.into();
    let mut scan = runs.scan(&range, Direction::Forward);
    let mut on_disk = next_on_disk(&mut scan)?;
    let (mut rows, mut bytes) = (0, 0);
    loop {
        let next_changed = changed.front().map(|(key, _)| *key);
        let next_found = on_disk.as_ref().map(|(key, _)| *key);
        let next = match (next_changed, next_found) {
            (Some(changed), Some(found)) => changed.min(found),
            (Some(key), None) | (None, Some(key)) => key,
            (None, None) => {
                page.next = changes.until;
                return Ok(page);
            }
        };
        if page.records.len() >= count_max || rows >= ROWS_MAX || bytes >= BYTES_MAX {
            page.next = Some(next);
            return Ok(page);
        }
        rows += 1;
        let mut value = None;
        if next_found == Some(next) {
            value = on_disk.take().map(|(_, value)| value);
            on_disk = next_on_disk(&mut scan)?;
        }
        if next_changed == Some(next) {
            value = changed.pop_front().and_then(|(_, value)| value);
        }
        bytes += value.as_ref().map_or(0, Bytes::len);
        let record = value.as_ref().and_then(ScheduledRecord::from_value);
        let is_wanted =
            |record: &ScheduledRecord| topic.is_none_or(|topic| record.partition.topic == topic);
        let record = record.filter(is_wanted);
        page.records.extend(record.map(|record| (next, record)));
    }
}

fn next_on_disk(
    scan: &mut impl Iterator<Item = Result<(towpath_storage::RowKey, Bytes), StorageError>>,
) -> Result<Option<(ScheduleKey, Bytes)>, StorageError> {
    for row in scan {
        let (row_key, value) = row?;
        if let Some(key) = ScheduleKey::of_row(&row_key) {
            return Ok(Some((key, value)));
        }
    }
    Ok(None)
}

fn told(topic: &str, key: ScheduleKey, record: ScheduledRecord) -> v1::ScheduledRecord {
    let number = match record.id {
        ScheduleId::Numbered(number) => number,
        ScheduleId::Named(_) => key.number,
    };
    // Every record was walked when it came.
    let decoded = v1::Record::decode(record.record.clone()).unwrap_or_default();
    v1::ScheduledRecord {
        topic: topic.to_owned(),
        partition: record.partition.partition,
        schedule_id: id_text(record.name, number),
        due_ms: key.due_ms,
        accept_time_ms: record.accept_time_ms,
        key: decoded.key.map(|key| Bytes::copy_from_slice(&key)),
        record_bytes: record.record.len() as u64,
    }
}
