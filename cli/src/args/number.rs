//! Numbers of things on the command line: whole, and at least one.

use std::str::FromStr;

use towpath_client::Offset;

/// Parses a number of things.
///
/// # Errors
///
/// Says what is allowed.
pub(crate) fn parse_count<N: FromStr>(text: &str) -> Result<N, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(format!("expected a whole number from 1 on, got {text:?}"));
    }
    if text.bytes().all(|byte| byte == b'0') {
        return Err("at least 1 is needed".to_owned());
    }
    text.parse()
        .map_err(|_too_large| "the number is too large".to_owned())
}

/// Parses the number of a partition.
///
/// # Errors
///
/// Says what is allowed.
pub(crate) fn parse_partition(text: &str) -> Result<u32, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("expected the number of a partition, from 0 on, got {text:?}"))
}

/// Parses an offset.
///
/// # Errors
///
/// Says what is allowed.
pub(crate) fn parse_offset(text: &str) -> Result<Offset, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u64> = is_number.then(|| text.parse().ok()).flatten();
    let number = number.map(Offset::new);
    number.ok_or_else(|| format!("expected an offset, from 0 on, got {text:?}"))
}

/// Parses a version, of a key or of an entity.
///
/// # Errors
///
/// Says what is allowed.
pub(crate) fn parse_version(text: &str) -> Result<u64, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("expected a version, from 0 on, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn counts_are_whole_and_begin_at_one() {
        assert_eq!(parse_count::<u32>("1"), Ok(1), "the least");
        assert_eq!(parse_count::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert!(parse_count::<NonZeroU32>("7").is_ok(), "a type without 0");
        for (text, what) in [
            ("", "whole number"),
            ("-1", "whole number"),
            ("1.5", "whole number"),
            ("x", "whole number"),
            ("0", "at least 1"),
            ("4294967296", "too large"),
        ] {
            let error = parse_count::<u32>(text).unwrap_err();
            assert!(error.contains(what), "{text:?}: {error}");
        }
    }

    #[test]
    fn partitions_are_numbered_from_zero() {
        assert_eq!(parse_partition("0"), Ok(0));
        assert_eq!(parse_partition("4294967295"), Ok(u32::MAX));
        for text in ["", "-1", "+1", "x", "1.0", "4294967296"] {
            let error = parse_partition(text).unwrap_err();
            assert!(error.contains("from 0 on"), "{text:?}: {error}");
        }
    }
}
