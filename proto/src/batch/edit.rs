//! Changing a batch before it is stored: leaving records out, adding a header to some.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::encode_varint;

use super::Records;
use super::encode::{field_len, header_len, put_header};
use super::fields::tag;

/// What becomes of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// It stays as it is.
    Keep,
    /// It is left out.
    Drop,
    /// It gets one more header, behind those that it has.
    AddHeader(&'a str, &'a [u8]),
}

/// Copies a batch that was walked ([`super::walk`]), with every record changed as `edit` says of its number.
/// Behind a fault nothing is copied.
pub fn edit<'a>(batch: &[u8], mut edit: impl FnMut(u32) -> Edit<'a>) -> Bytes {
    let mut edited = BytesMut::with_capacity(batch.len());
    for (number, record) in (0..).zip(Records::new(batch)) {
        let Ok(record) = record else { break };
        let bytes = record.bytes();
        let header = match edit(number) {
            Edit::Drop => continue,
            Edit::Keep => None,
            Edit::AddHeader(name, value) => Some((name, value)),
        };
        let added = header.map_or(0, |(name, value)| field_len(header_len(name, value)));
        let record_len = bytes.len().saturating_add(added);
        edited.reserve(field_len(record_len));
        edited.put_u8(tag::RECORD);
        encode_varint(record_len as u64, &mut edited);
        edited.put_slice(bytes);
        if let Some((name, value)) = header {
            put_header(&mut edited, name, value);
        }
    }
    edited.freeze()
}
