//! Each order is billed exactly once, though the relay and whoever bills are killed after each of their steps,
//! and the broker as well.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use towpath_client::{Client, Start};
use towpath_examples::outbox::{Ledger, SHOP_TOPIC, Shop, prepare};
use towpath_tests::process::BrokerSetup;

const ORDERS: i64 = 2;
/// Steps that a part takes for one order.
const STEPS: u32 = 3;

/// Runs a part until it has died after so many steps; returns whether it came to its end before.
fn live(part: &str, database: &Path, url: &str, steps: u32) -> io::Result<bool> {
    let mut life = Command::new(env!("CARGO_BIN_EXE_outbox"));
    life.arg(part).arg(database);
    life.args(["--die-after", &steps.to_string()]);
    life.env("TOWPATH_URL", url);
    // An abort is told by the shell that it was begun from, not here.
    Ok(life.stdout(Stdio::null()).status()?.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_is_billed_once_whoever_dies_when() {
    let folder = tempfile::tempdir().unwrap();
    let setup = BrokerSetup::new(folder.path().join("data"));
    let mut broker = setup.start();
    let client = Client::connect(setup.url()).unwrap();
    prepare(&client).await.unwrap();
    let (shop, ledger) = (
        folder.path().join("shop.db"),
        folder.path().join("ledger.db"),
    );
    let mut database = Shop::open(&shop).unwrap();
    let expected: Vec<_> = (1..=ORDERS)
        .map(|cents| ("ada".to_owned(), cents))
        .collect();
    for (customer, cents) in &expected {
        database.place(customer, *cents).unwrap();
    }
    drop(database);
    let url = setup.url();
    for (part, database) in [("relay", &shop), ("bill", &ledger)] {
        let mut lives = 0;
        // The first step again and again would get nowhere: each life comes further than the last.
        while !live(part, database, &url, lives % (STEPS + 1) + 1).unwrap() {
            lives += 1;
            assert!(lives < 100, "{part} gets nowhere");
            if lives == STEPS {
                broker.kill();
                broker = setup.start();
            }
        }
        assert!(lives >= STEPS, "{part} died after each step: {lives}");
    }
    let mut reader = client.reader([SHOP_TOPIC]).from(Start::Beginning).build();
    let mut sent = Vec::new();
    while let Some(record) = reader.next_record().await.unwrap() {
        sent.push(record.ce_id().unwrap().to_owned());
    }
    let ids: Vec<_> = (1..=ORDERS).map(|id| id.to_string()).collect();
    assert_eq!(sent, ids, "each event once");
    let invoices = Ledger::open(&ledger).unwrap().invoices().unwrap();
    assert_eq!(invoices, expected, "each order once, in order");
}
