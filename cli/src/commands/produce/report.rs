//! What is told about records that were written.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use towpath_client::{Address, Position, TopicName};

use super::sending::Sent;
use crate::output::{Report, bytes, count, count_of, duration, json_line, rate};

/// Where a single record is.
#[derive(Debug)]
pub(super) struct PositionReport {
    address: Address,
    lsn: u64,
    is_repeated: bool,
}

impl PositionReport {
    pub(super) fn new(topic: TopicName, position: Position) -> Self {
        let Position {
            partition,
            offset,
            lsn,
            is_repeated,
            ..
        } = position;
        Self {
            address: Address {
                topic,
                partition,
                offset,
            },
            lsn: lsn.get(),
            is_repeated,
        }
    }
}

impl Report for PositionReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.address)
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Shown<'a> {
            topic: &'a str,
            partition: u32,
            offset: u64,
            lsn: u64,
            is_repeated: bool,
        }
        let Address {
            topic,
            partition,
            offset,
        } = &self.address;
        let shown = Shown {
            topic: topic.as_str(),
            partition: partition.get(),
            offset: offset.get(),
            lsn: self.lsn,
            is_repeated: self.is_repeated,
        };
        json_line(out, &shown)
    }
}

/// How many records were written and how fast.
#[derive(Debug)]
pub(super) struct SummaryReport {
    records: u64,
    bytes: u64,
    elapsed: Duration,
    repeated_count: u64,
    /// The first of those.
    repeated: Vec<RepeatedReport>,
}

/// An event that was there already.
#[derive(Debug, Clone, Serialize)]
struct RepeatedReport {
    line: u64,
    topic: String,
    partition: u32,
    offset: u64,
}

impl SummaryReport {
    pub(super) fn of(sent: &Sent, topic: &TopicName) -> Self {
        let repeated = sent.first_repeated.iter();
        let repeated = repeated.map(|(line, position)| RepeatedReport {
            line: *line,
            topic: topic.to_string(),
            partition: position.partition.get(),
            offset: position.offset.get(),
        });
        Self {
            records: sent.records,
            bytes: sent.bytes,
            elapsed: sent.elapsed,
            repeated_count: sent.repeated,
            repeated: repeated.collect(),
        }
    }

    fn write_repeated(&self, out: &mut dyn Write) -> io::Result<()> {
        let repeated = count(self.repeated_count);
        writeln!(out, "{repeated} of them were there already:")?;
        for it in &self.repeated {
            let RepeatedReport {
                line,
                topic,
                partition,
                offset,
            } = it;
            writeln!(out, "  line {line}: {topic}/{partition}@{offset}")?;
        }
        match self.repeated_count - self.repeated.len() as u64 {
            0 => Ok(()),
            more => writeln!(out, "  and {} more", count(more)),
        }
    }
}

impl Report for SummaryReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}, {}, {}, {}",
            count_of(self.records, "record"),
            bytes(self.bytes),
            duration(self.elapsed),
            rate(self.records, self.elapsed)
        )?;
        match self.repeated_count {
            0 => Ok(()),
            _ => self.write_repeated(out),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Shown {
            records: u64,
            bytes: u64,
            seconds: f64,
            repeated_count: u64,
            repeated: Vec<RepeatedReport>,
        }
        let Self {
            records,
            bytes,
            elapsed,
            repeated_count,
            ..
        } = *self;
        json_line(
            out,
            &Shown {
                records,
                bytes,
                seconds: elapsed.as_secs_f64(),
                repeated_count,
                repeated: self.repeated.clone(),
            },
        )
    }

    fn is_data(&self) -> bool {
        false
    }
}
