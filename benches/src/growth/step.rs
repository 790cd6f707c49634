//! One step: the measurements at one size of what grows.

use super::{Curve, Growth, GrowthPlan, GrowthSetting};
use crate::Result;
use crate::broker_process::BrokerProcess;
use crate::broker_process::bench::BenchRow;
use crate::host::Meter;

/// Records of 1 KiB that fit into the broker's memory, as `towpath bench consume --from tail` wants it.
const TAIL_RECORDS: u64 = 30_000;
/// How often they are read.
const TAIL_PASSES: u64 = 40;
/// Clients that read from memory.
const READERS: u64 = 1;

/// So that the first record of each partition, for which a file is made, does not weigh in the median.
const LATENCY_RECORDS_PER_CLIENT: u64 = 50;

/// What is measured.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) plan: &'a GrowthPlan,
    /// How large it is.
    pub(super) at: u64,
}

impl Step<'_> {
    pub(super) fn setting(&self) -> GrowthSetting {
        GrowthSetting {
            benchmark: "growth",
            curve: self.plan.curve,
            at: self.at,
            records: self.plan.records,
            latency_records: self.plan.latency_records,
        }
    }

    /// Measures everything but the next start of the broker.
    ///
    /// # Errors
    /// [`Error::Void`](crate::Error::Void) if a measurement fails or is void: it has said why on stderr.
    pub(super) async fn measure(&self, broker: &BrokerProcess) -> Result<Growth> {
        let (partitions, clients) = match self.plan.curve {
            Curve::Stored | Curve::Subscriptions => (1, 1),
            Curve::Partitions => (self.at, 1),
            // As many partitions, so that clients do not stand in one line.
            Curve::Clients => (self.at, self.at),
        };
        let others = Meter::start(None)?;
        let produce = self
            .bench(broker, &["produce"], self.plan.records, partitions, clients)
            .await?;
        let passes = TAIL_PASSES.to_string();
        let from_tail = ["consume", "--from", "tail", "--passes", &passes];
        let tail = self
            .bench(broker, &from_tail, TAIL_RECORDS, partitions, READERS)
            .await?;
        let latency_records = self.plan.latency_records;
        let latency_records = latency_records.max(clients * LATENCY_RECORDS_PER_CLIENT);
        let latency = self
            .bench(broker, &["latency"], latency_records, partitions, clients)
            .await?;
        let usage = others.stop()?;
        let server = produce.server.as_ref();
        Ok(Growth {
            produce_megabytes_per_second: produce.megabytes_per_second,
            worst_second_megabytes_per_second: produce.worst_second_megabytes_per_second,
            median_second_megabytes_per_second: produce.median_second_megabytes_per_second,
            checkpoints: produce.checkpoints,
            produce_server_cpu_seconds_per_gb: server.map(|it| it.cpu_seconds_per_gigabyte),
            tail_megabytes_per_second: tail.megabytes_per_second,
            one_in_flight_records_per_second: latency.records_per_second,
            one_in_flight_us: latency.latency_us,
            memory_bytes: broker.memory_bytes()?,
            ready_ms: 0.0,
            ready_memory_bytes: 0,
            steal_percent: usage.steal_percent,
        })
    }

    async fn bench(
        &self,
        broker: &BrokerProcess,
        what: &[&str],
        records: u64,
        partitions: u64,
        clients: u64,
    ) -> Result<BenchRow> {
        let [records, partitions, clients] =
            [records, partitions, clients].map(|it| it.to_string());
        let load = [
            "--records",
            &records,
            "--size",
            "1KiB",
            "--partitions",
            &partitions,
            "--clients",
            &clients,
        ];
        broker
            .bench(&self.plan.towpath, &[what, &load].concat())
            .await
    }
}
