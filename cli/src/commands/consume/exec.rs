//! `towpath consume --subscription --exec`: a command for each record, keys side by side.
//!
//! `program` runs the command, `environment` is what it finds, `last_words` what it said last,
//! `not_started` why there is no command. `handler` says what becomes of the record. This file decides when no more is taken, and how long what runs may
//! go on.

mod environment;
mod handler;
mod last_words;
mod not_started;
mod program;
mod report;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{
    Admin, ByKey, Drain, Error, ErrorKind, SubscriberBuilder, SubscriberShutdownHandle,
    SubscriptionName,
};

use super::subscription::{Lookout, Rest, ahead};
use super::until::{Next, Until, at};
use super::{Outcome, Session};
use crate::args::Exec;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{count_of, exact_duration};
use handler::Handler;
use program::Program;

/// So many records are taken ahead for each key that is handled: as many as may come of one key.
const AHEAD_RECORDS: u64 = 32;
/// Most records that are taken ahead.
const AHEAD_RECORDS_MAX: u64 = 1_000;

/// What is handled is waited for without an end of its own: an interrupt sets one.
const UNTIL_DONE: Drain = Drain::FinishWithin(Duration::MAX);

/// Handles what the subscription hands out; with `ends_at_end` until nothing is left now.
pub(super) async fn run(
    name: &SubscriptionName,
    exec: Exec<'_>,
    builder: SubscriberBuilder,
    until: Until<'_>,
    ends_at_end: Option<Admin>,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let records = AHEAD_RECORDS * u64::from(exec.parallel);
    let records = records.min(AHEAD_RECORDS_MAX);
    let subscriber = ahead(builder, records, until.count).build();
    let lookout = ends_at_end.map(|admin| Lookout::new(admin, name, &subscriber, session.output));
    let shutdown = subscriber.shutdown_handle();
    let children = session.interrupt.children().clone();
    let output = session.output.clone();
    let program = Program::new(exec.command, name, children, output.clone());
    let handler = Arc::new(Handler::new(program, shutdown.clone(), output));
    let handle = {
        let (handler, shutdown) = (Arc::clone(&handler), shutdown.clone());
        let mut left = until.count.unwrap_or(u64::MAX);
        move |record| {
            left -= 1;
            if left == 0 {
                shutdown.shutdown(UNTIL_DONE);
            }
            Arc::clone(&handler).handle(record)
        }
    };
    let handling = subscriber.for_each(ByKey(exec.parallel.into()), handle);
    let ending = Ending {
        handler: &handler,
        shutdown,
        until,
        drain: exec.drain,
        session,
    };
    let (end, ended) = ending.of(handling, lookout).await;
    if let Some(failure) = handler.take_failure() {
        return Err(failure);
    }
    match ended {
        Err(error) if error.kind() == ErrorKind::Closed => {
            let message = "what was handled last is not confirmed: it may come again";
            return Err(Failure::new(Exit::Unreachable, message).because(&error));
        }
        ended => ended?,
    }
    match end {
        End::Enough => Ok(Outcome::silent(Exit::Done)),
        End::Deadline => Ok(Outcome::silent(until.exit_at_deadline())),
        End::Interrupt => Err(Failure::interrupted()),
        End::NothingLeft(rest) => {
            rest.tell(session.output);
            Ok(Outcome::silent(Exit::Done).with_failure(rest.halt_failure()))
        }
    }
}

/// Why no more is taken.
enum End {
    Enough,
    NothingLeft(Rest),
    Deadline,
    Interrupt,
}

/// What happens while records are handled.
enum Event<T> {
    Ended(T),
    End(End),
    DrainOver,
}

/// When a consumer ends.
struct Ending<'a> {
    handler: &'a Handler,
    shutdown: SubscriberShutdownHandle,
    until: Until<'a>,
    drain: Duration,
    session: &'a Session<'a>,
}

impl Ending<'_> {
    /// Lets records be handled until there is a reason to stop, and what runs then for as long as it may.
    async fn of(
        &self,
        handling: impl Future<Output = Result<(), Error>>,
        mut lookout: Option<Lookout>,
    ) -> (End, Result<(), Error>) {
        let mut handling = pin!(handling);
        let mut end = None;
        let mut drained_at = None;
        loop {
            let event = tokio::select! {
                ended = &mut handling => Event::Ended(ended),
                why = self.why(end.as_ref(), lookout.as_mut()) => Event::End(why),
                () = at(drained_at) => Event::DrainOver,
            };
            match event {
                Event::Ended(ended) => return (end.unwrap_or(End::Enough), ended),
                Event::DrainOver => {
                    drained_at = None;
                    self.handler.terminate();
                }
                Event::End(why) => {
                    if matches!(why, End::Interrupt | End::Deadline) {
                        drained_at = drained_at.or_else(|| Some(Instant::now() + self.drain));
                        self.tell_of_running();
                    }
                    self.handler.stop_waiting();
                    self.shutdown.shutdown(UNTIL_DONE);
                    end = Some(why);
                }
            }
        }
    }

    /// Waits for a reason to take no more, or a better one than there is.
    async fn why(&self, known: Option<&End>, lookout: Option<&mut Lookout>) -> End {
        let nothing_left = async {
            match lookout {
                Some(lookout) if known.is_none() => lookout.nothing_left(0).await,
                _ => std::future::pending().await,
            }
        };
        match known {
            Some(End::Interrupt) => std::future::pending().await,
            Some(_) => {
                self.until.interrupt.wait().await;
                End::Interrupt
            }
            None => match self.until.wait(nothing_left).await {
                Next::Item(rest) => End::NothingLeft(rest),
                Next::Deadline => End::Deadline,
                Next::Interrupt => End::Interrupt,
            },
        }
    }

    fn tell_of_running(&self) {
        let running = self.handler.running_count();
        if running == 0 {
            return;
        }
        let commands = count_of(running, "command");
        let drain = exact_duration(self.drain);
        self.session.output.note(format_args!(
            "waiting up to {drain} for {commands}; another interrupt kills at once"
        ));
    }
}
