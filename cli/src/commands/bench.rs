//! `towpath bench`: figures of a running broker, measured through the SDK.
//!
//! Each run has a topic of its own and is void unless every record is where it should be.

mod consume;
mod group;
mod keys;
mod latency;
mod ledger;
mod orders;
mod payload;
mod produce;
mod report;
mod stopwatch;
mod subscription;
mod trial;
mod usage;

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Outcome, Session};
use crate::args::BenchCommand;
use crate::exit::Exit;
use crate::failure::Failure;

use report::BenchReport;
use stopwatch::Elapsed;
use trial::Trial;

/// Longest latency that is told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_mins(10);
/// Digits that a latency is exact to.
const LATENCY_DIGITS: u8 = 3;

/// What a measurement gives.
#[derive(Debug)]
struct Measured {
    elapsed: Elapsed,
    latencies: Latencies,
    /// What it took before, where that is told apart.
    joining: Option<Duration>,
}

/// Measures what the arguments say.
pub(super) async fn run(command: &BenchCommand, session: &Session<'_>) -> Result<Outcome, Failure> {
    command.check()?;
    let trial = Trial::prepare(command.load(), session).await?;
    let measured = session.until_interrupted(measure(command, &trial)).await;
    // The topic goes whatever happened, unless it was to stay.
    let closed = trial.close().await;
    let report = BenchReport::new(command, &measured?, &trial.info);
    closed?;
    Ok(Outcome::of(report))
}

async fn measure(command: &BenchCommand, trial: &Trial<'_>) -> Result<Measured, Failure> {
    match command {
        BenchCommand::Produce(_) => produce::measure(trial).await,
        BenchCommand::Consume(_) => consume::measure(trial).await,
        BenchCommand::Group(_) => group::measure(trial).await,
        BenchCommand::Subscription { subscription, .. } => {
            subscription::measure(trial, subscription).await
        }
        BenchCommand::Latency { rate: None, .. } => latency::measure_one_in_flight(trial).await,
        BenchCommand::Latency {
            rate: Some(rate), ..
        } => latency::measure_at_rate(trial, *rate).await,
    }
}

impl Measured {
    const fn of(elapsed: Elapsed, latencies: Latencies) -> Self {
        Self {
            elapsed,
            latencies,
            joining: None,
        }
    }
}

/// Latencies of many records.
#[derive(Debug)]
struct Latencies {
    /// In nanoseconds.
    histogram: Histogram<u64>,
}

impl Latencies {
    fn new() -> Result<Self, Failure> {
        let max = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
        let histogram = Histogram::new_with_bounds(1, max, LATENCY_DIGITS).map_err(|error| {
            Failure::new(Exit::Failed, "cannot count latencies").because(&error)
        })?;
        Ok(Self { histogram })
    }

    fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanos);
    }

    fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.histogram
            .add(&other.histogram)
            .map_err(|error| Failure::new(Exit::Failed, "cannot add latencies").because(&error))
    }
}
