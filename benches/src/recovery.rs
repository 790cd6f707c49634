//! How long a broker takes to come back, and that this does not depend on what it stores.
//!
//! ```text
//! for each size:  fill the folder, start again
//!   for each round, for kill and stop:
//!     load ── end the broker ── look at its journal ── drop the page cache
//!       ── start it ──> ready ── first write ──> acknowledged        measured: from the start on
//!       ── is everything there? ── remove the load
//! ```
//!
//! The load of a round is a topic of its own and goes when the round is over, so that the folder keeps
//! its size; what lies in the journal when the broker ends differs from round to round. Nothing is
//! known of the broker beyond what a client and `towpath storage dump` see.

mod chart;
mod folder;
mod journal_tail;
mod page_cache;
mod plan;
mod restart;
mod rows;
#[cfg(test)]
mod testing;
pub(crate) mod topics;

use std::io::Write;

pub use chart::Chart;
pub use folder::DataFolder;
pub use page_cache::PageCache;
pub use plan::Plan;
pub use rows::{Recovery, RecoveryMedian, RecoverySetting, Stop};

use crate::Result;
use crate::broker_process::BrokerProcess;
use crate::report::Report;
use restart::Restart;

/// Measures the whole plan in a folder that it fills step by step.
///
/// Dropping the future kills the broker.
///
/// # Errors
/// The first one of any run; no figure is reported for that run.
pub async fn run<W: Write>(
    plan: &Plan,
    folder: &DataFolder,
    report: &mut Report<W, Recovery>,
) -> Result<()> {
    let mut broker = BrokerProcess::start(&plan.towpath, folder.path()).await?;
    topics::create(&broker.client()?, plan.partitions).await?;
    for size_bytes in plan.sizes_bytes() {
        let record_count = topics::fill(&broker.client()?, size_bytes).await?;
        // A start ends with a checkpoint: no round meets the journal of the filling.
        broker.end(Stop::Terminate).await?;
        broker = BrokerProcess::start(&plan.towpath, folder.path()).await?;
        for round in 1..=plan.rounds {
            for stop in [Stop::Kill, Stop::Terminate] {
                let restart = Restart {
                    plan,
                    folder,
                    size_bytes,
                    record_count,
                    round,
                    stop,
                };
                let (successor, setting, recovery) = restart.measure(broker).await?;
                broker = successor;
                report.add(round, setting, recovery)?;
            }
        }
    }
    broker.end(Stop::Terminate).await
}
