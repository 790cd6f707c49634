//! Checking a batch when it arrives, so that going through its records cannot fail.

use bytes::Bytes;
use towpath_proto::batch::{self, BatchLimits};
use towpath_proto::compression::{Codec, decompress};
use towpath_proto::limits::BATCH_BYTES_MAX;
use towpath_proto::wire::{EncodedBatch, EncodingFault, FetchedBatch};

use crate::Error;

/// Checks a batch from end to end: checksum, form, number of records and their offsets. One that is
/// compressed becomes plain.
pub(crate) fn check(batch: &mut FetchedBatch) -> Result<(), Error> {
    let EncodedBatch { codec, bytes } = batch.encoded().map_err(|fault| {
        let text = match fault {
            EncodingFault::Repeated | EncodingFault::Both => "a batch came with its records twice",
            EncodingFault::WithoutBytes
            | EncodingFault::WithoutCodec
            | EncodingFault::UnknownCodec { .. } => {
                "a batch came with a codec that was not asked for"
            }
        };
        Error::corrupt(text).because(fault)
    })?;
    let crc = batch::crc(bytes);
    if crc != batch.crc {
        let text = "a batch does not match its checksum";
        return Err(Error::corrupt(text)
            .with("crc", batch.crc)
            .with("computed", crc));
    }
    if let Some(codec) = codec {
        batch.batch = decompress(codec, bytes, BATCH_BYTES_MAX)
            .map_err(|error| Error::corrupt("a batch cannot be decompressed").because(error))?;
        batch.compressed_batch = Bytes::new();
        batch.codec = 0;
        batch.crc = batch::crc(&batch.batch);
    }
    let summary = batch::walk(&batch.batch, &BatchLimits::NONE)
        .map_err(|error| Error::corrupt("a batch is malformed").because(error))?;
    let deltas = &batch.offset_deltas;
    let has_all_offsets = deltas.is_empty() || deltas.len() == batch.record_count as usize;
    if summary.record_count != batch.record_count || !has_all_offsets {
        return Err(Error::corrupt("a batch has not as many records as it says"));
    }
    if !deltas.is_sorted_by(|before, after| before < after) {
        return Err(Error::corrupt("a batch has offsets that do not rise"));
    }
    Ok(())
}

/// Bytes of the records of a batch as it came.
pub(crate) fn received_bytes(batch: &FetchedBatch) -> u64 {
    let bytes = batch
        .batch
        .len()
        .saturating_add(batch.compressed_batch.len());
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Numbers of the codecs that [`check`] decompresses.
pub(super) fn accepted_codecs() -> Vec<i32> {
    Codec::ALL.map(|codec| codec.number().into()).into()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use towpath_proto::batch::NewRecord;
    use towpath_proto::compression::{Compression, compress};

    use super::*;

    fn batch_of(values: &[&str]) -> FetchedBatch {
        let mut bytes = BytesMut::new();
        for value in values {
            let record = NewRecord {
                key: None,
                value: Some(value.as_bytes()),
                headers: std::iter::empty(),
                event_time_ms: None,
            };
            record.put(&mut bytes);
        }
        FetchedBatch {
            record_count: u32::try_from(values.len()).unwrap(),
            crc: batch::crc(&bytes),
            batch: bytes.freeze(),
            ..FetchedBatch::default()
        }
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut FetchedBatch), expected: &str) {
        let mut batch = batch_of(&["a", "b"]);
        change(&mut batch);
        let error = check(&mut batch).unwrap_err();
        assert_eq!(error.message(), expected, "{error}");
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
    }

    #[test]
    fn sound_batches_pass() {
        check(&mut batch_of(&["a", "b"])).unwrap();
        let mut sparse = FetchedBatch {
            offset_deltas: vec![3, 7],
            ..batch_of(&["a", "b"])
        };
        check(&mut sparse).unwrap();
    }

    fn compressed(compression: Compression) -> FetchedBatch {
        let plain = batch_of(&["a"; 100]);
        let compressed_batch = compress(&plain.batch, compression).expect("smaller");
        FetchedBatch {
            crc: batch::crc(&compressed_batch),
            codec: compression.codec().number().into(),
            batch: Bytes::new(),
            compressed_batch,
            ..plain
        }
    }

    #[test]
    fn a_compressed_batch_becomes_plain() {
        let plain = batch_of(&["a"; 100]);
        for compression in [Compression::Lz4, Compression::Zstd { level: 1 }] {
            let mut batch = compressed(compression);
            assert!(
                received_bytes(&batch) < received_bytes(&plain),
                "as it came"
            );
            check(&mut batch).unwrap();
            assert_eq!(batch, plain);
            let number = i32::from(compression.codec().number());
            assert!(accepted_codecs().contains(&number), "it was asked for");
        }
    }

    #[test]
    fn damage_of_compressed_batches_is_seen() {
        let right = || compressed(Compression::Lz4);
        let text = "a batch does not match its checksum";
        check_refused(|batch| *batch = FetchedBatch { crc: 1, ..right() }, text);
        let cut = |batch: &mut FetchedBatch| {
            *batch = right();
            batch.compressed_batch.truncate(30);
            batch.crc = batch::crc(&batch.compressed_batch);
        };
        check_refused(cut, "a batch cannot be decompressed");
        let both = |batch: &mut FetchedBatch| {
            batch.codec = 1;
            batch.compressed_batch = right().compressed_batch;
        };
        check_refused(both, "a batch came with its records twice");
        let text = "a batch came with a codec that was not asked for";
        check_refused(|batch| batch.codec = 1, text);
        for codec in [0, 3] {
            check_refused(|batch| *batch = FetchedBatch { codec, ..right() }, text);
        }
        let text = "a batch has not as many records as it says";
        let record_count = 99;
        let fewer = |batch: &mut FetchedBatch| {
            *batch = FetchedBatch {
                record_count,
                ..right()
            }
        };
        check_refused(fewer, text);
    }

    #[test]
    fn damage_of_every_kind_is_seen() {
        let text = "a batch does not match its checksum";
        check_refused(|batch| batch.crc ^= 1, text);
        let cut = |batch: &mut FetchedBatch| {
            batch.batch = batch.batch.slice(..batch.batch.len() - 1);
            batch.crc = batch::crc(&batch.batch);
        };
        check_refused(cut, "a batch is malformed");
        let empty = |batch: &mut FetchedBatch| {
            batch.batch = Bytes::new();
            batch.crc = 0;
        };
        check_refused(empty, "a batch is malformed");
        let text = "a batch has not as many records as it says";
        check_refused(|batch| batch.record_count = 3, text);
        check_refused(|batch| batch.offset_deltas = vec![1], text);
        let text = "a batch has offsets that do not rise";
        check_refused(|batch| batch.offset_deltas = vec![1, 1], text);
        let text = "a batch came with its records twice";
        check_refused(|batch| batch.is_batch_repeated = true, text);
    }
}
