//! Sends lines as records, many in flight, and keeps book of what became of them.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use towpath_client::{Error, Position, Producer, Receipt};

use crate::args::Expectation;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{Input, Line, RecordShape};
use crate::interrupt::Interrupt;
use crate::output::{Progress, count, count_of};

/// Records after which outcomes that are there are looked at.
const LOOK_INTERVAL: u64 = 64;
/// Most receipts that are kept: one partition that stands still lets no more pile up behind it.
const WAITING_MAX: usize = 1 << 18;

/// Most records of which it is told where their events were already.
const REPEATED_MAX: usize = 10;

/// What became of the records.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Records on disk.
    pub(super) records: u64,
    /// Bytes of their values.
    pub(super) bytes: u64,
    /// From the first look at the input to the last outcome.
    pub(super) elapsed: Duration,
    /// Where the last of them is.
    pub(super) last: Option<Position>,
    /// Records whose events were there already.
    pub(super) repeated: u64,
    /// The first of them: line, and where the event is.
    pub(super) first_repeated: Vec<(u64, Position)>,
    /// Records that are certainly not on disk.
    failed: u64,
    /// Records of which it is not known.
    in_doubt: u64,
    /// The last line that was read.
    last_line: u64,
    /// What stopped it first, if anything did.
    problem: Option<Problem>,
}

#[derive(Debug)]
struct Problem {
    line: Option<u64>,
    failure: Failure,
}

/// A record on its way.
#[derive(Debug)]
struct Waiting {
    line: u64,
    value_bytes: usize,
    receipt: Receipt,
}

/// Lines on their way into a topic.
#[derive(Debug)]
pub(super) struct Sending {
    producer: Producer,
    shape: RecordShape,
    /// What the next record is to rest on: none is written behind one that did not get its offset or version.
    expectation: Option<Expectation>,
    progress: Progress,
    waiting: VecDeque<Waiting>,
    sent: Sent,
}

impl Sending {
    pub(super) fn new(producer: Producer, shape: RecordShape, progress: Progress) -> Self {
        Self {
            producer,
            shape,
            expectation: None,
            progress,
            waiting: VecDeque::new(),
            sent: Sent::default(),
        }
    }

    /// Writes the first record only at this offset or version, and each other only at the one behind.
    pub(super) const fn expecting(mut self, expectation: Option<Expectation>) -> Self {
        self.expectation = expectation;
        self
    }

    /// Sends everything up to the end of the input, the first problem or an interrupt, and waits
    /// for the outcome of what was sent.
    pub(super) async fn run(mut self, mut input: Input, interrupt: &Interrupt) -> Sent {
        let start = Instant::now();
        while self.sent.problem.is_none() {
            tokio::select! {
                biased;
                () = interrupt.wait() => {
                    self.stop(None, Failure::new(Exit::Interrupted, "interrupted"));
                }
                Some(outcome) = next_outcome(&mut self.waiting) => {
                    self.settle(outcome);
                    self.settle_ready();
                }
                block = input.next_block() => match block {
                    Ok(Some(block)) => self.take(block.lines(), interrupt).await,
                    Ok(None) => break,
                    Err(fault) => {
                        let failure = Failure::new(Exit::Failed, fault.to_string()).because(&fault);
                        self.stop(None, failure);
                    }
                },
            }
        }
        // What flushing finds, the receipts tell in full.
        drop(self.producer.flush().await);
        while let Some(outcome) = next_outcome(&mut self.waiting).await {
            self.settle(outcome);
        }
        drop(self.producer.close().await);
        self.sent.elapsed = start.elapsed();
        self.sent
    }

    async fn take(&mut self, lines: impl Iterator<Item = Line>, interrupt: &Interrupt) {
        for (index, line) in (1..).zip(lines) {
            self.enqueue(line).await;
            if index % LOOK_INTERVAL == 0 || self.waiting.len() >= WAITING_MAX {
                self.settle_ready();
            }
            while self.waiting.len() >= WAITING_MAX
                && let Some(outcome) = next_outcome(&mut self.waiting).await
            {
                self.settle(outcome);
            }
            if self.sent.problem.is_some() || interrupt.has_come() {
                return;
            }
        }
    }

    async fn enqueue(&mut self, line: Line) {
        let number = line.number;
        let mut record = match self.shape.to_record(line.bytes) {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(fault) => {
                let failure = Failure::new(Exit::Failed, fault.to_string());
                return self.stop(Some(number), failure);
            }
        };
        match &mut self.expectation {
            Some(Expectation::Offset(next)) => {
                record = record.expect_offset(*next);
                *next = next.next();
            }
            Some(Expectation::Version(next)) => {
                record = record.expect_version(*next);
                *next = next.saturating_add(1);
            }
            None => {}
        }
        let value_bytes = record.value_bytes().map_or(0, bytes::Bytes::len);
        match self.producer.enqueue(record).await {
            Ok(receipt) => {
                self.sent.last_line = number;
                self.waiting.push_back(Waiting {
                    line: number,
                    value_bytes,
                    receipt,
                });
            }
            Err(error) => {
                self.sent.last_line = number;
                self.fail(number, Error::from(error));
            }
        }
    }

    /// Takes note of outcomes that are there, without waiting.
    fn settle_ready(&mut self) {
        while let Some(outcome) = next_outcome(&mut self.waiting).now_or_never().flatten() {
            self.settle(outcome);
        }
    }

    fn settle(&mut self, outcome: Settled) {
        match outcome.result {
            Ok(position) => {
                self.sent.records += 1;
                self.sent.bytes += outcome.value_bytes as u64;
                if position.is_repeated {
                    self.sent.repeated += 1;
                    if self.sent.first_repeated.len() < REPEATED_MAX {
                        self.sent.first_repeated.push((outcome.line, position));
                    }
                }
                self.sent.last = Some(position);
                self.progress.advance(1);
            }
            Err(error) => self.fail(outcome.line, error),
        }
    }

    fn fail(&mut self, line: u64, error: Error) {
        if error.may_have_happened() {
            self.sent.in_doubt += 1;
        } else {
            self.sent.failed += 1;
        }
        self.stop(Some(line), error.into());
    }

    /// Remembers the first thing that went wrong.
    fn stop(&mut self, line: Option<u64>, failure: Failure) {
        self.sent.problem.get_or_insert(Problem { line, failure });
    }
}

/// A record and what became of it.
#[derive(Debug)]
struct Settled {
    line: u64,
    value_bytes: usize,
    result: Result<Position, Error>,
}

/// Waits for the oldest record's outcome; none if there is no record. Dropping the future loses
/// nothing.
async fn next_outcome(waiting: &mut VecDeque<Waiting>) -> Option<Settled> {
    let oldest = waiting.front_mut()?;
    let result = (&mut oldest.receipt).await;
    let Waiting {
        line, value_bytes, ..
    } = waiting.pop_front()?;
    Some(Settled {
        line,
        value_bytes,
        result,
    })
}

impl Sent {
    /// Why not everything was written, if so, with what is on disk and what is not.
    pub(super) fn failure(self, is_single: bool) -> Option<Failure> {
        let Self {
            records,
            failed,
            in_doubt,
            last_line,
            problem,
            ..
        } = self;
        let Problem { line, failure } = problem?;
        if is_single {
            return Some(failure);
        }
        let failure = match line {
            Some(line) => failure.at(format_args!("line {line}")),
            None => failure,
        };
        let mut book = format!("on disk: {}", count_of(records, "record"));
        for (number, what) in [(failed, "not written"), (in_doubt, "perhaps written")] {
            if number > 0 {
                book = format!("{book}; {what}: {}", count(number));
            }
        }
        let rest = match last_line {
            0 => "nothing was sent".to_owned(),
            last_line => format!("nothing after line {last_line} was sent"),
        };
        Some(failure.hint(book).hint(rest))
    }
}
