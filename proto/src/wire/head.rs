//! Messages that are sent in two pieces: what is encoded, and a batch from where it lies.

use bytes::{BufMut, Bytes};
use prost::Message;

/// A message that may end with a batch.
pub trait EndsWithBatch: Message {
    /// Encodes everything but the bytes of that batch, and returns these: together they are the encoded
    /// message. There are none if it ends with something else.
    fn encode_head(&self, buf: &mut impl BufMut) -> Bytes;
}

/// As [`EndsWithBatch::encode_head`] of a message that does not end with a batch.
pub(super) fn encode_whole(message: &impl Message, buf: &mut impl BufMut) -> Bytes {
    message.encode_raw(buf);
    Bytes::new()
}
