//! How long a record takes to be durable.

mod pace;

use std::num::NonZeroU64;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Error, Position, Producer, Receipt, Record};

use super::produce::join_all;
use super::trial::{Trial, Writer};
use super::{Latencies, Measured};
use crate::failure::Failure;
use crate::output::Progress;

use pace::{Pace, send_paced};

/// Records that may wait to be looked at; the producer's bytes in flight are reached before.
const RECORDS_AHEAD: usize = 1 << 20;
/// From the start of the clock to the first record, so that every client is ready.
const LEAD: Duration = Duration::from_millis(50);

/// Each client sends a record, waits until it is durable, and sends the next.
pub(super) async fn measure_one_in_flight(trial: &Trial<'_>) -> Result<Measured, Failure> {
    let writers = trial.writers(None).await?;
    let progress = trial.progress("acknowledged");
    let stopwatch = trial.stopwatch();
    let mut senders = JoinSet::new();
    for writer in writers {
        senders.spawn(send_one_by_one(writer, progress.clone()));
    }
    let latencies = join_all(senders).await?;
    let elapsed = stopwatch.stop();
    trial.verify().await?;
    Ok(Measured::of(elapsed, latencies))
}

async fn send_one_by_one(writer: Writer, progress: Progress) -> Result<Latencies, Failure> {
    let Writer {
        producer,
        mut payload,
        records,
    } = writer;
    let mut latencies = Latencies::new()?;
    for _ in 0..records {
        let sent = Instant::now();
        producer.send(Record::new(payload.next_value())).await?;
        latencies.record(sent.elapsed());
        progress.advance(1);
    }
    producer.close().await?;
    Ok(latencies)
}

/// Each client sends its records when they are due, whatever became of the ones before. A latency
/// counts from when the record was due, so that a broker that stands still is not let off.
pub(super) async fn measure_at_rate(
    trial: &Trial<'_>,
    rate: NonZeroU64,
) -> Result<Measured, Failure> {
    let writers = trial.writers(None).await?;
    let writer_count = writers.len();
    let progress = trial.progress("acknowledged");
    let mut settling = JoinSet::new();
    let stopwatch = trial.stopwatch();
    let start = Instant::now() + LEAD;
    for (index, writer) in writers.into_iter().enumerate() {
        let producer = writer.producer.clone();
        let pace = Pace::of_client(start, rate, index, writer_count);
        let (sender, sent) = mpsc::channel(RECORDS_AHEAD);
        send_paced(writer, pace, sender)?;
        settling.spawn(settle(producer, sent, progress.clone()));
    }
    let latencies = join_all(settling).await?;
    let mut elapsed = stopwatch.stop();
    elapsed.time = elapsed.time.saturating_sub(LEAD);
    trial.verify().await?;
    Ok(Measured::of(elapsed, latencies))
}

/// A record on its way since it was due, or why it could not be sent.
type Due = (Instant, Result<Receipt, Error>);

async fn settle(
    producer: Producer,
    mut sent: mpsc::Receiver<Due>,
    progress: Progress,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new()?;
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(outcome) = waiting.next() => {
                let (due, result): (Instant, Result<Position, Error>) = outcome;
                result?;
                latencies.record(due.elapsed());
                progress.advance(1);
            }
            Some((due, receipt)) = sent.recv() => {
                let receipt = receipt?;
                waiting.push(async move { (due, receipt.await) });
            }
            else => break,
        }
    }
    producer.close().await?;
    Ok(latencies)
}
