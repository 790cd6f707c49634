//! A consumer against a model of a broker whose leases end at any time and of connections that break
//! anywhere: each key is handled in order, every record in the end, and every answer is true.

mod caught_up;
mod ending;
mod model;
mod rules;

use std::collections::BTreeMap;

use bytes::BytesMut;
use tokio::sync::oneshot;
use towpath_proto::batch::{self, NewRecord};
use towpath_proto::v1::settlement::Outcome;
use towpath_proto::wire::Delivered;
use towpath_proto::wire::receive_response::Response;

use super::*;
use crate::testing::for_seeds;
use model::World;

const RECORDS_MAX: u64 = 12;

fn receiving() -> Receiving {
    let options = SubscriberOptions {
        subscription: "email".to_owned(),
        client_name: "test".to_owned(),
        records_max: RECORDS_MAX,
        bytes_max: 1 << 20,
        refuses_to_wait: false,
    };
    Receiving::new(options, [1; 16])
}

fn opened() -> Response {
    Response::Opened(v1::ReceiveOpened {
        subscription_id: 3,
        topic: "orders".to_owned(),
        topic_id: 7,
        partition_count: 2,
        mode: v1::SubscriptionMode::KeyShared.into(),
        ack_deadline_ms: 30_000,
        heartbeat_interval_ms: 5_000,
        session_timeout_ms: 15_000,
        broker_id: "0f".to_owned(),
        dead_letter_topic: "billing.dlq".to_owned(),
    })
}

/// Records by offset and key, as one delivery.
fn delivered(delivery: u64, partition: u32, records: &[(u64, Option<&str>)]) -> Response {
    let mut bytes = BytesMut::new();
    for (_, key) in records {
        let record = NewRecord {
            key: key.map(str::as_bytes),
            value: Some(b"v".as_slice()),
            headers: std::iter::empty(),
            event_time_ms: None,
        };
        record.put(&mut bytes);
    }
    let spans = records.iter().map(|(offset, _)| v1::DeliveredSpan {
        first_offset: *offset,
        record_count: 1,
        attempt: 1,
        lsn: 1 + offset,
        append_time_ms: 0,
    });
    Response::Delivered(Delivered {
        delivery,
        partition,
        is_dead_letter: false,
        spans: spans.collect(),
        crc: batch::crc(&bytes),
        batch: bytes.freeze(),
    })
}

/// A consumer that the broker has let in, with credit given.
fn open() -> Receiving {
    let mut receiving = receiving();
    connect(&mut receiving, opened());
    receiving
}

/// A new stream. Returns what is said over it before anything is heard, and right after.
fn connect(receiving: &mut Receiving, opened: Response) -> Vec<Request> {
    receiving.begin();
    let mut said = requests(receiving);
    hear(receiving, [opened]);
    said.extend(requests(receiving));
    said
}

fn hear(receiving: &mut Receiving, responses: impl IntoIterator<Item = Response>) {
    for response in responses {
        let heard = receiving.hear(Some(response), Instant::now());
        assert!(matches!(heard, Heard::GoOn | Heard::Opened(_)), "{heard:?}");
    }
}

fn requests(receiving: &mut Receiving) -> Vec<Request> {
    std::iter::from_fn(|| receiving.take_request())
        .filter_map(|request| request.request)
        .collect()
}

/// What is said of records, in short, such as `1: ack 0..2`; one text for each request.
fn settlements(receiving: &mut Receiving) -> Vec<String> {
    let settles = requests(receiving).into_iter().filter_map(|it| match it {
        Request::Settle(settle) => Some(describe(&settle)),
        _ => None,
    });
    settles.collect()
}

fn describe(settle: &v1::SettleDeliveries) -> String {
    let settlements = settle.settlements.iter().map(|it| {
        let outcome = match it.outcome.as_ref().unwrap() {
            Outcome::Ack(_) => "ack",
            Outcome::Nack(_) => "nack",
            Outcome::Release(_) => "release",
            Outcome::DeadLetter(_) => "dead-letter",
            Outcome::Start(_) => "start",
            Outcome::Extend(_) => "extend",
        };
        let ranges = it
            .ranges
            .iter()
            .map(|it| format!(" {}..{}", it.start, it.end));
        format!("{}: {outcome}{}", it.delivery, ranges.collect::<String>())
    });
    settlements.collect::<Vec<_>>().join(", ")
}

/// Confirms a request of so many settlements, of which nothing was expired.
fn settled(count: usize) -> Response {
    let results = vec![v1::SettleResult::default(); count];
    Response::Settled(v1::Settled { results })
}

fn lost(start: u64, end: u64) -> Response {
    let ranges = vec![v1::OffsetRange { start, end }];
    Response::Lost(v1::DeliveryLost {
        partition: 0,
        ranges,
        is_dead_letter: false,
    })
}

/// Begins with everything that may be begun with, by offset.
fn take_all(receiving: &mut Receiving) -> BTreeMap<u64, Ticket> {
    let mut tickets = BTreeMap::new();
    while let Taken::Record(record, ticket) = receiving.take(Instant::now()) {
        tickets.insert(record.offset().get(), ticket);
    }
    tickets
}

fn offsets(tickets: &BTreeMap<u64, Ticket>) -> Vec<u64> {
    tickets.keys().copied().collect()
}

/// Acks, and returns who is told what became of that.
fn ack(receiving: &mut Receiving, ticket: Ticket) -> Answer {
    let (sender, answer) = oneshot::channel();
    receiving.settle(ticket, DeliveryOutcome::Ack, Some(sender));
    answer
}

type Answer = oneshot::Receiver<Result<(), Error>>;

#[test]
fn each_key_is_in_order_and_all_is_handled_whatever_happens() {
    for_seeds(500, |random| {
        let mut world = World::new(random);
        for _ in 0..500 {
            world.step();
        }
        world.come_to_rest();
    });
}
