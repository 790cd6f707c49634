//! Names that users give.
//!
//! A name is checked where it is made, so that whoever holds one need not check it again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::NAME_BYTES_MAX;

/// What a name may consist of, for people.
const ALLOWED: &str = "A-Z a-z 0-9 . _ -";

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// A durable subscription.
    Subscription,
    /// A producer.
    Producer,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Group => "group",
            Self::Subscription => "subscription",
            Self::Producer => "producer",
        })
    }
}

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} name {fault}")]
pub struct NameError {
    /// What it should have been the name of.
    pub kind: NameKind,
    /// What is wrong with it.
    pub fault: NameFault,
}

/// What is wrong with a text that should be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// The text is empty.
    #[error("is empty; allowed are 1 to {NAME_BYTES_MAX} of {ALLOWED}")]
    Empty,
    /// The text is too long.
    #[error("is too long: size_bytes={size_bytes} size_bytes_max={NAME_BYTES_MAX}")]
    TooLong {
        /// Length of the text in bytes.
        size_bytes: usize,
    },
    /// The text begins with a dot.
    #[error("begins with a dot; allowed are {ALLOWED}, and no dot in front")]
    LeadingDot,
    /// The text has a character that is not allowed.
    #[error("has the character {character:?} at byte {position}; allowed are {ALLOWED}")]
    Character {
        /// The first character that is not allowed.
        character: char,
        /// Where it is, in bytes from the start.
        position: usize,
    },
}

fn check(text: &str) -> Result<Arc<str>, NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameFault::TooLong {
            size_bytes: text.len(),
        });
    }
    if let Some((position, character)) = text.char_indices().find(|(_, c)| !is_allowed(*c)) {
        return Err(NameFault::Character {
            character,
            position,
        });
    }
    if text.starts_with('.') {
        return Err(NameFault::LeadingDot);
    }
    Ok(text.into())
}

const fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a text and makes it a name.
            ///
            /// # Errors
            ///
            /// [`NameError`] says what is allowed and what is wrong with the text.
            pub fn new(text: &str) -> Result<Self, NameError> {
                match check(text) {
                    Ok(text) => Ok(Self(text)),
                    Err(fault) => Err(NameError { kind: $kind, fault }),
                }
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// Name of a topic: 1 to 200 of `A-Z a-z 0-9 . _ -`, not beginning with a dot. Cheap to clone.
    TopicName, NameKind::Topic
}
name! {
    /// Name of a consumer group: made like that of a topic. Cheap to clone.
    GroupName, NameKind::Group
}
name! {
    /// Name of a durable subscription: made like that of a topic. Cheap to clone.
    SubscriptionName, NameKind::Subscription
}
name! {
    /// Name of a producer: made like that of a topic. Cheap to clone.
    ProducerName, NameKind::Producer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<NameFault>) {
        let topic = TopicName::new(text).err();
        let group = GroupName::new(text).err();
        let subscription = SubscriptionName::new(text).err();
        let error = |kind| expected.map(|fault| NameError { kind, fault });
        assert_eq!(topic, error(NameKind::Topic), "{text:?}");
        assert_eq!(group, error(NameKind::Group), "{text:?}");
        let expected = error(NameKind::Subscription);
        assert_eq!(subscription, expected, "{text:?}");
        let producer = ProducerName::new(text).err();
        assert_eq!(producer, error(NameKind::Producer), "{text:?}");
    }

    #[test]
    fn letters_digits_dots_underscores_and_dashes_are_names() {
        for text in [
            "a",
            "orders",
            "Orders.v2",
            "a_b-c",
            "-",
            "_",
            "0",
            "a.",
            "a..b",
            "e.dlq",
        ] {
            check(text, None);
        }
        check(&"n".repeat(200), None);
    }

    #[test]
    fn anything_else_is_no_name() {
        let bad = |character, position| {
            Some(NameFault::Character {
                character,
                position,
            })
        };
        check("", Some(NameFault::Empty));
        check(".hidden", Some(NameFault::LeadingDot));
        check("..", Some(NameFault::LeadingDot));
        check("a/b", bad('/', 1));
        check("a@b", bad('@', 1));
        check("a b", bad(' ', 1));
        check("orders\0", bad('\0', 6));
        check("preis-\u{20ac}", bad('\u{20ac}', 6));
        check(
            &"n".repeat(201),
            Some(NameFault::TooLong { size_bytes: 201 }),
        );
    }

    #[test]
    fn the_error_shows_the_character_without_printing_it_raw() {
        let text = TopicName::new("a\nb").unwrap_err().to_string();
        assert_eq!(
            text, r"topic name has the character '\n' at byte 1; allowed are A-Z a-z 0-9 . _ -",
            "text"
        );
    }
}
