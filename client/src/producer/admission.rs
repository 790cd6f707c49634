//! What becomes of a record before it is queued: checked against the limits, weighed, placed.

use std::num::NonZeroU32;

use towpath_proto::batch::BatchLimits;
use towpath_proto::ids::PartitionId;
use towpath_proto::names::TopicName;
use towpath_proto::partitioner::partition_of;
use towpath_proto::problem::Problem;

use super::batch::Weighed;
use crate::record::Expectation;
use crate::{Error, ErrorReason, Record};

/// The rules of one topic.
#[derive(Debug)]
pub(super) struct Admission {
    topic: TopicName,
    partition_count: NonZeroU32,
    limits: BatchLimits,
    /// A record without headers that is not larger than this keeps to every limit.
    small_bytes_max: usize,
    /// Where events come from that do not say so themselves.
    source: String,
}

/// A record that may be queued.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    /// Where it belongs; none if it may go anywhere.
    pub(super) partition: Option<PartitionId>,
    pub(super) weighed: Weighed<'a>,
}

impl Admission {
    pub(super) fn new(
        topic: TopicName,
        partition_count: NonZeroU32,
        limits: BatchLimits,
        source: String,
    ) -> Self {
        Self {
            topic,
            partition_count,
            limits,
            small_bytes_max: limits.record_bytes_max.min(limits.key_bytes_max),
            source,
        }
    }

    /// Checks a record, weighs it and finds its partition.
    ///
    /// # Errors
    ///
    /// The limit that it exceeds, that the topic has no such partition, or that it expects an offset of
    /// whichever partition it goes to, or a version of no key.
    pub(super) fn admit<'a>(&'a self, record: &'a Record) -> Result<Admitted<'a>, Error> {
        let weighed = Weighed::new(record, &self.source);
        let is_surely_small =
            record.headers().is_empty() && weighed.batch_len <= self.small_bytes_max;
        if !is_surely_small {
            let checked = weighed.record.check(&self.limits);
            checked.map_err(|fault| {
                Error::from_problem(&Problem::from(fault)).with("topic", &self.topic)
            })?;
        }
        let chosen = record.chosen_partition();
        if let Some(partition) = chosen.filter(|it| self.partition_count.get() <= it.get()) {
            return Err(self.no_partition(partition));
        }
        let by_key = || Some(partition_of(record.key_bytes()?, self.partition_count));
        let partition = chosen.or_else(by_key);
        Expectation::check(record).map_err(|error| error.with("topic", &self.topic))?;
        Ok(Admitted { partition, weighed })
    }

    fn no_partition(&self, partition: PartitionId) -> Error {
        let text = format!("topic {} has no partition {partition}", self.topic);
        let last = self.partition_count.get() - 1;
        let problem = Problem::new(ErrorReason::PartitionNotFound, text)
            .with("topic", &self.topic)
            .with("partition", partition)
            .with("partition_count", self.partition_count)
            .with_hint(format!("its partitions are 0 to {last}"));
        Error::from_problem(&problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_proto::ids::Offset;

    fn admission() -> Admission {
        let limits = BatchLimits {
            record_bytes_max: 1_000,
            key_bytes_max: 100,
            header_value_bytes_max: 50,
            headers_max: 2,
            ..BatchLimits::default()
        };
        let topic = TopicName::new("orders").unwrap();
        Admission::new(topic, NonZeroU32::new(4).unwrap(), limits, "/s".to_owned())
    }

    #[track_caller]
    fn check_refused(record: &Record, reason: ErrorReason) {
        let error = admission().admit(record).unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{error}");
        assert!(error.has_no_side_effects(), "{error}");
    }

    #[test]
    fn what_is_over_a_limit_is_refused() {
        use ErrorReason::{InvalidArgument, PartitionNotFound, RecordTooLarge};
        check_refused(&Record::new(vec![0; 1_000]), RecordTooLarge);
        check_refused(&Record::new("v").key(vec![0; 101]), InvalidArgument);
        check_refused(&Record::new("v").header("h", vec![0; 51]), InvalidArgument);
        check_refused(&Record::new("v").header("", "v"), InvalidArgument);
        let headers = Record::new("v")
            .header("a", "1")
            .header("b", "2")
            .header("c", "3");
        check_refused(&headers, InvalidArgument);
        check_refused(
            &Record::new("v").partition(PartitionId::new(4)),
            PartitionNotFound,
        );
    }

    #[test]
    fn an_expected_offset_needs_a_partition() {
        let admission = admission();
        let expecting = Record::new("v").expect_offset(Offset::new(7));
        check_refused(&expecting, ErrorReason::InvalidArgument);
        for placed in [
            expecting.clone().key("k"),
            expecting.partition(PartitionId::new(3)),
        ] {
            let admitted = admission.admit(&placed).unwrap();
            let expectation = admitted.weighed.expectation;
            assert_eq!(
                expectation,
                Some(Expectation::Offset(Offset::new(7))),
                "kept"
            );
        }
    }

    #[test]
    fn an_expected_version_needs_a_key() {
        let admission = admission();
        let expecting = Record::new("v").expect_version(7);
        check_refused(&expecting, ErrorReason::InvalidArgument);
        let placed = expecting.partition(PartitionId::new(3));
        check_refused(&placed, ErrorReason::InvalidArgument);
        let keyed = placed.key("k");
        let admitted = admission.admit(&keyed).unwrap();
        let expectation = admitted.weighed.expectation;
        assert_eq!(expectation, Some(Expectation::Version(7)), "kept");
    }

    #[test]
    fn a_chosen_partition_goes_before_the_key() {
        let admission = admission();
        let partition = |record: &Record| admission.admit(record).unwrap().partition;
        assert_eq!(partition(&Record::new("v")), None, "anywhere");
        let by_key = partition_of(b"k", admission.partition_count);
        assert_eq!(
            partition(&Record::new("v").key("k")),
            Some(by_key),
            "by key"
        );
        let other = PartitionId::new((by_key.get() + 1) % 4);
        let chosen = Record::new("v").key("k").partition(other);
        assert_eq!(partition(&chosen), Some(other), "chosen");
    }

    #[test]
    fn what_is_just_within_the_limits_is_taken() {
        let admission = admission();
        for record in [
            Record::new(vec![0; 997]),
            Record::new("v").key(vec![0; 100]),
            Record::new("v").header("h", vec![0; 50]).header("i", ""),
        ] {
            admission.admit(&record).unwrap();
        }
    }
}
