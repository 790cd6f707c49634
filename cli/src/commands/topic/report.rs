//! What is told about topics.

mod change;
mod compaction;
mod trim;

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::{StaleRecords, Topic, TopicPartition};

use crate::output::{
    Align, Report, Table, bytes, count, count_of, exact_bytes, exact_duration, json_line,
};

pub(super) use change::{Done, TopicChange};
pub(super) use compaction::CompactionReport;
pub(super) use trim::TrimReport;

/// A topic as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct TopicReport {
    name: String,
    topic_id: u64,
    partition_count: u32,
    record_count: u64,
    size_bytes: u64,
    create_time: String,
    config: ConfigReport,
    etag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<PartitionReport>,
}

/// The settings of a topic.
#[derive(Debug, Serialize)]
struct ConfigReport {
    retention_age_ms: Option<u64>,
    retention_bytes: Option<u64>,
    dedupe_window_ms: Option<u64>,
    key_versions: bool,
    stale_records: Option<&'static str>,
    compact: bool,
    tombstone_grace_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct PartitionReport {
    partition: u32,
    log_start_offset: u64,
    end_offset: u64,
    size_bytes: u64,
    last_append_time: Option<String>,
}

impl TopicReport {
    pub(super) fn of(topic: &Topic) -> Self {
        Self {
            name: topic.name.to_string(),
            topic_id: topic.topic_id.get(),
            partition_count: topic.partition_count,
            record_count: topic.record_count,
            size_bytes: topic.size_bytes,
            create_time: time_text(topic.create_time),
            config: ConfigReport::of(topic),
            etag: topic.etag.clone(),
            partitions: topic.partitions.iter().map(PartitionReport::of).collect(),
        }
    }
}

impl ConfigReport {
    fn of(topic: &Topic) -> Self {
        let whole_ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            retention_age_ms: topic.retention_age.map(whole_ms),
            retention_bytes: topic.retention_bytes,
            dedupe_window_ms: topic.dedupe_window.map(whole_ms),
            key_versions: topic.has_key_versions,
            stale_records: topic.stale_records.map(StaleRecords::as_str),
            compact: topic.is_compacted,
            tombstone_grace_ms: topic.tombstone_grace.map(whole_ms),
        }
    }

    /// How long and how much is kept: `retention 7 d or 10 GiB`, whichever is reached first. None if
    /// there is no bound.
    fn retention(&self) -> Option<String> {
        let age = self.retention_age_ms.map(Duration::from_millis);
        let bounds = [
            age.map(exact_duration),
            self.retention_bytes.map(exact_bytes),
        ];
        let bounds: Vec<_> = bounds.into_iter().flatten().collect();
        (!bounds.is_empty()).then(|| format!("retention {}", bounds.join(" or ")))
    }

    /// What is compared before a record is written: `dedupe window 10 min, key versions`.
    fn comparisons(&self) -> Vec<String> {
        let window = self.dedupe_window_ms.map(Duration::from_millis);
        let window = window.map(|it| format!("dedupe window {}", exact_duration(it)));
        let versions = self.key_versions.then(|| "key versions".to_owned());
        let stale = self.stale_records.map(|it| format!("stale records: {it}"));
        [window, versions, stale].into_iter().flatten().collect()
    }

    /// What is kept of each key: `compacted, tombstones stay 6 h`.
    fn compaction(&self) -> Vec<String> {
        let compacted = self.compact.then(|| "compacted".to_owned());
        let grace = self.tombstone_grace_ms.map(Duration::from_millis);
        let grace = grace.map(|it| format!("tombstones stay {}", exact_duration(it)));
        [compacted, grace].into_iter().flatten().collect()
    }

    /// All settings that are not the default.
    fn chosen(&self) -> Vec<String> {
        let retention = self.retention().into_iter();
        let others = self.comparisons().into_iter().chain(self.compaction());
        retention.chain(others).collect()
    }

    /// All settings, also where there is no bound.
    fn all(&self) -> String {
        let retention = self.retention();
        let retention = retention.unwrap_or_else(|| "retention none".to_owned());
        let mut settings = vec![retention];
        settings.extend(self.comparisons());
        settings.extend(self.compaction());
        settings.join(", ")
    }
}

impl PartitionReport {
    fn of(partition: &TopicPartition) -> Self {
        Self {
            partition: partition.partition.get(),
            log_start_offset: partition.log_start_offset.get(),
            end_offset: partition.end_offset.get(),
            size_bytes: partition.size_bytes,
            last_append_time: partition.last_append_time.map(time_text),
        }
    }
}

fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

impl Report for TopicReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}  {}, {}, created {}, {}",
            self.name,
            count_of(self.record_count, "record"),
            bytes(self.size_bytes),
            self.create_time,
            self.config.all()
        )?;
        let mut table = Table::new([
            ("PARTITION", Align::Right),
            ("START", Align::Right),
            ("END", Align::Right),
            ("SIZE", Align::Right),
            ("LAST APPEND", Align::Left),
        ]);
        for partition in &self.partitions {
            table.row([
                partition.partition.to_string(),
                count(partition.log_start_offset),
                count(partition.end_offset),
                bytes(partition.size_bytes),
                partition
                    .last_append_time
                    .clone()
                    .unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

/// All topics, one a line.
#[derive(Debug)]
pub(super) struct TopicList {
    topics: Vec<TopicReport>,
}

impl TopicList {
    pub(super) fn of(topics: &[Topic]) -> Self {
        Self {
            topics: topics.iter().map(TopicReport::of).collect(),
        }
    }
}

impl Report for TopicList {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("TOPIC", Align::Left),
            ("PARTITIONS", Align::Right),
            ("RECORDS", Align::Right),
            ("SIZE", Align::Right),
            ("CREATED", Align::Left),
        ]);
        for topic in &self.topics {
            table.row([
                topic.name.clone(),
                topic.partition_count.to_string(),
                count(topic.record_count),
                bytes(topic.size_bytes),
                topic.create_time.clone(),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        self.topics
            .iter()
            .try_for_each(|topic| json_line(out, topic))
    }
}
