//! Connections that break, brokers that stop, are silent, are others.

use futures_util::StreamExt;
use tokio::time::timeout;
use towpath_client::ErrorKind;

use super::*;
use crate::fake::{OnFetch, OnSettle};

#[tokio::test(start_paused = true)]
async fn cuts_lose_no_record_and_no_ack() {
    let values: Vec<_> = (0..60).map(|number| format!("{number:02}")).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let (broker, mut subscriber) = subscriber(&values).await;
    broker.on_fetches([OnFetch::Send, OnFetch::Cut].into_iter().cycle().take(12));
    let faults = [OnSettle::SettleAndCut, OnSettle::Answer, OnSettle::Cut];
    look(&broker, |it| {
        it.on_settle.extend(faults.into_iter().cycle().take(30));
    });
    let done = wait_until(&broker, "all is done", FakeSubscription::is_done);
    let handling = async {
        loop {
            next(&mut subscriber).await.ack();
        }
    };
    tokio::select! {
        () = done => {}
        () = handling => {}
    }
    let settled = settled(&broker);
    assert_eq!(settled.len(), 60, "each took effect once: {settled:?}");
    let opened = look(&broker, |it| it.opened.clone());
    assert!(opened.len() > 10, "{} streams", opened.len());
    assert!(opened.iter().all(|id| *id == opened[0]), "one consumer");
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_is_settled_over_the_next_connection() {
    let (broker, mut subscriber) = subscriber(&["a", "b"]).await;
    let delivery = next(&mut subscriber).await;
    wait_until(&broker, "beginning", |it| it.said.contains_key("start")).await;
    broker.cut();
    delivery.confirmed_ack().await.unwrap();
    next(&mut subscriber).await.confirmed_ack().await.unwrap();
    assert_eq!(look(&broker, |it| it.opened.len()), 2, "streams");
}

#[tokio::test(start_paused = true)]
async fn a_nack_whose_answer_was_lost_counts_once() {
    let (broker, mut subscriber) = subscriber(&["a"]).await;
    look(&broker, |it| it.on_settle.push_back(OnSettle::SettleAndCut));
    next(&mut subscriber).await.nack(None, "failed");
    let again = next(&mut subscriber).await;
    assert_eq!(again.attempt(), 2, "one failure");
    subscriber.confirmed().await.unwrap();
    assert_eq!(settled(&broker), ["nack 0/0 failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_broker_knows_no_lease_and_delivers_again() {
    let (broker, mut subscriber) = subscriber(&["a", "b"]).await;
    let delivery = next(&mut subscriber).await;
    broker.go_down();
    look(&broker, FakeSubscription::forget_leases);
    let acking = delivery.confirmed_ack();
    broker.go_up();
    let error = acking.await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::LeaseExpired), "{error}");
    for value in ["a", "b"] {
        let again = next(&mut subscriber).await;
        assert_eq!(
            (again.value_str(), again.attempt()),
            (Some(value), 1),
            "again"
        );
        again.confirmed_ack().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_drains_hears_the_rest_and_gets_back_what_waits() {
    let (broker, mut subscriber) = subscriber(&["a", "b", "c"]).await;
    let delivery = next(&mut subscriber).await;
    broker.drain(true);
    wait_until(&broker, "giving back", |it| it.leased_count() == 1).await;
    delivery.confirmed_ack().await.unwrap();
    broker.drain(false);
    broker.cut();
    for value in ["b", "c"] {
        let delivery = next(&mut subscriber).await;
        assert_eq!(delivery.value_str(), Some(value), "goes on");
        delivery.ack();
    }
    subscriber.confirmed().await.unwrap();
    assert!(look(&broker, |it| it.is_done()), "all of them");
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_left_after_15_seconds() {
    let (broker, mut subscriber) = subscriber(&["a"]).await;
    broker.on_fetches([OnFetch::FallSilent]);
    let start = Instant::now();
    let delivery = timeout(Duration::from_mins(5), next(&mut subscriber))
        .await
        .unwrap();
    let waited = start.elapsed().as_secs_f64();
    assert!((15.0..17.0).contains(&waited), "{waited} s");
    delivery.ack();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_told_once_and_ends_the_subscriber() {
    for reason in [
        ErrorReason::SubscriptionNotFound,
        ErrorReason::SubscriptionBusy,
    ] {
        let (broker, mut subscriber) = subscriber(&["a"]).await;
        broker.state().refuse_opening = Some(reason);
        let refused = timeout(Duration::from_mins(5), subscriber.next()).await;
        let refused = refused.expect("it does not go on").unwrap().unwrap_err();
        assert_eq!(refused.reason(), Some(reason), "{refused}");
        assert!(subscriber.next().await.is_none(), "ended");
        subscriber.confirmed().await.unwrap();
        subscriber.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_out_of_reach_is_given_up_when_asked_for() {
    let (broker, client) = broker(SubscriptionMode::KeyShared).await;
    broker.append("orders", 0, &["a"]);
    let patience = Duration::from_secs(30);
    let mut subscriber = client.subscriber(NAME).give_up_after(patience).build();
    let delivery = next(&mut subscriber).await;
    broker.go_down();
    let start = Instant::now();
    let acking = delivery.confirmed_ack();
    let error = subscriber.next_delivery().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let waited = start.elapsed().as_secs();
    assert!((30..35).contains(&waited), "{waited} s");
    let error = acking.await.unwrap_err();
    assert!(error.may_have_happened(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_broker_at_the_url_is_not_consumed_from() {
    let (broker, mut subscriber) = subscriber(&["a"]).await;
    next(&mut subscriber).await.ack();
    broker.replace();
    let refused = timeout(Duration::from_mins(1), subscriber.next_delivery()).await;
    let refused = refused.expect("it does not go on").unwrap_err();
    let reason = refused.reason();
    assert_eq!(reason, Some(ErrorReason::SubscriptionNotFound), "{refused}");
}
