//! Checking a batch before anything is done with it.

use towpath_proto::batch::{self, BatchLimits, BatchSummary, Records};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::wire::ProduceBatch;

use super::super::facts;
use crate::core::TopicConfig;

/// A batch that may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CheckedBatch {
    /// CRC-32 of its bytes.
    pub(super) crc: u32,
    /// Number of records.
    pub(super) record_count: u32,
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

/// Checks a batch from end to end: what passes, every typed client can read.
///
/// # Errors
/// [`Rejection`]; final, except for a wrong CRC, which the way here may have caused.
pub(super) fn check(batch: &ProduceBatch) -> Result<CheckedBatch, Rejection> {
    if batch.is_batch_repeated {
        let message = "field occurs twice: field=batch";
        return Err(Rejection::finally(Problem::invalid_field("batch", message)));
    }
    let crc = batch::crc(&batch.batch);
    if let Some(expected) = batch.crc
        && expected != crc
    {
        let message = format!("crc does not match the batch: expected={expected} computed={crc}");
        return Err(Rejection::for_now(Problem::invalid_field("crc", message)));
    }
    let BatchSummary { record_count, .. } = batch::walk(&batch.batch, &BatchLimits::default())
        .map_err(|error| Rejection::finally(error.into()))?;
    if batch.record_count != 0 && batch.record_count != record_count {
        let said = batch.record_count;
        let message = format!("batch has {record_count} records: record_count={said}");
        let problem = Problem::invalid_field("record_count", message);
        return Err(Rejection::finally(problem));
    }
    Ok(CheckedBatch { crc, record_count })
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
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Two records with the values "a" and "b".
    const TWO: &[u8] = &[0x0a, 3, 0x12, 1, b'a', 0x0a, 3, 0x12, 1, b'b'];

    fn batch() -> ProduceBatch {
        ProduceBatch {
            batch: Bytes::from_static(TWO),
            ..ProduceBatch::default()
        }
    }

    #[track_caller]
    fn check_refused(batch: &ProduceBatch, field: &str, is_final: bool) {
        let rejection = check(batch).unwrap_err();
        assert_eq!(rejection.problem.reason(), ErrorReason::InvalidArgument);
        assert_eq!(rejection.problem.metadata()["field"], field);
        assert_eq!(rejection.is_final, is_final, "{}", rejection.problem);
    }

    #[test]
    fn count_and_crc_are_optional_and_computed() {
        let expected = CheckedBatch {
            crc: crc32fast::hash(TWO),
            record_count: 2,
        };
        assert_eq!(check(&batch()), Ok(expected));
        let told = ProduceBatch {
            record_count: 2,
            crc: Some(expected.crc),
            ..batch()
        };
        assert_eq!(check(&told), Ok(expected));
    }

    #[test]
    fn only_a_wrong_crc_may_heal_when_it_is_sent_again() {
        let wrong_crc = ProduceBatch {
            crc: Some(1),
            ..batch()
        };
        check_refused(&wrong_crc, "crc", false);
        let wrong_count = ProduceBatch {
            record_count: 3,
            ..batch()
        };
        check_refused(&wrong_count, "record_count", true);
        let twice = ProduceBatch {
            is_batch_repeated: true,
            ..batch()
        };
        check_refused(&twice, "batch", true);
        check_refused(&ProduceBatch::default(), "batch", true);
    }
}
