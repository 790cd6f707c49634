//! Where to move a group or a subscription.

use std::str::FromStr;

use super::from::ReadFrom;

/// A place to go on from, as the user says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeekTo {
    /// A place in the topic.
    Place(ReadFrom),
    /// `-100` or `+100`: so many records from where it is.
    By(i64),
}

impl FromStr for SeekTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(['-', '+']);
        let is_number = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
        if digits.is_some_and(is_number) {
            let count = text
                .parse()
                .map_err(|_overflow| format!("{text} is too large"))?;
            return Ok(Self::By(count));
        }
        text.parse().map(Self::Place).map_err(|_place: String| {
            format!(
                "expected beginning, end, an offset, -100 or +100 for so many records back or \
                 forward, a time such as 2026-11-21T09:00:00Z or how long ago such as 1h, got {text:?}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_count_from_where_it_is() {
        assert_eq!("-100".parse(), Ok(SeekTo::By(-100)), "back");
        assert_eq!("+7".parse(), Ok(SeekTo::By(7)), "forward");
        let end = SeekTo::Place(ReadFrom::End);
        assert_eq!("end".parse(), Ok(end), "a place");
        for text in ["", "-", "+", "+x", "-99999999999999999999", "yesterday"] {
            assert!(text.parse::<SeekTo>().is_err(), "{text:?} was accepted");
        }
    }
}
