//! Producers with a name: of all lives only the newest writes, whatever is on its way.

use tonic::Status;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::{ProduceBatch, ProduceRequest};

use crate::gated_disk::gated_broker;
use crate::harness::{
    Producer, TestBroker, all_values, batch_of, check_facts, config, problem_of, refusal, soon,
    source,
};

impl TestBroker {
    async fn begin_life(&self, name: &str) -> v1::OpenProducerResponse {
        let request = v1::OpenProducerRequest {
            name: name.to_owned(),
        };
        let opened = soon(self.produce().open_producer(request)).await;
        opened.unwrap().into_inner()
    }

    async fn producers(&self) -> Vec<v1::NamedProducer> {
        let request = v1::ListProducersRequest::default();
        let listed = soon(self.produce().list_producers(request)).await;
        listed.unwrap().into_inner().producers
    }

    async fn delete_producer(
        &self,
        name: &str,
        validate_only: bool,
    ) -> Result<v1::NamedProducer, Status> {
        let request = v1::DeleteProducerRequest {
            name: name.to_owned(),
            validate_only,
        };
        let deleted = soon(self.produce().delete_producer(request)).await?;
        Ok(deleted.into_inner().producer.unwrap())
    }
}

/// Sends the opening of "orders" under handle 1 for this life.
async fn send_open(producer: &Producer, life: &v1::OpenProducerResponse) {
    let open = v1::OpenTopic {
        handle: 1,
        topic: "orders".to_owned(),
        producer_id: life.producer_id.clone(),
        producer_epoch: life.producer_epoch,
        ..v1::OpenTopic::default()
    };
    producer.send(ProduceRequest::open(open)).await;
}

/// A stream with "orders" open under handle 1 for this life.
async fn stream_of(broker: &TestBroker, life: &v1::OpenProducerResponse) -> Producer {
    let mut producer = broker.producer().await;
    send_open(&producer, life).await;
    match producer.next().await {
        Response::Opened(opened) => assert_eq!(opened.last_sequences, [], "a new life"),
        other => panic!("{other:?}"),
    }
    producer
}

fn batch_to(partition: u32, sequence: u64, value: &str) -> ProduceBatch {
    ProduceBatch {
        partition,
        ..batch_of(sequence, &[value])
    }
}

#[track_caller]
fn check_fenced(problem: &Problem, epoch: u32) {
    assert_eq!(problem.reason(), ErrorReason::ProducerFenced, "reason");
    let epoch = epoch.to_string();
    check_facts(
        problem,
        &[
            ("producer", "relay-1"),
            ("producer_epoch", &epoch),
            ("topic", "orders"),
        ],
    );
    assert!(problem.message().contains("relay-1"), "{problem}");
    assert!(problem.hint().is_some(), "{problem}");
}

/// Whether opening "orders" is refused to a life.
async fn check_open_is_fenced(broker: &TestBroker, life: &v1::OpenProducerResponse, epoch: u32) {
    let mut producer = broker.producer().await;
    send_open(&producer, life).await;
    match producer.next().await {
        Response::OpenRefused(refused) => check_fenced(&problem_of(refused.error.as_ref()), epoch),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_newer_life_shuts_the_older_one_out_of_all_partitions() {
    let broker = TestBroker::start().await;
    broker.create("orders", 3).await;
    let first = broker.begin_life("relay-1").await;
    assert_eq!((first.producer_id.len(), first.producer_epoch), (16, 1));
    let mut old = stream_of(&broker, &first).await;
    old.produce(batch_to(0, 0, "first")).await;
    old.accepted().await;

    let second = broker.begin_life("relay-1").await;
    assert_eq!(second.producer_id, first.producer_id, "of the same name");
    assert_eq!(second.producer_epoch, 2);
    // The next one, one that was accepted, and the first of a partition that nobody has written to.
    for (partition, sequence) in [(0, 1), (0, 0), (2, 0)] {
        old.produce(batch_to(partition, sequence, "zombie")).await;
        let (refused, problem) = old.refused().await;
        assert_eq!((refused.partition, refused.sequence), (partition, sequence));
        assert!(!refused.is_sequence_spent, "nothing happened");
        check_fenced(&problem, 2);
    }
    check_open_is_fenced(&broker, &first, 2).await;

    let mut new = stream_of(&broker, &second).await;
    new.produce(batch_to(0, 0, "second")).await;
    let accepted = new.accepted().await;
    assert_eq!((accepted.base_offset, accepted.is_duplicate), (1, false));
    // A batch that is refused before it is sequenced is told of the newer life as well.
    let malformed = ProduceBatch {
        record_count: 7,
        ..batch_to(0, 1, "zombie")
    };
    old.produce(malformed).await;
    check_fenced(&old.refused().await.1, 2);
    assert_eq!(old.finish().await, [], "the stream has gone on");
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["first", "second"]);
}

#[tokio::test]
async fn lives_are_remembered_over_restarts() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    let first = broker.begin_life("relay-1").await;
    let second = broker.begin_life("relay-1").await;
    let mut producer = stream_of(&broker, &second).await;
    producer.produce(batch_to(0, 0, "a")).await;
    producer.accepted().await;
    drop(producer);

    let broker = broker.restart().await;
    assert!(broker.broker.report().entry_count > 0, "replayed");
    check_open_is_fenced(&broker, &first, 2).await;
    // What is behind a checkpoint is remembered as well: each start takes one.
    let broker = broker.restart().await;
    check_open_is_fenced(&broker, &first, 2).await;
    let mut producer = broker.producer().await;
    send_open(&producer, &second).await;
    let Response::Opened(opened) = producer.next().await else {
        panic!("not opened");
    };
    let last = v1::LastSequence {
        partition: 0,
        sequence: 0,
    };
    assert_eq!(opened.last_sequences, [last]);
    producer.produce(batch_to(0, 0, "a")).await;
    assert!(producer.accepted().await.is_duplicate, "a repeated batch");
    let third = broker.begin_life("relay-1").await;
    assert_eq!(third.producer_epoch, 3);
    producer.produce(batch_to(1, 0, "zombie")).await;
    check_fenced(&producer.refused().await.1, 3);
}

#[tokio::test]
async fn a_batch_is_ordered_before_or_behind_the_life_that_begins_while_it_is_on_its_way() {
    let (broker, _disk, gate) = gated_broker(config()).await;
    broker.create("orders", 1).await;
    let first = broker.begin_life("relay-1").await;
    let mut old = stream_of(&broker, &first).await;
    old.produce(batch_to(0, 0, "warm")).await;
    old.accepted().await;

    gate.close();
    old.produce(batch_to(0, 1, "before")).await;
    gate.held().await;
    let mut calls = broker.produce();
    let begun = tokio::spawn(async move {
        let name = "relay-1".to_owned();
        soon(calls.open_producer(v1::OpenProducerRequest { name })).await
    });
    old.produce(batch_to(0, 2, "beside")).await;
    gate.open();
    let second = soon(begun).await.unwrap().unwrap().into_inner();
    assert_eq!(second.producer_epoch, 2);
    let before = old.accepted().await;
    assert_eq!(
        (before.sequence, before.base_offset),
        (1, 1),
        "sequenced first"
    );
    // The other has come before the life or after it, and is on disk if and only if it was accepted.
    let mut expected = vec!["warm", "before"];
    match old.next().await {
        Response::Accepted(accepted) => {
            assert_eq!(accepted.batches[0].sequence, 2);
            expected.push("beside");
        }
        Response::Refused(refused) => check_fenced(&problem_of(refused.error.as_ref()), 2),
        other => panic!("{other:?}"),
    }
    old.produce(batch_to(0, 3, "zombie")).await;
    check_fenced(&old.refused().await.1, 2);
    let mut new = stream_of(&broker, &second).await;
    new.produce(batch_to(0, 0, "after")).await;
    new.accepted().await;
    expected.push("after");
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), expected);
}

#[tokio::test]
async fn names_are_listed_by_pages_and_deleted() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    for name in ["relay-2", "relay-1", "import", "relay-1"] {
        broker.begin_life(name).await;
    }
    let all = broker.producers().await;
    let told: Vec<_> = all
        .iter()
        .map(|it| (it.name.as_str(), it.producer_epoch))
        .collect();
    assert_eq!(told, [("import", 1), ("relay-1", 2), ("relay-2", 1)]);
    assert!(all[1].open_time_ms >= all[1].create_time_ms, "{:?}", all[1]);
    assert!(all.iter().all(|it| it.create_time_ms > 0), "{all:?}");
    let request = |page_token: &str| v1::ListProducersRequest {
        page_size: 1,
        page_token: page_token.to_owned(),
        name_prefix: "relay".to_owned(),
    };
    let page = soon(broker.produce().list_producers(request(""))).await;
    let page = page.unwrap().into_inner();
    assert_eq!(
        (page.producers.len(), &*page.next_page_token),
        (1, "relay-1")
    );
    let page = soon(broker.produce().list_producers(request("relay-1"))).await;
    let page = page.unwrap().into_inner();
    assert_eq!(page.producers[0].name, "relay-2");
    assert_eq!(page.next_page_token, "");

    let first = broker.begin_life("relay-1").await;
    let mut producer = stream_of(&broker, &first).await;
    broker.delete_producer("relay-1", true).await.unwrap();
    producer.produce(batch_to(0, 0, "a")).await;
    producer.accepted().await;
    broker.delete_producer("relay-1", false).await.unwrap();
    producer.produce(batch_to(0, 1, "zombie")).await;
    let (_, problem) = producer.refused().await;
    assert_eq!(problem.reason(), ErrorReason::ProducerFenced);
    assert_eq!(problem.metadata().get("producer_epoch"), None, "{problem}");
    let missing = refusal(
        broker.delete_producer("relay-1", false).await,
        ErrorReason::ProducerNotFound,
    );
    check_facts(&missing, &[("producer", "relay-1")]);
    assert_eq!(missing.hint(), Some("did you mean \"relay-2\"?"));

    let broker = broker.restart().await;
    let again = broker.begin_life("relay-1").await;
    assert_ne!(again.producer_id, first.producer_id, "another one");
    let mut old = broker.producer().await;
    send_open(&old, &first).await;
    let Response::OpenRefused(refused) = old.next().await else {
        panic!("opened");
    };
    let problem = problem_of(refused.error.as_ref());
    assert_eq!(problem.reason(), ErrorReason::ProducerFenced);
}

#[tokio::test]
async fn what_is_no_name_is_refused() {
    let broker = TestBroker::start().await;
    for name in ["", ".relay", "a b", &"n".repeat(201)] {
        let request = v1::OpenProducerRequest {
            name: name.to_owned(),
        };
        let status = soon(broker.produce().open_producer(request)).await;
        let problem = refusal(status, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "name")]);
    }
    let request = v1::ListProducersRequest {
        page_token: "no/token".to_owned(),
        ..v1::ListProducersRequest::default()
    };
    let status = soon(broker.produce().list_producers(request)).await;
    let problem = refusal(status, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "page_token")]);
    assert_eq!(broker.producers().await, []);
}

#[tokio::test]
async fn there_are_only_so_many_names() {
    let mut config = config();
    config.engine.core.producer_name_count_max = 2;
    let broker = TestBroker::start_with(config).await;
    broker.begin_life("a").await;
    broker.begin_life("b").await;
    let request = v1::OpenProducerRequest {
        name: "c".to_owned(),
    };
    let status = soon(broker.produce().open_producer(request.clone())).await;
    let problem = refusal(status, ErrorReason::LimitReached);
    let facts = [("limit", "producer_names_max"), ("limit_value", "2")];
    check_facts(&problem, &facts);
    assert_eq!(broker.begin_life("a").await.producer_epoch, 2);
    broker.delete_producer("b", false).await.unwrap();
    soon(broker.produce().open_producer(request)).await.unwrap();
}
