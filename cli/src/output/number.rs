//! Numbers for people.

use std::time::Duration;

/// Digits in groups of three: `10,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something whose name takes an s: `1 record`, `27,004 records`.
pub(crate) fn count_of(number: u64, name: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {name}{plural}", count(number))
}

/// Bytes in decimal units: `1.1 MB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
    ];
    match UNITS.iter().find(|(_, factor)| number >= *factor) {
        Some((unit, factor)) => {
            let tenths = number / (factor / 10);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{number} B"),
    }
}

/// A length of time in the unit that fits it: `1.9 ms`, `38 ms`, `0.21 s`, `12.3 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0 => "0 s".to_owned(),
        0.0..0.001 => format!("{} us", duration.as_micros()),
        0.001..0.01 => format!("{:.1} ms", seconds * 1_000.0),
        0.01..0.1 => format!("{} ms", duration.as_millis()),
        0.1..10.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// A length of time that was chosen, to the millisecond: `7 d`, `1 d 12 h`, `250 ms`.
pub(crate) fn exact_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 5] = [
        ("d", 24 * 60 * 60 * 1_000),
        ("h", 60 * 60 * 1_000),
        ("min", 60 * 1_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut rest = duration.as_millis();
    let mut parts = Vec::new();
    for (unit, factor) in UNITS {
        if rest >= factor {
            parts.push(format!("{} {unit}", rest / factor));
        }
        rest %= factor;
    }
    match parts.is_empty() {
        true => "0 ms".to_owned(),
        false => parts.join(" "),
    }
}

/// Bytes that were chosen, all of them: in the largest unit of which they are a whole number.
pub(crate) fn exact_bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 8] = [
        ("TiB", 1 << 40),
        ("TB", 1_000_000_000_000),
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("KB", 1_000),
    ];
    let whole = |(_, factor): &&(&str, u64)| number > 0 && number.is_multiple_of(*factor);
    let (unit, factor) = UNITS.iter().find(whole).copied().unwrap_or(("B", 1));
    format!("{} {unit}", count(number / factor))
}

/// So many a second, in three digits: `47,600/s`.
pub(crate) fn rate(number: u64, duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds <= 0.0 {
        return "-/s".to_owned();
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "three digits of a positive number are shown"
    )]
    let per_second = (number as f64 / seconds) as u64;
    let digits = per_second.checked_ilog10().unwrap_or(0);
    let step = 10_u64.pow(digits.saturating_sub(2));
    format!("{}/s", count(per_second / step * step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        let check = |number, expected: &str| assert_eq!(count(number), expected, "{number}");
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(27_004, "27,004");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn one_is_not_many() {
        let texts = [0, 1, 27_004].map(|number| count_of(number, "record"));
        assert_eq!(texts, ["0 records", "1 record", "27,004 records"], "texts");
    }

    #[test]
    fn bytes_are_in_decimal_units() {
        let check = |number, expected: &str| assert_eq!(bytes(number), expected, "{number}");
        check(0, "0 B");
        check(999, "999 B");
        check(1_000, "1.0 KB");
        check(1_149_999, "1.1 MB");
        check(2_000_000_000, "2.0 GB");
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        let check = |micros, expected: &str| {
            assert_eq!(
                duration(Duration::from_micros(micros)),
                expected,
                "{micros}"
            );
        };
        check(0, "0 s");
        check(250, "250 us");
        check(1_940, "1.9 ms");
        check(38_200, "38 ms");
        check(210_000, "0.21 s");
        check(12_340_000, "12.3 s");
    }

    #[test]
    fn what_was_chosen_is_told_exactly() {
        let check = |millis, expected: &str| {
            let text = exact_duration(Duration::from_millis(millis));
            assert_eq!(text, expected, "{millis} ms");
        };
        check(0, "0 ms");
        check(1, "1 ms");
        check(90_000, "1 min 30 s");
        check(604_800_000, "7 d");
        check(129_600_001, "1 d 12 h 1 ms");
        let check = |number, expected: &str| assert_eq!(exact_bytes(number), expected, "{number}");
        check(0, "0 B");
        check(1_234, "1,234 B");
        check(10 << 30, "10 GiB");
        check(10_000_000_000, "10 GB");
        check(1_500_000, "1,500 KB");
        check(3 << 39, "1,536 GiB");
    }

    #[test]
    fn rates_have_three_digits() {
        let check = |number, millis, expected: &str| {
            let text = rate(number, Duration::from_millis(millis));
            assert_eq!(text, expected, "{number} in {millis} ms");
        };
        check(10_000, 210, "47,600/s");
        check(5, 1_000, "5/s");
        check(1_234, 1_000, "1,230/s");
        check(0, 1_000, "0/s");
        check(5, 0, "-/s");
    }
}
