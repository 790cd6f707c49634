//! Settings of topics: given when a topic is created, changed later, and kept.

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;

use crate::harness::{TestBroker, check_facts, refusal, soon};

const AGE_MS_MAX: u64 = 315_360_000_000_000;

fn config(retention_age_ms: Option<u64>, retention_bytes: Option<u64>) -> v1::TopicConfig {
    v1::TopicConfig {
        retention_age_ms,
        retention_bytes,
        ..v1::TopicConfig::default()
    }
}

fn create(name: &str, config: v1::TopicConfig) -> v1::CreateTopicRequest {
    v1::CreateTopicRequest {
        name: name.to_owned(),
        partition_count: 1,
        config: Some(config),
        ..v1::CreateTopicRequest::default()
    }
}

/// A change of `orders` to these values: of the settings in the mask, or of those that have a value.
fn change(config: v1::TopicConfig, mask: Option<&[&str]>) -> v1::UpdateTopicRequest {
    let update_mask = mask.map(|paths| prost_types::FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    });
    v1::UpdateTopicRequest {
        name: "orders".to_owned(),
        config: Some(config),
        update_mask,
        ..v1::UpdateTopicRequest::default()
    }
}

async fn update(
    broker: &TestBroker,
    request: v1::UpdateTopicRequest,
) -> Result<v1::Topic, tonic::Status> {
    let updated = soon(broker.topics().update_topic(request)).await?;
    Ok(updated.into_inner().topic.unwrap())
}

async fn shown(broker: &TestBroker) -> v1::Topic {
    let name = "orders".to_owned();
    let shown = soon(broker.topics().get_topic(v1::GetTopicRequest { name })).await;
    shown.unwrap().into_inner().topic.unwrap()
}

/// A broker with the topic `orders`, which keeps 1,000 ms and 1,000 bytes.
async fn broker_with_orders() -> TestBroker {
    let broker = TestBroker::start().await;
    let request = create("orders", config(Some(1000), Some(1000)));
    soon(broker.topics().create_topic(request)).await.unwrap();
    broker
}

#[tokio::test]
async fn a_topic_is_created_with_its_settings() {
    let broker = TestBroker::start().await;
    let given = config(Some(60_000), None);
    let request = create("orders", given);
    let validated = v1::CreateTopicRequest {
        validate_only: true,
        ..request.clone()
    };
    for request in [validated, request] {
        let created = soon(broker.topics().create_topic(request)).await.unwrap();
        assert_eq!(created.into_inner().topic.unwrap().config, Some(given));
    }
    let topic = shown(&broker).await;
    assert_eq!(topic.config, Some(given));
    let list = v1::ListTopicsRequest::default();
    let listed = soon(broker.topics().list_topics(list)).await.unwrap();
    let listed = &listed.into_inner().topics[0];
    assert_eq!((listed.config, &listed.etag), (Some(given), &topic.etag));
    broker.create("plain", 1).await;
    let name = "plain".to_owned();
    let plain = soon(broker.topics().get_topic(v1::GetTopicRequest { name })).await;
    let plain = plain.unwrap().into_inner().topic.unwrap();
    assert_eq!(plain.config, None, "nothing was given");
    assert!(!plain.etag.is_empty() && plain.etag != topic.etag, "etag");
}

#[tokio::test]
async fn settings_out_of_their_range_are_refused_by_name() {
    let broker = broker_with_orders().await;
    let cases = [
        (config(Some(0), None), "config.retention_age_ms"),
        (
            config(Some(AGE_MS_MAX + 1), None),
            "config.retention_age_ms",
        ),
        (config(Some(u64::MAX), None), "config.retention_age_ms"),
        (config(None, Some(0)), "config.retention_bytes"),
    ];
    for (config, field) in cases {
        let created = soon(broker.topics().create_topic(create("other", config))).await;
        let problem = refusal(created, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", field)]);
        let updated = update(&broker, change(config, None)).await;
        let problem = refusal(updated, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", field)]);
    }
    let name = "other".to_owned();
    let other = soon(broker.topics().get_topic(v1::GetTopicRequest { name })).await;
    refusal(other, ErrorReason::TopicNotFound);
    let kept = config(Some(1000), Some(1000));
    assert_eq!(shown(&broker).await.config, Some(kept), "nothing changed");
    let widest = config(Some(AGE_MS_MAX), Some(u64::MAX));
    let topic = update(&broker, change(widest, None)).await.unwrap();
    assert_eq!(topic.config, Some(widest));
}

#[tokio::test]
async fn the_mask_says_which_settings_change() {
    let check = async |given, mask: Option<&[&str]>, expected| {
        let broker = broker_with_orders().await;
        let topic = update(&broker, change(given, mask)).await.unwrap();
        assert_eq!(topic.config, expected, "{mask:?}");
        let seen = shown(&broker).await;
        assert_eq!((seen.config, seen.etag), (expected, topic.etag), "{mask:?}");
    };
    let given = config(Some(7), None);
    check(given, None, Some(config(Some(7), Some(1000)))).await;
    check(given, Some(&[]), Some(config(Some(1000), Some(1000)))).await;
    let age = &["retention_age_ms"][..];
    check(given, Some(age), Some(config(Some(7), Some(1000)))).await;
    check(
        config(None, Some(7)),
        Some(age),
        Some(config(None, Some(1000))),
    )
    .await;
    let both = &["retention_age_ms", "retention_bytes"][..];
    check(given, Some(both), Some(config(Some(7), None))).await;
    check(config(None, None), Some(both), None).await;
}

#[tokio::test]
async fn a_setting_that_does_not_exist_is_refused() {
    let broker = broker_with_orders().await;
    for path in ["retention_ms", "config.retention_age_ms", "", "*"] {
        let mask = ["retention_bytes", path];
        let updated = update(&broker, change(config(None, None), Some(&mask))).await;
        let problem = refusal(updated, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "update_mask")]);
        let hint = "retention_age_ms, retention_bytes, dedupe_window_ms and tombstone_grace_ms can be changed";
        assert_eq!(problem.hint(), Some(hint), "{path}");
    }
    let kept = config(Some(1000), Some(1000));
    assert_eq!(shown(&broker).await.config, Some(kept), "nothing changed");
}

#[tokio::test]
async fn whoever_has_not_seen_the_last_change_is_refused() {
    let broker = broker_with_orders().await;
    let seen = shown(&broker).await.etag;
    let with_etag = |etag: &str, age_ms| v1::UpdateTopicRequest {
        etag: etag.to_owned(),
        ..change(config(Some(age_ms), None), None)
    };
    let first = update(&broker, with_etag(&seen, 2000)).await.unwrap();
    assert_ne!(first.etag, seen, "it was changed");
    let problem = refusal(
        update(&broker, with_etag(&seen, 3000)).await,
        ErrorReason::EtagMismatch,
    );
    check_facts(&problem, &[("topic", "orders"), ("etag", &first.etag)]);
    assert!(problem.hint().is_some(), "{problem:?}");
    let kept = config(Some(2000), Some(1000));
    assert_eq!(shown(&broker).await.config, Some(kept), "nothing changed");

    let again = update(&broker, with_etag(&first.etag, 2000)).await.unwrap();
    assert_eq!(again.etag, first.etag, "nothing to change, nothing changed");
    let last = update(&broker, with_etag("", 4000)).await.unwrap();
    assert_eq!(last.config, Some(config(Some(4000), Some(1000))));

    for etag in ["x", "1", "1-", "-1", "1-2-3", "99999999999999999999-0"] {
        let problem = refusal(
            update(&broker, with_etag(etag, 5000)).await,
            ErrorReason::InvalidArgument,
        );
        check_facts(&problem, &[("field", "etag")]);
    }
}

#[tokio::test]
async fn the_etag_of_a_deleted_topic_is_not_that_of_its_successor() {
    let broker = broker_with_orders().await;
    let seen = shown(&broker).await.etag;
    broker.delete("orders").await;
    broker.create("orders", 1).await;
    let request = v1::UpdateTopicRequest {
        etag: seen,
        ..change(config(Some(1), None), None)
    };
    refusal(update(&broker, request).await, ErrorReason::EtagMismatch);
    assert_eq!(shown(&broker).await.config, None);
}

#[tokio::test]
async fn a_change_that_is_only_validated_changes_nothing() {
    let broker = broker_with_orders().await;
    let before = shown(&broker).await;
    let request = v1::UpdateTopicRequest {
        validate_only: true,
        ..change(config(Some(7), None), None)
    };
    let topic = update(&broker, request.clone()).await.unwrap();
    assert_eq!(topic.config, Some(config(Some(7), Some(1000))), "would be");
    assert_eq!(shown(&broker).await, before);
    let stale = v1::UpdateTopicRequest {
        etag: format!("{}9", before.etag),
        ..request
    };
    refusal(update(&broker, stale).await, ErrorReason::EtagMismatch);
}

#[tokio::test]
async fn what_is_changed_must_be_there() {
    let broker = broker_with_orders().await;
    let request = |name: &str| v1::UpdateTopicRequest {
        name: name.to_owned(),
        ..change(config(Some(7), None), None)
    };
    let problem = refusal(
        update(&broker, request("ordres")).await,
        ErrorReason::TopicNotFound,
    );
    assert_eq!(problem.hint(), Some("did you mean \"orders\"?"));
    let problem = refusal(
        update(&broker, request("or ders")).await,
        ErrorReason::InvalidArgument,
    );
    check_facts(&problem, &[("field", "name")]);
}

#[tokio::test]
async fn settings_survive_a_restart() {
    let broker = broker_with_orders().await;
    update(&broker, change(config(Some(60_000), None), None))
        .await
        .unwrap();
    let before = shown(&broker).await;
    let broker = broker.restart().await;
    let after = shown(&broker).await;
    assert_eq!(after.config, Some(config(Some(60_000), Some(1000))));
    assert_eq!(after, before);
    let request = v1::UpdateTopicRequest {
        etag: before.etag,
        ..change(
            config(None, None),
            Some(&["retention_age_ms", "retention_bytes"]),
        )
    };
    let topic = update(&broker, request).await.unwrap();
    assert_eq!(topic.config, None);
    let broker = broker.restart().await;
    assert_eq!(shown(&broker).await.config, None);
}

#[tokio::test]
async fn each_of_two_updates_at_once_is_answered_with_what_it_did() {
    let broker = broker_with_orders().await;
    for round in 1..=100 {
        let bytes = [10 * round, 10 * round + 1];
        let [left, right] = bytes.map(|bytes| {
            let request = change(config(None, Some(bytes)), None);
            update(&broker, request)
        });
        let (left, right) = tokio::join!(left, right);
        let answers = [left.unwrap(), right.unwrap()];
        for (topic, bytes) in answers.iter().zip(bytes) {
            let answered = topic.config.unwrap().retention_bytes;
            assert_eq!(answered, Some(bytes), "round {round}");
        }
        let present = shown(&broker).await;
        let last = answers.iter().find(|topic| topic.etag == present.etag);
        let last = last.unwrap_or_else(|| panic!("round {round}: {answers:?}, {present:?}"));
        assert_eq!(last.config, present.config, "round {round}");
        assert_ne!(answers[0].etag, answers[1].etag, "round {round}");
    }
}
