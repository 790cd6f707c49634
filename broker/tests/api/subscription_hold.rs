//! What a subscription keeps from retention, on a clock that the test moves.

use towpath_proto::v1;
use towpath_proto::v1::position::Position;
use towpath_proto::v1::settlement::Outcome;
use towpath_proto::wire::receive_response::Response;

use crate::consumer::{Consumer, create, get, nack, publish};
use crate::dead_letter::redrive;
use crate::harness::{all_values, soon, source};
use crate::retention::{HOUR, SECOND, TimedBroker, by_age};
use crate::trim::{before, trim};

fn dead() -> Outcome {
    Outcome::DeadLetter(v1::ToDeadLetters {
        reason: "never".to_owned(),
    })
}

impl TimedBroker {
    async fn letters(&self) -> Vec<String> {
        all_values(&self.broker.read_all(source("billing.dlq")).await)
    }

    /// Waits until so many records are among the dead letters.
    async fn wait_for_letters(&self, count: usize) -> Vec<String> {
        let waiting = async {
            loop {
                let letters = self.letters().await;
                if letters.len() >= count {
                    return letters;
                }
                self.pass(SECOND / 100).await;
            }
        };
        soon(waiting).await
    }

    async fn wait_for_log_start(&self, offset: u64) {
        let waiting = async {
            while self.log_starts().await != [offset] {
                self.pass(SECOND).await;
            }
        };
        soon(waiting).await;
    }
}

impl Consumer {
    /// Hears until it is told of records that are gone.
    pub(crate) async fn hear_of_gap(&mut self) -> v1::DeliveryGap {
        loop {
            match self.next().await {
                Response::Gap(gap) => return gap,
                other => drop(self.take(other)),
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_is_parked_under_a_retention_of_a_minute_is_kept_whole_and_in_order() {
    let timed = TimedBroker::with_topic(1, by_age(60_000)).await;
    create(&timed.broker).await;
    let mut consumer = Consumer::open(&timed.broker, 1).await;
    publish(
        &timed.broker,
        &[("a", "1"), ("b", "other"), ("a", "2"), ("a", "3")],
    )
    .await;
    consumer.receive_values(&["1", "other", "2", "3"]).await;
    assert!(consumer.settle((0, 0), dead()).await);
    consumer.receive_values(&["other"]).await;
    consumer.ack_all().await;
    timed.wait_for_letters(3).await;
    timed.pass(120 * SECOND).await;
    timed.wait_for_log_start(4).await;
    publish(&timed.broker, &[("a", "4"), ("a", "5")]).await;
    timed.wait_for_letters(5).await;
    timed.pass(1000 * HOUR).await;
    timed.wait_for_log_start(6).await;
    drop(consumer);
    let timed = timed.restart_after(23 * HOUR).await;
    timed.pass(1000 * HOUR).await;
    assert_eq!(timed.letters().await, ["1", "2", "3", "4", "5"]);
    let shown = get(&timed.broker).await;
    assert_eq!(shown.partitions[0].parked_keys, 1);
    assert_eq!(shown.partitions[0].skipped_records, 0);

    let request = v1::RedriveDeadLettersRequest {
        subscription: "billing".to_owned(),
        ..v1::RedriveDeadLettersRequest::default()
    };
    let (done, _) = redrive(&timed.broker, request).await.unwrap();
    assert_eq!(done.redriven_count, 5, "{done:?}");
    // One at a time, so that what comes is in order.
    let mut consumer = Consumer::try_open(&timed.broker, 3).await.unwrap();
    for expected in ["1", "2", "3", "4", "5"] {
        consumer.credit(1).await;
        consumer.receive_values(&[expected]).await;
        consumer.ack_all().await;
    }
    let shown = get(&timed.broker).await;
    assert_eq!(shown.partitions[0].dead_letters, 0);
    assert_eq!(shown.partitions[0].parked_keys, 0);
}

#[tokio::test]
async fn what_is_not_settled_outlives_its_retention_by_seven_days_and_the_delivered_for_ever() {
    let timed = TimedBroker::with_topic(1, by_age(60_000)).await;
    create(&timed.broker).await;
    publish(
        &timed.broker,
        &[("a", "1"), ("b", "2"), ("c", "3"), ("a", "4")],
    )
    .await;
    let mut consumer = Consumer::open(&timed.broker, 1).await;
    consumer.receive_values(&["1", "2", "3", "4"]).await;
    assert!(consumer.settle((0, 1), nack("down")).await);
    drop(consumer);
    publish(&timed.broker, &[("d", "never delivered")]).await;
    timed.pass(24 * HOUR).await;
    let shown = get(&timed.broker).await;
    assert_eq!(timed.log_starts().await, [0]);
    let partition = &shown.partitions[0];
    assert!(partition.held_bytes > 0 && partition.held_bytes == shown.held_bytes);
    assert!((86_300_000..86_400_000).contains(&partition.held_ms));
    assert_eq!((shown.held_percent, shown.hold_warning.as_str()), (14, ""));
    timed.pass(5 * 24 * HOUR).await;
    let shown = get(&timed.broker).await;
    assert_eq!(shown.held_percent, 85);
    assert!(shown.hold_warning.contains("85 %"), "{shown:?}");
    // It begins with the first record, so that it has had it when the time is over.
    let mut consumer = Consumer::try_open(&timed.broker, 2).await.unwrap();
    consumer.credit(1).await;
    consumer.receive(1).await;
    timed.pass(24 * HOUR + 120 * SECOND).await;
    let gap = consumer.hear_of_gap().await;
    let had = consumer.values();
    assert_eq!(had, Vec::<&str>::new(), "it has lost it");
    assert_eq!(gap.reason(), v1::GapReason::Trimmed);
    let letters = timed.wait_for_letters(2).await;
    timed.wait_for_log_start(5).await;
    let shown = get(&timed.broker).await;
    let skipped = shown.partitions[0].skipped_records;
    assert_eq!(gap.records, skipped);
    assert_eq!(letters.len() as u64 + skipped, 5, "{letters:?}");
    assert!(
        letters.contains(&"2".to_owned()),
        "it had failed: {letters:?}"
    );
    assert!(!letters.contains(&"never delivered".to_owned()));
    assert_eq!((shown.held_bytes, shown.held_percent), (0, 0));
    let timed = timed.restart_after(HOUR).await;
    let shown = get(&timed.broker).await;
    assert_eq!(shown.partitions[0].skipped_records, skipped, "durable");
}

#[tokio::test]
async fn dead_letters_at_their_byte_cap_leave_records_in_the_source_and_say_so() {
    let timed = TimedBroker::with_topic(1, by_age(60_000)).await;
    create(&timed.broker).await;
    let cap = v1::UpdateTopicRequest {
        name: "billing.dlq".to_owned(),
        config: Some(v1::TopicConfig {
            retention_bytes: Some(1),
            ..v1::TopicConfig::default()
        }),
        ..v1::UpdateTopicRequest::default()
    };
    let updated = soon(timed.broker.topics().update_topic(cap.clone())).await;
    updated.unwrap();
    publish(&timed.broker, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let mut consumer = Consumer::open(&timed.broker, 1).await;
    consumer.receive(3).await;
    assert!(consumer.settle((0, 0), dead()).await);
    timed.wait_for_letters(1).await;
    assert!(consumer.settle((0, 1), dead()).await);
    consumer.ack_all().await;
    let told = async {
        loop {
            let shown = get(&timed.broker).await;
            if !shown.dead_letter_problem.is_empty() {
                return shown;
            }
        }
    };
    let shown = soon(told).await;
    let problem = &shown.dead_letter_problem;
    assert!(problem.contains("bytes and may hold 1"), "{problem}");
    assert_eq!(shown.partitions[0].waiting_records, 1);
    timed.pass(HOUR).await;
    assert_eq!(timed.letters().await, ["1"], "nothing goes by bytes either");
    assert_eq!(timed.log_starts().await, [0], "held");
    let wide = v1::UpdateTopicRequest {
        config: Some(v1::TopicConfig {
            retention_bytes: Some(1 << 30),
            ..v1::TopicConfig::default()
        }),
        ..cap
    };
    soon(timed.broker.topics().update_topic(wide))
        .await
        .unwrap();
    timed.pass(5 * SECOND).await;
    assert_eq!(timed.wait_for_letters(2).await, ["1", "2"]);
    timed.wait_for_log_start(3).await;
    assert_eq!(get(&timed.broker).await.dead_letter_problem, "");
}

#[tokio::test]
async fn what_a_user_trims_is_gone_for_consumers_too_and_counted() {
    let timed = TimedBroker::with_topic(1, v1::TopicConfig::default()).await;
    create(&timed.broker).await;
    publish(
        &timed.broker,
        &[("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")],
    )
    .await;
    let mut consumer = Consumer::open(&timed.broker, 1).await;
    consumer.receive_values(&["1", "2", "3", "4"]).await;
    let later = Outcome::Nack(v1::Nack {
        delay_ms: Some(3_600_000),
        reason: "later".to_owned(),
    });
    assert!(consumer.settle((0, 0), later).await);
    consumer.receive_values(&["2", "4"]).await;
    let cut = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        ..before(Position::Offset(2))
    };
    trim(&timed.broker, cut).await;
    let gap = consumer.hear_of_gap().await;
    let range = gap.range.unwrap();
    assert_eq!((range.start, range.end, gap.records), (0, 2, 2));
    consumer.receive_values(&["3", "4"]).await;
    consumer.ack_all().await;
    let shown = get(&timed.broker).await;
    let partition = &shown.partitions[0];
    assert_eq!(
        (partition.skipped_records, partition.waiting_records),
        (2, 0)
    );
    assert_eq!(partition.lag_records, 0);
    assert_eq!(timed.letters().await, Vec::<String>::new());
}
