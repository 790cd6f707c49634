//! Dead letters of records that the disk has damaged.

use super::*;
use crate::fetch_damage::damage;
use crate::harness::simulated;

#[tokio::test]
async fn a_damaged_record_stays_with_its_key_and_the_others_go() {
    let (disk, environment) = simulated(1 << 30);
    let broker = TestBroker::start_in(config_without_cache(), environment.clone()).await;
    broker.create("orders", 1).await;
    create(&broker).await;
    for (key, value) in [
        ("a", "first"),
        ("b", "second"),
        ("b", "third"),
        ("c", "fourth"),
    ] {
        publish(&broker, &[(key, value)]).await;
    }
    broker.broker.shutdown().await;
    drop(broker);
    // Everything is settled by a start, and nothing of it is in memory.
    let broker = TestBroker::start_in(config_without_cache(), environment).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(4).await;
    damage(&disk, b"second");
    let ends = [0, 1, 3].map(|offset| {
        let delivery = consumer.has[&(0, offset)].delivery;
        settlement((0, offset), delivery, dead("no such customer"))
    });
    let request = v1::SettleRequest {
        subscription: "billing".to_owned(),
        settlements: ends.to_vec(),
    };
    soon(client(&broker).settle(request)).await.unwrap();
    let moved = letters(&broker, 2).await;
    let values: Vec<_> = moved.iter().map(|(value, _)| value.as_str()).collect();
    assert_eq!(values, ["first", "fourth"]);
    let told = get(&broker).await;
    assert!(!told.dead_letter_problem.is_empty(), "{told:?}");
    assert_eq!(told.partitions[0].parked_keys, 2);
    broker.stop().await;
}
