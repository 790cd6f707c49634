//! JSON, one value a line.

use std::io::{self, Write};

use serde::Serialize;

use super::base64_text::base64_text;
use super::record::View;

/// Writes one value and a line feed.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Writes a record: key and value as text with every character as it is, or in base64 where they
/// are not UTF-8, or null where they are absent.
pub(super) fn record_line<'a>(
    out: &mut Vec<u8>,
    record: View<'a, impl Iterator<Item = (&'a str, &'a [u8])>>,
    time: &str,
) -> io::Result<()> {
    // Names of topics and times need no escaping.
    write!(
        out,
        r#"{{"topic":"{}","partition":{},"offset":{},"lsn":{},"#,
        record.topic, record.partition, record.offset, record.lsn
    )?;
    text_or_base64(out, "key", record.key)?;
    out.push(b',');
    text_or_base64(out, "value", record.value)?;
    out.extend_from_slice(br#","headers":["#);
    for (index, (name, value)) in record.headers.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"name":"#);
        serde_json::to_writer(&mut *out, name)?;
        out.push(b',');
        text_or_base64(out, "value", Some(value))?;
        out.push(b'}');
    }
    write!(out, r#"],"timestamp":"{time}""#)?;
    if let Some(event_time) = record.event_time {
        write!(out, r#","event_time":"{event_time:.3}""#)?;
    }
    if let Some(attempt) = record.attempt {
        write!(out, r#","attempt":{attempt}"#)?;
    }
    if let Some(key_version) = record.key_version {
        write!(out, r#","key_version":{key_version}"#)?;
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn text_or_base64(out: &mut Vec<u8>, name: &str, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => write!(out, r#""{name}":null"#),
        Some((_, Ok(text))) => {
            write!(out, r#""{name}":"#)?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Some((bytes, Err(_))) => write!(out, r#""{name}_b64":"{}""#, base64_text(bytes)),
    }
}
