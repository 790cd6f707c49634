//! Where records of a key are, and reading them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{Direction, Frame, Offset, RowRange, StorageError};

use super::{Shared, convert, dead_letter, facts, status};
use crate::core::{FindKey, KeyHead, KeyVersion};
use crate::fetch::{ReadFailure, Readable};
use crate::runtime::command::ControlCommand;
use crate::runtime::published::TopicView;

/// A key of a topic.
#[derive(Debug)]
pub(super) struct KeyName {
    pub(super) topic: Arc<TopicView>,
    pub(super) key: Bytes,
    pub(super) hash: [u8; 16],
}

/// What is remembered of a key.
#[derive(Debug, Default)]
pub(super) struct FoundKey {
    pub(super) head: Option<KeyHead>,
    /// Versions of those asked for that are remembered.
    pub(super) versions: BTreeMap<u64, KeyVersion>,
}

impl KeyName {
    /// Names a key of a topic, or of that life of the topic's name.
    ///
    /// # Errors
    /// There is no such topic.
    pub(super) fn new(
        shared: &Shared,
        topic: &str,
        topic_id: Option<u64>,
        key: Bytes,
    ) -> Result<Self, Problem> {
        let name = convert::topic_name("topic", topic)?;
        let topic = shared.topic(&name)?;
        if topic_id.is_some_and(|id| id != topic.id().get()) {
            return Err(status::topic_gone(&name));
        }
        let hash = facts::Reader::new(shared).key_hash(&key);
        Ok(Self { topic, key, hash })
    }

    /// Looks up the newest record and some versions: what changed of late in the state, the rest on disk.
    ///
    /// # Errors
    /// The broker stops, or the disk fails.
    pub(super) async fn look_up(
        &self,
        shared: &Shared,
        versions: Range<u64>,
    ) -> Result<FoundKey, Problem> {
        let (topic, hash) = (self.topic.id(), self.hash);
        let wish = FindKey {
            topic,
            hash,
            versions: versions.clone(),
        };
        // Before the state is asked: what is in neither was never written.
        let snapshot = shared.index.snapshot();
        let of_late = shared.control(|answer| ControlCommand::FindKey { wish, answer });
        let of_late = of_late.await;
        let of_late =
            of_late.map_err(|error| status::command_failed(error, |never| match never {}))?;
        let runs = Arc::clone(&snapshot.runs);
        let needs_head = of_late.head.is_none();
        let job = move || -> Result<FoundKey, StorageError> {
            let mut found = FoundKey::default();
            if needs_head {
                let row = runs.get(&KeyHead::row_key(topic, &hash))?;
                found.head = row.value().map(KeyHead::from_bytes);
            }
            if versions.is_empty() {
                return Ok(found);
            }
            let start = KeyVersion::row_key(topic, &hash, versions.start);
            let range = RowRange {
                table: start.table,
                start: start.key,
                end: Some(KeyVersion::row_key(topic, &hash, versions.end).key),
            };
            for row in runs.scan(&range, Direction::Forward) {
                let (key, value) = row?;
                found.versions.extend(KeyVersion::from_row(&key, &value));
            }
            Ok(found)
        };
        let found = shared.reading.pool().run(job).await;
        let found = found.ok_or_else(status::shutting_down)?;
        let mut found = found.map_err(|error| status::index_unreadable(&error))?;
        found.head = of_late.head.or(found.head);
        found.versions.extend(of_late.versions);
        Ok(found)
    }
}

/// What came of reading a record.
#[derive(Debug)]
pub(super) enum ReadRecord {
    Found(Box<v1::KeyRecord>),
    /// Retention or a trim let go of it.
    Trimmed,
    /// Compaction let go of it.
    Compacted,
    /// It cannot be read, and this is why.
    Damaged(Problem),
}

/// Reads records of a key one by one.
#[derive(Debug)]
pub(super) struct Records {
    topic: Arc<TopicView>,
    key: Bytes,
    /// What was read last, and of which partition: records of a key may stand together.
    frames: (u32, Vec<Frame>),
}

impl Records {
    pub(super) fn new(name: &KeyName) -> Self {
        Self {
            topic: Arc::clone(&name.topic),
            key: name.key.clone(),
            frames: (0, Vec::new()),
        }
    }

    /// Lets go of what was read.
    pub(super) fn forget(&mut self) {
        self.frames.1 = Vec::new();
    }

    /// Reads one that has this version.
    ///
    /// # Errors
    /// The broker stops, the topic was deleted, or the disk fails.
    pub(super) async fn read(
        &mut self,
        shared: &Shared,
        (partition, offset): (u32, Offset),
        version: u64,
    ) -> Result<ReadRecord, Problem> {
        let topic = self.topic.name();
        let Some(handle) = self.topic.partition(partition) else {
            return Err(status::topic_gone(topic));
        };
        if offset < handle.log().log_start() {
            return self.trimmed();
        }
        let is_kept =
            self.frames.0 == partition && dead_letter::scan::find(&self.frames.1, offset).is_some();
        if !is_kept {
            let frames = match shared.reading.frame_at(handle.log(), offset).await {
                Ok(Readable::Frames(frames)) => frames,
                Ok(Readable::Gone(_)) => return self.trimmed(),
                Err(_) if self.topic.is_deleted() => return Err(status::topic_gone(topic)),
                Err(failure) => {
                    let problem = status::read_failed(&failure, topic, partition);
                    return match failure {
                        ReadFailure::Lost(_) => Ok(ReadRecord::Damaged(problem)),
                        _ => Err(problem),
                    };
                }
            };
            self.frames = (partition, frames);
        }
        let Some((frame, record)) = dead_letter::scan::find(&self.frames.1, offset) else {
            // A hole in what is still there.
            self.trimmed()?;
            return Ok(match offset < handle.log().log_start() {
                true => ReadRecord::Trimmed,
                false => ReadRecord::Compacted,
            });
        };
        // A copy: a slice would keep all that was read with it in memory.
        let record = v1::Record::decode(Bytes::copy_from_slice(&record));
        let record = record.ok().filter(|it| it.key.as_ref() == Some(&self.key));
        let Some(record) = record else {
            tracing::error!(topic = %topic, partition, %offset, "a key's index names a record of another key");
            let range = towpath_storage::OffsetRange {
                start: offset,
                end: offset.advance(1),
            };
            let failure = ReadFailure::Lost(range);
            let problem = status::read_failed(&failure, topic, partition);
            return Ok(ReadRecord::Damaged(problem));
        };
        Ok(ReadRecord::Found(Box::new(v1::KeyRecord {
            version,
            position: Some(v1::RecordPosition {
                partition,
                offset: offset.get(),
                is_repeated: false,
            }),
            lsn: frame.header.lsn.get(),
            append_time_ms: frame.header.append_time_ms,
            record: Some(record),
        })))
    }

    /// A record that is gone.
    ///
    /// # Errors
    /// All of its topic is.
    pub(super) fn trimmed(&self) -> Result<ReadRecord, Problem> {
        match self.topic.is_deleted() {
            true => Err(status::topic_gone(self.topic.name())),
            false => Ok(ReadRecord::Trimmed),
        }
    }
}
