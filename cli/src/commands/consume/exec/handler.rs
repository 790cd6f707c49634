//! Has the command run for a record and says what becomes of it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use towpath_client::{DeliveredRecord, DeliveryOutcome, SubscriberShutdownHandle};

use super::UNTIL_DONE;
use super::last_words::LastWords;
use super::program::{Ended, Program};
use super::report::Handled;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Status with which a command gives a record back: `EX_TEMPFAIL`.
const STATUS_RELEASE: i32 = 75;
/// Statuses with which a shell says that it could not run a command.
const STATUS_NOT_ALLOWED: i32 = 126;
const STATUS_NOT_FOUND: i32 = 127;

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
            failure: Mutex::new(None),
        }
    }

    /// Runs the command for a record, to its end.
    pub(super) async fn handle(self: Arc<Self>, record: DeliveredRecord) -> DeliveryOutcome {
        let start = Instant::now();
        self.running.fetch_add(1, Ordering::Relaxed);
        let run = self.program.run(&record).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        let (ended, said) = match run {
            Ok(run) => run,
            Err(error) => {
                self.fail(Failure::io("the command could not be started", &error));
                return DeliveryOutcome::Release;
            }
        };
        let handled = match ended {
            Ended::With(status) => Handled::new(&record, status, outcome(status, &said)),
            Ended::Terminated(status) if status.success() => {
                Handled::new(&record, status, DeliveryOutcome::Ack)
            }
            Ended::Terminated(status) => Handled::new(&record, status, DeliveryOutcome::Release),
        };
        if let Ended::With(status) = ended
            && let Some(failure) = not_run(status, &said)
        {
            self.fail(failure);
        }
        let handled = handled.after(start.elapsed());
        if let Err(failure) = handled.tell(&self.output) {
            self.fail(failure);
        }
        if ended.is_by_itself() && handled.is_released() {
            self.pause().await;
        }
        handled.into_outcome()
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
        Some(STATUS_RELEASE | STATUS_NOT_ALLOWED | STATUS_NOT_FOUND) => DeliveryOutcome::Release,
        Some(code) => DeliveryOutcome::nack(said.behind(format!("exit status {code}"))),
        None => {
            let signal = status.signal().unwrap_or_default();
            DeliveryOutcome::nack(said.behind(format!("killed by signal {signal}")))
        }
    }
}

/// Why the command cannot be run at all: it would fail for every record.
fn not_run(status: ExitStatus, said: &LastWords) -> Option<Failure> {
    let exit = match status.code()? {
        STATUS_NOT_FOUND => Exit::NotFound,
        STATUS_NOT_ALLOWED => Exit::NotAllowed,
        _ => return None,
    };
    let code = status.code()?;
    let message = said.behind(format!("the command could not be run: exit status {code}"));
    let hint = "126 and 127 are what a shell ends with then; its record was given back";
    Some(Failure::new(exit, message).hint(hint))
}
