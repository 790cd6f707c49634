//! What is told about records that were written.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use towpath_client::{Address, Position, TopicName};

use super::sending::Sent;
use crate::output::{Report, bytes, count_of, duration, json_line, rate};

/// Where a single record is.
#[derive(Debug)]
pub(super) struct PositionReport {
    address: Address,
    lsn: u64,
}

impl PositionReport {
    pub(super) fn new(topic: TopicName, position: Position) -> Self {
        let Position {
            partition,
            offset,
            lsn,
            ..
        } = position;
        Self {
            address: Address {
                topic,
                partition,
                offset,
            },
            lsn: lsn.get(),
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
}

impl SummaryReport {
    pub(super) const fn of(sent: &Sent) -> Self {
        Self {
            records: sent.records,
            bytes: sent.bytes,
            elapsed: sent.elapsed,
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
        )
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Shown {
            records: u64,
            bytes: u64,
            seconds: f64,
        }
        let Self {
            records,
            bytes,
            elapsed,
        } = *self;
        json_line(
            out,
            &Shown {
                records,
                bytes,
                seconds: elapsed.as_secs_f64(),
            },
        )
    }

    fn is_data(&self) -> bool {
        false
    }
}
