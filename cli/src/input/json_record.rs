//! Reads back what `consume -o json` prints.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use towpath_client::Record;

use super::json_error::JsonError;

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonFault {
    /// The line is not JSON, or not of this form.
    #[error("not a record as `consume -o json` prints it: {0}")]
    Form(JsonError),
    /// The line is JSON of another kind.
    #[error("not a JSON object")]
    NoObject,
    /// A text that should be base64 is not.
    #[error("{field}_b64 is not base64: {source}")]
    Base64 {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: base64::DecodeError,
    },
    /// A field is there both as text and in base64.
    #[error("{field} and {field}_b64 are both there")]
    Twice {
        /// Name of the text form.
        field: &'static str,
    },
    /// Nothing says what the value is.
    #[error("neither value nor value_b64 is there; a record without a value says \"value\":null")]
    NoValue,
}

/// A record as it stands on a line. Place and time of the original are read over: the record gets
/// new ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRecord {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_b64: Option<String>,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    value_b64: Option<String>,
    #[serde(default)]
    headers: Vec<JsonHeader>,
    #[serde(default)]
    event_time: Option<Timestamp>,
    #[serde(default, rename = "topic")]
    _topic: IgnoredAny,
    #[serde(default, rename = "partition")]
    _partition: IgnoredAny,
    #[serde(default, rename = "offset")]
    _offset: IgnoredAny,
    #[serde(default, rename = "lsn")]
    _lsn: IgnoredAny,
    #[serde(default, rename = "timestamp")]
    _timestamp: IgnoredAny,
    #[serde(default, rename = "attempt")]
    _attempt: IgnoredAny,
    #[serde(default, rename = "key_version")]
    _key_version: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHeader {
    name: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_b64: Option<String>,
}

/// The text form of a value.
#[derive(Debug, Default, PartialEq, Eq)]
enum Value {
    /// There is no such field.
    #[default]
    Missing,
    /// The record has no value.
    Null,
    /// The value.
    Text(String),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::deserialize(deserializer)?;
        Ok(text.map_or(Self::Null, Self::Text))
    }
}

/// Makes the record that a line describes.
///
/// # Errors
///
/// [`JsonFault`]; a field of another name is one, since it may be a misspelt one.
pub(crate) fn parse(line: &[u8]) -> Result<Record, JsonFault> {
    // A list of the fields without their names would be read as well.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(JsonFault::NoObject);
    }
    let json: JsonRecord =
        serde_json::from_slice(line).map_err(|error| JsonFault::Form(error.into()))?;
    let key = bytes_of("key", json.key, json.key_b64)?;
    let (text, is_null) = match json.value {
        Value::Missing => (None, false),
        Value::Null => (None, true),
        Value::Text(text) => (Some(text), false),
    };
    let mut record = match bytes_of("value", text, json.value_b64)? {
        Some(value) => Record::new(value),
        None if is_null => Record::default(),
        None => return Err(JsonFault::NoValue),
    };
    if let Some(key) = key {
        record = record.key(key);
    }
    for header in json.headers {
        let value = bytes_of("value", header.value, header.value_b64)?;
        record = record.header(header.name, value.ok_or(JsonFault::NoValue)?);
    }
    if let Some(time) = json.event_time {
        record = record.event_time(SystemTime::from(time));
    }
    Ok(record)
}

fn bytes_of(
    field: &'static str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Bytes>, JsonFault> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(JsonFault::Twice { field }),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(base64)) => match BASE64.decode(base64) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(source) => Err(JsonFault::Base64 { field, source }),
        },
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> String {
        parse(line.as_bytes()).expect_err(line).to_string()
    }

    #[test]
    fn a_line_of_consume_becomes_the_same_record() {
        let line = r#"{"topic":"t","partition":1,"offset":7,"lsn":9,"key":"k","value":"v",
            "headers":[{"name":"a","value":"1"},{"name":"a","value_b64":"/w=="}],
            "timestamp":"2026-11-21T09:00:00Z"}"#;
        let expected = Record::new("v")
            .key("k")
            .header("a", "1")
            .header("a", &b"\xff"[..]);
        assert_eq!(
            parse(line.as_bytes()).expect("a record"),
            expected,
            "{line}"
        );
    }

    #[test]
    fn bytes_come_in_base64() {
        let record = parse(br#"{"key_b64":"//4=","value_b64":""}"#).expect("a record");
        assert_eq!(record, Record::new("").key(&b"\xff\xfe"[..]), "bytes");
    }

    #[test]
    fn null_is_absent_and_empty_is_empty() {
        let record = parse(br#"{"key":"k","value":null}"#).expect("a record");
        assert_eq!(record, Record::tombstone("k"), "tombstone");
        let record = parse(br#"{"key":null,"value":""}"#).expect("a record");
        assert_eq!(record, Record::new(""), "empty value");
    }

    #[test]
    fn an_event_time_is_kept() {
        let record = parse(br#"{"value":"v","event_time":"1970-01-01T00:00:01Z"}"#);
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        assert_eq!(
            record.expect("a record"),
            Record::new("v").event_time(time),
            "time"
        );
    }

    #[test]
    fn what_may_be_a_slip_is_refused() {
        let check = |line: &str, expected: &str| {
            let text = fault(line);
            assert!(text.contains(expected), "{line}: {text}");
        };
        check("plain", "not a JSON object");
        check(r#"["k", null, "v"]"#, "not a JSON object");
        check(
            r#"{"value":"v""#,
            "not a record as `consume -o json` prints it",
        );
        check(r#"{"key":"k"}"#, "neither value nor value_b64");
        check(r#"{"value":"v","vaule":"w"}"#, "unknown field `vaule`");
        check(r#"{"value":{"order":42}}"#, "expected a string");
        check(r#"{"key":42,"value":"v"}"#, "expected a string");
        check(
            r#"{"value":"v","value_b64":"dg=="}"#,
            "value and value_b64 are both there",
        );
        check(r#"{"value_b64":"?"}"#, "value_b64 is not base64");
        check(
            r#"{"value":"v","headers":[{"name":"a"}]}"#,
            "neither value nor value_b64",
        );
    }
}
