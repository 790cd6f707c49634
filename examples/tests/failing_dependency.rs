//! Billing loses nothing while the service is down, gives up only what it does not take, and bills each
//! order once, in its customer's order, whatever dies when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use towpath_client::{DeadLetterKind, RedriveDeadLetters};
use towpath_examples::InProcess;
use towpath_examples::billing::{
    Billing, BillingService, ORDERS_TOPIC, backlog, dead_letters, make_orders, place, subscription,
};

const CUSTOMERS: u32 = 20;
const ORDERS_PER_CUSTOMER: u32 = 15;
const NAME: &str = "billing";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_gives_up_nothing_and_a_poison_order_only_its_customer() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let InProcess { broker, client } = InProcess::start(&data_dir).await.unwrap();
    let admin = client.admin();
    admin.ensure_topic(ORDERS_TOPIC).await.unwrap();
    admin.create_subscription(subscription(NAME)).await.unwrap();
    let mut orders = make_orders(CUSTOMERS, ORDERS_PER_CUSTOMER);
    // The third order of customer 7.
    let bad = &mut orders[(2 * CUSTOMERS + 7) as usize];
    "XYZ".clone_into(&mut bad.currency);
    place(&client, &orders).await.unwrap();

    let service = Arc::new(BillingService::new());
    service.set_down(true);
    let billing = Billing::start(&client, NAME, &service);
    // Many times what an order would have in attempts.
    let called_enough = async {
        while service.call_count() < 500 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, called_enough).await.unwrap();
    assert!(
        dead_letters(&admin, NAME).await.unwrap().is_empty(),
        "an outage"
    );
    billing.stop().await.unwrap();
    client.close().await;
    broker.shutdown().await;
    drop(broker);

    let InProcess { broker, client } = InProcess::start(&data_dir).await.unwrap();
    let admin = client.admin();
    service.set_down(false);
    let billing = Billing::start(&client, NAME, &service);
    let settled = async { while backlog(&admin, NAME).await.unwrap().0 > 0 {} };
    timeout(PATIENCE, settled).await.unwrap();
    let letters = dead_letters(&admin, NAME).await.unwrap();
    assert_eq!(
        letters.len(),
        ORDERS_PER_CUSTOMER as usize - 2,
        "{letters:?}"
    );
    assert_eq!(letters[0].kind, DeadLetterKind::Dead);
    let why = &letters[0].failures.last().unwrap().reason;
    assert_eq!(why, "billing does not know XYZ");
    assert_eq!(service.billed_count(), orders.len() - letters.len());

    service.learn("XYZ");
    let redriven = admin.redrive(RedriveDeadLetters::new(NAME)).finish().await;
    assert_eq!(redriven.unwrap().done_count, letters.len() as u64);
    let all_billed = async {
        while service.billed_count() < orders.len() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all_billed).await.unwrap();
    billing.stop().await.unwrap();
    let each: Vec<u32> = (1..=ORDERS_PER_CUSTOMER).collect();
    let customers = (0..CUSTOMERS).map(|it| (format!("customer-{it}"), each.clone()));
    assert_eq!(service.billed(), customers.collect::<BTreeMap<_, _>>());
    assert!(
        dead_letters(&admin, NAME).await.unwrap().is_empty(),
        "all gone"
    );
    broker.shutdown().await;
}
