//! Rows: the absolute values in which the broker's state is kept, in journal entries and checkpoints.
//!
//! Storage orders rows by table and key and never looks inside.

use bytes::{Buf, BufMut, Bytes};

/// Bytes of a row beside its key and value.
pub const ROW_HEADER_BYTES: usize = 12;

const DELETED: u16 = 1;

/// Which row: a table number and a key in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The table.
    pub table: u16,
    /// The key, compared as bytes.
    pub key: Bytes,
}

/// A row as it is after a change: a value, or none if the row is gone.
///
/// ```text
///  0 table u16   2 flags u16 (1 = gone)   4 key bytes u32   8 value bytes u32   12 key, value
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which row.
    pub key: RowKey,
    /// Its value.
    pub value: Option<Bytes>,
}

impl Row {
    /// Length of the row when encoded.
    pub fn encoded_bytes(&self) -> usize {
        let value_bytes = self.value.as_ref().map_or(0, Bytes::len);
        ROW_HEADER_BYTES
            .saturating_add(self.key.key.len())
            .saturating_add(value_bytes)
    }

    /// Appends the row to `out`.
    ///
    /// Keys and values are far below 4 GiB; the entry and block limits are checked by the writers.
    pub fn encode(&self, out: &mut impl BufMut) {
        let value = self.value.as_deref().unwrap_or_default();
        out.put_u16_le(self.key.table);
        out.put_u16_le(if self.value.is_none() { DELETED } else { 0 });
        out.put_u32_le(u32::try_from(self.key.key.len()).unwrap_or(u32::MAX));
        out.put_u32_le(u32::try_from(value.len()).unwrap_or(u32::MAX));
        out.put_slice(&self.key.key);
        out.put_slice(value);
    }

    /// Takes the next row from `input`, as slices of it; `None` if the bytes are not a whole row.
    pub fn decode(input: &mut Bytes) -> Option<Self> {
        let table = input.try_get_u16_le().ok()?;
        let flags = input.try_get_u16_le().ok()?;
        let key_bytes = input.try_get_u32_le().ok()? as usize;
        let value_bytes = input.try_get_u32_le().ok()? as usize;
        if flags & !DELETED != 0 || key_bytes.checked_add(value_bytes)? > input.len() {
            return None;
        }
        let key = input.split_to(key_bytes);
        let value = input.split_to(value_bytes);
        let is_gone = flags & DELETED != 0;
        if is_gone && !value.is_empty() {
            return None;
        }
        Some(Self {
            key: RowKey { table, key },
            value: (!is_gone).then_some(value),
        })
    }
}

/// Reads all rows of `input`; `None` if the bytes are not whole rows to the last.
pub fn decode_rows(mut input: Bytes) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    while !input.is_empty() {
        rows.push(Row::decode(&mut input)?);
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_the_round_trip() {
        let put = Row {
            key: RowKey {
                table: 3,
                key: Bytes::from_static(b"k"),
            },
            value: Some(Bytes::from_static(b"value")),
        };
        let empty = Row {
            value: Some(Bytes::new()),
            ..put.clone()
        };
        let gone = Row {
            value: None,
            ..put.clone()
        };
        let mut bytes = Vec::new();
        for row in [&put, &empty, &gone] {
            let before = bytes.len();
            row.encode(&mut bytes);
            assert_eq!(bytes.len() - before, row.encoded_bytes(), "{row:?}");
        }
        assert_eq!(
            decode_rows(bytes.clone().into()),
            Some(vec![put, empty, gone])
        );
        bytes.pop();
        assert_eq!(
            decode_rows(bytes.into()),
            Some(Vec::new()).filter(|_| false),
            "cut short"
        );
    }
}
