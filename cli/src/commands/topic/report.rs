//! What is told about topics.

use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::{Topic, TopicPartition};

use crate::output::{Align, Report, Table, bytes, count, count_of, json_line};

/// A topic as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct TopicReport {
    name: String,
    topic_id: u64,
    partition_count: u32,
    record_count: u64,
    size_bytes: u64,
    create_time: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<PartitionReport>,
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
            partitions: topic.partitions.iter().map(PartitionReport::of).collect(),
        }
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
            "{}  {}, {}, created {}",
            self.name,
            count_of(self.record_count, "record"),
            bytes(self.size_bytes),
            self.create_time
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

/// What was done to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It is there now.
    Created,
    /// It is there, now or from before.
    Ensured,
    /// It could be created.
    WouldCreate,
    /// It is gone.
    Deleted,
    /// It could be deleted.
    WouldDelete,
}

/// A topic and what was done to it.
#[derive(Debug)]
pub(super) struct TopicChange {
    topic: TopicReport,
    done: Done,
}

impl TopicChange {
    pub(super) fn new(topic: &Topic, done: Done) -> Self {
        Self {
            topic: TopicReport::of(topic),
            done,
        }
    }
}

impl Report for TopicChange {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = &self.topic.name;
        let partitions = count_of(self.topic.partition_count.into(), "partition");
        let records = count_of(self.topic.record_count, "record");
        match self.done {
            Done::Created => writeln!(
                out,
                "created topic {name}: {partitions}, acknowledged when on disk"
            ),
            Done::Ensured => writeln!(out, "topic {name} is there: {partitions}"),
            Done::WouldCreate => writeln!(
                out,
                "would create topic {name}: {partitions}\ndry run: nothing was created"
            ),
            Done::Deleted => {
                writeln!(out, "deleted topic {name}: {partitions}, {records}")
            }
            Done::WouldDelete => writeln!(
                out,
                "would delete topic {name}: {partitions}, {records}\n\
                 dry run: nothing was deleted"
            ),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, &self.topic)
    }
}
