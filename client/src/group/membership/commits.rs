//! Commits that were not answered: sent again, in their order, over every new stream.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use towpath_proto::v1;

use crate::Error;

/// What becomes of one commit.
pub(in crate::group) type CommitAnswer = oneshot::Sender<Result<(), Error>>;

/// Commits that were not answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Commits {
    waiting: VecDeque<PendingCommit>,
}

#[derive(Debug)]
struct PendingCommit {
    offsets: Vec<v1::OffsetCommit>,
    answer: CommitAnswer,
}

impl Commits {
    pub(super) fn push(&mut self, offsets: Vec<v1::OffsetCommit>, answer: CommitAnswer) {
        self.waiting.push_back(PendingCommit { offsets, answer });
    }

    /// All of them, as they are to be sent again: a commit that was carried out already has no effect.
    pub(super) fn to_requests(&self) -> impl Iterator<Item = v1::CommitOffsets> {
        self.waiting.iter().map(|commit| v1::CommitOffsets {
            offsets: commit.offsets.clone(),
        })
    }

    /// The broker has answered the oldest one.
    pub(super) fn take(&mut self, committed: v1::Committed) -> Result<(), Error> {
        let oldest = self.waiting.pop_front();
        let commit = oldest
            .filter(|commit| commit.offsets.len() == committed.results.len())
            .ok_or_else(|| Error::protocol("the broker answers a commit that was not sent"))?;
        let refused = committed
            .results
            .into_iter()
            .find_map(|result| result.error);
        let outcome = refused.map_or(Ok(()), |error| Err(Error::from_stream(&error)));
        // Nobody may be waiting for it.
        drop(commit.answer.send(outcome));
        Ok(())
    }

    /// No answer will come any more.
    pub(super) fn fail(&mut self, error: &Error) {
        for commit in self.waiting.drain(..) {
            drop(commit.answer.send(Err(error.clone())));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
