//! One dead letter: the record as it was, and what became of it.

use bytes::Bytes;
use prost::Message;
use towpath_proto::{dead_letter, v1};
use towpath_storage::Offset;

use crate::core::{DeadLetter, DeadLetterState, HashKey, KeyHash, OpenDeadLetter};

/// A dead letter that was read.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) partition: u32,
    pub(super) open: OpenDeadLetter,
    /// When it came there, by the broker's clock, milliseconds since the Unix epoch.
    pub(super) death_time_ms: i64,
    /// Length of the encoded record, bytes.
    pub(super) bytes: u32,
    /// The record without the headers of the dead letter.
    pub(super) record: v1::Record,
    pub(super) origin: Origin,
}

/// What the headers of a dead letter say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) is_parked: bool,
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) append_time_ms: i64,
    pub(super) attempts: u32,
    pub(super) reason: String,
    /// Time and reason.
    pub(super) failures: Vec<(i64, String)>,
}

impl Origin {
    fn read(headers: &[v1::Header]) -> Self {
        let mut origin = Self::default();
        for header in headers {
            let text = String::from_utf8_lossy(&header.value).into_owned();
            match header.name.as_str() {
                dead_letter::KIND => origin.is_parked = text == dead_letter::PARKED,
                dead_letter::TOPIC => origin.topic = text,
                dead_letter::PARTITION => origin.partition = text.parse().unwrap_or_default(),
                dead_letter::OFFSET => origin.offset = text.parse().unwrap_or_default(),
                dead_letter::APPEND_TIME_MS => {
                    origin.append_time_ms = text.parse().unwrap_or_default();
                }
                dead_letter::ATTEMPTS => origin.attempts = text.parse().unwrap_or_default(),
                dead_letter::REASON => origin.reason = text,
                dead_letter::FAILURE => {
                    let (time_ms, reason) = text.split_once(' ').unwrap_or(("", &text));
                    let time_ms = time_ms.parse().unwrap_or_default();
                    origin.failures.push((time_ms, reason.to_owned()));
                }
                _ => {}
            }
        }
        origin
    }
}

impl Letter {
    /// Reads an encoded record. The walk over its batch has read it before.
    pub(super) fn read(
        partition: u32,
        open: OpenDeadLetter,
        death_time_ms: i64,
        encoded: &Bytes,
    ) -> Self {
        let mut record = v1::Record::decode(encoded.clone()).unwrap_or_default();
        let (own, added) = dead_letter::split(&record.headers);
        let (own, origin) = (own.len(), Origin::read(added));
        record.headers.truncate(own);
        Self {
            partition,
            open,
            death_time_ms,
            bytes: u32::try_from(encoded.len()).unwrap_or(u32::MAX),
            record,
            origin,
        }
    }

    /// The hash that its subscription has of its key.
    pub(super) fn key(&self, hash_key: HashKey) -> KeyHash {
        match &self.record.key {
            Some(key) => hash_key.of_key(key),
            None => hash_key.of_keyless(self.partition, Offset::new(self.origin.offset)),
        }
    }

    /// What the state machine has to know of it.
    pub(super) fn known(&self, hash_key: HashKey) -> DeadLetter {
        DeadLetter {
            offset: self.open.offset,
            key: self.key(hash_key),
            bytes: self.bytes,
            append_time_ms: self.death_time_ms,
        }
    }

    /// Whether its reason holds a text, or one of its failures does.
    pub(super) fn has_reason(&self, text: &str) -> bool {
        let before = self.origin.failures.iter().map(|(_, reason)| reason);
        let since = self.open.failures.iter().map(|it| &it.reason);
        self.origin.reason.contains(text) || before.chain(since).any(|it| it.contains(text))
    }

    /// What is told of it, with so many bytes of its value.
    pub(super) fn told(self, value_bytes_max: usize) -> v1::DeadLetter {
        let mut record = self.record;
        let value_bytes = record.value.as_ref().map_or(0, Bytes::len);
        record.value = match value_bytes_max {
            0 => None,
            _ => record
                .value
                .map(|it| it.slice(..value_bytes.min(value_bytes_max))),
        };
        let state = match self.open.state {
            DeadLetterState::Redriven => v1::DeadLetterState::Redriven,
            DeadLetterState::Dead | DeadLetterState::Settled => v1::DeadLetterState::Dead,
        };
        let kind = match self.origin.is_parked {
            true => v1::DeadLetterKind::Parked,
            false => v1::DeadLetterKind::Dead,
        };
        let failed = |(time_ms, reason)| v1::FailedAttempt { time_ms, reason };
        let since = self.open.failures.into_iter();
        v1::DeadLetter {
            partition: self.partition,
            offset: self.open.offset.get(),
            state: state.into(),
            kind: kind.into(),
            death_time_ms: self.death_time_ms,
            origin_topic: self.origin.topic,
            origin_offset: self.origin.offset,
            origin_append_time_ms: self.origin.append_time_ms,
            attempts: self.origin.attempts,
            reason: self.origin.reason,
            failures: self.origin.failures.into_iter().map(failed).collect(),
            record: Some(record),
            value_bytes: value_bytes as u64,
            redrive_failures: since.map(|it| failed((it.time_ms, it.reason))).collect(),
            behind_offset: self.open.behind.map(Offset::get),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> v1::Header {
        v1::Header {
            name: name.to_owned(),
            value: value.to_owned().into(),
        }
    }

    fn read(headers: Vec<v1::Header>) -> Letter {
        let record = v1::Record {
            key: None,
            value: Some(Bytes::from_static(b"0123456789")),
            headers,
            event_time_ms: None,
        };
        let open = OpenDeadLetter {
            offset: Offset::new(7),
            state: DeadLetterState::Dead,
            failures: Vec::new(),
            behind: None,
        };
        Letter::read(1, open, 5, &record.encode_to_vec().into())
    }

    #[test]
    fn what_became_of_it_is_read_from_its_headers() {
        let letter = read(vec![
            header("own", "1"),
            header(dead_letter::KIND, dead_letter::DEAD),
            header(dead_letter::OFFSET, "42"),
            header(dead_letter::REASON, "no such account"),
            header(dead_letter::FAILURE, "123 try again"),
        ]);
        assert!(letter.has_reason("such") && letter.has_reason("again"));
        assert!(!letter.has_reason("other"), "{letter:?}");
        let told = letter.told(4);
        assert_eq!(
            (told.partition, told.offset, told.origin_offset),
            (1, 7, 42)
        );
        assert_eq!(told.failures[0].time_ms, 123);
        let record = told.record.unwrap();
        assert_eq!(record.headers, [header("own", "1")]);
        assert_eq!(record.value.as_deref(), Some(&b"0123"[..]));
        assert_eq!(told.value_bytes, 10);
    }

    #[test]
    fn a_record_that_somebody_else_wrote_there_is_told_as_well() {
        let told = read(vec![header("own", "1")]).told(0);
        assert_eq!(told.origin_topic, "");
        assert_eq!(told.record.unwrap().value, None);
    }
}
