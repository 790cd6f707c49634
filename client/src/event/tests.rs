//! The envelope in the headers.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn headers(event: Event) -> Vec<(String, String)> {
    let record = Record::from(event);
    let headers = record.headers().iter();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    headers
        .map(|it| (it.name().to_owned(), text(it.value())))
        .collect()
}

fn value_of<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = headers.iter().filter(|(header, _)| header == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} occurs twice");
    value
}

#[test]
fn an_event_has_a_whole_envelope() {
    let event = Event::json("order.placed", &[1, 2]).unwrap();
    let record = Record::from(event.clone());
    assert_eq!(record.value_bytes().unwrap(), "[1,2]", "value");
    let headers = headers(event);
    assert_eq!(value_of(&headers, "ce-type"), Some("order.placed"), "type");
    assert_eq!(
        value_of(&headers, "content-type"),
        Some("application/json"),
        "content type"
    );
    let id: Uuid = value_of(&headers, "ce-id").unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7, "version of the id");
    let time: Timestamp = value_of(&headers, "ce-time").unwrap().parse().unwrap();
    assert_eq!(time, time_of(id), "time");
    assert_eq!(value_of(&headers, "ce-source"), None, "left to the client");
}

#[test]
fn what_is_set_takes_the_place_of_what_is_drawn() {
    let time = UNIX_EPOCH + Duration::from_millis(1_500);
    let event = Event::new("order.placed", "v")
        .id("e-1")
        .source("/orders")
        .time(time);
    let event = event
        .correlation_id("c")
        .causation_id("b")
        .data_schema("s")
        .key("k");
    let headers = headers(event);
    let expected = [
        ("ce-correlationid", "c"),
        ("ce-causationid", "b"),
        ("ce-dataschema", "s"),
        ("ce-id", "e-1"),
        ("ce-type", "order.placed"),
        ("ce-time", "1970-01-01T00:00:01.5Z"),
        ("ce-source", "/orders"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, expected, "headers");
}

#[test]
fn the_same_event_is_the_same_however_often_it_is_sent() {
    let event = Event::new("order.placed", "v");
    assert_eq!(Record::from(event.clone()), Record::from(event), "records");
}

#[test]
fn what_json_cannot_write_is_refused() {
    let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = Event::json("t", &keys).unwrap_err();
    assert_eq!(
        error.reason(),
        Some(crate::ErrorReason::InvalidArgument),
        "reason"
    );
    assert!(std::error::Error::source(&error).is_some(), "cause");
}

/// A record that was read, with these headers.
fn received(headers: &[(&'static str, &'static str)]) -> ReceivedRecord {
    let record = headers
        .iter()
        .fold(Record::new("v"), |record, (name, value)| {
            record.header(*name, *value)
        });
    crate::testing::received(&record)
}

#[test]
fn what_follows_from_an_event_says_so() {
    let cause = received(&[
        ("ce-id", "e-1"),
        ("ce-correlationid", "c-1"),
        ("ce-causationid", "e-0"),
        ("traceparent", "00-aa-bb-01"),
        ("tracestate", "k=v"),
    ]);
    let event = headers(Event::new("t", "v").caused_by(&cause));
    assert_eq!(value_of(&event, "ce-causationid"), Some("e-1"), "cause");
    assert_eq!(
        value_of(&event, "ce-correlationid"),
        Some("c-1"),
        "passed on"
    );
    assert_eq!(
        value_of(&event, "traceparent"),
        Some("00-aa-bb-01"),
        "trace"
    );
    assert_eq!(value_of(&event, "tracestate"), Some("k=v"), "trace");
    let record = Record::new("v").caused_by(&cause);
    let names: Vec<_> = record.headers().iter().map(Header::name).collect();
    let expected = [
        "ce-correlationid",
        "ce-causationid",
        "traceparent",
        "tracestate",
    ];
    assert_eq!(names, expected, "a record that is no event");
}

#[test]
fn the_first_event_of_an_operation_gives_it_its_id() {
    let cause = received(&[("ce-id", "e-1")]);
    let event = headers(Event::new("t", "v").caused_by(&cause));
    assert_eq!(value_of(&event, "ce-causationid"), Some("e-1"), "cause");
    assert_eq!(
        value_of(&event, "ce-correlationid"),
        Some("e-1"),
        "operation"
    );
    assert_eq!(value_of(&event, "traceparent"), None, "no trace");
}

#[test]
fn a_cause_without_an_id_is_not_named() {
    for headers_of_cause in [
        &[("ce-correlationid", "c-1"), ("tracestate", "k=v")][..],
        &[("ce-correlationid", "c-1"), ("ce-id", "")],
    ] {
        let cause = received(headers_of_cause);
        let event = headers(Event::new("t", "v").caused_by(&cause));
        assert_eq!(value_of(&event, "ce-causationid"), None, "cause");
        assert_eq!(
            value_of(&event, "ce-correlationid"),
            Some("c-1"),
            "operation"
        );
        assert_eq!(value_of(&event, "tracestate"), None, "without a trace");
    }
    let event = headers(Event::new("t", "v").caused_by(&received(&[])));
    assert_eq!(value_of(&event, "ce-correlationid"), None, "nothing");
}

#[test]
fn what_the_owner_says_is_left_whenever_it_is_said() {
    let cause = received(&[
        ("ce-id", "e-1"),
        ("traceparent", "00-aa-bb-01"),
        ("tracestate", "k=v"),
    ]);
    let before = Event::new("t", "v")
        .correlation_id("own")
        .header("traceparent", "00-cc-dd-01")
        .caused_by(&cause);
    let after = Event::new("t", "v")
        .caused_by(&cause)
        .correlation_id("own")
        .header("traceparent", "00-cc-dd-01");
    for event in [before, after] {
        let event = headers(event);
        assert_eq!(value_of(&event, "ce-correlationid"), Some("own"), "own");
        assert_eq!(value_of(&event, "ce-causationid"), Some("e-1"), "cause");
        assert_eq!(value_of(&event, "traceparent"), Some("00-cc-dd-01"), "own");
        assert_eq!(value_of(&event, "tracestate"), None, "of another trace");
    }
}
