//! What of a record reaches the batch.

use bytes::BytesMut;
use towpath_proto::batch::Records;

use super::*;
use crate::time::from_ms;

#[track_caller]
fn check(record: &Record, source: &str, headers: &[(&str, &str)]) {
    let mut batch = BytesMut::new();
    let new_record = record.as_new_record(source);
    new_record.put(&mut batch);
    assert_eq!(new_record.batch_len(), batch.len(), "length");
    let view = Records::new(&batch).next().unwrap().unwrap();
    assert_eq!(view.key(), record.key_bytes().map(|it| &it[..]), "key");
    assert_eq!(
        view.value(),
        record.value_bytes().map(|it| &it[..]),
        "value"
    );
    assert_eq!(view.event_time_ms(), record.event_time_ms, "event time");
    let found = view
        .headers()
        .map(|(name, value)| (name, str::from_utf8(value).unwrap()));
    assert_eq!(found.collect::<Vec<_>>(), headers, "headers");

    let message = record.to_proto(source);
    let found = message.headers.iter().map(|it| (&*it.name, &*it.value));
    let expected = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()));
    assert!(found.eq(expected), "headers of the message");
    assert_eq!(
        (message.key, message.value),
        (record.key.clone(), record.value.clone()),
        "bytes"
    );
}

#[test]
fn everything_that_was_set_is_sent() {
    let record = Record::new("v")
        .key("k")
        .header("a", "1")
        .header("a", "2")
        .header("empty", "")
        .event_time(from_ms(1_234));
    check(&record, "/s", &[("a", "1"), ("a", "2"), ("empty", "")]);
}

#[test]
fn absent_is_not_empty() {
    check(&Record::tombstone("k"), "/s", &[]);
    check(&Record::new("").key(""), "/s", &[]);
    assert_eq!(Record::tombstone("k").value_bytes(), None, "tombstone");
}

#[test]
fn only_events_without_a_source_get_that_of_the_client() {
    let mut record = Record::new("v").header("a", "1");
    record.ask_for_source();
    check(&record, "/s", &[("a", "1"), ("ce-source", "/s")]);
}

#[test]
fn an_event_is_named_once_whoever_names_it() {
    let named = Record::new("v").event("/shop", "e-1").header("a", "1");
    let expected = [("ce-source", "/shop"), ("ce-id", "e-1"), ("a", "1")];
    check(&named, "/s", &expected);
    let renamed = named.event("/till", "e-2");
    let expected = [("a", "1"), ("ce-source", "/till"), ("ce-id", "e-2")];
    check(&renamed, "/s", &expected);
    let mut event = Record::new("v");
    event.ask_for_source();
    let expected = [("ce-source", "/shop"), ("ce-id", "e-1")];
    check(&event.event("/shop", "e-1"), "/s", &expected);
}

#[test]
fn an_event_that_only_has_an_id_comes_from_the_client() {
    let named = Record::new("v").event_id("e-1").event_id("e-2");
    check(&named, "/s", &[("ce-id", "e-2"), ("ce-source", "/s")]);
    let from_elsewhere = Record::new("v").header("ce-source", "/shop");
    let expected = [("ce-source", "/shop"), ("ce-id", "e-1")];
    check(&from_elsewhere.event_id("e-1"), "/s", &expected);
}

#[test]
fn the_version_of_an_entity_is_decimal_text_and_there_once() {
    let record = Record::new("v").entity_version(7).entity_version(u64::MAX);
    let expected = [("towpath-entity-version", "18446744073709551615")];
    check(&record, "/s", &expected);
}

#[test]
fn a_record_rests_on_what_was_said_last() {
    let record = Record::new("v").expect_version(3);
    assert_eq!(record.expected_version(), Some(3), "version");
    assert_eq!(record.expected_offset(), None, "no offset");
    let record = record.expect_offset(Offset::new(5));
    assert_eq!(record.expected_version(), None, "no version");
    assert_eq!(record.expected_offset(), Some(Offset::new(5)), "offset");
}
