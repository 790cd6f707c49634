//! How fast records are read back.

use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Client, PartitionId, Source};

use super::trial::{Trial, expect_count, value_count};
use super::{Latencies, Measured, produce};
use crate::failure::Failure;
use crate::output::Progress;

/// Writes all records, then reads them: the partitions are dealt out to the clients. The latency is
/// how long a client waited for a batch.
pub(super) async fn measure(trial: &Trial<'_>) -> Result<Measured, Failure> {
    let load = trial.load;
    produce::prepare(trial, None).await?;
    let clients = trial.clients()?;
    let progress = trial.progress("consumed");
    let stopwatch = trial.stopwatch();
    let mut readers = JoinSet::new();
    for (index, client) in (0..).zip(clients) {
        let partitions = (index..load.partitions.get()).step_by(load.clients.get() as usize);
        let source = Source::new(trial.topic()).partitions(partitions.map(PartitionId::new));
        readers.spawn(read(client, source, load.size, progress.clone()));
    }
    let latencies = produce::join_all(readers).await?;
    let elapsed = stopwatch.stop();
    expect_count("the clients have read", progress.done(), load.records.get())?;
    Ok(Measured::of(elapsed, latencies))
}

async fn read(
    client: Client,
    source: Source,
    value_bytes: usize,
    progress: Progress,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new()?;
    let mut reader = client.reader([source]).build();
    let mut asked = Instant::now();
    while let Some(batch) = reader.next_batch().await? {
        latencies.record(asked.elapsed());
        progress.advance(value_count(&batch, value_bytes));
        asked = Instant::now();
    }
    Ok(latencies)
}
