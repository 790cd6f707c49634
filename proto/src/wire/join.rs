//! The Join response with its batch left as bytes.

use bytes::{BufMut, Bytes};
use prost::Message;

use super::{EndsWithBatch, encode_whole};

/// One message of a Join stream; the twin of [`crate::v1::JoinResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct JoinResponse {
    /// Which message. Absent is skipped: it is one that this version does not know.
    #[prost(
        oneof = "join_response::Response",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"
    )]
    pub response: Option<join_response::Response>,
}

/// The messages of a Join stream.
pub mod join_response {
    use crate::v1;
    use crate::wire::FetchedBatch;

    /// Which message a response is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Response {
        /// The member belongs to the group.
        #[prost(message, tag = "1")]
        Joined(v1::Joined),
        /// The member gets partitions.
        #[prost(message, tag = "2")]
        Assigned(v1::Assigned),
        /// The member should give partitions back.
        #[prost(message, tag = "3")]
        Revoking(v1::Revoking),
        /// The member has lost partitions.
        #[prost(message, tag = "4")]
        Lost(v1::Lost),
        /// Records.
        #[prost(message, tag = "5")]
        Batch(FetchedBatch),
        /// What became of a `CommitOffsets`.
        #[prost(message, tag = "6")]
        Committed(v1::Committed),
        /// A partition was read to its end.
        #[prost(message, tag = "7")]
        CaughtUp(v1::CaughtUp),
        /// Offsets that hold no record any more.
        #[prost(message, tag = "8")]
        Gap(v1::Gap),
        /// Nothing new, but the stream is alive.
        #[prost(message, tag = "9")]
        Heartbeat(v1::Heartbeat),
        /// The broker is stopping.
        #[prost(message, tag = "10")]
        Draining(v1::Draining),
        /// A topic or partition cannot be read on.
        #[prost(message, tag = "11")]
        Failed(v1::SourceFailed),
    }
}

impl From<join_response::Response> for JoinResponse {
    fn from(response: join_response::Response) -> Self {
        Self {
            response: Some(response),
        }
    }
}

impl EndsWithBatch for JoinResponse {
    fn encode_head(&self, buf: &mut impl BufMut) -> Bytes {
        match &self.response {
            Some(join_response::Response::Batch(batch)) => batch.encode_head_as(5, buf),
            _ => encode_whole(self, buf),
        }
    }
}
