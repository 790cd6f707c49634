//! Orders become invoices, exactly one each, while workers come and go: `cargo run -p towpath-examples
//! --bin transform`.
//!
//! Uses the broker at `TOWPATH_URL`, or one in its own process if that is not set.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;
use towpath_client::{Client, Start};
use towpath_examples::billing::{ORDERS_TOPIC, Order, backlog, make_orders, place};
use towpath_examples::transform::{INVOICES_TOPIC, invoicing, transform};
use towpath_examples::{Error, InProcess};

const CUSTOMERS: u32 = 50;
const ORDERS_PER_CUSTOMER: u32 = 40;
/// How long a worker lives.
const LIFE: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    if std::env::var_os("TOWPATH_URL").is_some() {
        return Box::pin(run(&Client::from_env()?)).await;
    }
    let InProcess { broker, client } = InProcess::start(&folder.path().join("data")).await?;
    let done = Box::pin(run(&client)).await;
    client.close().await;
    broker.shutdown().await;
    done
}

async fn run(client: &Client) -> Result<(), Error> {
    let admin = client.admin();
    admin.ensure_topic(ORDERS_TOPIC).await?;
    admin.ensure_topic(INVOICES_TOPIC).await?;
    // Each run has a subscription of its own, and starts behind the orders of the runs before.
    let name = format!("invoicing-{:08x}", fastrand::u32(..));
    admin
        .create_subscription(invoicing(&name, Start::End))
        .await?;
    let end = client.reader([INVOICES_TOPIC]).from(Start::End).follow();
    let mut invoices = end.build();

    println!("placing {} orders", CUSTOMERS * ORDERS_PER_CUSTOMER);
    place(client, &make_orders(CUSTOMERS, ORDERS_PER_CUSTOMER)).await?;
    let mut workers = 0;
    while backlog(&admin, &name).await?.0 > 0 {
        let subscriber = client.subscriber(&name).build();
        let working = tokio::spawn(transform(subscriber));
        workers += 1;
        sleep(LIFE).await;
        // It may be anywhere: before it has written, or before it knows that it has.
        working.abort();
    }

    let mut counts: BTreeMap<(String, u32), u32> = BTreeMap::new();
    while counts.len() < (CUSTOMERS * ORDERS_PER_CUSTOMER) as usize {
        let Some(invoice) = invoices.next_record().await? else {
            break;
        };
        let Order {
            customer, number, ..
        } = invoice.json()?;
        *counts.entry((customer, number)).or_default() += 1;
    }
    let twice = counts.values().filter(|count| **count > 1).count();
    println!(
        "{workers} workers, one after the other killed: {} invoices, {twice} of them twice",
        counts.len()
    );
    Ok(())
}
