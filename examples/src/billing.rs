//! Orders that are billed by a service that others run: it is down now and then, and there are orders
//! that it does not take.

mod orders;
mod service;

use std::sync::Arc;
use std::time::Duration;

use towpath_client::{
    Admin, ByKey, Client, DeadLetter, DeadLetterFilter, DeliveredRecord, DeliveryOutcome, Drain,
    NewSubscription, Start, Subscriber, SubscriberShutdownHandle,
};

use crate::Error;

pub use orders::{ORDERS_TOPIC, Order, make_orders, place};
pub use service::{BillingError, BillingService};

/// What a handler that is busy may still take at the end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Customers that are billed at the same time.
const CUSTOMERS_AT_ONCE: usize = 8;

/// The subscription of billing: an order that fails is tried again soon, and five times in all.
pub fn subscription(name: &str) -> NewSubscription {
    let soon = Duration::from_millis(20);
    NewSubscription::new(name, ORDERS_TOPIC, Start::Beginning)
        .backoff(soon, 5 * soon)
        .attempts_max(5)
}

/// Bills one order. An order that is billed already is not billed again, so that it may come twice.
pub fn bill(service: &BillingService, record: &DeliveredRecord) -> DeliveryOutcome {
    let Ok(order) = serde_json::from_slice(record.value().unwrap_or_default()) else {
        return DeliveryOutcome::dead_letter("this is not an order");
    };
    match service.bill(&order) {
        Ok(()) => DeliveryOutcome::Ack,
        Err(error) => DeliveryOutcome::nack(error.to_string()),
    }
}

/// Billing at work.
#[derive(Debug)]
pub struct Billing {
    stop: SubscriberShutdownHandle,
    running: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Billing {
    /// Begins to bill what a subscription delivers: customers side by side, the orders of each in their
    /// order.
    pub fn start(client: &Client, subscription: &str, service: &Arc<BillingService>) -> Self {
        let subscriber: Subscriber = client.subscriber(subscription).build();
        let stop = subscriber.shutdown_handle();
        let service = Arc::clone(service);
        let running = tokio::spawn(async move {
            let handled = subscriber.for_each(ByKey(CUSTOMERS_AT_ONCE), move |record| {
                let service = Arc::clone(&service);
                async move { bill(&service, &record) }
            });
            Ok(handled.await?)
        });
        Self { stop, running }
    }

    /// Finishes what it has begun with.
    ///
    /// # Errors
    ///
    /// What it ended with.
    pub async fn stop(self) -> Result<(), Error> {
        self.stop.shutdown(Drain::FinishWithin(PATIENCE));
        self.running.await?
    }
}

/// Orders that are neither billed nor dead, and such that wait for another attempt.
///
/// # Errors
///
/// The broker cannot be asked.
pub async fn backlog(admin: &Admin, subscription: &str) -> Result<(u64, u64), Error> {
    let shown = admin.subscription(subscription).await?;
    let partitions = shown.partitions.iter();
    let counts = partitions.map(|it| (it.lag_records, it.waiting_records));
    Ok(counts.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1)))
}

/// All dead letters, with those that are parked behind them.
///
/// # Errors
///
/// The broker cannot be asked.
pub async fn dead_letters(admin: &Admin, subscription: &str) -> Result<Vec<DeadLetter>, Error> {
    let mut letters = Vec::new();
    let mut list = admin.dead_letters(subscription, &DeadLetterFilter::new(), 1_000);
    while let Some(page) = list.next_page().await? {
        letters.extend(page);
    }
    Ok(letters)
}
