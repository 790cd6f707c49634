//! The Publish request with its records left as bytes.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::limits::RECORDS_PER_BATCH_MAX;
use crate::v1;

/// A few records for one topic; the twin of [`v1::PublishRequest`].
///
/// A record of two bytes takes fifty times as much memory once it is decoded, so they are decoded one
/// after the other by whoever looks at them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PublishRequest {
    /// Name of the topic.
    pub topic: String,
    /// The encoded records. Decoded from the network they are slices of the receive buffer, and of
    /// too many one is left that tells so.
    pub records: Vec<Bytes>,
    /// Sends all records to this partition.
    pub partition: Option<u32>,
}

/// Written by hand because a derived one would keep any number of records.
impl Message for PublishRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if !self.topic.is_empty() {
            encoding::string::encode(1, &self.topic, buf);
        }
        encoding::bytes::encode_repeated(2, &self.records, buf);
        if let Some(partition) = &self.partition {
            encoding::uint32::encode(3, partition, buf);
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
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl From<v1::PublishRequest> for PublishRequest {
    fn from(request: v1::PublishRequest) -> Self {
        let records = request.records.iter();
        Self {
            topic: request.topic,
            records: records.map(|it| it.encode_to_vec().into()).collect(),
            partition: request.partition,
        }
    }
}

/// Lets clients call with the typed view.
impl tonic::IntoRequest<PublishRequest> for v1::PublishRequest {
    fn into_request(self) -> tonic::Request<PublishRequest> {
        tonic::Request::new(self.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(record_count: usize) -> v1::PublishRequest {
        let record = |number: usize| v1::Record {
            value: Some(number.to_string().into()),
            ..v1::Record::default()
        };
        v1::PublishRequest {
            topic: "orders".to_owned(),
            records: (0..record_count).map(record).collect(),
            partition: Some(0),
        }
    }

    #[test]
    fn both_views_have_the_same_bytes() {
        for request in [typed(3), v1::PublishRequest::default()] {
            let bytes = request.encode_to_vec();
            let wire = PublishRequest::from(request.clone());
            assert_eq!(wire.encode_to_vec(), bytes, "encoded");
            assert_eq!(wire.encoded_len(), bytes.len(), "length");
            assert_eq!(PublishRequest::decode(&bytes[..]), Ok(wire), "decoded");
        }
    }

    #[test]
    fn of_too_many_records_one_is_kept_that_tells_so() {
        let count_max = RECORDS_PER_BATCH_MAX as usize;
        let bytes = typed(count_max + 10).encode_to_vec();
        let wire = PublishRequest::decode(&bytes[..]).unwrap();
        assert_eq!(wire.records.len(), count_max + 1);
    }
}
