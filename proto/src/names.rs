//! Names that users give.
//!
//! A name is checked where it is made, so that whoever holds one need not check it again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// What a name may consist of, for people.
const ALLOWED: &str = "A-Z a-z 0-9 . _ -";

/// Name of a topic: 1 to 200 of `A-Z a-z 0-9 . _ -`, not beginning with a dot. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("topic name is empty; allowed are 1 to {TOPIC_NAME_BYTES_MAX} of {ALLOWED}")]
    Empty,
    /// The text is too long.
    #[error(
        "topic name is too long: size_bytes={size_bytes} size_bytes_max={TOPIC_NAME_BYTES_MAX}"
    )]
    TooLong {
        /// Length of the text in bytes.
        size_bytes: usize,
    },
    /// The text begins with a dot.
    #[error("topic name begins with a dot; allowed are {ALLOWED}, and no dot in front")]
    LeadingDot,
    /// The text has a character that is not allowed.
    #[error("topic name has the character {character:?} at byte {position}; allowed are {ALLOWED}")]
    Character {
        /// The first character that is not allowed.
        character: char,
        /// Where it is, in bytes from the start.
        position: usize,
    },
}

impl TopicName {
    /// Checks a text and makes it a name.
    ///
    /// # Errors
    ///
    /// [`NameError`] says what is allowed and what is wrong with the text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > TOPIC_NAME_BYTES_MAX {
            return Err(NameError::TooLong {
                size_bytes: text.len(),
            });
        }
        if let Some((position, character)) = text.char_indices().find(|(_, c)| !is_allowed(*c)) {
            return Err(NameError::Character {
                character,
                position,
            });
        }
        if text.starts_with('.') {
            return Err(NameError::LeadingDot);
        }
        Ok(Self(text.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

impl FromStr for TopicName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<NameError>) {
        assert_eq!(TopicName::new(text).err(), expected, "{text:?}");
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
            Some(NameError::Character {
                character,
                position,
            })
        };
        check("", Some(NameError::Empty));
        check(".hidden", Some(NameError::LeadingDot));
        check("..", Some(NameError::LeadingDot));
        check("a/b", bad('/', 1));
        check("a@b", bad('@', 1));
        check("a b", bad(' ', 1));
        check("orders\0", bad('\0', 6));
        check("preis-\u{20ac}", bad('\u{20ac}', 6));
        check(
            &"n".repeat(201),
            Some(NameError::TooLong { size_bytes: 201 }),
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
