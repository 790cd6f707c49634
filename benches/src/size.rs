//! Sizes on the command line: `4096`, `128KiB`, `2GB`.

/// One kibibyte in bytes.
pub const KIB: usize = 1 << 10;
/// One mebibyte in bytes.
pub const MIB: usize = 1 << 20;

const UNITS: [(&str, usize); 7] = [
    ("GiB", 1 << 30),
    ("MiB", MIB),
    ("KiB", KIB),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Parses a whole number of bytes with an optional unit.
///
/// # Errors
/// Says what is allowed, for anything else, zero, and sizes beyond `usize`.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    digits
        .trim_end()
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("expected a size such as 4096, 128KiB or 2GB, got {text}"))
}

/// Formats a size with the largest binary unit that divides it.
pub fn format_bytes(bytes: usize) -> String {
    UNITS
        .iter()
        .filter(|(unit, _)| unit.ends_with("iB"))
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes} B"),
            |(unit, factor)| format!("{} {unit}", bytes / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_decimal_and_binary_units() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("128KiB"), Ok(131_072));
        assert_eq!(parse_bytes("128 KiB"), Ok(131_072));
        assert_eq!(parse_bytes("2GB"), Ok(2_000_000_000));
        assert_eq!(parse_bytes("7B"), Ok(7));
    }

    #[test]
    fn sizes_that_are_not_a_positive_number_are_refused() {
        for text in [
            "",
            "KiB",
            "0",
            "0MiB",
            "-1",
            "1.5MiB",
            "12parsecs",
            "99999999999999GiB",
        ] {
            assert!(parse_bytes(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn sizes_print_with_the_largest_whole_unit() {
        assert_eq!(format_bytes(131_072), "128 KiB");
        assert_eq!(format_bytes(1 << 30), "1 GiB");
        assert_eq!(format_bytes(1000), "1000 B");
    }
}
