//! What is known of something that was asked for.

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use towpath_broker::core::{AppendRefusal, CommitRefusalCause, CommitRefused};
use towpath_broker::runtime::command::{CommandError, Committed, Published};

/// What became of it.
#[derive(Debug)]
pub(super) enum Told<T, R> {
    /// Nobody said yet.
    Nothing,
    /// Nobody ever will: the broker is gone, or its disk has failed.
    Lost,
    /// It was done.
    Done(T),
    /// It was refused, and nothing happened.
    Refused(R),
}

pub(super) fn told<T, R>(answer: &mut oneshot::Receiver<Result<T, CommandError<R>>>) -> Told<T, R> {
    match answer.try_recv() {
        Ok(Ok(done)) => Told::Done(done),
        Ok(Err(CommandError::Refused(refusal))) => Told::Refused(refusal),
        Err(TryRecvError::Empty) => Told::Nothing,
        Ok(Err(CommandError::Failed | CommandError::ShuttingDown)) | Err(TryRecvError::Closed) => {
            Told::Lost
        }
    }
}

impl Told<Committed, CommitRefused> {
    /// Of a commit that only appends.
    pub(super) fn of_appends(self) -> Told<Published, AppendRefusal> {
        match self {
            Self::Nothing => Told::Nothing,
            Self::Lost => Told::Lost,
            Self::Done(committed) => Told::Done(committed.published),
            Self::Refused(CommitRefused {
                cause: CommitRefusalCause::Append(refusal),
                ..
            }) => Told::Refused(refusal),
            Self::Refused(other) => panic!("it only appends: {other}"),
        }
    }
}
