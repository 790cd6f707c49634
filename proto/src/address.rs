//! The address of a record: `topic/partition@offset`, as every command prints it and takes it back.

use std::fmt;
use std::str::FromStr;

use crate::ids::{Offset, PartitionId};
use crate::names::{NameError, TopicName};

/// Where a record is. Prints as `orders/5@17`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Name of the topic.
    pub topic: TopicName,
    /// Partition of the topic.
    pub partition: PartitionId,
    /// Offset in the partition.
    pub offset: Offset,
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text has not the form of an address.
    #[error("an address has the form topic/partition@offset, such as orders/5@17")]
    Form,
    /// The part before the slash is no topic name.
    #[error(transparent)]
    Topic(NameError),
    /// The part between slash and at sign is no number of a partition.
    #[error("the partition of an address is a number from 0 to {}", u32::MAX)]
    Partition,
    /// The part after the at sign is no offset.
    #[error("the offset of an address is a number from 0 to {}", u64::MAX)]
    Offset,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (topic, place) = text.split_once('/').ok_or(AddressError::Form)?;
        let (partition, offset) = place.split_once('@').ok_or(AddressError::Form)?;
        Ok(Self {
            topic: TopicName::new(topic).map_err(AddressError::Topic)?,
            partition: PartitionId::new(parse_digits(partition).ok_or(AddressError::Partition)?),
            offset: Offset::new(parse_digits(offset).ok_or(AddressError::Offset)?),
        })
    }
}

/// Reads digits only: a number as it would be printed, without sign or blanks.
fn parse_digits<T: FromStr>(text: &str) -> Option<T> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{NameFault, NameKind};

    fn topic(fault: NameFault) -> AddressError {
        let kind = NameKind::Topic;
        AddressError::Topic(NameError { kind, fault })
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for text in [
            "orders/5@17",
            "a.b-c_d/0@0",
            "x/4294967295@18446744073709551615",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text, "there and back");
        }
    }

    #[test]
    fn the_error_names_the_part_that_is_wrong() {
        let check = |text: &str, expected| {
            assert_eq!(text.parse::<Address>(), Err(expected), "{text:?}");
        };
        check("", AddressError::Form);
        check("orders", AddressError::Form);
        check("orders/5", AddressError::Form);
        check("orders@5", AddressError::Form);
        check("/5@17", topic(NameFault::Empty));
        check(
            "or ders/5@17",
            topic(NameFault::Character {
                character: ' ',
                position: 2,
            }),
        );
        check("orders/@17", AddressError::Partition);
        check("orders/-1@17", AddressError::Partition);
        check("orders/4294967296@17", AddressError::Partition);
        check("orders/+5@17", AddressError::Partition);
        check("orders/5@", AddressError::Offset);
        check("orders/5@1@2", AddressError::Offset);
        check("orders/5@18446744073709551616", AddressError::Offset);
    }
}
