//! What an expression sees of a record.

use towpath_proto::batch::RecordView;

use super::value::Value;

/// Name of the header that holds the type of an event.
const TYPE_HEADER: &str = "ce-type";

/// A record to be judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilterInput<'a> {
    /// The record.
    pub(crate) record: RecordView<'a>,
    /// Broker time of its append, milliseconds since the Unix epoch.
    pub(crate) append_time_ms: i64,
}

impl<'a> FilterInput<'a> {
    pub(super) fn key(&self) -> Value<'a> {
        self.record.key().map_or(Value::Null, Value::of_bytes)
    }

    pub(super) const fn headers(&self) -> Headers<'a> {
        Headers {
            record: self.record,
        }
    }

    pub(super) fn event_type(&self) -> Value<'a> {
        self.headers().get(TYPE_HEADER).unwrap_or(Value::Null)
    }

    /// When the event happened, or was appended if nobody says, milliseconds since the Unix epoch.
    pub(super) fn time_ms(&self) -> i64 {
        self.record.event_time_ms().unwrap_or(self.append_time_ms)
    }

    pub(super) fn body(&self) -> Option<&'a [u8]> {
        self.record.value()
    }
}

/// The headers of a record, as a map: of those with the same name the last one counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers<'a> {
    record: RecordView<'a>,
}

impl<'a> Headers<'a> {
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let headers = self.record.headers();
        let found = { headers }.filter(|(known, _)| *known == name).last();
        found.map(|(_, value)| Value::of_bytes(value))
    }

    /// The names, each once.
    pub(super) fn names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.record.headers() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Length of them all, about, bytes.
    pub(super) fn bytes(&self) -> usize {
        let body_bytes = self.record.value().map_or(0, <[u8]>::len);
        self.record.bytes().len().saturating_sub(body_bytes)
    }
}
