//! What is told about a plan that was carried out.

use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::Committed;

use super::plan::Plan;
use crate::output::{Report, json_line, printable};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled: Option<ScheduledReport>,
}

#[derive(Debug, Serialize)]
struct ScheduledReport {
    topic: String,
    partition: u32,
    schedule_id: String,
    due_time: String,
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
            let scheduled = committed.scheduled_of(number).map(|it| ScheduledReport {
                topic: topic.unwrap_or_default().to_owned(),
                partition: it.partition.get(),
                schedule_id: it.id.clone(),
                due_time: time_text(it.due_time),
            });
            OperationReport {
                positions: positions.collect(),
                scheduled,
            }
        });
        Self {
            lsn: committed.lsn.get(),
            time: time_text(committed.commit_time),
            is_repeated: committed.is_repeated,
            results: results.collect(),
        }
    }
}

impl Report for CommitReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for operation in &self.results {
            for position in &operation.positions {
                let PositionReport {
                    topic,
                    partition,
                    offset,
                    is_repeated,
                } = position;
                let note = if *is_repeated { "  repeated" } else { "" };
                writeln!(out, "{topic}/{partition}@{offset}{note}")?;
            }
            if let Some(scheduled) = &operation.scheduled {
                let ScheduledReport {
                    topic,
                    partition,
                    due_time,
                    ..
                } = scheduled;
                let id = printable(scheduled.schedule_id.as_bytes());
                writeln!(out, "{topic}/{partition} scheduled as {id} for {due_time}")?;
            }
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}
