//! Producers and readers of the SDK against a broker that may die at any time.
//!
//! A [`Load`] runs them in a runtime of its own and notes what they do and see as a history in the
//! terms of [`crate::history`]; an item is a single record. The test beside it starts, stops and kills
//! the broker. [`Load::finish`] needs a broker that is well: everything in doubt is settled, the
//! readers come to the end, everything is read once more, and the history is checked.
//!
//! What is in the log, and where, is told by the records alone: each holds its producer, place and
//! sequence, and noise of its own.

mod clerk;
mod content;
mod crew;
mod ending;
mod notebook;
mod options;
mod producer;
mod publisher;
mod reader;
mod session;
mod target;
mod verdict;

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;

use crew::Crew;

pub use options::LoadOptions;
pub use verdict::{Counts, Verdict};

/// Producers and readers at work, and a clerk who creates and deletes topics; they end when it is dropped.
#[derive(Debug)]
pub struct Load {
    runtime: Runtime,
    crew: Crew,
}

impl Load {
    /// Creates the topics on the broker at this URL, unless they are there, and sets everybody to
    /// work.
    ///
    /// # Panics
    ///
    /// The topics cannot be created.
    pub fn start(url: &str, options: &LoadOptions) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let crew = runtime.block_on(Crew::start(url, options));
        Self { runtime, crew }
    }

    /// Lets everybody work for so long; ends early, with false, when somebody complains.
    pub fn run_for(&self, duration: Duration) -> bool {
        self.crew.notebook.await_complaint(duration).is_none()
    }

    /// Forgets the acknowledgements up to now, for [`Load::await_ack`].
    pub fn forget_acks(&self) {
        self.crew.notebook.forget_acks();
    }

    /// Waits for the first acknowledgement since they were forgotten and returns when it came; none
    /// if there is none in time.
    pub fn await_ack(&self, patience: Duration) -> Option<Instant> {
        self.crew.notebook.await_ack(patience)
    }

    /// What was done up to now.
    pub fn counts(&self) -> Counts {
        self.crew.notebook.counts()
    }

    /// What somebody complained of up to now.
    pub fn complaints(&self) -> Vec<String> {
        self.crew.notebook.complaints()
    }

    /// Why records failed up to now although their producer had patience.
    pub fn failures(&self) -> Vec<String> {
        self.crew.notebook.failures()
    }

    /// Lets everything come to an end, on a broker that is well and stays so, and judges.
    pub fn finish(mut self) -> Verdict {
        self.runtime.block_on(self.crew.end())
    }
}
