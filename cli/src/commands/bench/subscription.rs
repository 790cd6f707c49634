//! How fast the records of a durable subscription are handled and acked, each by itself.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Client, Delivery, Error, NewSubscription, Start, Subscriber};

use super::ledger::Ledger;
use super::trial::{Trial, expect_count};
use super::{Latencies, Measured, produce};
use crate::args::{BenchMode, BenchSubscription};
use crate::failure::Failure;
use crate::output::Progress;

/// The confirmation of one ack of so many is waited for, to take its latency.
pub(super) const SAMPLE_RECORDS: u64 = 64;
/// Progress is shown after so many records.
const PROGRESS_RECORDS: u64 = 1_024;

/// An ack that waits for its confirmation.
struct Sample {
    said_at: Instant,
    confirmed: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
}

/// Writes all records, then handles them as a subscription of which every client is a consumer. An ack
/// counts when it is confirmed: time runs until the last one is durable.
pub(super) async fn measure(
    trial: &Trial<'_>,
    options: &BenchSubscription,
) -> Result<Measured, Failure> {
    produce::prepare(trial, options.keys).await?;
    let subscription = NewSubscription::new(trial.topic(), trial.topic(), Start::Beginning);
    trial
        .subscribe(subscription.mode(options.mode.into()))
        .await?;
    let ordered_keys = match options.mode {
        BenchMode::Shared => 0,
        BenchMode::KeyShared => options.keys.map_or(0, NonZeroU32::get),
    };
    let ledger = Arc::new(Ledger::new(
        &trial.described().await?,
        ordered_keys as usize,
    ));
    let progress = trial.progress("acked");
    let clients = trial.clients()?;
    let stopwatch = trial.stopwatch();
    let mut consumers = JoinSet::new();
    for client in clients {
        let subscriber = subscriber(&client, trial.topic(), options);
        consumers.spawn(handle(subscriber, Arc::clone(&ledger), progress.clone()));
    }
    let latencies = produce::join_all(consumers).await?;
    let elapsed = stopwatch.stop();
    progress.done();
    let left = trial.subscription_lag().await?;
    expect_count("the subscription still has", left, 0)?;
    Ok(Measured::of(elapsed, latencies))
}

fn subscriber(client: &Client, name: &str, options: &BenchSubscription) -> Subscriber {
    let builder = client.subscriber(name);
    match options.in_flight {
        Some(records) => builder.max_in_flight(records.get()).build(),
        None => builder.build(),
    }
}

async fn handle(
    mut subscriber: Subscriber,
    ledger: Arc<Ledger>,
    progress: Progress,
) -> Result<Latencies, Failure> {
    let (samples, taken) = mpsc::unbounded_channel();
    let mut sampling = JoinSet::new();
    sampling.spawn(sample(taken));
    let mut count = 0;
    while let Some(delivery) = next(&mut subscriber, &ledger).await? {
        let noted = ledger.note(&delivery);
        count += 1;
        match count % SAMPLE_RECORDS {
            0 => drop(samples.send(Sample {
                said_at: Instant::now(),
                confirmed: Box::pin(delivery.confirmed_ack()),
            })),
            _ => delivery.ack(),
        }
        if count % PROGRESS_RECORDS == 0 {
            progress.advance(PROGRESS_RECORDS);
        }
        noted?;
    }
    drop(samples);
    subscriber.confirmed().await?;
    let latencies = produce::join_all(sampling).await?;
    subscriber.close().await;
    Ok(latencies)
}

/// The next record; none once all were handled.
async fn next(subscriber: &mut Subscriber, ledger: &Ledger) -> Result<Option<Delivery>, Failure> {
    tokio::select! {
        biased;
        delivery = subscriber.next_delivery() => Ok(delivery?),
        () = ledger.complete() => Ok(None),
    }
}

async fn sample(mut taken: mpsc::UnboundedReceiver<Sample>) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new()?;
    while let Some(Sample { said_at, confirmed }) = taken.recv().await {
        confirmed.await?;
        latencies.record(said_at.elapsed());
    }
    Ok(latencies)
}
