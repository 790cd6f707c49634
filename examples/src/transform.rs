//! Exactly once from one topic to another: each order becomes one invoice, written together with the ack
//! of the order.

use towpath_client::{
    ByKey, Commit, DeliveredRecord, DeliveryOutcome, Event, NewSubscription, Start, Subscriber,
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
pub async fn transform(orders: Subscriber) -> Result<(), Error> {
    let handler = async |order: DeliveredRecord, commit: Commit| match invoice_of(&order) {
        Ok(invoice) => (commit.append(INVOICES_TOPIC, invoice), DeliveryOutcome::Ack),
        Err(error) => (commit, DeliveryOutcome::dead_letter(error.to_string())),
    };
    orders.for_each_commit(ByKey(16), handler).await?;
    Ok(())
}

fn invoice_of(record: &DeliveredRecord) -> Result<Event, Error> {
    let order: Order = record.json()?;
    let invoice = Event::json("invoice.written", &order)?;
    Ok(invoice.key(order.customer))
}
