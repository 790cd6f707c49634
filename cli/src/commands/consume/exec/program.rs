//! Runs the command for a record, to its end.

use std::ffi::OsString;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use towpath_client::{DeliveredRecord, SubscriptionName};

use super::environment;
use super::last_words::LastWords;
use super::not_started::NotStarted;
use crate::children::{ChildGroup, Children};
use crate::output::Output;

/// How long a command that is to end may take for that before it is killed.
const TERMINATE_PATIENCE: Duration = Duration::from_secs(2);
/// What a command has begun in the background may keep its standard error open. That is not waited for.
const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(200);

/// So much every pipe holds, without anybody who reads it.
const PIPE_BYTES: usize = 4_096;

/// A command that a shell runs for each record.
#[derive(Debug)]
pub(super) struct Program {
    command: String,
    subscription: String,
    /// Names that say something of another record, inherited from a command that runs this.
    foreign: Vec<OsString>,
    children: Children,
    output: Output,
    /// Set when what runs is to end.
    terminate: CancellationToken,
}

/// How a command ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ended {
    /// By itself.
    With(ExitStatus),
    /// Because it had to.
    Terminated(ExitStatus),
}

impl Program {
    pub(super) fn new(
        command: &str,
        subscription: &SubscriptionName,
        children: Children,
        output: Output,
    ) -> Self {
        Self {
            command: command.to_owned(),
            subscription: subscription.to_string(),
            foreign: environment::of_other_records(),
            children,
            output,
            terminate: CancellationToken::new(),
        }
    }

    /// What runs is to end now, and what is started from now on as well.
    pub(super) fn terminate(&self) {
        self.terminate.cancel();
    }

    /// Runs it for a record. Returns how it ended, and what it said last.
    ///
    /// # Errors
    ///
    /// The operating system cannot start it: for this record, for now, or at all.
    pub(super) async fn run(
        &self,
        record: &DeliveredRecord,
    ) -> Result<(Ended, LastWords), NotStarted> {
        let mut child = self.children.start(&mut self.command_for(record)?)?;
        let stderr = child.take_stderr();
        let said = LastWords::default();
        let streams = said.listen(stderr, &self.output);
        let ended = self.end_with(&mut child, streams).await?;
        Ok((ended, said))
    }

    /// Waits for the end of a command while its streams are served.
    async fn end_with(
        &self,
        child: &mut ChildGroup,
        streams: impl Future<Output = ()>,
    ) -> io::Result<Ended> {
        let mut streams = pin!(streams);
        let mut end = pin!(self.end(child));
        tokio::select! {
            ended = &mut end => {
                // Most of the time they have ended with the command.
                drop(timeout(LAST_WORDS_PATIENCE, streams).await);
                ended
            }
            () = &mut streams => end.await,
        }
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
            .stdin(input_of(record.value().unwrap_or_default())?)
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
    /// Whether nobody has told it to.
    pub(super) const fn is_by_itself(self) -> bool {
        matches!(self, Self::With(_))
    }
}

/// A standard input that holds the whole value before the command begins: if this process dies, what is
/// cut short would look like another value.
fn input_of(value: &[u8]) -> io::Result<Stdio> {
    if value.len() <= PIPE_BYTES {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(value)?;
        return Ok(reader.into());
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(value)?;
    file.rewind()?;
    Ok(file.into())
}
