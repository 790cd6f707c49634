//! How fast records are made durable.

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::Receipt;

use super::latencies::{Latencies, Recorder};
use super::meter::Meter;
use super::trial::Trial;
use super::verify::{Acknowledged, Fingerprint};
use super::writer::{Content, Writer};
use super::{Measured, join_all};
use crate::exit::Exit;
use crate::failure::Failure;

/// Receipts that are handed over at a time; the latency of the first of them is taken.
pub(super) const CHUNK_RECORDS: usize = 64;
/// Chunks that may wait to be looked at; the producer's bytes in flight are reached before.
const CHUNKS_AHEAD: usize = 1 << 14;

/// Writes all records, as many in flight as the load allows.
pub(super) async fn measure(trial: &Trial<'_>) -> Result<Measured, Failure> {
    let writers = trial.writers(Content::default()).await?;
    let meter = trial.meter("produced", trial.load.records.get());
    let latencies = Latencies::new(trial.load.clients.get())?;
    meter.start();
    write_all(writers, &meter, &latencies).await?;
    let measured = Measured::of(&meter, latencies)?;
    trial.verify().await?;
    Ok(measured)
}

/// Writes all records for what is to read them, and sees that they are there.
pub(super) async fn prepare(trial: &Trial<'_>, content: Content) -> Result<Fingerprint, Failure> {
    let writers = trial.writers(content).await?;
    let meter = trial.meter("produced", trial.load.records.get());
    let written = write_all(writers, &meter, &Latencies::new(1)?).await?;
    trial.verify().await?;
    Ok(written)
}

/// Writes all records; everything is acknowledged when this returns.
pub(super) async fn write_all(
    writers: Vec<Writer>,
    meter: &Meter,
    latencies: &Latencies,
) -> Result<Fingerprint, Failure> {
    let mut writing = JoinSet::new();
    for (number, writer) in writers.into_iter().enumerate() {
        let recorder = latencies.recorder(number);
        writing.spawn(write(writer, meter.clone(), recorder));
    }
    let mut written = Fingerprint::default();
    for of_client in join_all(&mut writing).await? {
        written.add(of_client);
    }
    Ok(written)
}

/// Records that were sent one after the other, with their marks.
struct Chunk {
    first_sent: Instant,
    sent: Vec<(u64, Receipt)>,
}

impl Chunk {
    fn new() -> Self {
        Self {
            first_sent: Instant::now(),
            sent: Vec::with_capacity(CHUNK_RECORDS),
        }
    }
}

async fn write(
    mut writer: Writer,
    meter: Meter,
    recorder: Recorder,
) -> Result<Fingerprint, Failure> {
    let (chunks, taken) = mpsc::channel(CHUNKS_AHEAD);
    let settling = tokio::spawn(settle(taken, meter, recorder));
    let mut chunk = Chunk::new();
    for _ in 0..writer.records {
        let (mark, record) = writer.next_record();
        chunk
            .sent
            .push((mark, writer.producer.enqueue(record).await?));
        if chunk.sent.len() == CHUNK_RECORDS {
            let full = std::mem::replace(&mut chunk, Chunk::new());
            if chunks.send(full).await.is_err() {
                // Nobody takes it after a failure, which is told below.
                break;
            }
        }
    }
    drop(chunks.send(chunk).await);
    drop(chunks);
    let closed = writer.producer.close().await;
    let settled = settling.await.map_err(|error| {
        Failure::new(Exit::Failed, "a client of the measurement has ended").because(&error)
    })??;
    closed?;
    Ok(settled)
}

/// Waits for every receipt.
async fn settle(
    mut chunks: mpsc::Receiver<Chunk>,
    meter: Meter,
    recorder: Recorder,
) -> Result<Fingerprint, Failure> {
    let mut acknowledged = Acknowledged::default();
    while let Some(Chunk { first_sent, sent }) = chunks.recv().await {
        let count = sent.len() as u64;
        for (index, (mark, receipt)) in sent.into_iter().enumerate() {
            acknowledged.note(&receipt.await?, mark)?;
            if index == 0 {
                recorder.record_since(first_sent);
            }
        }
        meter.advance(count);
    }
    Ok(acknowledged.fingerprint())
}
