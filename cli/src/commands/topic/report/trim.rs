//! What went from a topic.

use std::io::{self, Write};

use serde::Serialize;
use towpath_client::{OffsetRange, TopicId, TrimmedTopic};

use crate::output::{Align, Report, Table, count, count_of, json_line};

/// The offsets that went, or would go.
#[derive(Debug, Serialize)]
pub(in crate::commands::topic) struct TrimReport {
    name: String,
    topic_id: u64,
    record_count: u64,
    is_dry_run: bool,
    partitions: Vec<TrimmedReport>,
}

#[derive(Debug, Serialize)]
struct TrimmedReport {
    partition: u32,
    trimmed: RangeReport,
}

#[derive(Debug, Serialize)]
struct RangeReport {
    start: u64,
    end: u64,
}

impl TrimReport {
    pub(in crate::commands::topic) fn new(
        name: &str,
        trimmed: &TrimmedTopic,
        is_dry_run: bool,
    ) -> Self {
        let partitions = trimmed.partitions.iter();
        let counts = partitions.clone().map(|it| it.offsets.len());
        let partitions = partitions.clone().map(|it| TrimmedReport {
            partition: it.partition.get(),
            trimmed: RangeReport::of(it.offsets),
        });
        Self {
            name: name.to_owned(),
            topic_id: trimmed.topic_id.get(),
            record_count: counts.sum(),
            is_dry_run,
            partitions: partitions.collect(),
        }
    }

    /// Number of offsets that went.
    pub(in crate::commands::topic) const fn record_count(&self) -> u64 {
        self.record_count
    }

    /// Whether nothing went.
    pub(in crate::commands::topic) const fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Which topic it is.
    pub(in crate::commands::topic) const fn topic_id(&self) -> TopicId {
        TopicId::new(self.topic_id)
    }
}

impl RangeReport {
    const fn of(range: OffsetRange) -> Self {
        Self {
            start: range.start().get(),
            end: range.end().get(),
        }
    }
}

impl Report for TrimReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = &self.name;
        let records = count_of(self.record_count, "record");
        if self.is_empty() {
            return writeln!(out, "nothing to trim of topic {name}");
        }
        match self.is_dry_run {
            true => writeln!(out, "would trim topic {name}: {records}")?,
            false => writeln!(out, "trimmed topic {name}: {records}")?,
        }
        let mut table = Table::new([
            ("PARTITION", Align::Right),
            ("FROM", Align::Right),
            ("TO", Align::Right),
            ("RECORDS", Align::Right),
        ]);
        for partition in &self.partitions {
            let RangeReport { start, end } = partition.trimmed;
            table.row([
                partition.partition.to_string(),
                count(start),
                count(end),
                count(end - start),
            ]);
        }
        write!(out, "{table}")?;
        match self.is_dry_run {
            true => writeln!(out, "dry run: nothing was trimmed"),
            false => Ok(()),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
