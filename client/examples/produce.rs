//! Writes events: one that waits until it is on disk, then many at once.
//!
//! `cargo run -p towpath-client --example produce -- [TOPIC] [COUNT]` with a broker at `TOWPATH_URL`
//! (default `http://127.0.0.1:7600`).
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use towpath_client::{Client, Event, NewTopic};

#[derive(serde::Serialize)]
struct OrderPlaced {
    order: u64,
    total: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    let count = arguments.next().map_or(Ok(10_000), |count| count.parse())?;

    let client = Client::from_env()?;
    client.admin().ensure_topic(NewTopic::new(&topic)).await?;
    let orders = client.producer(&topic).build();

    // On disk when it returns.
    let event = Event::json(
        "order.placed",
        &OrderPlaced {
            order: 0,
            total: 990,
        },
    )?;
    let position = orders.send(event.key("0")).await?;
    println!(
        "{topic}/{}@{} LSN {}",
        position.partition, position.offset, position.lsn
    );

    // Waits for room only; the receipts tell when each is on disk.
    let mut receipts = Vec::new();
    for order in 1..count {
        let event = Event::json("order.placed", &OrderPlaced { order, total: 1 })?;
        receipts.push(orders.enqueue(event.key(order.to_string())).await?);
    }
    orders.flush().await?;
    let mut last = position;
    for receipt in receipts {
        last = receipt.await?;
    }
    println!("{count} events up to LSN {}", last.lsn);
    orders.close().await?;
    Ok(())
}
