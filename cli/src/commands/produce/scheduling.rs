//! Schedules lines as records: some hundred with each commit.

use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::{Client, Due, Error, Record, Schedule, Scheduled};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{Input, RecordShape};
use crate::interrupt::Interrupt;
use crate::output::{Progress, Report, count_of, json_line, printable};

/// Records of one commit at most, and bytes of their values after which it has enough.
const CHUNK_RECORDS: usize = 500;
const CHUNK_BYTES: usize = 1024 * 1024;

/// What every record has in common.
#[derive(Debug)]
pub(super) struct Scheduling<'a> {
    pub(super) client: Client,
    pub(super) topic: &'a str,
    pub(super) due: Due,
    /// The id of the one record.
    pub(super) id: Option<&'a str>,
    pub(super) give_up_after: Duration,
    pub(super) shape: RecordShape,
    pub(super) progress: Progress,
}

/// What became of the records.
#[derive(Debug, Default)]
pub(super) struct ScheduledLines {
    /// How many are scheduled.
    pub(super) count: u64,
    /// Where the last of them stands.
    pub(super) last: Option<Scheduled>,
    /// What ended it before the end of the input.
    pub(super) problem: Option<Failure>,
}

impl Scheduling<'_> {
    /// Schedules everything up to the end of the input, the first problem or an interrupt.
    pub(super) async fn run(self, input: Input, interrupt: &Interrupt) -> ScheduledLines {
        let mut done = ScheduledLines::default();
        let result = self.try_run(input, interrupt, &mut done).await;
        let scheduled = count_of(done.count, "record");
        let problem = result.err();
        done.problem = problem.map(|failure| match self.id {
            Some(_) => failure,
            None => failure.hint(format!("scheduled: {scheduled}")),
        });
        done
    }

    async fn try_run(
        &self,
        mut input: Input,
        interrupt: &Interrupt,
        done: &mut ScheduledLines,
    ) -> Result<(), Failure> {
        let mut chunk = Chunk::default();
        loop {
            let block = tokio::select! {
                biased;
                () = interrupt.wait() => return Err(Failure::new(Exit::Interrupted, "interrupted")),
                block = input.next_block() => block,
            };
            let block = block
                .map_err(|fault| Failure::new(Exit::Failed, fault.to_string()).because(&fault))?;
            let Some(block) = block else {
                return self.send(chunk, done).await;
            };
            for line in block.lines() {
                let number = line.number;
                let record = self.shape.to_record(line.bytes).map_err(|fault| {
                    let failure = Failure::new(Exit::Failed, fault.to_string());
                    failure.at(format_args!("line {number}"))
                })?;
                chunk.push(number, record);
                if chunk.is_full() {
                    self.send(std::mem::take(&mut chunk), done).await?;
                }
                if interrupt.has_come() {
                    return Err(Failure::new(Exit::Interrupted, "interrupted"));
                }
            }
        }
    }

    /// Schedules a chunk: all of it or nothing.
    async fn send(&self, chunk: Chunk, done: &mut ScheduledLines) -> Result<(), Failure> {
        let Some((first, last)) = chunk.first.zip(chunk.last) else {
            return Ok(());
        };
        let count = chunk.records.len() as u64;
        let mut commit = self.client.commit().give_up_after(self.give_up_after);
        for record in chunk.records {
            let schedule = Schedule::new(self.topic, record).due(self.due);
            commit = commit.schedule(match self.id {
                Some(id) => schedule.id(id),
                None => schedule,
            });
        }
        let committed = commit.send().await.map_err(|error| {
            let failure = Failure::from(Error::from(error));
            match first == last {
                true => failure,
                false => failure.at(format_args!("lines {first} to {last}")),
            }
        })?;
        done.count += count;
        done.last = committed.scheduled().last().cloned();
        self.progress.advance(count);
        Ok(())
    }
}

/// Records that are scheduled at once.
#[derive(Debug, Default)]
struct Chunk {
    records: Vec<Record>,
    value_bytes: usize,
    /// Numbers of the lines.
    first: Option<u64>,
    last: Option<u64>,
}

impl Chunk {
    fn push(&mut self, line: u64, record: Option<Record>) {
        let Some(record) = record else { return };
        self.value_bytes += record.value_bytes().map_or(0, bytes::Bytes::len);
        self.records.push(record);
        self.first.get_or_insert(line);
        self.last = Some(line);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= CHUNK_RECORDS || self.value_bytes >= CHUNK_BYTES
    }
}

/// Where a single record stands.
#[derive(Debug, Serialize)]
pub(super) struct ScheduledReport {
    topic: String,
    partition: u32,
    schedule_id: String,
    due_time: String,
}

impl ScheduledReport {
    pub(super) fn new(topic: &str, scheduled: &Scheduled) -> Self {
        let time = Timestamp::try_from(scheduled.due_time).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            topic: topic.to_owned(),
            partition: scheduled.partition.get(),
            schedule_id: scheduled.id.clone(),
            due_time: format!("{time:.3}"),
        }
    }
}

impl Report for ScheduledReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self {
            topic,
            partition,
            schedule_id,
            due_time,
        } = self;
        let id = printable(schedule_id.as_bytes());
        writeln!(out, "{topic}/{partition} scheduled as {id} for {due_time}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

/// How many records were scheduled.
#[derive(Debug, Serialize)]
pub(super) struct ScheduledSummary {
    scheduled: u64,
}

impl ScheduledSummary {
    pub(super) const fn of(lines: &ScheduledLines) -> Self {
        Self {
            scheduled: lines.count,
        }
    }
}

impl Report for ScheduledSummary {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "scheduled {}", count_of(self.scheduled, "record"))
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }

    fn is_data(&self) -> bool {
        false
    }
}
