//! The wire view: the messages that carry a batch or records, with these left as bytes.
//!
//! Both views describe the same bytes. Here field 15 is `bytes` instead of a `RecordBatch`, so that
//! decoding takes a slice of the receive buffer and encoding copies the batch once, without looking
//! at a record. What the bytes hold is checked by [`crate::batch`].

mod codec;
mod commit;
mod encoded;
mod fetch;
mod head;
mod join;
mod produce;
mod publish;
mod receive;

pub use codec::{BufferedCodec, BufferedEncoder, ControlCodec, DataCodec, FetchCodec};
pub use commit::{AppendRecords, CommitRequest, Operation, ScheduleRecord, operation};
pub use encoded::{EncodedBatch, EncodingFault};
pub use fetch::{FetchResponse, FetchedBatch, fetch_response};
pub use head::EndsWithBatch;
pub use join::{JoinResponse, join_response};
pub use produce::{ProduceBatch, ProduceRequest, produce_request};
pub use publish::PublishRequest;
pub use receive::{Delivered, PullResponse, ReceiveResponse, receive_response};

use head::encode_whole;

/// Number of the field that holds the batch, in every message that carries one.
const BATCH_TAG: u32 = 15;
/// Number of the field that holds it compressed, where it may be.
const COMPRESSED_BATCH_TAG: u32 = 16;

#[cfg(test)]
mod tests;
