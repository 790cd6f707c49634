//! Checking a batch before anything is done with it.

use bytes::Bytes;
use towpath_proto::batch::{self, BatchLimits, BatchSummary, Records};
use towpath_proto::compression::{Codec, declared_bytes, decompress};
use towpath_proto::limits::BATCH_BYTES_MAX;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::wire::{EncodingFault, ProduceBatch};

use super::super::facts;
use crate::core::TopicConfig;

/// A batch that arrived as it was sent. If it is plain, its records were checked as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IntactBatch {
    /// The bytes that are stored.
    pub(super) payload: Bytes,
    /// How they were compressed.
    pub(super) codec: Option<Codec>,
    /// CRC-32 of them.
    pub(super) crc: u32,
    /// Number of records; of a compressed batch the most that it may have.
    pub(super) record_count_max: u32,
    /// Memory that it takes to decompress it, bytes; 0 if it is plain.
    pub(super) plain_bytes_max: usize,
    /// What its sender says of the number of records; 0 for nothing.
    record_count_told: u32,
}

/// A batch that may be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckedBatch {
    /// The bytes that are stored.
    pub(super) payload: Bytes,
    /// How they were compressed.
    pub(super) codec: Option<Codec>,
    /// CRC-32 of them.
    pub(super) crc: u32,
    /// Number of records.
    pub(super) record_count: u32,
    /// The encoded batch, if it was compressed.
    pub(super) plain: Option<Bytes>,
}

impl CheckedBatch {
    /// The encoded batch.
    pub(super) fn records(&self) -> &Bytes {
        self.plain.as_ref().unwrap_or(&self.payload)
    }
}

/// Why a batch may not be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejection {
    /// What is wrong.
    pub(super) problem: Problem,
    /// Sending the same batch again cannot help: its sequence is spent.
    pub(super) is_final: bool,
}

impl Rejection {
    fn finally(problem: Problem) -> Self {
        Self {
            problem,
            is_final: true,
        }
    }

    /// What is wrong with its records, or with looking at them: only what is wrong with the records stays so.
    pub(super) fn of_records(problem: Problem) -> Self {
        let is_final = problem.reason() == ErrorReason::InvalidArgument;
        Self { problem, is_final }
    }

    /// The same batch may be accepted when it is sent again.
    pub(super) fn for_now(problem: Problem) -> Self {
        Self {
            problem,
            is_final: false,
        }
    }
}

/// Checks what can be checked without memory of its own: a plain batch from end to end, of a compressed one
/// what it says of itself.
///
/// # Errors
/// [`Rejection`]; final, except for a wrong CRC, which the way here may have caused.
pub(super) fn receive(batch: &ProduceBatch) -> Result<IntactBatch, Rejection> {
    let encoded = batch.encoded().map_err(|fault| {
        let problem = Problem::invalid_field(fault.field(), fault.to_string());
        Rejection::finally(match fault {
            EncodingFault::UnknownCodec { .. } => problem.with_hint(KNOWN_CODECS),
            EncodingFault::Both | EncodingFault::WithoutBytes | EncodingFault::WithoutCodec => {
                problem.with_hint(EITHER_FIELD)
            }
            EncodingFault::Repeated => problem,
        })
    })?;
    let (payload, codec) = (encoded.bytes.clone(), encoded.codec);
    let crc = batch::crc(&payload);
    if let Some(expected) = batch.crc
        && expected != crc
    {
        let message = format!("crc does not match the batch: expected={expected} computed={crc}");
        return Err(Rejection::for_now(Problem::invalid_field("crc", message)));
    }
    let record_count_told = batch.record_count;
    let (record_count_max, plain_bytes_max) = match codec {
        None => (walk(&payload, record_count_told)?, 0),
        Some(codec) => {
            let plain_bytes_max = plain_bytes_max(codec, &payload)?;
            let record_count_max = match record_count_told {
                0 => most_records(plain_bytes_max),
                told => told.min(most_records(plain_bytes_max)),
            };
            (record_count_max, plain_bytes_max)
        }
    };
    Ok(IntactBatch {
        payload,
        codec,
        crc,
        record_count_max,
        plain_bytes_max,
        record_count_told,
    })
}

impl IntactBatch {
    /// Whether only decompressing it tells how many records it has.
    pub(super) fn is_uncounted(&self) -> bool {
        self.codec.is_some() && self.record_count_told == 0
    }
}

/// Checks the rest: what passes, every typed client can read. A compressed batch is decompressed for that,
/// within what [`receive`] said that it takes.
///
/// # Errors
/// [`Rejection`], final.
pub(super) fn check(batch: IntactBatch) -> Result<CheckedBatch, Rejection> {
    let IntactBatch {
        payload,
        codec,
        crc,
        ..
    } = batch;
    let (record_count, plain) = match codec {
        None => (batch.record_count_max, None),
        Some(codec) => {
            let plain = decompress(codec, &payload, batch.plain_bytes_max);
            let plain = plain.map_err(|error| Rejection::finally(error.into()))?;
            (walk(&plain, batch.record_count_told)?, Some(plain))
        }
    };
    Ok(CheckedBatch {
        payload,
        codec,
        crc,
        record_count,
        plain,
    })
}

const KNOWN_CODECS: &str = "compress with lz4 (1) or zstd (2), or send the records plain";
const EITHER_FIELD: &str = "send batch, or compressed_batch and its codec";

/// Room that a compressed batch takes when it is decompressed, at most.
fn plain_bytes_max(codec: Codec, payload: &[u8]) -> Result<usize, Rejection> {
    let refuse = |size_bytes: usize| {
        let fault = batch::Fault::BatchTooLarge {
            size_bytes,
            size_bytes_max: BATCH_BYTES_MAX,
        };
        let error = batch::BatchError {
            record: None,
            header: None,
            fault,
        };
        Rejection::finally(error.into())
    };
    if payload.len() > BATCH_BYTES_MAX {
        return Err(refuse(payload.len()));
    }
    let declared = declared_bytes(codec, payload);
    let declared = declared.map_err(|error| Rejection::finally(error.into()))?;
    let Some(declared) = declared else {
        return Ok(BATCH_BYTES_MAX);
    };
    let declared = usize::try_from(declared).unwrap_or(usize::MAX);
    match declared > BATCH_BYTES_MAX {
        true => Err(refuse(declared)),
        false => Ok(declared),
    }
}

/// A record takes two bytes at least.
fn most_records(batch_bytes: usize) -> u32 {
    u32::try_from(batch_bytes / 2).unwrap_or(u32::MAX)
}

/// Walks over a plain batch and returns the number of its records, which must be what its sender says.
fn walk(batch: &[u8], told: u32) -> Result<u32, Rejection> {
    let BatchSummary { record_count, .. } = batch::walk(batch, &BatchLimits::default())
        .map_err(|error| Rejection::finally(error.into()))?;
    if told != 0 && told != record_count {
        let message = format!("batch has {record_count} records: record_count={told}");
        let problem = Problem::invalid_field("record_count", message);
        return Err(Rejection::finally(problem));
    }
    Ok(record_count)
}

/// Checks a batch that rests on a version of its key.
///
/// # Errors
/// [`Rejection`]; keys of the topic have no versions, or the batch has not one key.
pub(super) fn check_version(config: &TopicConfig, batch: &[u8]) -> Result<(), Rejection> {
    if !config.has_key_versions {
        let problem = facts::without_versions("expected_version");
        return Err(Rejection::finally(problem));
    }
    let records = Records::new(batch).map_while(Result::ok);
    facts::check_one_key(records.map(|it| it.key()), "expected_version").map_err(Rejection::finally)
}

#[cfg(test)]
mod tests;
