//! How the figures of a broker change while one thing grows: what it stores, the partitions or the clients
//! that are written to and by, the subscriptions that it has.
//!
//! ```text
//! for each step:  let it grow
//!   for each round:  write ── read from memory ── one record in flight    measured: as `towpath bench` does
//!                    stop ── start                                        measured: memory, time
//! ```
//!
//! The measuring is done by `towpath bench`, each run in a process of its own, which sees to it that a run
//! counts in which every record is where it should be. Its topics are gone before the broker stops.

mod chart;
mod plan;
mod rows;
mod step;

use std::io::Write;

pub use crate::broker_process::bench::BenchLatencyUs;
pub use chart::Chart;
pub use plan::{Curve, GrowthPlan};
pub use rows::{Growth, GrowthMedian, GrowthSetting};

use crate::Result;
use crate::broker_process::BrokerProcess;
use crate::recovery::{DataFolder, Stop, topics};
use crate::report::Report;
use crate::subscriptions;
use step::Step;

/// Topics that the subscriptions share.
const SUBSCRIBED_TOPICS: u32 = 100;
/// Partitions of what is stored.
const STORED_PARTITIONS: u32 = 8;

/// Measures the whole plan in a folder that is empty.
///
/// Dropping the future kills the broker.
///
/// # Errors
/// The first one of any run; no figure is reported for that run.
pub async fn run<W: Write>(
    plan: &GrowthPlan,
    folder: &DataFolder,
    report: &mut Report<W, Growth>,
) -> Result<()> {
    let mut broker = start(plan, folder).await?;
    let mut grown = 0;
    for at in plan.steps() {
        grow(plan.curve, grown, at, &broker).await?;
        grown = at;
        let step = Step { plan, at };
        for round in 1..=plan.rounds {
            let mut growth = step.measure(&broker).await?;
            broker.end(Stop::Terminate).await?;
            broker = start(plan, folder).await?;
            growth.ready_ms = broker.ready_after.as_secs_f64() * 1e3;
            growth.ready_memory_bytes = broker.memory_bytes()?;
            report.add(round, step.setting(), growth)?;
        }
    }
    broker.end(Stop::Terminate).await
}

/// A broker that takes the connections of all clients, and counts checkpoints.
async fn start(plan: &GrowthPlan, folder: &DataFolder) -> Result<BrokerProcess> {
    let flags = [
        "--connection-count-max",
        "8192",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    BrokerProcess::start_with(&plan.towpath, folder.path(), &flags).await
}

/// Lets what stays in the broker grow from one step to the next.
async fn grow(curve: Curve, from: u64, to: u64, broker: &BrokerProcess) -> Result<()> {
    let client = broker.client()?;
    match curve {
        // These are made by each measurement for itself.
        Curve::Partitions | Curve::Clients => {}
        Curve::Stored => {
            if from == 0 {
                topics::create(&client, STORED_PARTITIONS).await?;
            }
            topics::fill(&client, to).await?;
        }
        Curve::Subscriptions => {
            let admin = client.admin();
            if from == 0 {
                subscriptions::create_topics(&admin, SUBSCRIBED_TOPICS).await?;
            }
            let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
            let numbers = count(from)..count(to);
            subscriptions::create(&admin, numbers, SUBSCRIBED_TOPICS).await?;
        }
    }
    client.close().await;
    Ok(())
}
