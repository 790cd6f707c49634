//! Which rows a scan goes through.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::format::run_file::{filter_hash, sort_key, successor};

/// The order in which a scan gives rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// By rising keys.
    Forward,
    /// By falling keys.
    Backward,
}

impl Direction {
    /// Which of two keys comes first.
    pub(super) fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        match self {
            Self::Forward => left.cmp(right),
            Self::Backward => right.cmp(left),
        }
    }
}

/// A half-open range of the rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRange {
    /// The table.
    pub table: u16,
    /// The lowest key that belongs to it.
    pub start: Bytes,
    /// The lowest key above it; none for all to the end of the table.
    pub end: Option<Bytes>,
}

impl RowRange {
    /// All rows of a table.
    pub fn table(table: u16) -> Self {
        Self {
            table,
            start: Bytes::new(),
            end: None,
        }
    }

    /// The rows whose keys begin with `prefix`.
    pub fn prefix(table: u16, prefix: &[u8]) -> Self {
        Self {
            table,
            start: Bytes::copy_from_slice(prefix),
            end: successor(prefix).map(Bytes::from),
        }
    }

    /// Lowest sort key inside.
    pub(super) fn start_key(&self) -> Vec<u8> {
        sort_key(self.table, &self.start)
    }

    /// Lowest sort key above; none if there is nothing above.
    pub(super) fn end_key(&self) -> Option<Vec<u8>> {
        match &self.end {
            Some(end) => Some(sort_key(self.table, end)),
            None => successor(&sort_key(self.table, &[])),
        }
    }

    /// The filter's number of the one filter key that all rows of the range have; none if they may have
    /// several.
    pub(super) fn filter_hash(&self, filter_key_bytes: usize) -> Option<u64> {
        let shared = self.start.get(..filter_key_bytes)?;
        let end = self.end.as_deref();
        let is_one = match (end, successor(shared)) {
            (Some(end), Some(above)) => *end <= above[..],
            (_, None) => true,
            (None, Some(_)) => false,
        };
        is_one.then(|| filter_hash(self.table, shared, filter_key_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(start: &'static [u8], end: Option<&'static [u8]>, bytes: usize) -> bool {
        let range = RowRange {
            table: 0x8000,
            start: Bytes::from_static(start),
            end: end.map(Bytes::from_static),
        };
        range.filter_hash(bytes).is_some()
    }

    #[test]
    fn a_range_within_one_filter_key_is_known() {
        assert!(hash(b"ab", Some(b"ac"), 2), "the prefix itself");
        assert!(hash(b"ab17", Some(b"ac"), 2), "from inside on");
        assert!(hash(b"ab17", Some(b"ab23"), 2), "within");
        assert!(!hash(b"ab17", Some(b"ac1"), 2), "into the next");
        assert!(!hash(b"ab", None, 2), "to the end of the table");
        assert!(!hash(b"a", Some(b"b"), 2), "shorter than a filter key");
        assert!(hash(b"\xff\xff1", None, 2), "the last one");
    }
}
