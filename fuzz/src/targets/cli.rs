//! What the command line takes in: lines, records in JSON, plans of commits.

use bytes::Bytes;
use towpath_client::Record;

use crate::cli_rooms::commit::read_plan;
use crate::cli_rooms::input::{InputForm, JsonPath, KeyRule, RecordShape, parse_record};
use crate::given::Given;

/// How a line is taken, then the line.
pub fn cli_record(data: &[u8]) {
    let mut input = Given::new(data);
    let choice = input.u8();
    let path = String::from_utf8_lossy(input.piece());
    let line = Bytes::copy_from_slice(input.rest());
    let path = path.parse::<JsonPath>();
    if let Ok(path) = &path {
        assert_eq!(path.to_string().parse().as_ref(), Ok(path), "path");
    }
    let shape = RecordShape {
        form: match choice & 3 {
            0 => InputForm::Lines,
            1 => InputForm::Whole,
            _ => InputForm::Json,
        },
        key: match path {
            Ok(path) => KeyRule::Field(path),
            Err(_) => KeyRule::None,
        },
        headers: vec![("h".to_owned(), Bytes::from_static(b"1"))],
        event_type: (choice & 4 != 0).then(|| "t".to_owned()),
        event_id: (choice & 8 != 0).then(|| "7".to_owned()),
        event_source: (choice & 16 != 0).then(|| "s".to_owned()),
        entity_version: (choice & 32 != 0).then_some(9),
        partition: None,
    };
    match shape.to_record(line.clone()) {
        Ok(record) => check(record.as_ref(), shape.form, &line),
        Err(fault) => assert!(!fault.to_string().is_empty(), "a reason"),
    }
    json(&line);
}

fn check(record: Option<&Record>, form: InputForm, line: &Bytes) {
    match (form, record) {
        (InputForm::Json, None) => assert!(line.trim_ascii().is_empty(), "only a blank line"),
        (InputForm::Json, Some(_)) => {}
        (_, None) => panic!("every line is a value"),
        (_, Some(record)) => assert_eq!(record.value_bytes(), Some(line), "byte for byte"),
    }
}

/// A record that was read is written and read again.
fn json(line: &[u8]) {
    use base64::Engine as _;
    let encode = |bytes: &Bytes| base64::engine::general_purpose::STANDARD.encode(bytes);
    let Ok(record) = parse_record(line) else {
        return;
    };
    as_it_stands(line, &record);
    let headers = record.headers().iter();
    let headers =
        headers.map(|it| serde_json::json!({"name": it.name(), "value_b64": encode(it.value())}));
    let headers: Vec<_> = headers.collect();
    let mut written = serde_json::json!({ "headers": headers });
    match record.value_bytes() {
        Some(value) => written["value_b64"] = encode(value).into(),
        None => written["value"] = serde_json::Value::Null,
    }
    if let Some(key) = record.key_bytes() {
        written["key_b64"] = encode(key).into();
    }
    let again = parse_record(written.to_string().as_bytes()).expect("what was written");
    assert_eq!(again.key_bytes(), record.key_bytes(), "key");
    assert_eq!(again.value_bytes(), record.value_bytes(), "value");
    assert_eq!(again.headers(), record.headers(), "headers");
}

/// What another reader of JSON finds on the line is in the record.
fn as_it_stands(line: &[u8], record: &Record) {
    let Ok(found) = serde_json::from_slice::<serde_json::Value>(line) else {
        // Of numbers, for one, this reader takes less.
        return;
    };
    let headers = found["headers"].as_array().map_or(0, Vec::len);
    assert_eq!(record.headers().len(), headers, "headers on the line");
    let is_there = |name: &str| found.get(name).is_some_and(|it| !it.is_null());
    let has_key = is_there("key") || is_there("key_b64");
    assert_eq!(record.key_bytes().is_some(), has_key, "a key on the line");
    if let Some(value) = found["value"].as_str() {
        let expected = Some(value.as_bytes());
        assert_eq!(record.value_bytes().map(|it| &it[..]), expected, "value");
    }
}

/// The text of a plan.
pub fn cli_plan(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(fault) = read_plan(&text) {
        assert!(fault.contains("line "), "a place: {fault}");
    }
}
