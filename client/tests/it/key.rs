//! Reading records by their key: whole, backwards, in parts, and over connections that break.

use futures_util::TryStreamExt;
use towpath_client::{
    Client, ErrorKind, ErrorReason, KeyGapReason, KeyItem, KeyReader, KeyReaderBuilder, Record,
};
use towpath_proto::v1;

use crate::fake::{FakeBroker, OnReadKey};

/// A topic with the history of `alice`, and something of others between.
async fn accounts(values: &[&'static str]) -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("accounts", 2);
    let config = v1::TopicConfig {
        key_versions: true,
        ..v1::TopicConfig::default()
    };
    broker.set_config("accounts", config);
    let producer = client.producer("accounts").build();
    for value in values {
        for key in ["alice", "bob"] {
            let record = Record::new(*value).key(key);
            producer.send(record).await.unwrap();
        }
    }
    (broker, client)
}

fn on_read(broker: &FakeBroker, on_read: impl IntoIterator<Item = OnReadKey>) {
    broker.state().on_read_key.extend(on_read);
}

/// What an item says: a version with its value, or what is gone.
fn text(item: &KeyItem) -> String {
    match item {
        KeyItem::Record(it) => format!("{} {}", it.version, it.record.value_str().unwrap()),
        KeyItem::Gap(gap) => format!("gone {:?}", gap.versions),
        other => panic!("{other:?}"),
    }
}

async fn read(reader: KeyReader) -> Vec<String> {
    let items: Vec<_> = reader.try_collect().await.unwrap();
    items.iter().map(text).collect()
}

fn alice(client: &Client) -> KeyReaderBuilder {
    client.read_key("accounts", "alice")
}

fn read_count(broker: &FakeBroker) -> usize {
    let calls = &broker.state().calls;
    calls.iter().filter(|it| **it == "read_key").count()
}

#[tokio::test(start_paused = true)]
async fn a_history_is_read_whole_in_parts_and_backwards() {
    let (_broker, client) = accounts(&["a", "b", "c"]).await;
    let check = async |builder: KeyReaderBuilder, expected: &[&str]| {
        assert_eq!(read(builder.build()).await, expected);
    };
    check(alice(&client), &["1 a", "2 b", "3 c"]).await;
    check(alice(&client).from_version(2), &["2 b", "3 c"]).await;
    check(alice(&client).limit(2), &["1 a", "2 b"]).await;
    check(alice(&client).limit(0), &[]).await;
    let newest_first = || alice(&client).newest_first();
    check(newest_first(), &["3 c", "2 b", "1 a"]).await;
    check(newest_first().from_version(2), &["3 c", "2 b"]).await;
    check(newest_first().limit(1), &["3 c"]).await;
    check(alice(&client).from_version(4), &[]).await;
    check(client.read_key("accounts", "nobody"), &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_key_knows_its_place() {
    let (_broker, client) = accounts(&["a", "b"]).await;
    let written = client.producer("accounts").build();
    let third = Record::new("c").key("alice").entity_version(7);
    // The one that a producer has set stands before that of the broker.
    let third = third
        .header("towpath-stale", "x")
        .header("towpath-stale", "9");
    let sent = written.send(third).await.unwrap();
    let mut reader = alice(&client).from_version(3).build();
    assert_eq!(reader.current_version(), None, "not asked yet");
    let item = reader.next_item().await.unwrap().unwrap();
    assert_eq!(reader.current_version(), Some(3), "version");
    let KeyItem::Record(it) = item else {
        panic!("{item:?}");
    };
    let record = &it.record;
    assert_eq!(record.topic().as_str(), "accounts", "topic");
    let place = (record.partition(), record.offset(), record.lsn());
    assert_eq!(place, (sent.partition, sent.offset, sent.lsn), "place");
    assert_eq!(record.key_str(), Some("alice"), "key");
    let entity = (record.entity_version(), record.stale_behind());
    assert_eq!(entity, (Some(7), Some(9)), "versions of the entity");
    assert!(reader.next_item().await.is_none(), "the end");
    assert!(reader.next_item().await.is_none(), "still the end");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_is_gone_on_with() {
    for is_newest_first in [false, true] {
        let (broker, client) = accounts(&["a", "b", "c", "d"]).await;
        let cuts = [
            OnReadKey::CutAfter(0),
            OnReadKey::CutAfter(2),
            OnReadKey::EndAfter(1),
            OnReadKey::Refuse(ErrorReason::ShuttingDown),
            OnReadKey::EndAfter(0),
        ];
        on_read(&broker, cuts);
        let mut builder = alice(&client).limit(4);
        let mut expected = vec!["1 a", "2 b", "3 c", "4 d"];
        if is_newest_first {
            builder = builder.newest_first();
            expected.reverse();
        }
        assert_eq!(read(builder.build()).await, expected, "each once");
        assert!(read_count(&broker) > 4, "asked again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_ends_with_what_there_was_when_it_began() {
    let (broker, client) = accounts(&["a", "b"]).await;
    on_read(&broker, [OnReadKey::EndAfter(1)]);
    let mut reader = alice(&client).build();
    let first = reader.next_item().await.unwrap().unwrap();
    assert_eq!(text(&first), "1 a");
    let producer = client.producer("accounts").build();
    let late = Record::new("late").key("alice");
    producer.send(late).await.unwrap();
    assert_eq!(read(reader).await, ["2 b"], "the rest");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_created_again_is_not_gone_on_with() {
    for is_newest_first in [false, true] {
        let (broker, client) = accounts(&["a", "b", "c"]).await;
        on_read(&broker, [OnReadKey::EndAfter(1)]);
        let mut builder = alice(&client);
        if is_newest_first {
            builder = builder.newest_first();
        }
        let mut reader = builder.build();
        reader.next_item().await.unwrap().unwrap();
        broker.state().log.create("accounts", 2);
        let config = v1::TopicConfig {
            key_versions: true,
            ..v1::TopicConfig::default()
        };
        broker.set_config("accounts", config);
        let producer = client.producer("accounts").build();
        for value in ["other", "other", "other", "other"] {
            let record = Record::new(value).key("alice");
            producer.send(record).await.unwrap();
        }
        let ended = reader.next_item().await.unwrap().unwrap_err();
        assert_eq!(ended.reason(), Some(ErrorReason::TopicNotFound), "{ended}");
        assert!(reader.next_item().await.is_none(), "ended");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_told() {
    let (broker, client) = accounts(&["a", "b", "c"]).await;
    on_read(&broker, [OnReadKey::Trim(2)]);
    let mut reader = alice(&client).build();
    let first = reader.next_item().await.unwrap().unwrap();
    let KeyItem::Gap(gap) = &first else {
        panic!("{first:?}");
    };
    assert_eq!(gap.reason, KeyGapReason::Trimmed, "reason");
    assert_eq!(text(&first), "gone 1..3");
    assert_eq!(read(reader).await, ["3 c"], "what is left");
    on_read(&broker, [OnReadKey::Trim(2)]);
    let newest_first = alice(&client).newest_first().build();
    assert_eq!(read(newest_first).await, ["3 c", "gone 1..3"], "backwards");
}

#[tokio::test(start_paused = true)]
async fn a_history_with_a_hole_is_refused() {
    let (broker, client) = accounts(&["a", "b", "c"]).await;
    on_read(&broker, [OnReadKey::LeaveOut]);
    let mut reader = alice(&client).build();
    let error = reader.next_item().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(error.to_string().contains("left versions"), "{error}");
    assert!(reader.next_item().await.is_none(), "the end");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_it_at_once_and_an_outage_after_a_while() {
    let (broker, client) = accounts(&["a"]).await;
    let failure = async |mut reader: KeyReader| reader.next_item().await.unwrap().unwrap_err();
    let error = failure(client.read_key("orders", "alice").build()).await;
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "{error}");
    assert!(error.to_string().contains("orders"), "{error}");
    let error = failure(client.read_key("no/topic", "alice").build()).await;
    assert_eq!(
        error.reason(),
        Some(ErrorReason::InvalidArgument),
        "{error}"
    );
    on_read(&broker, [OnReadKey::Refuse(ErrorReason::LogCorrupt)]);
    let error = failure(alice(&client).build()).await;
    assert_eq!(error.reason(), Some(ErrorReason::LogCorrupt), "{error}");
    assert_eq!(read_count(&broker), 2, "not again");
    broker.go_down();
    let error = failure(alice(&client).build()).await;
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_future_loses_nothing() {
    let (_broker, client) = accounts(&["a", "b", "c"]).await;
    let mut reader = alice(&client).build();
    let mut told = Vec::new();
    loop {
        // Given up at the first thing that it has to wait for.
        let polled = futures_util::poll!(std::pin::pin!(reader.next_item()));
        match polled {
            std::task::Poll::Pending => tokio::task::yield_now().await,
            std::task::Poll::Ready(None) => break,
            std::task::Poll::Ready(Some(item)) => told.push(text(&item.unwrap())),
        }
    }
    assert_eq!(told, ["1 a", "2 b", "3 c"], "each once");
}

#[tokio::test(start_paused = true)]
async fn the_newest_record_is_looked_up() {
    let (broker, client) = accounts(&["a", "b"]).await;
    broker.state().on_call.push_back(ErrorReason::Overloaded);
    let latest = client.get_latest("accounts", "alice").await.unwrap();
    assert_eq!(latest.current_version, 2, "version");
    let it = latest.record.unwrap();
    assert_eq!(
        (it.version, it.record.value_str()),
        (2, Some("b")),
        "record"
    );
    let nobody = client.get_latest("accounts", "nobody").await.unwrap();
    assert_eq!(nobody.current_version, 0, "version");
    assert!(nobody.record.is_none(), "no record");
    let error = client.get_latest("orders", "alice").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "{error}");
}
