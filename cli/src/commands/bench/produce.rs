//! How fast records are made durable.

use std::num::NonZeroU32;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::Receipt;

use super::trial::{Trial, Writer};
use super::{Latencies, Measured};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Progress;

/// Receipts that are handed over at a time; the latency of the first of them is taken.
pub(super) const CHUNK_RECORDS: usize = 64;
/// Chunks that may wait to be looked at; the producer's bytes in flight are reached before.
const CHUNKS_AHEAD: usize = 1 << 14;

/// Writes all records, as many in flight as the SDK allows.
pub(super) async fn measure(trial: &Trial<'_>) -> Result<Measured, Failure> {
    let writers = trial.writers(None).await?;
    let progress = trial.progress("produced");
    let stopwatch = trial.stopwatch();
    let latencies = write_all(writers, &progress).await?;
    let elapsed = stopwatch.stop();
    trial.verify().await?;
    Ok(Measured::of(elapsed, latencies))
}

/// Writes all records for what is to read them, with so many keys, and sees that they are there.
pub(super) async fn prepare(trial: &Trial<'_>, keys: Option<NonZeroU32>) -> Result<(), Failure> {
    let progress = trial.progress("produced");
    write_all(trial.writers(keys).await?, &progress).await?;
    trial.verify().await
}

/// Writes all records; everything is acknowledged when this returns.
pub(super) async fn write_all(
    writers: Vec<Writer>,
    progress: &Progress,
) -> Result<Latencies, Failure> {
    let mut writing = JoinSet::new();
    for writer in writers {
        writing.spawn(write(writer, progress.clone()));
    }
    join_all(writing).await
}

/// Waits for all clients and puts together what they have measured.
pub(super) async fn join_all(
    mut tasks: JoinSet<Result<Latencies, Failure>>,
) -> Result<Latencies, Failure> {
    let mut all = Latencies::new()?;
    while let Some(joined) = tasks.join_next().await {
        let latencies = joined.map_err(|error| {
            Failure::new(Exit::Failed, "a client of the measurement has ended").because(&error)
        })?;
        all.add(&latencies?)?;
    }
    Ok(all)
}

struct Chunk {
    first_sent: Instant,
    receipts: Vec<Receipt>,
}

impl Chunk {
    fn new() -> Self {
        Self {
            first_sent: Instant::now(),
            receipts: Vec::with_capacity(CHUNK_RECORDS),
        }
    }
}

async fn write(writer: Writer, progress: Progress) -> Result<Latencies, Failure> {
    let Writer {
        producer,
        mut payload,
        records,
    } = writer;
    let (chunks, sent) = mpsc::channel(CHUNKS_AHEAD);
    let settling = tokio::spawn(settle(sent, progress));
    let mut chunk = Chunk::new();
    for _ in 0..records {
        let record = payload.next_record();
        chunk.receipts.push(producer.enqueue(record).await?);
        if chunk.receipts.len() == CHUNK_RECORDS {
            // Nobody takes it only after a failure, which is told below.
            drop(
                chunks
                    .send(std::mem::replace(&mut chunk, Chunk::new()))
                    .await,
            );
        }
    }
    drop(chunks.send(chunk).await);
    drop(chunks);
    producer.close().await?;
    settling.await.map_err(|error| {
        Failure::new(Exit::Failed, "a client of the measurement has ended").because(&error)
    })?
}

/// Waits for every receipt.
async fn settle(
    mut chunks: mpsc::Receiver<Chunk>,
    progress: Progress,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new()?;
    while let Some(Chunk {
        first_sent,
        receipts,
    }) = chunks.recv().await
    {
        let count = receipts.len() as u64;
        for (index, receipt) in receipts.into_iter().enumerate() {
            receipt.await?;
            if index == 0 {
                latencies.record(first_sent.elapsed());
            }
        }
        progress.advance(count);
    }
    Ok(latencies)
}
