//! Sizes on the command line: `4096`, `128KiB`, `2GB`.

/// Units, longer names before those they end with.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Parses a whole number of bytes with an optional unit.
///
/// # Errors
///
/// Says what is allowed.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let found = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = found.unwrap_or((text, 1));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| digits.parse::<u64>().ok()).flatten();
    number
        .and_then(|number| number.checked_mul(factor))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("expected a size such as 4096, 128KiB or 2GB, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_decimal_and_binary_units() {
        let check = |text: &str, bytes: usize| assert_eq!(parse_size(text), Ok(bytes), "{text:?}");
        check("0", 0);
        check("4096", 4_096);
        check("7B", 7);
        check("128KiB", 131_072);
        check("2GB", 2_000_000_000);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "KiB",
            "-1",
            "+1",
            "1.5MiB",
            "12parsecs",
            "99999999999999GiB",
        ] {
            assert!(parse_size(text).is_err(), "{text:?} was accepted");
        }
    }
}
