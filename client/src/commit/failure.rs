//! Why a commit did not succeed, with what it was to do.

use std::fmt;

use super::Commit;
use super::operation::Operation;
use crate::{Delivery, Error};

/// A commit that did not succeed, and why.
///
/// Nothing of it happened, unless [`CommitError::may_have_happened`]. The deliveries that it was to settle
/// are in it: they come back with [`CommitError::into_deliveries`], or stay in the commit that
/// [`CommitError::into_commit`] returns. Dropping the error drops them, which says that handling them
/// failed, as [`Delivery`] does.
pub struct CommitError {
    /// Boxed, so that what sending returns is small when all is well.
    inner: Box<Failed>,
}

struct Failed {
    error: Error,
    operation: Option<usize>,
    commit: Commit,
}

impl CommitError {
    pub(super) fn new(error: Error, operation: Option<usize>, commit: Commit) -> Self {
        let error = match operation {
            Some(number) => error.with_fact("operation", number),
            None => error,
        };
        let failed = Failed {
            error,
            operation,
            commit,
        };
        Self {
            inner: Box::new(failed),
        }
    }

    /// The same, of a commit that may have happened before it failed like this.
    pub(super) fn in_doubt(mut self) -> Self {
        self.inner.error = self.inner.error.in_doubt();
        self
    }

    /// Why it did not succeed.
    pub const fn error(&self) -> &Error {
        &self.inner.error
    }

    /// Which operation did not hold, counting the calls that made the commit from 0; none if it was not one
    /// of them.
    pub const fn operation(&self) -> Option<usize> {
        self.inner.operation
    }

    /// Whether all of it may have happened, or may yet: the outcome is not known. [`Commit`] tells what to
    /// do then.
    pub fn may_have_happened(&self) -> bool {
        self.error().may_have_happened()
    }

    /// The deliveries that it was to settle, in the order in which they were given.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        let operations = self.inner.commit.operations.iter();
        operations.filter_map(Operation::delivery)
    }

    /// Returns the deliveries, in the order in which they were given, to be settled otherwise.
    pub fn into_deliveries(self) -> Vec<Delivery> {
        let operations = self.inner.commit.operations.into_iter();
        operations.filter_map(Operation::into_delivery).collect()
    }

    /// Returns the commit as it was, to be sent again.
    pub fn into_commit(self) -> Commit {
        self.inner.commit
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().source()
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)?;
        match self.operation() {
            Some(number) => write!(f, "; operation={number}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitError")
            .field("error", self.error())
            .field("operation", &self.operation())
            .field("commit", &self.inner.commit)
            .finish()
    }
}

/// Keeps the error and drops the deliveries.
impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        error.inner.error
    }
}
