//! Dead letters over the wire: looked at, redriven and discarded.

mod job;

use std::collections::BTreeMap;

use tonic::Status;
use tonic::transport::Channel;
use towpath_proto::limits::RECORD_BYTES_MAX;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::dead_letter_service_client::DeadLetterServiceClient;

use crate::consumer::{Consumer, DEAD, ack, create_as, dead, get, nack, publish, wish};
use crate::harness::{TestBroker, refusal, soon, source};

fn client(broker: &TestBroker) -> DeadLetterServiceClient<Channel> {
    DeadLetterServiceClient::new(broker.channel.clone())
}

/// Records of one key that a consumer has at most.
const KEY_RUN_RECORDS_MAX: usize = 32;

/// A subscription with these dead letters: for each the first consumer says that it is dead, and what
/// comes behind it is parked.
async fn with_letters(
    wish: v1::CreateSubscriptionRequest,
    records: &[(&str, &str)],
    dead_keys: &[&str],
) -> TestBroker {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create_as(&broker, wish).await.unwrap();
    publish(&broker, records).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer
        .receive(records.len().min(KEY_RUN_RECORDS_MAX))
        .await;
    for key in dead_keys {
        let place = records.iter().position(|(of, _)| of == key).unwrap();
        let reason = format!("{key} is bad");
        let is_its_own = consumer.settle((0, place as u64), dead(&reason)).await;
        assert!(is_its_own, "{key}");
    }
    let parked = records
        .iter()
        .filter(|(key, _)| dead_keys.contains(key))
        .count();
    list_until(&broker, parked).await;
    broker
}

async fn list(broker: &TestBroker, request: v1::ListDeadLettersRequest) -> Vec<v1::DeadLetter> {
    let mut letters = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListDeadLettersRequest {
            subscription: "billing".to_owned(),
            value_bytes_max: 100,
            page_token,
            ..request.clone()
        };
        let page = soon(client(broker).list_dead_letters(request)).await;
        let page = page.unwrap().into_inner();
        letters.extend(page.dead_letters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return letters;
        }
    }
}

/// Lists all when there are so many.
pub(crate) async fn list_until(broker: &TestBroker, count: usize) -> Vec<v1::DeadLetter> {
    let all = async {
        loop {
            let letters = list(broker, v1::ListDeadLettersRequest::default()).await;
            if letters.len() == count {
                return letters;
            }
        }
    };
    soon(all).await
}

fn values(letters: &[v1::DeadLetter]) -> Vec<String> {
    let values = letters
        .iter()
        .map(|it| it.record.as_ref().unwrap().value.clone());
    let text = |value: Option<bytes::Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    values.map(text).collect()
}

fn all() -> v1::RedriveDeadLettersRequest {
    v1::RedriveDeadLettersRequest {
        subscription: "billing".to_owned(),
        ..v1::RedriveDeadLettersRequest::default()
    }
}

/// Redrives to the end, and returns the last response with all tokens.
pub(crate) async fn redrive(
    broker: &TestBroker,
    request: v1::RedriveDeadLettersRequest,
) -> Result<(v1::RedriveDeadLettersResponse, Vec<String>), Status> {
    let mut responses = soon(client(broker).redrive_dead_letters(request))
        .await?
        .into_inner();
    let mut tokens = Vec::new();
    loop {
        let response = soon(responses.message()).await?.expect("a last response");
        if response.is_done {
            return Ok((response, tokens));
        }
        tokens.push(response.resume_token);
    }
}

async fn discard(
    broker: &TestBroker,
    request: v1::DiscardDeadLettersRequest,
) -> Result<v1::DiscardDeadLettersResponse, Status> {
    let mut responses = soon(client(broker).discard_dead_letters(request))
        .await?
        .into_inner();
    loop {
        let response = soon(responses.message()).await?.expect("a last response");
        if response.is_done {
            return Ok(response);
        }
    }
}

fn filter(change: impl FnOnce(&mut v1::DeadLetterFilter)) -> v1::DeadLetterFilter {
    let mut filter = v1::DeadLetterFilter::default();
    change(&mut filter);
    filter
}

const RECORDS: [(&str, &str); 6] = [
    ("a", "a1"),
    ("b", "b1"),
    ("a", "a2"),
    ("c", "c1"),
    ("b", "b2"),
    ("a", "a3"),
];

#[tokio::test]
async fn dead_letters_are_listed_with_what_became_of_them() {
    let broker = with_letters(wish(), &RECORDS, &["a", "b"]).await;
    let letters = list(&broker, v1::ListDeadLettersRequest::default()).await;
    let mut found = values(&letters);
    found.sort();
    assert_eq!(found, ["a1", "a2", "a3", "b1", "b2"]);
    let first = &letters[0];
    assert_eq!(first.kind(), v1::DeadLetterKind::Dead);
    assert_eq!(first.state(), v1::DeadLetterState::Dead);
    assert_eq!(
        (first.origin_topic.as_str(), first.origin_offset),
        ("orders", 0)
    );
    assert_eq!((first.reason.as_str(), first.value_bytes), ("a is bad", 2));
    let headers = &first.record.as_ref().unwrap().headers;
    assert!(headers.is_empty(), "as it was: {headers:?}");

    let by = async |filter, page_size| {
        let request = v1::ListDeadLettersRequest {
            filter,
            page_size,
            ..v1::ListDeadLettersRequest::default()
        };
        values(&list(&broker, request).await)
    };
    assert_eq!(by(None, 1).await, values(&letters), "page by page");
    let key = Some(bytes::Bytes::from_static(b"b"));
    assert_eq!(by(Some(filter(|it| it.key = key)), 0).await, ["b1", "b2"]);
    let reason = "b is".to_owned();
    assert_eq!(
        by(Some(filter(|it| it.reason_contains = reason)), 0).await,
        ["b1"]
    );
    let parked = v1::DeadLetterKind::Parked;
    let parked = by(Some(filter(|it| it.set_kind(parked))), 0).await;
    assert_eq!(parked.len(), 3, "{parked:?}");
    let since = first.death_time_ms + 3_600_000;
    assert!(
        by(Some(filter(|it| it.died_from_ms = Some(since))), 0)
            .await
            .is_empty()
    );
    assert_eq!(
        by(Some(filter(|it| it.died_before_ms = Some(since))), 0)
            .await
            .len(),
        5
    );
    broker.stop().await;
}

#[tokio::test]
async fn one_dead_letter_is_shown_whole_until_it_is_settled() {
    let broker = with_letters(wish(), &RECORDS, &["c"]).await;
    let letter = v1::DeadLetterRef {
        partition: 0,
        offset: 0,
    };
    let request = v1::GetDeadLetterRequest {
        subscription: "billing".to_owned(),
        letter: Some(letter),
    };
    let shown = soon(client(&broker).get_dead_letter(request.clone())).await;
    let shown = shown.unwrap().into_inner().dead_letter.unwrap();
    assert_eq!(values(&[shown]), ["c1"]);
    let discarded = v1::DiscardDeadLettersRequest {
        subscription: "billing".to_owned(),
        reason: "of no use".to_owned(),
        ..v1::DiscardDeadLettersRequest::default()
    };
    assert_eq!(
        discard(&broker, discarded).await.unwrap().discarded_count,
        1
    );
    let gone = soon(client(&broker).get_dead_letter(request)).await;
    refusal(gone, ErrorReason::DeadLetterNotFound);
    let beyond = v1::GetDeadLetterRequest {
        subscription: "billing".to_owned(),
        letter: Some(v1::DeadLetterRef {
            partition: 0,
            offset: 9,
        }),
    };
    let beyond = soon(client(&broker).get_dead_letter(beyond)).await;
    refusal(beyond, ErrorReason::DeadLetterNotFound);
    broker.stop().await;
}

#[tokio::test]
async fn a_key_is_redriven_whole_and_in_order_before_what_comes_behind_it() {
    let broker = with_letters(wish(), &RECORDS, &["a", "b"]).await;
    let reason = "a is".to_owned();
    // It takes one letter; the others of its key go with it.
    let request = v1::RedriveDeadLettersRequest {
        filter: Some(filter(|it| it.reason_contains = reason)),
        ..all()
    };
    let dry = v1::RedriveDeadLettersRequest {
        validate_only: true,
        ..request.clone()
    };
    assert_eq!(redrive(&broker, dry).await.unwrap().0.redriven_count, 3);
    assert_eq!(
        redrive(&broker, request.clone())
            .await
            .unwrap()
            .0
            .redriven_count,
        3
    );
    let again = redrive(&broker, request).await.unwrap().0;
    assert_eq!((again.redriven_count, again.passed_count), (0, 3));
    let shown = &get(&broker).await.partitions[0];
    assert_eq!((shown.dead_letters, shown.redriven_records), (5, 3));
    let state = v1::ListDeadLettersRequest {
        state: v1::DeadLetterState::Redriven.into(),
        ..v1::ListDeadLettersRequest::default()
    };
    assert_eq!(list(&broker, state).await.len(), 3);

    publish(&broker, &[("a", "a4"), ("b", "b3")]).await;
    let mut consumer = Consumer::open(&broker, 2).await;
    // In runs: those of the source wait until the last one is handled.
    let mut handled: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let count =
        |handled: &BTreeMap<String, Vec<String>>| handled.values().map(Vec::len).sum::<usize>();
    while count(&handled) < 5 {
        if consumer.has.is_empty() {
            let response = consumer.next().await;
            assert_eq!(consumer.take(response), None);
        }
        for (place, had) in consumer.has.clone() {
            let is_letter = place.0 & DEAD != 0;
            assert_eq!(is_letter, ["a1", "a2", "a3"].contains(&had.value.as_str()));
            handled
                .entry(had.value[..1].to_owned())
                .or_default()
                .push(had.value);
            assert!(consumer.settle(place, ack()).await, "{place:?}");
        }
    }
    assert_eq!(handled["a"], ["a1", "a2", "a3", "a4"]);
    assert_eq!(handled["c"], ["c1"], "b3 follows its key");
    let mut left = values(&list_until(&broker, 3).await);
    left.sort();
    assert_eq!(left, ["b1", "b2", "b3"]);
    assert_eq!(get(&broker).await.partitions[0].parked_keys, 1);
    let (done, _) = redrive(&broker, all()).await.unwrap();
    assert_eq!(done.redriven_count, 3);
    let mut handled = Vec::new();
    while handled.len() < 3 {
        let response = consumer.next().await;
        assert_eq!(consumer.take(response), None);
        handled.extend(consumer.values().into_iter().map(str::to_owned));
        consumer.ack_all().await;
    }
    assert_eq!(handled, ["b1", "b2", "b3"]);
    list_until(&broker, 0).await;
    assert_eq!(get(&broker).await.partitions[0].parked_keys, 0);
    broker.stop().await;
}

#[tokio::test]
async fn what_fails_again_is_dead_where_it_is_and_tells_both_histories() {
    let broker = with_letters(wish(), &RECORDS, &["c"]).await;
    redrive(&broker, all()).await.unwrap();
    let mut consumer = Consumer::open(&broker, 2).await;
    while !consumer.has.contains_key(&(DEAD, 0)) {
        let response = consumer.next().await;
        consumer.take(response);
    }
    let attempt = consumer.has[&(DEAD, 0)].attempt;
    assert_eq!(attempt, 1, "its attempts begin anew");
    assert!(consumer.settle((DEAD, 0), nack("still down")).await);
    while !consumer.has.contains_key(&(DEAD, 0)) {
        let response = consumer.next().await;
        consumer.take(response);
    }
    assert!(consumer.settle((DEAD, 0), dead("never")).await);
    let letter = &list_until(&broker, 1).await[0];
    assert_eq!(letter.state(), v1::DeadLetterState::Dead);
    assert_eq!((letter.offset, letter.reason.as_str()), (0, "c is bad"));
    assert_eq!(letter.behind_offset, None);
    let since: Vec<_> = letter
        .redrive_failures
        .iter()
        .map(|it| it.reason.as_str())
        .collect();
    assert_eq!(since, ["still down", "never"]);
    broker.stop().await;
}

#[tokio::test]
async fn dead_letters_become_records_of_a_topic_that_name_them() {
    let broker = with_letters(wish(), &RECORDS, &["a"]).await;
    broker.create("repaired", 1).await;
    let to = |replacement| v1::RedriveToTopic {
        topic: "repaired".to_owned(),
        replacement,
    };
    let one = v1::DeadLetterRef {
        partition: 0,
        offset: 0,
    };
    let edited = v1::RedriveDeadLettersRequest {
        filter: Some(filter(|it| it.letters = vec![one])),
        to_topic: Some(to(Some(v1::Record {
            key: Some(bytes::Bytes::from_static(b"a")),
            value: Some(bytes::Bytes::from_static(b"mended")),
            ..v1::Record::default()
        }))),
        ..all()
    };
    assert_eq!(redrive(&broker, edited).await.unwrap().0.redriven_count, 1);
    let rest = v1::RedriveDeadLettersRequest {
        to_topic: Some(to(None)),
        ..all()
    };
    assert_eq!(redrive(&broker, rest).await.unwrap().0.redriven_count, 2);
    list_until(&broker, 0).await;
    assert_eq!(get(&broker).await.partitions[0].parked_keys, 0);

    let request = v1::FetchRequest {
        sources: vec![source("repaired")],
        follow: true,
        ..v1::FetchRequest::default()
    };
    let mut reader = broker.reader(request).await;
    let mut found = Vec::new();
    while found.len() < 3 {
        let batch = reader.batch().await;
        for record in towpath_proto::batch::Records::new(&batch.batch) {
            let record = record.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = record.headers();
            let headers: BTreeMap<_, _> = headers
                .map(|(name, value)| (name.to_owned(), text(value)))
                .collect();
            found.push((text(record.value().unwrap()), headers));
        }
    }
    let values: Vec<_> = found.iter().map(|(value, _)| value.as_str()).collect();
    assert_eq!(values, ["mended", "a2", "a3"]);
    let headers = &found[1].1;
    assert_eq!(headers["towpath-redrive-subscription"], "billing");
    assert_eq!(headers["towpath-redrive-topic"], "orders");
    assert_eq!(headers["towpath-redrive-offset"], "2");
    assert_eq!(headers["towpath-redrive-dead-offset"], "1");
    assert!(!headers.contains_key("towpath-dlq-kind"), "{headers:?}");
    broker.stop().await;
}

#[tokio::test]
async fn a_redrive_that_was_interrupted_goes_on_where_it_was() {
    let records: Vec<_> = (0..500).map(|_| ("a", "v")).collect();
    let broker = with_letters(wish(), &records, &["a"]).await;
    let (_, tokens) = redrive(
        &broker,
        v1::RedriveDeadLettersRequest {
            validate_only: true,
            ..all()
        },
    )
    .await
    .unwrap();
    let resumed = v1::RedriveDeadLettersRequest {
        resume_token: tokens[1].clone(),
        ..all()
    };
    let (rest, _) = redrive(&broker, resumed).await.unwrap();
    assert_eq!(rest.redriven_count, 300, "the first 200 were told before");
    let (first, _) = redrive(&broker, all()).await.unwrap();
    assert_eq!((first.redriven_count, first.passed_count), (200, 300));
    let other = v1::RedriveDeadLettersRequest {
        resume_token: "x".to_owned(),
        ..all()
    };
    refusal(
        redrive(&broker, other).await.map(|_| ()),
        ErrorReason::InvalidArgument,
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_key_that_was_half_redriven_goes_on_although_the_filter_does_not_find_it() {
    let records: Vec<_> = (0..300).map(|_| ("a", "v")).collect();
    let broker = with_letters(wish(), &records, &["a"]).await;
    let reason = "a is".to_owned();
    let by_reason = v1::RedriveDeadLettersRequest {
        filter: Some(filter(|it| it.reason_contains = reason)),
        ..all()
    };
    let dry = v1::RedriveDeadLettersRequest {
        validate_only: true,
        ..by_reason.clone()
    };
    let (_, tokens) = redrive(&broker, dry).await.unwrap();
    // The one that the filter takes is gone meanwhile.
    let one = v1::DeadLetterRef {
        partition: 0,
        offset: 0,
    };
    let discarded = v1::DiscardDeadLettersRequest {
        subscription: "billing".to_owned(),
        filter: Some(filter(|it| it.letters = vec![one])),
        reason: "handled by hand".to_owned(),
        ..v1::DiscardDeadLettersRequest::default()
    };
    assert_eq!(
        discard(&broker, discarded).await.unwrap().discarded_count,
        1
    );
    assert_eq!(
        redrive(&broker, by_reason.clone())
            .await
            .unwrap()
            .0
            .redriven_count,
        0
    );
    let resumed = v1::RedriveDeadLettersRequest {
        resume_token: tokens[1].clone(),
        ..by_reason
    };
    assert_eq!(
        redrive(&broker, resumed).await.unwrap().0.redriven_count,
        299
    );
    broker.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_with_dead_letters_is_refused() {
    let broker = with_letters(wish(), &RECORDS, &["a"]).await;
    let check = async |change: fn(&mut v1::RedriveDeadLettersRequest), reason| {
        let mut request = all();
        change(&mut request);
        refusal(redrive(&broker, request).await.map(|_| ()), reason);
    };
    check(
        |it| it.subscription = "other".to_owned(),
        ErrorReason::SubscriptionNotFound,
    )
    .await;
    check(
        |it| it.filter = Some(filter(|it| it.partitions = vec![1])),
        ErrorReason::PartitionNotFound,
    )
    .await;
    check(
        |it| it.filter = Some(filter(|it| it.kind = 9)),
        ErrorReason::InvalidArgument,
    )
    .await;
    let to = |topic: &str| {
        Some(v1::RedriveToTopic {
            topic: topic.to_owned(),
            replacement: None,
        })
    };
    let request = v1::RedriveDeadLettersRequest {
        to_topic: to("none"),
        ..all()
    };
    refusal(
        redrive(&broker, request).await.map(|_| ()),
        ErrorReason::TopicNotFound,
    );
    let request = v1::RedriveDeadLettersRequest {
        to_topic: to("billing.dlq"),
        ..all()
    };
    refusal(
        redrive(&broker, request).await.map(|_| ()),
        ErrorReason::InvalidArgument,
    );
    let silent = v1::DiscardDeadLettersRequest {
        subscription: "billing".to_owned(),
        ..v1::DiscardDeadLettersRequest::default()
    };
    refusal(
        discard(&broker, silent).await.map(|_| ()),
        ErrorReason::InvalidArgument,
    );
    list_until(&broker, 3).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_replacement_stands_for_one_letter_and_is_no_larger_than_a_record() {
    let broker = with_letters(wish(), &RECORDS, &["a"]).await;
    let replaced = v1::RedriveDeadLettersRequest {
        to_topic: Some(v1::RedriveToTopic {
            topic: "orders".to_owned(),
            replacement: Some(v1::Record::default()),
        }),
        ..all()
    };
    refusal(
        redrive(&broker, replaced).await.map(|_| ()),
        ErrorReason::InvalidArgument,
    );
    let one = v1::DeadLetterRef {
        partition: 0,
        offset: 0,
    };
    let too_large = v1::RedriveDeadLettersRequest {
        filter: Some(filter(|it| it.letters = vec![one])),
        to_topic: Some(v1::RedriveToTopic {
            topic: "orders".to_owned(),
            replacement: Some(v1::Record {
                value: Some(vec![0; RECORD_BYTES_MAX].into()),
                ..v1::Record::default()
            }),
        }),
        ..all()
    };
    refusal(
        redrive(&broker, too_large).await.map(|_| ()),
        ErrorReason::RecordTooLarge,
    );
    list_until(&broker, 3).await;
    broker.stop().await;
}

#[tokio::test]
async fn what_a_consumer_has_is_not_discarded() {
    let broker = with_letters(wish(), &RECORDS, &["a"]).await;
    redrive(&broker, all()).await.unwrap();
    let mut consumer = Consumer::open(&broker, 2).await;
    consumer
        .receive_values(&["b1", "c1", "b2", "a1", "a2", "a3"])
        .await;
    let everything = v1::DiscardDeadLettersRequest {
        subscription: "billing".to_owned(),
        reason: "of no use".to_owned(),
        ..v1::DiscardDeadLettersRequest::default()
    };
    let kept = discard(&broker, everything.clone()).await.unwrap();
    assert_eq!((kept.discarded_count, kept.kept_count), (0, 3));
    assert!(consumer.settle((DEAD, 0), dead("again")).await, "its own");
    // What it has behind that is taken back.
    consumer.receive_values(&["b1", "c1", "b2"]).await;
    let gone = discard(&broker, everything).await.unwrap();
    assert_eq!((gone.discarded_count, gone.kept_count), (3, 0));
    consumer.ack_all().await;
    publish(&broker, &[("a", "a4")]).await;
    consumer.receive_values(&["a4"]).await;
    broker.stop().await;
}

#[tokio::test]
async fn what_was_parked_since_a_redrive_began_follows_its_key() {
    let broker = with_letters(wish(), &RECORDS, &["a"]).await;
    // From the beginning, to where the dead letters ended before the next one came.
    let begun = v1::RedriveDeadLettersRequest {
        resume_token: "0/0//3".to_owned(),
        ..all()
    };
    publish(&broker, &[("a", "a4"), ("c", "c2")]).await;
    let mut consumer = Consumer::open(&broker, 2).await;
    list_until(&broker, 4).await;
    assert!(consumer.has.is_empty(), "nothing was heard");
    let (done, _) = redrive(&broker, begun).await.unwrap();
    assert_eq!(done.redriven_count, 4, "with the one that came since");
    drop(consumer.try_next().await);
    broker.stop().await;
}
