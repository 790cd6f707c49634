//! Reading by key.

use tonic::Status;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::key_gap::Reason;
use towpath_proto::v1::key_service_client::KeyServiceClient;

use super::{config_with_checkpoints, create, with_versions};
use crate::harness::{TestBroker, check_facts, record, refusal, soon};

/// The value of a key's newest record.
pub(crate) async fn latest(broker: &TestBroker, topic: &str, key: &str) -> Option<String> {
    let request = v1::GetLatestRequest {
        topic: topic.to_owned(),
        key: key.to_owned().into(),
    };
    let mut client = KeyServiceClient::new(broker.channel.clone());
    let found = soon(client.get_latest(request)).await.unwrap().into_inner();
    let record = found.record?.record.unwrap();
    Some(String::from_utf8(record.value.unwrap().to_vec()).unwrap())
}

/// What one `ReadKey` stream told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Record(u64, String),
    Gap(u64, u64, Reason),
}

async fn read(
    broker: &TestBroker,
    request: v1::ReadKeyRequest,
) -> Result<(u64, Vec<Told>), Status> {
    let mut client = KeyServiceClient::new(broker.channel.clone());
    let mut responses = soon(client.read_key(request)).await?.into_inner();
    let (mut current, mut told) = (None, Vec::new());
    while let Some(response) = soon(responses.message()).await? {
        let is_first = current.is_none();
        assert!(is_first || response.current_version == 0, "told once");
        current.get_or_insert(response.current_version);
        for it in response.records {
            assert!(
                it.lsn > 0 && it.append_time_ms > 0 && it.position.is_some(),
                "{it:?}"
            );
            let value = it.record.unwrap().value.unwrap();
            told.push(Told::Record(
                it.version,
                String::from_utf8(value.to_vec()).unwrap(),
            ));
        }
        told.extend(
            response
                .gap
                .map(|gap| Told::Gap(gap.first_version, gap.last_version, gap.reason())),
        );
    }
    Ok((current.expect("a first response"), told))
}

fn of(key: &str) -> v1::ReadKeyRequest {
    v1::ReadKeyRequest {
        topic: "accounts".to_owned(),
        key: key.to_owned().into(),
        ..v1::ReadKeyRequest::default()
    }
}

fn records(versions: impl Iterator<Item = u64>) -> Vec<Told> {
    versions
        .map(|version| Told::Record(version, format!("v{version}")))
        .collect()
}

/// Publishes records of a key, whose values tell their versions, among those of others.
async fn write(broker: &TestBroker, key: &str, versions: std::ops::RangeInclusive<u64>) {
    for version in versions {
        let others = ["x", "y"].iter().map(|other| record(Some(other), "other"));
        let own = record(Some(key), &format!("v{version}"));
        let request = v1::PublishRequest {
            topic: "accounts".to_owned(),
            records: others.chain([own]).collect(),
            partition: None,
        };
        soon(broker.produce().publish(request)).await.unwrap();
    }
}

#[tokio::test]
async fn a_history_is_read_from_any_version_in_both_orders() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "accounts", 3, with_versions()).await;
    assert_eq!(
        read(&broker, of("a")).await.unwrap(),
        (0, vec![]),
        "nothing yet"
    );
    write(&broker, "a", 1..=20).await;
    let mut broker = broker.restart().await;
    write(&broker, "a", 21..=24).await;
    for _ in 0..2 {
        assert_eq!(read(&broker, of("a")).await.unwrap(), (24, records(1..=24)));
        let from = v1::ReadKeyRequest {
            from_version: 19,
            ..of("a")
        };
        assert_eq!(
            read(&broker, from.clone()).await.unwrap(),
            (24, records(19..=24))
        );
        let back = v1::ReadKeyRequest {
            newest_first: true,
            ..from
        };
        assert_eq!(
            read(&broker, back.clone()).await.unwrap(),
            (24, records((19..=24).rev()))
        );
        let some = v1::ReadKeyRequest {
            record_count_max: 3,
            ..back
        };
        assert_eq!(
            read(&broker, some).await.unwrap(),
            (24, records((22..=24).rev()))
        );
        let all_back = v1::ReadKeyRequest {
            newest_first: true,
            ..of("a")
        };
        assert_eq!(
            read(&broker, all_back).await.unwrap(),
            (24, records((1..=24).rev()))
        );
        let above = v1::ReadKeyRequest {
            from_version: 25,
            ..of("a")
        };
        assert_eq!(read(&broker, above).await.unwrap(), (24, vec![]));
        assert_eq!(read(&broker, of("b")).await.unwrap(), (0, vec![]));
        assert_eq!(
            latest(&broker, "accounts", "a").await,
            Some("v24".to_owned())
        );
        assert_eq!(latest(&broker, "accounts", "b").await, None);
        broker = broker.restart().await;
    }
}

#[tokio::test]
async fn a_long_history_comes_in_pages() {
    let broker = TestBroker::start().await;
    create(&broker, "accounts", 1, with_versions()).await;
    let values = (1..=700_u64).map(|version| record(Some("a"), &format!("v{version}")));
    let request = v1::PublishRequest {
        topic: "accounts".to_owned(),
        records: values.collect(),
        partition: None,
    };
    soon(broker.produce().publish(request)).await.unwrap();
    assert_eq!(
        read(&broker, of("a")).await.unwrap(),
        (700, records(1..=700))
    );
    let back = v1::ReadKeyRequest {
        newest_first: true,
        ..of("a")
    };
    assert_eq!(
        read(&broker, back).await.unwrap(),
        (700, records((1..=700).rev()))
    );
}

#[tokio::test]
async fn trimmed_versions_are_told() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "accounts", 1, with_versions()).await;
    write(&broker, "a", 1..=300).await;
    let trim = |before| v1::TrimTopicRequest {
        name: "accounts".to_owned(),
        before: Some(crate::harness::position(v1::position::Position::Offset(
            before,
        ))),
        ..v1::TrimTopicRequest::default()
    };
    // Each version stands behind two records of others.
    soon(broker.topics().trim_topic(trim(290 * 3)))
        .await
        .unwrap();
    let gap = || Told::Gap(1, 290, Reason::Trimmed);
    let expected: Vec<_> = [gap()].into_iter().chain(records(291..=300)).collect();
    assert_eq!(read(&broker, of("a")).await.unwrap(), (300, expected));
    let back = v1::ReadKeyRequest {
        newest_first: true,
        ..of("a")
    };
    let expected: Vec<_> = records((291..=300).rev())
        .into_iter()
        .chain([gap()])
        .collect();
    assert_eq!(read(&broker, back).await.unwrap(), (300, expected));
    soon(broker.topics().trim_topic(trim(900))).await.unwrap();
    let all = vec![Told::Gap(1, 300, Reason::Trimmed)];
    assert_eq!(read(&broker, of("a")).await.unwrap(), (300, all));
    assert_eq!(latest(&broker, "accounts", "a").await, None);
    write(&broker, "a", 301..=301).await;
    assert_eq!(
        latest(&broker, "accounts", "a").await,
        Some("v301".to_owned())
    );
}

#[tokio::test]
async fn a_history_is_of_one_life_of_its_topic() {
    const VERSIONS: u64 = 100;
    const VALUE_BYTES: usize = 64 * 1024;
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    let fill = async |letter: &str| {
        create(&broker, "accounts", 1, with_versions()).await;
        for _ in 0..VERSIONS {
            let request = v1::PublishRequest {
                topic: "accounts".to_owned(),
                records: vec![record(Some("a"), &letter.repeat(VALUE_BYTES))],
                partition: None,
            };
            soon(broker.produce().publish(request)).await.unwrap();
        }
    };
    fill("o").await;
    let mut client = KeyServiceClient::new(broker.channel.clone());
    let mut responses = soon(client.read_key(of("a"))).await.unwrap().into_inner();
    let first = soon(responses.message()).await.unwrap().unwrap();
    assert!(
        first.topic_id > 0 && !first.broker_id.is_empty(),
        "{first:?}"
    );
    let delete = v1::DeleteTopicRequest {
        name: "accounts".to_owned(),
        ..v1::DeleteTopicRequest::default()
    };
    soon(broker.topics().delete_topic(delete)).await.unwrap();
    fill("n").await;
    // It is told to its end, or ends with its topic.
    let mut told = first.records.len();
    loop {
        match soon(responses.message()).await {
            Ok(Some(response)) => {
                assert_eq!(response.gap, None);
                for it in response.records {
                    let value = it.record.unwrap().value.unwrap();
                    assert_eq!(value.first(), Some(&b'o'), "version {}", it.version);
                    told += 1;
                }
            }
            Ok(None) => {
                assert_eq!(told as u64, VERSIONS, "told");
                break;
            }
            ended => {
                refusal(ended, ErrorReason::TopicNotFound);
                break;
            }
        }
    }
    // Nor does one that goes on find another one in its place.
    let resume = |topic_id, broker_id: &str| v1::ReadKeyRequest {
        from_version: 2,
        topic_id: Some(topic_id),
        broker_id: Some(broker_id.to_owned()),
        ..of("a")
    };
    let old = resume(first.topic_id, &first.broker_id);
    refusal(read(&broker, old).await, ErrorReason::TopicNotFound);
    let new = soon(client.read_key(of("a"))).await.unwrap().into_inner();
    let new = { new }.message().await.unwrap().unwrap();
    assert_ne!(new.topic_id, first.topic_id, "another life");
    let stranger = resume(new.topic_id, "00000000-0000-4000-8000-000000000000");
    refusal(read(&broker, stranger).await, ErrorReason::TopicNotFound);
    let known = resume(new.topic_id, &new.broker_id);
    assert_eq!(read(&broker, known).await.unwrap().0, VERSIONS, "itself");
}

#[tokio::test]
async fn only_topics_that_look_at_keys_are_read_by_key() {
    let broker = TestBroker::start().await;
    broker.create("accounts", 1).await;
    let refused = read(&broker, of("a")).await;
    let problem = refusal(refused, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "topic")]);
    let request = v1::GetLatestRequest {
        topic: "accounts".to_owned(),
        ..v1::GetLatestRequest::default()
    };
    let mut client = KeyServiceClient::new(broker.channel.clone());
    let refused = soon(client.get_latest(request)).await;
    refusal(refused, ErrorReason::InvalidArgument);
    let nowhere = v1::ReadKeyRequest {
        topic: "nowhere".to_owned(),
        ..of("a")
    };
    refusal(read(&broker, nowhere).await, ErrorReason::TopicNotFound);
}
