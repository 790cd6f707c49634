//! Of what travels.

use bytes::Bytes;
use prost::Message;
use towpath_proto::compression::{Codec, Compression, compress};
use towpath_proto::v1;

use super::Seed;

pub(super) fn record(number: u8) -> v1::Record {
    v1::Record {
        key: Some(Bytes::from(vec![b'k', number])),
        value: Some(Bytes::from(vec![b'v'; 30])),
        headers: vec![v1::Header {
            name: "n".to_owned(),
            value: Bytes::from_static(b"1"),
        }],
        event_time_ms: Some(-5),
    }
}

pub(super) fn records() -> v1::RecordBatch {
    let empty = v1::Record::default();
    v1::RecordBatch {
        records: vec![record(1), empty, record(2)],
    }
}

pub(super) fn batch(sequence: u64) -> v1::ProduceBatch {
    v1::ProduceBatch {
        handle: 1,
        sequence,
        record_count: 3,
        crc: Some(crc32fast::hash(&records().encode_to_vec())),
        batch: Some(records()),
        ..v1::ProduceBatch::default()
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    let encoded = records().encode_to_vec();
    let mut seeds = vec![Seed::new("batch", "three", encoded.clone())];
    for (number, codec) in (0..).zip(Codec::ALL) {
        let long = encoded.repeat(20);
        let frame = compress(&long, Compression::of(codec)).unwrap_or_default();
        for (name, bytes) in [("plain", long.as_slice()), ("frame", frame.as_ref())] {
            let mut input = vec![number];
            input.extend(1_000_000_u32.to_le_bytes());
            input.extend(bytes);
            seeds.push(Seed::new("compression", format!("{codec}-{name}"), input));
        }
    }
    seeds.extend(wire());
    seeds
}

fn wire() -> Vec<Seed> {
    let produce = v1::ProduceRequest {
        request: Some(v1::produce_request::Request::Produce(batch(3))),
    };
    let publish = v1::PublishRequest {
        topic: "a".to_owned(),
        records: records().records,
        partition: Some(1),
    };
    let fetched = || v1::FetchedBatch {
        handle: 1,
        record_count: 3,
        offset_deltas: vec![0, 2, 5],
        batch: Some(records()),
        ..v1::FetchedBatch::default()
    };
    let fetch = v1::FetchResponse {
        response: Some(v1::fetch_response::Response::Batch(fetched())),
    };
    let join = v1::JoinResponse {
        response: Some(v1::join_response::Response::Batch(fetched())),
    };
    let delivered = v1::Delivered {
        delivery: 1,
        spans: vec![v1::DeliveredSpan {
            record_count: 3,
            ..v1::DeliveredSpan::default()
        }],
        batch: Some(records()),
        ..v1::Delivered::default()
    };
    let receive = v1::ReceiveResponse {
        response: Some(v1::receive_response::Response::Delivered(delivered.clone())),
    };
    let pull = v1::PullResponse {
        deliveries: vec![delivered],
        ..v1::PullResponse::default()
    };
    let messages = [
        produce.encode_to_vec(),
        publish.encode_to_vec(),
        commit().encode_to_vec(),
        fetch.encode_to_vec(),
        join.encode_to_vec(),
        receive.encode_to_vec(),
        pull.encode_to_vec(),
    ];
    let messages = (0..).zip(messages);
    let seed = |(number, message): (u8, Vec<u8>)| {
        Seed::new(
            "wire",
            format!("message-{number}"),
            [vec![number], message].concat(),
        )
    };
    messages.map(seed).collect()
}

/// A commit of each kind of operation.
pub(super) fn commit() -> v1::CommitRequest {
    use v1::operation::Operation as Kind;
    let operation = |kind| v1::Operation {
        operation: Some(kind),
    };
    let append = v1::AppendRecords {
        topic: "a".to_owned(),
        records: records().records,
        partition: Some(0),
        expectation: None,
    };
    let schedule = v1::ScheduleRecord {
        topic: "a".to_owned(),
        record: Some(record(3)),
        partition: None,
        time: Some(v1::ScheduleTime {
            time: Some(v1::schedule_time::Time::DelayMs(60_000)),
        }),
        schedule_id: "s-1".to_owned(),
    };
    v1::CommitRequest {
        operations: vec![
            operation(Kind::Append(append)),
            operation(Kind::Schedule(schedule)),
        ],
        idempotency_key: Bytes::from_static(b"once"),
    }
}
