//! What becomes of a line: a record with a key, headers and a place.

use bytes::Bytes;
use clap::ValueEnum;
use towpath_client::{Event, PartitionId, Record};

use super::json_path::{JsonPath, PathFault};
use super::json_record::{self, JsonFault};

/// Header that says where an event comes from.
const SOURCE: &str = "ce-source";

/// How the input is cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputForm {
    /// Each line is a value, byte for byte
    Lines,
    /// Each line is a record, as `consume -o json` prints it
    Json,
    /// All of it is one value
    Whole,
}

/// Where the key of a record comes from.
#[derive(Debug, Clone)]
pub(crate) enum KeyRule {
    /// There is none.
    None,
    /// The same for every record.
    Fixed(Bytes),
    /// A field of the value, which is JSON.
    Field(JsonPath),
}

/// What every record has besides its value.
#[derive(Debug, Clone)]
pub(crate) struct RecordShape {
    /// How a line is read.
    pub(crate) form: InputForm,
    /// Its key; records in JSON have their own.
    pub(crate) key: KeyRule,
    /// Names and values of headers.
    pub(crate) headers: Vec<(String, Bytes)>,
    /// Type of the event; makes the record one, with an id, a source and a time.
    pub(crate) event_type: Option<String>,
    /// Id of the event.
    pub(crate) event_id: Option<String>,
    /// Where the event comes from.
    pub(crate) event_source: Option<String>,
    /// Version of the entity.
    pub(crate) entity_version: Option<u64>,
    /// Partition, whatever the key says.
    pub(crate) partition: Option<PartitionId>,
}

/// Why a line gives no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineFault {
    /// The key cannot be had.
    #[error(transparent)]
    Key(#[from] PathFault),
    /// The record cannot be read.
    #[error(transparent)]
    Json(#[from] JsonFault),
}

impl RecordShape {
    /// Makes a record of a line; none of a blank line between records in JSON.
    ///
    /// # Errors
    ///
    /// [`LineFault`].
    pub(crate) fn to_record(&self, line: Bytes) -> Result<Option<Record>, LineFault> {
        let record = match self.form {
            InputForm::Json if line.trim_ascii().is_empty() => return Ok(None),
            InputForm::Json => json_record::parse(&line)?,
            InputForm::Lines | InputForm::Whole => self.wrap(line)?,
        };
        Ok(Some(match self.partition {
            Some(partition) => record.partition(partition),
            None => record,
        }))
    }

    fn wrap(&self, value: Bytes) -> Result<Record, LineFault> {
        let key = match &self.key {
            KeyRule::None => None,
            KeyRule::Fixed(key) => Some(key.clone()),
            KeyRule::Field(path) => Some(key_of(path, &value)?),
        };
        let mut record = match &self.event_type {
            Some(event_type) => {
                let mut event = Event::new(event_type.clone(), value);
                if let Some(id) = &self.event_id {
                    event = event.id(id.clone());
                }
                if let Some(source) = &self.event_source {
                    event = event.source(source.clone());
                }
                event.into()
            }
            None => self.name_event(Record::new(value)),
        };
        if let Some(version) = self.entity_version {
            record = record.entity_version(version);
        }
        if let Some(key) = key {
            record = record.key(key);
        }
        for (name, value) in &self.headers {
            record = record.header(name.clone(), value.clone());
        }
        Ok(record)
    }

    /// Names the event that a plain record tells of.
    fn name_event(&self, record: Record) -> Record {
        let record = match &self.event_source {
            Some(source) => record.header(SOURCE, source.clone()),
            None => record,
        };
        match &self.event_id {
            Some(id) => record.event_id(id.clone()),
            None => record,
        }
    }
}

/// A key that stands in the value as it is shares the value's memory.
fn key_of(path: &JsonPath, value: &Bytes) -> Result<Bytes, PathFault> {
    Ok(match path.find(value)? {
        std::borrow::Cow::Borrowed(key) => value.slice_ref(key.as_bytes()),
        std::borrow::Cow::Owned(key) => key.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(form: InputForm) -> RecordShape {
        RecordShape {
            form,
            key: KeyRule::None,
            headers: Vec::new(),
            event_type: None,
            event_id: None,
            event_source: None,
            entity_version: None,
            partition: None,
        }
    }

    fn record(shape: &RecordShape, line: &'static [u8]) -> Record {
        let record = shape.to_record(Bytes::from_static(line)).expect("no fault");
        record.expect("a record")
    }

    #[test]
    fn a_line_is_a_value_byte_for_byte() {
        let shape = plain(InputForm::Lines);
        assert_eq!(
            record(&shape, b" \xff\r"),
            Record::new(&b" \xff\r"[..]),
            "bytes"
        );
        assert_eq!(record(&shape, b""), Record::new(""), "empty");
    }

    #[test]
    fn the_key_comes_from_a_field_of_the_value() {
        let mut shape = plain(InputForm::Lines);
        shape.key = KeyRule::Field(".tail".parse().expect("a path"));
        let line = br#"{"tail":"N1"}"#;
        assert_eq!(
            record(&shape, line),
            Record::new(&line[..]).key("N1"),
            "plain"
        );
        let line = br#"{"tail":"N\"1"}"#;
        assert_eq!(
            record(&shape, line),
            Record::new(&line[..]).key("N\"1"),
            "escaped"
        );
        assert!(
            shape.to_record(Bytes::from_static(b"text")).is_err(),
            "not JSON"
        );
    }

    #[test]
    fn key_headers_and_partition_are_added() {
        let mut shape = plain(InputForm::Whole);
        shape.key = KeyRule::Fixed(Bytes::from_static(b"k"));
        shape.headers = vec![("a".to_owned(), Bytes::from_static(b"1"))];
        shape.partition = Some(PartitionId::new(3));
        let expected = Record::new("v")
            .key("k")
            .header("a", "1")
            .partition(PartitionId::new(3));
        assert_eq!(record(&shape, b"v"), expected, "record");
    }

    #[test]
    fn a_type_makes_an_event_of_the_record() {
        let mut shape = plain(InputForm::Lines);
        shape.event_type = Some("order.placed".to_owned());
        shape.event_id = Some("7".to_owned());
        let record = record(&shape, b"v");
        let header = |name: &str| {
            let found = record.headers().iter().find(|header| header.name() == name);
            found.map(|header| header.value().clone())
        };
        assert_eq!(
            header("ce-type").as_deref(),
            Some(&b"order.placed"[..]),
            "type"
        );
        assert_eq!(header("ce-id").as_deref(), Some(&b"7"[..]), "id");
        assert!(header("ce-time").is_some(), "time");
    }

    #[test]
    fn blank_lines_between_json_records_are_nothing() {
        let shape = plain(InputForm::Json);
        let found = shape
            .to_record(Bytes::from_static(b" \r"))
            .expect("no fault");
        assert_eq!(found, None, "blank");
    }
}
