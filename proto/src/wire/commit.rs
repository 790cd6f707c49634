//! The Commit request with its records left as bytes.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::limits::{OPERATIONS_PER_COMMIT_MAX, RECORDS_PER_BATCH_MAX};
use crate::v1;

use crate::v1::append_records::Expectation;

/// Operations that take effect together; the twin of [`v1::CommitRequest`].
///
/// As in [`super::PublishRequest`], what an operation holds takes many times its bytes once it is decoded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommitRequest {
    /// The operations. Of too many one is left that tells so.
    pub operations: Vec<Operation>,
    /// Names the commit; empty if nothing does.
    pub idempotency_key: Bytes,
}

/// Written by hand because a derived one would keep any number of operations.
impl Message for CommitRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encoding::message::encode_repeated(1, &self.operations, buf);
        if !self.idempotency_key.is_empty() {
            encoding::bytes::encode(2, &self.idempotency_key, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 if self.operations.len() > OPERATIONS_PER_COMMIT_MAX as usize => {
                encoding::skip_field(wire_type, tag, buf, ctx)
            }
            1 => encoding::message::merge_repeated(wire_type, &mut self.operations, buf, ctx),
            2 => encoding::bytes::merge(wire_type, &mut self.idempotency_key, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let key = match self.idempotency_key.is_empty() {
            true => 0,
            false => encoding::bytes::encoded_len(2, &self.idempotency_key),
        };
        encoding::message::encoded_len_repeated(1, &self.operations) + key
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// One thing that happens; the twin of [`v1::Operation`].
#[derive(Clone, PartialEq, Message)]
pub struct Operation {
    /// Which. Absent is refused.
    #[prost(oneof = "operation::Operation", tags = "1, 2, 3")]
    pub operation: Option<operation::Operation>,
}

/// The things that happen.
pub mod operation {
    /// Which one an operation is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Operation {
        /// Records are appended to a topic.
        #[prost(message, tag = "1")]
        Append(super::AppendRecords),
        /// A consumer group comes further.
        #[prost(message, tag = "2")]
        Offsets(crate::v1::CommitGroupOffsets),
        /// Records of a subscription are settled.
        #[prost(message, tag = "3")]
        Settle(crate::v1::SettleRecords),
    }
}

/// Records for one topic; the twin of [`v1::AppendRecords`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppendRecords {
    /// Name of the topic.
    pub topic: String,
    /// The encoded records. Decoded from the network they are slices of the receive buffer, and of
    /// too many one is left that tells so.
    pub records: Vec<Bytes>,
    /// Sends all records to this partition.
    pub partition: Option<u32>,
    /// What the records rest on.
    pub expectation: Option<Expectation>,
}

/// Written by hand because a derived one would keep any number of records.
impl Message for AppendRecords {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if !self.topic.is_empty() {
            encoding::string::encode(1, &self.topic, buf);
        }
        encoding::bytes::encode_repeated(2, &self.records, buf);
        if let Some(partition) = &self.partition {
            encoding::uint32::encode(3, partition, buf);
        }
        if let Some(expectation) = &self.expectation {
            expectation.encode(buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::string::merge(wire_type, &mut self.topic, buf, ctx),
            2 if self.records.len() > RECORDS_PER_BATCH_MAX as usize => {
                encoding::skip_field(wire_type, tag, buf, ctx)
            }
            2 => encoding::bytes::merge_repeated(wire_type, &mut self.records, buf, ctx),
            3 => {
                let partition = self.partition.get_or_insert_default();
                encoding::uint32::merge(wire_type, partition, buf, ctx)
            }
            4 | 5 => Expectation::merge(&mut self.expectation, tag, wire_type, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let topic = match self.topic.is_empty() {
            true => 0,
            false => encoding::string::encoded_len(1, &self.topic),
        };
        let partition = self.partition.as_ref();
        topic
            + encoding::bytes::encoded_len_repeated(2, &self.records)
            + partition.map_or(0, |partition| encoding::uint32::encoded_len(3, partition))
            + self
                .expectation
                .as_ref()
                .map_or(0, Expectation::encoded_len)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl From<v1::CommitRequest> for CommitRequest {
    fn from(request: v1::CommitRequest) -> Self {
        let operations = request.operations.into_iter();
        Self {
            operations: operations.map(Operation::from).collect(),
            idempotency_key: request.idempotency_key,
        }
    }
}

impl From<v1::Operation> for Operation {
    fn from(operation: v1::Operation) -> Self {
        use operation::Operation as Wire;
        use v1::operation::Operation as Typed;
        let operation = operation.operation.map(|operation| match operation {
            Typed::Append(append) => Wire::Append(append.into()),
            Typed::Offsets(offsets) => Wire::Offsets(offsets),
            Typed::Settle(settle) => Wire::Settle(settle),
        });
        Self { operation }
    }
}

impl From<v1::AppendRecords> for AppendRecords {
    fn from(append: v1::AppendRecords) -> Self {
        let records = append.records.iter();
        Self {
            topic: append.topic,
            records: records.map(|it| it.encode_to_vec().into()).collect(),
            partition: append.partition,
            expectation: append.expectation,
        }
    }
}

/// Lets clients call with the typed view.
impl tonic::IntoRequest<CommitRequest> for v1::CommitRequest {
    fn into_request(self) -> tonic::Request<CommitRequest> {
        tonic::Request::new(self.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(record_count: usize) -> v1::AppendRecords {
        let record = |number: usize| v1::Record {
            value: Some(number.to_string().into()),
            ..v1::Record::default()
        };
        v1::AppendRecords {
            topic: "orders".to_owned(),
            records: (0..record_count).map(record).collect(),
            partition: Some(0),
            expectation: Some(match record_count % 2 {
                0 => Expectation::ExpectedOffset(0),
                _ => Expectation::ExpectedVersion(7),
            }),
        }
    }

    fn typed(operation: v1::operation::Operation) -> v1::Operation {
        v1::Operation {
            operation: Some(operation),
        }
    }

    #[test]
    fn both_views_have_the_same_bytes() {
        use v1::operation::Operation::{Append, Offsets, Settle};
        let offsets = v1::CommitGroupOffsets {
            group: "billing".to_owned(),
            member_id: vec![7; 16].into(),
            offsets: vec![v1::GroupOffset::default()],
        };
        let settle = v1::SettleRecords {
            subscription: "billing".to_owned(),
            settlement: Some(v1::Settlement::default()),
        };
        let operations = vec![
            typed(Append(append(3))),
            typed(Append(v1::AppendRecords::default())),
            typed(Offsets(offsets)),
            typed(Settle(settle)),
            v1::Operation { operation: None },
        ];
        let request = v1::CommitRequest {
            operations,
            idempotency_key: vec![1, 2].into(),
        };
        let bytes = request.encode_to_vec();
        let wire = CommitRequest::from(request);
        assert_eq!(wire.encode_to_vec(), bytes, "encoded");
        assert_eq!(wire.encoded_len(), bytes.len(), "length");
        assert_eq!(CommitRequest::decode(&bytes[..]), Ok(wire), "decoded");
    }

    #[test]
    fn of_too_many_one_is_kept_that_tells_so() {
        let count_max = RECORDS_PER_BATCH_MAX as usize;
        let bytes = append(count_max + 10).encode_to_vec();
        let wire = AppendRecords::decode(&bytes[..]).unwrap();
        assert_eq!(wire.records.len(), count_max + 1);

        let count_max = OPERATIONS_PER_COMMIT_MAX as usize;
        let operations = vec![v1::Operation { operation: None }; count_max + 10];
        let request = v1::CommitRequest {
            operations,
            ..v1::CommitRequest::default()
        };
        let bytes = request.encode_to_vec();
        let wire = CommitRequest::decode(&bytes[..]).unwrap();
        assert_eq!(wire.operations.len(), count_max + 1);
    }
}
