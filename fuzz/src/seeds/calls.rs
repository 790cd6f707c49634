//! Of calls: a broker with a topic, and what may be done with it.

use bytes::Bytes;
use prost::Message;
use towpath_proto::v1;

use crate::given::put_piece;
use crate::targets::calls::METHODS;

use super::Seed;
use super::messages::{batch, commit, records};

/// Calls as the target takes them.
#[derive(Default)]
struct Calls {
    bytes: Vec<u8>,
}

impl Calls {
    fn call(mut self, name: &str, messages: &[Vec<u8>]) -> Self {
        let number = METHODS.iter().position(|method| method.name == name);
        let number = number.and_then(|it| u8::try_from(it).ok());
        self.bytes.push(number.expect("a method of this name"));
        self.bytes
            .push(u8::try_from(messages.len()).expect("a few"));
        for message in messages {
            put_piece(&mut self.bytes, message);
        }
        self
    }

    fn unary(self, name: &str, message: &impl Message) -> Self {
        self.call(name, &[message.encode_to_vec()])
    }

    /// A topic that looks at keys and events, with records.
    fn topic() -> Self {
        let create = v1::CreateTopicRequest {
            name: "a".to_owned(),
            partition_count: 2,
            config: Some(v1::TopicConfig {
                dedupe_window_ms: Some(60_000),
                key_versions: true,
                ..v1::TopicConfig::default()
            }),
            validate_only: false,
        };
        let publish = v1::PublishRequest {
            topic: "a".to_owned(),
            records: records().records,
            partition: None,
        };
        Self::default()
            .unary("TopicService/CreateTopic", &create)
            .unary("ProduceService/Publish", &publish)
    }

    /// A subscription with a filter.
    fn subscription() -> Self {
        let create = v1::CreateSubscriptionRequest {
            name: "s".to_owned(),
            topic: "a".to_owned(),
            start: Some(beginning()),
            config: Some(v1::SubscriptionConfig {
                mode: v1::SubscriptionMode::KeyShared.into(),
                filter: "size(key) > 0".to_owned(),
                attempts_max: Some(1),
                ..v1::SubscriptionConfig::default()
            }),
            validate_only: false,
        };
        let pull = v1::PullRequest {
            subscription: "s".to_owned(),
            records_max: 5,
            wait_ms: 0,
        };
        Self::topic()
            .unary("SubscriptionService/CreateSubscription", &create)
            .unary("SubscriptionService/Pull", &pull)
    }
}

fn beginning() -> v1::Position {
    v1::Position {
        position: Some(v1::position::Position::Beginning(v1::Beginning {})),
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    let calls = [
        ("every", every()),
        ("produce", produce()),
        ("reading", reading()),
        ("group", group()),
        ("subscription", subscription()),
        ("dead-letters", dead_letters()),
        (
            "commit",
            Calls::topic().unary("CommitService/Commit", &commit()),
        ),
    ];
    let seed = |(name, calls): (&str, Calls)| Seed::new("calls", name, calls.bytes);
    calls.into_iter().map(seed).collect()
}

/// Every method with a name in its first field.
fn every() -> Calls {
    let named = v1::GetTopicRequest {
        name: "a".to_owned(),
    };
    let methods = METHODS.iter();
    methods.fold(Calls::topic(), |calls, method| {
        calls.unary(method.name, &named)
    })
}

fn produce() -> Calls {
    use v1::produce_request::Request;
    let step = |request| {
        let request = v1::ProduceRequest {
            request: Some(request),
        };
        request.encode_to_vec()
    };
    let open = v1::OpenTopic {
        handle: 1,
        topic: "a".to_owned(),
        producer_id: Bytes::from_static(&[5; 16]),
        ..v1::OpenTopic::default()
    };
    let steps = [
        step(Request::Open(open)),
        step(Request::Produce(batch(0))),
        step(Request::Produce(batch(1))),
        step(Request::Produce(batch(1))),
    ];
    Calls::topic().call("ProduceService/Produce", &steps)
}

fn reading() -> Calls {
    let fetch = v1::FetchRequest {
        sources: vec![v1::FetchSource {
            topic: "a".to_owned(),
            start: Some(beginning()),
            ..v1::FetchSource::default()
        }],
        merge_by_lsn: true,
        ..v1::FetchRequest::default()
    };
    let history = v1::ReadKeyRequest {
        topic: "a".to_owned(),
        key: Bytes::from_static(b"k\x01"),
        newest_first: true,
        ..v1::ReadKeyRequest::default()
    };
    let trim = v1::TrimTopicRequest {
        name: "a".to_owned(),
        before: Some(beginning()),
        ..v1::TrimTopicRequest::default()
    };
    Calls::topic()
        .unary("FetchService/Fetch", &fetch)
        .unary("KeyService/ReadKey", &history)
        .unary("TopicService/TrimTopic", &trim)
}

fn group() -> Calls {
    use v1::join_request::Request;
    let step = |request| {
        let request = v1::JoinRequest {
            request: Some(request),
        };
        request.encode_to_vec()
    };
    let join = v1::JoinGroup {
        group: "g".to_owned(),
        member_id: Bytes::from_static(&[6; 16]),
        topics: vec!["a".to_owned()],
        start: Some(beginning()),
        ..v1::JoinGroup::default()
    };
    let seek = v1::SeekGroupRequest {
        name: "g".to_owned(),
        topic: "a".to_owned(),
        target: Some(v1::seek_group_request::Target::Position(beginning())),
        ..v1::SeekGroupRequest::default()
    };
    Calls::topic()
        .call("GroupService/Join", &[step(Request::Join(join))])
        .unary("GroupService/SeekGroup", &seek)
}

fn settlement(outcome: v1::settlement::Outcome) -> v1::SettleRequest {
    let settlement = |partition| v1::Settlement {
        delivery: 1,
        partition,
        ranges: vec![v1::OffsetRange { start: 0, end: 1 }],
        is_dead_letter: false,
        outcome: Some(outcome.clone()),
    };
    v1::SettleRequest {
        subscription: "s".to_owned(),
        settlements: vec![settlement(0), settlement(1)],
    }
}

fn subscription() -> Calls {
    use v1::receive_request::Request;
    let step = |request| {
        let request = v1::ReceiveRequest {
            request: Some(request),
        };
        request.encode_to_vec()
    };
    let open = v1::OpenReceive {
        subscription: "s".to_owned(),
        consumer_id: Bytes::from_static(&[8; 16]),
        ..v1::OpenReceive::default()
    };
    let credit = v1::ReceiveCredit {
        records: 10,
        bytes: 100_000,
    };
    let explain = v1::ExplainRecordRequest {
        subscription: "s".to_owned(),
        ..v1::ExplainRecordRequest::default()
    };
    let ack = settlement(v1::settlement::Outcome::Ack(v1::Ack {}));
    Calls::subscription()
        .unary("SubscriptionService/Settle", &ack)
        .call(
            "SubscriptionService/Receive",
            &[step(Request::Open(open)), step(Request::Credit(credit))],
        )
        .unary("SubscriptionService/ExplainRecord", &explain)
}

fn dead_letters() -> Calls {
    let reason = v1::ToDeadLetters {
        reason: "no".to_owned(),
    };
    let dead = settlement(v1::settlement::Outcome::DeadLetter(reason));
    let list = v1::ListDeadLettersRequest {
        subscription: "s".to_owned(),
        ..v1::ListDeadLettersRequest::default()
    };
    let redrive = v1::RedriveDeadLettersRequest {
        subscription: "s".to_owned(),
        ..v1::RedriveDeadLettersRequest::default()
    };
    Calls::subscription()
        .unary("SubscriptionService/Settle", &dead)
        .unary("DeadLetterService/ListDeadLetters", &list)
        .unary("DeadLetterService/RedriveDeadLetters", &redrive)
}
