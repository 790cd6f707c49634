//! Single records of subscriptions over the wire.

use tonic::Status;
use towpath_proto::v1::settlement::Outcome;

use super::*;

fn request() -> v1::ListPendingRequest {
    v1::ListPendingRequest {
        subscription: "billing".to_owned(),
        ..v1::ListPendingRequest::default()
    }
}

async fn list(
    broker: &TestBroker,
    request: v1::ListPendingRequest,
) -> Result<v1::ListPendingResponse, Status> {
    let listed = soon(client(broker).list_pending(request)).await?;
    Ok(listed.into_inner())
}

async fn try_explain(
    broker: &TestBroker,
    partition: u32,
    offset: u64,
) -> Result<v1::ExplainRecordResponse, Status> {
    let request = v1::ExplainRecordRequest {
        subscription: "billing".to_owned(),
        partition,
        offset,
    };
    let explained = soon(client(broker).explain_record(request)).await?;
    Ok(explained.into_inner())
}

async fn explain(broker: &TestBroker, offset: u64) -> v1::ExplainRecordResponse {
    try_explain(broker, 0, offset).await.unwrap()
}

fn state(explained: &v1::ExplainRecordResponse) -> v1::RecordState {
    explained.record.as_ref().expect("a record").state()
}

fn obstacles(explained: &v1::ExplainRecordResponse) -> Vec<v1::DeliveryObstacle> {
    explained.obstacles.iter().map(|it| it.obstacle()).collect()
}

#[tokio::test]
async fn what_is_in_flight_and_what_waits_is_listed_in_pages() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "0"), ("b", "1"), ("a", "2"), ("c", "3")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(4).await;
    let later = Outcome::Nack(v1::Nack {
        delay_ms: Some(60_000),
        reason: "not yet".to_owned(),
    });
    assert!(consumer.settle((0, 0), later).await);
    let mut asked = v1::ListPendingRequest {
        page_size: 1,
        ..request()
    };
    let mut records = Vec::new();
    loop {
        let page = list(&broker, asked.clone()).await.unwrap();
        assert!(page.records.len() <= 1);
        records.extend(page.records);
        if page.next_page_token.is_empty() {
            break;
        }
        asked.page_token = page.next_page_token;
    }
    let places: Vec<_> = records.iter().map(|it| (it.offset, it.state())).collect();
    let (waiting, in_flight) = (v1::RecordState::Waiting, v1::RecordState::InFlight);
    assert_eq!(places, [(0, waiting), (1, in_flight), (3, in_flight)]);
    assert_eq!((records[0].attempt, records[0].failure_count), (2, 1));
    assert_eq!(records[0].failures[0].reason, "not yet");
    let held = &records[1];
    assert_eq!(held.consumer_id, vec![1; 16]);
    assert_eq!(held.client_name, "consumer 1");
    assert!(held.deadline_ms > held.delivery_time_ms && held.delivery > 0);
    assert!(held.append_time_ms > 0 && held.record_bytes > 0);
    let mut only = request();
    only.set_state(waiting);
    let page = list(&broker, only.clone()).await.unwrap();
    assert_eq!(page.records.len(), 1);
    only.set_state(v1::RecordState::Settled);
    refusal(list(&broker, only).await, ErrorReason::InvalidArgument);
    let page_token = "1-0-x".to_owned();
    let wrong = v1::ListPendingRequest {
        page_token,
        ..request()
    };
    refusal(list(&broker, wrong).await, ErrorReason::InvalidArgument);
    let partitions = vec![7];
    let wrong = v1::ListPendingRequest {
        partitions,
        ..request()
    };
    refusal(list(&broker, wrong).await, ErrorReason::PartitionNotFound);
    broker.stop().await;
}

#[tokio::test]
async fn a_record_is_explained_from_its_append_to_its_end() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("orders", 1).await;
    let mut wish = wish();
    wish.config.as_mut().unwrap().filter = "json.total > 100".to_owned();
    create_as(&broker, wish).await.unwrap();
    let (small, large) = (r#"{"total":50}"#, r#"{"total":150}"#);
    publish(
        &broker,
        &[("a", small), ("a", large), ("a", large), ("b", "{}")],
    )
    .await;
    let ahead = explain(&broker, 1).await;
    assert_eq!(state(&ahead), v1::RecordState::Ahead);
    assert_eq!(obstacles(&ahead), [v1::DeliveryObstacle::NoConsumers]);
    assert_eq!(ahead.filter_verdict(), v1::FilterVerdict::Match);
    assert_eq!(ahead.filter, "json.total > 100");
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(3).await;
    let filtered = explain(&broker, 0).await;
    assert_eq!(filtered.filter_verdict(), v1::FilterVerdict::NoMatch);
    let held = explain(&broker, 2).await;
    assert_eq!(state(&held), v1::RecordState::InFlight);
    assert_eq!(held.record.unwrap().behind_offset, Some(1));
    let unjudged = explain(&broker, 3).await;
    assert_eq!(unjudged.filter_verdict(), v1::FilterVerdict::Unjudged);
    assert_eq!(unjudged.filter_detail, "there is no such field");
    assert!(consumer.settle((0, 1), dead("no such customer")).await);
    letters(&broker, 2).await;
    let known = explain(&broker, 1).await;
    assert_eq!(state(&known), v1::RecordState::Dead, "{known:?}");
    assert_eq!(known.dead_letter_topic, "billing.dlq");
    assert_eq!(known.dead_letter_offset, Some(0));
    assert_eq!(known.record.unwrap().death_reason, "no such customer");
    let parked = explain(&broker, 2).await;
    assert_eq!(
        (state(&parked), parked.dead_letter_offset),
        (v1::RecordState::Dead, Some(1))
    );
    assert!(
        parked.note.ends_with("parked behind 0@0 of its key"),
        "{}",
        parked.note
    );
    assert_eq!(parked.record.unwrap().death_reason, "");
    publish(&broker, &[("a", large)]).await;
    letters(&broker, 3).await;
    consumer.ack_all().await;
    let settled = explain(&broker, 3).await;
    assert_eq!(state(&settled), v1::RecordState::Settled);
    assert_eq!(settled.dead_letter_offset, None);
    assert!(settled.note.contains("acked"), "{}", settled.note);
    let problem = refusal(
        try_explain(&broker, 0, 5).await,
        ErrorReason::OffsetOutOfRange,
    );
    check_facts(&problem, &[("requested", "5"), ("end_offset", "5")]);
    refusal(
        try_explain(&broker, 1, 0).await,
        ErrorReason::PartitionNotFound,
    );
    broker.stop().await;
}

#[tokio::test]
async fn what_was_trimmed_is_gone_and_nobody_pretends_to_know_more() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "0")]).await;
    publish(&broker, &[("b", "1")]).await;
    let cut = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        ..before(Position::Offset(1))
    };
    trim(&broker, cut).await;
    let gone = explain(&broker, 0).await;
    assert_eq!(state(&gone), v1::RecordState::Gone, "{gone:?}");
    assert!(gone.note.contains("not known"), "{}", gone.note);
    assert_eq!(gone.filter_verdict(), v1::FilterVerdict::Unspecified);
    broker.stop().await;
}

#[tokio::test]
async fn a_record_that_a_seek_brings_again_waits_for_the_dead_letters_of_its_key() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "0"), ("a", "1")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(2).await;
    assert!(consumer.settle((0, 0), dead("no such customer")).await);
    letters(&broker, 2).await;
    let seek = v1::SeekSubscriptionRequest {
        name: "billing".to_owned(),
        partitions: Vec::new(),
        position: Some(position(Position::Beginning(v1::Beginning {}))),
        validate_only: false,
    };
    soon(client(&broker).seek_subscription(seek)).await.unwrap();
    for offset in [0, 1] {
        let explained = explain(&broker, offset).await;
        let parked = &explained.obstacles[0];
        assert_eq!(parked.obstacle(), v1::DeliveryObstacle::Parked, "{offset}");
        assert_eq!(
            parked.detail,
            "its key has 2 dead letters, and the subscription was moved back before them: it waits \
             until the last of them is redriven and acked, or discarded; then its key begins anew \
             from there"
        );
    }
    broker.stop().await;
}

#[tokio::test]
async fn suspects_wait_for_a_consumer_that_has_nothing() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut wish = wish();
    wish.config.as_mut().unwrap().ack_deadline_ms = Some(1_000);
    create_as(&broker, wish).await.unwrap();
    publish(&broker, &[("a", "0"), ("b", "1")]).await;
    let pull = v1::PullRequest {
        subscription: "billing".to_owned(),
        records_max: 2,
        wait_ms: 20_000,
    };
    soon(client(&broker).pull(pull)).await.unwrap();
    let mut waiting = request();
    waiting.set_state(v1::RecordState::Waiting);
    // Until the leases have expired.
    let records = loop {
        let page = list(&broker, waiting.clone()).await.unwrap();
        if !page.records.is_empty() {
            break page.records;
        }
    };
    for record in &records {
        assert!(record.is_suspect, "{record:?}");
        assert_eq!(record.next_attempt_ms, 0);
    }
    let explained = explain(&broker, 1).await;
    let (suspect, nobody) = (
        v1::DeliveryObstacle::Suspect,
        v1::DeliveryObstacle::NoConsumers,
    );
    assert_eq!(obstacles(&explained), [suspect, nobody]);
    assert!(
        explained.obstacles[0]
            .detail
            .ends_with("waits for a consumer that has nothing")
    );
    broker.stop().await;
}
