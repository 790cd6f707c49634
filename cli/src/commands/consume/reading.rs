//! Prints records as they come, until there is a reason to stop.

use std::io::{self, Write};

use futures_util::{FutureExt as _, StreamExt as _};
use towpath_client::{Batch, Error, Gap, GapReason, Reader, ReaderItem};

use super::until::{Next, Until};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::output::{Output, RecordPrinter};

/// A reader on its way to the output.
#[derive(Debug)]
pub(super) struct Reading<'a, W> {
    reader: Reader,
    printer: RecordPrinter<W>,
    output: &'a Output,
    until: Until<'a>,
}

impl<'a> Reading<'a, io::Stdout> {
    pub(super) fn new(reader: Reader, output: &'a Output, until: Until<'a>) -> Self {
        Self {
            reader,
            printer: output.records(),
            output,
            until,
        }
    }
}

impl<W: Write> Reading<'_, W> {
    /// Prints until the end of what is read, the count, the deadline or an interrupt.
    ///
    /// # Errors
    ///
    /// The broker cannot give more, or the output takes no more; what was read before is printed.
    pub(super) async fn run(mut self) -> Result<Outcome, Failure> {
        let mut left = self.until.count.unwrap_or(u64::MAX);
        let end = loop {
            match self.next().await? {
                Next::Item(Some(Ok(ReaderItem::Batch(batch)))) => {
                    left -= self.print(&batch, left)?;
                    if left == 0 {
                        break Ok(Exit::Done);
                    }
                }
                Next::Item(Some(Ok(ReaderItem::Gap(gap)))) => self.tell(&gap)?,
                Next::Item(Some(Ok(_))) => {}
                Next::Item(Some(Err(error))) => break Err(error.into()),
                Next::Item(None) => break Ok(Exit::Done),
                Next::Deadline => break Ok(self.until.exit_at_deadline()),
                Next::Interrupt => break Err(Failure::interrupted()),
            }
        };
        self.flush()?;
        end.map(Outcome::silent)
    }

    /// Waits for what happens next; what was printed is written before waiting.
    async fn next(&mut self) -> Result<Next<Option<Result<ReaderItem, Error>>>, Failure> {
        if let Some(over) = self.until.over() {
            return Ok(over);
        }
        if let Some(item) = self.reader.next().now_or_never() {
            return Ok(Next::Item(item));
        }
        self.flush()?;
        Ok(self.until.wait(self.reader.next()).await)
    }

    /// Prints a batch, but no more than `most` records; returns how many.
    fn print(&mut self, batch: &Batch, most: u64) -> Result<u64, Failure> {
        let mut printed = 0;
        for record in batch.records() {
            if printed == most {
                break;
            }
            self.printer
                .record(&record)
                .map_err(|error| Failure::output(&error))?;
            printed += 1;
        }
        Ok(printed)
    }

    fn tell(&mut self, gap: &Gap) -> Result<(), Failure> {
        self.flush()?;
        tell_gap(gap, self.output);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.printer
            .flush()
            .map_err(|error| Failure::output(&error))
    }
}

/// Tells of records that are gone.
pub(super) fn tell_gap(gap: &Gap, output: &Output) {
    let why = match gap.reason {
        GapReason::Trimmed => "retention or a trim has removed them",
        // Newer records of the same keys are there: nobody misses these.
        GapReason::Compacted => return,
        _ => "they are damaged or lost on the broker's disk",
    };
    let Gap {
        topic,
        partition,
        range,
        ..
    } = gap;
    output.warning(format_args!(
        "offsets {range} of {topic}/{partition} are gone: {why}"
    ));
}
