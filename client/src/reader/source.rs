//! What to read and where to begin.

use std::time::SystemTime;

use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1;

use crate::Error;
use crate::time::to_ms;

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the lowest offset that may still be read.
    Beginning,
    /// Behind the last record that is durable when reading starts.
    End,
    /// At this offset in each partition.
    Offset(Offset),
    /// At the first record that was appended at or after this time.
    Time(SystemTime),
    /// So many records before the end, counted over all partitions that are read.
    LastRecords(u64),
    /// At one offset for each of these partitions; the others begin at their beginning.
    Offsets(Vec<(PartitionId, Offset)>),
}

impl Start {
    /// The place as the wire has it; none for single offsets, which travel beside it.
    pub(crate) fn to_position(&self) -> Option<v1::Position> {
        use v1::position::Position;
        let position = match self {
            Self::Beginning => Position::Beginning(v1::Beginning {}),
            Self::End => Position::End(v1::End {}),
            Self::Offset(offset) => Position::Offset(offset.get()),
            Self::Time(time) => Position::TimeMs(to_ms(*time)),
            Self::LastRecords(count) => Position::LastRecords(*count),
            Self::Offsets(_) => return None,
        };
        Some(v1::Position {
            position: Some(position),
        })
    }
}

/// A topic to read: all of it or some partitions, from somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "does nothing by itself"]
pub struct Source {
    pub(super) topic: String,
    pub(super) partitions: Vec<PartitionId>,
    pub(super) start: Option<Start>,
}

impl Source {
    /// All partitions of this topic.
    pub fn new(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            partitions: Vec::new(),
            start: None,
        }
    }

    /// Only these partitions. None at all means all of them.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        self.partitions = partitions.into_iter().collect();
        self
    }

    /// Where reading begins. Default: what the reader says, else the beginning.
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    pub(crate) fn to_lookup(&self) -> Result<v1::LookupOffsetsRequest, Error> {
        let start = self.start.as_ref().unwrap_or(&Start::Beginning);
        let position = start.to_position().ok_or_else(|| {
            Error::invalid("position", "single offsets need no looking up")
                .with("topic", &self.topic)
        })?;
        Ok(v1::LookupOffsetsRequest {
            topic: self.topic.clone(),
            partitions: self.partitions.iter().map(|it| it.get()).collect(),
            position: Some(position),
        })
    }
}

impl<T: Into<String>> From<T> for Source {
    fn from(topic: T) -> Self {
        Self::new(topic)
    }
}
