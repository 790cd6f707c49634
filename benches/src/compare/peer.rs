//! What a system has to offer to be compared.

use std::path::Path;

use futures_core::future::BoxFuture;

use super::plan::{Amount, Plan};
use super::rows::{Card, Done};
use super::tools::Tools;
use super::work::Job;
use crate::Result;

/// A system that runs and can be measured. Dropped, it is killed.
pub(crate) trait Peer: Send + Sync {
    /// What it is and how it is set.
    fn card(&self) -> &Card;

    /// Process id of the server, if it is on this machine and known.
    fn pid(&self) -> Option<u32>;

    /// Why it cannot do a job, if it cannot.
    fn lacks(&self, job: &Job) -> Option<&'static str>;

    /// Writes what the job reads, if it is not there yet: nothing, unless a system says
    /// otherwise (`towpath bench` and the model write it themselves).
    ///
    /// # Errors
    /// Those of the load program.
    fn prepare<'a>(&'a mut self, _job: &'a Job, _amount: Amount) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Does the job once; `name` was used by no job before.
    ///
    /// # Errors
    /// Those of the load program; [`Error::Void`](crate::Error::Void) if something was lost or doubled.
    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        amount: Amount,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Done>>;
}

/// Systems that were started, or why there are none.
pub(crate) type Started = Result<Vec<Box<dyn Peer>>>;

/// What a system is started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tools: &'a Tools,
    /// A folder for data and logs.
    pub(crate) dir: &'a Path,
}
