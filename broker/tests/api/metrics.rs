//! What a scrape tells: everything that is documented and nothing else, and the right numbers.

use std::collections::{BTreeMap, BTreeSet};

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use towpath_proto::v1::group_service_client::GroupServiceClient;
use towpath_proto::v1::position::Position;
use towpath_proto::wire::ProduceBatch;

use crate::consumer::{Consumer, ack, client, create, create_as, nack, publish, wish};
use crate::gated_disk::gated_broker;
use crate::group_member::Member;
use crate::harness::{TestBroker, batch_of, encode, refusal, soon, source};
use crate::scrape::{Scrape, scraped_config};
use crate::trim::{before, trim};

/// The page that tells people what each series means.
const PAGE: &str = include_str!("../../../docs/metrics.md");

/// A broker with records of "orders" in four partitions, three in each, of which the group "billing"
/// has committed the first of each.
async fn with_load() -> (TestBroker, Member) {
    let broker = TestBroker::start_with(scraped_config()).await;
    broker.create("orders", 4).await;
    for partition in 0..4 {
        broker.publish("orders", partition, &["a", "b", "c"]).await;
    }
    let mut member = Member::join(&broker, 1).await;
    member.owns(4).await;
    for partition in 0..4 {
        member.commit(partition, 1).await;
    }
    create(&broker).await;
    (broker, member)
}

/// Kind and labels of series, by name.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

/// The series in the tables of the page.
fn documented() -> Families {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `towpath_"));
    let rows = rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, unit, meaning, _] = cells[..] else {
            panic!("a row of the table: {row}");
        };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{row}");
        let labels = labels.split(", ").filter(|label| *label != "-");
        let labels = labels.map(|label| label.trim_matches('`').to_owned());
        let name = name.trim_matches('`').to_owned();
        (name, (kind.to_owned(), labels.collect()))
    });
    rows.collect()
}

#[tokio::test]
async fn every_series_is_documented_and_every_documented_one_exists() {
    let (broker, _member) = with_load().await;
    broker.read_all(source("orders")).await;
    let mut scrape = Scrape::of(&broker).await;
    for (name, (kind, labels)) in &mut scrape.families {
        if kind == "histogram" {
            assert!(labels.remove("le"), "buckets of {name}");
        }
    }
    let (exported, documented) = (scrape.families, documented());
    let only = |left: &Families, right: &Families| {
        let differing = left
            .iter()
            .filter(|(name, it)| right.get(*name) != Some(it));
        differing
            .map(|(name, it)| format!("{name} {it:?}"))
            .collect()
    };
    let undocumented: Vec<_> = only(&exported, &documented);
    let missing: Vec<_> = only(&documented, &exported);
    assert_eq!((undocumented, missing), (Vec::new(), Vec::new()));
}

#[test]
fn alerts_name_only_series_that_exist() {
    let documented = documented();
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = PAGE.split(|letter| !is_of_name(letter));
    for word in words.filter(|word| word.starts_with("towpath_")) {
        let base = ["_bucket", "_sum", "_count"].iter();
        let mut base = base.filter_map(|suffix| word.strip_suffix(suffix));
        let is_known = documented.contains_key(word)
            || base.any(|base| documented.get(base).is_some_and(|it| it.0 == "histogram"));
        assert!(is_known, "{word}");
    }
}

#[tokio::test]
async fn records_in_and_out_are_those_that_were_written_and_read() {
    let broker = TestBroker::start_with(scraped_config()).await;
    broker.create("orders", 2).await;
    broker.create("quiet", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    let batch = batch_of(0, &["a", "b", "c"]);
    producer.produce(batch.clone()).await;
    producer.accepted().await;
    // Sent again, it is there already.
    producer.produce(batch.clone()).await;
    producer.accepted().await;
    broker.publish("orders", 1, &["d", "e"]).await;
    let bytes = (batch.batch.len() + encode(&["d", "e"]).len()) as u64;
    broker.read_all(source("orders")).await;
    broker.read_all(source("orders")).await;
    let scrape = Scrape::of(&broker).await;
    let of = |name: &str| scrape.number(&format!("towpath_{name}{{topic=\"orders\"}}"));
    assert_eq!(of("append_records_total"), 5);
    assert_eq!(of("append_bytes_total"), bytes);
    assert_eq!(of("deliver_records_total"), 10, "read twice");
    assert_eq!(of("deliver_bytes_total"), 2 * bytes, "read twice");
    assert!(of("log_bytes") > bytes, "with their frames");
    assert_eq!(of("log_segments"), 2, "one of each partition");
    let end = "towpath_log_end_offset{topic=\"orders\",partition=\"0\"}";
    assert_eq!(scrape.number(end), 3);
    let quiet = "towpath_append_records_total{topic=\"quiet\"}";
    assert_eq!(scrape.number(quiet), 0, "another topic");
    assert_eq!(scrape.number("towpath_append_duration_seconds_count"), 3);
    assert_eq!(scrape.number("towpath_append_in_flight_records"), 0);
    let bytes = "towpath_append_in_flight_bytes";
    Scrape::until(&broker, |it| it.number(bytes) == 0).await;
    // Two rounds had records: the batch and what was published.
    assert_eq!(scrape.number("towpath_fsync_batch_records_count"), 2);
    assert_eq!(scrape.number("towpath_fsync_batch_records_sum"), 5);
    let syncs = scrape.number("towpath_fsync_duration_seconds_count");
    assert!(syncs >= 4, "those of the topics as well: {syncs}");
}

#[tokio::test]
async fn what_is_scheduled_is_counted_until_it_is_delivered() {
    let broker = TestBroker::start_with(scraped_config()).await;
    broker.create("reminders", 1).await;
    crate::schedule::schedule_in(&broker, "reminders", &[3_600_000, 7_200_000]).await;
    let scheduled = "towpath_scheduled_records";
    let scrape = Scrape::until(&broker, |it| it.number(scheduled) == 2).await;
    assert!(scrape.number("towpath_scheduled_bytes") > 0);
    assert_eq!(
        scrape.number("towpath_scheduled_delivered_records_total"),
        0
    );
    crate::schedule::schedule_in(&broker, "reminders", &[0]).await;
    let delivered = "towpath_scheduled_delivered_records_total";
    let scrape = Scrape::until(&broker, |it| {
        it.number(delivered) == 1 && it.number(scheduled) == 2
    });
    let scrape = scrape.await;
    assert_eq!(scrape.number("towpath_scheduled_set_aside_records"), 0);
    assert_eq!(scrape.number("towpath_append_in_flight_records"), 0);
}

#[tokio::test]
async fn lag_and_what_is_in_flight_fall_to_nothing_as_a_group_commits() {
    let (broker, mut member) = with_load().await;
    let series = |name: &str, partition: u32| {
        let labels = format!("group=\"billing\",topic=\"orders\",partition=\"{partition}\"");
        format!("towpath_group_{name}{{{labels}}}")
    };
    let in_flight = "towpath_group_in_flight_records{group=\"billing\"}";
    let sent = |it: &Scrape| it.number(in_flight) == 8;
    let scrape = Scrape::until(&broker, sent).await;
    assert_eq!(scrape.number("towpath_scrape_complete"), 1);
    let bytes = "towpath_group_in_flight_bytes{group=\"billing\"}";
    let batch_bytes = encode(&["a", "b", "c"]).len() as u64;
    assert_eq!(scrape.number(bytes), 4 * batch_bytes, "batches count whole");
    let members = "towpath_group_members{group=\"billing\"}";
    assert_eq!(scrape.number(members), 1);
    for partition in 0..4 {
        assert_eq!(scrape.number(&series("lag_records", partition)), 2);
        assert!(scrape.seconds(&series("lag_seconds", partition)) < 60.0);
    }
    // A group that stands still gets older, by the clock of the broker.
    let age = |it: &Scrape| it.seconds(&series("lag_seconds", 3));
    let older = |it: &Scrape| age(it) > age(&scrape);
    Scrape::until(&broker, older).await;

    for partition in 0..4 {
        member.commit(partition, 3).await;
    }
    let scrape = Scrape::of(&broker).await;
    for partition in 0..4 {
        assert_eq!(scrape.number(&series("lag_records", partition)), 0);
        assert_eq!(scrape.number(&series("lag_seconds", partition)), 0);
    }
    assert_eq!((scrape.number(in_flight), scrape.number(bytes)), (0, 0));
    let open = "towpath_open_streams{kind=\"join\"}";
    assert_eq!(scrape.number(open), 1);
    drop(member);
    Scrape::until(&broker, |it| it.number(open) == 0).await;
}

/// The number of a series of the subscription "billing".
fn of(scrape: &Scrape, name: &str) -> u64 {
    scrape.number(&format!(
        "towpath_subscription_{name}{{subscription=\"billing\"}}"
    ))
}

fn because(scrape: &Scrape, name: &str, reason: &str) -> u64 {
    let labels = format!("subscription=\"billing\",reason=\"{reason}\"");
    scrape.number(&format!("towpath_subscription_{name}{{{labels}}}"))
}

const LAG_RECORDS: &str =
    "towpath_subscription_lag_records{subscription=\"billing\",topic=\"orders\",partition=\"0\"}";
const LAG_SECONDS: &str =
    "towpath_subscription_lag_seconds{subscription=\"billing\",topic=\"orders\",partition=\"0\"}";

/// A broker with a subscription whose consumer has four records of three keys.
async fn with_deliveries() -> (TestBroker, Consumer) {
    let broker = TestBroker::start_with(scraped_config()).await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1"), ("b", "2"), ("c", "3"), ("a", "4")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(4).await;
    (broker, consumer)
}

fn later() -> v1::settlement::Outcome {
    v1::settlement::Outcome::Nack(v1::Nack {
        delay_ms: Some(3_600_000),
        reason: "later".to_owned(),
    })
}

#[tokio::test]
async fn a_subscription_is_counted_from_the_delivery_to_the_dead_letter() {
    let (broker, mut consumer) = with_deliveries().await;
    let scrape = Scrape::of(&broker).await;
    assert_eq!(scrape.number(LAG_RECORDS), 4);
    assert_eq!(of(&scrape, "in_flight_records"), 4);
    assert_eq!(of(&scrape, "delivered_records_total"), 4);
    assert_eq!(of(&scrape, "consumers"), 1);
    let age = |it: &Scrape| it.seconds(LAG_SECONDS);
    Scrape::until(&broker, |it| age(it) > age(&scrape)).await;

    assert!(consumer.settle((0, 2), later()).await);
    let never = v1::settlement::Outcome::DeadLetter(v1::ToDeadLetters::default());
    assert!(consumer.settle((0, 0), never).await);
    assert!(consumer.settle((0, 1), ack()).await);
    // All but the one that waits.
    let moved = |it: &Scrape| of(it, "dead_letters") == 2 && it.number(LAG_RECORDS) == 1;
    let scrape = Scrape::until(&broker, moved).await;
    assert_eq!(of(&scrape, "waiting_records"), 1);
    assert_eq!(of(&scrape, "acked_records_total"), 1);
    assert_eq!(of(&scrape, "parked_keys"), 1);
    assert_eq!(of(&scrape, "in_flight_records"), 0);
    for (name, reason, count) in [
        ("returned_records_total", "nack", 1),
        ("returned_records_total", "release", 1),
        ("returned_records_total", "expiry", 0),
        ("dead_lettered_records_total", "dead", 1),
        ("dead_lettered_records_total", "parked", 1),
    ] {
        assert_eq!(because(&scrape, name, reason), count, "{name} {reason}");
    }
    let letters = || DeadLetterServiceClient::new(broker.channel.clone());
    let first = v1::RedriveDeadLettersRequest {
        subscription: "billing".to_owned(),
        filter: Some(v1::DeadLetterFilter {
            kind: v1::DeadLetterKind::Dead.into(),
            ..v1::DeadLetterFilter::default()
        }),
        ..v1::RedriveDeadLettersRequest::default()
    };
    let mut told = soon(letters().redrive_dead_letters(first)).await;
    let told = told.as_mut().unwrap().get_mut();
    while soon(told.message()).await.unwrap().is_some() {}
    drop(consumer);
    let all = v1::DiscardDeadLettersRequest {
        subscription: "billing".to_owned(),
        reason: "a test".to_owned(),
        ..v1::DiscardDeadLettersRequest::default()
    };
    // Those that a consumer had may be with it for a moment.
    let mut discarded = 0;
    while discarded < 2 {
        let mut told = soon(letters().discard_dead_letters(all.clone())).await;
        let told = told.as_mut().unwrap().get_mut();
        while let Some(step) = soon(told.message()).await.unwrap() {
            discarded += u64::from(step.is_done) * step.discarded_count;
        }
    }
    let scrape = Scrape::of(&broker).await;
    assert_eq!(of(&scrape, "redriven_records_total"), 2);
    assert_eq!(of(&scrape, "republished_records_total"), 0);
    assert_eq!(of(&scrape, "discarded_records_total"), 2);
    for name in [
        "dead_letter_problem",
        "halted_partitions",
        "held_bytes",
        "held_ratio",
        "skipped_records_total",
    ] {
        assert_eq!(of(&scrape, name), 0, "{name}");
    }
}

#[tokio::test]
async fn what_a_subscription_has_lost_is_counted_and_goes_with_it() {
    let (broker, mut consumer) = with_deliveries().await;
    let cut = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        ..before(Position::Offset(3))
    };
    trim(&broker, cut).await;
    assert_eq!(consumer.hear_of_gap().await.records, 3);
    consumer.ack_all().await;
    let scrape = Scrape::of(&broker).await;
    assert_eq!(of(&scrape, "skipped_records_total"), 3);
    assert_eq!(scrape.number(LAG_RECORDS), 0);
    assert_eq!(scrape.number(LAG_SECONDS), 0);
    publish(&broker, &[("b", "5")]).await;
    consumer.receive(1).await;
    assert!(consumer.settle((0, 4), nack("again")).await);
    consumer.receive(1).await;
    let scrape = Scrape::of(&broker).await;
    assert_eq!(because(&scrape, "returned_records_total", "nack"), 1);
    assert_eq!(of(&scrape, "delivered_records_total"), 6);
    let delete = v1::DeleteSubscriptionRequest {
        name: "billing".to_owned(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    let deleted = soon(client(&broker).delete_subscription(delete)).await;
    deleted.unwrap();
    let left = Scrape::of(&broker).await;
    assert_eq!(left.about("subscription=\""), [""; 0]);
}

#[tokio::test]
async fn what_a_filter_sorts_out_or_cannot_judge_is_counted_once() {
    for on_error in [v1::OnFilterError::Deliver, v1::OnFilterError::DeadLetter] {
        let broker = TestBroker::start_with(scraped_config()).await;
        broker.create("orders", 1).await;
        let mut wish = wish();
        let config = wish.config.as_mut().unwrap();
        "json.total > 1".clone_into(&mut config.filter);
        config.set_on_filter_error(on_error);
        create_as(&broker, wish).await.unwrap();
        let few = r#"{"total":1}"#;
        publish(&broker, &[("a", few), ("b", "no json"), ("c", few)]).await;
        publish(&broker, &[("d", r#"{"total":2}"#)]).await;
        let mut consumer = Consumer::open(&broker, 1).await;
        let delivered = match on_error {
            v1::OnFilterError::DeadLetter => 1,
            _ => 2,
        };
        consumer.receive(delivered).await;
        consumer.ack_all().await;
        let done = |it: &Scrape| it.number(LAG_RECORDS) == 0;
        let scrape = Scrape::until(&broker, done).await;
        assert_eq!(of(&scrape, "filtered_records_total"), 2, "{on_error:?}");
        assert_eq!(of(&scrape, "unjudged_records_total"), 1, "{on_error:?}");
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_topic_and_a_group_that_are_deleted_leave_nothing_behind() {
    let (broker, member) = with_load().await;
    drop(member);
    let delete = v1::DeleteGroupRequest {
        name: "billing".to_owned(),
        force: true,
        ..v1::DeleteGroupRequest::default()
    };
    let unsubscribe = v1::DeleteSubscriptionRequest {
        name: "billing".to_owned(),
        with_dlq: true,
        ..v1::DeleteSubscriptionRequest::default()
    };
    soon(client(&broker).delete_subscription(unsubscribe))
        .await
        .unwrap();
    let mut groups = GroupServiceClient::new(broker.channel.clone());
    assert!(!Scrape::of(&broker).await.about("billing").is_empty());
    soon(groups.delete_group(delete)).await.unwrap();
    assert_eq!(Scrape::of(&broker).await.about("billing"), [""; 0]);
    assert!(!Scrape::of(&broker).await.about("\"orders\"").is_empty());
    broker.delete("orders").await;
    assert_eq!(Scrape::of(&broker).await.about("\"orders\""), [""; 0]);
    // Its files go with a checkpoint.
    let written = |it: &Scrape| it.number("towpath_checkpoints_total") > 0;
    Scrape::until(&broker, written).await;
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let broker = TestBroker::start_with(scraped_config()).await;
    broker.create("orders", 1).await;
    let missing = v1::GetTopicRequest {
        name: "missing".to_owned(),
    };
    let found = soon(broker.topics().get_topic(missing)).await;
    refusal(found, ErrorReason::TopicNotFound);
    broker.read_all(source("orders")).await;
    let calls = |method: &str, code: &str| {
        let labels = format!("method=\"towpath.v1.{method}\",code=\"{code}\"");
        format!("towpath_rpc_requests_total{{{labels}}}")
    };
    let ended = [
        calls("TopicService/CreateTopic", "OK"),
        calls("TopicService/GetTopic", "NOT_FOUND"),
        calls("FetchService/Fetch", "OK"),
    ];
    // A call ends with its connection's part of it, which the client does not wait for.
    let all = |it: &Scrape| ended.iter().all(|ended| it.has(ended, 1));
    let scrape = Scrape::until(&broker, all).await;
    assert_eq!(scrape.number(&calls("TopicService/GetTopic", "OK")), 0);
    assert_eq!(scrape.number("towpath_open_streams{kind=\"fetch\"}"), 0);
    assert_eq!(scrape.number("towpath_open_connections"), 1);
    let labels = "{method=\"towpath.v1.TopicService/CreateTopic\"}";
    let timed = format!("towpath_rpc_duration_seconds_count{labels}");
    assert_eq!(scrape.number(&timed), 1);
}

#[tokio::test]
async fn refusals_within_a_stream_are_counted_by_reason() {
    let broker = TestBroker::start_with(scraped_config()).await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(7, &["too soon"])).await;
    let (_, unknown) = producer.refused().await;
    assert_eq!(unknown.reason(), ErrorReason::ProducerUnknown);
    let nowhere = ProduceBatch {
        partition: 9,
        ..batch_of(0, &["nowhere"])
    };
    producer.produce(nowhere).await;
    producer.refused().await;
    let unopened = ProduceBatch {
        handle: 7,
        ..batch_of(0, &["under no handle"])
    };
    for _ in 0..2 {
        producer.produce(unopened.clone()).await;
        producer.refused().await;
    }
    let scrape = Scrape::of(&broker).await;
    for reason in ErrorReason::ALL {
        let expected = match reason {
            ErrorReason::ProducerUnknown | ErrorReason::PartitionNotFound => 1,
            ErrorReason::InvalidArgument => 2,
            _ => 0,
        };
        let series = format!("towpath_append_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(scrape.number(&series), expected, "{reason}");
    }
}

#[tokio::test]
async fn a_scrape_does_not_wait_for_a_disk_that_hangs() {
    let (broker, _disk, gate) = gated_broker(scraped_config()).await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    gate.close();
    producer.produce(batch_of(0, &["a", "b"])).await;
    gate.held().await;
    let scrape = Scrape::of(&broker).await;
    assert_eq!(scrape.number("towpath_append_in_flight_records"), 2);
    assert!(scrape.number("towpath_append_in_flight_bytes") > 0);
    assert_eq!(scrape.number("towpath_scrape_complete"), 0);
    gate.open();
    producer.accepted().await;
    let scrape = Scrape::of(&broker).await;
    assert_eq!(scrape.number("towpath_append_in_flight_records"), 0);
    assert_eq!(scrape.number("towpath_scrape_complete"), 1);
}
