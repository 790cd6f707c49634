//! Scheduled records of topics that look at records one by one.

use towpath_proto::v1::append_records::Expectation;

use super::*;

fn keyed(key: &str, value: &str, headers: &[(&str, &str)]) -> v1::Record {
    let headers = headers.iter().map(|(name, value)| v1::Header {
        name: (*name).to_owned(),
        value: value.as_bytes().to_vec().into(),
    });
    v1::Record {
        headers: headers.collect(),
        ..record(Some(key), value)
    }
}

/// A broker with one topic of one partition.
async fn broker(config: v1::TopicConfig) -> TestBroker {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    let request = v1::CreateTopicRequest {
        name: "accounts".to_owned(),
        partition_count: 1,
        config: Some(config),
        ..v1::CreateTopicRequest::default()
    };
    soon(broker.topics().create_topic(request)).await.unwrap();
    broker
}

async fn append(
    broker: &TestBroker,
    record: v1::Record,
    expectation: Option<Expectation>,
) -> Result<v1::CommitResponse, Status> {
    let append = v1::AppendRecords {
        topic: "accounts".to_owned(),
        records: vec![record],
        partition: None,
        expectation,
    };
    commit(broker, "", vec![Kind::Append(append)]).await
}

fn now(record: v1::Record) -> v1::ScheduleRecord {
    v1::ScheduleRecord {
        record: Some(record),
        ..later("accounts", "", "", Time::DelayMs(0))
    }
}

#[tokio::test]
async fn a_delivered_record_is_one_more_version_of_its_key() {
    let config = v1::TopicConfig {
        key_versions: true,
        ..v1::TopicConfig::default()
    };
    let broker = broker(config).await;
    append(&broker, keyed("a", "first", &[]), None)
        .await
        .unwrap();
    let mut reader = follow(&broker, "accounts").await;
    assert_eq!(values(&reader.batch().await), ["first"]);
    let due = vec![
        now(keyed("a", "second", &[])),
        now(keyed("b", "other", &[])),
    ];
    schedule(&broker, due).await.unwrap();
    assert_eq!(values(&reader.batch().await), ["second", "other"]);
    let expecting = |version| Some(Expectation::ExpectedVersion(version));
    let conflict = append(&broker, keyed("a", "third", &[]), expecting(1)).await;
    refusal(conflict, ErrorReason::ExpectedVersionMismatch);
    append(&broker, keyed("a", "third", &[]), expecting(2))
        .await
        .unwrap();
    append(&broker, keyed("b", "fourth", &[]), expecting(1))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_stale_when_it_is_due_is_not_delivered() {
    let mut config = v1::TopicConfig::default();
    config.set_stale_records(v1::StaleRecords::Refuse);
    let broker = broker(config).await;
    let brings =
        |version: &'static str| keyed("a", version, &[("towpath-entity-version", version)]);
    let none = schedule(&broker, vec![now(keyed("a", "none", &[]))]).await;
    let problem = refusal(none, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "operations[0].schedule.record")]);
    append(&broker, brings("5"), None).await.unwrap();
    schedule(
        &broker,
        vec![now(brings("3")), now(brings("7")), now(brings("6"))],
    )
    .await
    .unwrap();
    let mut reader = follow(&broker, "accounts").await;
    let mut came = values(&reader.batch().await);
    came.extend(values(&reader.batch().await));
    assert_eq!(came, ["5", "7"]);
    assert_eq!(list(&broker, "", 10).await, [], "nor is it tried again");
    let stale = append(&broker, brings("6"), None).await;
    refusal(stale, ErrorReason::StaleEntityVersion);
}

#[tokio::test]
async fn an_event_that_is_due_is_not_compared_with_those_that_came() {
    let config = v1::TopicConfig {
        dedupe_window_ms: Some(60_000),
        ..v1::TopicConfig::default()
    };
    let broker = broker(config).await;
    let event = || keyed("a", "v", &[("ce-source", "/shop"), ("ce-id", "1")]);
    append(&broker, event(), None).await.unwrap();
    append(&broker, event(), None).await.unwrap();
    schedule(&broker, vec![now(event())]).await.unwrap();
    let mut reader = follow(&broker, "accounts").await;
    let came = [values(&reader.batch().await), values(&reader.batch().await)];
    assert_eq!(came.concat(), ["v", "v"]);
}
