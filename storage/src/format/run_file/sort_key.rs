//! Table and key as one string of bytes that sorts like them.

use bytes::Bytes;

use crate::format::row::RowKey;

/// Bytes of the table in a sort key.
const TABLE_BYTES: usize = 2;

/// The table, highest byte first, and the key: compared as bytes it sorts by table and key.
pub fn sort_key(table: u16, key: &[u8]) -> Vec<u8> {
    let [low, high] = table.to_le_bytes();
    let mut bytes = Vec::with_capacity(TABLE_BYTES.saturating_add(key.len()));
    bytes.extend_from_slice(&[high, low]);
    bytes.extend_from_slice(key);
    bytes
}

/// Table and key of a sort key; `None` if it is too short to be one.
pub fn row_key(mut sort_key: Bytes) -> Option<RowKey> {
    let [high, low] = *sort_key.first_chunk::<TABLE_BYTES>()?;
    let key = sort_key.split_off(TABLE_BYTES);
    let table = u16::from_le_bytes([low, high]);
    Some(RowKey { table, key })
}

/// The lowest string above all that begin with `prefix`; `None` if there is none.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut bytes = prefix.get(..=end)?.to_vec();
    let last = bytes.last_mut()?;
    *last = last.checked_add(1)?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_order_by_table_then_key() {
        let ordered = [(1, &b"z"[..]), (2, b""), (2, b"a"), (255, b""), (256, b"")];
        let keys: Vec<_> = ordered.map(|(table, key)| sort_key(table, key)).into();
        assert!(keys.is_sorted(), "{keys:?}");
        for ((table, key), bytes) in ordered.into_iter().zip(keys) {
            let key = Bytes::from_static(key);
            assert_eq!(row_key(bytes.into()), Some(RowKey { table, key }));
        }
        assert_eq!(row_key(Bytes::from_static(b"x")), None);
    }

    #[test]
    fn a_successor_is_above_everything_with_the_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff\xff"), None);
        assert_eq!(successor(b""), None);
    }
}
