//! Exactly once from one topic to another: each order becomes one invoice, written together with the ack
//! of the order.

use towpath_client::{
    Client, Commit, CommitError, DeliveredRecord, ErrorReason, Event, NewSubscription, Start,
    Subscriber,
};

use crate::Error;
use crate::billing::{ORDERS_TOPIC, Order};

/// The topic that invoices are in, keyed by customer like the orders.
pub const INVOICES_TOPIC: &str = "invoices";

/// The subscription of who writes invoices, from `start` on.
pub fn invoicing(name: &str, start: Start) -> NewSubscription {
    NewSubscription::new(name, ORDERS_TOPIC, start)
}

/// Writes an invoice for each order that the subscription delivers, until the subscriber is shut down.
///
/// # Errors
///
/// What cannot be gone on with. Orders that were begun with are delivered again.
pub async fn transform(client: &Client, mut orders: Subscriber) -> Result<(), Error> {
    while let Some(order) = orders.next_delivery().await? {
        let invoice = invoice_of(&order);
        let commit = match invoice {
            Ok(invoice) => client.commit().append(INVOICES_TOPIC, invoice).ack(order),
            Err(error) => client.commit().dead_letter(order, error.to_string()),
        };
        send(commit).await?;
    }
    Ok(())
}

/// Lets a commit happen once, also when its answer is lost.
async fn send(mut commit: Commit) -> Result<(), CommitError> {
    while let Err(failed) = commit.send().await {
        match failed.error().reason() {
            _ if failed.may_have_happened() => commit = failed.into_commit(),
            // It has happened, or the order comes again: here or with another worker.
            Some(ErrorReason::LeaseExpired) => return Ok(()),
            _ => return Err(failed),
        }
    }
    Ok(())
}

fn invoice_of(record: &DeliveredRecord) -> Result<Event, Error> {
    let order: Order = record.json()?;
    let invoice = Event::json("invoice.written", &order)?;
    Ok(invoice.key(order.customer))
}
