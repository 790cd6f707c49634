//! Orders of customers.

use serde::{Deserialize, Serialize};
use towpath_client::{Client, Event};

use crate::Error;

/// The topic that orders are in, keyed by customer: the orders of one customer stay in order.
pub const ORDERS_TOPIC: &str = "orders";

/// An order of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who ordered.
    pub customer: String,
    /// Which of the customer's orders it is, from 1.
    pub number: u32,
    /// What it costs.
    pub cents: i64,
    /// What it costs it in, such as `EUR`.
    pub currency: String,
}

/// Makes up orders, of one customer after the other.
pub fn make_orders(customer_count: u32, orders_per_customer: u32) -> Vec<Order> {
    let orders = (1..=orders_per_customer).flat_map(|number| {
        (0..customer_count).map(move |customer| Order {
            customer: format!("customer-{customer}"),
            number,
            cents: i64::from(1_000 + customer),
            currency: "EUR".to_owned(),
        })
    });
    orders.collect()
}

/// Places orders. All of them are on disk when it is done.
///
/// # Errors
///
/// They cannot be written.
pub async fn place(client: &Client, orders: &[Order]) -> Result<(), Error> {
    let producer = client.producer(ORDERS_TOPIC).build();
    for order in orders {
        let event = Event::json("order.placed", order)?.key(order.customer.clone());
        drop(producer.enqueue(event).await?);
    }
    // Waits until all of them are on disk.
    Ok(producer.close().await?)
}
