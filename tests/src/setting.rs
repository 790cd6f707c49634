//! What whoever runs a test says by variables of the environment.

/// A number, or its default where the variable is not set.
///
/// # Panics
/// As [`asked`].
pub fn number(name: &str, default: u64) -> u64 {
    asked(name).unwrap_or(default)
}

/// A number, if the variable is set.
///
/// # Panics
/// If it is set to something else.
pub fn asked(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    Some(parse(name, &text.to_string_lossy()))
}

fn parse(name: &str, text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|error| panic!("{name}={text}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn what_is_no_number_is_not_passed_over() {
        assert_eq!(parse("SEED", "17"), 17);
        for text in ["", "all", "-1", "1.5", "0x10", "18446744073709551616"] {
            assert!(catch_unwind(|| parse("SEED", text)).is_err(), "{text:?}");
        }
    }
}
