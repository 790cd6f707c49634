//! Numbers that must not be mixed up: each meaning has a type of its own.
//!
//! The values come from the wire or the store and any number is one; rules about them (dense,
//! durable, in range) belong to the broker.

use std::fmt;

use bytes::Bytes;

/// Defines a newtype over an unsigned number.
macro_rules! number {
    ($(#[$attribute:meta])* $name:ident($inner:ty)) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a number of this meaning.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// Returns the bare number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Number of a record in its partition: from 0, dense, never reused.
    Offset(u64)
}

number! {
    /// Number of a partition in its topic, from 0.
    PartitionId(u32)
}

number! {
    /// Which life of a topic's name it is; never reused. 0 is no topic.
    TopicId(u64)
}

number! {
    /// Number of a batch among those of one producer for one partition, from 0.
    Sequence(u64)
}

number! {
    /// Number of a change of owners within a consumer group, from 1.
    Generation(u64)
}

number! {
    /// Log sequence number of an entry in the journal: one order over all topics. 0 is before all.
    Lsn(u64)
}

impl Offset {
    /// The offset of a partition's first record.
    pub const ZERO: Self = Self(0);

    /// Returns the offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.advance(1)
    }

    /// Returns the offset that is `count` records further; the highest number is the limit.
    #[must_use]
    pub const fn advance(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// Returns the offset that is `count` records before this one; 0 is the limit.
    #[must_use]
    pub const fn retreat(self, count: u64) -> Self {
        Self(self.0.saturating_sub(count))
    }
}

impl Sequence {
    /// The sequence of a producer's first batch for a partition.
    pub const FIRST: Self = Self(0);

    /// Returns the sequence after this one; the highest number is the limit.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Lsn {
    /// Before the first entry: nothing was written.
    pub const ZERO: Self = Self(0);

    /// Returns the LSN after this one; the highest number is the limit.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Offsets from `start` up to but not including `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct OffsetRange {
    start: Offset,
    end: Offset,
}

impl OffsetRange {
    /// Returns the range; none if it would end before it starts.
    pub fn new(start: Offset, end: Offset) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// The first offset.
    pub const fn start(self) -> Offset {
        self.start
    }

    /// One past the last offset.
    pub const fn end(self) -> Offset {
        self.end
    }

    /// Number of offsets.
    pub const fn len(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether the range holds no offset.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the range holds this offset.
    pub fn contains(self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end
    }
}

/// Prints `start..end`.
impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// Who writes: 16 random bytes, drawn once in the life of a producer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId([u8; Self::BYTES]);

/// A producer id is not 16 bytes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("producer id must have 16 bytes: size_bytes={size_bytes}")]
pub struct ProducerIdError {
    /// Number of bytes that were given.
    pub size_bytes: usize,
}

impl ProducerId {
    /// Size of an id.
    pub const BYTES: usize = 16;

    /// Wraps the bytes of an id.
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Takes an id from the wire.
    ///
    /// # Errors
    ///
    /// [`ProducerIdError`] if there are not 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, ProducerIdError> {
        let size_bytes = bytes.len();
        bytes
            .try_into()
            .map(Self)
            .map_err(|_length| ProducerIdError { size_bytes })
    }

    /// Returns the bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Returns the id as the wire carries it.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

/// Prints 32 hexadecimal digits.
impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProducerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Option<OffsetRange> {
        OffsetRange::new(Offset::new(start), Offset::new(end))
    }

    #[test]
    fn a_range_is_half_open() {
        let range = range(5, 9).unwrap();
        assert_eq!(
            (range.len(), range.to_string()),
            (4, "5..9".to_owned()),
            "length and text"
        );
        assert!(
            range.contains(Offset::new(5)) && range.contains(Offset::new(8)),
            "inside"
        );
        assert!(
            !range.contains(Offset::new(4)) && !range.contains(Offset::new(9)),
            "outside"
        );
    }

    #[test]
    fn a_range_never_ends_before_it_starts() {
        assert_eq!(range(9, 5), None, "backwards");
        assert!(range(5, 5).unwrap().is_empty(), "empty");
    }

    #[test]
    fn numbers_stop_at_their_limits() {
        assert_eq!(
            Offset::new(u64::MAX).next(),
            Offset::new(u64::MAX),
            "highest offset"
        );
        assert_eq!(Offset::new(3).retreat(5), Offset::ZERO, "lowest offset");
        assert_eq!(Sequence::FIRST.next(), Sequence::new(1), "sequence");
        assert_eq!(Lsn::ZERO.next(), Lsn::new(1), "lsn");
    }

    #[test]
    fn a_producer_id_has_16_bytes() {
        let id = ProducerId::from_slice(&[0xab; 16]).unwrap();
        assert_eq!(id.to_string(), "ab".repeat(16), "text");
        assert_eq!(
            ProducerId::from_slice(&id.to_bytes()),
            Ok(id),
            "there and back"
        );
        let error = ProducerId::from_slice(&[0; 15]).unwrap_err();
        assert_eq!(error, ProducerIdError { size_bytes: 15 }, "too short");
        assert!(ProducerId::from_slice(&[0; 17]).is_err(), "too long");
    }
}
