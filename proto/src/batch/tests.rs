//! A walk accepts exactly what every typed client reads to the same records, and never panics.
#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::testing::seeded;
use crate::v1;

fn header(name: &str, value: &'static [u8]) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: Bytes::from_static(value),
    }
}

fn any_record() -> impl Strategy<Value = v1::Record> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let header = ("\\PC{1,20}", bytes()).prop_map(|(name, value)| v1::Header { name, value });
    (
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        proptest::collection::vec(header, 0..4),
        proptest::option::of(any::<i64>()),
    )
        .prop_map(|(key, value, headers, event_time_ms)| v1::Record {
            key,
            value,
            headers,
            event_time_ms,
        })
}

fn any_batch() -> impl Strategy<Value = v1::RecordBatch> {
    proptest::collection::vec(any_record(), 1..8).prop_map(|records| v1::RecordBatch { records })
}

fn new_record(record: &v1::Record) -> NewRecord<'_, impl Iterator<Item = (&str, &[u8])> + Clone> {
    NewRecord {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: record
            .headers
            .iter()
            .map(|header| (header.name.as_str(), header.value.as_ref())),
        event_time_ms: record.event_time_ms,
    }
}

fn typed_of_view(view: &RecordView<'_>) -> v1::Record {
    v1::Record {
        key: view.key().map(Bytes::copy_from_slice),
        value: view.value().map(Bytes::copy_from_slice),
        headers: view.headers().map(typed_header).collect(),
        event_time_ms: view.event_time_ms(),
    }
}

fn typed_of_owned(record: &OwnedRecord) -> v1::Record {
    assert_eq!(
        record.key(),
        record.key_bytes().as_deref(),
        "both forms of the key"
    );
    assert_eq!(
        record.value(),
        record.value_bytes().as_deref(),
        "both forms of the value"
    );
    v1::Record {
        key: record.key_bytes(),
        value: record.value_bytes(),
        headers: record.headers().map(typed_header).collect(),
        event_time_ms: record.event_time_ms(),
    }
}

fn typed_header((name, value): (&str, &[u8])) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value),
    }
}

/// Whatever the walk accepts must read the same through prost and through both kinds of view.
fn check_any_bytes(batch: &[u8]) {
    let Ok(summary) = walk(batch, &BatchLimits::default()) else {
        return;
    };
    let typed = v1::RecordBatch::decode(batch).expect("a batch that was accepted decodes");
    assert_eq!(
        typed.records.len(),
        summary.record_count as usize,
        "record count"
    );
    let views: Vec<_> = Records::new(batch)
        .map(|view| typed_of_view(&view.unwrap()))
        .collect();
    assert_eq!(views, typed.records, "borrowed views");
    let owned: Vec<_> = OwnedRecords::new(Bytes::copy_from_slice(batch))
        .map(|record| typed_of_owned(&record.unwrap()))
        .collect();
    assert_eq!(owned, typed.records, "owned records");
    check_passing(batch);
}

/// What is passed over must end where it does for who looks into it.
fn check_passing(batch: &[u8]) {
    let mut passing = Records::new(batch);
    for view in Records::new(batch).map(Result::unwrap) {
        assert!(passing.pass(), "a record to pass over");
        let end = view.position() + view.bytes().len();
        assert_eq!(passing.next_position(), end, "end of a record");
    }
    assert!(!passing.pass(), "behind the last record");
}

/// Checks what a walk says about a batch of these encoded records.
#[track_caller]
fn check_fault(records: &[&[u8]], expected: &BatchError) {
    let mut batch = Vec::new();
    for record in records {
        batch.extend([0x0a, u8::try_from(record.len()).unwrap()]);
        batch.extend_from_slice(record);
    }
    assert_eq!(walk(&batch, &small_limits()), Err(*expected), "walk");
    let last = OwnedRecords::new(Bytes::from(batch)).last().unwrap();
    if let Err(error) = last {
        assert_eq!(
            (error.record, error.header),
            (expected.record, expected.header),
            "owned"
        );
    }
}

fn small_limits() -> BatchLimits {
    BatchLimits {
        batch_bytes_max: 64,
        records_max: 3,
        record_bytes_max: 30,
        key_bytes_max: 4,
        headers_max: 2,
        header_name_bytes_max: 3,
        header_value_bytes_max: 5,
    }
}

fn in_record(record: u32, fault: Fault) -> BatchError {
    BatchError {
        record: Some(record),
        header: None,
        fault,
    }
}

fn in_header(header: u32, fault: Fault) -> BatchError {
    BatchError {
        record: Some(0),
        header: Some(header),
        fault,
    }
}

const GOOD: &[u8] = b"\x0a\x01k\x12\x01v";

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn random_bytes_never_panic_and_agree_with_the_typed_view(
        batch in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        check_any_bytes(&batch);
    }

    #[test]
    fn mutated_batches_never_panic_and_agree_with_the_typed_view(
        batch in any_batch(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = batch.encode_to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check_any_bytes(&bytes);
    }

    #[test]
    fn typed_batches_are_accepted_and_put_writes_the_same_bytes(batch in any_batch()) {
        let encoded = batch.encode_to_vec();
        let summary = walk(&encoded, &BatchLimits::default()).unwrap();
        prop_assert_eq!(summary.record_count as usize, batch.records.len());
        let values = batch.records.iter().filter_map(|record| record.value.as_ref());
        prop_assert_eq!(summary.value_bytes, values.map(Bytes::len).sum::<usize>());

        let mut put = BytesMut::new();
        for record in &batch.records {
            let (before, new) = (put.len(), new_record(record));
            new.check(&BatchLimits::default()).unwrap();
            new.put(&mut put);
            prop_assert_eq!(put.len() - before, new.batch_len());
            prop_assert_eq!(new.record_len(), record.encoded_len());
        }
        prop_assert_eq!(&put[..], &encoded[..]);
        check_any_bytes(&encoded);
    }

    #[test]
    fn positions_point_at_the_encoded_records(batch in any_batch()) {
        let encoded = batch.encode_to_vec();
        for view in Records::new(&encoded) {
            let view = view.unwrap();
            let (start, len) = (view.position(), view.bytes().len());
            prop_assert_eq!(&encoded[start..start + len], view.bytes());
        }
    }

    #[test]
    fn check_before_sending_agrees_with_the_walk(record in any_record()) {
        let limits = BatchLimits { record_bytes_max: 300, header_value_bytes_max: 150, key_bytes_max: 150,
            headers_max: 2, header_name_bytes_max: 30, ..BatchLimits::default() };
        let mut batch = BytesMut::new();
        new_record(&record).put(&mut batch);
        prop_assert_eq!(
            new_record(&record).check(&limits).is_ok(),
            walk(&batch, &limits).is_ok()
        );
    }
}

proptest! {
    #[test]
    fn an_edited_batch_has_the_records_that_were_kept_with_their_headers(
        batch in any_batch(),
        choices in proptest::collection::vec(0..3_u8, 1..8),
    ) {
        let choice = |number: u32| choices[number as usize % choices.len()];
        let encoded = batch.encode_to_vec();
        let edited = edit(&encoded, |number| match choice(number) {
            0 => Edit::Keep,
            1 => Edit::Drop,
            _ => Edit::AddHeader("towpath-stale", b"7"),
        });
        let mut expected = v1::RecordBatch::default();
        for (number, mut record) in (0..).zip(batch.records) {
            match choice(number) {
                0 => {}
                1 => continue,
                _ => record.headers.push(header("towpath-stale", b"7")),
            }
            expected.records.push(record);
        }
        prop_assert_eq!(v1::RecordBatch::decode(edited.clone()).unwrap(), expected.clone());
        if !expected.records.is_empty() {
            let walked = walk(&edited, &BatchLimits::NONE).unwrap();
            prop_assert_eq!(walked.record_count as usize, expected.records.len());
        }
    }
}

#[test]
fn fields_are_read_in_any_order() {
    let batch = *b"\x0a\x0c\x20\x05\x12\x01v\x1a\x03\x0a\x01n\x0a\x00";
    let view = Records::new(&batch).next().unwrap().unwrap();
    assert_eq!(view.key(), Some(&[][..]), "the key comes last");
    check_any_bytes(&batch);
}

#[test]
fn an_absent_key_is_not_an_empty_key() {
    let records = vec![
        v1::Record::default(),
        v1::Record {
            key: Some(Bytes::new()),
            value: Some(Bytes::new()),
            ..Default::default()
        },
    ];
    let encoded = v1::RecordBatch { records }.encode_to_vec();
    let views: Vec<_> = Records::new(&encoded).map(Result::unwrap).collect();
    assert_eq!((views[0].key(), views[0].value()), (None, None), "absent");
    assert_eq!(
        (views[1].key(), views[1].value()),
        (Some(&[][..]), Some(&[][..])),
        "empty"
    );
    check_any_bytes(&encoded);
}

#[test]
fn headers_keep_their_order_and_may_repeat_a_name() {
    let headers = vec![header("b", b"1"), header("a", b""), header("b", b"2")];
    let record = v1::Record {
        headers: headers.clone(),
        ..Default::default()
    };
    let encoded = v1::RecordBatch {
        records: vec![record],
    }
    .encode_to_vec();
    let view = Records::new(&encoded).next().unwrap().unwrap();
    assert_eq!(
        view.headers().map(typed_header).collect::<Vec<_>>(),
        headers,
        "headers"
    );
    assert_eq!(view.header_count(), 3, "count");
}

#[test]
fn a_batch_without_records_is_refused() {
    assert_eq!(
        walk(b"", &small_limits()),
        Err(BatchError::of_batch(Fault::Empty)),
        "empty"
    );
}

#[test]
fn unknown_fields_are_refused_at_every_level() {
    let unknown = |tag| Fault::UnknownField { tag };
    assert_eq!(
        walk(b"\x12\x00", &small_limits()),
        Err(BatchError::of_batch(unknown(0x12))),
        "batch"
    );
    check_fault(&[GOOD, b"\x2a\x00"], &in_record(1, unknown(0x2a)));
    check_fault(&[b"\x08\x00"], &in_record(0, unknown(0x08)));
    check_fault(
        &[b"\x1a\x05\x0a\x01n\x1a\x00"],
        &in_header(0, unknown(0x1a)),
    );
}

#[test]
fn a_singular_field_given_twice_is_refused() {
    let twice = |field| Fault::RepeatedField { field };
    check_fault(&[b"\x0a\x01k\x0a\x01k"], &in_record(0, twice("key")));
    check_fault(&[GOOD, b"\x12\x00\x12\x00"], &in_record(1, twice("value")));
    check_fault(
        &[b"\x20\x01\x20\x01"],
        &in_record(0, twice("event_time_ms")),
    );
    check_fault(
        &[b"\x1a\x06\x0a\x01n\x0a\x01n"],
        &in_header(0, twice("name")),
    );
    check_fault(
        &[b"\x1a\x07\x0a\x01n\x12\x00\x12\x00"],
        &in_header(0, twice("value")),
    );
}

#[test]
fn bytes_that_end_inside_a_field_are_refused() {
    check_fault(&[GOOD, b"\x0a\x05k"], &in_record(1, Fault::Truncated));
    check_fault(&[b"\x0a"], &in_record(0, Fault::Truncated));
    check_fault(&[b"\x20\x80"], &in_record(0, Fault::Truncated));
    check_fault(&[b"\x1a\x04\x0a\x05n "], &in_header(0, Fault::Truncated));
    check_fault(&[b"\x1a\x03\x0a"], &in_header(0, Fault::Truncated));
    let cut = [&[0x0a, 9][..], GOOD].concat();
    assert_eq!(
        walk(&cut, &small_limits()),
        Err(in_record(0, Fault::Truncated)),
        "record"
    );
}

#[test]
fn numbers_that_no_client_reads_are_refused() {
    let length = b"\x0a\x81\x80\x80\x80\x80\x00k";
    check_fault(&[length], &in_record(0, Fault::NumberTooLong));
    let eleven_bytes = b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00";
    check_fault(&[eleven_bytes], &in_record(0, Fault::NumberTooLong));
    let bit_64 = b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
    check_fault(&[bit_64], &in_record(0, Fault::NumberTooLong));
}

#[test]
fn header_names_are_utf_8_and_not_empty() {
    check_fault(
        &[b"\x1a\x03\x0a\x01\xff"],
        &in_header(0, Fault::HeaderNameNotUtf8),
    );
    check_fault(
        &[b"\x1a\x02\x0a\x00"],
        &in_header(0, Fault::HeaderNameEmpty),
    );
    check_fault(
        &[b"\x1a\x03\x0a\x01n\x1a\x00"],
        &in_header(1, Fault::HeaderNameEmpty),
    );
}

#[test]
fn every_limit_is_enforced() {
    let size = |size_bytes, size_bytes_max| (size_bytes, size_bytes_max);
    let (size_bytes, size_bytes_max) = size(65, 64);
    assert_eq!(
        walk(&[0; 65], &small_limits()),
        Err(BatchError::of_batch(Fault::BatchTooLarge {
            size_bytes,
            size_bytes_max
        })),
        "batch"
    );
    check_fault(
        &[GOOD; 4],
        &BatchError::of_batch(Fault::TooManyRecords { records_max: 3 }),
    );
    let (size_bytes, size_bytes_max) = size(31, 30);
    let large = [&[0x12, 29][..], &[b'v'; 29]].concat();
    check_fault(
        &[GOOD, &large],
        &in_record(
            1,
            Fault::RecordTooLarge {
                size_bytes,
                size_bytes_max,
            },
        ),
    );
    let (size_bytes, size_bytes_max) = size(5, 4);
    check_fault(
        &[b"\x0a\x0512345"],
        &in_record(
            0,
            Fault::KeyTooLarge {
                size_bytes,
                size_bytes_max,
            },
        ),
    );
    check_fault(
        &[b"\x1a\x03\x0a\x01n\x1a\x03\x0a\x01n\x1a\x03\x0a\x01n"],
        &in_header(2, Fault::TooManyHeaders { headers_max: 2 }),
    );
    let (size_bytes, size_bytes_max) = size(4, 3);
    check_fault(
        &[b"\x1a\x06\x0a\x04name"],
        &in_header(
            0,
            Fault::HeaderNameTooLong {
                size_bytes,
                size_bytes_max,
            },
        ),
    );
    let (size_bytes, size_bytes_max) = size(6, 5);
    check_fault(
        &[b"\x1a\x0b\x0a\x01n\x12\x06123456"],
        &in_header(
            0,
            Fault::HeaderValueTooLarge {
                size_bytes,
                size_bytes_max,
            },
        ),
    );
}

#[test]
fn what_is_exactly_at_the_limits_passes() {
    let record = [
        &b"\x0a\x041234\x1a\x0c\x0a\x03abc\x12\x0512345"[..],
        b"\x12\x08",
    ]
    .concat();
    let record = [&record[..], &[b'v'; 8]].concat();
    assert_eq!(record.len(), 30, "a record of the largest size");
    let batch = [&[0x0a, 30][..], &record, &[0x0a, 30], &record].concat();
    assert_eq!(batch.len(), 64, "a batch of the largest size");
    assert_eq!(
        walk(&batch, &small_limits()),
        Ok(BatchSummary {
            record_count: 2,
            value_bytes: 16
        }),
        "walk"
    );
}

#[test]
fn an_error_says_where_it_is() {
    let error = BatchError {
        record: Some(3),
        ..in_header(1, Fault::HeaderNameNotUtf8)
    };
    assert_eq!(
        error.to_string(),
        "header name is not UTF-8 record=3 header=1",
        "text"
    );
    assert_eq!(error.field_path(), "batch.records[3].headers[1]", "path");
}

#[test]
fn crc_is_the_one_of_zip() {
    assert_eq!(
        crc(b"123456789"),
        0xcbf4_3926,
        "check value of CRC-32/ISO-HDLC"
    );
}
