//! The content of an index block: the filter of a partition, then first key and place of each of its data
//! blocks.
//!
//! ```text
//! filter bytes u32 | filter
//! first key bytes u32 | first key | position u64 | bytes u32      (for each data block)
//! ```

use bytes::{Buf, BufMut, Bytes};

use super::block::BlockPlace;
use super::filter::Filter;

/// A data block: its first sort key and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlace {
    /// Sort key of its first row.
    pub first_key: Bytes,
    /// Where it is.
    pub place: BlockPlace,
}

/// What an index block says of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionIndex {
    /// The filter keys of its rows.
    pub filter: Filter,
    /// Its data blocks, in order.
    pub blocks: Vec<DataPlace>,
}

impl PartitionIndex {
    /// The block's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        put_bytes(&mut content, self.filter.as_bytes());
        for block in &self.blocks {
            encode_place(&mut content, &block.first_key, &block.place);
        }
        content
    }

    /// Reads an index block's content; `None` if it is not one of so many data blocks.
    pub fn decode(mut content: Bytes, block_count: u32) -> Option<Self> {
        let filter = Filter::from_bytes(take_bytes(&mut content)?);
        let mut blocks = Vec::new();
        while !content.is_empty() {
            let (first_key, place) = decode_place(&mut content)?;
            blocks.push(DataPlace { first_key, place });
        }
        let is_whole = !blocks.is_empty() && blocks.len() == block_count as usize;
        is_whole.then_some(Self { filter, blocks })
    }

    /// Bytes that it keeps in memory.
    pub fn memory_bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| block.first_key.len());
        let keys: usize = blocks.sum();
        let places = size_of::<DataPlace>().saturating_mul(self.blocks.len());
        let all = self.filter.as_bytes().len().saturating_add(keys);
        all.saturating_add(places)
    }
}

/// Appends a first key and the place that it belongs to.
pub(super) fn encode_place(content: &mut Vec<u8>, first_key: &[u8], place: &BlockPlace) {
    put_bytes(content, first_key);
    place.encode(content);
}

/// Takes a first key and its place from the front.
pub(super) fn decode_place(content: &mut Bytes) -> Option<(Bytes, BlockPlace)> {
    let first_key = take_bytes(content)?;
    let mut input = &content[..];
    let before = input.len();
    let place = BlockPlace::decode(&mut input)?;
    let taken = before.checked_sub(input.len())?;
    content.advance(taken);
    Some((first_key, place))
}

fn put_bytes(content: &mut Vec<u8>, bytes: &[u8]) {
    content.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    content.put_slice(bytes);
}

fn take_bytes(content: &mut Bytes) -> Option<Bytes> {
    let length = content.try_get_u32_le().ok()? as usize;
    (length <= content.len()).then(|| content.split_to(length))
}
