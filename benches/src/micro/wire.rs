//! A batch on the wire: built, decoded, checked.

use bytes::{Bytes, BytesMut};
use prost::Message;
use towpath_proto::batch::{self, BatchLimits};
use towpath_proto::wire::{ProduceBatch, ProduceRequest};

use super::shape::put_all;
use super::{Shape, Subject};
use crate::{Error, Result};

/// Records put into a batch, as the SDK does for a batch that it has room for.
pub(super) const BUILD: Subject = Subject {
    name: "build batch",
    prepare: |shape, _| {
        let records = shape.records();
        let batch_bytes = shape.batch().len();
        Ok(Box::new(move || {
            let mut batch = BytesMut::with_capacity(batch_bytes);
            put_all(&records, &mut batch);
            expect(batch.freeze().len() == batch_bytes, "a batch is longer")
        }))
    },
};

/// A request decoded, its batch a slice of what was received.
pub(super) const DECODE: Subject = Subject {
    name: "decode request",
    prepare: |shape, _| {
        let request = encoded_request(shape.batch(), shape.record_count, 7);
        Ok(Box::new(move || {
            let decoded = ProduceRequest::decode(request.clone()).map_err(|fault| void(&fault))?;
            expect(decoded.request.is_some(), "a request is empty")
        }))
    },
};

/// The checksum of a batch.
pub(super) const CHECKSUM: Subject = Subject {
    name: "checksum",
    prepare: |shape, _| {
        let payload = shape.batch();
        let crc = batch::crc(&payload);
        Ok(Box::new(move || {
            expect(batch::crc(&payload) == crc, "a checksum differs")
        }))
    },
};

/// The walk over all tags and lengths.
pub(super) const WALK: Subject = Subject {
    name: "tag walk",
    prepare: |shape, _| {
        let payload = shape.batch();
        Ok(Box::new(move || walk(&payload, shape)))
    },
};

pub(super) fn walk(payload: &[u8], shape: &Shape) -> Result<()> {
    let summary = batch::walk(payload, &BatchLimits::default()).map_err(|fault| void(&fault))?;
    expect(
        summary.record_count == shape.record_count,
        "records are missing",
    )
}

/// A request as it is received.
pub(super) fn encoded_request(batch: Bytes, record_count: u32, sequence: u64) -> Bytes {
    let request = ProduceRequest::produce(ProduceBatch {
        handle: 1,
        sequence,
        record_count,
        crc: Some(batch::crc(&batch)),
        batch,
        ..ProduceBatch::default()
    });
    request.encode_to_vec().into()
}

/// What is measured must also be right.
pub(super) fn expect(is_so: bool, otherwise: &str) -> Result<()> {
    is_so
        .then_some(())
        .ok_or_else(|| Error::Void(otherwise.to_owned()))
}

/// What should have gone well.
pub(super) fn void(fault: &dyn std::fmt::Display) -> Error {
    Error::Void(fault.to_string())
}
