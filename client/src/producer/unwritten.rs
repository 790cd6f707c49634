//! Records of a batch that was accepted without them, because of what their topic has already.

use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::unwritten_record::Cause as Told;

use crate::{Error, ErrorReason};

/// Which records of a batch were not written, and why; in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unwritten(Box<[(u32, Cause)]>);

/// Why a record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its event is there already, here.
    Repeated(PartitionId, Offset),
    /// Its entity has this version already.
    Stale(u64),
}

impl Unwritten {
    /// Takes over what the broker says.
    ///
    /// # Errors
    ///
    /// It says that of the same record twice, or not why.
    pub(super) fn read(records: &[v1::UnwrittenRecord]) -> Result<Self, Error> {
        let is_in_order = records.is_sorted_by(|one, next| one.index < next.index);
        let read = |record: &v1::UnwrittenRecord| {
            let cause = match record.cause.as_ref()? {
                Told::RepeatedEvent(first) => {
                    Cause::Repeated(PartitionId::new(first.partition), Offset::new(first.offset))
                }
                Told::StaleEntityVersion(current) => Cause::Stale(*current),
            };
            Some((record.index, cause))
        };
        let records = records.iter().map(read).collect::<Option<_>>();
        records.filter(|_| is_in_order).map(Self).ok_or_else(|| {
            Error::protocol("the broker does not say which records it has not written, or why")
        })
    }

    /// Whether a batch of `sent` records has `written` of them and these.
    pub(super) fn fits(&self, sent: u32, written: u32) -> bool {
        let is_within = self.0.last().is_none_or(|(index, _)| *index < sent);
        is_within && self.0.len() as u64 + u64::from(written) == u64::from(sent)
    }

    /// Why a record was not written, or its place among those that were.
    pub(super) fn look_up(&self, index: u32) -> Result<u32, Cause> {
        match self.0.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(place) => self
                .0
                .get(place)
                .map_or(Ok(index), |(_, cause)| Err(*cause)),
            Err(before) => Ok(index.saturating_sub(u32::try_from(before).unwrap_or(u32::MAX))),
        }
    }
}

/// What is said of a record whose entity has this version already.
pub(super) fn stale(current: u64) -> Error {
    let text =
        format!("the entity has version {current} already, and the record brings no greater one");
    let problem = Problem::new(ErrorReason::StaleEntityVersion, text)
        .with("current_version", current)
        .with_hint("a newer record of the entity was written: this one has nothing to tell");
    Error::from_problem(&problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(index: u32) -> v1::UnwrittenRecord {
        v1::UnwrittenRecord {
            index,
            cause: Some(Told::RepeatedEvent(v1::RecordPosition {
                partition: 2,
                offset: 40 + u64::from(index),
                ..v1::RecordPosition::default()
            })),
        }
    }

    #[test]
    fn those_that_were_written_follow_densely() {
        let stale = v1::UnwrittenRecord {
            index: 3,
            cause: Some(Told::StaleEntityVersion(9)),
        };
        let unwritten = Unwritten::read(&[repeated(0), stale, repeated(4)]).unwrap();
        let first = |offset| Err(Cause::Repeated(PartitionId::new(2), Offset::new(offset)));
        let found: Vec<_> = (0..7).map(|index| unwritten.look_up(index)).collect();
        let expected = [
            first(40),
            Ok(0),
            Ok(1),
            Err(Cause::Stale(9)),
            first(44),
            Ok(2),
            Ok(3),
        ];
        assert_eq!(found, expected, "places");
    }

    #[test]
    fn what_cannot_be_is_noticed() {
        let nameless = v1::UnwrittenRecord {
            index: 0,
            cause: None,
        };
        for told in [
            vec![repeated(1), repeated(1)],
            vec![repeated(2), repeated(1)],
            vec![nameless],
        ] {
            assert!(Unwritten::read(&told).is_err(), "{told:?}");
        }
        let unwritten = Unwritten::read(&[repeated(0), repeated(2)]).unwrap();
        assert!(unwritten.fits(3, 1), "one of three");
        assert!(!unwritten.fits(3, 3), "more than were sent");
        assert!(!unwritten.fits(2, 0), "one that was not sent");
        assert!(Unwritten::default().fits(3, 3), "all");
        assert!(!Unwritten::default().fits(3, 2), "one that is not told of");
    }
}
