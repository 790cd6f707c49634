//! How fast the records of a durable subscription are handled and acked, each by itself.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Client, Delivery, Error, NewSubscription, Start, Subscriber};

use super::latencies::{Latencies, Recorder};
use super::meter::Meter;
use super::trial::Trial;
use super::verify::{Fingerprint, Ledger, expect_count};
use super::writer::Content;
use super::{Measured, join_all, produce};
use crate::args::{BenchSource, BenchSubscription};
use crate::commands::session::GIVE_UP_AFTER;
use crate::failure::Failure;

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
    let (ledger, written) = prepare(trial, options.source).await?;
    let meter = trial.meter("acked", trial.load.records.get());
    let latencies = Latencies::new(trial.load.clients.get())?;
    let clients = trial.clients()?;
    meter.start();
    let mut consumers = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let subscriber = subscriber(&client, trial.topic(), options);
        let recorder = latencies.recorder(number);
        consumers.spawn(handle(
            subscriber,
            Arc::clone(&ledger),
            meter.clone(),
            recorder,
        ));
    }
    join_all(&mut consumers).await?;
    let measured = Measured::of(&meter, latencies)?;
    expect_settled(trial, &ledger, written).await?;
    Ok(measured)
}

/// Writes all records and subscribes to them.
pub(super) async fn prepare(
    trial: &Trial<'_>,
    source: BenchSource,
) -> Result<(Arc<Ledger>, Fingerprint), Failure> {
    let content = Content {
        keys: source.keys,
        ..Content::default()
    };
    let written = produce::prepare(trial, content).await?;
    let subscription = NewSubscription::new(trial.topic(), trial.topic(), Start::Beginning);
    trial
        .subscribe(subscription.mode(source.mode.into()))
        .await?;
    let ledger = Ledger::new(&trial.described().await?, source.ordered_keys());
    Ok((Arc::new(ledger), written))
}

/// Whether everything that was written was handled, and the subscription has nothing left.
///
/// # Errors
///
/// It was not: the run is void.
pub(super) async fn expect_settled(
    trial: &Trial<'_>,
    ledger: &Ledger,
    written: Fingerprint,
) -> Result<(), Failure> {
    ledger
        .fingerprint()
        .expect("the clients have handled", written)?;
    let left = trial.subscription_lag().await?;
    expect_count("the subscription still has", left, 0)
}

fn subscriber(client: &Client, name: &str, options: &BenchSubscription) -> Subscriber {
    let builder = client.subscriber(name).give_up_after(GIVE_UP_AFTER);
    match options.in_flight {
        Some(records) => builder.max_in_flight(records.get()).build(),
        None => builder.build(),
    }
}

async fn handle(
    mut subscriber: Subscriber,
    ledger: Arc<Ledger>,
    meter: Meter,
    recorder: Recorder,
) -> Result<(), Failure> {
    let (samples, taken) = mpsc::unbounded_channel();
    let mut sampling = JoinSet::new();
    sampling.spawn(sample(taken, recorder));
    let (mut count, mut told) = (0, 0);
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
        if count - told == PROGRESS_RECORDS {
            meter.advance(count - told);
            told = count;
        }
        noted?;
    }
    drop(samples);
    subscriber.confirmed().await?;
    meter.advance(count - told);
    join_all(&mut sampling).await?;
    subscriber.close().await;
    Ok(())
}

/// The next record; none once all were handled.
async fn next(subscriber: &mut Subscriber, ledger: &Ledger) -> Result<Option<Delivery>, Failure> {
    tokio::select! {
        biased;
        delivery = subscriber.next_delivery() => Ok(delivery?),
        () = ledger.complete() => Ok(None),
    }
}

async fn sample(
    mut taken: mpsc::UnboundedReceiver<Sample>,
    recorder: Recorder,
) -> Result<(), Failure> {
    while let Some(Sample { said_at, confirmed }) = taken.recv().await {
        confirmed.await?;
        recorder.record_since(said_at);
    }
    Ok(())
}
