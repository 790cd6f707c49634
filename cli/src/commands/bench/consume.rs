//! How fast records are read back.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Client, PartitionId, Reader, Source};

use super::latencies::{Latencies, Recorder};
use super::meter::Meter;
use super::place;
use super::trial::Trial;
use super::verify::{Fingerprint, Reading};
use super::writer::Content;
use super::{Measured, join_all, produce};
use crate::args::{BenchConsume, BenchPlace};
use crate::commands::session::GIVE_UP_AFTER;
use crate::failure::Failure;

/// Writes all records, then reads them, as often as is asked for: the partitions are dealt out to the
/// clients. The latency is how long a client waited for a batch.
pub(super) async fn measure(
    trial: &Trial<'_>,
    options: &BenchConsume,
) -> Result<Measured, Failure> {
    let load = trial.load;
    let written = produce::prepare(trial, Content::default()).await?;
    let place = place::prepare(trial, options.from).await?;
    let clients = trial.clients()?;
    if options.from == Some(BenchPlace::Cache) {
        let meter = trial.meter("read beforehand", load.records.get());
        let latencies = Latencies::new(load.clients.get())?;
        pass(trial, &clients, written, &meter, &latencies).await?;
    }
    let passes = options.passes.get();
    let meter = trial.meter("consumed", load.records.get() * u64::from(passes));
    let latencies = Latencies::new(load.clients.get())?;
    meter.start();
    for _ in 0..passes {
        pass(trial, &clients, written, &meter, &latencies).await?;
    }
    let mut measured = Measured::of(&meter, latencies)?;
    measured.place = Some(place);
    Ok(measured)
}

/// Reads everything once.
async fn pass(
    trial: &Trial<'_>,
    clients: &[Client],
    written: Fingerprint,
    meter: &Meter,
    latencies: &Latencies,
) -> Result<(), Failure> {
    let load = trial.load;
    let reading = Reading::new(
        load.partitions.get(),
        load.records.get(),
        load.clients.get(),
    );
    let reading = Arc::new(reading);
    let mut readers = JoinSet::new();
    for (number, client) in clients.iter().enumerate() {
        let source = share_of(trial, number, clients.len());
        let reader = client.reader([source]).give_up_after(GIVE_UP_AFTER).build();
        let recorder = latencies.recorder(number);
        readers.spawn(read(reader, Arc::clone(&reading), meter.clone(), recorder));
    }
    join_all(&mut readers).await?;
    reading
        .fingerprint()
        .expect("the clients have read", written)
}

/// The partitions of the reader with this number, of so many.
pub(super) fn share_of(trial: &Trial<'_>, number: usize, readers: usize) -> Source {
    let first = u32::try_from(number).unwrap_or(u32::MAX);
    let partitions = (first..trial.load.partitions.get()).step_by(readers);
    Source::new(trial.topic()).partitions(partitions.map(PartitionId::new))
}

async fn read(
    mut reader: Reader,
    reading: Arc<Reading>,
    meter: Meter,
    recorder: Recorder,
) -> Result<(), Failure> {
    let mut asked = Instant::now();
    while let Some(batch) = reader.next_batch().await? {
        recorder.record_since(asked);
        meter.advance(reading.note(&batch, |_| ())?);
        asked = Instant::now();
    }
    Ok(())
}
