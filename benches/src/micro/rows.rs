//! What a step costs, as it is printed.

use serde::Serialize;

use super::callgrind::Counts;
use super::{Shape, Subject};
use crate::allocations::Allocations;
use crate::report::Measured;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CostSetting {
    benchmark: &'static str,
    subject: &'static str,
    shape: &'static str,
    records_per_batch: u32,
    calls: usize,
}

/// What came out. Numbers of events: there is one round, and no median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// None where only allocations were counted.
    pub instructions_per_record: Option<f64>,
    /// The same for a batch.
    pub instructions_per_batch: Option<f64>,
    /// How often memory was asked for.
    pub allocations_per_record: f64,
    /// The same for a batch.
    pub allocations_per_batch: f64,
}

impl CostSetting {
    pub(super) fn new(subject: &Subject, shape: &Shape, calls: usize) -> Self {
        Self {
            benchmark: "micro steps",
            subject: subject.name,
            shape: shape.name,
            records_per_batch: shape.record_count,
            calls,
        }
    }

    /// Divides what all calls took.
    pub(super) fn cost(&self, instructions: Option<u64>, allocations: Allocations) -> Cost {
        let batches = to_float(self.calls as u64);
        let records = batches * f64::from(self.records_per_batch);
        let instructions = instructions.map(to_float);
        Cost {
            instructions_per_record: instructions.map(|it| it / records),
            instructions_per_batch: instructions.map(|it| it / batches),
            allocations_per_record: to_float(allocations.count) / records,
            allocations_per_batch: to_float(allocations.count) / batches,
        }
    }
}

impl Measured for Cost {
    type Setting = CostSetting;
    type Median = ();

    fn median(_: &CostSetting, _: &[&Self]) -> Option<()> {
        None
    }

    fn format_run(&self, setting: &CostSetting) -> String {
        let instructions = match (self.instructions_per_record, self.instructions_per_batch) {
            (Some(record), Some(batch)) => format!("{record:>9.1} {batch:>11.0} instructions"),
            _ => String::new(),
        };
        format!(
            "{:<16} {:<14}  {instructions}  {:>7.3} {:>8.1} allocations",
            setting.subject, setting.shape, self.allocations_per_record, self.allocations_per_batch
        )
    }

    fn format_median((): &()) -> String {
        String::new()
    }
}

/// What was measured of the whole broker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ServerSetting {
    benchmark: &'static str,
    work: &'static str,
    size_bytes: u32,
    records: u64,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ServerCost {
    /// Of the broker's process.
    pub instructions_per_record: f64,
    /// The same for 10^9 bytes of values.
    pub instructions_per_gb: f64,
    /// How often it asked for memory.
    pub allocations_per_record: f64,
}

impl ServerSetting {
    pub(super) fn new(work: &'static str, size_bytes: u32, records: u64) -> Self {
        Self {
            benchmark: "micro server",
            work,
            size_bytes,
            records,
        }
    }

    /// Divides what the larger load took beyond the small one.
    pub(super) fn cost(&self, small: Counts, large: Counts) -> ServerCost {
        let per_record = |small: u64, large: u64| {
            let beyond = to_float(large.saturating_sub(small));
            beyond / to_float(self.records)
        };
        let instructions = per_record(small.instructions, large.instructions);
        ServerCost {
            instructions_per_record: instructions,
            instructions_per_gb: instructions * 1e9 / f64::from(self.size_bytes),
            allocations_per_record: per_record(small.allocations, large.allocations),
        }
    }
}

impl Measured for ServerCost {
    type Setting = ServerSetting;
    type Median = ();

    fn median(_: &ServerSetting, _: &[&Self]) -> Option<()> {
        None
    }

    fn format_run(&self, setting: &ServerSetting) -> String {
        format!(
            "{}  {:>5} B  {:>8.1} instructions  {:>6.3} e9 for a GB  {:>7.3} allocations",
            setting.work,
            setting.size_bytes,
            self.instructions_per_record,
            self.instructions_per_gb / 1e9,
            self.allocations_per_record
        )
    }

    fn format_median((): &()) -> String {
        String::new()
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures of a measurement")]
fn to_float(count: u64) -> f64 {
    count as f64
}
