//! Orders are billed by a service that is down for a while: nothing is lost, nothing is given up. Then
//! one order comes that it does not take: that one goes to the dead letters and its customer's later ones
//! wait behind it, everybody else is billed; it is looked at, the service learns, and all of it is
//! redriven in order: `cargo run -p towpath-examples --bin failing_dependency`.
//!
//! Uses the broker at `TOWPATH_URL`, or one in its own process if that is not set.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use towpath_client::{Admin, Client, DeadLetterKind, RedriveDeadLetters};
use towpath_examples::billing::{
    Billing, BillingService, ORDERS_TOPIC, backlog, dead_letters, make_orders, place, subscription,
};
use towpath_examples::{Error, InProcess};

const CUSTOMERS: u32 = 50;
const ORDERS_PER_CUSTOMER: u32 = 40;
const DOWN_TIME: Duration = Duration::from_secs(5);
/// How often it is looked how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

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
    // Each run has a subscription of its own, so that it may be repeated on the same broker.
    let name = format!("billing-{:08x}", fastrand::u32(..));
    admin.create_subscription(subscription(&name)).await?;
    let service = Arc::new(BillingService::new());
    let billing = Billing::start(client, &name, &service);

    println!("billing is down while orders come");
    service.set_down(true);
    let mut orders = make_orders(CUSTOMERS, ORDERS_PER_CUSTOMER);
    let bad = &mut orders[(CUSTOMERS * ORDERS_PER_CUSTOMER / 2) as usize];
    "XYZ".clone_into(&mut bad.currency);
    let (customer, number) = (bad.customer.clone(), bad.number);
    place(client, &orders).await?;
    sleep(DOWN_TIME).await;
    let (open, waiting) = backlog(&admin, &name).await?;
    let letters = dead_letters(&admin, &name).await?;
    let calls = service.call_count();
    println!(
        "  after {DOWN_TIME:?} and {calls} calls: {open} orders open, {waiting} of them to be tried again, {} dead",
        letters.len()
    );

    println!("it is up again; one order is in a currency that it does not know");
    service.set_down(false);
    until_settled(&admin, &name).await?;
    let billed = service.billed_count();
    println!("  {billed} of {} orders are billed", orders.len());
    let letters = dead_letters(&admin, &name).await?;
    for letter in letters.iter().filter(|it| it.kind == DeadLetterKind::Dead) {
        let (partition, offset) = (letter.partition, letter.offset);
        println!("  dead letter {partition}@{offset}: {}", letter.reason);
        for failure in &letter.failures {
            println!("    {}", failure.reason);
        }
    }
    let parked = letters
        .iter()
        .filter(|it| it.kind == DeadLetterKind::Parked);
    println!(
        "  {} later orders of {customer} wait behind it",
        parked.count()
    );

    println!("billing learns the currency, and the dead letters are redriven");
    service.learn("XYZ");
    let done = admin
        .redrive(RedriveDeadLetters::new(&name))
        .finish()
        .await?;
    println!("  redrove {}", done.done_count);
    while service.billed_count() < orders.len() {
        sleep(LOOK_INTERVAL).await;
    }
    billing.stop().await?;
    for (of, numbers) in service.billed() {
        let expected: Vec<_> = (1..=ORDERS_PER_CUSTOMER).collect();
        if numbers != expected {
            return Err(format!("{of} was billed {numbers:?}").into());
        }
    }
    println!(
        "every order is billed once, in its customer's order, also order {number} of {customer}"
    );
    admin.delete_subscription(name.as_str()).await?;
    Ok(())
}

/// Waits until every order is billed or among the dead letters.
async fn until_settled(admin: &Admin, name: &str) -> Result<(), Error> {
    while backlog(admin, name).await?.0 > 0 {
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}
