//! Has the command run for a record and says what becomes of it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use towpath_client::{DeliveredRecord, DeliveryOutcome, SubscriberShutdownHandle};

use super::UNTIL_DONE;
use super::last_words::LastWords;
use super::not_started::NotStarted;
use super::program::{Ended, Program};
use super::report::Handled;
use crate::failure::Failure;
use crate::output::Output;

/// Status with which a command gives a record back: `EX_TEMPFAIL`.
const STATUS_RELEASE: i32 = 75;
/// Statuses with which a shell says that it may not run a command, or has not found it.
const STATUSES_NOT_RUN: [i32; 2] = [126, 127];

/// A record that was given back comes again at once: this keeps a command that is not ready from being
/// run without a pause.
const RELEASE_PAUSE: Duration = Duration::from_secs(1);

/// Handles records with a command.
#[derive(Debug)]
pub(super) struct Handler {
    program: Program,
    shutdown: SubscriberShutdownHandle,
    output: Output,
    running: AtomicU64,
    /// Set when no more is taken.
    stop: CancellationToken,
    /// Set when it was told what a status of a shell means.
    is_not_run_told: AtomicBool,
    /// Why no more can be handled.
    failure: Mutex<Option<Failure>>,
}

impl Handler {
    pub(super) fn new(
        program: Program,
        shutdown: SubscriberShutdownHandle,
        output: Output,
    ) -> Self {
        Self {
            program,
            shutdown,
            output,
            running: AtomicU64::new(0),
            stop: CancellationToken::new(),
            is_not_run_told: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Runs the command for a record, to its end.
    pub(super) async fn handle(self: Arc<Self>, record: DeliveredRecord) -> DeliveryOutcome {
        let start = Instant::now();
        self.running.fetch_add(1, Ordering::Relaxed);
        let run = self.program.run(&record).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        let (handled, is_by_itself) = match run {
            Ok((ended, said)) => (self.ended(&record, ended, &said), ended.is_by_itself()),
            Err(why) => (self.not_started(&record, why), true),
        };
        let handled = handled.after(start.elapsed());
        if let Err(failure) = handled.tell(&self.output) {
            self.fail(failure);
        }
        if is_by_itself && handled.is_released() {
            self.pause().await;
        }
        handled.into_outcome()
    }

    fn ended(&self, record: &DeliveredRecord, ended: Ended, said: &LastWords) -> Handled {
        let (status, outcome) = match ended {
            Ended::With(status) => (status, outcome(status, said)),
            Ended::Terminated(status) if status.success() => (status, DeliveryOutcome::Ack),
            Ended::Terminated(status) => (status, DeliveryOutcome::Release),
        };
        if status
            .code()
            .is_some_and(|it| STATUSES_NOT_RUN.contains(&it))
        {
            self.tell_what_not_run_means();
        }
        Handled::new(record, Some(status), outcome)
    }

    /// What becomes of a record whose command was not started. It fails if that is its own fault; if no
    /// other fares better, no more is taken.
    fn not_started(&self, record: &DeliveredRecord, why: NotStarted) -> Handled {
        let outcome = match &why {
            NotStarted::RecordTooLarge(_) => DeliveryOutcome::nack(why.to_string()),
            NotStarted::ForNow(_) => {
                let address = record.address();
                let text = format_args!("{address} is given back: {why}");
                self.output.warning(text);
                DeliveryOutcome::Release
            }
            NotStarted::Never(error) => {
                self.fail(Failure::io("the command could not be started", error));
                DeliveryOutcome::Release
            }
        };
        Handled::new(record, None, outcome)
    }

    fn tell_what_not_run_means(&self) {
        if !self.is_not_run_told.swap(true, Ordering::Relaxed) {
            self.output.note(
                "a shell ends with 127 if it does not find a command, with 126 if it may not run it",
            );
        }
    }

    /// Commands that run.
    pub(super) fn running_count(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// No more is taken: what only waits need not.
    pub(super) fn stop_waiting(&self) {
        self.stop.cancel();
    }

    /// Commands are to end now; their records are given back.
    pub(super) fn terminate(&self) {
        self.program.terminate();
    }

    /// Why no more could be handled, if so.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }

    /// Takes no more, for this reason; the first one counts.
    fn fail(&self, failure: Failure) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
        drop(first);
        self.stop_waiting();
        self.shutdown.shutdown(UNTIL_DONE);
    }

    async fn pause(&self) {
        tokio::select! {
            () = sleep(RELEASE_PAUSE) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// What becomes of a record when its command has ended by itself.
fn outcome(status: ExitStatus, said: &LastWords) -> DeliveryOutcome {
    match status.code() {
        Some(0) => DeliveryOutcome::Ack,
        Some(STATUS_RELEASE) => DeliveryOutcome::Release,
        Some(code) => DeliveryOutcome::nack(said.behind(format!("exit status {code}"))),
        None => {
            let signal = status.signal().unwrap_or_default();
            DeliveryOutcome::nack(said.behind(format!("killed by signal {signal}")))
        }
    }
}
