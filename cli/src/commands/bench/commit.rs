//! How fast records of a durable subscription become others, each by an atomic commit.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Client, Delivery, Error, Subscriber};

use super::latencies::{Latencies, Recorder};
use super::meter::Meter;
use super::payload::Payload;
use super::trial::Trial;
use super::verify::{Ledger, Outputs};
use super::{Measured, join_all, subscription};
use crate::args::BenchCommit;
use crate::commands::session::GIVE_UP_AFTER;
use crate::failure::Failure;

/// Records that a client is sent ahead, beside those that are being committed, so that none waits for
/// the way of the next one.
const SENT_AHEAD: u64 = 32;

/// Writes all records, then has every client, as a consumer of a subscription, commit each: its ack, and the
/// records that are made of it. Time runs until the last commit is answered, which is when it is durable.
pub(super) async fn measure(trial: &Trial<'_>, options: &BenchCommit) -> Result<Measured, Failure> {
    let load = trial.load;
    let (ledger, written) = subscription::prepare(trial, options.source).await?;
    let output = trial.add_topic("out").await?;
    let payload = Payload::new(load.values, load.size, load.records.get());
    let meter = trial.meter("committed", load.records.get());
    let latencies = Latencies::new(load.clients.get())?;
    let clients = trial.clients()?;
    meter.start();
    let mut committing = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let in_flight = options.in_flight.get();
        let subscriber = client
            .subscriber(trial.topic())
            .max_in_flight(in_flight.saturating_add(SENT_AHEAD))
            .give_up_after(GIVE_UP_AFTER)
            .build();
        let committer = Committer {
            client,
            output: output.clone(),
            appends: options.appends.get().into(),
            in_flight: usize::try_from(in_flight).unwrap_or(usize::MAX),
            payload: payload.starting_at(number),
            ledger: Arc::clone(&ledger),
            meter: meter.clone(),
            recorder: latencies.recorder(number),
        };
        committing.spawn(committer.run(subscriber));
    }
    join_all(&mut committing).await?;
    let measured = Measured::of(&meter, latencies)?;
    subscription::expect_settled(trial, &ledger, written).await?;
    expect_outputs(trial, options, &output).await?;
    Ok(measured)
}

/// One client that commits.
struct Committer {
    client: Client,
    output: String,
    appends: u64,
    in_flight: usize,
    payload: Payload,
    ledger: Arc<Ledger>,
    meter: Meter,
    recorder: Recorder,
}

impl Committer {
    async fn run(mut self, mut subscriber: Subscriber) -> Result<(), Failure> {
        let ledger = Arc::clone(&self.ledger);
        let mut commits = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(committed) = commits.next() => {
                    let committed: Result<(), Error> = committed;
                    committed?;
                    self.meter.advance(1);
                }
                delivery = subscriber.next_delivery(), if commits.len() < self.in_flight => {
                    let Some(delivery) = delivery? else { break };
                    let noted = ledger.note(&delivery);
                    match delivery.value() {
                        // What the clients that write were made ready with becomes nothing.
                        None => delivery.ack(),
                        Some(_) => commits.push(self.commit(delivery)),
                    }
                    noted?;
                }
                () = ledger.complete(), if commits.is_empty() => break,
            }
        }
        subscriber.confirmed().await?;
        subscriber.close().await;
        Ok(())
    }

    /// Acks a record and writes what is made of it, all or nothing.
    fn commit(&mut self, delivery: Delivery) -> impl Future<Output = Result<(), Error>> + use<> {
        let first = self.ledger.number_of(&delivery) * self.appends;
        let mut commit = self.client.commit();
        for mark in first..first + self.appends {
            commit = commit.append(&self.output, self.payload.marked_record(mark));
        }
        let (commit, recorder) = (commit.ack(delivery), self.recorder.clone());
        let sent = Instant::now();
        async move {
            commit.send().await?;
            recorder.record_since(sent);
            Ok(())
        }
    }
}

/// Whether each commit has written all of its records, once, and at once.
///
/// # Errors
///
/// It has not: the run is void.
async fn expect_outputs(
    trial: &Trial<'_>,
    options: &BenchCommit,
    output: &str,
) -> Result<(), Failure> {
    let (records, appends) = (trial.load.records.get(), options.appends.get());
    let numbers = trial.described().await?.record_count;
    let mut outputs = Outputs::new(numbers, appends);
    let meter = trial.meter("checked", records * u64::from(appends));
    let reader = trial.client()?.reader([output]);
    let mut reader = reader.give_up_after(GIVE_UP_AFTER).build();
    while let Some(batch) = reader.next_batch().await? {
        outputs.note(&batch)?;
        meter.advance(batch.record_count().into());
    }
    outputs.expect(records)
}
