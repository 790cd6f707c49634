//! The content of a data block: rows in groups, and where each group begins.
//!
//! ```text
//! rows:    shared varint | suffix bytes varint | value varint | key suffix | value      (repeated)
//! groups:  position of the first row of each group, u32 each; their number, u32
//! ```
//!
//! A row's key is the first `shared` bytes of the sort key before it, which is 0 in the first row of a
//! group, and the suffix. The value's number is 0 for a row that is gone, else the length of the value
//! and one.

use std::cmp::Ordering;

use bytes::{Buf, BufMut, Bytes};

use super::varint;

/// Rows of a group: those that must be read one after the other.
pub const GROUP_ROWS: u32 = 16;

/// Makes the content of a data block.
#[derive(Debug, Default)]
pub struct DataBlockBuilder {
    rows: Vec<u8>,
    groups: Vec<u32>,
    row_count: u32,
    last_key: Vec<u8>,
}

impl DataBlockBuilder {
    /// Adds a row. Sort keys rise; keys and values are far below 4 GiB.
    pub fn push(&mut self, sort_key: &[u8], value: Option<&[u8]>) {
        let mut shared = 0;
        if self.row_count.is_multiple_of(GROUP_ROWS) {
            self.groups.push(length(&self.rows));
        } else {
            let pairs = sort_key.iter().zip(&self.last_key);
            shared = pairs.take_while(|(left, right)| left == right).count();
        }
        let (head, suffix) = sort_key.split_at_checked(shared).unwrap_or((&[], sort_key));
        varint::put(&mut self.rows, length(head));
        varint::put(&mut self.rows, length(suffix));
        varint::put(
            &mut self.rows,
            value.map_or(0, |value| length(value).saturating_add(1)),
        );
        self.rows.put_slice(suffix);
        self.rows.put_slice(value.unwrap_or_default());
        self.row_count = self.row_count.saturating_add(1);
        self.last_key.clear();
        self.last_key.extend_from_slice(sort_key);
    }

    /// Length of the rows so far.
    pub fn rows_bytes(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    /// Content and number of rows; the builder is empty afterwards.
    pub fn take(&mut self) -> (Vec<u8>, u32) {
        let mut content = std::mem::take(&mut self.rows);
        for group in &self.groups {
            content.put_u32_le(*group);
        }
        content.put_u32_le(u32::try_from(self.groups.len()).unwrap_or(u32::MAX));
        self.groups.clear();
        self.last_key.clear();
        (content, std::mem::take(&mut self.row_count))
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A row of a data block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// Table and key, as [`super::sort_key`] makes it of them.
    pub sort_key: Bytes,
    /// Its value, as a slice of the block; none if the row is gone.
    pub value: Option<Bytes>,
}

/// The content of a data block, to be read in.
#[derive(Debug, Clone)]
pub struct DataBlock {
    rows: Bytes,
    /// Positions in `rows`, u32 each.
    groups: Bytes,
    row_count: u32,
}

impl DataBlock {
    /// Takes a block's content apart; `None` if it is not one of so many rows.
    pub fn decode(mut content: Bytes, row_count: u32) -> Option<Self> {
        let mut count = content.split_off(content.len().checked_sub(4)?);
        let group_count = count.try_get_u32_le().ok()?;
        let is_right = row_count > 0 && group_count == row_count.div_ceil(GROUP_ROWS);
        let groups_bytes = (group_count as usize).checked_mul(4)?;
        let rows_bytes = content.len().checked_sub(groups_bytes)?;
        let groups = content.split_off(rows_bytes);
        is_right.then_some(Self {
            rows: content,
            groups,
            row_count,
        })
    }

    /// Number of groups, at least one.
    pub fn group_count(&self) -> u32 {
        self.row_count.div_ceil(GROUP_ROWS)
    }

    /// Bytes that it keeps in memory.
    pub fn memory_bytes(&self) -> usize {
        self.rows.len().saturating_add(self.groups.len())
    }

    /// The rows of a group, in order; `None` if there is no such group or it is malformed.
    pub fn group(&self, group: u32) -> Option<Vec<BlockRow>> {
        let mut walk = self.walk(group)?;
        let mut rows = Vec::with_capacity(GROUP_ROWS as usize);
        while walk.left > 0 {
            let value = walk.next()?;
            rows.push(BlockRow {
                sort_key: Bytes::copy_from_slice(&walk.key),
                value: value.map(|value| self.rows.slice_ref(value)),
            });
        }
        Some(rows)
    }

    /// The last group whose first key is not above `sort_key`, or the first group; `None` if the block
    /// is malformed.
    pub fn group_of(&self, sort_key: &[u8]) -> Option<u32> {
        let (mut low, mut high) = (0, self.group_count());
        // INVARIANT: the first key of `low` is not above, or `low` is the first group.
        while high.checked_sub(low)? > 1 {
            let middle = low.midpoint(high);
            match self.first_key(middle)?.cmp(sort_key) {
                Ordering::Greater => high = middle,
                Ordering::Equal | Ordering::Less => low = middle,
            }
        }
        Some(low)
    }

    /// Looks for a key. The outer `None`: the block is malformed. Then: the block does not have the row,
    /// or it is gone, or its value.
    #[expect(
        clippy::option_option,
        reason = "three answers besides damage, named by the caller"
    )]
    pub fn find(&self, sort_key: &[u8]) -> Option<Option<Option<Bytes>>> {
        let mut walk = self.walk(self.group_of(sort_key)?)?;
        while walk.left > 0 {
            let value = walk.next()?;
            match walk.key[..].cmp(sort_key) {
                Ordering::Less => {}
                Ordering::Equal => {
                    return Some(Some(value.map(|value| self.rows.slice_ref(value))));
                }
                Ordering::Greater => break,
            }
        }
        Some(None)
    }

    /// The first key of a group, which shares nothing with one before it.
    fn first_key(&self, group: u32) -> Option<&[u8]> {
        let mut input = self.walk(group)?.input;
        let shared = varint::take(&mut input)?;
        let key_bytes = varint::take(&mut input)? as usize;
        varint::take(&mut input)?;
        input.get(..key_bytes).filter(|_| shared == 0)
    }

    fn walk(&self, group: u32) -> Option<GroupWalk<'_>> {
        let before = group.checked_mul(GROUP_ROWS)?;
        let left = self.row_count.checked_sub(before)?.min(GROUP_ROWS);
        let start = (group as usize).checked_mul(4)?;
        let mut position = self.groups.get(start..)?;
        let position = position.try_get_u32_le().ok()? as usize;
        Some(GroupWalk {
            input: self.rows.get(position..)?,
            key: Vec::new(),
            left,
        })
    }
}

/// Steps through the rows of a group.
struct GroupWalk<'a> {
    input: &'a [u8],
    /// Sort key of the row that was read last.
    key: Vec<u8>,
    left: u32,
}

impl<'a> GroupWalk<'a> {
    /// Reads a row, whose key is in `key` then, and returns its value, if it is not gone; the outer
    /// `None` if it is malformed.
    #[expect(
        clippy::option_option,
        reason = "damage is not the same as a row that is gone"
    )]
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        self.left = self.left.checked_sub(1)?;
        let shared = varint::take(&mut self.input)? as usize;
        let suffix_bytes = varint::take(&mut self.input)? as usize;
        let value = varint::take(&mut self.input)?;
        if shared > self.key.len() {
            return None;
        }
        let (suffix, rest) = self.input.split_at_checked(suffix_bytes)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        let value_bytes = value.saturating_sub(1) as usize;
        let (bytes, rest) = rest.split_at_checked(value_bytes)?;
        self.input = rest;
        Some((value > 0).then_some(bytes))
    }
}
