//! What a record rests on.

use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1::{append_records, produce_batch};

use crate::{Error, Record};

/// What must hold for a record to be written. It shares its batch with no other record then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// It gets this offset.
    Offset(Offset),
    /// Its key has this version.
    Version(u64),
}

impl Expectation {
    /// Checks that what a record rests on belongs to one place.
    ///
    /// # Errors
    ///
    /// It has neither key nor partition for its offset, or no key for its version.
    pub(crate) fn check(record: &Record) -> Result<(), Error> {
        let partition: Option<PartitionId> = record.chosen_partition();
        match (record.expectation(), record.key_bytes(), partition) {
            (Some(Self::Offset(_)), None, None) => {
                let text = "an offset is expected, but neither a key nor a partition is given";
                Err(Error::invalid("expected_offset", text)
                    .with_hint("an offset belongs to a partition: choose one, or set a key"))
            }
            (Some(Self::Version(_)), None, _) => {
                let text = "a version is expected, but no key is given";
                Err(Error::invalid("expected_version", text)
                    .with_hint("a version belongs to a key: set it"))
            }
            (Some(_) | None, _, _) => Ok(()),
        }
    }

    /// As it is said of a batch.
    pub(crate) const fn of_batch(self) -> produce_batch::Expectation {
        match self {
            Self::Offset(offset) => produce_batch::Expectation::ExpectedOffset(offset.get()),
            Self::Version(version) => produce_batch::Expectation::ExpectedVersion(version),
        }
    }

    /// As it is said of records in a commit.
    pub(crate) const fn of_append(self) -> append_records::Expectation {
        match self {
            Self::Offset(offset) => append_records::Expectation::ExpectedOffset(offset.get()),
            Self::Version(version) => append_records::Expectation::ExpectedVersion(version),
        }
    }
}
