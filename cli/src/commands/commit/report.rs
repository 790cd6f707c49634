//! What is told about a plan that was carried out.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::Committed;

use super::plan::Plan;
use crate::output::{Report, json_line};

/// Where the records of each operation are.
#[derive(Debug, Serialize)]
pub(super) struct CommitReport {
    lsn: u64,
    time: String,
    is_repeated: bool,
    results: Vec<OperationReport>,
}

#[derive(Debug, Serialize)]
struct OperationReport {
    positions: Vec<PositionReport>,
}

#[derive(Debug, Serialize)]
struct PositionReport {
    topic: String,
    partition: u32,
    offset: u64,
    is_repeated: bool,
}

impl CommitReport {
    pub(super) fn new(plan: &Plan, committed: &Committed) -> Self {
        let results = plan.topics().enumerate().map(|(number, topic)| {
            let positions = committed.positions_of(number).iter();
            let positions = positions.map(|position| PositionReport {
                topic: topic.unwrap_or_default().to_owned(),
                partition: position.partition.get(),
                offset: position.offset.get(),
                is_repeated: position.is_repeated,
            });
            OperationReport {
                positions: positions.collect(),
            }
        });
        let time = Timestamp::try_from(committed.commit_time);
        let time = time.unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            lsn: committed.lsn.get(),
            time: format!("{time:.3}"),
            is_repeated: committed.is_repeated,
            results: results.collect(),
        }
    }
}

impl Report for CommitReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for position in self.results.iter().flat_map(|it| &it.positions) {
            let PositionReport {
                topic,
                partition,
                offset,
                is_repeated,
            } = position;
            let note = if *is_repeated { "  repeated" } else { "" };
            writeln!(out, "{topic}/{partition}@{offset}{note}")?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
