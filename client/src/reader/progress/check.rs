//! Checking a batch when it arrives, so that going through its records cannot fail.

use towpath_proto::batch::{self, BatchLimits};
use towpath_proto::wire::FetchedBatch;

use crate::Error;

/// Checks a batch from end to end: checksum, form, number of records and their offsets.
pub(crate) fn check(batch: &FetchedBatch) -> Result<(), Error> {
    if batch.is_batch_repeated {
        return Err(Error::corrupt("a batch came with its records twice"));
    }
    let crc = batch::crc(&batch.batch);
    if crc != batch.crc {
        let text = "a batch does not match its checksum";
        return Err(Error::corrupt(text)
            .with("crc", batch.crc)
            .with("computed", crc));
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

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use towpath_proto::batch::NewRecord;

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
        let error = check(&batch).unwrap_err();
        assert_eq!(error.message(), expected, "{error}");
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{error}");
    }

    #[test]
    fn sound_batches_pass() {
        check(&batch_of(&["a", "b"])).unwrap();
        let sparse = FetchedBatch {
            offset_deltas: vec![3, 7],
            ..batch_of(&["a", "b"])
        };
        check(&sparse).unwrap();
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
