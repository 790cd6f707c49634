//! A header on the command line: `name=value`.

use std::str::FromStr;

/// The name and value of a header, as `-H` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderArg {
    /// What stands before the first equals sign; not empty.
    pub(crate) name: String,
    /// What stands behind it.
    pub(crate) value: String,
}

impl FromStr for HeaderArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("a header has the form name=value, such as origin=web".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_equals_sign_separates() {
        let check = |text: &str, name: &str, value: &str| {
            let header: HeaderArg = text.parse().expect(text);
            assert_eq!(
                (header.name.as_str(), header.value.as_str()),
                (name, value),
                "{text:?}"
            );
        };
        check("origin=web", "origin", "web");
        check("query=a=b", "query", "a=b");
        check("empty=", "empty", "");
    }

    #[test]
    fn a_header_needs_a_name_and_an_equals_sign() {
        for text in ["", "origin", "=web"] {
            assert!(text.parse::<HeaderArg>().is_err(), "{text:?} was accepted");
        }
    }
}
