//! What is told about scheduled records.

use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::ScheduledRecord;

use crate::output::{Align, Report, Table, json_line, printable};

/// A record as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct ScheduledReport {
    topic: String,
    partition: u32,
    schedule_id: String,
    due_time: String,
    accept_time: String,
    key: Option<String>,
    record_bytes: u64,
}

impl ScheduledReport {
    pub(super) fn of(record: ScheduledRecord) -> Self {
        let key = record.key.as_deref();
        Self {
            topic: record.topic,
            partition: record.partition.get(),
            schedule_id: record.id,
            due_time: time_text(record.due_time),
            accept_time: time_text(record.accept_time),
            key: key.map(|key| String::from_utf8_lossy(key).into_owned()),
            record_bytes: record.record_bytes,
        }
    }
}

/// Records, one a line.
#[derive(Debug)]
pub(super) struct ScheduledReports {
    pub(super) records: Vec<ScheduledReport>,
}

impl Report for ScheduledReports {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("DUE", Align::Left),
            ("TOPIC", Align::Left),
            ("PARTITION", Align::Right),
            ("ID", Align::Left),
            ("KEY", Align::Left),
            ("BYTES", Align::Right),
        ]);
        for it in &self.records {
            let key = it.key.as_deref().unwrap_or_default();
            table.row([
                it.due_time.clone(),
                it.topic.clone(),
                it.partition.to_string(),
                printable(it.schedule_id.as_bytes()),
                printable(key.as_bytes()),
                it.record_bytes.to_string(),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        self.records.iter().try_for_each(|it| json_line(out, it))
    }
}

/// Records that were taken away.
#[derive(Debug)]
pub(super) struct CancelledReports {
    topic: String,
    cancelled: Vec<MovedReport>,
}

impl CancelledReports {
    pub(super) fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            cancelled: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, id: &str, due_time: SystemTime) {
        let report = MovedReport::new(&self.topic, id, due_time);
        self.cancelled.push(report);
    }
}

impl Report for CancelledReports {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.cancelled.iter().try_for_each(|it| {
            let (id, due_time) = (printable(it.schedule_id.as_bytes()), &it.due_time);
            writeln!(out, "cancelled {id}, which was due at {due_time}")
        })
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        self.cancelled.iter().try_for_each(|it| json_line(out, it))
    }
}

/// A record, and when it is due.
#[derive(Debug, Serialize)]
pub(super) struct MovedReport {
    topic: String,
    schedule_id: String,
    due_time: String,
}

impl MovedReport {
    pub(super) fn new(topic: &str, id: &str, due_time: SystemTime) -> Self {
        Self {
            topic: topic.to_owned(),
            schedule_id: id.to_owned(),
            due_time: time_text(due_time),
        }
    }
}

impl Report for MovedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (id, due_time) = (printable(self.schedule_id.as_bytes()), &self.due_time);
        writeln!(out, "{id} is due at {due_time}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}
