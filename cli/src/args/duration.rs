//! Lengths of time on the command line: `250ms`, `30s`, `1h30m`, `7d`.

use std::str::FromStr;
use std::time::Duration;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) Duration);

/// Units, longer names before those they end with.
const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60 * 1_000),
    ("h", 60 * 60 * 1_000),
    ("d", 24 * 60 * 60 * 1_000),
    ("w", 7 * 24 * 60 * 60 * 1_000),
];

/// Parses numbers with units, one behind the other.
///
/// # Errors
///
/// Says what is allowed.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_millis(text)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!("expected a length of time such as 250ms, 30s, 1h30m or 7d, got {text:?}")
        })
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text).map(Self)
    }
}

fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        let check = |text: &str, millis: u64| {
            assert_eq!(parse_millis(text), Some(millis), "{text:?}");
        };
        check("0s", 0);
        check("250ms", 250);
        check("30s", 30_000);
        check("1h30m", 5_400_000);
        check("7d", 604_800_000);
        check("1w", 604_800_000);
        check("1m500ms", 60_500);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "s",
            "5",
            "5 s",
            "-5s",
            "1.5h",
            "5y",
            "5s3",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?} was accepted");
        }
    }
}
