//! How long and how much a topic keeps.

use std::str::FromStr;
use std::time::Duration;

use super::super::duration::parse_duration;
use super::super::size::parse_size;

/// `7d`: at least a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetentionAge(pub(crate) Duration);

/// `10GiB`: at least a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetentionBytes(pub(crate) u64);

impl FromStr for RetentionAge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse_duration(text)? {
            Duration::ZERO => Err("records are kept for 1ms at least".to_owned()),
            age => Ok(Self(age)),
        }
    }
}

impl FromStr for RetentionBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse_size(text)? {
            0 => Err("1 byte is kept at least".to_owned()),
            bytes => Ok(Self(bytes as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bound::OrNone;
    use super::*;

    #[test]
    fn a_bound_is_a_value_or_none() {
        let week = RetentionAge(Duration::from_hours(7 * 24));
        assert_eq!("7d".parse(), Ok(week), "age");
        assert_eq!("7d".parse(), Ok(OrNone(Some(week))), "age");
        assert_eq!("none".parse(), Ok(OrNone::<RetentionAge>(None)), "no age");
        let bytes = RetentionBytes(10 << 30);
        assert_eq!("10GiB".parse(), Ok(bytes), "bytes");
        assert_eq!("10GiB".parse(), Ok(OrNone(Some(bytes))), "bytes");
        assert_eq!(
            "none".parse(),
            Ok(OrNone::<RetentionBytes>(None)),
            "no bytes"
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "0s", "0ms", "7", "None", "for ever"] {
            assert!(text.parse::<RetentionAge>().is_err(), "{text:?}");
            let error = text.parse::<OrNone<RetentionAge>>().unwrap_err();
            assert!(error.contains("none"), "{text:?}: {error}");
        }
        for text in ["", "0", "0GiB", "1.5GiB", "None", "all"] {
            assert!(text.parse::<RetentionBytes>().is_err(), "{text:?}");
            let error = text.parse::<OrNone<RetentionBytes>>().unwrap_err();
            assert!(error.contains("none"), "{text:?}: {error}");
        }
        assert!(
            "none".parse::<RetentionAge>().is_err(),
            "nothing to take away"
        );
        assert!(
            "none".parse::<RetentionBytes>().is_err(),
            "nothing to take away"
        );
    }
}
