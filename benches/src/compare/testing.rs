//! Runs that were never made.

use super::rows::{Card, Done, Run};
use super::work::{Class, Job};
use crate::report::LatencyUs;

/// A run of a second with this figure: records, or the median time of one in microseconds.
pub(super) fn run(round: u32, system: &str, class: Class, job: &Job, figure: u32) -> Run {
    let p50 = f64::from(figure);
    let card = Card {
        system: system.to_owned(),
        class,
        version: "7".to_owned(),
        settings: "none".to_owned(),
    };
    let latency_us = job.is_of_time().then_some(LatencyUs {
        p50,
        p99: 2.0 * p50,
        p999: 3.0 * p50,
        max: 4.0 * p50,
    });
    let done = Done {
        records: u64::from(figure),
        seconds: 1.0,
        client_cpu_seconds: Some(0.5),
        server_cpu_seconds: Some(0.25),
        latency_us,
    };
    Run::new(round, &card, job, done)
}
