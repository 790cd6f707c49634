//! A disk that is full, and one that fails.

use std::path::Path;

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::ProduceBatch;
use towpath_storage::vfs::sim::{Fault, Injection, OperationKind};

use crate::gated_disk::gated_broker;
use crate::harness::{
    TestBroker, all_values, batch_of, config, problem_of, record, refusal, simulated, soon, source,
};

#[tokio::test]
async fn a_full_disk_refuses_batches_and_resumes_by_itself() {
    let (disk, environment) = simulated(1 << 30);
    let broker = TestBroker::start_in(config(), environment).await;
    broker.create("orders", 1).await;
    broker.create("other", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["before"])).await;
    producer.accepted().await;

    let used: usize = disk
        .paths()
        .iter()
        .filter_map(|path| disk.read(Path::new(path)).ok())
        .map(|content| content.len())
        .sum();
    disk.set_total_bytes(used as u64 + 64 * 1024);
    // Noticed within a moment, or when a segment has to grow.
    let mut sequence = 1;
    let problem = loop {
        producer.produce(batch_of(sequence, &["v"])).await;
        match producer.next().await {
            Response::Accepted(_) => sequence += 1,
            Response::Refused(refused) => {
                assert!(!refused.is_sequence_spent, "worth another try");
                break problem_of(refused.error.as_ref());
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(problem.reason(), ErrorReason::StorageFull);
    assert!(problem.retry_after().is_some(), "{problem:?}");
    let published = v1::PublishRequest {
        topic: "other".to_owned(),
        records: vec![record(None, "v")],
        partition: None,
    };
    let published = soon(broker.produce().publish(published)).await;
    refusal(published, ErrorReason::StorageFull);
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read).len() as u64, sequence, "reading goes on");
    broker.delete("other").await;

    disk.set_total_bytes(1 << 30);
    let resuming = async {
        loop {
            producer.produce(batch_of(sequence, &["after"])).await;
            match producer.next().await {
                Response::Accepted(_) => return,
                Response::Refused(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    soon(resuming).await;
    let read = broker.read_all(source("orders")).await;
    assert_eq!(
        all_values(&read).len() as u64,
        sequence + 1,
        "nothing twice, nothing lost"
    );
}

#[tokio::test]
async fn a_disk_that_fails_a_sync_ends_the_broker_without_a_promise() {
    let (broker, disk, gate) = gated_broker(config()).await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["before"])).await;
    producer.accepted().await;
    gate.close();
    producer.produce(batch_of(1, &["v"])).await;
    gate.held().await;
    disk.inject(
        Injection::new(Fault::Io)
            .on(OperationKind::SyncData)
            .under("journal"),
    );
    gate.open();
    let (refused, problem) = producer.refused().await;
    assert_eq!(problem.reason(), ErrorReason::StorageFailed);
    assert!(!refused.is_sequence_spent, "nobody knows");
    let cause = soon(broker.broker.failed()).await;
    assert!(cause.contains("sync"), "{cause}");
    producer.produce(batch_of(1, &["v"])).await;
    let (_, problem) = producer.refused().await;
    assert_eq!(
        problem.reason(),
        ErrorReason::ShuttingDown,
        "nothing is begun any more"
    );
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["before"], "only what was on disk");
    producer.close();
    soon(broker.broker.shutdown()).await;
}

#[tokio::test]
async fn every_batch_is_answered_when_the_broker_fails_between_two_rounds() {
    let mut config = config();
    // One batch a round.
    config.engine.sequencer.round_bytes_max = 4096;
    let (broker, disk, gate) = gated_broker(config).await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["before"])).await;
    producer.accepted().await;
    gate.close();
    let value = "v".repeat(5000);
    producer.produce(batch_of(1, &[&value])).await;
    gate.held().await;
    for sequence in 2..5 {
        producer.produce(batch_of(sequence, &[&value])).await;
    }
    // The reader has come to what is sent last, so the others wait for the sequencer.
    let last = ProduceBatch {
        handle: 9,
        ..batch_of(0, &["v"])
    };
    producer.produce(last).await;
    assert_eq!(producer.refused().await.0.handle, 9);
    // What the first round has made durable cannot be settled.
    disk.inject(
        Injection::new(Fault::Io)
            .on(OperationKind::Write)
            .under("topics"),
    );
    gate.let_one_pass();
    soon(broker.broker.failed()).await;
    gate.open();
    let answers = producer.finish().await;
    let sequences: Vec<_> = answers.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
    assert!(
        answers.is_sorted_by(|left, right| left.1 >= right.1),
        "{answers:?}"
    );
}
