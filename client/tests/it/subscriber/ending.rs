//! Shutting down: finishing what was begun or leaving it to others, and never blocking.

use tokio::time::timeout;
use towpath_client::{ByKey, DeliveryOutcome, Drain, ErrorKind, SubscriberShutdownHandle};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Handlers that take so long over one record of three, until the subscriber is shut down with `drain`.
async fn stop(
    broker: &FakeBroker,
    subscriber: Subscriber,
    took: Duration,
    drain: Drain,
) -> Duration {
    let handle = subscriber.shutdown_handle();
    let handling = subscriber.for_each(ByKey(1), move |_| async move {
        sleep(took).await;
        DeliveryOutcome::Ack
    });
    let stopping = async {
        wait_until(broker, "beginning", |it| it.said.contains_key("start")).await;
        let stopped_at = Instant::now();
        handle.shutdown(drain);
        if matches!(drain, Drain::FinishWithin(_)) {
            wait_until(broker, "giving back", |it| it.leased_count() == 1).await;
            assert!(stopped_at.elapsed() < Duration::from_secs(1), "at once");
        }
        stopped_at
    };
    let (outcome, stopped_at) = tokio::join!(handling, stopping);
    outcome.unwrap();
    stopped_at.elapsed()
}

fn ends(broker: &FakeBroker) -> (u32, usize) {
    look(broker, |it| (it.left_count, it.leased_count()))
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_is_finished_and_the_rest_given_back_at_once() {
    let (broker, subscriber) = subscriber(&["a", "b", "c"]).await;
    let took = stop(
        &broker,
        subscriber,
        Duration::from_secs(20),
        Drain::FinishWithin(PATIENCE),
    );
    let took = took.await;
    assert!((19..=20).contains(&took.as_secs()), "{took:?}");
    assert_eq!(settled(&broker), ["ack 0/0"]);
    assert_eq!(ends(&broker), (1, 0), "it left");
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_left_to_others() {
    let (broker, subscriber) = subscriber(&["a", "b", "c"]).await;
    let drain = Drain::FinishWithin(PATIENCE);
    let took = stop(&broker, subscriber, Duration::from_hours(1), drain).await;
    assert_eq!(took.as_secs(), 30, "{took:?}");
    assert!(settled(&broker).is_empty(), "no failure");
    assert_eq!(ends(&broker), (1, 0), "it left");
}

#[tokio::test(start_paused = true)]
async fn stopping_now_leaves_everything_to_others() {
    let (broker, subscriber) = subscriber(&["a", "b", "c"]).await;
    let took = stop(&broker, subscriber, Duration::from_hours(1), Drain::StopNow).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(settled(&broker).is_empty(), "no failure");
    assert_eq!(ends(&broker), (1, 0), "it left");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_and_what_was_taken_from_it_can_be_settled() {
    let (broker, mut subscriber) = subscriber(&["a", "b", "c"]).await;
    let first = next(&mut subscriber).await;
    let second = next(&mut subscriber).await;
    let handle: SubscriberShutdownHandle = subscriber.shutdown_handle();
    handle.shutdown(Drain::FinishWithin(PATIENCE));
    assert!(subscriber.next_delivery().await.unwrap().is_none(), "ended");
    // In the background, also without the subscriber.
    drop(subscriber);
    first.confirmed_ack().await.unwrap();
    second.ack();
    wait_until(&broker, "leaving", |it| it.left_count == 1).await;
    assert_eq!(settled(&broker), ["ack 0/0", "ack 0/1"]);
    assert_eq!(ends(&broker), (1, 0), "with the rest");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_is_dropped_leaves_when_what_it_said_is_confirmed() {
    let (broker, mut subscriber) = subscriber(&["a", "b", "c"]).await;
    next(&mut subscriber).await.ack();
    let held = next(&mut subscriber).await;
    drop(subscriber);
    wait_until(&broker, "leaving", |it| it.left_count == 1).await;
    let error = held.confirmed_ack().await.unwrap_err();
    assert!(error.has_no_side_effects(), "{error}");
    assert_eq!(settled(&broker), ["ack 0/0"]);
    assert_eq!(ends(&broker), (1, 0), "what waited and what was begun");
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_the_broker_but_not_for_ever() {
    let (broker, mut subscriber) = subscriber(&["a", "b"]).await;
    let delivery = next(&mut subscriber).await;
    wait_until(&broker, "beginning", |it| it.said.contains_key("start")).await;
    broker.hold_answers(true);
    delivery.ack();
    let closing = tokio::spawn(subscriber.close());
    sleep(Duration::from_secs(3)).await;
    assert!(!closing.is_finished(), "not confirmed");
    broker.hold_answers(false);
    closing.await.unwrap();
    assert_eq!(settled(&broker), ["ack 0/0"]);

    let (broker, mut subscriber) = super::subscriber(&["a"]).await;
    next(&mut subscriber).await.ack();
    broker.go_down();
    let closing = timeout(Duration::from_secs(6), subscriber.close());
    closing.await.expect("without a broker it gives up");
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_was_not_sent_before_an_outage_is_sent_after_it() {
    let (broker, mut subscriber) = subscriber(&["a"]).await;
    let delivery = next(&mut subscriber).await;
    wait_until(&broker, "beginning", |it| it.said.contains_key("start")).await;
    broker.go_down();
    delivery.ack();
    let closing = tokio::spawn(subscriber.close());
    sleep(Duration::from_secs(2)).await;
    broker.go_up();
    closing.await.unwrap();
    assert_eq!((settled(&broker).len(), ends(&broker)), (1, (1, 0)), "left");
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_say_does_not_wait_for_a_broker() {
    let (broker, mut subscriber) = subscriber(&["a"]).await;
    next(&mut subscriber).await.confirmed_ack().await.unwrap();
    broker.go_down();
    let start = Instant::now();
    subscriber.close().await;
    assert!(start.elapsed() < Duration::from_secs(1), "{start:?}");
}

#[tokio::test(start_paused = true)]
async fn handlers_that_are_dropped_have_not_failed() {
    for drain in [None, Some(Drain::FinishWithin(Duration::from_hours(1)))] {
        let (broker, subscriber) = subscriber(&["a", "b"]).await;
        let handle = subscriber.shutdown_handle();
        let handling = subscriber.for_each(ByKey(2), |_| async {
            std::future::pending::<()>().await;
            DeliveryOutcome::Ack
        });
        let dropping = async {
            wait_until(&broker, "beginning", |it| it.begun_count() == 2).await;
            drain.into_iter().for_each(|drain| handle.shutdown(drain));
            sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            _ended = handling => panic!("they take for ever"),
            () = dropping => {}
        }
        wait_until(&broker, "leaving", |it| it.left_count == 1).await;
        assert!(settled(&broker).is_empty(), "{:?}", settled(&broker));
        assert_eq!(ends(&broker), (1, 0), "others get it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_in_its_time_although_the_connection_has_ended_before() {
    let (broker, client) = broker(SubscriptionMode::KeyShared).await;
    broker.append_keyed("orders", &[("a", "a")]);
    let subscriber = client
        .subscriber(NAME)
        .give_up_after(Duration::from_secs(10))
        .build();
    let handle = subscriber.shutdown_handle();
    let handling = subscriber.for_each(ByKey(2), |_| async {
        std::future::pending::<()>().await;
        DeliveryOutcome::Ack
    });
    let stopping = async {
        wait_until(&broker, "beginning", |it| it.begun_count() == 1).await;
        broker.go_down();
        sleep(Duration::from_mins(1)).await;
        handle.shutdown(Drain::FinishWithin(Duration::from_hours(1)));
        sleep(Duration::from_secs(1)).await;
        // Patience is lost.
        handle.shutdown(Drain::FinishWithin(PATIENCE));
        Instant::now()
    };
    let both = async { tokio::join!(handling, stopping) };
    let ended = timeout(Duration::from_hours(2), both).await;
    let (outcome, stopped_at) = ended.expect("handlers that never end are dropped");
    outcome.unwrap_err();
    assert_eq!(stopped_at.elapsed().as_secs(), PATIENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn handling_fails_if_what_was_said_last_is_never_confirmed() {
    let (broker, subscriber) = subscriber(&["a"]).await;
    let handle = subscriber.shutdown_handle();
    let handling = subscriber.for_each(ByKey(1), |_| async {
        sleep(Duration::from_secs(1)).await;
        DeliveryOutcome::Ack
    });
    let stopping = async {
        wait_until(&broker, "beginning", |it| it.begun_count() == 1).await;
        broker.go_down();
        handle.shutdown(Drain::FinishWithin(PATIENCE));
    };
    let (outcome, ()) = tokio::join!(handling, stopping);
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.may_have_happened(), "{error}");
}
