//! `towpath bench`: figures of a running broker, measured through the SDK.
//!
//! One file for each measurement. Each run has topics of its own (`trial`), is counted and timed by a
//! `meter`, and is void unless every record is where it should be (`verify`).

mod checkpoints;
mod commit;
mod consume;
mod end_to_end;
mod group;
mod keys;
mod latencies;
mod latency;
mod meter;
mod orders;
mod payload;
mod place;
mod produce;
mod report;
mod room;
mod seconds;
mod stopwatch;
mod subscription;
mod trial;
mod usage;
mod verify;
mod writer;

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::{Outcome, Session};
use crate::args::BenchCommand;
use crate::exit::Exit;
use crate::failure::Failure;

use latencies::Latencies;
use meter::Meter;
use report::BenchReport;
use seconds::WholeSeconds;
use stopwatch::Elapsed;
use trial::Trial;

/// Connections that each of many clients has: for short calls, and to write or to read.
const CONNECTIONS_PER_CLIENT: u64 = 2;
/// Connections that a broker takes by default.
const BROKER_CONNECTIONS: u64 = 1_024;

/// What a measurement gives.
#[derive(Debug)]
struct Measured {
    elapsed: Elapsed,
    /// Of what was counted; none if it was too short.
    seconds: Option<WholeSeconds>,
    /// In nanoseconds.
    latencies: Histogram<u64>,
    /// What it took before, where that is told apart.
    joining: Option<Duration>,
    /// Where the broker had the records that were read.
    place: Option<&'static str>,
}

impl Measured {
    /// What was measured until now.
    ///
    /// # Errors
    ///
    /// Nothing was: the run is void.
    fn of(meter: &Meter, latencies: Latencies) -> Result<Self, Failure> {
        let (elapsed, seconds) = meter.stop()?;
        Ok(Self {
            elapsed,
            seconds,
            latencies: latencies.total()?,
            joining: None,
            place: None,
        })
    }
}

/// Measures what the arguments say.
pub(super) async fn run(command: &BenchCommand, session: &Session<'_>) -> Result<Outcome, Failure> {
    command.check()?;
    let trial = Trial::prepare(command.load(), command.client_count(), session).await?;
    let measured = session.until_interrupted(watched(command, &trial)).await;
    let checkpoints = trial.checkpoint_count().await;
    // The topics go whatever happened, unless they were to stay.
    let closed = trial.close().await;
    let measured = measured.map_err(|failure| {
        let failure = with_advice(failure, command);
        match &closed {
            Ok(()) => failure,
            Err(_) => failure.hint(format!(
                "what begins with {} was left behind: towpath topic list",
                trial.topic()
            )),
        }
    })?;
    closed?;
    let checkpoints = checkpoints?;
    let report = BenchReport::new(command, &measured, &trial.info);
    Ok(Outcome::of(report.with_checkpoints(checkpoints)))
}

/// Says what the number of clients has to do with it that a broker was not reached.
fn with_advice(failure: Failure, command: &BenchCommand) -> Failure {
    let connections = u64::from(command.client_count()) * CONNECTIONS_PER_CLIENT;
    if failure.exit() != Exit::Unreachable || connections < BROKER_CONNECTIONS {
        return failure;
    }
    failure.hint(format!(
        "{connections} connections are needed, and a broker takes {BROKER_CONNECTIONS} by default: \
         towpath serve --connection-count-max {}",
        connections.next_power_of_two() * 2
    ))
}

/// Measures unless nothing comes any more.
async fn watched(command: &BenchCommand, trial: &Trial<'_>) -> Result<Measured, Failure> {
    tokio::select! {
        biased;
        measured = measure(command, trial) => measured,
        failure = trial.pulse.stands_still() => Err(failure),
    }
}

async fn measure(command: &BenchCommand, trial: &Trial<'_>) -> Result<Measured, Failure> {
    match command {
        BenchCommand::Produce(_) => produce::measure(trial).await,
        BenchCommand::Consume { consume, .. } => consume::measure(trial, consume).await,
        BenchCommand::EndToEnd { end_to_end, .. } => end_to_end::measure(trial, end_to_end).await,
        BenchCommand::Group(_) => group::measure(trial).await,
        BenchCommand::Subscription { subscription, .. } => {
            subscription::measure(trial, subscription).await
        }
        BenchCommand::Commit { commit, .. } => commit::measure(trial, commit).await,
        BenchCommand::Latency { rate, warm_up, .. } => {
            let warm_up = warm_up.unwrap_or(0);
            match rate {
                None => latency::measure_one_in_flight(trial, warm_up).await,
                Some(rate) => latency::measure_at_rate(trial, *rate, warm_up).await,
            }
        }
    }
}

/// Waits for all clients; what each of them gives, in the order in which they end.
///
/// # Errors
///
/// That of the first one that fails; the others go on until the set is dropped.
async fn join_all<T: 'static>(tasks: &mut JoinSet<Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    let mut all = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        let given = joined.map_err(|error| {
            Failure::new(Exit::Failed, "a client of the measurement has ended").because(&error)
        })?;
        all.push(given?);
    }
    Ok(all)
}
