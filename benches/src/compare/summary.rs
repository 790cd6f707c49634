//! All rounds of a job by one system, and what they are to Towpath's.

use serde::Serialize;

use super::TOWPATH;
use super::rows::Run;
use super::work::{Class, Job};
use crate::spread::Spread;

/// Median, minimum and maximum over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Median {
    pub(crate) rounds: usize,
    pub(crate) system: String,
    pub(crate) class: Class,
    #[serde(flatten)]
    pub(crate) job: Job,
    pub(crate) records_per_second: Spread,
    pub(crate) megabytes_per_second: Spread,
    /// Median time of a record, where each was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_us: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<Spread>,
    /// Of each round: Towpath's records a second divided by this system's, or this system's median
    /// time by Towpath's. Above 1 Towpath is the faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) towpath_times_as_fast: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_seconds_per_gb: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us_per_record: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_memory_megabytes_max: Option<Spread>,
    pub(crate) others_percent: Spread,
}

impl Median {
    /// What counts: the median time of a record in microseconds, or records a second.
    pub(crate) fn figure(&self) -> Option<Spread> {
        if self.job.is_of_time() {
            self.p50_us
        } else {
            Some(self.records_per_second)
        }
    }
}

/// The medians, job by job in the order in which jobs and systems first came.
pub(crate) fn medians(runs: &[Run]) -> Vec<Median> {
    let mut kinds: Vec<(&Job, &str, Class)> = Vec::new();
    for run in runs {
        let kind = (&run.job, run.system.as_str(), run.class);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let mut jobs: Vec<&Job> = Vec::new();
    for (job, ..) in &kinds {
        if !jobs.contains(job) {
            jobs.push(job);
        }
    }
    jobs.into_iter()
        .flat_map(|job| kinds.iter().filter(move |kind| kind.0 == job))
        .filter_map(|(job, system, class)| median(runs, job, system, *class))
        .collect()
}

fn median(runs: &[Run], job: &Job, system: &str, class: Class) -> Option<Median> {
    let rounds: Vec<&Run> = runs
        .iter()
        .filter(|run| run.job == *job && run.is_of(system, class))
        .collect();
    let spread =
        |figure: fn(&Run) -> Option<f64>| Spread::of(rounds.iter().filter_map(|run| figure(run)));
    Some(Median {
        rounds: rounds.len(),
        system: system.to_owned(),
        class,
        job: job.clone(),
        records_per_second: spread(|run| Some(run.records_per_second))?,
        megabytes_per_second: spread(|run| Some(run.megabytes_per_second))?,
        p50_us: spread(|run| run.done.latency_us.map(|it| it.p50)),
        p99_us: spread(|run| run.done.latency_us.map(|it| it.p99)),
        towpath_times_as_fast: Spread::of(
            rounds
                .iter()
                .filter_map(|run| towpath_times_as_fast(runs, run)),
        ),
        server_cpu_seconds_per_gb: spread(|run| run.server_cpu_seconds_per_gb),
        server_cpu_us_per_record: spread(|run| run.server_cpu_us_per_record),
        server_memory_megabytes_max: spread(|run| run.server_memory_bytes_max.map(megabytes)),
        others_percent: spread(|run| Some(run.others_percent))?,
    })
}

/// How far Towpath is ahead of a run in the run's own round; none of Towpath itself.
fn towpath_times_as_fast(runs: &[Run], run: &Run) -> Option<f64> {
    let towpath = runs
        .iter()
        .find(|it| it.system == TOWPATH && it.round == run.round && it.job == run.job)?;
    if run.system == TOWPATH {
        return None;
    }
    let (own, theirs) = (towpath.figure()?, run.figure()?);
    let ahead = if run.job.is_of_time() {
        theirs / own
    } else {
        own / theirs
    };
    ahead.is_finite().then_some(ahead)
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests;
