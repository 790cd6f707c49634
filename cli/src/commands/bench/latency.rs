//! How long a record takes to be durable.

mod pace;

use std::num::NonZeroU64;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Error, Position, Producer, Receipt};

use super::latencies::{Latencies, Recorder};
use super::meter::Meter;
use super::trial::Trial;
use super::verify::{Acknowledged, Fingerprint};
use super::writer::{Content, Writer};
use super::{Measured, join_all};
use crate::failure::Failure;

use pace::{Pace, send_paced};

/// Times of sending that may wait to be looked at; the producer's bytes in flight are reached before.
const TICKS_AHEAD: usize = 1 << 20;
/// From the start of the clock to the first record, so that every client is ready.
const LEAD: Duration = Duration::from_millis(50);

/// Each client sends a record, waits until it is durable, and sends the next. The latencies of the first
/// `warm_up` ones are not counted.
pub(super) async fn measure_one_in_flight(
    trial: &Trial<'_>,
    warm_up: u64,
) -> Result<Measured, Failure> {
    let writers = trial.writers(Content::default()).await?;
    let meter = trial.meter("acknowledged", trial.load.records.get());
    let latencies = Latencies::new(trial.load.clients.get())?;
    meter.start();
    let mut senders = JoinSet::new();
    let uncounted = warm_up.div_ceil(writers.len() as u64);
    for (number, writer) in writers.into_iter().enumerate() {
        let recorder = latencies.recorder(number);
        senders.spawn(send_one_by_one(writer, meter.clone(), recorder, uncounted));
    }
    join_all(&mut senders).await?;
    let measured = Measured::of(&meter, latencies)?;
    trial.verify().await?;
    Ok(measured)
}

async fn send_one_by_one(
    mut writer: Writer,
    meter: Meter,
    recorder: Recorder,
    uncounted: u64,
) -> Result<(), Failure> {
    let mut acknowledged = Acknowledged::default();
    for index in 0..writer.records {
        let (mark, record) = writer.next_record();
        let sent = Instant::now();
        let position = writer.producer.send(record).await?;
        if index >= uncounted {
            recorder.record_since(sent);
        }
        acknowledged.note(&position, mark)?;
        meter.advance(1);
    }
    Ok(writer.producer.close().await?)
}

/// Each client sends its records when they are due, whatever became of the ones before. A latency
/// counts from when the record was due, so that a broker that stands still is not let off. Those of the
/// first `warm_up` records are not counted.
pub(super) async fn measure_at_rate(
    trial: &Trial<'_>,
    rate: NonZeroU64,
    warm_up: u64,
) -> Result<Measured, Failure> {
    let writers = trial.writers(Content::default()).await?;
    let meter = trial.meter("acknowledged", trial.load.records.get());
    let latencies = Latencies::new(trial.load.clients.get())?;
    meter.start();
    write_at_rate(writers, (rate, warm_up), &meter, &latencies).await?;
    let mut measured = Measured::of(&meter, latencies)?;
    measured.elapsed.time = measured.elapsed.time.saturating_sub(LEAD);
    trial.verify().await?;
    Ok(measured)
}

/// Sends all records when they are due; everything is acknowledged when this returns. The first is due a
/// little later than now. Beside the rate: how many records' latencies are not counted.
pub(super) async fn write_at_rate(
    writers: Vec<Writer>,
    (rate, warm_up): (NonZeroU64, u64),
    meter: &Meter,
    latencies: &Latencies,
) -> Result<Fingerprint, Failure> {
    let writer_count = writers.len();
    let mut settling = JoinSet::new();
    let start = Instant::now() + LEAD;
    let uncounted = warm_up.div_ceil(writer_count as u64);
    for (index, writer) in writers.into_iter().enumerate() {
        let producer = writer.producer.clone();
        let pace = Pace::of_client(start, rate, index, writer_count);
        let (sender, sent) = mpsc::channel(TICKS_AHEAD);
        send_paced(writer, pace, sender)?;
        let recorder = latencies.recorder(index);
        let settled = settle(producer, sent, meter.clone(), (recorder, uncounted));
        settling.spawn(settled);
    }
    let mut written = Fingerprint::default();
    for of_client in join_all(&mut settling).await? {
        written.add(of_client);
    }
    Ok(written)
}

/// A record on its way.
#[derive(Debug)]
struct Sent {
    due: Instant,
    mark: u64,
    /// Or why it could not be sent.
    receipt: Result<Receipt, Error>,
}

async fn settle(
    producer: Producer,
    mut sent: mpsc::Receiver<Vec<Sent>>,
    meter: Meter,
    (recorder, mut uncounted): (Recorder, u64),
) -> Result<Fingerprint, Failure> {
    let mut acknowledged = Acknowledged::default();
    let mut waiting = FuturesOrdered::new();
    loop {
        tokio::select! {
            biased;
            Some(outcome) = waiting.next() => {
                let (mark, position): (u64, Result<Position, Error>) = outcome;
                acknowledged.note(&position?, mark)?;
                meter.advance(1);
            }
            Some(tick) = sent.recv() => {
                for Sent { due, mark, receipt } in tick {
                    let receipt = receipt?;
                    let is_counted = uncounted == 0;
                    uncounted = uncounted.saturating_sub(1);
                    let recorder = is_counted.then(|| recorder.clone());
                    waiting.push_back(async move {
                        let position = receipt.await;
                        if let Some(recorder) = recorder {
                            recorder.record_since(due);
                        }
                        (mark, position)
                    });
                }
            }
            else => break,
        }
    }
    producer.close().await?;
    Ok(acknowledged.fingerprint())
}
