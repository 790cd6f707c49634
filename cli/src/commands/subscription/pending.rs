//! `towpath subscription pending`.

use std::io::{self, Write};
use std::time::SystemTime;

use serde::Serialize;
use towpath_client::{Admin, PendingRecord, RecordState};

use super::super::{Outcome, Session};
use super::report::time_text;
use crate::args::PendingArgs;
use crate::failure::Failure;
use crate::output::{Align, Report, Table, count_of, json_line, printable};

/// Lists records in flight and waiting.
pub(super) async fn run(
    args: &PendingArgs,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let limit = args.limit as usize;
    let mut records = Vec::new();
    let mut next = Some(args.to_list());
    while let Some(list) = next
        && records.len() <= limit
    {
        let page = admin.list_pending(list).await?;
        records.extend(page.records.iter().map(PendingReport::of));
        next = page.next;
    }
    if records.len() > limit {
        records.truncate(limit);
        let shown = count_of(limit as u64, "record");
        let output = session.output;
        output.note(format_args!("there are more than {shown}; -n shows more"));
    }
    Ok(Outcome::of(PendingReports { records }))
}

/// A record as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct PendingReport {
    pub(super) partition: u32,
    offset: u64,
    state: &'static str,
    is_redriven: bool,
    attempt: u32,
    consumer: Option<String>,
    client_name: Option<String>,
    delivery: Option<u64>,
    delivery_time: Option<String>,
    deadline: Option<String>,
    is_started: bool,
    is_suspect: bool,
    next_attempt: Option<String>,
    failure_count: u32,
    failures: Vec<FailureReport>,
    behind_offset: Option<u64>,
    append_time: Option<String>,
    record_bytes: u32,
    death_reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct FailureReport {
    time: String,
    reason: String,
}

impl PendingReport {
    pub(super) fn of(record: &PendingRecord) -> Self {
        let time = |time: Option<SystemTime>| time.map(time_text);
        let holder = record.holder.as_ref();
        let failures = record.failures.iter().map(|failure| FailureReport {
            time: time_text(failure.time),
            reason: failure.reason.clone(),
        });
        Self {
            partition: record.partition.get(),
            offset: record.offset.get(),
            state: state_text(record.state),
            is_redriven: record.is_redriven,
            attempt: record.attempt,
            consumer: holder.map(|it| it.consumer_id.clone()),
            client_name: holder.map(|it| it.client_name.clone()),
            delivery: holder.map(|it| it.delivery),
            delivery_time: time(holder.map(|it| it.delivery_time)),
            deadline: time(holder.map(|it| it.deadline)),
            is_started: holder.is_some_and(|it| it.is_started),
            is_suspect: record.is_suspect,
            next_attempt: time(record.next_attempt),
            failure_count: record.failure_count,
            failures: failures.collect(),
            behind_offset: record.behind.map(|offset| offset.get()),
            append_time: time(record.append_time),
            record_bytes: record.record_bytes,
            death_reason: record.death_reason.clone(),
        }
    }

    /// Who has it, or what it waits for.
    fn why(&self) -> String {
        let consumer = self.consumer.as_deref();
        let short = consumer.map(|id| id.get(..8).unwrap_or(id));
        match (
            short,
            &self.next_attempt,
            self.behind_offset,
            &self.death_reason,
        ) {
            (Some(short), ..) => {
                let name = self.client_name.as_deref().unwrap_or_default();
                let until = self.deadline.as_deref().unwrap_or_default();
                format!("{} {short} until {until}", printable(name.as_bytes()))
            }
            (_, _, _, Some(reason)) => format!("dead: {}", printable(reason.as_bytes())),
            (_, _, Some(offset), _) => format!("behind {offset}"),
            _ if self.is_suspect => "waits for an idle consumer".to_owned(),
            (_, Some(time), ..) => format!("next attempt {time}"),
            (None, None, None, None) => String::new(),
        }
    }

    /// Its failures, one a line.
    pub(super) fn write_failures(&self, out: &mut dyn Write) -> io::Result<()> {
        self.failures.iter().try_for_each(|failure| {
            let reason = printable(failure.reason.as_bytes());
            writeln!(out, "  failed {}: {reason}", failure.time)
        })
    }

    /// Where it is, in a line.
    pub(super) fn line(&self) -> String {
        let place = format!("{}@{}", self.partition, self.offset);
        let why = self.why();
        let dash = if why.is_empty() { "" } else { ", " };
        let attempt = match self.state {
            "dying" => format!("after {}", count_of(self.attempt.into(), "attempt")),
            _ => format!("attempt {}", self.attempt),
        };
        format!("{place}  {}, {attempt}{dash}{why}", self.state)
    }
}

const fn state_text(state: RecordState) -> &'static str {
    match state {
        RecordState::Ahead => "ahead",
        RecordState::Ready => "ready",
        RecordState::InFlight => "in-flight",
        RecordState::Waiting => "waiting",
        RecordState::Dying => "dying",
        RecordState::Dead => "dead",
        RecordState::Settled => "settled",
        RecordState::Filtered => "filtered",
        RecordState::Gone => "gone",
        _ => "unknown",
    }
}

/// Records, one a line.
#[derive(Debug)]
struct PendingReports {
    records: Vec<PendingReport>,
}

impl Report for PendingReports {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("RECORD", Align::Left),
            ("STATE", Align::Left),
            ("ATTEMPT", Align::Right),
            ("FAILURES", Align::Right),
            ("WHY", Align::Left),
        ]);
        for it in &self.records {
            let lane = if it.is_redriven { " (redriven)" } else { "" };
            table.row([
                format!("{}@{}{lane}", it.partition, it.offset),
                it.state.to_owned(),
                it.attempt.to_string(),
                it.failure_count.to_string(),
                it.why(),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        self.records
            .iter()
            .try_for_each(|record| json_line(out, record))
    }
}
