//! Runs the command for a record and says what becomes of it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use towpath_client::{
    DeliveredRecord, DeliveryOutcome, SubscriberShutdownHandle, SubscriptionName,
};

use super::UNTIL_DONE;
use super::environment;
use super::last_words::LastWords;
use super::report::Handled;
use crate::children::{ChildGroup, Children};
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
/// How long a command that is to end may take for that before it is killed.
const TERMINATE_PATIENCE: Duration = Duration::from_secs(2);
/// What a command has begun in the background may keep its standard error open. That is not waited for.
const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(200);

/// Runs a command for each record.
#[derive(Debug)]
pub(super) struct Handler {
    command: String,
    subscription: String,
    /// Names that say something of another record, inherited from a command that runs this.
    foreign: Vec<OsString>,
    children: Children,
    shutdown: SubscriberShutdownHandle,
    output: Output,
    running: AtomicU64,
    /// Set when commands are to end.
    terminate: CancellationToken,
    /// Set when no more is taken.
    stop: CancellationToken,
    /// Why no more can be handled.
    failure: Mutex<Option<Failure>>,
}

/// How a command ended.
enum Ended {
    /// By itself.
    With(ExitStatus),
    /// Because it had to.
    Terminated(ExitStatus),
}

impl Handler {
    pub(super) fn new(
        command: &str,
        subscription: &SubscriptionName,
        children: Children,
        shutdown: SubscriberShutdownHandle,
        output: Output,
    ) -> Self {
        Self {
            command: command.to_owned(),
            subscription: subscription.to_string(),
            foreign: environment::of_other_records(),
            children,
            shutdown,
            output,
            running: AtomicU64::new(0),
            terminate: CancellationToken::new(),
            stop: CancellationToken::new(),
            failure: Mutex::new(None),
        }
    }

    /// Runs the command for a record, to its end.
    pub(super) async fn handle(self: Arc<Self>, record: DeliveredRecord) -> DeliveryOutcome {
        let start = Instant::now();
        self.running.fetch_add(1, Ordering::Relaxed);
        let run = self.run(&record).await;
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
        self.terminate.cancel();
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

    async fn run(&self, record: &DeliveredRecord) -> io::Result<(Ended, LastWords)> {
        let mut child = self.children.start(&mut self.command_for(record)?)?;
        let (stdin, stderr) = child.take_pipes();
        let said = LastWords::default();
        let ended = {
            let value = record.value().unwrap_or_default();
            let streams =
                async { tokio::join!(feed(stdin, value), said.listen(stderr, &self.output)) };
            let mut streams = std::pin::pin!(streams);
            let mut has_streams = true;
            let ended = {
                let mut end = std::pin::pin!(self.end(&mut child));
                loop {
                    tokio::select! {
                        ended = &mut end => break ended?,
                        _ = &mut streams, if has_streams => has_streams = false,
                    }
                }
            };
            if has_streams {
                // Most of the time they have ended with the command.
                drop(timeout(LAST_WORDS_PATIENCE, streams).await);
            }
            ended
        };
        Ok((ended, said))
    }

    /// Waits for the end of a command, or sees to it.
    async fn end(&self, child: &mut ChildGroup) -> io::Result<Ended> {
        tokio::select! {
            biased;
            status = child.wait() => return Ok(Ended::With(status?)),
            () = self.terminate.cancelled() => {}
        }
        child.signal(Signal::TERM);
        let status = match timeout(TERMINATE_PATIENCE, child.wait()).await {
            Ok(status) => status?,
            Err(_elapsed) => {
                child.signal(Signal::KILL);
                child.wait().await?
            }
        };
        // Nothing of it may be left when others get the record.
        child.signal(Signal::KILL);
        Ok(Ended::Terminated(status))
    }

    fn command_for(&self, record: &DeliveredRecord) -> io::Result<Command> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(&self.command)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        if self.output.is_json() {
            // What it says is no JSON of ours.
            command.stdout(io::stderr().as_fd().try_clone_to_owned()?);
        }
        for name in &self.foreign {
            command.env_remove(name);
        }
        command.envs(environment::of_record(&self.subscription, record));
        Ok(command)
    }
}

impl Ended {
    const fn is_by_itself(&self) -> bool {
        matches!(self, Self::With(_))
    }
}

/// Writes the value; a command that does not want to read it is free to.
async fn feed(stdin: Option<ChildStdin>, value: &[u8]) {
    if let Some(mut stdin) = stdin {
        drop(stdin.write_all(value).await);
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
