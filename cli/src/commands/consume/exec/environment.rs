//! What a command finds in its environment about the record that it is to handle.

use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use jiff::Timestamp;
use towpath_client::DeliveredRecord;

use crate::output::base64_text;

/// What is said of every record, or of those that have it.
const SUBSCRIPTION: &str = "TOWPATH_SUBSCRIPTION";
const TOPIC: &str = "TOWPATH_TOPIC";
const PARTITION: &str = "TOWPATH_PARTITION";
const OFFSET: &str = "TOWPATH_OFFSET";
const LSN: &str = "TOWPATH_LSN";
const ATTEMPT: &str = "TOWPATH_ATTEMPT";
const APPEND_TIME: &str = "TOWPATH_APPEND_TIME";
const EVENT_TIME: &str = "TOWPATH_EVENT_TIME";
const KEY: &str = "TOWPATH_KEY";
/// Set where there is no value, which is not the same as an empty one.
const TOMBSTONE: &str = "TOWPATH_TOMBSTONE";
/// Begins the name of a header's variable.
const HEADER: &str = "TOWPATH_HEADER_";
/// Ends the name of a variable whose value is in base64, because it is not text.
const BASE64: &str = "_B64";

/// Every name that says something of one record, but for headers.
const OF_ONE_RECORD: [&str; 10] = [
    SUBSCRIPTION,
    TOPIC,
    PARTITION,
    OFFSET,
    LSN,
    ATTEMPT,
    APPEND_TIME,
    EVENT_TIME,
    KEY,
    TOMBSTONE,
];

/// Names in the environment of this process that say something of a record, because this process handles
/// one itself.
pub(super) fn of_other_records() -> Vec<OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| is_of_record(name)).collect()
}

fn is_of_record(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let plain = name.strip_suffix(BASE64).unwrap_or(name);
    name.starts_with(HEADER) || OF_ONE_RECORD.contains(&plain)
}

/// All that is said of a record. Of several headers of one name the first one counts.
pub(super) fn of_record(subscription: &str, record: &DeliveredRecord) -> Vec<(String, String)> {
    let mut variables = vec![
        plain(SUBSCRIPTION, subscription),
        plain(TOPIC, record.topic()),
        plain(PARTITION, record.partition()),
        plain(OFFSET, record.offset()),
        plain(LSN, record.lsn()),
        plain(ATTEMPT, record.attempt()),
        plain(APPEND_TIME, time_text(record.append_time())),
    ];
    let event_time = record.event_time().map(time_text);
    variables.extend(event_time.map(|time| plain(EVENT_TIME, time)));
    variables.extend(record.key().map(|key| text_or_base64(KEY, key)));
    let tombstone = record.value().is_none().then(|| plain(TOMBSTONE, "1"));
    variables.extend(tombstone);
    let headers: Vec<_> = record
        .headers()
        .map(|(name, value)| text_or_base64(&header_variable(name), value))
        .collect();
    // A later one of the same name replaces the one before.
    variables.extend(headers.into_iter().rev());
    variables
}

fn plain(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// Text as it is. Bytes that are not UTF-8, or hold a zero, which no variable can, in base64 under a name
/// that says so.
fn text_or_base64(name: &str, bytes: &[u8]) -> (String, String) {
    match str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => plain(name, text),
        _ => (format!("{name}{BASE64}"), base64_text(bytes).to_string()),
    }
}

/// `ce-type` is `TOWPATH_HEADER_CE_TYPE`: capital letters and digits, and `_` for all else.
fn header_variable(name: &str) -> String {
    let to_variable = |character: char| match character.to_ascii_uppercase() {
        character @ ('A'..='Z' | '0'..='9') => character,
        _ => '_',
    };
    let name = name.chars().map(to_variable);
    HEADER.chars().chain(name).collect()
}

fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_names_that_every_shell_knows() {
        let check = |name: &str, expected: &str| assert_eq!(header_variable(name), expected);
        check("ce-type", "TOWPATH_HEADER_CE_TYPE");
        check("traceparent", "TOWPATH_HEADER_TRACEPARENT");
        check("X.9=\u{e9}", "TOWPATH_HEADER_X_9__");
    }

    #[test]
    fn what_is_not_text_is_told_in_base64_under_another_name() {
        let check = |bytes: &[u8], expected: (&str, &str)| {
            let (name, value) = text_or_base64("K", bytes);
            assert_eq!((name.as_str(), value.as_str()), expected, "{bytes:?}");
        };
        check(b"42", ("K", "42"));
        check(b"", ("K", ""));
        check(b"a\nb=c", ("K", "a\nb=c"));
        check(b"\xff\xfe", ("K_B64", "//4="));
        check(b"a\0b", ("K_B64", "YQBi"));
    }

    #[test]
    fn what_is_said_of_another_record_is_known_by_its_name() {
        for name in [
            "TOWPATH_KEY",
            "TOWPATH_KEY_B64",
            "TOWPATH_EVENT_TIME",
            "TOWPATH_HEADER_X",
            "TOWPATH_HEADER_X_B64",
        ] {
            assert!(is_of_record(OsStr::new(name)), "{name}");
        }
        for name in ["TOWPATH_URL", "TOWPATH_DATA_DIR", "KEY", "PATH"] {
            assert!(!is_of_record(OsStr::new(name)), "{name}");
        }
    }
}
