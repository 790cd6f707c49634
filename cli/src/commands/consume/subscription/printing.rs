//! Prints what a subscription hands out.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::timeout;
use towpath_client::{Delivery, Drain, Error, ErrorKind, Subscriber};

use super::{Lookout, Rest};
use crate::args::AckWhen;
use crate::commands::consume::until::{Next, Until};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::output::{Output, RecordPrinter};

/// So many records are written before they are acked, if there is no pause before.
const RECORDS_PER_ACK: usize = 1_000;

/// How long the acks may take once the command is to end.
const ACK_PATIENCE: Duration = Duration::from_secs(5);

/// A consumer on its way to the output.
pub(super) struct Printing<'a> {
    subscriber: Subscriber,
    ack: AckWhen,
    lookout: Option<Lookout>,
    printer: RecordPrinter<io::Stdout>,
    output: &'a Output,
    until: Until<'a>,
    /// Printed and not acked.
    printed: Vec<Delivery>,
}

/// What came next.
enum Got {
    Delivery(Result<Option<Delivery>, Error>),
    NothingLeft(Rest),
}

/// Why no more is printed.
enum End {
    Enough(Exit),
    NothingLeft(Rest),
    Interrupt,
}

impl<'a> Printing<'a> {
    pub(super) fn new(
        subscriber: Subscriber,
        ack: AckWhen,
        lookout: Option<Lookout>,
        output: &'a Output,
        until: Until<'a>,
    ) -> Self {
        Self {
            subscriber,
            ack,
            lookout,
            printer: output.records(),
            output,
            until,
            printed: Vec::new(),
        }
    }

    /// Prints until nothing is left, the count, the deadline or an interrupt; what is not acked then is
    /// others' at once.
    ///
    /// # Errors
    ///
    /// The subscription hands out no more, or the output takes no more; what was written before is acked.
    pub(super) async fn run(mut self) -> Result<Outcome, Failure> {
        let ended = self.print_all().await;
        let shutdown = self.subscriber.shutdown_handle();
        // What is acked now makes no room for more.
        shutdown.shutdown(Drain::FinishWithin(Duration::MAX));
        let confirmed = match self.write() {
            Ok(()) => self.confirm().await,
            failed => failed,
        };
        // Before the rest is dropped, which would say that handling it failed.
        shutdown.shutdown(Drain::StopNow);
        self.printed.clear();
        self.subscriber.close().await;
        let end = ended?;
        confirmed?;
        match end {
            End::Enough(exit) => Ok(Outcome::silent(exit)),
            End::Interrupt => Err(Failure::interrupted()),
            End::NothingLeft(rest) => {
                rest.tell(self.output);
                Ok(Outcome::silent(Exit::Done).with_failure(rest.halt_failure()))
            }
        }
    }

    async fn print_all(&mut self) -> Result<End, Failure> {
        let mut left = self.until.count.unwrap_or(u64::MAX);
        while left > 0 {
            match self.next().await? {
                Next::Item(Got::Delivery(Ok(Some(delivery)))) => {
                    self.print(delivery)?;
                    left -= 1;
                }
                Next::Item(Got::Delivery(Ok(None))) => break,
                Next::Item(Got::Delivery(Err(error))) => return Err(error.into()),
                Next::Item(Got::NothingLeft(rest)) => return Ok(End::NothingLeft(rest)),
                Next::Deadline => return Ok(End::Enough(self.until.exit_at_deadline())),
                Next::Interrupt => return Ok(End::Interrupt),
            }
        }
        Ok(End::Enough(Exit::Done))
    }

    /// Waits for what happens next; what was printed is written and acked before waiting.
    async fn next(&mut self) -> Result<Next<Got>, Failure> {
        if let Some(over) = self.until.over() {
            return Ok(over);
        }
        if let Some(delivery) = self.subscriber.next_delivery().now_or_never() {
            return Ok(Next::Item(Got::Delivery(delivery)));
        }
        self.write()?;
        let held = u64::try_from(self.printed.len()).unwrap_or(u64::MAX);
        let is_full = self.subscriber.is_full();
        let (subscriber, lookout) = (&mut self.subscriber, &mut self.lookout);
        let nothing_left = async {
            match lookout {
                // What it keeps is all that it may have.
                Some(lookout) if is_full => lookout.rest().await,
                Some(lookout) => lookout.nothing_left(held).await,
                None => std::future::pending().await,
            }
        };
        let got = async {
            tokio::select! {
                delivery = subscriber.next_delivery() => Got::Delivery(delivery),
                rest = nothing_left => Got::NothingLeft(rest),
            }
        };
        Ok(self.until.wait(got).await)
    }

    fn print(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let printed = self.printer.delivered(&delivery);
        self.printed.push(delivery);
        printed.map_err(|error| Failure::output(&error))?;
        self.lookout.iter_mut().for_each(Lookout::put_off);
        if self.ack == AckWhen::OnPrint && self.printed.len() >= RECORDS_PER_ACK {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what was printed, and acks it if that is wanted.
    fn write(&mut self) -> Result<(), Failure> {
        self.printer
            .flush()
            .map_err(|error| Failure::output(&error))?;
        if self.ack == AckWhen::OnPrint {
            self.printed.drain(..).for_each(Delivery::ack);
        }
        Ok(())
    }

    /// Waits until all acks are on the broker's disk.
    async fn confirm(&self) -> Result<(), Failure> {
        match timeout(ACK_PATIENCE, self.subscriber.confirmed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() != ErrorKind::Closed => Err(error.into()),
            Ok(Err(_)) | Err(_) => {
                let message = "what was printed last is not confirmed: it may come again";
                Err(Failure::new(Exit::Unreachable, message))
            }
        }
    }
}
