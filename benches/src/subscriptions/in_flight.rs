//! What records cost that consumers have.
//!
//! ```text
//! records are written
//!   for each mode and round, in a life of the broker of its own:
//!     a subscription that acks all of them: buffers and pools have their size then
//!     another one that is paused, with consumers that allow all of them   measured: memory
//!       ── it goes on ──> consumers have all of them                      measured: memory
//! ```

use std::io::Write;

use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use towpath_client::{
    Admin, NewSubscription, NewTopic, Record, Start, Subscriber, SubscriptionDeletion,
    SubscriptionMode,
};

use super::watch::{PATIENCE, hangs, lag, until};
use super::{BrokerPlan, InFlight, InFlightSetting, ack_all};
use crate::Result;
use crate::broker_process::BrokerProcess;
use crate::recovery::{DataFolder, Stop};
use crate::report::Report;

/// So many that no window is long, whatever is in flight.
const PARTITIONS: u32 = 8;
const TOPIC: &str = "in-flight";
const VALUE_BYTES: usize = 100;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct InFlightPlan {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerPlan,
    /// Records that are in flight together, each with a key of its own.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub records: u32,
    /// Consumers, each with a connection of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub consumers: u32,
    /// How often is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
}

/// Measures the whole plan in a folder that is empty.
///
/// Dropping the future kills the broker.
///
/// # Errors
/// The first one of any run; no figure is reported for that run.
pub async fn run<W: Write>(
    plan: &InFlightPlan,
    folder: &DataFolder,
    report: &mut Report<W, InFlight>,
) -> Result<()> {
    let program = &plan.broker.towpath;
    let broker = BrokerProcess::start(program, folder.path()).await?;
    write(plan, &broker).await?;
    broker.end(Stop::Terminate).await?;
    for round in 1..=plan.rounds {
        for (mode, name) in [
            (SubscriptionMode::Shared, "shared"),
            (SubscriptionMode::KeyShared, "key-shared"),
        ] {
            let broker = BrokerProcess::start(program, folder.path()).await?;
            let setting = InFlightSetting {
                benchmark: "subscriptions in-flight",
                mode: name,
                records: plan.records,
                consumers: plan.consumers,
            };
            let in_flight = measure(plan, &broker, mode).await?;
            report.add(round, setting, in_flight)?;
            broker.end(Stop::Terminate).await?;
        }
    }
    Ok(())
}

async fn write(plan: &InFlightPlan, broker: &BrokerProcess) -> Result<()> {
    let client = broker.client()?;
    let topic = NewTopic::new(TOPIC).partitions(PARTITIONS);
    client.admin().create_topic(topic).await?;
    let producer = client.producer(TOPIC).build();
    for number in 0..plan.records {
        let record = Record::new(vec![b'x'; VALUE_BYTES]).key(format!("key-{number}"));
        drop(producer.enqueue(record).await?);
    }
    producer.close().await?;
    Ok(())
}

async fn measure(
    plan: &InFlightPlan,
    broker: &BrokerProcess,
    mode: SubscriptionMode,
) -> Result<InFlight> {
    let admin = broker.client()?.admin();
    warm_up(plan, broker, mode).await?;
    let name = "measured";
    admin
        .create_subscription(NewSubscription::new(name, TOPIC, Start::Beginning).mode(mode))
        .await?;
    admin.pause_subscription(name).await?;
    let (taken, mut taken_out) = mpsc::unbounded_channel();
    let mut consumers = JoinSet::new();
    for _ in 0..plan.consumers {
        let subscriber = subscriber(plan, broker, name)?;
        consumers.spawn(hold(subscriber, taken.clone()));
    }
    until(async || Ok(admin.subscription(name).await?.consumer_count == plan.consumers)).await?;
    let memory_bytes_before = broker.memory_bytes()?;
    admin.resume_subscription(name).await?;
    let all = async {
        for _ in 0..plan.records {
            taken_out.recv().await;
        }
    };
    timeout(PATIENCE, all).await.map_err(|_elapsed| hangs())?;
    until(async || Ok(in_flight(&admin, name).await? == u64::from(plan.records))).await?;
    let memory_bytes = broker.memory_bytes()?;
    consumers.shutdown().await;
    admin
        .delete_subscription(SubscriptionDeletion::new(name))
        .await?;
    let growth = memory_bytes.saturating_sub(memory_bytes_before);
    Ok(InFlight {
        memory_bytes_before,
        memory_bytes,
        bytes_per_record: bytes(growth) / f64::from(plan.records),
    })
}

/// Delivers all records to as many consumers, and acks them.
async fn warm_up(
    plan: &InFlightPlan,
    broker: &BrokerProcess,
    mode: SubscriptionMode,
) -> Result<()> {
    let admin = broker.client()?.admin();
    let name = "warm-up";
    admin
        .create_subscription(NewSubscription::new(name, TOPIC, Start::Beginning).mode(mode))
        .await?;
    let mut consumers = JoinSet::new();
    for _ in 0..plan.consumers {
        consumers.spawn(ack_all(subscriber(plan, broker, name)?));
    }
    until(async || Ok(lag(&admin, name).await? == 0)).await?;
    consumers.shutdown().await;
    admin
        .delete_subscription(SubscriptionDeletion::new(name))
        .await?;
    Ok(())
}

fn subscriber(plan: &InFlightPlan, broker: &BrokerProcess, name: &str) -> Result<Subscriber> {
    let share = plan.records.div_ceil(plan.consumers);
    // One more each: what keys share unevenly finds room.
    let subscriber = broker.client()?.subscriber(name);
    Ok(subscriber.max_in_flight(u64::from(share) * 2).build())
}

/// Takes records and keeps them.
async fn hold(mut subscriber: Subscriber, taken: mpsc::UnboundedSender<()>) -> Result<()> {
    #[expect(
        clippy::collection_is_never_read,
        reason = "what is dropped comes back"
    )]
    let mut held = Vec::new();
    while let Some(delivery) = subscriber.next_delivery().await? {
        held.push(delivery);
        // Whoever counts has all when nobody listens any more.
        taken.send(()).unwrap_or_default();
    }
    Ok(())
}

async fn in_flight(admin: &Admin, name: &str) -> Result<u64> {
    let subscription = admin.subscription(name).await?;
    Ok({ subscription.partitions.iter() }
        .map(|it| it.in_flight_records)
        .sum())
}

#[expect(clippy::cast_precision_loss, reason = "figures of a measurement")]
fn bytes(count: u64) -> f64 {
    count as f64
}
