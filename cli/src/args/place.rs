//! What to read: a topic, or the address of one of its records.

use std::str::FromStr;

use towpath_client::{Address, TopicName};

/// A topic by its name, or a place in it as every command prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `orders`.
    Topic(TopicName),
    /// `orders/5@17`.
    Record(Address),
}

impl Place {
    /// The topic.
    pub(crate) const fn topic(&self) -> &TopicName {
        match self {
            Self::Topic(topic) => topic,
            Self::Record(address) => &address.topic,
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // No name of a topic has either sign.
        let is_address = text.contains(['/', '@']);
        if is_address {
            text.parse()
                .map(Self::Record)
                .map_err(|error| error.to_string())
        } else {
            text.parse()
                .map(Self::Topic)
                .map_err(|error| error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_topic_or_an_address() {
        let check = |text: &str, is_record: bool| {
            let place: Place = text.parse().expect(text);
            assert_eq!(matches!(place, Place::Record(_)), is_record, "{text:?}");
            assert_eq!(place.topic().as_str(), "orders", "{text:?}");
        };
        check("orders", false);
        check("orders/5@17", true);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "or ders", "orders/5", "orders@5", "orders/x@17"] {
            assert!(text.parse::<Place>().is_err(), "{text:?} was accepted");
        }
        for text in ["orders/5", "orders@5", "orders/"] {
            let error = text.parse::<Place>().unwrap_err();
            assert!(
                error.contains("topic/partition@offset"),
                "{text:?}: {error}"
            );
        }
    }
}
